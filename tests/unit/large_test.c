/* SPDX-License-Identifier: MIT
 *
 * large: runs below the threshold, mappings from it on, and the table of mappings.
 */
#include "large/large_internal.h"

#include <string.h>

#include "unit.h"

static void large_start(size_t threshold)
{
    unit_start();
    large_params.threshold = threshold;
}

static char *take(size_t n)
{
    bool zero;
    char *p = large_alloc(n, 16, &zero);
    REQUIRE(p != NULL && large_usable(p, ss_word(p)) == large_good_size(n));
    REQUIRE(!zero || hak_test_is_zero(p, HAK_MIN(n, 4 * MIB)));
    return p;
}

static void give(void *p)
{
    large_free(p, ss_word(p));
}

static size_t mappings(void)
{
    struct large_stats s;
    large_stats(&s);
    return s.mappings;
}

UNIT_TEST(the_threshold_divides_runs_from_mappings)
{
    large_start(8 * MIB);
    char *run = take(8 * MIB - 1), *mapping = take(8 * MIB);
    REQUIRE(ss_word(run) == SS_WORD_RUN && ss_word(mapping) == SS_WORD_NONE);
    REQUIRE(mappings() == 1 && unit_region().run_bytes == 8 * MIB);
    large_params.threshold = 4 * MIB; /* blocks remember what they are */
    give(run);
    give(mapping);
    REQUIRE(mappings() == 0 && unit_region().run_bytes == 0);
    char *p = take(5 * MIB);
    REQUIRE(ss_word(p) == SS_WORD_NONE);
}

UNIT_TEST(a_freed_run_is_used_again_without_a_system_call)
{
    large_start(32 * MIB);
    char *p = take(3 * MIB);
    give(p);
    fake_os_reset();
    for (unsigned i = 0; i < 100; i++) {
        char *q = take(3 * MIB - i * 1000);
        REQUIRE(q == p);
        give(q);
    }
    REQUIRE(fake_os_calls(FAKE_OS_ANY) == 0 && fake_os_calls(FAKE_OS_UNMAP) == 0);
}

UNIT_TEST(a_freed_mapping_goes_back_at_once)
{
    large_start(MIB);
    size_t held = fake_os_held_bytes();
    char *p = take(10 * MIB);
    size_t with = fake_os_held_bytes();
    REQUIRE(with >= held + 10 * MIB);
    give(p);
    REQUIRE(fake_os_held_bytes() == with - 10 * MIB);
}

UNIT_TEST(blocks_too_aligned_for_a_run_are_mappings)
{
    large_start(32 * MIB);
    bool zero;
    for (size_t align = 16; align <= GIB; align *= 2) {
        char *p = large_alloc(3 * MIB, align, &zero);
        REQUIRE(p != NULL && ((uintptr_t)p & (align - 1)) == 0);
        REQUIRE((ss_word(p) == SS_WORD_RUN) == (align <= SS_RUN_ALIGN_MAX));
        p[0] = p[3 * MIB - 1] = 1;
        give(p);
    }
}

UNIT_TEST(where_the_region_cannot_serve_a_mapping_does)
{
    large_start(32 * MIB);
    (void)take(2 * MIB);
    while (ss_region.part[0].committed - ss_region.part[0].frontier >= 30 * MIB / SS_UNIT)
        (void)take(24 * MIB);
    fake_os_fail(FAKE_OS_COMMIT, 1, FAKE_OS_FOREVER);
    bool zero = false;
    char *p = large_alloc(30 * MIB, 16, &zero);
    REQUIRE(p != NULL && ss_word(p) == SS_WORD_NONE && zero);
    memset(p, 1, 30 * MIB);
    give(p);
}

UNIT_TEST(runs_grow_and_shrink_in_place_or_not_at_all)
{
    large_start(32 * MIB);
    char *p = take(4 * MIB), *q = take(4 * MIB);
    hak_test_fill(p, 4 * MIB, 3);
    REQUIRE(large_resize(p, SS_WORD_RUN, 5 * MIB) == NULL); /* q is there */
    REQUIRE(large_usable(p, SS_WORD_RUN) == 4 * MIB);
    give(q);
    REQUIRE(large_resize(p, SS_WORD_RUN, 20 * MIB) == p);
    REQUIRE(large_usable(p, SS_WORD_RUN) == 20 * MIB);
    REQUIRE(hak_test_check(p, 4 * MIB, 3) == 4 * MIB);
    REQUIRE(large_resize(p, SS_WORD_RUN, 33 * MIB) == p); /* stays a run */
    REQUIRE(large_resize(p, SS_WORD_RUN, 2 * MIB) == p);
    REQUIRE(large_usable(p, SS_WORD_RUN) == 2 * MIB);
    ss_validate();
}

UNIT_TEST(mappings_are_resized_by_the_system)
{
    large_start(MIB);
    char *p = take(8 * MIB), *q;
    hak_test_fill(p, 8 * MIB, 4);
    q = large_resize(p, SS_WORD_NONE, 100 * MIB);
    REQUIRE(q != NULL && fake_os_calls(FAKE_OS_REMAP) == 1);
    REQUIRE(large_usable(q, SS_WORD_NONE) == 100 * MIB && mappings() == 1);
    REQUIRE(hak_test_check(q, 8 * MIB, 4) == 8 * MIB);
    REQUIRE(hak_test_is_zero(q + 8 * MIB, 92 * MIB));
    REQUIRE(large_resize(q, SS_WORD_NONE, 100 * MIB - 5) == q); /* the same pages */
    REQUIRE(fake_os_calls(FAKE_OS_REMAP) == 1);
    fake_os_fail(FAKE_OS_REMAP, 1, 1);
    REQUIRE(large_resize(q, SS_WORD_NONE, 200 * MIB) == NULL);
    REQUIRE(large_usable(q, SS_WORD_NONE) == 100 * MIB);
    q = large_resize(q, SS_WORD_NONE, 2 * MIB);
    REQUIRE(q != NULL && hak_test_check(q, 2 * MIB, 4) == 2 * MIB);
    give(q);
    REQUIRE(mappings() == 0);
}

/* L1 */
UNIT_TEST(the_table_finds_thousands_of_mappings_in_any_order_of_freeing)
{
    enum { N = 5000 };
    static char *p[N];
    large_start(MIB);
    uint64_t random = 11;
    for (unsigned i = 0; i < N; i++) {
        p[i] = large_map_alloc(1 + i % 3 * 4096, 4096);
        REQUIRE(p[i] != NULL);
    }
    for (unsigned left = N; left > 0; left--) {
        unsigned k = hak_test_random(&random) % left;
        size_t bytes = map_table_find(p[k]);
        REQUIRE(bytes >= 4096 && bytes <= 3 * 4096);
        REQUIRE(map_table_find(p[k] + 16) == 0 && map_table_contains(p[k] + bytes - 1));
        REQUIRE(mappings() == left);
        give(p[k]);
        REQUIRE(map_table_find(p[k]) == 0);
        p[k] = p[left - 1];
        if (left % 500 == 0)
            for (unsigned i = 0; i < left - 1; i++)
                REQUIRE(map_table_find(p[i]) != 0);
    }
    REQUIRE(!map_table_contains(p[0]));
    REQUIRE(map_table_find(NULL) == 0);
}

UNIT_TEST(a_table_that_cannot_grow_fills_up_and_then_refuses)
{
    enum { N = 2000 };
    static char *p[N];
    large_start(MIB);
    unsigned n = 0;
    for (; n < 128; n++)
        REQUIRE((p[n] = large_map_alloc(4096, 4096)) != NULL);
    /* From now on every second mapping call is the table's own growth. */
    for (; n < N; n++) {
        fake_os_fail(FAKE_OS_MAP, 2, FAKE_OS_FOREVER);
        p[n] = large_map_alloc(4096, 4096);
        if (p[n] == NULL)
            break;
    }
    REQUIRE(n > 128 && n < N);
    size_t held = fake_os_held_bytes();
    fake_os_fail(FAKE_OS_MAP, 2, FAKE_OS_FOREVER);
    REQUIRE(large_map_alloc(4096, 4096) == NULL);
    REQUIRE(fake_os_held_bytes() == held); /* the mapping that found no place went back */
    for (unsigned i = 0; i < n; i++)
        REQUIRE(map_table_find(p[i]) == 4096);
    REQUIRE(map_table_find(&held) == 0); /* a search in a full table ends */
    fake_os_reset();
    REQUIRE(large_map_alloc(4096, 4096) != NULL);
    for (unsigned i = 0; i < n; i++)
        give(p[i]);
    REQUIRE(mappings() == 1);
}

UNIT_TEST(sizes_are_whole_units_and_whole_pages)
{
    large_start(4 * MIB);
    REQUIRE(large_good_size(MIB + 1) == MIB + SS_UNIT);
    REQUIRE(large_good_size(4 * MIB) == 4 * MIB);
    REQUIRE(large_good_size(4 * MIB + 1) == 4 * MIB + SS_UNIT);
    REQUIRE(large_good_size(32 * MIB) == 32 * MIB);
    REQUIRE(large_good_size(32 * MIB + 1) == 32 * MIB + 4096);
    fake_os_set_page_size(64 * KIB);
    REQUIRE(large_good_size(32 * MIB + 1) == 32 * MIB + 64 * KIB);
    char *p = take(5 * MIB + 1);
    give(p);
}

UNIT_TEST(a_block_has_the_same_size_whether_run_or_mapping)
{
    static const size_t threshold[] = {512 * KIB, 3 * MIB, 32 * MIB};
    large_start(32 * MIB);
    for (size_t n = 512 * KIB; n <= 33 * MIB; n += n / 7 + 1) {
        size_t good = 0;
        for (unsigned i = 0; i < 3; i++) {
            atomic_store(&large_params.threshold, threshold[i]);
            REQUIRE(good == 0 || large_good_size(n) == good);
            good = large_good_size(n);
            give(take(n)); /* whose usable size is that */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_threshold_divides_runs_from_mappings),
        cmocka_unit_test(a_freed_run_is_used_again_without_a_system_call),
        cmocka_unit_test(a_freed_mapping_goes_back_at_once),
        cmocka_unit_test(blocks_too_aligned_for_a_run_are_mappings),
        cmocka_unit_test(where_the_region_cannot_serve_a_mapping_does),
        cmocka_unit_test(runs_grow_and_shrink_in_place_or_not_at_all),
        cmocka_unit_test(mappings_are_resized_by_the_system),
        cmocka_unit_test(the_table_finds_thousands_of_mappings_in_any_order_of_freeing),
        cmocka_unit_test(a_table_that_cannot_grow_fills_up_and_then_refuses),
        cmocka_unit_test(sizes_are_whole_units_and_whole_pages),
        cmocka_unit_test(a_block_has_the_same_size_whether_run_or_mapping),
    };
    return cmocka_run_group_tests_name("large", tests, NULL, NULL);
}
