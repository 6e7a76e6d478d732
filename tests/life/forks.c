/* SPDX-License-Identifier: MIT
 *
 * Fork from a process whose threads are all busy in malloc: the child must be able to allocate
 * at once, whatever any thread of the parent held at that moment, and no child may ever hang.
 */
#include "life.h"

#include <sys/time.h>

enum { THREADS = 8, SLOTS = 256, FORKS = 150, PATIENCE = 20 /* seconds until a child hangs */ };

/* Blocks in the open: any thread takes any, checks and frees it, and puts another there. The
 * length stands in the block, so that a pointer alone is enough. */
static _Atomic(size_t *) slot[SLOTS];
static atomic_bool stop;

static size_t *parcel_new(uint64_t *state, size_t max)
{
    size_t n = sizeof(size_t) * 2 + life_size(state, max);
    size_t *p = malloc(n);
    CHECK(p != NULL);
    p[0] = n;
    life_stamp(p + 2, n - sizeof(size_t) * 2);
    return p;
}

static void parcel_free(size_t *p)
{
    if (p == NULL)
        return;
    CHECK(life_intact(p + 2, p[0] - sizeof(size_t) * 2));
    free(p);
}

static void trade(uint64_t *state, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++)
        parcel_free(
            atomic_exchange(&slot[life_random(state) % SLOTS], parcel_new(state, 1 << 20)));
}

static void *trader(void *arg)
{
    uint64_t state = life_seed((uintptr_t)arg);
    while (!atomic_load(&stop))
        trade(&state, 100);
    return NULL;
}

static void *trade_once(void *arg)
{
    uint64_t state = life_seed((uintptr_t)arg);
    trade(&state, 20);
    return NULL;
}

/* Threads that are born and die all the time: fork must meet thread starts and ends too. */
static void *parent_of_many(void *arg)
{
    for (uintptr_t seed = (uintptr_t)arg; !atomic_load(&stop); seed += 2)
        life_join(life_thread(trade_once, (void *)seed));
    return NULL;
}

static void start(pthread_t *t)
{
    for (unsigned i = 0; i < THREADS; i++)
        t[i] = life_thread(i < THREADS - 2 ? trader : parent_of_many, (void *)(uintptr_t)i);
}

static void end(pthread_t *t)
{
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        life_join(t[i]);
}

/* What a child does: allocate first of all, then take over what the lost threads left; every
 * fourth one goes on to have a child of its own, three generations deep. */
static void child(unsigned n)
{
    for (unsigned generation = 0; generation < 3; generation++) {
        alarm(PATIENCE);
        life_exercise(n, 60, 40 << 20);
        for (unsigned i = 0; i < SLOTS; i++)
            parcel_free(atomic_exchange(&slot[i], NULL));
        if (n % 4 == 1)
            life_join(life_thread(trade_once, (void *)(uintptr_t)n));
        if (n % 4 != 2)
            break;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid != 0) {
            life_exercise(n, 20, 1 << 20);
            life_reap(pid, 0);
            break;
        }
    }
    if (n % 2 == 0)
        _exit(0);
    exit(0);
}

static void fork_once(unsigned n)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        child(n);
    life_exercise(n, 5, 1 << 20); /* the parent too may allocate at once */
    life_reap(pid, 0);
}

static void main_thread(void)
{
    pthread_t t[THREADS];
    start(t);
    for (unsigned n = 0; n < FORKS; n++)
        fork_once(n);
    end(t);
}

static void *forker(void *arg)
{
    for (unsigned n = (unsigned)(uintptr_t)arg; n < FORKS; n += 4)
        fork_once(n);
    return NULL;
}

/* Several threads fork at the same time. */
static void other_threads(void)
{
    pthread_t t[THREADS], f[4];
    start(t);
    for (unsigned i = 0; i < 4; i++)
        f[i] = life_thread(forker, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < 4; i++)
        life_join(f[i]);
    end(t);
}

/* ---- Handlers of the program's own that allocate. ----
 *
 * fork runs the prepare handlers last registered first, and the others first registered first.
 * Handlers registered before the allocator's own run while the allocator is prepared for the
 * fork; handlers registered after it do not. Both must be able to allocate. */

static atomic_uint handler_runs;
static _Thread_local void *from_prepare; /* several threads may be in fork() */

static bool handlers_idle;

static void handler_prepare(void)
{
    if (handlers_idle)
        return;
    life_exercise(1, 20, 40 << 20);
    free(from_prepare);
    from_prepare = malloc(100);
    handler_runs++;
}

static void handler_after(void)
{
    if (handlers_idle)
        return;
    free(from_prepare); /* from before the fork, freed on both sides of it */
    from_prepare = malloc(5000);
    life_exercise(2, 20, 40 << 20);
    handler_runs++;
}

static void register_handlers(void)
{
    CHECK(pthread_atfork(handler_prepare, handler_after, handler_after) == 0);
}

/* Before the first constructor, the allocator's among them. */
static void preinit(void)
{
    register_handlers();
}

LIFE_PREINIT(preinit);

static void handlers_that_allocate(void)
{
    pthread_t t[THREADS];
    register_handlers();
    start(t);
    for (unsigned n = 0; n < FORKS / 5; n++) {
        unsigned before = handler_runs;
        fork_once(n);
        CHECK(handler_runs == before + 4); /* two sets, prepare and parent */
    }
    end(t);
}

/* ---- A signal handler that forks, wherever malloc or free of the only thread may be. Both go on from
 * there. ---- */

static volatile sig_atomic_t forked; /* the child's number; 0 in the child */
static volatile sig_atomic_t in_child;

static void fork_now(int signal)
{
    pid_t pid = fork();
    if (pid == 0)
        in_child = 1;
    forked = (sig_atomic_t)pid;
    (void)signal;
}

static void timer_set(long us)
{
    struct itimerval once = {{0, 0}, {0, us}};
    CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

static void signal_handler(void)
{
    struct sigaction action = {.sa_handler = fork_now, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    handlers_idle = true; /* in a signal handler nothing may allocate */
    uint64_t state = life_seed(0);
    for (unsigned n = 0; n < FORKS; n++) {
        forked = 0;
        timer_set(1 + (long)(life_random(&state) % 500));
        while (forked == 0 && !in_child) /* not enough for a background thread */
            life_exercise(n, 20, 256 << 10);
        if (in_child) {
            signal(SIGALRM, SIG_DFL);
            alarm(PATIENCE);
            life_exercise(n, 60, 40 << 20);
            exit(0);
        }
        CHECK(forked > 0);
        life_reap((pid_t)forked, 0);
    }
}

LIFE_MAIN({"main_thread", main_thread}, {"other_threads", other_threads},
          {"handlers_that_allocate", handlers_that_allocate},
          {"signal_handler", signal_handler})
