/* SPDX-License-Identifier: MIT
 *
 * superslab and mid: the class table. Properties, not numbers: doc/sizes.md has those.
 */
#include "unit.h"

static const size_t superslab_sizes[] = {256 * KIB, 512 * KIB, MIB, 2 * MIB};

static void with_superslabs_of(size_t bytes)
{
    unit_params();
    ss_params.superslab_bytes = bytes;
    REQUIRE(ss_init());
    mid_init(bytes, SIZE_MAX);
}

UNIT_TEST(a_large_threshold_below_the_largest_class_bounds_mid)
{
    unit_params();
    REQUIRE(ss_init());
    mid_init(2 * MIB, 200 * KIB);
    REQUIRE(mid_max == 200 * KIB - 1);
    REQUIRE(ss_classes[mid_class_of(mid_max)].size >= mid_max);
}

/* The class of n by search: the first that is large enough. */
static unsigned class_by_search(size_t n)
{
    unsigned c = 0;
    while (ss_classes[c].size < n)
        c++;
    return c;
}

UNIT_TEST(every_tiny_size_maps_to_the_smallest_class_that_fits)
{
    unit_start();
    for (size_t n = 1; n <= SS_TINY_MAX; n++) {
        REQUIRE(ss_class_of(n) == class_by_search(n));
        REQUIRE(ss_class_of(n) < SS_TINY_NCLASS);
        REQUIRE(ss_class_bits[(n + 15) / 16] == class_by_search(n) << SS_CLASS_SHIFT);
    }
    REQUIRE(ss_class_of(0) == ss_class_of(1));
    REQUIRE(ss_class_bits[0] == 0);
    REQUIRE(ss_classes[SS_TINY_NCLASS - 1].size == SS_TINY_MAX);
}

static void mid_classes_body(void *bytes)
{
    with_superslabs_of((size_t)(uintptr_t)bytes);
    for (size_t n = MID_MIN; n <= mid_max; n += n < 20000 ? 1 : 61)
        REQUIRE(mid_class_of(n) == class_by_search(n));
    REQUIRE(mid_class_of(mid_max) == class_by_search(mid_max));
    REQUIRE(mid_max >= (size_t)(uintptr_t)bytes / 2 || mid_max == MID_LIMIT);
}

static void every_mid_size_maps_to_the_smallest_class_that_fits(void **state)
{
    for (size_t i = 0; i < 4; i++)
        EXPECT_CHILD_PASS(mid_classes_body, superslab_sizes[i]);
}

UNIT_TEST(sizes_rise_and_are_multiples_of_16)
{
    unit_start();
    uint32_t last = 0;
    for (unsigned c = class_by_search(1); c < SS_NCLASS; c++) {
        REQUIRE(ss_classes[c].size > last);
        REQUIRE(ss_classes[c].size % 16 == 0);
        last = ss_classes[c].size;
    }
    REQUIRE(last == MID_LIMIT);
}

/* Inside a block: an eighth for tiny ones above 128 bytes, a quarter for mid ones. */
UNIT_TEST(no_size_wastes_more_than_its_bound)
{
    unit_start();
    for (size_t n = 1; n <= SS_TINY_MAX; n++)
        REQUIRE(ss_classes[ss_class_of(n)].size - n <= HAK_MAX((size_t)15, n / 8));
    for (size_t n = MID_MIN; n <= mid_max; n += 17)
        REQUIRE(ss_classes[mid_class_of(n)].size - n <= n / 4);
}

static void slab_shapes_body(void *bytes)
{
    with_superslabs_of((size_t)(uintptr_t)bytes);
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        const struct ss_class *k = &ss_classes[c];
        if (k->size == 0)
            continue;
        size_t slab = (size_t)k->units * SS_UNIT, used = (size_t)k->blocks * k->size;
        REQUIRE(k->blocks > 0 && used <= slab && slab - used < k->size);
        REQUIRE(slab <= ss_params.superslab_bytes);
        /* Idle: an eighth of a slab; more only where blocks are half a small superslab. */
        REQUIRE((slab - used) * 8 <= slab ||
                ((slab - used) * 8 <= slab * 3 && ss_params.superslab_bytes <= 512 * KIB));
        REQUIRE(c >= SS_TINY_NCLASS || k->units == 1);
    }
}

static void slabs_waste_little(void **state)
{
    for (size_t i = 0; i < 4; i++)
        EXPECT_CHILD_PASS(slab_shapes_body, superslab_sizes[i]);
}

/* The fast path's whole test of a pointer: multiples of the size stay below 2^17, all else far
 * above anything a bin's room can be. */
UNIT_TEST(magic_tells_multiples_of_the_size_from_all_other_offsets)
{
    unit_start();
    for (unsigned c = 0; c < SS_TINY_NCLASS; c++) {
        const struct ss_class *k = &ss_classes[c];
        for (uint64_t at = 0; k->size != 0 && at < SS_UNIT; at++) {
            uint64_t x = at * k->magic;
            REQUIRE(at % k->size == 0 ? x < 1u << 17 : x >= (uint64_t)1 << 40);
        }
    }
}

static void block_starts_body(void *bytes)
{
    with_superslabs_of((size_t)(uintptr_t)bytes);
    for (uint32_t c = 1; c < SS_NCLASS; c++) {
        const struct ss_class *k = &ss_classes[c];
        REQUIRE(ss_class_at(1u << SS_HEAP_SHIFT | 5u << SS_NTH_SHIFT | c << SS_CLASS_SHIFT) ==
                k);
        for (uint32_t at = 0; at < k->units * (uint32_t)SS_UNIT; at++) {
            uint32_t word =
                1u << SS_HEAP_SHIFT | at / SS_UNIT << SS_NTH_SHIFT | c << SS_CLASS_SHIFT;
            bool starts = at % k->size == 0 && at / k->size < k->blocks;
            REQUIRE(ss_block_starts((void *)(uintptr_t)(at % SS_UNIT), word) == starts);
        }
    }
}

static void a_block_starts_at_its_first_byte_and_none_behind_the_last(void **state)
{
    for (size_t i = 0; i < 4; i++)
        EXPECT_CHILD_PASS(block_starts_body, superslab_sizes[i]);
}

UNIT_TEST(a_word_gives_its_heap_and_class_back)
{
    for (unsigned h = 1; h < SS_HEAPS_MAX; h += 37) {
        for (unsigned c = 0; c < SS_NCLASS; c++) {
            uint32_t word = h << SS_HEAP_SHIFT | c << SS_CLASS_SHIFT;
            REQUIRE(ss_word_heap(word) == h && ss_word_class(word) == c);
        }
    }
    REQUIRE(ss_word_heap(SS_WORD_RUN) == 0 && ss_word_heap(SS_WORD_RUN_MORE) == 0);
}

UNIT_TEST(before_init_every_address_has_an_empty_word)
{
    int local;
    REQUIRE(ss_word(&local) == SS_WORD_NONE);
    REQUIRE(ss_word(NULL) == SS_WORD_NONE);
    REQUIRE(ss_word((void *)UINTPTR_MAX) == SS_WORD_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_threshold_below_the_largest_class_bounds_mid),
        cmocka_unit_test(every_tiny_size_maps_to_the_smallest_class_that_fits),
        cmocka_unit_test(every_mid_size_maps_to_the_smallest_class_that_fits),
        cmocka_unit_test(sizes_rise_and_are_multiples_of_16),
        cmocka_unit_test(no_size_wastes_more_than_its_bound),
        cmocka_unit_test(slabs_waste_little),
        cmocka_unit_test(magic_tells_multiples_of_the_size_from_all_other_offsets),
        cmocka_unit_test(a_block_starts_at_its_first_byte_and_none_behind_the_last),
        cmocka_unit_test(a_word_gives_its_heap_and_class_back),
        cmocka_unit_test(before_init_every_address_has_an_empty_word),
    };
    return cmocka_run_group_tests_name("superslab: classes", tests, NULL, NULL);
}
