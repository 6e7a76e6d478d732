/* SPDX-License-Identifier: MIT
 *
 * Very many threads: 10,000 alive at once, and 1,000,000 that are born and die, after which
 * memory and the number of mappings are what they were. A thread costs the allocator no
 * mapping: a process has 65,530 by default, and its thread stacks take two each. LIFE_BORN=n in
 * the environment sets another number than a million, for slower builds.
 */
#include "life.h"

static pthread_attr_t small_stack(void)
{
    pthread_attr_t attr;
    CHECK(pthread_attr_init(&attr) == 0);
    CHECK(pthread_attr_setstacksize(&attr, 64 << 10) == 0);
    return attr;
}

/* ---- All alive. ---- */

enum { ALIVE = 10000, BLOCKS = 12 };

static const size_t sizes[BLOCKS] = {8, 16, 24, 40, 64, 100, 200, 500, 1000, 2000, 4000, 20000};
static void *block[ALIVE][BLOCKS];
static pthread_barrier_t all_alive, measured;

static void *lives(void *arg)
{
    size_t self = (uintptr_t)arg;
    for (unsigned i = 0; i < BLOCKS; i++)
        block[self][i] = life_malloc(sizes[i]);
    pthread_barrier_wait(&all_alive);
    pthread_barrier_wait(&measured);
    size_t neighbour = (self + 1) % ALIVE;
    for (unsigned i = 0; i < BLOCKS; i++)
        life_free(block[neighbour][i], sizes[i]);
    life_exercise(self, 8, 64 << 10);
    return NULL;
}

static void ten_thousand_alive(void)
{
    static pthread_t t[ALIVE];
    size_t asked = 0; /* bytes a thread asks for */
    for (unsigned i = 0; i < BLOCKS; i++)
        asked += sizes[i];
    pthread_attr_t attr = small_stack();
    CHECK(pthread_barrier_init(&all_alive, NULL, ALIVE + 1) == 0);
    CHECK(pthread_barrier_init(&measured, NULL, ALIVE + 1) == 0);
    long mappings_before = life_mappings();
    for (size_t i = 0; i < ALIVE; i++) {
        int error = pthread_create(&t[i], &attr, lives, (void *)i);
        if (error == EAGAIN)
            life_skip("the system does not let this process have 10,000 threads");
        CHECK(error == 0);
    }
    pthread_barrier_wait(&all_alive);
    long mappings = life_mappings() - mappings_before;
    long rss = life_status_kib("VmRSS:");
    printf("%d threads alive: %ld mappings, RSS %ld KiB for %zu KiB of blocks\n", ALIVE,
           mappings, rss, ALIVE * asked >> 10);
    /* Stack and guard page of each; what a stack has touched is 16 KiB at most. */
    CHECK(mappings <= 2 * ALIVE + 100);
    CHECK(rss < 2 * (long)(ALIVE * asked >> 10) + ALIVE * 16);
    pthread_barrier_wait(&measured);
    for (size_t i = 0; i < ALIVE; i++)
        life_join(t[i]);
}

/* ---- Born and dead. ---- */

enum { TOGETHER = 50, ALLOWED_KIB = 4 << 10 };

static _Atomic(void *) left; /* by a dead thread, to be freed by another */
static _Atomic bool meet;
static pthread_barrier_t met; /* by those born together */

static void *short_life(void *arg)
{
    uintptr_t seed = (uintptr_t)arg;
    void *a = malloc(16 + seed % 1000), *b = malloc(64 + seed % 7000);
    CHECK(a != NULL && b != NULL);
    memset(a, 1, 16);
    memset(b, 2, 64);
    if (meet)
        pthread_barrier_wait(&met);
    free(a);
    free(atomic_exchange(&left, b));
    if (seed % 64 == 0)
        free(malloc(100 << 10));
    return NULL;
}

static void be_born_and_die(size_t count)
{
    pthread_attr_t attr = small_stack();
    pthread_t t[TOGETHER];
    for (size_t i = 0; i < count; i += TOGETHER) {
        for (size_t k = 0; k < TOGETHER; k++)
            CHECK(pthread_create(&t[k], &attr, short_life, (void *)(i + k)) == 0);
        for (size_t k = 0; k < TOGETHER; k++)
            life_join(t[k]);
    }
}

static void million_born_and_dead(void)
{
    const char *born = getenv("LIFE_BORN");
    size_t count = born != NULL ? strtoul(born, NULL, 10) : 1000000;
    /* First as many caches as there can ever be, or how busy the machine is says how many are made
     * later; then the usual life, in which those nobody needs are emptied. */
    CHECK(pthread_barrier_init(&met, NULL, TOGETHER) == 0);
    meet = true;
    be_born_and_die(1000);
    meet = false;
    be_born_and_die(100000);
    long rss = life_status_kib("VmRSS:");
    long virtual = life_status_kib("VmSize:");
    long mappings = life_mappings();
    be_born_and_die(count);
    long rss_end = life_status_kib("VmRSS:");
    long virtual_end = life_status_kib("VmSize:");
    long mappings_end = life_mappings();
    printf(
        "%zu threads: RSS %ld -> %ld KiB, address space %ld -> %ld KiB, mappings %ld -> %ld\n",
        count, rss, rss_end, virtual, virtual_end, mappings, mappings_end);
    CHECK(rss_end <= rss + ALLOWED_KIB);
    CHECK(mappings_end <= mappings + 8);
}

LIFE_MAIN({"ten_thousand_alive", ten_thousand_alive},
          {"million_born_and_dead", million_born_and_dead})
