/* SPDX-License-Identifier: MIT
 *
 * Huge pages are asked for, and broken, beside threads that use the memory. HAKMEM_DECAY_MS is short, so
 * that both happen all the time (meson.build).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hakmem.h"
#include "os/os.h"
#include "superslab/ss.h"
#include "support/hak_test.h"

#define MIB ((size_t)1 << 20)

enum { THREADS = 4, SMALL = 20000, LARGE = 4, LEAST_MS = 2000, MOST_MS = 60000 };

static atomic_bool stop;

struct kept {
    char *p;
    size_t n;
};

/* Another block in its place, at times none. */
static void replace(struct kept *k, uint64_t *random, size_t most)
{
    if (k->p != NULL)
        REQUIRE(k->p[0] == (char)k->n && k->p[k->n - 1] == (char)k->n);
    hak_free(k->p);
    k->n = most / 2 + hak_test_random(random) % (most / 2);
    k->p = hak_test_random(random) % 8 == 0 ? NULL : hak_malloc(k->n);
    if (k->p != NULL)
        memset(k->p, (char)k->n, k->n);
}

/* For a while all of it stays, then a part of it is replaced, then most. */
static void *work(void *seed)
{
    static struct kept all[THREADS][SMALL], large[THREADS][LARGE];
    uint64_t random = (uintptr_t)seed + 1;
    struct kept *small = all[(uintptr_t)seed], *big = large[(uintptr_t)seed];
    for (unsigned round = 0; !stop; round++) {
        unsigned n = round % 3 == 0 ? SMALL : round % 3 == 1 ? SMALL / 100 : SMALL / 10;
        for (unsigned i = 0; i < n; i++)
            replace(&small[hak_test_random(&random) % SMALL], &random, 1200);
        for (unsigned i = 0; i < (round % 3 == 0 ? LARGE : 1); i++)
            replace(&big[hak_test_random(&random) % LARGE], &random, 9 * MIB);
        usleep(100000);
    }
    for (unsigned i = 0; i < SMALL; i++)
        hak_free(small[i].p);
    for (unsigned i = 0; i < LARGE; i++)
        hak_free(big[i].p);
    return NULL;
}

static size_t huge_bytes(void)
{
    struct ss_region_stats s;
    ss_region_stats(&s);
    return s.huge_bytes;
}

static void huge_pages_come_and_go_beside_work(void **state)
{
    pthread_t t[THREADS];
    bool allowed = os_huge_allowed() && os_huge_bytes() == 2 * MIB;
    size_t peak = 0;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, work, (void *)i), 0);
    for (unsigned ms = 0; ms < LEAST_MS || (allowed && peak < 8 * MIB); ms += 20) {
        assert_true(ms < MOST_MS);
        usleep(20000);
        size_t now = huge_bytes();
        peak = now > peak ? now : peak;
        if (ms % 500 == 0)
            hak_purge();
    }
    stop = true;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    hak_purge();
    ss_validate();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_pages_come_and_go_beside_work),
    };
    return cmocka_run_group_tests_name("huge pages beside threads", tests, NULL, NULL);
}
