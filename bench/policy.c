/* SPDX-License-Identifier: MIT
 *
 * policy: eight loads whose best large threshold and cache capacities differ.
 *
 *   images    a pipeline replaces 8 buffers of 1 to 3 MiB, and writes each whole
 *   vectors   16 vectors grow in turn, an eighth at a time, from 64 KiB to 12 MiB
 *   slabs     40 MiB taken at a time, written, kept until the end
 *   idle      threads that each work for a moment and then sleep
 *   hot       one class: 20,000 blocks taken and given back, again and again
 *   phases    images, hot and vectors in turn
 *   sparse    tables of 2 to 16 MiB from calloc, of which one page a MiB is written
 *   bursts    96 MiB in buffers of 1 to 8 MiB at once, all freed, then small work
 *
 * --steps is the amount of work; every load does about as much in one step, so that times are
 * seconds at a few hundred.
 */
#include "bench.h"

enum { KIB = 1 << 10, MIB = 1 << 20, IMAGES = 8, VECTORS = 16, HOT = 20000, BURST = 96 * MIB };

enum load {
    LOAD_IMAGES,
    LOAD_VECTORS,
    LOAD_SLABS,
    LOAD_IDLE,
    LOAD_HOT,
    LOAD_PHASES,
    LOAD_SPARSE,
    LOAD_BURSTS
};

static struct {
    unsigned long load, steps, threads, seed;
} arg = {.steps = 200, .threads = 64, .seed = 42};

static const struct bench_option options[] = {
    BENCH_CHOICE("load", &arg.load, "images|vectors|slabs|idle|hot|phases|sparse|bursts",
                 "what is done"),
    BENCH_NUMBER("steps", &arg.steps, 1, 1UL << 32, "how much of it"),
    BENCH_NUMBER("threads", &arg.threads, 1, BENCH_THREADS_MAX, "of the load idle"),
    BENCH_SEED(&arg.seed),
};

static void images(uint64_t *random)
{
    static void *slot[IMAGES];
    for (unsigned i = 0; i < 2 * IMAGES; i++) {
        void **at = &slot[bench_below(random, IMAGES)];
        bench_free(*at);
        *at = bench_block(bench_between(random, MIB, 3 * MIB));
    }
}

static void vectors(uint64_t *random)
{
    struct {
        char *p;
        size_t n;
    } v[VECTORS];
    for (unsigned i = 0; i < VECTORS; i++) {
        v[i].n = bench_between(random, 48 * KIB, 80 * KIB);
        v[i].p = bench_block(v[i].n);
    }
    for (unsigned grown = VECTORS; grown > 0;) {
        grown = 0;
        for (unsigned i = 0; i < VECTORS; i++) {
            size_t n = v[i].n + v[i].n / 8; /* as CPython's lists grow */
            if (n > 12 * MIB)
                continue;
            bench_check(v[i].p);
            v[i].p = bench_checked(realloc(v[i].p, n), "realloc", n);
            if (bench_size(v[i].p) != v[i].n)
                bench_fail("realloc: the contents have changed");
            v[i].n = n;
            bench_stamp(v[i].p, n);
            grown++;
        }
    }
    for (unsigned i = 0; i < VECTORS; i++)
        bench_free(v[i].p);
}

static void hot(uint64_t *random)
{
    static void *block[HOT];
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < HOT; i++)
            block[i] = bench_block(64);
        bench_free_all(block, HOT);
    }
    (void)random;
}

static void sparse(uint64_t *random)
{
    for (unsigned i = 0; i < 32; i++) {
        size_t n = bench_between(random, 2 * MIB, 16 * MIB);
        char *p = bench_checked(calloc(n, 1), "calloc", n);
        for (size_t at = 0; at < n; at += MIB) {
            if (p[at] != 0)
                bench_fail("calloc: not zero");
            p[at] = 1;
        }
        free(p);
    }
}

static void small_work(uint64_t *random, unsigned n)
{
    void *block[64] = {NULL};
    for (unsigned i = 0; i < n; i++) {
        void **at = &block[bench_below(random, 64)];
        bench_free(*at);
        *at = bench_block(bench_log_size(random, 4, 11));
    }
    bench_free_all(block, 64);
}

static void bursts(uint64_t *random)
{
    void *block[BURST / MIB];
    unsigned n = 0;
    for (size_t bytes = 0; bytes < BURST;) {
        size_t size = bench_log_size(random, 20, 23);
        block[n++] = bench_block(size);
        bytes += size;
    }
    bench_free_all(block, n);
    small_work(random, 1000000);
}

static void slabs(uint64_t *random)
{
    static void **kept; /* each points to the one before it */
    void **p = bench_block(40 * MIB);
    p[1] = kept;
    kept = p;
    small_work(random, 500000);
}

/* ---- Threads that sleep. ---- */

static pthread_barrier_t done;

static void *idler(void *index)
{
    uint64_t random = bench_seed(arg.seed, *(unsigned long *)index);
    small_work(&random, 40000);
    void *block[2000];
    for (unsigned i = 0; i < 2000; i++)
        block[i] = bench_block(bench_log_size(&random, 4, 13));
    bench_free_all(block, 2000);
    pthread_barrier_wait(&done);
    return NULL;
}

static void idle(void)
{
    pthread_t thread[BENCH_THREADS_MAX];
    unsigned long index[BENCH_THREADS_MAX];
    uint64_t random = bench_seed(arg.seed, BENCH_THREADS_MAX);
    pthread_barrier_init(&done, NULL, (unsigned)arg.threads + 1);
    for (unsigned long i = 0; i < arg.threads; i++) {
        index[i] = i;
        thread[i] = bench_start(idler, &index[i]);
    }
    for (unsigned long i = 0; i < arg.steps; i++)
        small_work(&random, 200000);
    pthread_barrier_wait(&done);
    for (unsigned long i = 0; i < arg.threads; i++)
        pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
    static void (*const step[])(uint64_t *) = {
        [LOAD_IMAGES] = images, [LOAD_VECTORS] = vectors, [LOAD_SLABS] = slabs,
        [LOAD_HOT] = hot,       [LOAD_SPARSE] = sparse,   [LOAD_BURSTS] = bursts,
    };
    static const enum load turn[] = {LOAD_IMAGES, LOAD_HOT, LOAD_VECTORS};
    enum { PHASE = 25 }; /* steps */
    bench_parse(argc, argv, "Loads whose best policy differs.", options);
    if (arg.load == LOAD_IDLE) {
        idle();
        return 0;
    }
    uint64_t random = bench_seed(arg.seed, 0);
    for (unsigned long i = 0; i < arg.steps; i++) {
        enum load load = arg.load == LOAD_PHASES ? turn[i / PHASE % 3] : (enum load)arg.load;
        step[load](&random);
    }
    return 0;
}
