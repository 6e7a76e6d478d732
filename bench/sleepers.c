/* SPDX-License-Identifier: MIT
 *
 * sleepers: many threads that each worked once, and now sleep.
 *
 * --threads of them are there before the work begins. Each allocates --kib of blocks, 16 bytes to
 * 256 KiB, frees all of them, and sleeps; --at-once work at a time. A pool of threads for blocking
 * calls looks like this after its first busy minute.
 *
 * It stresses what an allocator keeps for each thread: a cache that serves nobody any more, and
 * that nobody but the sleeping thread may touch in many designs.
 */
#include "rest.h"

#include <semaphore.h>

enum { THREADS_MAX = 16384 };

static struct {
    unsigned long threads, at_once, kib, seed;
} arg = {.threads = 1000, .at_once = 4, .kib = 1024, .seed = 1};

static const struct bench_option options[] = {
    BENCH_NUMBER("threads", &arg.threads, 1, THREADS_MAX, "threads that work once"),
    BENCH_NUMBER("at-once", &arg.at_once, 1, THREADS_MAX, "of them that work at the same time"),
    BENCH_NUMBER("kib", &arg.kib, 1, 1 << 30, "KiB of blocks of each thread"),
    BENCH_SEED(&arg.seed),
    REST_OPTIONS,
};

static sem_t turns;

static void work(unsigned long index)
{
    struct rest_set set = {0};
    uint64_t random = bench_seed(arg.seed, index);
    while (sem_wait(&turns) != 0)
        ;
    rest_fill(&set, arg.kib << 10, &random);
    rest_empty(&set, 0);
    sem_post(&turns);
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Many threads that each worked once, and now sleep.", options);
    sem_init(&turns, 0, (unsigned)arg.at_once);
    rest_run(arg.threads, work);
    return 0;
}
