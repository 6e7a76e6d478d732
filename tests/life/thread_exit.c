/* SPDX-License-Identifier: MIT
 *
 * The end of a thread: destructors of thread-specific data and of thread_local objects, in any
 * order around the allocator's own, which allocate, free, and hand blocks to other threads.
 *
 * Each case runs thousands of such threads and then wants memory to be as flat as before: what
 * a destructor does after the allocator let go of the thread must not be lost for good.
 */
#include "life.h"

#include <limits.h>

enum { WARM = 2000, THREADS = 20000, KEYS = 12, ALLOWED_KIB = 8 << 10 };

/* glibc's entry behind C++ thread_local, called by g++'s code in the same way. */
extern int __cxa_thread_atexit_impl(void (*fn)(void *), void *object, void *dso);
extern void *__dso_handle;

static pthread_key_t early_key, key[KEYS];
static pthread_key_t bare_key; /* set to something that is no block */
static pthread_key_t last_key; /* its destructor asks to be called again, as often as allowed */
static _Atomic(void *) left;   /* block a dead thread's destructor left to others */
static atomic_ulong destroyed;

static void destroy(void *p)
{
    atomic_fetch_add(&destroyed, 1);
    life_free(p, 100);
    life_exercise((uintptr_t)p >> 4, 8, 64 << 10);
    free(atomic_exchange(&left, malloc(3000)));
}

struct again {
    unsigned calls;
    void *p;
};

static void destroy_again(void *arg)
{
    struct again *a = arg;
    life_free(a->p, 500);
    if (++a->calls == PTHREAD_DESTRUCTOR_ITERATIONS) {
        free(a);
        atomic_fetch_add(&destroyed, 1);
        return;
    }
    a->p = life_malloc(500);
    CHECK(pthread_setspecific(last_key, a) == 0);
}

/* A key from before the first constructor, so that its slot precedes the allocator's. */
static void preinit(void)
{
    CHECK(pthread_key_create(&early_key, destroy) == 0);
}

LIFE_PREINIT(preinit);

static void *with_keys(void *arg)
{
    /* Half of the threads touch their keys before they ever allocate. */
    if ((uintptr_t)arg % 2)
        life_exercise((uintptr_t)arg, 8, 64 << 10);
    CHECK(pthread_setspecific(early_key, life_malloc(100)) == 0);
    for (unsigned i = 0; i < KEYS; i++)
        CHECK(pthread_setspecific(key[i], life_malloc(100)) == 0);
    return NULL;
}

static void *with_thread_locals(void *arg)
{
    for (unsigned i = 0; i < KEYS; i++)
        CHECK(__cxa_thread_atexit_impl(destroy, life_malloc(100), &__dso_handle) == 0);
    if ((uintptr_t)arg % 2)
        CHECK(pthread_setspecific(key[0], life_malloc(100)) == 0);
    return NULL;
}

static void *with_repeating_key(void *arg)
{
    struct again *a = malloc(sizeof *a);
    CHECK(a != NULL);
    *a = (struct again){0, life_malloc(500)};
    CHECK(pthread_setspecific(last_key, a) == 0);
    return NULL;
}

/* The first malloc of this thread is made by a destructor, after the allocator's round of them
 * may have passed. */
static void *with_nothing_but_a_key(void *arg)
{
    static char not_a_block;
    CHECK(pthread_setspecific(bare_key, &not_a_block) == 0);
    return NULL;
}

static void destroy_bare(void *p)
{
    atomic_fetch_add(&destroyed, 1);
    life_exercise((uintptr_t)p, 8, 64 << 10);
    free(atomic_exchange(&left, malloc(3000)));
}

static void *leaves_early(void *arg)
{
    CHECK(pthread_setspecific(key[2], life_malloc(100)) == 0);
    pthread_exit(life_malloc(700));
}

/* Run the threads two at a time. */
static void batch(void *(*fn)(void *), unsigned count)
{
    for (unsigned i = 0; i < count; i += 2) {
        pthread_t a = life_thread(fn, (void *)(uintptr_t)i);
        pthread_t b = life_thread(fn, (void *)(uintptr_t)(i + 1));
        void *result = NULL;
        CHECK(pthread_join(a, &result) == 0);
        free(result);
        CHECK(pthread_join(b, &result) == 0);
        free(result);
    }
}

static void stays_flat(void *(*fn)(void *), unsigned long destructors)
{
    for (unsigned i = 0; i < KEYS; i++)
        CHECK(pthread_key_create(&key[i], destroy) == 0);
    CHECK(pthread_key_create(&last_key, destroy_again) == 0);
    batch(fn, WARM);
    long rss = life_status_kib("VmRSS:");
    long mappings = life_mappings();
    batch(fn, THREADS);
    long rss_end = life_status_kib("VmRSS:");
    long mappings_end = life_mappings();
    printf("%d threads: RSS %ld -> %ld KiB, mappings %ld -> %ld, destructors %lu\n", THREADS,
           rss, rss_end, mappings, mappings_end, (unsigned long)destroyed);
    CHECK(destroyed == destructors);
    CHECK(rss_end <= rss + ALLOWED_KIB);
    CHECK(mappings_end <= mappings + 16);
}

static void keys(void)
{
    stays_flat(with_keys, (unsigned long)(WARM + THREADS) * (KEYS + 1));
}

static void thread_locals(void)
{
    stays_flat(with_thread_locals,
               (unsigned long)(WARM + THREADS) * KEYS + (WARM + THREADS) / 2);
}

static void repeating_key(void)
{
    stays_flat(with_repeating_key, WARM + THREADS);
}

static void first_malloc_in_destructor(void)
{
    CHECK(pthread_key_create(&bare_key, destroy_bare) == 0);
    stays_flat(with_nothing_but_a_key, WARM + THREADS);
}

static void pthread_exits(void)
{
    stays_flat(leaves_early, WARM + THREADS);
}

/* ---- Cancellation. ---- */

static void cleanup(void *p)
{
    life_free(p, 1000);
    life_exercise(3, 8, 64 << 10);
}

static atomic_ulong went_through;

/* malloc and free are no cancellation points: a thread with a cancellation pending goes through
 * all of this, from its first malloc on, and ends at the test. */
static void *cancelled(void *arg)
{
    pthread_cleanup_push(cleanup, life_malloc(1000));
    CHECK(pthread_cancel(pthread_self()) == 0);
    life_exercise((uintptr_t)arg, 20, 40 << 20);
    atomic_fetch_add(&went_through, 1);
    pthread_testcancel();
    CHECK(!"the thread was cancelled");
    pthread_cleanup_pop(0);
    return NULL;
}

static void *cancelled_before_first_malloc(void *arg)
{
    CHECK(pthread_cancel(pthread_self()) == 0);
    return cancelled(arg);
}

/* The region's first growth reads a file. A thread cancelled there would leave with its lock. */
static pthread_barrier_t growth;

static void *cancelled_before_first_growth(void *arg)
{
    pthread_barrier_wait(&growth);
    pthread_barrier_wait(&growth);
    life_free(life_malloc(10 << 20), 10 << 20);
    return arg;
}

static void cancellation_at_first_growth(void)
{
    void *result = NULL;
    CHECK(pthread_barrier_init(&growth, NULL, 2) == 0);
    pthread_t t = life_thread(cancelled_before_first_growth, &growth);
    pthread_barrier_wait(&growth);
    CHECK(pthread_cancel(t) == 0); /* of itself is another matter in some C libraries */
    pthread_barrier_wait(&growth);
    CHECK(pthread_join(t, &result) == 0 && result == &growth);
    life_exercise(1, 20, 40 << 20);
}

static void cancellation(void)
{
    enum { CANCELLED = 2000 };
    for (unsigned i = 0; i < CANCELLED; i++) {
        void *result = NULL;
        pthread_t t = life_thread(i % 2 ? cancelled : cancelled_before_first_malloc,
                                  (void *)(uintptr_t)i);
        CHECK(pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
    }
    CHECK(went_through == CANCELLED);
}

LIFE_MAIN({"keys", keys}, {"thread_locals", thread_locals}, {"repeating_key", repeating_key},
          {"first_malloc_in_destructor", first_malloc_in_destructor},
          {"pthread_exit", pthread_exits}, {"cancellation", cancellation},
          {"cancellation_at_first_growth", cancellation_at_first_growth})
