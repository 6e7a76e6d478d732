/* SPDX-License-Identifier: MIT
 *
 * A container with a memory limit: a cgroup of v1 or v2, made here where that is allowed. A load that
 * fits it, and whose churn does not, runs to its end by default, and is killed without the soft limit;
 * with a hard limit a program that wants too much gets ENOMEM, and is not killed.
 *
 * The load runs in a process of its own, started inside the cgroup: `cgroup load`, `cgroup greedy`.
 */
#include "life.h"

#include <limits.h>
#include <sys/stat.h>

#define MIB ((size_t)1 << 20)
enum { LIMIT_MIB = 256 };

/* ---- The cgroup. ---- */

static char dir[128];

static bool put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* A group under `parent` with a limit. false: not allowed, or no memory controller there. */
static bool group_make(const char *parent, const char *limit_file)
{
    char limit[32];
    snprintf(dir, sizeof dir, "%s/hakmem_test_%d", parent, getpid());
    snprintf(limit, sizeof limit, "%zu", LIMIT_MIB * MIB);
    if (mkdir(dir, 0755) != 0)
        return false;
    if (put(limit_file, limit))
        return true;
    CHECK(rmdir(dir) == 0);
    return false;
}

static void group_need(void)
{
    if (!group_make("/sys/fs/cgroup/memory", "memory.limit_in_bytes") &&
        !group_make("/sys/fs/cgroup", "memory.max"))
        life_skip("no memory cgroup may be made here");
    (void)put("memory.memsw.limit_in_bytes",
              "268435456"); /* no way out to a swap, if there is one */
    (void)put("memory.swap.max", "0");
}

static void group_remove(void)
{
    for (unsigned i = 0; i < 100 && rmdir(dir) != 0; i++)
        usleep(20000); /* the dead leave it a moment later */
}

/* Run this program as `what` in the group with one more setting. Returns its wait status. Nothing goes
 * back for its age: on a slow machine that alone would keep the load within the limit. */
static int run_inside(const char *what, const char *setting)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        char self[PATH_MAX], preload[PATH_MAX + 16], library[PATH_MAX + 16];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n <= 0 || !put("cgroup.procs", "0"))
            _exit(3);
        self[n] = '\0';
        snprintf(preload, sizeof preload, "LD_PRELOAD=%s", getenv("LIFE_LIBRARY"));
        snprintf(library, sizeof library, "LIFE_LIBRARY=%s", getenv("LIFE_LIBRARY"));
        char *argv[] = {self, (char *)what, NULL};
        char *env[] = {preload, library, "HAKMEM_DECAY_MS=3600000", (char *)setting, NULL};
        execve(self, argv, env);
        _exit(4);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("%s, %s: status 0x%x\n", what, setting, status);
    return status;
}

static bool was_killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void in_a_container(void)
{
    group_need();
    int without = run_inside("load", "HAKMEM_LIMIT_SOFT=0");
    int by_default = run_inside("load", "HAKMEM_LOG=info");
    int lone = run_inside("load", "HAKMEM_BATCH_BG=0");
    int greedy = run_inside("greedy", "HAKMEM_LIMIT_HARD=auto");
    int killed = run_inside("greedy", "HAKMEM_LIMIT_HARD=0");
    group_remove();
    CHECK(by_default == 0 && lone == 0 && greedy == 0);
    CHECK(was_killed(without)); /* else the load proves nothing */
    CHECK(was_killed(killed));
}

/* ---- What runs inside. ---- */

static void *touched(size_t n)
{
    char *p = malloc(n);
    for (size_t i = 0; p != NULL && i < n; i += 4096)
        p[i] = 1;
    return p;
}

/* 100 MiB live, of 256; then 90 MiB in runs, and as much in one mapping, in turn, by two threads at
 * the same time as small blocks come and go. */
static void *churn(void *arg)
{
    (void)arg;
    for (unsigned round = 0; round < 60; round++) {
        void *block[2000];
        for (unsigned i = 0; i < 2000; i++)
            CHECK((block[i] = touched(3000)) != NULL);
        for (unsigned i = 0; i < 2000; i++)
            free(block[i]);
    }
    return NULL;
}

static void load(void)
{
    enum { LIVE = 100000, ROUNDS = 12, RUNS = 90 };
    static void *live[LIVE], *run[RUNS];
    for (unsigned i = 0; i < LIVE; i++)
        CHECK((live[i] = touched(1000)) != NULL);
    pthread_t t = life_thread(churn, NULL);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < RUNS; i++)
            CHECK((run[i] = touched(MIB)) != NULL);
        for (unsigned i = 0; i < RUNS; i++)
            free(run[i]);
        void *mapping = touched(RUNS * MIB);
        CHECK(mapping != NULL);
        free(mapping);
    }
    life_join(t);
    for (unsigned i = 0; i < LIVE; i++)
        free(live[i]);
}

/* All there is, twice: what was refused comes to no harm. */
static void greedy(void)
{
    static void *block[1024];
    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;
        errno = 0;
        while (n < 1024 && (block[n] = touched(MIB)) != NULL)
            n++;
        printf("%u MiB\n", n);
        CHECK(n < LIMIT_MIB && errno == ENOMEM && n > LIMIT_MIB / 4 * 3);
        while (n > 0)
            free(block[--n]);
    }
}

LIFE_MAIN({"in_a_container", in_a_container}, {"load", load}, {"greedy", greedy})
