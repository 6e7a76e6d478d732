/* SPDX-License-Identifier: MIT
 *
 * producer: one thread allocates, another frees.
 *
 * After the pattern that C. Lever and D. Boreham describe in "malloc() Performance in a
 * Multithreaded Linux Environment" (USENIX 2000), known by their program malloc-test and by
 * xmalloc-test after it: half of the threads allocate batches of blocks and put them on a
 * stack that all share, the others take batches from it and free what is in them. Up to
 * --in-flight batches wait there; the batch itself is a block too. Few of them, or peak memory tells
 * which of the two sides happens to be faster, and nothing else.
 *
 * It stresses the way of a freed block back to the thread that allocated it: nothing that a
 * producer allocates is ever freed by it, so an allocator either brings every block back, or
 * takes new memory for ever.
 */
#include "bench.h"

struct batch {
    struct batch *next;
    void *blocks[];
};

static struct {
    unsigned long threads, batches, batch, in_flight, size, seed;
} arg = {.threads = 2, .batches = 2000, .batch = 4096, .in_flight = 16, .seed = 1};

static const struct bench_option options[] = {
    BENCH_NUMBER("threads", &arg.threads, 2, BENCH_THREADS_MAX,
                 "threads, half of them producers"),
    BENCH_NUMBER("batches", &arg.batches, 1, 1 << 30, "batches in all"),
    BENCH_NUMBER("batch", &arg.batch, 1, 1 << 24, "blocks of a batch"),
    BENCH_NUMBER("in-flight", &arg.in_flight, 1, 1 << 24, "most batches that wait"),
    BENCH_NUMBER("size", &arg.size, 0, 1 << 24, "of a block; 0: 8 to 2,047, mostly small"),
    BENCH_SEED(&arg.seed),
};

static struct worker {
    _Alignas(64) unsigned long index;
} workers[BENCH_THREADS_MAX];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER, filled = PTHREAD_COND_INITIALIZER;
static struct batch *waiting;  /* lock */
static unsigned long nwaiting; /* lock */
static unsigned long ntake;    /* lock; batches that nobody has taken yet */

static void put(struct batch *b)
{
    pthread_mutex_lock(&lock);
    while (nwaiting >= arg.in_flight)
        pthread_cond_wait(&room, &lock);
    b->next = waiting;
    waiting = b;
    nwaiting++;
    pthread_cond_signal(&filled);
    pthread_mutex_unlock(&lock);
}

/* NULL when all batches were taken. */
static struct batch *take(void)
{
    pthread_mutex_lock(&lock);
    while (waiting == NULL && ntake > 0)
        pthread_cond_wait(&filled, &lock);
    struct batch *b = waiting;
    if (b != NULL) {
        waiting = b->next;
        nwaiting--;
        if (--ntake == 0)
            pthread_cond_broadcast(&filled);
        pthread_cond_signal(&room);
    }
    pthread_mutex_unlock(&lock);
    return b;
}

static void produce(unsigned long batches, uint64_t random)
{
    size_t size = sizeof(struct batch) + arg.batch * sizeof(void *);
    while (batches-- > 0) {
        struct batch *b = bench_checked(malloc(size), "malloc", size);
        for (size_t i = 0; i < arg.batch; i++)
            b->blocks[i] =
                bench_block(arg.size > 0 ? arg.size : bench_log_size(&random, 3, 11));
        put(b);
    }
}

static void consume(void)
{
    for (struct batch *b; (b = take()) != NULL; free(b))
        bench_free_all(b->blocks, arg.batch);
}

static void *run(void *p)
{
    struct worker *w = p;
    unsigned long pairs = arg.threads / 2, pair = w->index / 2;
    if (w->index % 2 == 0)
        produce(bench_share(arg.batches, pairs, pair), bench_seed(arg.seed, pair));
    else
        consume();
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "One thread allocates batches of blocks, another frees them.",
                options);
    bench_need(arg.threads % 2 == 0, "threads", arg.threads, "an even number");
    bench_need(arg.size == 0 || arg.size >= BENCH_BLOCK_MIN, "size", arg.size,
               "0, or 8 or more");
    for (unsigned long i = 0; i < arg.threads; i++)
        workers[i].index = i;
    ntake = arg.batches;
    bench_threads(arg.threads, run, workers, sizeof *workers);
    return 0;
}
