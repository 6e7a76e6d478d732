/* SPDX-License-Identifier: MIT
 *
 * sharing: blocks of different threads in one cache line.
 *
 * After the programs cache-thrash and cache-scratch that came with E. Berger, K. McKinley,
 * R. Blumofe and P. Wilson, "Hoard: A Scalable Memory Allocator for Multithreaded Applications"
 * (ASPLOS 2000). Each thread holds a few small blocks, adds to each of them --writes times,
 * frees it and allocates the next.
 *   active:  an allocator that hands neighbouring blocks to different threads makes them write
 *            to one cache line, which then travels at every write.
 *   passive: the main thread first allocates neighbouring blocks and deals them out to the
 *            threads, as a server deals out requests. The threads free them. An allocator that
 *            lets the one who freed a block use it again keeps them in one cache line for ever.
 *
 * The original holds one block and writes to it 2,000,000 times; here the writes are few, so
 * that allocation has a share in the time too.
 */
#include "bench.h"

enum { HELD = 8, ACTIVE = 0, PASSIVE = 1 };

static struct {
    unsigned long which, threads, blocks, writes, size, seed;
} arg = {.threads = 2, .blocks = 60000000, .writes = 8, .size = 8};

static const struct bench_option options[] = {
    BENCH_CHOICE("which", &arg.which, "active|passive", "where the first blocks come from"),
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("blocks", &arg.blocks, 1, 1UL << 32, "blocks in all"),
    BENCH_NUMBER("writes", &arg.writes, 1, 1 << 30, "to each block"),
    BENCH_NUMBER("size", &arg.size, 8, 1 << 24, "of a block, bytes"),
};

static struct worker {
    _Alignas(64) unsigned long blocks;
    uint64_t *first[HELD]; /* passive: what the main thread allocated */
} workers[BENCH_THREADS_MAX];

/* Counts from `first`, another number for each of those held. */
static uint64_t *new_counter(uint64_t first)
{
    uint64_t *block = bench_checked(malloc(arg.size), "malloc", arg.size);
    *block = first;
    return block;
}

static void free_counter(uint64_t *block, uint64_t expected)
{
    if (*block != expected)
        bench_fail("block %p: %lu instead of %lu", (void *)block, *block, expected);
    free(block);
}

static void *run(void *p)
{
    struct worker *w = p;
    uint64_t *held[HELD];
    for (size_t i = 0; i < HELD; i++) {
        if (w->first[i] != NULL)
            free_counter(w->first[i], i);
        held[i] = new_counter(i);
    }
    for (unsigned long n = 0; n < w->blocks; n++) {
        uint64_t *block = held[n % HELD];
        for (unsigned long i = 0; i < arg.writes; i++)
            (*(volatile uint64_t *)block)++;
        free_counter(block, n % HELD + arg.writes);
        held[n % HELD] = new_counter(n % HELD);
    }
    for (size_t i = 0; i < HELD; i++)
        free_counter(held[i], i);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Threads that write to small blocks: false sharing.", options);
    for (unsigned long i = 0; i < arg.threads; i++)
        workers[i].blocks = bench_share(arg.blocks, arg.threads, i);
    for (size_t k = 0; arg.which == PASSIVE && k < HELD; k++)
        for (unsigned long i = 0; i < arg.threads; i++)
            workers[i].first[k] = new_counter(k);
    bench_threads(arg.threads, run, workers, sizeof *workers);
    return 0;
}
