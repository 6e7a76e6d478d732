/* SPDX-License-Identifier: MIT
 *
 * What fails, how it says so, and what stays as it was: errno, the old block, the out pointer.
 */
#include "names.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "support/hak_test.h"

#define ODD_ERRNO 12345

/* errno is ENOMEM, and nothing was returned. */
#define ASSERT_ENOMEM(call)                                                                    \
    do {                                                                                       \
        errno = ODD_ERRNO;                                                                     \
        assert_null(call);                                                                     \
        assert_int_equal(errno, ENOMEM);                                                       \
    } while (0)
#define ASSERT_EINVAL(call)                                                                    \
    do {                                                                                       \
        errno = ODD_ERRNO;                                                                     \
        assert_null(call);                                                                     \
        assert_int_equal(errno, EINVAL);                                                       \
    } while (0)

static const size_t impossible[] = {(size_t)PTRDIFF_MAX,
                                    (size_t)PTRDIFF_MAX + 1,
                                    (size_t)PTRDIFF_MAX + 17,
                                    SIZE_MAX - 70000,
                                    SIZE_MAX - 4096,
                                    SIZE_MAX - 15,
                                    SIZE_MAX - 1,
                                    SIZE_MAX};
#define N_IMPOSSIBLE (sizeof(impossible) / sizeof(impossible[0]))

static void impossible_sizes_are_enomem_in_every_function(void **state)
{
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        size_t n = impossible[i];
        ASSERT_ENOMEM(t_malloc(n));
        ASSERT_ENOMEM(t_calloc(1, n));
        ASSERT_ENOMEM(t_calloc(n, 1));
        ASSERT_ENOMEM(t_realloc(NULL, n));
        ASSERT_ENOMEM(t_reallocarray(NULL, n, 1));
        ASSERT_ENOMEM(t_reallocarray(NULL, 1, n));
        ASSERT_ENOMEM(t_memalign(64, n));
        ASSERT_ENOMEM(t_aligned_alloc(64, n));
        ASSERT_ENOMEM(t_aligned_alloc(MIB, n));
        ASSERT_ENOMEM(t_valloc(n));
        ASSERT_ENOMEM(t_pvalloc(n));
        void *out = &out;
        assert_int_equal(t_posix_memalign(&out, 64, n), ENOMEM);
        assert_ptr_equal(out, &out);
    }
}

static void products_that_overflow_are_enomem(void **state)
{
    static const struct {
        size_t a, b;
    } rows[] = {{SIZE_MAX / 2, 4},
                {4, SIZE_MAX / 2},
                {(size_t)1 << 32, (size_t)1 << 32},
                {((size_t)1 << 32) + 1, (size_t)1 << 32}, /* wraps to something small */
                {SIZE_MAX, SIZE_MAX},
                {SIZE_MAX / 16 + 2, 16},
                {(size_t)PTRDIFF_MAX, 2}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ASSERT_ENOMEM(t_calloc(rows[i].a, rows[i].b));
        ASSERT_ENOMEM(t_reallocarray(NULL, rows[i].a, rows[i].b));
    }
}

static void a_refused_realloc_leaves_the_block_as_it_was(void **state)
{
    for (size_t i = 0; i < N_TIER_SIZES; i++) {
        size_t n = tier_sizes[i];
        void *p = t_malloc(n);
        hak_test_fill(p, n, i);
        for (size_t k = 0; k < N_IMPOSSIBLE; k++)
            ASSERT_ENOMEM(t_realloc(p, impossible[k]));
        ASSERT_ENOMEM(t_reallocarray(p, SIZE_MAX / 2, 4));
        assert_int_equal(hak_test_check(p, n, i), n);
        assert_true(t_usable_size(p) >= n);
        t_free(p);
    }
}

static void more_than_the_address_space_is_refused_and_nothing_breaks(void **state)
{
    for (unsigned shift = 47; shift < 63; shift++)
        ASSERT_ENOMEM(t_malloc((size_t)1 << shift));
    void *p = t_malloc(100);
    assert_non_null(p);
    t_free(p);
}

static void alignments_that_cannot_be_are_refused(void **state)
{
    ASSERT_EINVAL(t_aligned_alloc(0, 64));
    ASSERT_EINVAL(t_aligned_alloc(3, 64));
    ASSERT_EINVAL(t_aligned_alloc(24, 64));
    ASSERT_EINVAL(t_aligned_alloc(SIZE_MAX, 64));
    ASSERT_ENOMEM(t_aligned_alloc((size_t)1 << 62, 64));
    ASSERT_ENOMEM(t_aligned_alloc((size_t)1 << 63, 64));
    ASSERT_ENOMEM(t_memalign((size_t)1 << 62, 64));
    ASSERT_EINVAL(t_memalign(((size_t)1 << 63) + 1, 64)); /* no power of two above it */
}

static void posix_memalign_reports_by_value_only(void **state)
{
    static const size_t bad[] = {0, 1, 2, 4, 7, 12, 24, 4095, SIZE_MAX};
    void *out = &out;
    errno = ODD_ERRNO;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(t_posix_memalign(&out, bad[i], 64), EINVAL);
        assert_ptr_equal(out, &out);
    }
    assert_int_equal(t_posix_memalign(&out, (size_t)1 << 62, 64), ENOMEM);
    assert_int_equal(t_posix_memalign(&out, 64, SIZE_MAX), ENOMEM);
    assert_ptr_equal(out, &out);
    assert_int_equal(t_posix_memalign(&out, 64, 100), 0);
    assert_ptr_not_equal(out, &out);
    assert_int_equal(errno, ODD_ERRNO);
    t_free(out);
}

static void *allocate_in_a_thread(void *size)
{
    return t_malloc((size_t)size);
}

static void free_leaves_errno_alone(void **state)
{
    errno = ODD_ERRNO;
    t_free(NULL);
    assert_int_equal(errno, ODD_ERRNO);
    for (size_t i = 0; i < N_TIER_SIZES; i++) {
        void *own = t_malloc(tier_sizes[i]), *remote, *third = t_malloc(tier_sizes[i]);
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, allocate_in_a_thread, (void *)tier_sizes[i]),
                         0);
        pthread_join(t, &remote);
        assert_non_null(own);
        assert_non_null(remote);
        errno = ODD_ERRNO;
        t_free(own);
        t_free(remote);
        t_free_sized(third, tier_sizes[i]);
        assert_int_equal(errno, ODD_ERRNO);
        errno = 0;
        t_free(t_malloc(tier_sizes[i]));
        assert_int_equal(errno, 0);
    }
}

/* Enough of them that bins fill, slabs empty and memory goes back, all inside free. */
static void a_flood_of_frees_leaves_errno_alone(void **state)
{
    enum { N = 20000 };
    static void *p[N];
    for (size_t size = 24; size <= 24 * KIB; size *= 10) {
        for (size_t i = 0; i < N; i++)
            p[i] = t_malloc(size);
        errno = ODD_ERRNO;
        for (size_t i = 0; i < N; i++)
            t_free(p[i]);
        assert_int_equal(errno, ODD_ERRNO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_sizes_are_enomem_in_every_function),
        cmocka_unit_test(products_that_overflow_are_enomem),
        cmocka_unit_test(a_refused_realloc_leaves_the_block_as_it_was),
        cmocka_unit_test(more_than_the_address_space_is_refused_and_nothing_breaks),
        cmocka_unit_test(alignments_that_cannot_be_are_refused),
        cmocka_unit_test(posix_memalign_reports_by_value_only),
        cmocka_unit_test(free_leaves_errno_alone),
        cmocka_unit_test(a_flood_of_frees_leaves_errno_alone),
    };
    return cmocka_run_group_tests_name(API_TEST_NAME("errors"), tests, NULL, NULL);
}
