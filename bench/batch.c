/* SPDX-License-Identifier: MIT
 *
 * batch: many blocks of mixed size allocated, then many freed, in an order of their own.
 *
 * After the patterns of SmartHeap's programs sh6bench and sh8bench (MicroQuill). A thread
 * allocates a batch, mostly small blocks, and frees it before the next:
 *   same     in the order of their allocation, as queues and parsers do
 *   reverse  the last one first, as scopes and trees do
 *   ends     a window of a fifth of the batch, another one each time, stays behind for the next
 *            round; below it blocks are freed in order, above it in reverse. That is sh6bench's.
 *   random   in random order, as hash tables do
 * With --swap no thread frees what it allocated, if it can help it: it leaves its batch in a
 * slot that all threads share and frees the one that lay there, sh8bench's frees by others
 * brought to the extreme: whole batches change their owner.
 *
 * It stresses what a cache for each thread cannot hold: more blocks are freed in a row than
 * such a cache is large, and then as many wanted.
 */
#include "bench.h"

enum order { SAME, REVERSE, ENDS, RANDOM };

static struct {
    unsigned long threads, order, swap, batch, rounds, seed;
} arg = {.threads = 2, .batch = 5000, .rounds = 2000, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_CHOICE("order", &arg.order, "same|reverse|ends|random", "of the frees"),
    BENCH_FLAG("swap", &arg.swap, "free the batch of another thread"),
    BENCH_NUMBER("batch", &arg.batch, 5, 1 << 28, "blocks"),
    BENCH_NUMBER("rounds", &arg.rounds, 1, 1 << 30, "batches in all"),
    BENCH_SEED(&arg.seed),
};

enum { NSIZES = 4096 };
static uint16_t sizes[NSIZES]; /* [const] 8 to 1,023 bytes, mostly small */
static _Atomic(void **) slots[BENCH_THREADS_MAX];

static struct worker {
    _Alignas(64) unsigned long index;
} workers[BENCH_THREADS_MAX];

static void drop(void **block)
{
    bench_free(*block);
    *block = NULL;
}

/* Frees the batch, in the order asked for; of ENDS all but the fifth that the round says. */
static void free_batch(void **batch, const uint32_t *shuffled, unsigned long round)
{
    size_t n = arg.batch, keep = n / 5, low = keep * (round % 5);
    switch ((enum order)arg.order) {
    case SAME:
        for (size_t i = 0; i < n; i++)
            drop(&batch[i]);
        break;
    case REVERSE:
        for (size_t i = n; i-- > 0;)
            drop(&batch[i]);
        break;
    case ENDS:
        for (size_t i = 0; i < low; i++)
            drop(&batch[i]);
        for (size_t i = n; i-- > low + keep;)
            drop(&batch[i]);
        break;
    case RANDOM:
        for (size_t i = 0; i < n; i++)
            drop(&batch[shuffled[i]]);
        break;
    }
}

/* Allocates what the batch lacks. */
static void fill_batch(void **batch, size_t *next_size)
{
    size_t s = *next_size;
    for (size_t i = 0; i < arg.batch; i++)
        if (batch[i] == NULL)
            batch[i] = bench_block(sizes[s++ % NSIZES]);
    *next_size = s;
}

static void *run(void *p)
{
    unsigned long index = ((struct worker *)p)->index;
    uint64_t random = bench_seed(arg.seed, index);
    uint32_t *shuffled = bench_table(arg.batch, sizeof *shuffled);
    for (size_t i = 0; i < arg.batch; i++)
        shuffled[i] = (uint32_t)i;
    bench_shuffle(&random, shuffled, arg.batch);

    void **batch = bench_table(arg.batch, sizeof *batch);
    size_t next_size = bench_below(&random, NSIZES);
    unsigned long rounds = bench_share(arg.rounds, arg.threads, index);
    for (unsigned long round = 0; round < rounds; round++) {
        fill_batch(batch, &next_size);
        if (arg.swap) {
            size_t slot = bench_below(&random, arg.threads);
            batch = atomic_exchange_explicit(&slots[slot], batch, memory_order_acq_rel);
        }
        if (batch != NULL)
            free_batch(batch, shuffled, round);
        else
            batch = bench_table(arg.batch, sizeof *batch);
    }
    for (size_t i = 0; i < arg.batch; i++)
        drop(&batch[i]);
    free(batch);
    free(shuffled);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Batches of blocks of mixed size, freed in an order of their own.",
                options);
    uint64_t random = bench_seed(arg.seed, BENCH_THREADS_MAX);
    for (size_t i = 0; i < NSIZES; i++)
        sizes[i] = (uint16_t)bench_log_size(&random, 3, 10);
    for (unsigned long i = 0; i < arg.threads; i++)
        workers[i].index = i;
    bench_threads(arg.threads, run, workers, sizeof *workers);
    for (unsigned long i = 0; i < arg.threads; i++) {
        void **batch = slots[i];
        for (size_t k = 0; batch != NULL && k < arg.batch; k++)
            drop(&batch[k]);
        free(batch);
    }
    return 0;
}
