/* SPDX-License-Identifier: MIT
 *
 * zeroed: calloc.
 *
 * No paper stands behind it; interpreters and parsers allocate most of what they have so. A
 * step replaces one of --slots blocks of 16 bytes up to 2^(--doublings + 4) by calloc. One
 * word in every 256 bytes is checked to be 0 and then written, so that a block used before is
 * dirty.
 *
 * It stresses zeroing: an allocator that knows fresh memory from used need not do it twice.
 */
#include "bench.h"

enum { EVERY = 256 };

static struct {
    unsigned long threads, slots, steps, doublings, seed;
} arg = {.threads = 2, .slots = 512, .steps = 4000000, .doublings = 10, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("slots", &arg.slots, 1, 1 << 28, "of a thread"),
    BENCH_NUMBER("steps", &arg.steps, 1, 1UL << 40, "in all"),
    BENCH_NUMBER("doublings", &arg.doublings, 1, 20, "of the size: 16 to 16 x 2^N - 1 bytes"),
    BENCH_SEED(&arg.seed),
};

static void *new_block(uint64_t *random)
{
    size_t n = bench_log_size(random, 4, (unsigned)arg.doublings + 4) / sizeof(uint64_t);
    uint64_t *words = bench_checked(calloc(n, sizeof *words), "calloc", n * sizeof *words);
    for (size_t i = 0; i < n; i += EVERY / sizeof *words) {
        if (words[i] != 0)
            bench_fail("block %p: calloc left %lx at word %zu", (void *)words, words[i], i);
        words[i] = -1UL;
    }
    if (words[n - 1] != 0 && n % (EVERY / sizeof *words) != 1)
        bench_fail("block %p: calloc left %lx at its end", (void *)words, words[n - 1]);
    words[n - 1] = -1UL;
    return bench_stamp(words, n * sizeof *words);
}

static void *run(void *p)
{
    unsigned long index = *(unsigned long *)p;
    uint64_t random = bench_seed(arg.seed, index);
    void **slots = bench_table(arg.slots, sizeof *slots);
    for (unsigned long n = bench_share(arg.steps, arg.threads, index); n > 0; n--) {
        void **slot = &slots[bench_below(&random, arg.slots)];
        bench_free(*slot);
        *slot = new_block(&random);
    }
    bench_free_table(slots, arg.slots);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Blocks from calloc.", options);
    bench_numbered(arg.threads, run);
    return 0;
}
