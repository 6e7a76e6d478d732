/* SPDX-License-Identifier: MIT
 *
 * aligned: requests with an alignment among plain ones.
 *
 * No paper stands behind it; vector code, buffers for direct input and output, and C++ types
 * with alignas ask for it, and rpmalloc-benchmark mixes small alignments in too. A step
 * replaces one of 4,096 blocks of 16 to 8,191 bytes: a third by malloc, the others by
 * posix_memalign, aligned_alloc and memalign in turn, aligned to 16 up to 4,096 bytes, the
 * small alignments more likely.
 *
 * It stresses the choice of a class that serves an alignment, which costs some allocators a
 * larger block or a slower way, and free, which has to find the block's begin.
 */
#include <malloc.h>

#include "bench.h"

enum { SLOTS = 4096 };

static struct {
    unsigned long threads, steps, seed;
} arg = {.threads = 2, .steps = 10000000, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("steps", &arg.steps, 1, 1UL << 40, "in all"),
    BENCH_SEED(&arg.seed),
};

static void *aligned_block(unsigned call, size_t alignment, size_t size)
{
    void *p = NULL;
    switch (call) {
    case 0:
        errno = posix_memalign(&p, alignment, size);
        p = bench_checked(errno == 0 ? p : NULL, "posix_memalign", size);
        break;
    case 1:
        size = (size + alignment - 1) & ~(alignment - 1); /* as older standards ask */
        p = bench_checked(aligned_alloc(alignment, size), "aligned_alloc", size);
        break;
    default:
        p = bench_checked(memalign(alignment, size), "memalign", size);
    }
    if ((uintptr_t)p % alignment != 0)
        bench_fail("block %p: expected an alignment to %zu bytes", p, alignment);
    return bench_stamp(p, size);
}

static void *new_block(uint64_t *random)
{
    size_t size = bench_log_size(random, 4, 13);
    unsigned call = (unsigned)bench_below(random, 9);
    if (call >= 6)
        return bench_block(size);
    unsigned shift = (unsigned)__builtin_ctzl(bench_random(random) | 1UL << 8);
    return aligned_block(call % 3, (size_t)16 << shift, size);
}

static void *run(void *p)
{
    unsigned long index = *(unsigned long *)p;
    uint64_t random = bench_seed(arg.seed, index);
    void *slots[SLOTS] = {NULL};
    for (unsigned long n = bench_share(arg.steps, arg.threads, index); n > 0; n--) {
        void **slot = &slots[bench_below(&random, SLOTS)];
        bench_free(*slot);
        *slot = new_block(&random);
    }
    bench_free_all(slots, SLOTS);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Blocks with an alignment among plain ones.", options);
    bench_numbered(arg.threads, run);
    return 0;
}
