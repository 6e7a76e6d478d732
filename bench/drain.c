/* SPDX-License-Identifier: MIT
 *
 * drain: a producer stops, its consumer frees what is left, and both rest.
 *
 * Half of the threads allocate twice --mib of blocks, 16 bytes to 256 KiB, in batches that wait in
 * a queue, the others take batches from it and free what is in them. They begin when --mib wait
 * there, and then the queue stays that full until the producers have allocated all and go to
 * sleep. What is left the consumers free: half of everything.
 *
 * It stresses the way back of memory whose owner has left: every block belongs to a thread that
 * calls neither malloc nor free any more, and the one that frees it never allocates.
 */
#include "rest.h"

enum { BATCH = 256 };

struct batch {
    struct batch *next;
    size_t bytes;
    void *blocks[BATCH];
};

static struct {
    unsigned long threads, mib, seed;
} arg = {.threads = 2, .mib = 1024, .seed = 1};

static const struct bench_option options[] = {
    BENCH_NUMBER("threads", &arg.threads, 2, BENCH_THREADS_MAX,
                 "threads, half of them producers"),
    BENCH_NUMBER("mib", &arg.mib, 1, 1 << 20, "MiB of blocks that wait"),
    BENCH_SEED(&arg.seed),
    REST_OPTIONS,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER, filled = PTHREAD_COND_INITIALIZER;
static struct batch *first, **last = &first; /* lock */
static size_t waiting;                       /* lock; bytes */
static unsigned long nproducers;             /* lock; that have not stopped */
static bool begun;                           /* lock; the queue was full once */

static void put(struct batch *b)
{
    pthread_mutex_lock(&lock);
    while (waiting >= arg.mib << 20)
        pthread_cond_wait(&room, &lock);
    b->next = NULL;
    *last = b;
    last = &b->next;
    waiting += b->bytes;
    if (waiting >= arg.mib << 20)
        begun = true;
    if (begun)
        pthread_cond_signal(&filled);
    pthread_mutex_unlock(&lock);
}

static void stop(void)
{
    pthread_mutex_lock(&lock);
    if (--nproducers == 0) {
        begun = true;
        pthread_cond_broadcast(&filled);
    }
    pthread_mutex_unlock(&lock);
}

/* NULL when all was taken. */
static struct batch *take(void)
{
    pthread_mutex_lock(&lock);
    while (!begun || (first == NULL && nproducers > 0))
        pthread_cond_wait(&filled, &lock);
    struct batch *b = first;
    if (b != NULL) {
        first = b->next;
        if (first == NULL)
            last = &first;
        waiting -= b->bytes;
        pthread_cond_signal(&room);
    }
    pthread_mutex_unlock(&lock);
    return b;
}

static void produce(size_t bytes, uint64_t random)
{
    while (bytes > 0) {
        struct batch *b = bench_checked(malloc(sizeof *b), "malloc", sizeof *b);
        rest_live(sizeof *b);
        b->bytes = 0;
        for (size_t i = 0; i < BATCH; i++) {
            size_t size = rest_size(&random);
            b->blocks[i] = rest_block(size);
            b->bytes += size;
        }
        bytes -= b->bytes < bytes ? b->bytes : bytes;
        put(b);
    }
    stop();
}

static void consume(void)
{
    for (struct batch *b; (b = take()) != NULL; free(b)) {
        for (size_t i = 0; i < BATCH; i++)
            rest_free(b->blocks[i]);
        rest_live(-(long)sizeof *b);
    }
}

static void work(unsigned long index)
{
    unsigned long pairs = arg.threads / 2, pair = index / 2;
    if (index % 2 == 0)
        produce(bench_share(arg.mib << 21, pairs, pair), bench_seed(arg.seed, pair));
    else
        consume();
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "A producer stops, its consumer frees what is left.", options);
    bench_need(arg.threads % 2 == 0, "threads", arg.threads, "an even number");
    nproducers = arg.threads / 2;
    rest_run(arg.threads, work);
    return 0;
}
