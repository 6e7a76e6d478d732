/* SPDX-License-Identifier: MIT
 *
 * Bad pointers: each ends the process with SIGABRT and exactly one line that names the cause and
 * the pointer. One child a case; the blocks are made before the fork.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hakmem.h"
#include "mid/mid.h"
#include "superslab/ss.h"
#include "support/hak_test.h"
#include "tiny/tiny.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* The fixed texts. */
#define FOREIGN      "large: not a hakmem block"
#define MIDDLE       "api: pointer into the middle of a block"
#define MIDDLE_SIZE  "api: pointer into the middle of a block"
#define MIDDLE_LARGE "large: pointer into the middle of a block"
#define TWICE_TINY   "tiny: block freed twice"
#define TWICE_SLAB   "superslab: block freed twice"

/* ---- The calls a bad pointer may come in by. ---- */

static void do_free(void *p)
{
    hak_free(hak_victim(p));
}

static void do_free_sized(void *p)
{
    hak_free_sized(hak_victim(p), 100);
}

static void do_free_aligned_sized(void *p)
{
    hak_free_aligned_sized(hak_victim(p), 16, 100);
}

static void do_realloc(void *p)
{
    (void)!hak_realloc(hak_victim(p), 200);
}

static void do_realloc_0(void *p)
{
    (void)!hak_realloc(hak_victim(p), 0);
}

static void do_reallocarray(void *p)
{
    (void)!hak_reallocarray(hak_victim(p), 200, 10);
}

static void do_usable_size(void *p)
{
    (void)hak_usable_size(hak_victim(p));
}

static void *do_free_in_thread(void *p)
{
    do_free(p);
    return NULL;
}

/* The thread has no cache yet, and another heap than the block. */
static void do_free_elsewhere(void *p)
{
    pthread_t t;
    REQUIRE(pthread_create(&t, NULL, do_free_in_thread, p) == 0);
    pthread_join(t, NULL);
}

static void (*const frees[])(void *) = {do_free, do_free_sized, do_free_aligned_sized,
                                        do_free_elsewhere};
static void (*const sizers[])(void *) = {do_realloc, do_realloc_0, do_reallocarray,
                                         do_usable_size};
#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Foreign pointers. ---- */

static void require_foreign(const void *p)
{
    for (size_t i = 0; i < N(frees); i++)
        EXPECT_POINTER_ABORT(frees[i], p, FOREIGN);
    for (size_t i = 0; i < N(sizers); i++)
        EXPECT_POINTER_ABORT(sizers[i], p, FOREIGN);
}

static void pointers_to_other_memory_are_not_ours(void **state)
{
    static _Alignas(64) char global[256];
    _Alignas(64) char local[256];
    void *page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *libc = malloc(100); /* this program's malloc is the C library's */
    require_foreign(global + 64);
    require_foreign(local + 64);
    require_foreign(page);
    require_foreign((char *)page + 4096);
    require_foreign(libc);
    require_foreign((void *)(uintptr_t)&require_foreign);
    free(libc);
    munmap(page, 65536);
    require_foreign(page);
}

static void pointers_to_nowhere_are_not_ours(void **state)
{
    static const uintptr_t nowhere[] = {1,
                                        16,
                                        4096,
                                        0x10000,
                                        0xdeadbeef,
                                        0x00007ffffffff000,
                                        0x0000800000000000, /* non-canonical from here */
                                        0x8000000000000000,
                                        0xdeadbeefdeadbeef,
                                        0xffff800000000000, /* the kernel's */
                                        UINTPTR_MAX - 15,
                                        UINTPTR_MAX};
    for (size_t i = 0; i < N(nowhere); i++)
        require_foreign((void *)nowhere[i]);
}

/* The region has far more addresses than blocks. */
static void addresses_of_the_region_that_hold_nothing_are_not_ours(void **state)
{
    char *base = (char *)ss_map.base, *end = base + ss_map.units * SS_UNIT;
    char *bad[] = {base - 16,      base - SS_UNIT,         end - 16, end - SS_UNIT, end,
                   end + 64 * KIB, base + (end - base) / 2};
    for (size_t i = 0; i < N(bad); i++)
        require_foreign(bad[i]);
}

/* ---- Pointers into blocks. ---- */

static void require_middle(const void *p, const char *of_free, const char *of_sizer)
{
    for (size_t i = 0; i < N(frees); i++)
        EXPECT_POINTER_ABORT(frees[i], p, of_free);
    for (size_t i = 0; i < N(sizers); i++)
        EXPECT_POINTER_ABORT(sizers[i], p, of_sizer);
}

static void every_offset_into_a_tiny_block_is_caught(void **state)
{
    static const size_t sizes[] = {16, 48, 112, 208, 320, 1024};
    for (size_t i = 0; i < N(sizes); i++) {
        char *p = hak_malloc(sizes[i]), *q = hak_malloc(sizes[i]);
        size_t step = sizes[i] <= 112 ? 1 : 16;
        for (size_t at = 1; at < sizes[i]; at += step) {
            EXPECT_POINTER_ABORT(do_free, p + at, MIDDLE);
            if (at % 16 == 1 || at % 16 == 0)
                EXPECT_POINTER_ABORT(do_free_elsewhere, q + at, MIDDLE);
        }
        require_middle(p + sizes[i] / 2, MIDDLE, MIDDLE_SIZE);
        require_middle(p + 8, MIDDLE, MIDDLE_SIZE);
        hak_free(p);
        hak_free(q);
    }
}

/* Every class of the table, at offsets where a sloppy division would go wrong. */
static void no_class_has_an_offset_that_passes(void **state)
{
    for (unsigned c = 1; c < SS_NCLASS && ss_classes[c].size != 0; c++) {
        size_t size = ss_classes[c].size;
        size_t at[] = {1, size / 2, size - 1, size - 16, size / 3 / 16 * 16};
        char *p = hak_malloc(size);
        for (size_t i = 0; i < N(at); i++)
            if (at[i] % size != 0)
                EXPECT_POINTER_ABORT(do_free, p + at[i], MIDDLE);
        hak_free(p);
    }
}

/* What is left behind a slab's last block is a multiple of the size away from its first. */
static void the_rest_behind_the_last_block_of_a_slab_is_no_block(void **state)
{
    for (unsigned c = 1; c < SS_TINY_NCLASS; c++) {
        size_t size = ss_classes[c].size, rest = SS_UNIT % size;
        if (rest == 0)
            continue;
        char *p = hak_malloc(size);
        char *unit = (char *)((uintptr_t)p & ~(uintptr_t)(SS_UNIT - 1));
        EXPECT_POINTER_ABORT(do_free_elsewhere, unit + SS_UNIT - rest, MIDDLE);
        EXPECT_POINTER_ABORT(do_usable_size, unit + SS_UNIT - rest, MIDDLE_SIZE);
        hak_free(p);
    }
}

static void the_middle_of_a_mid_block_is_caught(void **state)
{
    static const size_t offsets[] = {1, 8, 16, 4096, 8192, 10240, 65536, 80 * KIB};
    static const size_t sizes[] = {10 * KIB, 20 * KIB, 100 * KIB};
    for (size_t i = 0; i < N(sizes); i++) {
        char *p = hak_malloc(sizes[i]);
        for (size_t k = 0; k < N(offsets) && offsets[k] < sizes[i]; k++)
            require_middle(p + offsets[k], MIDDLE, MIDDLE_SIZE);
        hak_free(p);
    }
}

static void the_middle_of_a_large_run_is_caught(void **state)
{
    char *p = hak_malloc(3 * MIB);
    size_t offsets[] = {1, 16, 4096, SS_UNIT - 16, SS_UNIT, SS_UNIT + 16, MIB, 3 * MIB - 16};
    for (size_t k = 0; k < N(offsets); k++)
        require_middle(p + offsets[k], MIDDLE_LARGE, MIDDLE_LARGE);
    hak_free(p);
}

static void the_middle_of_a_mapping_is_caught(void **state)
{
    char *p = hak_malloc(40 * MIB);
    size_t offsets[] = {1, 16, 4096, SS_UNIT, MIB, 40 * MIB - 16};
    for (size_t k = 0; k < N(offsets); k++)
        require_middle(p + offsets[k], MIDDLE_LARGE, MIDDLE_LARGE);
    hak_free(p);
}

/* ---- Freed twice. ---- */

static void free_twice(void *p)
{
    hak_free(hak_victim(p));
    hak_free(p);
}

static void *free_twice_in_thread(void *p)
{
    free_twice(p);
    return NULL;
}

static void free_twice_elsewhere(void *p)
{
    pthread_t t;
    hak_free(hak_malloc(16)); /* the main thread's cache is not up for taking over */
    REQUIRE(pthread_create(&t, NULL, free_twice_in_thread, p) == 0);
    pthread_join(t, NULL);
}

static void use_after_free_sizes(void *p)
{
    hak_free(hak_victim(p));
    (void)hak_usable_size(p);
}

static void large_blocks_freed_twice_are_caught(void **state)
{
    static const size_t sizes[] = {3 * MIB, 10 * MIB, 40 * MIB, 64 * MIB};
    for (size_t i = 0; i < N(sizes); i++) {
        EXPECT_POINTER_ABORT(free_twice, hak_malloc(sizes[i]), FOREIGN);
        EXPECT_POINTER_ABORT(free_twice_elsewhere, hak_malloc(sizes[i]), FOREIGN);
        EXPECT_POINTER_ABORT(use_after_free_sizes, hak_malloc(sizes[i]), FOREIGN);
    }
}

/* By the bin where one keeps such blocks, by the slab where none does; a slab of one block is gone
 * when that is freed. */
static const char *twice(size_t n)
{
    if (n > mid_max)
        return FOREIGN;
    unsigned c = 0;
    while (ss_classes[c].size < n)
        c++;
    if (tiny_params.cap_max[c] > 0)
        return TWICE_TINY;
    return ss_classes[c].blocks > 1 ? TWICE_SLAB : FOREIGN;
}

static const char *slab_of(const char *p)
{
    uint32_t word = ss_word(p);
    return ss_word_heap(word) > 0 ? p - ss_offset(p, word) : NULL;
}

static void blocks_freed_twice_in_a_row_are_caught(void **state)
{
    for (size_t n = 9; n <= 300 * KIB; n *= 3) {
        void *victim = hak_malloc(n), *held[64];
        size_t more = 0;
        do /* the slab stays, whatever is freed, if it can hold another block */
            held[more++] = hak_malloc(n);
        while (more < N(held) && slab_of(held[more - 1]) != slab_of(victim));
        EXPECT_POINTER_ABORT(free_twice, victim, twice(n));
        hak_free(victim);
        while (more > 0)
            hak_free(held[--more]);
    }
}

static void blocks_freed_twice_in_a_row_by_another_thread_are_caught(void **state)
{
    for (size_t n = 16; n <= 256 * KIB; n *= 2) {
        void *held = hak_malloc(n);
        EXPECT_POINTER_ABORT(free_twice_elsewhere, hak_malloc(n), TWICE_TINY);
        hak_free(held);
    }
}

/* ---- The same where caches are off and every free is a slow one (see meson.build). ---- */

static bool caches_are_off(void)
{
    const char *v = getenv("HAKMEM_TINY_CACHE");
    return v != NULL && strcmp(v, "0") == 0;
}

static void without_caches_every_block_freed_twice_in_a_row_is_caught(void **state)
{
    hak_purge(); /* no slab has a list that a bin would take over whole */
    for (size_t n = 1; n <= 400 * KIB; n = n * 2 + 5) {
        void *held = hak_malloc(n);
        EXPECT_POINTER_ABORT(free_twice, hak_malloc(n), twice(n));
        hak_free(held);
    }
}

static void null_may_be_freed_any_number_of_times(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        hak_free(NULL);
        hak_free_sized(NULL, 7);
    }
    assert_int_equal(hak_usable_size(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest everywhere[] = {
        cmocka_unit_test(pointers_to_other_memory_are_not_ours),
        cmocka_unit_test(pointers_to_nowhere_are_not_ours),
        cmocka_unit_test(addresses_of_the_region_that_hold_nothing_are_not_ours),
        cmocka_unit_test(every_offset_into_a_tiny_block_is_caught),
        cmocka_unit_test(no_class_has_an_offset_that_passes),
        cmocka_unit_test(the_rest_behind_the_last_block_of_a_slab_is_no_block),
        cmocka_unit_test(the_middle_of_a_mid_block_is_caught),
        cmocka_unit_test(the_middle_of_a_large_run_is_caught),
        cmocka_unit_test(the_middle_of_a_mapping_is_caught),
        cmocka_unit_test(large_blocks_freed_twice_are_caught),
        cmocka_unit_test(blocks_freed_twice_in_a_row_by_another_thread_are_caught),
        cmocka_unit_test(blocks_freed_twice_in_a_row_are_caught),
        cmocka_unit_test(null_may_be_freed_any_number_of_times),
    };
    const struct CMUnitTest uncached[] = {
        cmocka_unit_test(without_caches_every_block_freed_twice_in_a_row_is_caught),
    };
    hak_free(hak_malloc(1)); /* heaps exist before the first fork */
    int failed = cmocka_run_group_tests_name("bad pointers", everywhere, NULL, NULL);
    if (caches_are_off())
        failed += cmocka_run_group_tests_name("freed twice, no caches", uncached, NULL, NULL);
    return failed;
}
