/* SPDX-License-Identifier: MIT
 *
 * blocks: blocks of one size, last in first out and first in first out.
 *
 * After the benchmark malloc-simple of the GNU C library (benchtests/bench-malloc-simple.c): a
 * number of blocks of one size is allocated, half of them are freed in the order of their
 * allocation and half in reverse; then again. It is done with 25, 100, 400 and 1,600 blocks, a
 * quarter of --blocks each. Here the two orders can be had alone too.
 *
 * It stresses the fast paths of malloc and free and little else: whatever the number of blocks,
 * they come from and go to one list.
 */
#include "bench.h"

enum order { LIFO, FIFO, BOTH };
enum { MOST = 1600 };

static struct {
    unsigned long threads, order, blocks, size;
} arg = {.threads = 2, .order = BOTH, .blocks = 60000000, .size = 16};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_CHOICE("order", &arg.order, "lifo|fifo|both", "of the frees"),
    BENCH_NUMBER("blocks", &arg.blocks, 1, 1UL << 40, "in all"),
    BENCH_NUMBER("size", &arg.size, BENCH_BLOCK_MIN, 1 << 24, "of a block, bytes"),
};

static struct worker {
    _Alignas(64) unsigned long blocks;
} workers[BENCH_THREADS_MAX];

static void burst(void **blocks, size_t n)
{
    size_t fifo = arg.order == LIFO ? 0 : arg.order == FIFO ? n : n / 2;
    for (size_t i = 0; i < n; i++)
        blocks[i] = bench_block(arg.size);
    for (size_t i = 0; i < fifo; i++)
        bench_free(blocks[i]);
    for (size_t i = n; i-- > fifo;)
        bench_free(blocks[i]);
}

static void *run(void *p)
{
    static const size_t counts[] = {25, 100, 400, MOST};
    unsigned long all = ((struct worker *)p)->blocks;
    void *blocks[MOST];
    for (size_t i = 0; i < 4; i++)
        for (unsigned long n = bench_share(all, 4, i) / counts[i] + 1; n > 0; n--)
            burst(blocks, counts[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Blocks of one size, allocated and freed in bursts.", options);
    for (unsigned long i = 0; i < arg.threads; i++)
        workers[i].blocks = bench_share(arg.blocks, arg.threads, i);
    bench_threads(arg.threads, run, workers, sizeof *workers);
    return 0;
}
