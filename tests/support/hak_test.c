/* SPDX-License-Identifier: MIT
 *
 * hak_test: children, programs, patterns and process figures for the tests. Nothing in here
 * allocates: it also runs in tests where malloc is the thing on trial.
 */
#include "support/hak_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

char hak_test_context[256];

void hak_require_failed(const char *what, const char *file, int line)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "%s:%d: failed: %s%s%s\n", file, line, what,
                     hak_test_context[0] != '\0' ? "; " : "", hak_test_context);
    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(98);
    _exit(99);
}

/* One page that parent and children share. */
static void **victim_slot(void)
{
    static void **slot;
    if (slot == NULL) {
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(p != MAP_FAILED);
        slot = p;
    }
    return slot;
}

void *hak_victim(const void *p)
{
    *victim_slot() = (void *)(uintptr_t)p;
    return (void *)(uintptr_t)p;
}

/* Append what fd has to text; false at its end. */
static bool drain(int fd, char *text, size_t size)
{
    size_t have = strlen(text);
    char scrap[4096];
    char *to = have + 1 < size ? text + have : scrap;
    ssize_t got = read(fd, to, have + 1 < size ? size - 1 - have : sizeof(scrap));
    if (got < 0 && errno == EINTR)
        return true;
    if (to != scrap && got >= 0)
        to[got] = '\0';
    return got > 0;
}

static void drain_both(int out, int err, struct hak_run *r)
{
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents != 0 && !drain(out, r->out, sizeof(r->out)))
            fds[0].fd = -1;
        if (fds[1].revents != 0 && !drain(err, r->err, sizeof(r->err)))
            fds[1].fd = -1;
    }
    close(out);
    close(err);
}

/* fork with the child's stdout and stderr on pipes. Returns the child's pid, 0 in the child. */
static pid_t fork_with_pipes(int *out, int *err)
{
    int o[2], e[2];
    REQUIRE(pipe2(o, O_CLOEXEC) == 0 && pipe2(e, O_CLOEXEC) == 0);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        static const int caught[] = {SIGABRT, SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGSYS};
        for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
            signal(caught[i],
                   SIG_DFL); /* cmocka would go on with the next test, in the child */
        dup2(o[1], STDOUT_FILENO);
        dup2(e[1], STDERR_FILENO);
        return 0;
    }
    close(o[1]);
    close(e[1]);
    *out = o[0];
    *err = e[0];
    return pid;
}

static void wait_for(pid_t pid, int *status)
{
    while (waitpid(pid, status, 0) < 0)
        REQUIRE(errno == EINTR);
}

static void run_child(struct hak_run *r, void (*fn)(void *), void *arg)
{
    int out, err;
    memset(r, 0, sizeof(*r));
    pid_t pid = fork_with_pipes(&out, &err);
    if (pid == 0) {
        fn(arg);
        _exit(0);
    }
    drain_both(out, err, r);
    wait_for(pid, &r->status);
}

void hak_run(struct hak_run *r, char *const argv[], char *const envp[])
{
    int out, err;
    memset(r, 0, sizeof(*r));
    pid_t pid = fork_with_pipes(&out, &err);
    if (pid == 0) {
        execve(argv[0], argv, envp);
        _exit(127);
    }
    drain_both(out, err, r);
    wait_for(pid, &r->status);
}

static bool aborted(const struct hak_run *r)
{
    return WIFSIGNALED(r->status) && WTERMSIG(r->status) == SIGABRT;
}

static void call_plain(void *fn)
{
    ((void (*)(void))(uintptr_t)fn)();
}

void hak_expect_abort(void (*fn)(void), const char *want, const char *file, int line)
{
    struct hak_run r;
    run_child(&r, call_plain, (void *)(uintptr_t)fn);
    if (!aborted(&r) || strstr(r.err, want) == NULL) {
        print_error("wanted SIGABRT and \"%s\"; got status 0x%x and \"%s\"\n", want,
                    (unsigned)r.status, r.err);
        _fail(file, line);
    }
}

void hak_expect_pointer_abort(void (*fn)(void *), void *arg, const char *want, const char *file,
                              int line)
{
    struct hak_run r;
    char text[256];
    hak_victim(NULL);
    run_child(&r, fn, arg);
    snprintf(text, sizeof(text), "hakmem: %s 0x%lx\n", want, (unsigned long)*victim_slot());
    if (!aborted(&r) || strcmp(r.err, text) != 0) {
        print_error("wanted SIGABRT and \"%s\"; got status 0x%x and \"%s\"\n", text,
                    (unsigned)r.status, r.err);
        _fail(file, line);
    }
}

void hak_expect_child_pass(void (*fn)(void *), void *arg, const char *file, int line)
{
    struct hak_run r;
    run_child(&r, fn, arg);
    if (r.status != 0) {
        print_error("child of %s:%d: status 0x%x; it said: %s%s\n", file, line,
                    (unsigned)r.status, r.out, r.err);
        _fail(file, line);
    }
}

uint64_t hak_test_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

uint64_t hak_test_env(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v != NULL && *v != '\0' ? strtoull(v, NULL, 0) : otherwise;
}

static uint64_t pattern_word(uint64_t seed, size_t i)
{
    return (seed + i) * 0x9e3779b97f4a7c15ull;
}

void hak_test_fill(void *p, size_t n, uint64_t seed)
{
    unsigned char *to = p;
    size_t i;
    for (i = 0; i + 8 <= n; i += 8) {
        uint64_t w = pattern_word(seed, i);
        memcpy(to + i, &w, 8);
    }
    uint64_t last = pattern_word(seed, i);
    memcpy(to + i, &last, n - i);
}

size_t hak_test_check(const void *p, size_t n, uint64_t seed)
{
    const unsigned char *from = p;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = pattern_word(seed, i);
        size_t len = n - i < 8 ? n - i : 8;
        if (memcmp(from + i, &w, len) != 0) {
            while (from[i] == (unsigned char)w) {
                w >>= 8;
                i++;
            }
            return i;
        }
    }
    return n;
}

bool hak_test_is_zero(const void *p, size_t n)
{
    const unsigned char *c = p;
    return n == 0 || (c[0] == 0 && memcmp(c, c + 1, n - 1) == 0);
}

#if defined(__SANITIZE_ADDRESS__)
#    include <sanitizer/asan_interface.h>

/* Resident pages of the sanitizer's own record of all memory. It is read wherever a program goes, and on some
 * systems that makes pages, which nobody can give back. */
static size_t shadow_bytes(void)
{
    static char text[1 << 20];
    size_t scale, offset, have = 0, bytes = 0;
    ssize_t got;
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    while ((got = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
        have += (size_t)got;
    close(fd);
    REQUIRE(have < sizeof(text) - 1);
    text[have] = '\0';
    __asan_get_shadow_mapping(&scale, &offset);
    bool shadow = false;
    for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        char *end;
        size_t start = strtoull(line, &end, 16);
        if (*end == '-')
            shadow = start >= offset && start < offset + ((size_t)1 << (47 - scale));
        else if (shadow && strncmp(line, "Rss:", 4) == 0)
            bytes += strtoull(line + 4, NULL, 10) * 1024;
    }
    return bytes;
}
#else
static size_t shadow_bytes(void)
{
    return 0;
}
#endif

size_t hak_test_resident_bytes(void)
{
    char text[128] = {0};
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    char *second = strchr(text, ' ');
    REQUIRE(second != NULL);
    return strtoull(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) - shadow_bytes();
}

size_t hak_test_n_mappings(void)
{
    char text[4096];
    size_t lines = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    for (ssize_t got; (got = read(fd, text, sizeof(text))) > 0;)
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    close(fd);
    return lines;
}
