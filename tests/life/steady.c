/* SPDX-License-Identifier: MIT
 *
 * Memory stays bounded while the load is steady: the live set does not grow, only who frees it,
 * from which thread and in which size changes. Each case states its factor of live memory.
 */
#include "life.h"

/* ---- One thread allocates, another frees: millions of blocks through a short queue. ---- */

enum { QUEUE = 4096, PAIRS = 2, PASSED = 2000000 /* blocks per pair */ };

struct message {
    void *p;
    size_t n;
};

static struct queue {
    struct message ring[QUEUE];
    _Alignas(64) atomic_size_t put;
    _Alignas(64) atomic_size_t taken;
} queues[PAIRS];

static void *produces(void *arg)
{
    struct queue *q = arg;
    uint64_t state = life_seed((uintptr_t)arg);
    for (size_t i = 0; i < PASSED; i++) {
        while (i - atomic_load_explicit(&q->taken, memory_order_acquire) == QUEUE)
            sched_yield();
        size_t n = 16 + life_random(&state) % 500;
        char *p = malloc(n);
        CHECK(p != NULL);
        p[0] = (char)n;
        p[n - 1] = (char)i;
        q->ring[i % QUEUE] = (struct message){p, n};
        atomic_store_explicit(&q->put, i + 1, memory_order_release);
    }
    return NULL;
}

static void *consumes(void *arg)
{
    struct queue *q = arg;
    for (size_t i = 0; i < PASSED; i++) {
        while (atomic_load_explicit(&q->put, memory_order_acquire) == i)
            sched_yield();
        struct message m = q->ring[i % QUEUE];
        char *p = m.p;
        CHECK(p[0] == (char)m.n && p[m.n - 1] == (char)i);
        free(p);
        atomic_store_explicit(&q->taken, i + 1, memory_order_release);
    }
    return NULL;
}

static void producer_consumer(void)
{
    /* At most 2 x 4,096 blocks of 516 bytes are alive: 4 MiB. What a thread may keep per class
     * adds to it: 64 KiB in each of the 20-odd classes up to 516 bytes, for four threads. */
    enum { ALLOWED_KIB = 32 << 10 };
    long before = life_status_kib("VmRSS:");
    pthread_t t[2 * PAIRS];
    for (unsigned i = 0; i < PAIRS; i++) {
        t[2 * i] = life_thread(produces, &queues[i]);
        t[2 * i + 1] = life_thread(consumes, &queues[i]);
    }
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        life_join(t[i]);
    long peak = life_status_kib("VmHWM:");
    printf("%d blocks passed: RSS %ld KiB before, %ld at most\n", PAIRS * PASSED, before, peak);
    CHECK(peak <= before + ALLOWED_KIB);
}

/* ---- Threads come, allocate, and go; those who come after free what they left. ---- */

enum { GENERATIONS = 4000, LEFT = 1000 };

static void *legacy[2][LEFT]; /* what the last generation left, and what this one leaves */

static size_t legacy_size(unsigned i)
{
    return 16 + i * 8 % 2000;
}

static void *inherits(void *arg)
{
    size_t generation = (uintptr_t)arg;
    for (unsigned i = 0; i < LEFT; i++) {
        char *p = malloc(legacy_size(i));
        CHECK(p != NULL);
        p[0] = (char)i;
        legacy[generation % 2][i] = p;
        char *old = legacy[(generation + 1) % 2][i];
        CHECK(old == NULL || old[0] == (char)i);
        free(old);
        legacy[(generation + 1) % 2][i] = NULL;
    }
    return NULL;
}

static void come_and_go(void)
{
    /* Alive: 2 x 1,000 blocks of 1 KiB on average. */
    enum { ALLOWED_KIB = 24 << 10 };
    long before = life_status_kib("VmRSS:");
    for (size_t g = 0; g < GENERATIONS; g++)
        life_join(life_thread(inherits, (void *)g));
    long peak = life_status_kib("VmHWM:");
    printf("%d generations: RSS %ld KiB before, %ld at most\n", GENERATIONS, before, peak);
    CHECK(peak <= before + ALLOWED_KIB);
}

/* ---- The live set is constant while its sizes drift through the classes. ---- */

static long drift(size_t live, const size_t *size, unsigned phases)
{
    uint64_t state = life_seed(1);
    size_t most = live / size[0] + 1;
    for (unsigned i = 0; i < phases; i++)
        most = live / size[i] + 1 > most ? live / size[i] + 1 : most;
    struct message *block = calloc(most, sizeof *block);
    CHECK(block != NULL);
    size_t count = 0, bytes = 0;
    for (unsigned phase = 0; phase < phases; phase++) {
        size_t old = count; /* blocks of earlier phases: block[0 .. old-1] */
        while (bytes < live || old > 0) {
            /* Free old blocks, at random, to make room for each new one. */
            while (old > 0 && bytes + size[phase] > live) {
                size_t victim = life_random(&state) % old;
                bytes -= block[victim].n;
                free(block[victim].p);
                block[victim] = block[--old];
                block[old] = block[--count];
            }
            if (bytes + size[phase] > live)
                break;
            char *p = malloc(size[phase]);
            CHECK(p != NULL);
            for (size_t i = 0; i < size[phase]; i += 1024)
                p[i] = (char)phase;
            block[count++] = (struct message){p, size[phase]};
            bytes += size[phase];
        }
    }
    long table = (long)(most * sizeof *block >> 10);
    long peak = life_status_kib("VmHWM:") - table;
    printf("%zu KiB live in %u sizes: RSS %ld KiB at most, %.2f times live\n", live >> 10,
           phases, peak, (double)peak * 1024 / (double)live);
    while (count > 0)
        free(block[--count].p);
    free(block);
    return peak;
}

static void small_sizes_drift(void)
{
    static const size_t size[] = {16,  24,  32,   48,   80,    112,  160,  256,
                                  384, 640, 1000, 1500, 2000,  3000, 5000, 8000,
                                  200, 64,  4096, 700,  16000, 40,   30000};
    size_t live = 24 << 20;
    long peak = drift(live, size, sizeof size / sizeof size[0]);
    /* While blocks are freed at random every slab of the old size stays to the end: twice live
     * is the least. With bins of idle classes that never decayed it was nine times. */
    CHECK(peak <= (long)(live >> 10) * 4);
}

static void large_sizes_drift(void)
{
    static const size_t size[] = {20000,   40000,   70000,  100000,  150000,  260000,
                                  400000,  600000,  900000, 1300000, 2000000, 90000,
                                  3 << 20, 5 << 20, 50000,  8 << 20, 300000,  12 << 20};
    size_t live = 96 << 20;
    long peak = drift(live, size, sizeof size / sizeof size[0]);
    CHECK(peak <= (long)(live >> 10) * 3);
}

LIFE_MAIN({"producer_consumer", producer_consumer}, {"come_and_go", come_and_go},
          {"small_sizes_drift", small_sizes_drift}, {"large_sizes_drift", large_sizes_drift})
