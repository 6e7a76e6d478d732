/* SPDX-License-Identifier: MIT
 *
 * workset: each thread replaces blocks of its working set at random.
 *
 * After the benchmark malloc-thread of the GNU C library (benchtests/bench-malloc-thread.c):
 * 1,024 blocks for each thread, of 8 to 32,768 bytes, the odds of a size falling with its
 * square; a step frees one of them and allocates another in its place. Nothing is shared, so
 * any loss with more threads is the allocator's own.
 */
#include "bench.h"

enum { SET = 1024, SIZES = 8192, MIN = 8, MAX = 32768 };

static struct {
    unsigned long threads, steps, seed;
} arg = {.threads = 2, .steps = 20000000, .seed = 88};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("steps", &arg.steps, 1, 1UL << 40, "in all"),
    BENCH_SEED(&arg.seed),
};

static uint32_t sizes[SIZES]; /* [const] */

/* A size with the density 1/x^2 from MIN to MAX: its reciprocal is evenly distributed. */
static uint32_t pick_size(uint64_t *random)
{
    double r = (double)bench_below(random, 1 << 30) / (1 << 30);
    return (uint32_t)(1 / (r / MAX + (1 - r) / MIN));
}

static void *run(void *p)
{
    unsigned long index = *(unsigned long *)p;
    uint64_t random = bench_seed(arg.seed, index);
    size_t next_size = bench_below(&random, SIZES);
    void *set[SET] = {NULL};
    for (unsigned long n = bench_share(arg.steps, arg.threads, index); n > 0; n--) {
        void **slot = &set[bench_below(&random, SET)];
        bench_free(*slot);
        *slot = bench_block(sizes[next_size++ % SIZES]);
    }
    bench_free_all(set, SET);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Threads that replace blocks of their own at random.", options);
    uint64_t random = bench_seed(arg.seed, BENCH_THREADS_MAX);
    for (size_t i = 0; i < SIZES; i++)
        sizes[i] = pick_size(&random);
    bench_numbered(arg.threads, run);
    return 0;
}
