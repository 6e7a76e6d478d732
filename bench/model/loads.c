/* SPDX-License-Identifier: MIT
 *
 * hakmem-model LOAD THREADS OPERATIONS: run a load on the model's machine, print the counts.
 *
 * The loads, each after a pattern of how servers use memory:
 *   local   each thread replaces blocks of its own at random
 *   pairs   one thread of two allocates, the other frees, in batches of 4,096
 *   cross   each thread frees what all others allocated, in random order
 *   churn   threads that end hand their blocks to a successor, on the next core
 *   large   each thread replaces large blocks of its own at random
 *
 * The first part of each thread's operations, as many as OPERATIONS again, is not counted: bins
 * have not grown yet. An operation is one malloc or one free; births (a thread's first one)
 * and deaths (what runs when it has returned) are counted apart. The program writes the first
 * byte of every block it gets and reads that of every block it frees.
 *
 * MODEL_CPUS is how many CPUs the allocator is told of; as many as threads unless set. HAKMEM_*
 * options apply.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/hak_slow.h"
#include "hakmem.h"
#include "model.h"
#include "superslab/ss_internal.h"
#include "tiny/tiny.h"

enum kind { MALLOC, FREE, BIRTH, DEATH };
static const char *const kinds[] = {"malloc", "free", "birth", "death"};

static struct {
    unsigned threads;
    unsigned long operations; /* of each thread, mallocs and frees together */
} arg;

/* ---- What lies where. ---- */

enum place {
    P_OTHER,
    P_BLOCK,
    P_WORDS,
    P_UNIT,
    P_SUPERSLAB,
    P_HEAP_LISTS,
    P_HEAP_STATS,
    P_HEAP_QUEUE,
    P_CACHE_BINS,
    P_CACHE_OUT,
    P_CACHE_REST,
};
static const char *const places[] = {
    [P_OTHER] = "other",
    [P_BLOCK] = "block",
    [P_WORDS] = "unit-words",
    [P_UNIT] = "slab-or-run-record",
    [P_SUPERSLAB] = "superslab-record",
    [P_HEAP_LISTS] = "heap-lock-and-lists",
    [P_HEAP_STATS] = "heap-statistics",
    [P_HEAP_QUEUE] = "heap-remote-queue",
    [P_CACHE_BINS] = "cache-bins",
    [P_CACHE_OUT] = "cache-lists-on-their-way-home",
    [P_CACHE_REST] = "cache-rest",
};

/* Those that a thread came to work with. Asking the allocator would count as its work. */
enum { KNOWN_MAX = 1024 };
static const struct tiny_cache *caches[KNOWN_MAX];
static const struct ss_heap *heaps[KNOWN_MAX];
static unsigned ncaches, nheaps;

static void cache_known(const struct tiny_cache *tc)
{
    unsigned c = 0, h = 0;
    while (c < ncaches && caches[c] != tc)
        c++;
    while (h < nheaps && heaps[h] != tc->heap)
        h++;
    if (tc->heap == NULL || c == KNOWN_MAX || h == KNOWN_MAX)
        return; /* lines of what is not known are "other" */
    caches[c] = tc;
    heaps[h] = tc->heap;
    ncaches = HAK_MAX(ncaches, c + 1);
    nheaps = HAK_MAX(nheaps, h + 1);
}

static enum place place_in_heap(size_t at)
{
    if (at >= offsetof(struct ss_heap, remote))
        return P_HEAP_QUEUE; /* and nthreads */
    return at >= offsetof(struct ss_heap, stats) ? P_HEAP_STATS : P_HEAP_LISTS;
}

static enum place place_in_cache(size_t at)
{
    if (at >= offsetof(struct tiny_cache, parcel) && at < offsetof(struct tiny_cache, next))
        return P_CACHE_OUT;
    return at < offsetof(struct tiny_cache, heap) ? P_CACHE_BINS : P_CACHE_REST;
}

static bool inside(uintptr_t a, const void *start, size_t bytes)
{
    return a - (uintptr_t)start < bytes;
}

extern char __executable_start, _end;

static uintptr_t place_of(uintptr_t a)
{
    size_t units = ss_region.units;
    if (inside(a, ss_region.base, units << SS_UNIT_SHIFT))
        return P_BLOCK;
    if (inside(a, &__executable_start, (size_t)(&_end - &__executable_start)))
        return a;
    if (inside(a, ss_region.words, units * sizeof(uint32_t)))
        return P_WORDS;
    if (inside(a, ss_region.unit, units * sizeof(union ss_unit)))
        return P_UNIT;
    if (inside(a, ss_region.superslab,
               units / ss_region.ss_units * sizeof(struct ss_superslab)))
        return P_SUPERSLAB;
    for (unsigned i = 0; i < nheaps; i++) {
        if (inside(a, heaps[i], sizeof(*heaps[i])))
            return place_in_heap(a - (uintptr_t)heaps[i]);
    }
    for (unsigned i = 0; i < ncaches; i++) {
        if (inside(a, caches[i], sizeof(*caches[i])))
            return place_in_cache(a - (uintptr_t)caches[i]);
    }
    return P_OTHER;
}

/* ---- Threads of the program. ---- */

enum { TABLE = 2048, MAIL = 4096 };

struct worker {
    unsigned id;
    uint64_t random;
    unsigned long done; /* operations */
    bool born;          /* this thread has allocated */
    unsigned lives;     /* threads before this one; churn */
    void *table[TABLE];
    void *mail[MAIL]; /* cross: a ring of blocks from others; pairs: a batch */
    unsigned sent, taken;
};

static struct worker *workers;
static unsigned warm; /* of them */

static uint64_t next_random(struct worker *w)
{
    uint64_t x = w->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    w->random = x;
    return (x * UINT64_C(2685821657736338717)) >> 16;
}

/* Nine tenths up to 256 bytes, most of the rest up to 4 KiB, one of a hundred up to 32 KiB. */
static size_t mixed_size(struct worker *w)
{
    uint64_t r = next_random(w);
    uint64_t kind = r % 100;
    r >>= 8;
    return kind < 90 ? 1 + r % 256 : kind < 99 ? 1 + r % 4096 : 1 + r % 32768;
}

/* The thread's first operation is its birth. */
static void begin(struct worker *w, enum kind kind)
{
    model_op(w->born ? kind : BIRTH);
}

static void end(struct worker *w)
{
    model_op_end();
    if (!w->born)
        cache_known(tiny_tls.self);
    w->born = true;
    w->done++;
}

static void *allocate(struct worker *w, size_t n)
{
    model_work(next_random(w) % 64);
    begin(w, MALLOC);
    void *p = hak_malloc(n);
    end(w);
    if (p == NULL)
        model_fail("malloc", "no memory");
    model_touch(p, true);
    return p;
}

static void release(struct worker *w, void *p)
{
    model_work(next_random(w) % 64);
    model_touch(p, false);
    begin(w, FREE);
    hak_free(p);
    end(w);
}

/* Count from here on, when all others are ready to. */
static void warmed_up(struct worker *w)
{
    if (model_self->measure || w->done < arg.operations)
        return;
    if (++warm < arg.threads)
        model_sleep(&warm);
    model_wake(&warm);
    model_self->measure = true;
}

static bool finished(const struct worker *w)
{
    return w->done >= 2 * arg.operations;
}

/* ---- Loads. ---- */

static void local(void *argument)
{
    struct worker *w = argument;
    for (unsigned i = 0; i < TABLE; i++)
        w->table[i] = allocate(w, mixed_size(w));
    while (!finished(w)) {
        warmed_up(w);
        unsigned i = next_random(w) % TABLE;
        release(w, w->table[i]);
        w->table[i] = allocate(w, mixed_size(w));
    }
}

/* The even ones allocate, the odd ones free; alone, a thread does both. Only full batches pass,
 * and as many operations as fill them. */
static void pairs(void *argument)
{
    struct worker *w = argument;
    struct worker *box = &workers[w->id & ~1u];
    bool makes = w->id % 2 == 0, frees = w->id % 2 == 1 || arg.threads == 1;
    if (w->id == arg.threads - 1 && makes) /* no partner: an odd number of threads */
        frees = true;
    while (!finished(w)) {
        warmed_up(w);
        if (makes) {
            while (box->sent != box->taken)
                model_sleep(box);
            for (unsigned i = 0; i < MAIL; i++)
                box->mail[i] = allocate(w, 16 + next_random(w) % 240);
            box->sent++;
            model_wake(box);
        }
        if (frees) {
            void *batch[MAIL];
            while (box->sent == box->taken)
                model_sleep(box);
            memcpy(batch, box->mail, sizeof(batch));
            box->taken++;
            model_wake(box);
            for (unsigned i = 0; i < MAIL; i++)
                release(w, batch[i]);
        }
    }
}

static void mail_empty(struct worker *w)
{
    while (w->taken != w->sent)
        release(w, w->mail[w->taken++ % MAIL]);
}

static void cross(void *argument)
{
    struct worker *w = argument;
    while (!finished(w)) {
        warmed_up(w);
        /* Never to itself, or at 2 threads half the frees would be local. */
        unsigned other = 1 + next_random(w) % HAK_MAX(arg.threads - 1, 1u);
        struct worker *to = &workers[(w->id + other) % arg.threads];
        if (to->sent - to->taken < MAIL) {
            void *p = allocate(w, 1 + next_random(w) % 256);
            to->mail[to->sent++ % MAIL] = p;
        }
        if (w->sent - w->taken > MAIL / 4)
            release(w, w->mail[w->taken++ % MAIL]);
    }
    mail_empty(w);
}

/* As many replacements as a life of a larson thread has blocks; then the next core's. */
static void churn(void *argument)
{
    enum { BLOCKS = 512 };
    struct worker *w = argument;
    w->born = false;
    for (unsigned i = 0; i < BLOCKS; i++) {
        unsigned victim = next_random(w) % BLOCKS;
        if (w->table[victim] != NULL)
            release(w, w->table[victim]);
        w->table[victim] = allocate(w, 8 + next_random(w) % 120);
    }
    warmed_up(w);
    if (!finished(w)) {
        w->lives++;
        model_spawn(churn, w, (int)((w->id + w->lives) % arg.threads));
    }
    model_op(DEATH);
}

static void large(void *argument)
{
    enum { BLOCKS = 8, MIB = 1 << 20 };
    struct worker *w = argument;
    while (!finished(w)) {
        warmed_up(w);
        unsigned i = next_random(w) % BLOCKS;
        if (w->table[i] != NULL)
            release(w, w->table[i]);
        w->table[i] = allocate(w, MIB + 1 + next_random(w) % (8 * MIB));
    }
}

static const struct load {
    const char *name;
    void (*run)(void *);
} loads[] = {
    {"local", local}, {"pairs", pairs}, {"cross", cross}, {"churn", churn}, {"large", large},
};

/* ---- ---- */

static unsigned long number(const char *name, const char *text, unsigned long most)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || n < 1 || n > most) {
        fprintf(stderr, "hakmem-model: %s '%s': expected 1..%lu\n", name, text, most);
        exit(2);
    }
    return n;
}

static const struct load *load_named(const char *name)
{
    for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        if (strcmp(loads[i].name, name) == 0)
            return &loads[i];
    }
    fprintf(stderr, "hakmem-model: load '%s': expected local, pairs, cross, churn or large\n",
            name);
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: hakmem-model LOAD THREADS OPERATIONS\n");
        return 2;
    }
    const struct load *load = load_named(argv[1]);
    arg.threads = (unsigned)number("threads", argv[2], MODEL_CORES);
    arg.operations = number("operations", argv[3], 100000000);
    if (getenv("MODEL_CPUS") == NULL) { /* the allocator has asked already: again, with it */
        setenv("MODEL_CPUS", argv[2], 1);
        execv("/proc/self/exe", argv);
        model_fail("hakmem-model", "cannot start itself again");
    }
    if (!hak_init()) /* before anything is counted */
        model_fail("hakmem-model", "no address space");
    workers = calloc(arg.threads, sizeof(*workers));
    if (workers == NULL)
        model_fail("hakmem-model", "no memory");
    model_place = place_of;
    model_block_place = P_BLOCK;
    for (unsigned i = 0; i < arg.threads; i++) {
        workers[i].id = i;
        workers[i].random = (i + 1) * 0x9E3779B97F4A7C15u;
        model_spawn(load->run, &workers[i], (int)i);
    }
    model_run();
    model_report(kinds, places);
    return 0;
}
