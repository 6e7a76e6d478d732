/* SPDX-License-Identifier: MIT
 *
 * model: the machine. Threads are real ones, so that thread-local memory and the hooks of a
 * thread's end are real too, but only the one whose turn it is runs. Time is counted in cycles
 * of the threads' own clocks. Who asks the system for time, CPUs or sleep is told of this
 * machine: ld's --wrap puts the __wrap_ functions here before the C library's.
 */
#include "model.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    THREADS_MAX = 4 * MODEL_CORES, /* alive at a time: births overlap deaths */
    PACE = 2000,                   /* cycles */
};
enum { FREE, READY, ASLEEP };

static struct model_thread threads[THREADS_MAX];
static unsigned nthreads; /* of them ever used */
static struct model_thread main_thread = {.kind = -1};
__thread struct model_thread *model_self = &main_thread;
static _Atomic uint32_t main_go;
static pthread_key_t end_key;
static uint64_t latest; /* the largest clock anybody was told */

#define WRAP(result, name, parameters)                                                         \
    result __real_##name parameters;                                                           \
    result __wrap_##name parameters;                                                           \
    result __wrap_##name parameters

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

_Noreturn void model_fail(const char *what, const char *value)
{
    fprintf(stderr, "model: %s: %s\n", what, value);
    fflush(stderr);
    _exit(1);
}

/* ---- Turns. ---- */

static void turn_give(_Atomic uint32_t *go)
{
    *go = 1;
    (void)__real_syscall(SYS_futex, go, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void turn_await(_Atomic uint32_t *go)
{
    while (*go == 0)
        (void)__real_syscall(SYS_futex, go, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    *go = 0;
}

/* The thread that is behind all others; the calling one where it is not ahead of any. */
static struct model_thread *next_thread(void)
{
    struct model_thread *best = model_self->state == READY ? model_self : NULL;
    for (unsigned i = 0; i < nthreads; i++) {
        struct model_thread *t = &threads[i];
        if (t->state == READY && (best == NULL || t->clock < best->clock))
            best = t;
    }
    return best;
}

/* Give the turn to whoever is behind. Where it is somebody else, wait to get it back, unless
 * the calling thread has ended. */
static void turn_pass(struct model_thread *me)
{
    int state = me->state;
    struct model_thread *next = next_thread();
    if (next == me)
        return;
    if (next == NULL) {
        for (unsigned i = 0; i < nthreads; i++) {
            if (threads[i].state == ASLEEP)
                model_fail("machine", "every thread sleeps");
        }
        turn_give(&main_go);
    } else {
        turn_give(&next->go);
    }
    if (state != FREE) /* else *me may be another thread's by now */
        turn_await(&me->go);
}

void model_sync(void) /* M3 */
{
    if (model_self != &main_thread)
        turn_pass(model_self);
}

void model_work(uint64_t cycles)
{
    struct model_thread *t = model_self;
    t->clock += cycles;
    if (t->clock > t->pace) {
        model_sync();
        t->pace = t->clock + PACE;
    }
}

static unsigned wake(const void *word, unsigned most, uint64_t at)
{
    unsigned woken = 0;
    for (unsigned i = 0; i < nthreads && woken < most; i++) {
        struct model_thread *t = &threads[i];
        if (t->state != ASLEEP || t->asleep_on != word)
            continue;
        t->state = READY;
        t->clock = t->clock > at ? t->clock : at;
        woken++;
    }
    return woken;
}

void model_sleep(const void *word)
{
    struct model_thread *t = model_self;
    t->asleep_on = word;
    t->state = ASLEEP;
    turn_pass(t);
}

void model_wake(const void *word)
{
    (void)wake(word, UINT32_MAX, model_self->clock);
}

/* ---- Threads. ---- */

/* Own stack, and the thread-local memory that lies on it. */
static void own_memory(struct model_thread *t)
{
    pthread_attr_t attr;
    void *low;
    size_t bytes;
    if (pthread_getattr_np(pthread_self(), &attr) != 0 ||
        pthread_attr_getstack(&attr, &low, &bytes) != 0)
        model_fail("thread", "its stack is not to be found");
    pthread_attr_destroy(&attr);
    t->own = (uintptr_t)low;
    t->own_end = t->own + bytes;
}

/* The key of the machine is younger than those of the code under it, so this is called last. */
static void thread_end(void *thread)
{
    struct model_thread *t = thread;
    if (t->kind >= 0)
        model_op_end();
    model_self = &main_thread;
    t->state = FREE;
    turn_pass(t);
}

static void *thread_main(void *thread)
{
    struct model_thread *t = thread;
    own_memory(t);
    turn_await(&t->go);
    model_self = t;
    if (pthread_setspecific(end_key, t) != 0)
        model_fail("thread", "no memory for its key");
    t->run(t->argument);
    return NULL;
}

void model_spawn(void (*run)(void *), void *argument, int core)
{
    static pthread_attr_t attr;
    static bool set_up;
    if (!set_up) {
        set_up = true;
        if (pthread_key_create(&end_key, thread_end) != 0 || pthread_attr_init(&attr) != 0 ||
            pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) != 0 ||
            pthread_attr_setstacksize(&attr, (size_t)256 * 1024) != 0)
            model_fail("machine", "no threads to be had");
    }
    struct model_thread *t = threads;
    while (t < threads + THREADS_MAX && t->state != FREE)
        t++;
    if (t == threads + THREADS_MAX)
        model_fail("machine", "too many threads alive");
    nthreads = t >= threads + nthreads ? (unsigned)(t - threads) + 1 : nthreads;
    *t = (struct model_thread){
        .clock = model_self->clock + (model_self != &main_thread ? CYCLES_BIRTH : 0),
        .core = core,
        .kind = -1,
        .measure = model_self->measure,
        .state = READY,
        .run = run,
        .argument = argument,
    };
    pthread_t id;
    if (pthread_create(&id, &attr, thread_main, t) != 0)
        model_fail("thread", "the system gives no more");
}

void model_run(void)
{
    struct model_thread *first = next_thread();
    if (first == NULL)
        return;
    turn_give(&first->go);
    turn_await(&main_go);
}

/* ---- What the code is told. ---- */

int model_cpus(void)
{
    const char *text = getenv("MODEL_CPUS");
    int n = text != NULL ? atoi(text) : 0;
    return n >= 1 && n <= CPU_SETSIZE ? n : 1;
}

WRAP(int, sched_getaffinity, (pid_t pid, size_t bytes, cpu_set_t *set))
{
    CPU_ZERO_S(bytes, set);
    for (int i = 0; i < model_cpus(); i++)
        CPU_SET_S((size_t)i, bytes, set);
    return 0;
}

WRAP(int, sched_getcpu, (void))
{
    return model_self->core;
}

WRAP(int, getcpu, (unsigned *cpu, unsigned *node))
{
    *cpu = (unsigned)model_self->core;
    *node = 0;
    return 0;
}

WRAP(int, clock_gettime, (clockid_t clock, struct timespec *t))
{
    if (model_self->clock > latest)
        latest = model_self->clock; /* nobody's time runs backwards */
    uint64_t ns = UINT64_C(1000000000) + latest / 3;
    *t = (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    return 0;
}

static void system_call(void)
{
    model_self->n[N_SYSTEM_CALLS]++;
    model_self->clock += CYCLES_SYSTEM_CALL;
}

static long futex_wait(const _Atomic uint32_t *word, uint32_t value)
{
    struct model_thread *t = model_self;
    system_call();
    model_sync();
    if (*word != value) {
        errno = EAGAIN;
        return -1;
    }
    t->n[N_WAITS]++;
    model_sleep((const void *)word);
    return 0;
}

static long futex_wake(const void *word, unsigned most)
{
    system_call();
    model_sync();
    return wake(word, most, model_self->clock + CYCLES_WAKE);
}

long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (unsigned i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    int op = (int)a[1] & ~FUTEX_PRIVATE_FLAG;
    if (number == SYS_futex && model_self != &main_thread) {
        if (op == FUTEX_WAIT)
            return futex_wait((const _Atomic uint32_t *)a[0], (uint32_t)a[2]);
        if (op == FUTEX_WAKE)
            return futex_wake((const void *)a[0], (unsigned)a[2]);
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

WRAP(void *, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t at))
{
    system_call();
    return __real_mmap(p, n, prot, flags, fd, at);
}

WRAP(int, munmap, (void *p, size_t n))
{
    system_call();
    return __real_munmap(p, n);
}

WRAP(int, mprotect, (void *p, size_t n, int prot))
{
    system_call();
    return __real_mprotect(p, n, prot);
}

WRAP(int, madvise, (void *p, size_t n, int advice))
{
    system_call();
    return __real_madvise(p, n, advice);
}
