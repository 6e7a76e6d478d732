/* SPDX-License-Identifier: MIT
 *
 * Threads that allocate and free each other's blocks, live and die, and share heaps. Run plainly
 * they check contents; under ThreadSanitizer they also find every unordered access.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hakmem.h"
#include "support/hak_test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* ---- A bounded queue, so that blocks change hands with no other way to synchronise. ---- */

enum { QUEUE_MAX = 256 };

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *blocks[QUEUE_MAX];
    unsigned n;
    bool closed;
};

static void queue_init(struct queue *q)
{
    memset(q, 0, sizeof(*q));
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
}

static void queue_put(struct queue *q, void *block)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == QUEUE_MAX)
        pthread_cond_wait(&q->changed, &q->lock);
    q->blocks[q->n++] = block;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

/* NULL: closed and empty. */
static void *queue_get(struct queue *q)
{
    void *block = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->n == 0 && !q->closed)
        pthread_cond_wait(&q->changed, &q->lock);
    if (q->n > 0)
        block = q->blocks[--q->n];
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return block;
}

static void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

/* ---- Blocks that know their size, so that any thread can check them. ---- */

static size_t size_of_step(uint64_t i)
{
    static const size_t sizes[] = {24,  48,   64,    100, 128, 24,      300, 1000,
                                   700, 5000, 40000, 24,  32,  MIB / 3, 90,  2 * MIB};
    return sizes[i * 2654435761u % 65536 * 16 / 65536];
}

static size_t filled(size_t n) /* bytes of a block that carry the pattern */
{
    return n < 512 ? n : 512;
}

static void *block_new(uint64_t i)
{
    size_t n = size_of_step(i);
    unsigned char *p = hak_malloc(n);
    REQUIRE(p != NULL);
    memcpy(p, &n, sizeof(n));
    hak_test_fill(p + sizeof(n), filled(n) - sizeof(n), n);
    p[n - 1] = p[8]; /* the far end is touched too */
    return p;
}

static size_t block_check(const unsigned char *p)
{
    size_t n;
    memcpy(&n, p, sizeof(n));
    REQUIRE(n >= 24 && n <= 4 * MIB && hak_usable_size(p) >= n);
    size_t len = (n <= 512 ? n - 1 : 512) - sizeof(n);
    REQUIRE(hak_test_check(p + sizeof(n), len, n) == len);
    REQUIRE(p[n - 1] == p[8]);
    return n;
}

static void block_free(void *p)
{
    block_check(p);
    hak_free(p);
}

static void start(pthread_t *t, void *(*fn)(void *), void *arg)
{
    REQUIRE(pthread_create(t, NULL, fn, arg) == 0);
}

/* ---- A ring: each thread allocates for the next and frees what comes from the one before. ---- */

enum { RING = 4, RING_STEPS = 12000 };
static struct queue ring[RING];

static void *ring_thread(void *arg)
{
    size_t me = (size_t)arg;
    for (uint64_t i = 0; i < RING_STEPS; i++) {
        queue_put(&ring[(me + 1) % RING], block_new(i * RING + me));
        block_free(queue_get(&ring[me]));
    }
    return NULL;
}

static void a_ring_of_threads_hands_blocks_on(void **state)
{
    pthread_t t[RING];
    for (size_t i = 0; i < RING; i++)
        queue_init(&ring[i]);
    for (size_t i = 0; i < RING; i++)
        start(&t[i], ring_thread, (void *)i);
    for (size_t i = 0; i < RING; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
}

/* ---- Producers and consumers. ---- */

static struct queue middle;

static void *producer(void *count)
{
    for (uint64_t i = 0; i < (uint64_t)(size_t)count; i++)
        queue_put(&middle, block_new(i));
    return NULL;
}

static void *consumer(void *unused)
{
    for (void *p; (p = queue_get(&middle)) != NULL;)
        block_free(p);
    return NULL;
}

static void produce_and_consume(unsigned producers, unsigned consumers, size_t each)
{
    pthread_t p[8], c[8];
    queue_init(&middle);
    for (unsigned i = 0; i < producers; i++)
        start(&p[i], producer, (void *)each);
    for (unsigned i = 0; i < consumers; i++)
        start(&c[i], consumer, NULL);
    for (unsigned i = 0; i < producers; i++)
        assert_int_equal(pthread_join(p[i], NULL), 0);
    queue_close(&middle);
    for (unsigned i = 0; i < consumers; i++)
        assert_int_equal(pthread_join(c[i], NULL), 0);
}

static void many_threads_allocate_and_one_frees(void **state)
{
    produce_and_consume(4, 1, 8000);
}

static void one_thread_allocates_and_many_free(void **state)
{
    produce_and_consume(1, 4, 32000);
}

/* What one thread allocates and another frees does not pile up on either side. */
static void a_producer_and_a_consumer_do_not_grow(void **state)
{
    produce_and_consume(1, 1, 10000);
    size_t before = hak_test_resident_bytes();
    produce_and_consume(1, 1, 60000); /* 6 times as much went through */
    assert_true(hak_test_resident_bytes() <= before + 48 * MIB);
}

/* ---- Threads that are born and die. ---- */

static void *short_life(void *arg)
{
    void *p[16];
    for (uint64_t i = 0; i < 16; i++)
        p[i] = block_new(i + (size_t)arg);
    for (unsigned i = 0; i < 15; i++)
        block_free(p[i]);
    return p[15]; /* outlives its thread */
}

static void blocks_outlive_the_threads_that_allocated_them(void **state)
{
    enum { N = 1500 };
    static void *kept[N];
    for (size_t i = 0; i < N; i += 3) {
        pthread_t t[3];
        for (size_t k = 0; k < 3; k++)
            start(&t[k], short_life, (void *)(i + k));
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(pthread_join(t[k], &kept[i + k]), 0);
        if (i >= 300)
            block_free(kept[i - 300]);
    }
    for (size_t i = 0; i < N; i++)
        if (i % 3 != 0 || i + 300 >= N - 2)
            block_free(kept[i]);
}

static void *idle_life(void *unused)
{
    block_free(block_new(0));
    return NULL;
}

/*
 * A thread costs no mapping, alive or dead; its stack is cached by the C library. What earlier tests
 * left goes back meanwhile, which may split a mapping, and a sanitizer has some of its own: a few
 * more are nobody's leak, one for every tenth thread would be.
 */
static void threads_leave_no_mappings_behind(void **state)
{
    enum { WARM = 100, N = 600 };
    pthread_t t;
    size_t before = 0;
    for (unsigned i = 0; i < N; i++) {
        start(&t, idle_life, NULL);
        assert_int_equal(pthread_join(t, NULL), 0);
        if (i == WARM)
            before = hak_test_n_mappings();
    }
    assert_in_range(hak_test_n_mappings(), 0, before + (N - WARM) / 10);
}

/* Blocks allocated and freed in destructors, after and before our own ran. */
static pthread_key_t keys[3];

static void late(void *block)
{
    static _Thread_local unsigned rounds;
    block_free(block);
    if (rounds++ < 6) /* the C library gives up after 4 rounds */
        pthread_setspecific(keys[rounds % 3], block_new(rounds));
}

static void *dies_slowly(void *unused)
{
    for (unsigned i = 0; i < 3; i++)
        pthread_setspecific(keys[i], block_new(i));
    return NULL;
}

static void thread_destructors_may_allocate_and_free(void **state)
{
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_key_create(&keys[i], late), 0);
    for (unsigned i = 0; i < 100; i++) {
        pthread_t t;
        start(&t, dies_slowly, NULL);
        assert_int_equal(pthread_join(t, NULL), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_key_delete(keys[i]);
}

/* ---- More threads than heaps: bins are their own, heaps are shared. ---- */

static void *churn(void *arg)
{
    void *p[64] = {NULL};
    uint64_t random = (size_t)arg * 77 + 1;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned k = hak_test_random(&random) % 64;
        if (p[k] != NULL)
            block_free(p[k]);
        p[k] = block_new(random);
    }
    for (unsigned k = 0; k < 64; k++)
        if (p[k] != NULL)
            block_free(p[k]);
    return NULL;
}

static void more_threads_than_heaps_share_them(void **state)
{
    enum { N = 24 };
    pthread_t t[N];
    for (size_t i = 0; i < N; i++)
        start(&t[i], churn, (void *)i);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
}

/* ---- realloc of what another thread allocated, through the tiers. ---- */

static void *realloc_thread(void *unused)
{
    for (unsigned char *p; (p = queue_get(&middle)) != NULL;) {
        size_t n = block_check(p), to = n < MIB ? n * 3 : n / 7;
        p = hak_realloc(p, to);
        REQUIRE(p != NULL && hak_usable_size(p) >= to);
        size_t len = filled(n < to ? n : to) - sizeof(n) - 1;
        REQUIRE(hak_test_check(p + sizeof(n), len, n) == len);
        hak_free(p);
    }
    return NULL;
}

static void blocks_are_resized_by_another_thread(void **state)
{
    pthread_t p, c[2];
    queue_init(&middle);
    start(&p, producer, (void *)15000);
    for (unsigned i = 0; i < 2; i++)
        start(&c[i], realloc_thread, NULL);
    assert_int_equal(pthread_join(p, NULL), 0);
    queue_close(&middle);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(c[i], NULL), 0);
}

/* ---- Large runs and own mappings cross threads. ---- */

static void *large_producer(void *unused)
{
    for (unsigned i = 0; i < 300; i++) {
        size_t n = i % 10 == 0 ? 40 * MIB : (i % 7 + 1) * MIB + i;
        unsigned char *p = i % 3 == 0 ? hak_calloc(1, n) : hak_malloc(n);
        REQUIRE(p != NULL);
        REQUIRE(i % 3 != 0 || hak_test_is_zero(p, 4096));
        memset(p, 0xff, 4096);
        p[n - 1] = 0xff;
        queue_put(&middle, p);
    }
    return NULL;
}

static void *large_consumer(void *unused)
{
    for (unsigned char *p; (p = queue_get(&middle)) != NULL;) {
        REQUIRE(p[0] == 0xff && p[4095] == 0xff);
        hak_free(p);
    }
    return NULL;
}

static void large_blocks_cross_threads(void **state)
{
    pthread_t p[2], c[2];
    queue_init(&middle);
    for (unsigned i = 0; i < 2; i++) {
        start(&p[i], large_producer, NULL);
        start(&c[i], large_consumer, NULL);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(p[i], NULL), 0);
    queue_close(&middle);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(c[i], NULL), 0);
}

/* ---- Purge and statistics while others work. ---- */

static atomic_bool stop;

static void *purger(void *unused)
{
    static char text[65536];
    while (!stop) {
        hak_purge();
        hak_stats(text, sizeof(text), HAK_STATS_TEXT);
        hak_stats(NULL, 0, HAK_STATS_JSON);
        usleep(500);
    }
    return NULL;
}

static void purge_and_stats_run_beside_work(void **state)
{
    pthread_t watcher, t[4];
    stop = false;
    start(&watcher, purger, NULL);
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < 4; i++)
            start(&t[i], churn, (void *)(i + round * 10));
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_join(t[i], NULL), 0);
    }
    stop = true;
    assert_int_equal(pthread_join(watcher, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_of_threads_hands_blocks_on),
        cmocka_unit_test(many_threads_allocate_and_one_frees),
        cmocka_unit_test(one_thread_allocates_and_many_free),
        cmocka_unit_test(a_producer_and_a_consumer_do_not_grow),
        cmocka_unit_test(blocks_outlive_the_threads_that_allocated_them),
        cmocka_unit_test(threads_leave_no_mappings_behind),
        cmocka_unit_test(thread_destructors_may_allocate_and_free),
        cmocka_unit_test(more_threads_than_heaps_share_them),
        cmocka_unit_test(blocks_are_resized_by_another_thread),
        cmocka_unit_test(large_blocks_cross_threads),
        cmocka_unit_test(purge_and_stats_run_beside_work),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
