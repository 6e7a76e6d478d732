/* SPDX-License-Identifier: MIT
 *
 * larson: a long-running server that starts a thread for each piece of work.
 *
 * After the pattern in P. Larson and M. Krishnan, "Memory Allocation for Long-Running Server
 * Applications" (ISMM 1998), written anew for hakmem. Arguments and meaning are those of the
 * program known by that name:
 *
 *   larson seconds min_size max_size blocks_per_thread rounds seed threads [--detached]
 *
 * Each of `threads` chains owns blocks_per_thread blocks. A thread of the chain replaces one of
 * them at random (free, then malloc of a random size from min_size up to max_size, exclusive)
 * rounds x blocks_per_thread times; then it starts the next thread of its chain, which inherits
 * the blocks, and ends. So it stresses
 *   - malloc and free of small blocks in random order, mostly of a size just freed;
 *   - frees of blocks that an ended thread allocated;
 *   - with few rounds above all the birth and death of threads: with rounds = 1 and 1,024
 *     blocks a thread lives for some 20 microseconds of work.
 *
 * As in the classic no thread is ever joined, so each leaves its stack behind, two mappings,
 * and the run ends early when the process has vm.max_map_count of them: with 65,530 after
 * 32,765 threads less what the allocator has taken. --detached starts threads detached: their
 * stacks are used again, and the run may last for ever.
 *
 * An operation is one replacement, as the classic counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct chain {
    _Alignas(64) char **blocks;
    uint64_t random;
    uint64_t operations;
    uint64_t born;
    int error; /* why pthread_create failed, or 0 */
};

static struct {
    unsigned long seconds, min, max, blocks, rounds, seed, threads;
    bool detached;
} arg;

static atomic_bool stop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t chain_ended;
static unsigned long running; /* chains; lock */

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (x * UINT64_C(2685821657736338717)) >> 16;
}

static char *new_block(uint64_t *random)
{
    size_t n = arg.min;
    if (arg.max > arg.min)
        n += next_random(random) % (arg.max - arg.min);
    char *block = malloc(n);
    if (block == NULL) {
        perror("larson: malloc");
        exit(1);
    }
    if (n > 0)
        *(volatile char *)block = 'a';
    if (n > 1)
        *(volatile char *)(block + 1) = 'b';
    return block;
}

static void replace(char **blocks, size_t count, uint64_t *random)
{
    size_t victim = next_random(random) % count;
    free(blocks[victim]);
    blocks[victim] = new_block(random);
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
    if (atomic_load(&stop)) {
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

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
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
    while (running > 0 && pthread_cond_timedwait(&chain_ended, &lock, &until) != ETIMEDOUT)
        ;
    atomic_store(&stop, true);
    while (running > 0)
        pthread_cond_wait(&chain_ended, &lock);
    pthread_mutex_unlock(&lock);
}

static void usage(void)
{
    fputs("usage: larson seconds min_size max_size blocks_per_thread rounds seed threads "
          "[--detached]\n"
          "as in: larson 2 8 128 1024 1 12345 4\n",
          stderr);
    exit(2);
}

static unsigned long number(const char *text, unsigned long least)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value < least)
        usage();
    return value;
}

static void report(const struct chain *chains, double elapsed)
{
    uint64_t operations = 0, born = 0;
    int error = 0;
    for (unsigned long i = 0; i < arg.threads; i++) {
        operations += chains[i].operations;
        born += chains[i].born;
        if (chains[i].error != 0)
            error = chains[i].error;
    }
    long maps = mappings();
    printf("operations          %lu\n", (unsigned long)operations);
    printf("seconds             %.3f\n", elapsed);
    printf("ops/s               %.0f\n", (double)operations / elapsed);
    printf("ops/s, classic      %.0f  (over the %lu s asked for)\n",
           (double)operations / (double)arg.seconds, arg.seconds);
    printf("threads born        %lu  (%.0f per second)\n", (unsigned long)born,
           (double)born / elapsed);
    printf("stopped by          %s%s\n",
           error == 0 ? "time" : "pthread_create: ", error == 0 ? "" : strerror(error));
    printf("mappings            %ld\n", maps);
    if (!arg.detached)
        printf("mappings, no stacks %ld  (less two for each thread, none of them joined)\n",
               maps - 2 * (long)born);
    printf("peak RSS            %ld KiB\n", peak_rss());
}

int main(int argc, char **argv)
{
    if (argc == 9 && strcmp(argv[8], "--detached") == 0)
        arg.detached = true;
    else if (argc != 8)
        usage();
    arg.seconds = number(argv[1], 1);
    arg.min = number(argv[2], 0);
    arg.max = number(argv[3], arg.min);
    arg.blocks = number(argv[4], 1);
    arg.rounds = number(argv[5], 1);
    arg.seed = number(argv[6], 0);
    arg.threads = number(argv[7], 1);

    size_t all = arg.threads * arg.blocks;
    char **blocks = malloc(all * sizeof *blocks);
    struct chain *chains = aligned_alloc(_Alignof(struct chain), arg.threads * sizeof *chains);
    if (blocks == NULL || chains == NULL) {
        perror("larson: malloc");
        return 1;
    }
    /* As the classic: one thread fills the table and stirs it. */
    uint64_t random = (arg.seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = 0; i < all; i++)
        blocks[i] = new_block(&random);
    for (size_t i = 0; i < 4 * all; i++)
        replace(blocks, all, &random);

    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&chain_ended, &monotonic);
    running = arg.threads;
    double start = now();
    for (unsigned long i = 0; i < arg.threads; i++) {
        chains[i] = (struct chain){.blocks = blocks + i * arg.blocks, .random = random + i + 1};
        next_random(&chains[i].random);
        int error = start_thread(&chains[i]);
        if (error != 0) {
            fprintf(stderr, "larson: pthread_create: %s\n", strerror(error));
            return 1;
        }
    }
    wait_for_end();
    report(chains, now() - start);
    return 0;
}
