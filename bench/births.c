/* SPDX-License-Identifier: MIT
 *
 * births: threads that allocate a little and end.
 *
 * After the pattern of mleak in mimalloc-bench, by D. Leijen, with joined threads: each
 * allocates --blocks blocks of 16 to 1,023 bytes, leaves one of them in a table that all
 * share, frees the one that lay there and its other blocks, and ends. --threads of them are
 * alive at any time: the main thread waits for the oldest and starts another.
 *
 * It stresses what an allocator does when a thread first calls it and when it ends, and
 * whether the memory of ended threads is found again: the table keeps blocks of a thousand of
 * them.
 */
#include "bench.h"

enum { LEFT = 1000, MOST = 4096 };

static struct {
    unsigned long threads, births, blocks, seed;
} arg = {.threads = 2, .births = 30000, .blocks = 16, .seed = 1};

static const struct bench_option options[] = {
    BENCH_NUMBER("threads", &arg.threads, 1, BENCH_THREADS_MAX, "alive at a time"),
    BENCH_NUMBER("births", &arg.births, 1, 1 << 30, "threads in all"),
    BENCH_NUMBER("blocks", &arg.blocks, 1, MOST, "of a thread"),
    BENCH_SEED(&arg.seed),
};

static _Atomic(void *) left[LEFT];

static void *live(void *p)
{
    uint64_t random = bench_seed(arg.seed, (unsigned long)p);
    void *blocks[MOST];
    for (size_t i = 0; i < arg.blocks; i++)
        blocks[i] = bench_block(bench_log_size(&random, 4, 10));
    size_t slot = bench_below(&random, LEFT);
    blocks[0] = atomic_exchange_explicit(&left[slot], blocks[0], memory_order_acq_rel);
    bench_free_all(blocks, arg.blocks);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Threads that allocate a little and end.", options);
    pthread_t threads[BENCH_THREADS_MAX];
    for (unsigned long i = 0; i < arg.births + arg.threads; i++) {
        if (i >= arg.threads && i - arg.threads < arg.births)
            pthread_join(threads[i % arg.threads], NULL);
        if (i < arg.births)
            threads[i % arg.threads] = bench_start(live, (void *)i);
    }
    for (size_t i = 0; i < LEFT; i++)
        bench_free(left[i]);
    return 0;
}
