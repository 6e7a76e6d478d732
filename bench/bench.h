/* SPDX-License-Identifier: MIT
 *
 * What the workloads of this directory share: options, random numbers, threads, blocks that know
 * whether they are whole, and errors.
 *
 * Every workload does a fixed amount of work that depends on its options alone, so that its time
 * as a process is the figure; exits 0 when all of it was right, 1 with one line on stderr when
 * something was not, 2 when an option was not.
 * With --threads N the same work is done by N threads, so the times compare. One thread is the
 * main thread itself: a workload with --threads 1 never becomes multithreaded.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_THREADS_MAX = 256, BENCH_OPTIONS_MAX = 24 };

/* ---- Errors: one line, "workload: what: why". ---- */

__attribute__((format(printf, 2, 3), noreturn, cold)) static inline void
bench_exit(int status, const char *format, ...)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&said)) /* one thread's line; it ends the others too */
        pause();
    va_list args;
    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(status);
}

#define bench_fail(...)  bench_exit(1, __VA_ARGS__)
#define bench_usage(...) bench_exit(2, __VA_ARGS__)

/* ---- Options: all long ones. `value` points to the default and takes what is given. ---- */

struct bench_option {
    const char *name;
    unsigned long *value; /* a number, a flag (0 or 1) or the index of a choice; or NULL and */
    const char **text;    /* a text */
    unsigned long min, max; /* of a number; both 0 for a flag */
    const char *choices;    /* "one|two|three", or NULL */
    const char *help;
};

#define BENCH_NUMBER(name, value, min, max, help)                                              \
    {                                                                                          \
        name, value, NULL, min, max, NULL, help                                                \
    }
#define BENCH_FLAG(name, value, help)                                                          \
    {                                                                                          \
        name, value, NULL, 0, 0, NULL, help                                                    \
    }
#define BENCH_CHOICE(name, value, choices, help)                                               \
    {                                                                                          \
        name, value, NULL, 0, 0, choices, help                                                 \
    }
#define BENCH_TEXT(name, text, help)                                                           \
    {                                                                                          \
        name, NULL, text, 0, 0, NULL, help                                                     \
    }
#define BENCH_THREADS(value, min)                                                              \
    BENCH_NUMBER("threads", value, min, BENCH_THREADS_MAX, "threads that share the work")
#define BENCH_SEED(value) BENCH_NUMBER("seed", value, 0, -1UL, "of the random numbers")

static inline bool bench_is_flag(const struct bench_option *o)
{
    return o->value != NULL && o->choices == NULL && o->max == 0;
}

/* The number that `text` is; `what` names it in the error. */
static inline unsigned long bench_number(const char *what, const char *text, unsigned long min,
                                         unsigned long max)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && value >= min &&
        value <= max)
        return value;
    if (max == -1UL)
        bench_usage("%s %s: expected a number from %lu up", what, text, min);
    bench_usage("%s %s: expected a number from %lu to %lu", what, text, min, max);
}

static inline unsigned long bench_choice(const struct bench_option *o, const char *text)
{
    unsigned long index = 0;
    size_t length = strlen(text);
    for (const char *c = o->choices;; c++, index++) {
        if (strncmp(c, text, length) == 0 && (c[length] == '|' || c[length] == '\0'))
            return index;
        c = strchr(c, '|');
        if (c == NULL)
            bench_usage("--%s %s: expected %s", o->name, text, o->choices);
    }
}

/* The part of "one|two|three" that `index` says. */
static inline void bench_print_choice(const char *choices, unsigned long index)
{
    while (index-- > 0)
        choices = strchr(choices, '|') + 1;
    printf("%.*s", (int)strcspn(choices, "|"), choices);
}

__attribute__((noreturn)) static inline void
bench_help(const char *about, const struct bench_option *options, size_t n)
{
    printf("usage: %s [OPTION]...\n%s\n\n", program_invocation_short_name, about);
    for (size_t i = 0; i < n; i++) {
        const struct bench_option *o = &options[i];
        int width = printf("  --%s%s", o->name,
                           bench_is_flag(o)     ? ""
                           : o->value == NULL   ? " FILE"
                           : o->choices != NULL ? " WHICH"
                                                : " N");
        printf("%*s%s", width < 24 ? 24 - width : 1, "", o->help);
        if (o->choices != NULL) {
            printf(": %s (", o->choices);
            bench_print_choice(o->choices, *o->value);
            putchar(')');
        } else if (o->value != NULL && !bench_is_flag(o)) {
            printf(" (%lu)", *o->value);
        }
        putchar('\n');
    }
    exit(0);
}

static inline void bench_set_option(const struct bench_option *o, const char *text)
{
    char what[64];
    snprintf(what, sizeof what, "--%s", o->name);
    if (o->value == NULL)
        *o->text = text;
    else if (o->choices != NULL)
        *o->value = bench_choice(o, text);
    else if (bench_is_flag(o))
        *o->value = 1;
    else
        *o->value = bench_number(what, text, o->min, o->max);
}

/* Reads the options and returns the index of the first argument that is none. */
static inline int bench_options(int argc, char **argv, const char *about,
                                const struct bench_option *options, size_t n)
{
    enum { FIRST = 256, HELP = FIRST + BENCH_OPTIONS_MAX };
    struct option longs[BENCH_OPTIONS_MAX + 2] = {{"help", no_argument, NULL, HELP}};
    if (n > BENCH_OPTIONS_MAX)
        bench_fail("BENCH_OPTIONS_MAX is too small");
    for (size_t i = 0; i < n; i++)
        longs[i + 1] = (struct option){
            options[i].name, bench_is_flag(&options[i]) ? no_argument : required_argument, NULL,
            FIRST + (int)i};
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":", longs, NULL)) != -1;) {
        if (c == HELP)
            bench_help(about, options, n);
        if (c == ':')
            bench_usage("%s: expected a value after it", argv[optind - 1]);
        if (c == '?' && optopt >= FIRST)
            bench_usage("%s: takes no value", argv[optind - 1]);
        if (c == '?' && optopt != 0)
            bench_usage("-%c: unknown option; --help lists them", optopt);
        if (c == '?')
            bench_usage("%s: unknown option; --help lists them", argv[optind - 1]);
        bench_set_option(&options[c - FIRST], optarg);
    }
    return optind;
}

/* The same for a program that takes options alone. */
#define bench_parse(argc, argv, about, options)                                                \
    bench_parse_all(argc, argv, about, options, sizeof(options) / sizeof(*(options)))

static inline void bench_parse_all(int argc, char **argv, const char *about,
                                   const struct bench_option *options, size_t n)
{
    int next = bench_options(argc, argv, about, options, n);
    if (next < argc)
        bench_usage("%s: unexpected argument; --help lists the options", argv[next]);
}

/* For what min and max of one option cannot say. */
static inline void bench_need(bool good, const char *option, unsigned long value,
                              const char *expected)
{
    if (!good)
        bench_usage("--%s %lu: expected %s", option, value, expected);
}

/* ---- Random numbers: xorshift64*, one state for each thread. ---- */

/* A state never 0, and unlike that of any other stream of the seed. */
static inline uint64_t bench_seed(unsigned long seed, unsigned long stream)
{
    uint64_t x = seed + (stream + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
    return x == 0 ? 1 : x;
}

static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (x * UINT64_C(2685821657736338717)) >> 16;
}

/* 0 to n - 1; n below 2^32. */
static inline size_t bench_below(uint64_t *state, size_t n)
{
    return (size_t)(((bench_random(state) & UINT32_MAX) * n) >> 32);
}

/* min to max, both included. */
static inline size_t bench_between(uint64_t *state, size_t min, size_t max)
{
    return min + bench_below(state, max - min + 1);
}

static inline bool bench_percent(uint64_t *state, unsigned percent)
{
    return bench_below(state, 100) < percent;
}

/* A size from 2^low up to 2^high, exclusive, each doubling of it as likely as any other: most
 * blocks are small, and most bytes are in large ones, as in most programs. */
static inline size_t bench_log_size(uint64_t *state, unsigned low, unsigned high)
{
    size_t base = (size_t)1 << (low + bench_below(state, high - low));
    return base + (bench_random(state) & (base - 1));
}

static inline void bench_shuffle(uint64_t *state, uint32_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t other = bench_below(state, i);
        uint32_t item = items[i - 1];
        items[i - 1] = items[other];
        items[other] = item;
    }
}

/* ---- Threads ---- */

/* The share of `total` that is thread i's of n. */
static inline unsigned long bench_share(unsigned long total, unsigned long n, unsigned long i)
{
    return total / n + (i < total % n);
}

static inline pthread_t bench_start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, arg);
    if (error != 0)
        bench_fail("pthread_create: %s", strerror(error));
    return thread;
}

/* Runs `run` in n threads, each on its own of the n items of `size` bytes at `items`. */
static inline void bench_threads(unsigned long n, void *(*run)(void *), void *items,
                                 size_t size)
{
    pthread_t threads[BENCH_THREADS_MAX];
    if (n == 1) {
        run(items);
        return;
    }
    for (unsigned long i = 0; i < n; i++)
        threads[i] = bench_start(run, (char *)items + i * size);
    for (unsigned long i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* The same for a `run` that needs to know only which of them it is: it gets a pointer to that. */
static inline void bench_numbered(unsigned long n, void *(*run)(void *))
{
    unsigned long index[BENCH_THREADS_MAX];
    for (unsigned long i = 0; i < n; i++)
        index[i] = i;
    bench_threads(n, run, index, sizeof *index);
}

/* ---- Memory ---- */

enum { BENCH_BLOCK_MIN = 8, BENCH_PAGE = 4096 };

/* What malloc or another returned, if it is a block. */
static inline void *bench_checked(void *p, const char *call, size_t size)
{
    if (p == NULL)
        bench_fail("%s of %zu bytes: %s", call, size, strerror(errno));
    return p;
}

/* For the workload's own tables. */
static inline void *bench_table(size_t n, size_t size)
{
    return bench_checked(calloc(n, size), "calloc", n * size);
}

/* A stamped block holds its size and a mark made of its address in its first word, and the mark
 * again in its last four bytes. So two blocks that overlap show, and so does a block that was
 * handed out twice: its first owner's bench_free wipes the stamp. */
static inline uint32_t bench_mark(const void *p)
{
    return (uint32_t)(((uintptr_t)p * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

/* Stamps size bytes at p, 8 or more, and touches every page of them. */
static inline void *bench_stamp(void *p, size_t size)
{
    uint32_t mark = bench_mark(p);
    *(uint64_t *)p = (uint64_t)mark << 32 | size;
    for (size_t i = BENCH_PAGE; i < size; i += BENCH_PAGE)
        ((char *)p)[i] = 1;
    if (size >= 12)
        memcpy((char *)p + size - 4, &mark, 4);
    return p;
}

/* The size of the stamped block. */
static inline size_t bench_size(const void *p)
{
    return (uint32_t) * (const uint64_t *)p;
}

static inline void bench_check(const void *p)
{
    uint64_t head = *(const uint64_t *)p;
    uint32_t mark = bench_mark(p), size = (uint32_t)head, tail = mark;
    if (size >= 12 && head >> 32 == mark)
        memcpy(&tail, (const char *)p + size - 4, 4);
    if (head >> 32 != mark || tail != mark)
        bench_fail("block %p: it does not hold what was written there", p);
}

static inline void *bench_block(size_t size)
{
    return bench_stamp(bench_checked(malloc(size), "malloc", size), size);
}

/* Frees a stamped block, or NULL, after a look at it. */
static inline void bench_free(void *p)
{
    if (p != NULL) {
        bench_check(p);
        *(uint64_t *)p = 0;
    }
    free(p);
}

/* Frees stamped blocks and NULLs. */
static inline void bench_free_all(void **blocks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bench_free(blocks[i]);
}

/* And the table itself. */
static inline void bench_free_table(void **table, size_t n)
{
    bench_free_all(table, n);
    free(table);
}

/* What the process has in memory now, in bytes. */
static inline size_t bench_rss(void)
{
    char line[128] = "";
    unsigned long all = 0, resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (n <= 0 || sscanf(line, "%lu %lu", &all, &resident) != 2)
        bench_fail("/proc/self/statm: cannot be read");
    close(fd);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static inline double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif
