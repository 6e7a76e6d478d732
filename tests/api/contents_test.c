/* SPDX-License-Identifier: MIT
 *
 * What is in a block: realloc carries the contents through all tiers, calloc's are zero.
 */
#include "names.h"

#include <string.h>

#include "support/hak_test.h"

static void realloc_of_null_is_malloc(void **state)
{
    void *p = t_realloc(NULL, 100), *q = t_reallocarray(NULL, 10, 10);
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal(t_usable_size(p), hak_good_size(100));
    assert_int_equal(t_usable_size(q), hak_good_size(100));
    t_free(p);
    t_free(q);
    p = t_realloc(NULL, 0);
    assert_non_null(p);
    t_free(p);
}

/* As glibc. Freed, not leaked: the next block of that class is the same one. */
static void realloc_to_0_frees_and_returns_null(void **state)
{
    for (size_t n = 16; n <= 4096; n *= 4) {
        void *p = t_malloc(n);
        assert_null(t_realloc(p, 0));
        void *q = t_malloc(n);
        assert_ptr_equal(q, p);
        assert_null(t_reallocarray(q, 0, 8));
    }
    for (size_t i = 0; i < 200; i++) /* 8 GB if it leaked */
        assert_null(t_realloc(t_malloc(40 * MIB), 0));
}

static void realloc_keeps_contents_from_each_tier_to_each(void **state)
{
    for (size_t i = 0; i < N_TIER_SIZES; i++) {
        for (size_t k = 0; k < N_TIER_SIZES; k++) {
            size_t from = tier_sizes[i], to = tier_sizes[k], both = from < to ? from : to;
            void *p = t_malloc(from);
            hak_test_fill(p, from, i * 100 + k);
            p = (i + k) % 2 == 0 ? t_realloc(p, to) : t_reallocarray(p, 1, to);
            assert_non_null(p);
            assert_true(t_usable_size(p) >= to);
            assert_int_equal(hak_test_check(p, both, i * 100 + k), both);
            memset((char *)p + both, 0x5a, to - both);
            assert_int_equal(hak_test_check(p, both, i * 100 + k), both);
            t_free(p);
        }
    }
}

static void realloc_grows_and_shrinks_step_by_step(void **state)
{
    unsigned char *p = t_malloc(1);
    size_t n = 1;
    hak_test_fill(p, n, 77);
    while (n < 70 * MIB) {
        size_t grown = n + n / 3 + 1;
        p = t_realloc(p, grown);
        assert_non_null(p);
        assert_int_equal(hak_test_check(p, n, 77), n);
        hak_test_fill(p, grown, 77);
        n = grown;
    }
    while (n > 1) {
        size_t shrunk = n - n / 3 - 1;
        p = t_realloc(p, shrunk + 1);
        assert_non_null(p);
        assert_int_equal(hak_test_check(p, shrunk + 1, 77), shrunk + 1);
        n = shrunk + 1 < n ? shrunk + 1 : shrunk;
    }
    t_free(p);
}

/* A string that grows byte by byte would else be copied at every sixteenth. */
static void realloc_moves_a_growing_block_by_an_eighth_at_least(void **state)
{
    char *p = NULL;
    for (size_t n = 1, had = 0; n <= 20000; n++) {
        p = t_realloc(p, n);
        size_t have = t_usable_size(p);
        assert_true(have == had || have >= had + had / 8 ||
                    had == 7680); /* tiny ends at 8 KiB */
        assert_true(have <= n + n / 4 + 16);
        had = have;
    }
    t_free(p);
}

static void realloc_within_the_usable_size_does_not_move(void **state)
{
    for (size_t i = 0; i < N_TIER_SIZES; i++) {
        void *p = t_malloc(tier_sizes[i]);
        assert_ptr_equal(t_realloc(p, t_usable_size(p)), p);
        assert_ptr_equal(t_realloc(p, tier_sizes[i]), p);
        t_free(p);
    }
}

static void a_block_shrunk_by_realloc_gives_its_memory_back(void **state)
{
    for (size_t i = 3; i < N_TIER_SIZES; i++) {
        void *p = t_realloc(t_malloc(tier_sizes[i]), 100);
        assert_non_null(p);
        assert_true(t_usable_size(p) < tier_sizes[i] / 2);
        t_free(p);
    }
}

static void realloc_of_aligned_blocks_keeps_contents(void **state)
{
    for (size_t align = 32; align <= 64 * MIB; align *= 8) {
        for (size_t i = 0; i < N_TIER_SIZES - 1; i++) {
            size_t n = tier_sizes[i];
            void *p = t_aligned_alloc(align, n);
            hak_test_fill(p, n, align + i);
            p = t_realloc(p, n * 3);
            assert_non_null(p);
            assert_int_equal(hak_test_check(p, n, align + i), n);
            p = t_realloc(p, n / 2 + 1);
            assert_int_equal(hak_test_check(p, n / 2 + 1, align + i), n / 2 + 1);
            t_free(p);
        }
    }
}

static void calloc_is_zero_after_dirty_use_in_every_tier(void **state)
{
    enum { N = 24 };
    void *p[N];
    for (size_t n = 1; n <= 48 * MIB; n = n * 2 + n / 3 + 1) {
        size_t count = n > 4 * MIB ? 2 : N;
        for (unsigned round = 0; round < 3; round++) {
            for (size_t i = 0; i < count; i++) {
                p[i] =
                    round == 0 ? t_malloc(n) : t_calloc(i % 2 == 0 ? 1 : n, i % 2 == 0 ? n : 1);
                assert_non_null(p[i]);
                assert_true(round == 0 || hak_test_is_zero(p[i], n));
                memset(p[i], 0xff, t_usable_size(p[i]));
            }
            for (size_t i = 0; i < count; i++)
                t_free(p[i]);
        }
    }
}

/* realloc out of calloc'ed, freed, purged memory: "known to be zero" must not go stale. */
static void calloc_is_zero_after_purge_and_resize(void **state)
{
    for (size_t n = 100; n <= 8 * MIB; n = n * 5) {
        char *p = t_calloc(1, n);
        memset(p, 0xff, t_usable_size(p));
        p = t_realloc(p, n * 2);
        memset(p, 0xff, t_usable_size(p));
        p = t_realloc(p, n / 2);
        t_free(p);
        hak_purge();
        p = t_calloc(1, n);
        assert_true(hak_test_is_zero(p, n));
        memset(p, 0xff, t_usable_size(p));
        t_free(p);
        p = t_calloc(2, n);
        assert_true(hak_test_is_zero(p, 2 * n));
        t_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(realloc_of_null_is_malloc),
        cmocka_unit_test(realloc_to_0_frees_and_returns_null),
        cmocka_unit_test(realloc_keeps_contents_from_each_tier_to_each),
        cmocka_unit_test(realloc_grows_and_shrinks_step_by_step),
        cmocka_unit_test(realloc_moves_a_growing_block_by_an_eighth_at_least),
        cmocka_unit_test(realloc_within_the_usable_size_does_not_move),
        cmocka_unit_test(a_block_shrunk_by_realloc_gives_its_memory_back),
        cmocka_unit_test(realloc_of_aligned_blocks_keeps_contents),
        cmocka_unit_test(calloc_is_zero_after_dirty_use_in_every_tier),
        cmocka_unit_test(calloc_is_zero_after_purge_and_resize),
    };
    return cmocka_run_group_tests_name(API_TEST_NAME("contents"), tests, NULL, NULL);
}
