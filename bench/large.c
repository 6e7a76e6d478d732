/* SPDX-License-Identifier: MIT
 *
 * large: blocks of 5 to 25 MiB.
 *
 * After malloc-large in mimalloc-bench, by L. Stolyarov: a step frees one of 20 blocks at
 * random and allocates another. The original writes all of each, which is most of its time;
 * here one word of each page is written, so that what remains is what the allocator decides:
 * how many system calls and page faults such a block costs. --fill writes it all.
 */
#include "bench.h"

enum { MOST = 1024, MIB = 1 << 20 };

static struct {
    unsigned long threads, blocks, steps, min, max, fill, seed;
} arg = {.threads = 2, .blocks = 20, .steps = 500, .min = 5, .max = 25, .seed = 42};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("blocks", &arg.blocks, 1, MOST, "at a time, all threads together"),
    BENCH_NUMBER("steps", &arg.steps, 1, 1UL << 32, "in all"),
    BENCH_NUMBER("min", &arg.min, 1, 1024, "smallest block, MiB"),
    BENCH_NUMBER("max", &arg.max, 1, 1024, "largest block, MiB"),
    BENCH_FLAG("fill", &arg.fill, "write all of it, not a word of each page"),
    BENCH_SEED(&arg.seed),
};

static void *new_block(uint64_t *random)
{
    size_t size = bench_between(random, arg.min * MIB, arg.max * MIB);
    void *p = bench_checked(malloc(size), "malloc", size);
    if (arg.fill)
        memset(p, (int)(size & 255), size);
    return bench_stamp(p, size);
}

static void *run(void *p)
{
    unsigned long index = *(unsigned long *)p;
    uint64_t random = bench_seed(arg.seed, index);
    size_t n = bench_share(arg.blocks, arg.threads, index);
    void *blocks[MOST] = {NULL};
    for (unsigned long i = bench_share(arg.steps, arg.threads, index); i > 0; i--) {
        void **slot = &blocks[bench_below(&random, n)];
        bench_free(*slot);
        *slot = new_block(&random);
    }
    bench_free_all(blocks, n);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Blocks of 5 to 25 MiB.", options);
    bench_need(arg.max >= arg.min, "max", arg.max, "no less than --min");
    bench_need(arg.blocks >= arg.threads, "blocks", arg.blocks, "no less than --threads");
    bench_numbered(arg.threads, run);
    return 0;
}
