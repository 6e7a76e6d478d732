/* SPDX-License-Identifier: MIT
 *
 * What the process-life programs share: a check that names its line, blocks that know what is
 * in them, readings of /proc, and the table of cases each program offers.
 *
 * A program is started as `program CASE`, runs that one case in this very process (what these
 * tests are about is a process from its first malloc to its last free) and exits 0 or 77
 * (skipped). Any failure is an abort, also in a thread or a fork child.
 */
#ifndef LIFE_H
#define LIFE_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIFE_SKIP 77

/* No stdio: this runs in fork children and under exhausted memory too. */
static inline _Noreturn void life_die(const char *file, int line, const char *what)
{
    dprintf(STDERR_FILENO, "%s:%d: failed: %s (errno %d, pid %d)\n", file, line, what, errno,
            getpid());
    abort();
}

#define CHECK(c)                                                                               \
    do {                                                                                       \
        if (!(c))                                                                              \
            life_die(__FILE__, __LINE__, #c);                                                  \
    } while (0)

static inline _Noreturn void life_skip(const char *why)
{
    dprintf(STDOUT_FILENO, "skipped: %s\n", why);
    _exit(LIFE_SKIP);
}

/* ---- Random numbers: xorshift64*, one state per thread. ---- */

static inline uint64_t life_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

static inline uint64_t life_seed(uint64_t n)
{
    return (n + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

/* Sizes as programs ask for them: mostly small, now and then from every range up to max. */
static inline size_t life_size(uint64_t *state, size_t max)
{
    static const size_t top[] = {64, 256, 1024, 16 << 10, 128 << 10, 2 << 20, 40 << 20};
    static const unsigned share[] = {40, 70, 85, 95, 98, 99, 100}; /* percent, summed up */
    unsigned dice = (unsigned)(life_random(state) % 100);
    unsigned range = 0;
    while (dice >= share[range])
        range++;
    size_t n = life_random(state) % top[range];
    return n <= max ? n : n % (max + 1);
}

/* ---- Blocks that know what is in them. ---- */

/* Bytes that carry the pattern: all of a small block, 64 places and the end of a big one, so
 * that a stamp on 40 MB touches few pages. */
static inline size_t life_step(size_t n)
{
    return n <= 1024 ? 1 : n / 64;
}

static inline unsigned char life_byte(const void *p, size_t n, size_t i)
{
    uint64_t x = ((uintptr_t)p ^ (n << 7) ^ i) * UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned char)(x >> 56);
}

static inline void life_stamp(void *p, size_t n)
{
    unsigned char *b = p;
    for (size_t i = 0; i < n; i += life_step(n))
        b[i] = life_byte(p, n, i);
    if (n != 0)
        b[n - 1] = life_byte(p, n, n - 1);
}

static inline bool life_intact(const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i += life_step(n))
        if (b[i] != life_byte(p, n, i) && i != n - 1)
            return false;
    return n == 0 || b[n - 1] == life_byte(p, n, n - 1);
}

/* malloc that must work, stamped. */
static inline void *life_malloc(size_t n)
{
    void *p = malloc(n);
    CHECK(p != NULL && (uintptr_t)p % 16 == 0);
    life_stamp(p, n);
    return p;
}

/* free of a block from life_malloc(n), which must still hold its pattern. */
static inline void life_free(void *p, size_t n)
{
    CHECK(p == NULL || life_intact(p, n));
    free(p);
}

/* Allocate and free in every size range, `rounds` times, with a few blocks alive at a time. */
static inline void life_exercise(uint64_t seed, unsigned rounds, size_t max)
{
    enum { KEPT = 16 };
    struct {
        void *p;
        size_t n;
    } kept[KEPT] = {{NULL, 0}};
    uint64_t state = life_seed(seed);
    for (unsigned i = 0; i < rounds; i++) {
        unsigned slot = life_random(&state) % KEPT;
        life_free(kept[slot].p, kept[slot].n);
        kept[slot].n = life_size(&state, max);
        kept[slot].p = life_malloc(kept[slot].n);
    }
    for (unsigned i = 0; i < KEPT; i++)
        life_free(kept[i].p, kept[i].n);
}

/* ---- Readings of /proc, with no malloc of their own. ---- */

/* Lines of /proc/self/maps: the mappings vm.max_map_count counts. */
static inline long life_mappings(void)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    char buf[4096];
    long lines = 0;
    for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += buf[i] == '\n';
    close(fd);
    return lines;
}

/* A "Name:  123 kB" line of /proc/self/status, in KiB. */
static inline long life_status_kib(const char *name)
{
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof buf - 1);
    close(fd);
    CHECK(n > 0);
    buf[n] = '\0';
    char *line = strstr(buf, name);
    CHECK(line != NULL);
    return strtol(line + strlen(name) + 1, NULL, 10);
}

/* ---- Threads and children. ---- */

static inline pthread_t life_thread(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    int error = pthread_create(&t, NULL, fn, arg);
    errno = error;
    CHECK(error == 0);
    return t;
}

static inline void life_join(pthread_t t)
{
    CHECK(pthread_join(t, NULL) == 0);
}

/* Wait for a child that must exit with `status`. A hang is a failure of the child: each calls
 * alarm() first, and SIGALRM ends it. */
static inline void life_reap(pid_t pid, int status)
{
    int got = 0;
    pid_t who;
    do
        who = waitpid(pid, &got, 0);
    while (who < 0 && errno == EINTR);
    CHECK(who == pid);
    if (!WIFEXITED(got) || WEXITSTATUS(got) != status) {
        dprintf(STDERR_FILENO, "child %d: wait status 0x%x (%s)\n", pid, got,
                WIFSIGNALED(got) ? strsignal(WTERMSIG(got)) : "exited");
        CHECK(!"the child ended as it should");
    }
}

/* ---- The program. ---- */

/* Run fn(argc, argv, environment) before the first constructor: programs may, libraries not. */
#define LIFE_PREINIT(fn)                                                                       \
    __attribute__((section(".preinit_array"), used)) static void *preinit_entry = (void *)(fn)

struct life_case {
    const char *name;
    void (*run)(void);
};

/* LIFE_LIBRARY names the library under test: malloc must be its malloc. Unset, the program runs
 * on whatever malloc it finds, to see how another allocator fares. */
static inline void life_need_hakmem(void)
{
    const char *library = getenv("LIFE_LIBRARY");
    if (library == NULL)
        return;
    Dl_info info;
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) != 0);
    const char *base = strrchr(info.dli_fname, '/');
    CHECK(base != NULL && strncmp(base + 1, "libhakmem.so", 12) == 0);
}

static inline int life_main(int argc, char **argv, const struct life_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (argc < 2 || strcmp(argv[1], cases[i].name) != 0)
            continue;
        cases[i].run();
        return 0;
    }
    dprintf(STDERR_FILENO, "usage: %s CASE, one of:\n", argv[0]);
    for (size_t i = 0; i < n; i++)
        dprintf(STDERR_FILENO, "  %s\n", cases[i].name);
    return 2;
}

#define LIFE_MAIN(...)                                                                         \
    int main(int argc, char **argv)                                                            \
    {                                                                                          \
        static const struct life_case cases[] = {__VA_ARGS__};                                 \
        life_need_hakmem();                                                                    \
        setvbuf(stdout, NULL, _IONBF, 0); /* what was measured is there when a CHECK fails */  \
        return life_main(argc, argv, cases, sizeof cases / sizeof cases[0]);                   \
    }

#endif /* LIFE_H */
