/* SPDX-License-Identifier: MIT
 *
 * Memory goes back while the program does nothing: the background thread, from its start to the
 * end of the process. Where a test waits, it waits for something to come true, and has patience.
 */
#include "life.h"

#include <dirent.h>
#include <malloc.h>
#include <sys/mman.h>
#include <time.h>

enum { MIB = 1 << 20, BLOCKS = 40000, PATIENCE = 60 /* seconds */ };

static void *block[BLOCKS];

static void nap(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

static long resident_kib(void)
{
    return life_status_kib("VmRSS");
}

/* Some `mib` MiB in blocks of mixed sizes, all touched. */
static void fill(unsigned mib)
{
    uint64_t state = life_seed(7);
    size_t total = 0;
    for (unsigned i = 0; i < BLOCKS && total < (size_t)mib * MIB; i++) {
        size_t n = (size_t)16 << life_random(&state) % 14;
        n += life_random(&state) % n;
        block[i] = malloc(n);
        CHECK(block[i] != NULL);
        memset(block[i], 1, n);
        total += n;
    }
}

static void empty(void)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        free(block[i]);
        block[i] = NULL;
    }
}

static void wait_for_resident(long kib)
{
    for (unsigned i = 0; resident_kib() > kib; i++) {
        if (i == PATIENCE * 10) {
            dprintf(STDERR_FILENO, "resident: %ld KiB, waited for %ld\n", resident_kib(), kib);
            CHECK(!"memory went back");
        }
        nap(100);
    }
}

static long threads(void)
{
    return life_status_kib("Threads");
}

/* The thread that is not the main one. */
static long other_thread(void)
{
    long other = 0, tid;
    DIR *d = opendir("/proc/self/task");
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if ((tid = strtol(e->d_name, NULL, 10)) != 0 && tid != getpid()) {
            CHECK(other == 0);
            other = tid;
        }
    }
    closedir(d);
    CHECK(other != 0);
    return other;
}

/* A number after `name` in a thread's status. No malloc: that would be something to do. */
static uint64_t of_thread(long tid, const char *name, int base)
{
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/self/task/%ld/status", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    CHECK(n > 0);
    text[n] = '\0';
    close(fd);
    const char *at = strstr(text, name);
    CHECK(at != NULL);
    return strtoull(at + strlen(name), NULL, base);
}

static void spike_goes_back(void)
{
    free(malloc(1));
    long start = resident_kib();
    fill(256);
    CHECK(resident_kib() > start + 200 * 1024);
    empty();
    wait_for_resident(start + 8 * 1024);
}

/* And then the thread sleeps: nothing wakes it until there is something to do again. */
static void spike_and_sleep(void)
{
    spike_goes_back();
    CHECK(threads() == 2);
    long tid = other_thread();
    uint64_t before, now = of_thread(tid, "\nvoluntary_ctxt_switches:", 10);
    unsigned calm = 0;
    for (unsigned i = 0; calm < 20; i++) {
        CHECK(i < PATIENCE * 10);
        nap(100);
        before = now;
        now = of_thread(tid, "\nvoluntary_ctxt_switches:", 10);
        calm = now == before ? calm + 1 : 0;
    }
    spike_goes_back();
}

static void survivors(void)
{
    fill(256);
    long full = resident_kib();
    size_t live = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (i % 50 != 0) {
            free(block[i]);
            block[i] = NULL;
        } else {
            live += malloc_usable_size(block[i]);
        }
    }
    wait_for_resident(full / 3);
    for (unsigned i = 0; i < BLOCKS; i++) {
        const unsigned char *b = block[i];
        CHECK(b == NULL || (b[0] == 1 && b[malloc_usable_size(block[i]) / 2 - 1] == 1));
    }
    empty();
    CHECK(live > 0);
}

static void small_programs(void)
{
    for (unsigned i = 0; i < 20; i++) {
        fill(4);
        empty();
    }
    CHECK(threads() == 1);
}

/* Signals sent to the process are the program's: the thread takes none of them. */
static volatile sig_atomic_t taken;

static void take(int sig)
{
    taken = 1;
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = take};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    spike_goes_back();
    CHECK((of_thread(other_thread(), "\nSigBlk:", 16) & 1u << (SIGUSR1 - 1)) != 0);
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    nap(200);
    CHECK(!taken && sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && taken);
}

/* The child has no thread until it has use for one, and then its own. */
static void forked(void)
{
    spike_goes_back();
    fill(128);
    for (unsigned i = 0; i < 3; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(PATIENCE);
            CHECK(threads() == 1);
            long full = resident_kib();
            empty();
            wait_for_resident(full - 100 * 1024);
            CHECK(threads() == 2);
            _exit(0);
        }
        life_reap(pid, 0);
    }
    empty();
}

/* Forks while pieces are on their way to the system: the child has to find all of them. */
static void forks_while_purging(void)
{
    for (unsigned i = 0; i < 60; i++) {
        fill(48);
        empty();
        nap(i * 7 % 200);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(PATIENCE);
            life_exercise(i, 2000, 4 * MIB);
            malloc_trim(0);
            fill(48);
            empty();
            malloc_trim(0);
            CHECK(resident_kib() < 16 * 1024);
            _exit(0);
        }
        life_reap(pid, 0);
    }
}

/* Ends at any moment: of return from main, which is what a child here does. */
static void ends_while_purging(void)
{
    for (unsigned i = 0; i < 40; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(PATIENCE);
            fill(32);
            empty();
            nap(i * 11 % 400);
            exit(7);
        }
        life_reap(pid, 7);
    }
}

/* Threads that worked once: what they keep decays while they sleep, and they find it in order. */
enum { SLEEPERS = 100 };
static pthread_barrier_t worked, wake;

static void *sleeper(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    life_exercise(seed, 3000, 64 << 10);
    pthread_barrier_wait(&worked);
    pthread_barrier_wait(&wake);
    life_exercise(seed + SLEEPERS, 3000, 64 << 10);
    return NULL;
}

static void sleepers(void)
{
    pthread_t t[SLEEPERS];
    CHECK(pthread_barrier_init(&worked, NULL, SLEEPERS + 1) == 0);
    CHECK(pthread_barrier_init(&wake, NULL, SLEEPERS + 1) == 0);
    long start = resident_kib();
    for (uintptr_t i = 0; i < SLEEPERS; i++)
        t[i] = life_thread(sleeper, (void *)i);
    pthread_barrier_wait(&worked);
    wait_for_resident(start + SLEEPERS * 64);
    pthread_barrier_wait(&wake);
    for (unsigned i = 0; i < SLEEPERS; i++)
        life_join(t[i]);
}

/* Threads at work whose caches are asked for all the time: malloc_trim asks for all of them. */
static atomic_bool stop;

static void *worker(void *arg)
{
    for (uint64_t seed = (uintptr_t)arg; !atomic_load(&stop); seed += 10) {
        life_exercise(seed, 500, 1 << 20);
        if (seed % 4 == 0)
            nap(1);
    }
    return NULL;
}

static void trims_beside_workers(void)
{
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++)
        t[i] = life_thread(worker, (void *)i);
    for (unsigned i = 0; i < 400; i++) {
        malloc_trim(0);
        if (i % 50 == 0) {
            pid_t pid = fork();
            CHECK(pid >= 0);
            if (pid == 0) {
                alarm(PATIENCE);
                life_exercise(i, 500, 1 << 20);
                malloc_trim(0);
                _exit(0);
            }
            life_reap(pid, 0);
        }
        nap(1);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 4; i++)
        life_join(t[i]);
}

/* HAKMEM_BATCH_BG=0: no thread; what the program does next returns what it freed before. */
static void without(void)
{
    free(malloc(1));
    long start = resident_kib();
    fill(256);
    empty();
    for (unsigned i = 0; resident_kib() > start + 24 * 1024; i++) {
        CHECK(i < PATIENCE * 10);
        fill(2);
        empty();
        nap(100);
    }
    CHECK(threads() == 1);
}

LIFE_MAIN({"spike", spike_and_sleep}, {"survivors", survivors}, {"small", small_programs},
          {"signals", signals}, {"fork", forked}, {"forks_while_purging", forks_while_purging},
          {"ends_while_purging", ends_while_purging}, {"sleepers", sleepers},
          {"trims", trims_beside_workers}, {"without", without})
