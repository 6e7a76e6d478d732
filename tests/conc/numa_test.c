/* SPDX-License-Identifier: MIT
 *
 * Threads that move between nodes, take heaps there, free each other's blocks, and end, while others empty
 * their caches. The nodes are claimed (fake_os.h): each thread says itself where it is.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "hakmem.h"
#include "support/fake_os.h"
#include "support/hak_test.h"
#include "tiny/tiny.h"

enum { NODES = 3, THREADS = 4, SLOTS = 256, ROUNDS = 24, STAY_US = 60000 };

static _Atomic(unsigned char *) slot[SLOTS]; /* whoever comes by takes what is there */
static _Atomic unsigned moves, strangers;
static atomic_bool stop;

static unsigned heap_node(const void *p)
{
    return ss_heap_by_id(ss_word_heap(ss_word(p)))->node;
}

static void exchange(uint64_t *random)
{
    unsigned char c = (unsigned char)hak_test_random(random);
    size_t n = 32 + (hak_test_random(random) & 4095);
    const struct tiny_cache *before = tiny_tls.own;
    unsigned char *p = hak_malloc(n);
    REQUIRE(p != NULL);
    /* It may have moved once it had its block. */
    strangers +=
        heap_node(p) != tiny_tls.own->node && (before == NULL || heap_node(p) != before->node);
    memset(p, c, 32);
    p = atomic_exchange(&slot[hak_test_random(random) % SLOTS], p);
    if (p != NULL)
        REQUIRE(p[0] == p[31]);
    hak_free(p);
}

static void *wander(void *seed)
{
    uint64_t random = (uintptr_t)seed + 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct tiny_cache *before = tiny_tls.own;
        fake_os_set_own_node(hak_test_random(&random) % NODES);
        for (unsigned i = 0; i < 2000; i++)
            exchange(&random);
        usleep(round % 2 == 0 ? STAY_US : 100); /* for good, or not */
        for (unsigned i = 0; i < 2000; i++)
            exchange(&random);
        moves += before != NULL && before != tiny_tls.own;
    }
    return NULL;
}

static void *empty(void *unused)
{
    while (!stop) {
        (void)tiny_flush_idle(0);
        tiny_flush_parked(0);
        (void)ss_purge();
        usleep(1000);
    }
    return NULL;
}

static void threads_that_move_lose_and_spoil_nothing(void **state)
{
    pthread_t t[THREADS], other;
    assert_int_equal(pthread_create(&other, NULL, empty, NULL), 0);
    for (unsigned life = 0; life < 2; life++) {
        for (size_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&t[i], NULL, wander, (void *)(life * THREADS + i)),
                             0);
        for (size_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(t[i], NULL), 0);
    }
    stop = true;
    assert_int_equal(pthread_join(other, NULL), 0);
    for (unsigned i = 0; i < SLOTS; i++)
        hak_free(slot[i]);
    (void)hak_purge();
    ss_validate();
    uint64_t out = 0;
    for (unsigned id = 1; id <= ss_nheaps(); id++) {
        struct ss_heap_stats s;
        ss_heap_stats(ss_heap_by_id(id), &s);
        for (unsigned c = 0; c < SS_NCLASS; c++)
            out += s.out[c];
    }
    assert_int_equal(out, 0);
    assert_int_equal(strangers, 0);
    assert_true(moves > 0);
    assert_in_range(tiny_ncaches(), NODES, NODES * (THREADS + 1));
}

int main(void)
{
    fake_os_reset();
    fake_os_set_nnodes(NODES);
    REQUIRE(hak_purge() == 0); /* the start */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_move_lose_and_spoil_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
