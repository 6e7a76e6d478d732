/* SPDX-License-Identifier: MIT
 *
 * The end of a process, in each way there is, while its threads are busy in malloc.
 *
 * `exits ten_thousand` runs itself 10,000 times as a child of three threads that ends in one of
 * five ways in turn; the ancestor of this allocator died in few of such runs, at random, with
 * "free(): invalid pointer". The other cases run one way of ending many times.
 */
#include "life.h"

#include <spawn.h>

extern char **environ;

enum { THREADS = 3, STATUS = 3 };

static atomic_bool stop;
static _Atomic(void *) handed[THREADS]; /* blocks on their way to another thread */

static void *busy(void *arg)
{
    unsigned self = (unsigned)(uintptr_t)arg;
    for (unsigned seed = self; !atomic_load(&stop); seed += THREADS) {
        life_exercise(seed, 10, 64 << 10);
        free(atomic_exchange(&handed[(self + 1) % THREADS], malloc(seed % 2000)));
        sched_yield(); /* main has a way to end: do not make it wait for its turn */
    }
    return NULL;
}

static void *exits(void *arg)
{
    life_exercise(9, 30, 64 << 10);
    exit(STATUS);
}

static void *lives_longest(void *arg)
{
    CHECK(pthread_join(*(pthread_t *)arg, NULL) == 0); /* main is gone */
    life_exercise(9, 30, 64 << 10);
    exit(STATUS);
}

static void in_handler(void)
{
    life_exercise(10, 30, 64 << 10);
}

static void in_quick_handler(void)
{
    life_exercise(11, 30, 64 << 10);
}

/* The ways of ending; each leaves the status the runner expects. */
enum way { RETURN_BUSY, RETURN_JOINED, THREAD_EXIT, MAIN_GONE, UNDERSCORE, QUICK, ABORT, WAYS };

static int child(enum way way)
{
    pthread_t t[THREADS];
    life_need_hakmem();
    alarm(60);
    for (unsigned i = 0; i < THREADS; i++)
        t[i] = life_thread(busy, (void *)(uintptr_t)i);
    atexit(in_handler);
    at_quick_exit(in_quick_handler);
    life_exercise(THREADS, 30, 64 << 10); /* the threads are now anywhere from birth on */
    switch (way) {
    case RETURN_BUSY:
        return STATUS;
    case RETURN_JOINED:
        atomic_store(&stop, true);
        for (unsigned i = 0; i < THREADS; i++)
            life_join(t[i]);
        return STATUS;
    case THREAD_EXIT:
        life_join(life_thread(exits, NULL));
        return 1; /* not reached */
    case MAIN_GONE: {
        static pthread_t self;
        self = pthread_self();
        life_thread(lives_longest, &self);
        pthread_exit(NULL);
    }
    case UNDERSCORE:
        _exit(STATUS);
    case QUICK:
        quick_exit(STATUS);
    default:
        abort();
    }
}

static void run(const char *self, enum way way)
{
    char digit[2] = {(char)('0' + way), '\0'};
    char *argv[] = {(char *)self, "child", digit, NULL};
    pid_t pid;
    CHECK(posix_spawn(&pid, self, NULL, NULL, argv, environ) == 0); /* a vfork inside */
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    bool as_meant = way == ABORT ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT
                                 : WIFEXITED(status) && WEXITSTATUS(status) == STATUS;
    if (as_meant)
        return;
    dprintf(STDERR_FILENO, "way %d: wait status 0x%x\n", way, status);
    CHECK(!"the process ended as it should");
}

static void run_many(const char *self, unsigned count, enum way first, enum way last)
{
    enum { PARALLEL = 2 };
    pid_t pid[PARALLEL];
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (unsigned p = 0; p < PARALLEL; p++) {
        pid[p] = fork();
        CHECK(pid[p] >= 0);
        if (pid[p] != 0)
            continue;
        for (unsigned i = p; i < count; i += PARALLEL)
            run(self, first + i / PARALLEL % (last - first + 1));
        _exit(0);
    }
    for (unsigned p = 0; p < PARALLEL; p++)
        life_reap(pid[p], 0);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 3 && strcmp(what, "child") == 0)
        return child((enum way)(argv[2][0] - '0'));
    if (strcmp(what, "ten_thousand") == 0)
        run_many(argv[0], 10000, RETURN_BUSY, UNDERSCORE);
    else if (strcmp(what, "quick_exit") == 0)
        run_many(argv[0], 200, QUICK, QUICK);
    else if (strcmp(what, "abort") == 0)
        run_many(argv[0], 200, ABORT, ABORT);
    else
        return 2;
    return 0;
}
