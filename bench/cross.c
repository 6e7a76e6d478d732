/* SPDX-License-Identifier: MIT
 *
 * cross: random sizes up to 16 KB, and every second round a parcel of blocks for another thread.
 *
 * After the pattern of rpmalloc-benchmark (rptest), by M. Jansson. The threads keep --kept
 * blocks. A round frees 30 to 99 of them, then what other threads have sent; puts 30 to 99 new
 * ones in their places; and every --every rounds sends as many to another thread, each in
 * turn. Small sizes are more likely than large ones, falling linearly to the largest.
 *
 * It stresses blocks beyond what most caches for a thread hold, half of them freed by another
 * thread than their own, with a working set of some megabytes.
 */
#include "bench.h"

enum { WAITING = 64, PARCEL_MIN = 30, PARCEL_MAX = 99 };

struct parcel {
    struct parcel *next;
    size_t n;
    void *blocks[];
};

static struct {
    unsigned long threads, kept, rounds, every, min, max, seed;
} arg = {
    .threads = 2, .kept = 2000, .rounds = 40000, .every = 2, .min = 8, .max = 16000, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("kept", &arg.kept, BENCH_THREADS_MAX, 1 << 28,
                 "blocks, by all threads together"),
    BENCH_NUMBER("rounds", &arg.rounds, 1, 1UL << 32, "in all"),
    BENCH_NUMBER("every", &arg.every, 1, 1 << 30, "so many rounds a parcel is sent"),
    BENCH_NUMBER("min", &arg.min, BENCH_BLOCK_MIN, 1 << 24, "smallest block, bytes"),
    BENCH_NUMBER("max", &arg.max, BENCH_BLOCK_MIN, 1 << 24, "largest block, bytes"),
    BENCH_SEED(&arg.seed),
};

static struct worker {
    _Alignas(64) _Atomic(struct parcel *) inbox;
    atomic_ulong nreceived; /* parcels in it, or about to be */
    unsigned long index;
} workers[BENCH_THREADS_MAX];

static void *new_block(uint64_t *random)
{
    size_t a = bench_between(random, arg.min, arg.max);
    size_t b = bench_between(random, arg.min, arg.max);
    return bench_block(a < b ? a : b);
}

static void free_parcel(struct parcel *p)
{
    bench_free_all(p->blocks, p->n);
    free(p);
}

static void free_received(struct worker *w)
{
    struct parcel *p = atomic_exchange_explicit(&w->inbox, NULL, memory_order_acquire);
    for (struct parcel *next; p != NULL; p = next) {
        next = p->next;
        free_parcel(p);
        atomic_fetch_sub_explicit(&w->nreceived, 1, memory_order_relaxed);
    }
}

/* A thread that has not run for a while is sent no more than its part of WAITING parcels. */
static void send(struct worker *to, struct parcel *p)
{
    if (atomic_fetch_add_explicit(&to->nreceived, 1, memory_order_relaxed) >=
        (WAITING + arg.threads - 1) / arg.threads) {
        atomic_fetch_sub_explicit(&to->nreceived, 1, memory_order_relaxed);
        free_parcel(p);
        return;
    }
    p->next = atomic_load_explicit(&to->inbox, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&to->inbox, &p->next, p, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

static struct parcel *new_parcel(size_t n, uint64_t *random)
{
    size_t size = sizeof(struct parcel) + n * sizeof(void *);
    struct parcel *p = bench_checked(malloc(size), "malloc", size);
    p->n = n;
    for (size_t i = 0; i < n; i++)
        p->blocks[i] = new_block(random);
    return p;
}

static void *run(void *p)
{
    struct worker *w = p;
    uint64_t random = bench_seed(arg.seed, w->index);
    unsigned long rounds = bench_share(arg.rounds, arg.threads, w->index), to = w->index;
    size_t nkept = bench_share(arg.kept, arg.threads, w->index);
    void **kept = bench_table(nkept, sizeof *kept);
    for (unsigned long round = 0; round < rounds; round++) {
        for (size_t n = bench_between(&random, PARCEL_MIN, PARCEL_MAX); n > 0; n--) {
            void **slot = &kept[bench_below(&random, nkept)];
            bench_free(*slot);
            *slot = NULL;
        }
        free_received(w);
        size_t n = bench_between(&random, PARCEL_MIN, PARCEL_MAX);
        for (size_t i = 0; i < n; i++) {
            void **slot = &kept[bench_below(&random, nkept)];
            bench_free(*slot);
            *slot = new_block(&random);
        }
        if (round % arg.every == 0) {
            to = (to + 1) % arg.threads;
            if (to == w->index)
                to = (to + 1) % arg.threads; /* itself only where it is alone */
            send(&workers[to], new_parcel(n, &random));
        }
    }
    bench_free_table(kept, nkept);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Random sizes, and parcels of blocks sent to other threads.",
                options);
    bench_need(arg.max >= arg.min, "max", arg.max, "no less than --min");
    for (unsigned long i = 0; i < arg.threads; i++)
        workers[i].index = i;
    bench_threads(arg.threads, run, workers, sizeof *workers);
    for (unsigned long i = 0; i < arg.threads; i++)
        free_received(&workers[i]);
    return 0;
}
