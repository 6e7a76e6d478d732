/* SPDX-License-Identifier: MIT
 *
 * table: random sizes and random lifetimes in a large table.
 *
 * After alloc-test by the ITHare project (S. Ignatchenko and others). A step picks a slot of the
 * table: an empty one gets a block, and the block of a full one is freed. The first slots are
 * picked far more often than the last: half of all steps fall on a small part of the table,
 * half of these on a small part of that. So some blocks live for a few steps, others for most
 * of the run, and the longer a program runs the more its free blocks lie scattered among
 * blocks that stay. Sizes halve their odds with every doubling.
 *
 * It stresses malloc and free as such, with cold blocks among the hot: no two in a row are of
 * one size, and the table with its blocks does not fit into the caches.
 */
#include "bench.h"

static struct {
    unsigned long threads, slots, steps, doublings, seed;
} arg = {.threads = 2, .slots = 1 << 18, .steps = 20000000, .doublings = 13, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("slots", &arg.slots, BENCH_THREADS_MAX, 1UL << 31, "of all tables together"),
    BENCH_NUMBER("steps", &arg.steps, 1, 1UL << 40, "in all"),
    BENCH_NUMBER("doublings", &arg.doublings, 1, 24, "of the size: 8 to 8 x 2^N - 1 bytes"),
    BENCH_SEED(&arg.seed),
};

static size_t pick_size(uint64_t *random)
{
    unsigned k = (unsigned)__builtin_ctzl(bench_random(random) | 1UL << (arg.doublings - 1));
    size_t base = (size_t)8 << k;
    return base + (bench_random(random) & (base - 1));
}

/* A slot of n: the whole table, a quarter, a 16th, ... each with the same odds. */
static size_t pick_slot(uint64_t *random, size_t n)
{
    size_t part = n >> 2 * bench_below(random, 4);
    return bench_below(random, part > 0 ? part : 1);
}

static void *run(void *p)
{
    unsigned long index = *(unsigned long *)p;
    size_t slots = bench_share(arg.slots, arg.threads, index);
    uint64_t random = bench_seed(arg.seed, index);
    void **table = bench_table(slots, sizeof *table);
    for (size_t i = 0; i < slots; i += 2) /* half full from the start */
        table[i] = bench_block(pick_size(&random));
    for (unsigned long n = bench_share(arg.steps, arg.threads, index); n > 0; n--) {
        void **slot = &table[pick_slot(&random, slots)];
        if (*slot == NULL) {
            *slot = bench_block(pick_size(&random));
        } else {
            bench_free(*slot);
            *slot = NULL;
        }
    }
    bench_free_table(table, slots);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Random sizes and lifetimes in a large table.", options);
    bench_numbered(arg.threads, run);
    return 0;
}
