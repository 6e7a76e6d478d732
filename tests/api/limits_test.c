/* SPDX-License-Identifier: MIT
 *
 * HAKMEM_LIMIT_HARD=64M, which meson.build sets: what is beyond it is ENOMEM, from any function and
 * thread, and the program goes on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hakmem.h"
#include "support/hak_test.h"

#define KIB  ((size_t)1 << 10)
#define MIB  ((size_t)1 << 20)
#define HARD (64 * MIB)

/* Blocks, chained through themselves. */
struct node {
    struct node *next;
    size_t n;
};

static uint64_t number(const char *key)
{
    char text[8192], quoted[64];
    REQUIRE(hak_stats(text, sizeof(text), HAK_STATS_JSON) < sizeof(text));
    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    const char *at = strstr(text, quoted);
    REQUIRE(at != NULL);
    return strtoull(at + strlen(quoted), NULL, 10);
}

/* Allocate blocks of n bytes until there is no more. Returns their bytes. */
static size_t fill(struct node **chain, size_t n)
{
    size_t bytes = 0;
    errno = 0;
    for (struct node *b; (b = hak_malloc(n)) != NULL; bytes += n) {
        hak_test_fill(b + 1, n - sizeof(*b), (uintptr_t)b);
        *b = (struct node){*chain, n};
        *chain = b;
        errno = 0;
    }
    REQUIRE(errno == ENOMEM);
    REQUIRE(number("held") <= HARD);
    return bytes;
}

static void check_and_free(struct node *b)
{
    for (struct node *next; b != NULL; b = next) {
        next = b->next;
        size_t n = b->n - sizeof(*b);
        REQUIRE(hak_test_check(b + 1, n, (uintptr_t)b) == n);
        errno = 77;
        hak_free(b);
        REQUIRE(errno == 77);
    }
}

static void beyond_it_is_enomem_for_every_size_and_all_can_be_had_again(void **state)
{
    static const size_t sizes[] = {32, 1000, 8 * KIB, 100 * KIB, MIB, 10 * MIB, 33 * MIB};
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct node *chain = NULL;
            size_t bytes = fill(&chain, sizes[i]);
            if (bytes < (sizes[i] > 20 * MIB ? 33 * MIB : 48 * MIB))
                fail_msg("blocks of %zu: only %zu bytes", sizes[i], bytes);
            check_and_free(chain);
        }
    }
    assert_true(number("refused") > 0 && number("limit_hard") == HARD);
}

static void every_function_refuses_and_changes_nothing(void **state)
{
    struct node *chain = NULL;
    char *p = hak_malloc(MIB);
    assert_non_null(p);
    hak_test_fill(p, MIB, 3);
    (void)fill(&chain, 256 * KIB);
    errno = 0;
    assert_null(hak_calloc(40, MIB));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(hak_aligned_alloc(4096, 40 * MIB));
    assert_int_equal(errno, ENOMEM);
    void *untouched = &errno;
    errno = 0;
    assert_int_equal(hak_posix_memalign(&untouched, 64, 40 * MIB), ENOMEM);
    assert_true(untouched == &errno && errno == 0);
    static const size_t more[] = {2 * MIB, 20 * MIB, 40 * MIB, 200 * MIB};
    for (unsigned i = 0; i < 4; i++) {
        errno = 0;
        assert_null(hak_realloc(p, more[i]));
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(hak_test_check(p, MIB, 3), MIB);
    }
    char *less = hak_realloc(p, 100 * KIB); /* needs nothing */
    assert_non_null(less);
    assert_int_equal(hak_test_check(less, 100 * KIB, 3), 100 * KIB);
    hak_free(less);
    check_and_free(chain);
    assert_non_null(p = hak_malloc(40 * MIB));
    assert_non_null(p = hak_realloc(p, 50 * MIB)); /* in place: both would not fit */
    hak_free(p);
}

static _Atomic bool stop;
static _Atomic uint64_t worked, refused;

static void *worker(void *arg)
{
    enum { SLOTS = 100 };
    struct node *slot[SLOTS] = {NULL};
    uint64_t random = (uintptr_t)arg + 1;
    for (unsigned i = 0; i < 8000 && !stop; i++) {
        struct node **at = &slot[hak_test_random(&random) % SLOTS];
        if (*at != NULL)
            (*at)->next = NULL;
        check_and_free(*at);
        size_t n = sizeof(struct node) + hak_test_random(&random) % (i % 20 == 0 ? MIB : 9000);
        errno = 0;
        *at = hak_malloc(n);
        if (*at == NULL) {
            REQUIRE(errno == ENOMEM);
            refused++;
            continue;
        }
        hak_test_fill(*at + 1, n - sizeof(**at), (uintptr_t)*at);
        **at = (struct node){NULL, n};
        worked++;
        if (i % 64 == 0)
            REQUIRE(number("held") <= HARD);
    }
    for (unsigned i = 0; i < SLOTS; i++)
        check_and_free(slot[i]);
    return NULL;
}

static void threads_meet_the_limit_together(void **state)
{
    enum { THREADS = 6 };
    pthread_t t[THREADS];
    char *most = hak_malloc(44 * MIB); /* leaves them 20 */
    assert_non_null(most);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, worker, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_true(worked > 1000);
    assert_true(refused > 0);
    hak_free(most);
    char *p = hak_malloc(50 * MIB);
    assert_non_null(p);
    hak_free(p);
}

static void what_was_resident_kept_to_it(void **state)
{
#ifndef HAK_TEST_SANITIZED
    struct node *chain = NULL;
    size_t before = hak_test_resident_bytes() - number("held");
    (void)fill(&chain, 3000);
    assert_true(hak_test_resident_bytes() <= before + HARD + 2 * MIB);
    check_and_free(chain);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_resident_kept_to_it),
        cmocka_unit_test(beyond_it_is_enomem_for_every_size_and_all_can_be_had_again),
        cmocka_unit_test(every_function_refuses_and_changes_nothing),
        cmocka_unit_test(threads_meet_the_limit_together),
    };
    return cmocka_run_group_tests_name("the hard limit", tests, NULL, NULL);
}
