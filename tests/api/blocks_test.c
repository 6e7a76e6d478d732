/* SPDX-License-Identifier: MIT
 *
 * What a block is: aligned, of its own, usable in full, of the size that was promised.
 */
#include "names.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "support/hak_test.h"

static void every_size_is_aligned_to_16_and_large_enough(void **state)
{
    for (size_t n = 0; n < 64 * MIB; n = n < 70000 ? n + 1 : n + n / 7) {
        char *p = t_malloc(n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_true(t_usable_size(p) >= n);
        assert_int_equal(t_usable_size(p), hak_good_size(n));
        p[0] = 1;
        p[t_usable_size(p) - 1] = 1;
        t_free(p);
    }
}

static void good_size_is_a_fixed_point_and_never_falls(void **state)
{
    size_t last = 0;
    for (size_t n = 0; n < 256 * MIB; n += 1 + n / 300) {
        size_t good = hak_good_size(n);
        assert_true(good >= n);
        assert_true(good >= last);
        assert_int_equal(hak_good_size(good), good);
        last = good;
    }
    assert_int_equal(hak_good_size(SIZE_MAX), SIZE_MAX);
    assert_int_equal(hak_good_size((size_t)PTRDIFF_MAX + 1), (size_t)PTRDIFF_MAX + 1);
}

static void no_size_up_to_a_mebibyte_wastes_more_than_a_quarter(void **state)
{
    for (size_t n = 65; n <= MIB; n += 1 + n / 1000)
        assert_true(hak_good_size(n) - n <= n / 4 + 16);
}

/* Every byte of usable_size belongs to the caller, and to nobody else. */
static void blocks_are_usable_in_full_and_neighbours_stay_intact(void **state)
{
    enum { N = 40 };
    unsigned char *p[N];
    for (size_t n = 1; n <= 5 * MIB; n = hak_good_size(n) + 1 + n / 64) {
        for (size_t i = 0; i < N; i++) {
            p[i] = t_malloc(n);
            assert_non_null(p[i]);
            hak_test_fill(p[i], t_usable_size(p[i]), i * 1000003 + n);
            if (n > 300 * KIB && i == 3) { /* a few large ones tell as much as forty */
                for (size_t j = i + 1; j < N; j++)
                    p[j] = NULL;
                break;
            }
        }
        for (size_t i = 0; i < N && p[i] != NULL; i++) {
            size_t usable = t_usable_size(p[i]);
            assert_int_equal(hak_test_check(p[i], usable, i * 1000003 + n), usable);
        }
        for (size_t i = 0; i < N && p[i] != NULL; i++)
            t_free(p[i]);
    }
}

static void malloc_of_0_is_unique_and_can_be_freed(void **state)
{
    enum { N = 1000 };
    static char *p[N];
    for (size_t i = 0; i < N; i++) {
        p[i] = i % 2 == 0 ? t_malloc(0) : t_calloc(0, 8);
        assert_non_null(p[i]);
        memset(p[i], (int)i, t_usable_size(p[i])); /* may be 0 bytes */
    }
    for (size_t i = 0; i < N; i++)
        for (size_t j = i + 1; j < N; j++)
            assert_ptr_not_equal(p[i], p[j]);
    for (size_t i = 0; i < N; i++)
        t_free(p[i]);
}

static void *aligned(unsigned how, size_t align, size_t n)
{
    void *p = NULL;
    switch (how % 3) {
    case 0:
        return t_aligned_alloc(align, n);
    case 1:
        return t_memalign(align, n);
    default:
        return align < sizeof(void *) || t_posix_memalign(&p, align, n) == 0 ? p : NULL;
    }
}

static void any_alignment_up_to_a_gibibyte_is_kept(void **state)
{
    static const size_t sizes[] = {0, 1, 24, 100, 4096, 5000, 70000, 600 * KIB, 3 * MIB};
    for (size_t align = 1; align <= GIB; align *= 2) {
        for (unsigned i = 0; i < 3 * 9; i++) {
            size_t n = sizes[i / 3];
            char *p = aligned(i, align, n), *q = aligned(i, align, n);
            if (i % 3 == 2 && align < sizeof(void *))
                continue;
            assert_non_null(p);
            assert_non_null(q);
            assert_ptr_not_equal(p, q);
            assert_int_equal((uintptr_t)p % align, 0);
            assert_int_equal((uintptr_t)q % align, 0);
            assert_int_equal((uintptr_t)p % 16, 0);
            assert_true(t_usable_size(p) >= n);
            memset(p, 1, t_usable_size(p) < 70000 ? t_usable_size(p) : 70000);
            memset(q, 2, t_usable_size(q) < 70000 ? t_usable_size(q) : 70000);
            p[n > 0 ? n - 1 : 0] = 1;
            assert_true(n == 0 || p[0] == 1);
            t_free(p);
            t_free(q);
        }
    }
}

/* Half a superslab, a superslab and twice that: where the tiers meet. */
static void aligned_blocks_of_every_size_around_their_alignment(void **state)
{
    for (size_t align = 32; align <= 4 * MIB; align *= 2) {
        for (size_t n = align / 2 - 1; n <= 2 * align + 1; n += align / 4 + 1) {
            unsigned char *p = t_aligned_alloc(align, n);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % align, 0);
            size_t usable = t_usable_size(p);
            assert_true(usable >= n);
            p[0] = p[usable - 1] = 7;
            t_free(p);
        }
    }
}

static void memalign_rounds_an_odd_alignment_up(void **state)
{
    static const struct {
        size_t asked, got;
    } rows[] = {{0, 16}, {1, 16}, {3, 16}, {17, 32}, {48, 64}, {4097, 8192}, {100000, 131072}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *p = t_memalign(rows[i].asked, 40);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % rows[i].got, 0);
        t_free(p);
    }
}

static void valloc_and_pvalloc_give_whole_pages(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000, 5 * MIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *v = t_valloc(sizes[i]), *pv = t_pvalloc(sizes[i]);
        assert_non_null(v);
        assert_non_null(pv);
        assert_int_equal((uintptr_t)v % page, 0);
        assert_int_equal((uintptr_t)pv % page, 0);
        assert_true(t_usable_size(pv) >= (sizes[i] + page - 1) / page * page);
        memset(pv, 1, (sizes[i] + page - 1) / page * page);
        t_free(v);
        t_free(pv);
    }
}

static void usable_size_of_null_is_0(void **state)
{
    assert_int_equal(t_usable_size(NULL), 0);
}

static void sized_frees_free(void **state)
{
    t_free_sized(NULL, 0);
    t_free_aligned_sized(NULL, 64, 0);
    for (size_t i = 0; i < N_TIER_SIZES; i++) {
        void *first = t_malloc(tier_sizes[i]);
        t_free_sized(first, tier_sizes[i]);
        void *again = t_malloc(tier_sizes[i]);
        if (tier_sizes[i] <= 8192) /* last in, first out: proof that it was taken back */
            assert_ptr_equal(again, first);
        t_free(again);
        void *a = t_aligned_alloc(256, tier_sizes[i]);
        assert_non_null(a);
        t_free_aligned_sized(a, 256, tier_sizes[i]);
    }
}

static void version_is_the_one_in_the_header(void **state)
{
    char want[32];
    snprintf(want, sizeof(want), "%d.%d.%d", HAK_VERSION_MAJOR, HAK_VERSION_MINOR,
             HAK_VERSION_PATCH);
    assert_string_equal(hak_version(), want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_is_aligned_to_16_and_large_enough),
        cmocka_unit_test(good_size_is_a_fixed_point_and_never_falls),
        cmocka_unit_test(no_size_up_to_a_mebibyte_wastes_more_than_a_quarter),
        cmocka_unit_test(blocks_are_usable_in_full_and_neighbours_stay_intact),
        cmocka_unit_test(malloc_of_0_is_unique_and_can_be_freed),
        cmocka_unit_test(any_alignment_up_to_a_gibibyte_is_kept),
        cmocka_unit_test(aligned_blocks_of_every_size_around_their_alignment),
        cmocka_unit_test(memalign_rounds_an_odd_alignment_up),
        cmocka_unit_test(valloc_and_pvalloc_give_whole_pages),
        cmocka_unit_test(usable_size_of_null_is_0),
        cmocka_unit_test(sized_frees_free),
        cmocka_unit_test(version_is_the_one_in_the_header),
    };
    return cmocka_run_group_tests_name(API_TEST_NAME("blocks"), tests, NULL, NULL);
}
