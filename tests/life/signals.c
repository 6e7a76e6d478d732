/* SPDX-License-Identifier: MIT
 *
 * Signals that arrive while threads are in malloc: their handlers do not allocate, but they run
 * on the thread in the middle of anything, change its errno's neighbours, take time, and
 * interrupt its system calls (no SA_RESTART: a lock that sleeps in the kernel wakes up early).
 */
#include "life.h"

#include <sys/time.h>

enum { THREADS = 4, ROUNDS = 300, ENOUGH = 200 };

static atomic_ulong handled;
static atomic_uint running = THREADS;
static _Thread_local volatile unsigned in_handler_bytes[64];

static void handler(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    for (unsigned i = 0; i < 64; i++)
        in_handler_bytes[i] += (unsigned)getpid();
    errno = EBUSY;
    atomic_fetch_add(&handled, 1);
    errno = saved;
}

static _Atomic(void *) shared[64];

static void *loaded(void *arg)
{
    uint64_t state = life_seed((uintptr_t)arg);
    for (unsigned i = 0; i < ROUNDS || handled < ENOUGH; i++) {
        life_exercise((uintptr_t)arg + i * THREADS, 100, 2 << 20);
        for (unsigned k = 0; k < 100; k++) {
            errno = 0;
            free(atomic_exchange(&shared[life_random(&state) % 64], malloc(k * 40)));
            CHECK(errno == 0); /* neither they nor the handler have left one */
        }
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void install(int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
}

/* To each thread in turn. One that has returned is not joined yet: its id is valid. */
static void send_while_running(const pthread_t *t)
{
    for (unsigned i = 0; running != 0; i++) {
        int error = pthread_kill(t[i % THREADS], i / THREADS % 2 ? SIGUSR1 : SIGUSR2);
        CHECK(error == 0 || error == ESRCH);
        usleep(20);
    }
}

/* A timer at 5 kHz hits whichever thread runs, and main sends to each in turn. */
static void storm(void)
{
    pthread_t t[THREADS];
    struct itimerval every = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    install(0);
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        t[i] = life_thread(loaded, (void *)(uintptr_t)i);
    send_while_running(t);
    for (unsigned i = 0; i < THREADS; i++)
        life_join(t[i]);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    printf("%lu signals handled\n", (unsigned long)handled);
}

/* The same on alternate stacks, which are blocks of malloc themselves. */
static void *loaded_with_own_signal_stack(void *arg)
{
    enum { BYTES = 64 << 10 };
    stack_t stack = {.ss_sp = malloc(BYTES), .ss_size = BYTES};
    stack_t off = {.ss_flags = SS_DISABLE};
    CHECK(stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0);
    loaded(arg);
    CHECK(sigaltstack(&off, NULL) == 0);
    free(stack.ss_sp);
    return NULL;
}

static void storm_on_own_stacks(void)
{
    pthread_t t[THREADS];
    install(SA_ONSTACK);
    for (unsigned i = 0; i < THREADS; i++)
        t[i] = life_thread(loaded_with_own_signal_stack, (void *)(uintptr_t)i);
    send_while_running(t);
    for (unsigned i = 0; i < THREADS; i++)
        life_join(t[i]);
    printf("%lu signals handled\n", (unsigned long)handled);
}

LIFE_MAIN({"storm", storm}, {"storm_on_own_stacks", storm_on_own_stacks})
