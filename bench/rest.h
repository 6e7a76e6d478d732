/* SPDX-License-Identifier: MIT
 *
 * What the workloads of tools/bench --rest share: work, and then rest. They tell which of the two
 * it is, and how many bytes are live, on a board: a page of memory that the runner has mapped
 * too (--board FILE, made by bench/runner/watch.py), so that telling costs a store and nobody
 * calls malloc for it. While a workload rests it calls nothing at all: it sleeps for --idle-ms.
 *
 * Live are the bytes that the workload has asked malloc for and not freed, and its own tables.
 * A thread tells of its share when that has changed by REST_TELL bytes, and at the end of its
 * work.
 *
 * With --idle-ms alone they print what they saw themselves.
 */
#ifndef REST_H
#define REST_H

#include "bench.h"

#include <sys/mman.h>
#include <sys/resource.h>

enum { REST_TELL = 1 << 18, REST_SETTLE_MS = 100, REST_REQUEST = 64 };

enum rest_phase { REST_NONE, REST_START, REST_WORK, REST_IDLE, REST_END, REST_PHASES };

/* The runner knows this layout: all fields have 8 bytes. at[] is what was so when the phase
 * began, and is written before `phase` is. */
struct rest_board {
    _Atomic uint64_t phase;
    uint64_t pid;
    _Atomic int64_t live; /* bytes */
    struct rest_at {
        uint64_t ns; /* CLOCK_MONOTONIC */
        uint64_t user_us, sys_us, faults;
        uint64_t rss; /* bytes */
    } at[REST_PHASES];
};

static struct rest_board rest_own, *rest_told = &rest_own;
static _Thread_local long rest_untold;

static struct {
    unsigned long idle_ms;
    const char *board;
} rest_arg;

#define REST_OPTIONS                                                                           \
    BENCH_TEXT("board", &rest_arg.board, "where to tell what it does; see bench/rest.h"),      \
        BENCH_NUMBER("idle-ms", &rest_arg.idle_ms, 0, 86400000, "milliseconds of rest")

/* ---- Telling ---- */

static inline void rest_settle(void)
{
    atomic_fetch_add_explicit(&rest_told->live, rest_untold, memory_order_relaxed);
    rest_untold = 0;
}

/* So many bytes more are live, or fewer. */
static inline void rest_live(long bytes)
{
    rest_untold += bytes;
    if (rest_untold >= REST_TELL || rest_untold <= -REST_TELL)
        rest_settle();
}

static inline uint64_t rest_us(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static inline void rest_enter(enum rest_phase phase)
{
    struct timespec now;
    struct rusage used;
    rest_settle();
    getrusage(RUSAGE_SELF, &used);
    uint64_t rss = bench_rss();
    clock_gettime(CLOCK_MONOTONIC, &now);
    rest_told->at[phase] = (struct rest_at){
        .ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
        .user_us = rest_us(used.ru_utime),
        .sys_us = rest_us(used.ru_stime),
        .faults = (uint64_t)(used.ru_minflt + used.ru_majflt),
        .rss = rss,
    };
    atomic_store_explicit(&rest_told->phase, phase, memory_order_release);
}

static inline void rest_sleep(unsigned long ms)
{
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

static inline void rest_board_open(const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *rest_told) != 0)
        bench_usage("--board %s: %s", name, strerror(errno));
    rest_told = mmap(NULL, sizeof *rest_told, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (rest_told == MAP_FAILED)
        bench_usage("--board %s: %s", name, strerror(errno));
    close(fd);
}

/* Begins the work; what is in memory until then is what the rest is compared with, and a runner
 * is given time to look at it. */
static inline void rest_begin(void)
{
    if (rest_arg.board != NULL)
        rest_board_open(rest_arg.board);
    rest_told->pid = (uint64_t)getpid();
    rest_enter(REST_START);
    if (rest_arg.board != NULL)
        rest_sleep(REST_SETTLE_MS);
    rest_enter(REST_WORK);
}

static inline double rest_mib(enum rest_phase phase)
{
    return (double)rest_told->at[phase].rss / (1 << 20);
}

/* The rest: of the calling thread, when all others sleep. */
static inline void rest_idle(void)
{
    rest_enter(REST_IDLE);
    rest_sleep(rest_arg.idle_ms);
    rest_enter(REST_END);
    if (rest_arg.board == NULL && rest_arg.idle_ms > 0)
        printf("work       %.3f s\nat start   %.1f MiB resident\nafter work %.1f MiB\n"
               "after rest %.1f MiB, %.1f MiB live\n",
               (double)(rest_told->at[REST_IDLE].ns - rest_told->at[REST_WORK].ns) / 1e9,
               rest_mib(REST_START), rest_mib(REST_IDLE), rest_mib(REST_END),
               (double)rest_told->live / (1 << 20));
}

/* ---- Threads that work and then sleep ---- */

static struct {
    pthread_barrier_t begin, done, end;
    void (*work)(unsigned long index);
} rest_crew;

static inline void *rest_thread(void *p)
{
    pthread_barrier_wait(&rest_crew.begin);
    rest_crew.work((unsigned long)(uintptr_t)p);
    rest_settle();
    pthread_barrier_wait(&rest_crew.done);
    pthread_barrier_wait(&rest_crew.end);
    return NULL;
}

/* work(0) to work(n - 1), each in a thread of its own that is there, stack and all, before the
 * work begins, and sleeps until the rest has ended. One is the main thread itself. */
static inline void rest_run(unsigned long n, void (*work)(unsigned long index))
{
    if (n == 1) {
        rest_begin();
        work(0);
        rest_idle();
        return;
    }
    size_t size = n * sizeof(pthread_t);
    pthread_t *threads =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (threads == MAP_FAILED)
        bench_fail("mmap of %zu bytes: %s", size, strerror(errno));
    pthread_barrier_t *barriers[] = {&rest_crew.begin, &rest_crew.done, &rest_crew.end};
    for (size_t i = 0; i < sizeof barriers / sizeof *barriers; i++)
        pthread_barrier_init(barriers[i], NULL, (unsigned)n + 1);
    rest_crew.work = work;
    for (unsigned long i = 0; i < n; i++)
        threads[i] = bench_start(rest_thread, (void *)(uintptr_t)i);
    rest_begin();
    pthread_barrier_wait(&rest_crew.begin);
    pthread_barrier_wait(&rest_crew.done);
    rest_idle();
    pthread_barrier_wait(&rest_crew.end);
    for (unsigned long i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    munmap(threads, size);
}

/* ---- Blocks of mixed sizes ---- */

/* 16 bytes to 256 KiB. Half of the bytes are in blocks below 1 KiB, half in larger ones: those
 * are one of 195, for their mean size is 194 times that of the others. */
static inline size_t rest_size(uint64_t *random)
{
    return bench_below(random, 195) > 0 ? bench_log_size(random, 4, 10)
                                        : bench_log_size(random, 10, 18);
}

static inline void *rest_block(size_t size)
{
    rest_live((long)size);
    return bench_block(size);
}

static inline void rest_free(void *p)
{
    rest_live(-(long)bench_size(p));
    bench_free(p);
}

/* Blocks, in a table that is a mapping of its own: it shall come from nobody's malloc. */
struct rest_set {
    void **blocks;
    size_t n, room;
};

static inline size_t rest_pages(size_t bytes)
{
    return (bytes + BENCH_PAGE - 1) / BENCH_PAGE * BENCH_PAGE;
}

static inline bool rest_stays(size_t index, size_t every)
{
    return every > 0 && index % every == every - 1;
}

/* Fills the set with blocks of so many bytes together, or a little more. */
static inline void rest_fill(struct rest_set *set, size_t bytes, uint64_t *random)
{
    set->room = bytes / 16 + 1; /* of blocks of the smallest size */
    set->blocks = mmap(NULL, set->room * sizeof(void *), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (set->blocks == MAP_FAILED)
        bench_fail("mmap of a table for %zu blocks: %s", set->room, strerror(errno));
    for (size_t size; bytes > 0; bytes -= size < bytes ? size : bytes) {
        size = rest_size(random);
        set->blocks[set->n++] = rest_block(size);
        rest_live(sizeof(void *));
    }
}

/* Frees the blocks, but for every `every`th of them; 0: all. Those of a request go together, in
 * the order of their allocation, but the requests are all over the set. The table keeps what
 * stays, and is gone where nothing does. */
static inline void rest_empty(struct rest_set *set, size_t every)
{
    size_t requests = (set->n + REST_REQUEST - 1) / REST_REQUEST, kept = 0;
    for (size_t i = 0; i < requests; i++) {
        size_t begin = i * UINT64_C(2654435761) % requests * REST_REQUEST;
        for (size_t j = begin; j < set->n && j < begin + REST_REQUEST; j++)
            if (!rest_stays(j, every))
                rest_free(set->blocks[j]);
    }
    for (size_t i = 0; i < set->n; i++)
        if (rest_stays(i, every))
            set->blocks[kept++] = set->blocks[i];
    rest_live(-(long)((set->n - kept) * sizeof(void *)));
    size_t table = rest_pages(kept * sizeof(void *));
    munmap((char *)set->blocks + table, rest_pages(set->room * sizeof(void *)) - table);
    set->n = kept;
    set->room = table / sizeof(void *);
}

#endif
