/* SPDX-License-Identifier: MIT
 *
 * larson: a long-running server that starts a thread for each piece of work.
 *
 * After the pattern in P. Larson and M. Krishnan, "Memory Allocation for Long-Running Server
 * Applications" (ISMM 1998), written anew for hakmem. The arguments of the program known by that
 * name are taken too, and mean the same:
 *
 *   larson seconds min_size max_size blocks_per_thread rounds seed threads [--detached]
 *
 * Each of `threads` chains owns `blocks` blocks. A thread of the chain replaces one of them at
 * random (free, then malloc of a random size from min up to max, exclusive) rounds x blocks
 * times; then it starts the next thread of its chain, which inherits the blocks, and ends. So it
 * stresses
 *   - malloc and free of small blocks in random order, mostly of a size just freed;
 *   - frees of blocks that an ended thread allocated;
 *   - with few rounds above all the birth and death of threads: with rounds = 1 and 1,024
 *     blocks a thread lives for some 20 microseconds of work.
 *
 * A chain goes on for a number of seconds, or, a fixed amount of work, until --threads-born
 * threads have lived, all chains together.
 *
 * As in the classic no thread is ever joined, so each leaves its stack behind, two mappings,
 * and the run ends early when the process has vm.max_map_count of them: with 65,530 after
 * 32,765 threads less what the allocator has taken. With --threads-born that is an error.
 * --detached starts threads detached: their stacks are used again, and the run may last for
 * ever.
 *
 * An operation is one replacement, as the classic counts.
 */
#include "bench.h"

struct chain {
    _Alignas(64) char **blocks;
    uint64_t random;
    uint64_t operations;
    uint64_t born;
    uint64_t to_bear; /* threads */
    int error;        /* why pthread_create failed, or 0 */
};

static struct {
    unsigned long seconds, min, max, blocks, rounds, seed, threads, detached, born;
} arg = {.seconds = 2,
         .min = 8,
         .max = 128,
         .blocks = 1024,
         .rounds = 1,
         .seed = 12345,
         .threads = 2};

static const struct bench_option options[] = {
    BENCH_NUMBER("seconds", &arg.seconds, 1, 86400, "how long, without --threads-born"),
    BENCH_NUMBER("min", &arg.min, 0, 1 << 30, "smallest block, bytes"),
    BENCH_NUMBER("max", &arg.max, 0, 1 << 30, "blocks are smaller than this"),
    BENCH_NUMBER("blocks", &arg.blocks, 1, 1 << 28, "blocks of a chain"),
    BENCH_NUMBER("rounds", &arg.rounds, 1, 1 << 28, "a thread replaces rounds x blocks"),
    BENCH_SEED(&arg.seed),
    BENCH_NUMBER("threads", &arg.threads, 1, BENCH_THREADS_MAX, "chains of threads"),
    BENCH_FLAG("detached", &arg.detached, "threads are born detached"),
    BENCH_NUMBER("threads-born", &arg.born, 1, 1UL << 32,
                 "stop after so many; 0: after the time"),
};

static struct chain chains[BENCH_THREADS_MAX];
static atomic_bool stop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t chain_ended;
static unsigned long running; /* chains; lock */

/* As in the classic only its first two bytes are written: where in the table it is. */
static char *new_block(size_t place, uint64_t *random)
{
    size_t n = arg.min;
    if (arg.max > arg.min)
        n += bench_below(random, arg.max - arg.min);
    char *block = bench_checked(malloc(n), "malloc", n);
    if (n > 0)
        block[0] = (char)place;
    if (n > 1)
        block[1] = (char)(place >> 8);
    return block;
}

static void replace(char **blocks, size_t count, uint64_t *random)
{
    size_t victim = bench_below(random, count);
    char *block = blocks[victim];
    if (arg.min > 1 && (block[0] != (char)victim || block[1] != (char)(victim >> 8)))
        bench_fail("block %p: it does not hold what was written there", (void *)block);
    free(block);
    blocks[victim] = new_block(victim, random);
}

static void end_chain(void)
{
    pthread_mutex_lock(&lock);
    running--;
    pthread_cond_signal(&chain_ended);
    pthread_mutex_unlock(&lock);
}

static void *one_life(void *arg_chain);

static int start_thread(struct chain *c)
{
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    if (arg.detached)
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    c->born++;
    int error = pthread_create(&t, &attr, one_life, c); /* from here on *c belongs to it */
    pthread_attr_destroy(&attr);
    return error;
}

static void *one_life(void *arg_chain)
{
    struct chain *c = arg_chain;
    uint64_t random = c->random, count = arg.rounds * arg.blocks, i = 0;
    while (i < count && !atomic_load_explicit(&stop, memory_order_relaxed)) {
        replace(c->blocks, arg.blocks, &random);
        i++;
    }
    c->random = random;
    c->operations += i;
    if (atomic_load(&stop) || c->born == c->to_bear) {
        end_chain();
        return NULL;
    }
    int error = start_thread(c);
    if (error != 0) {
        c->born--;
        c->error = error;
        end_chain();
    }
    return NULL;
}

/* Lines of /proc/self/maps. */
static long mappings(void)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    static char buf[65536];
    long lines = 0;
    for (ssize_t n; fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += buf[i] == '\n';
    close(fd);
    return lines;
}

/* VmHWM in KiB. Not getrusage: that includes what the process was before exec. */
static long peak_rss(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (f != NULL)
        fclose(f);
    return kib;
}

/* Wait until the time is over or no chain is left; then let the rest end. */
static void wait_for_end(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)arg.seconds;
    pthread_mutex_lock(&lock);
    while (running > 0 && arg.born == 0 &&
           pthread_cond_timedwait(&chain_ended, &lock, &until) != ETIMEDOUT)
        ;
    if (arg.born == 0)
        atomic_store(&stop, true);
    while (running > 0)
        pthread_cond_wait(&chain_ended, &lock);
    pthread_mutex_unlock(&lock);
}

static void report(double elapsed)
{
    uint64_t operations = 0, born = 0;
    int error = 0;
    for (unsigned long i = 0; i < arg.threads; i++) {
        operations += chains[i].operations;
        born += chains[i].born;
        if (chains[i].error != 0)
            error = chains[i].error;
    }
    if (arg.born != 0 && error != 0)
        bench_fail("pthread_create, after %lu threads: %s", born, strerror(error));
    long maps = mappings();
    printf("operations          %lu\n", operations);
    printf("seconds             %.3f\n", elapsed);
    printf("ops/s               %.0f\n", (double)operations / elapsed);
    if (arg.born == 0)
        printf("ops/s, classic      %.0f  (over the %lu s asked for)\n",
               (double)operations / (double)arg.seconds, arg.seconds);
    printf("threads born        %lu  (%.0f per second)\n", born, (double)born / elapsed);
    if (arg.born == 0)
        printf("stopped by          %s%s\n",
               error == 0 ? "time" : "pthread_create: ", error == 0 ? "" : strerror(error));
    printf("mappings            %ld\n", maps);
    if (!arg.detached)
        printf("mappings, no stacks %ld  (less two for each thread, none of them joined)\n",
               maps - 2 * (long)born);
    printf("peak RSS            %ld KiB\n", peak_rss());
}

/* The classic's arguments, in its order. */
static void positional(char **argv, int n)
{
    static const struct {
        const char *name;
        unsigned long *value;
        unsigned long min;
    } order[] = {{"seconds", &arg.seconds, 1}, {"min_size", &arg.min, 0},
                 {"max_size", &arg.max, 0},    {"blocks_per_thread", &arg.blocks, 1},
                 {"rounds", &arg.rounds, 1},   {"seed", &arg.seed, 0},
                 {"threads", &arg.threads, 1}};
    if (n != 7)
        bench_usage("%d arguments: expected seconds min_size max_size blocks_per_thread rounds "
                    "seed threads, as in larson 2 8 128 1024 1 12345 4; or options alone",
                    n);
    for (int i = 0; i < n; i++)
        *order[i].value =
            bench_number(order[i].name, argv[i], order[i].min,
                         order[i].value == &arg.threads ? BENCH_THREADS_MAX : UINT32_MAX);
}

int main(int argc, char **argv)
{
    int first = bench_options(argc, argv,
                              "A server that starts a thread for each piece of work, which "
                              "inherits the blocks of the one before.",
                              options, sizeof options / sizeof *options);
    if (first < argc)
        positional(argv + first, argc - first);
    bench_need(arg.max >= arg.min, "max", arg.max, "no less than --min");
    bench_need(arg.born == 0 || arg.born >= arg.threads, "threads-born", arg.born,
               "no less than --threads");

    size_t all = arg.threads * arg.blocks;
    char **blocks = bench_table(all, sizeof *blocks);
    /* As the classic: one thread fills the table and stirs it. */
    uint64_t random = bench_seed(arg.seed, 0);
    for (size_t i = 0; i < all; i++)
        blocks[i] = new_block(i % arg.blocks, &random);
    for (size_t i = 0; i < 4 * all; i++)
        replace(blocks + bench_below(&random, arg.threads) * arg.blocks, arg.blocks, &random);

    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&chain_ended, &monotonic);
    running = arg.threads;
    double start = bench_now();
    for (unsigned long i = 0; i < arg.threads; i++) {
        chains[i] = (struct chain){.blocks = blocks + i * arg.blocks,
                                   .random = bench_seed(arg.seed, i + 1),
                                   .to_bear = bench_share(arg.born, arg.threads, i)};
        int error = start_thread(&chains[i]);
        if (error != 0)
            bench_fail("pthread_create: %s", strerror(error));
    }
    wait_for_end();
    report(bench_now() - start);
    return 0;
}
