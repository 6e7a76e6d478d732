/* SPDX-License-Identifier: MIT
 *
 * Property test: random operations on a few threads against a shadow model. Whatever the order of
 * calls, a block keeps its contents, overlaps no other, is aligned, and is usable in full.
 *
 *   random_ops THREADS [OPERATIONS]
 *
 * HAK_TEST_SEED repeats a run (exactly so with one thread), HAK_TEST_OPS changes its length.
 * Configurations come through HAKMEM_*, from meson.build.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "hakmem.h"
#include "support/hak_test.h"
#include "support/shadow.h"

#define MAX_THREADS 16
#define SLOTS       600 /* blocks each thread holds at most */
#define MAILBOXES   64
#define LIVE_LIMIT  ((size_t)96 << 20) /* bytes each thread holds at most */

struct worker {
    pthread_t thread;
    uint64_t random;
    uint64_t ops;
    size_t live; /* bytes */
    size_t n;
    struct shadow_block blocks[SLOTS];
};

static struct worker workers[MAX_THREADS];
static struct shadow shadow;
/* Blocks on their way to another thread. */
static struct mailbox {
    pthread_mutex_t lock;
    struct shadow_block block; /* p NULL: empty */
} mailboxes[MAILBOXES];

static uint64_t pick(struct worker *w, uint64_t below)
{
    return hak_test_random(&w->random) % below;
}

/* Mostly small, sometimes every tier; often exactly a good size or one beside it. */
static size_t pick_size(struct worker *w)
{
    static const size_t tops[] = {128, 1024, 1024, 8192, 32768, 262144, 1 << 20, 4 << 20};
    uint64_t kind = pick(w, 1000);
    if (kind < 2)
        return pick(w, (uint64_t)40 << 20);
    size_t top = tops[kind < 600 ? kind % 3 : kind < 850 ? kind % 5 : kind % 8];
    size_t n = pick(w, top + 1);
    if (pick(w, 4) == 0)
        n = hak_good_size(n) + pick(w, 3) - 1;
    return n;
}

static size_t pick_align(struct worker *w)
{
    return (size_t)1 << (pick(w, 50) == 0 ? pick(w, 24) : pick(w, 14));
}

/* ---- One block from any of the allocating functions. ---- */

struct request {
    size_t size, align; /* what must hold of the result */
    bool zero, exact;   /* exact: usable size is good_size(size) */
};

static void *allocate(struct worker *w, struct request *r)
{
    void *p = NULL;
    *r = (struct request){.size = pick_size(w), .align = 16};
    switch (pick(w, 12)) {
    case 0:
        r->zero = true;
        return hak_calloc(1, r->size);
    case 1:
        r->zero = true;
        size_t count = 1 + pick(w, 16);
        r->size = (r->size + count - 1) / count * count;
        return hak_calloc(count, r->size / count);
    case 2:
        r->align = pick_align(w);
        return hak_aligned_alloc(r->align, r->size);
    case 3:
        r->align = pick_align(w);
        return hak_memalign(r->align, r->size);
    case 4:
        r->align = pick_align(w) * sizeof(void *);
        REQUIRE(hak_posix_memalign(&p, r->align, r->size) == 0);
        return p;
    case 5:
        r->align = (size_t)sysconf(_SC_PAGESIZE);
        return pick(w, 2) == 0 ? hak_valloc(r->size) : hak_pvalloc(r->size);
    case 6:
        return hak_realloc(NULL, r->size);
    case 7:
        return hak_reallocarray(NULL, r->size, 1);
    default:
        r->exact = true;
        return hak_malloc(r->size);
    }
}

static void block_take(struct worker *w, struct shadow_block b)
{
    w->live += b.usable;
    w->blocks[w->n++] = b;
}

static struct shadow_block block_give(struct worker *w, size_t i)
{
    struct shadow_block b = w->blocks[i];
    w->blocks[i] = w->blocks[--w->n];
    w->live -= b.usable;
    return b;
}

static void do_allocate(struct worker *w)
{
    struct request r;
    void *p = allocate(w, &r);
    REQUIRE(p != NULL);
    REQUIRE(((uintptr_t)p & (r.align - 1)) == 0 && ((uintptr_t)p & 15) == 0);
    struct shadow_block b = {p, r.size, hak_usable_size(p), hak_test_random(&w->random)};
    REQUIRE(b.usable >= r.size);
    REQUIRE(!r.exact || b.usable == hak_good_size(r.size));
    REQUIRE(!r.zero || hak_test_is_zero(p, r.size));
    shadow_enter(&shadow, p, b.usable);
    shadow_block_fill(&b);
    block_take(w, b);
}

static void block_free(struct worker *w, const struct shadow_block *b)
{
    shadow_block_require(b, b->p, b->usable);
    shadow_leave(&shadow, b->p);
    switch (pick(w, 8)) {
    case 0:
        hak_free_sized(b->p, b->asked);
        break;
    case 1:
        REQUIRE(hak_realloc(b->p, 0) == NULL);
        break;
    default:
        hak_free(b->p);
    }
}

static void do_free(struct worker *w)
{
    struct shadow_block b = block_give(w, pick(w, w->n));
    block_free(w, &b);
}

/* Near the old size as often as far from it: growth in place is a path of its own. */
static void do_realloc(struct worker *w)
{
    struct shadow_block old = block_give(w, pick(w, w->n)), b = old;
    b.asked = pick(w, 2) == 0 ? old.usable / 2 + pick(w, old.usable + 1) : pick_size(w);
    b.asked += b.asked == 0;
    shadow_block_require(&old, old.p, old.usable);
    shadow_leave(&shadow, old.p);
    b.p = pick(w, 4) == 0 ? hak_reallocarray(old.p, b.asked, 1) : hak_realloc(old.p, b.asked);
    REQUIRE(b.p != NULL && ((uintptr_t)b.p & 15) == 0);
    b.usable = hak_usable_size(b.p);
    REQUIRE(b.usable >= b.asked);
    shadow_enter(&shadow, b.p, b.usable);
    shadow_block_require(&old, b.p, old.usable < b.asked ? old.usable : b.asked);
    b.seed = hak_test_random(&w->random);
    shadow_block_fill(&b);
    block_take(w, b);
}

/* A block that cannot be: the old one must not notice. */
static void do_refused(struct worker *w)
{
    volatile size_t huge = PTRDIFF_MAX - pick(w, 2) * 4096 + 1; /* volatile: not warned about */
    if (w->n > 0)
        REQUIRE(hak_realloc(w->blocks[pick(w, w->n)].p, huge) == NULL);
    REQUIRE(hak_malloc(huge) == NULL);
    REQUIRE(hak_calloc(huge, 3) == NULL);
}

static void do_exchange(struct worker *w)
{
    struct mailbox *m = &mailboxes[pick(w, MAILBOXES)];
    struct shadow_block mine = block_give(w, pick(w, w->n));
    pthread_mutex_lock(&m->lock);
    struct shadow_block theirs = m->block;
    m->block = mine;
    pthread_mutex_unlock(&m->lock);
    if (theirs.p == NULL)
        return;
    shadow_block_require(&theirs, theirs.p, theirs.usable);
    block_take(w, theirs);
}

static void step(struct worker *w)
{
    uint64_t what = pick(w, 1000);
    if (w->n == SLOTS || w->live > LIVE_LIMIT)
        do_free(w);
    else if (w->n == 0 || what < 460)
        do_allocate(w);
    else if (what < 800)
        do_free(w);
    else if (what < 900)
        do_realloc(w);
    else if (what < 980)
        do_exchange(w);
    else if (what < 990)
        do_refused(w);
    else if (what < 992)
        hak_purge();
    else if (what < 993)
        hak_stats(NULL, 0, HAK_STATS_TEXT);
    else if (what < 994) /* everything at once: slabs and superslabs become empty */
        while (w->n > 0)
            do_free(w);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    for (uint64_t i = 0; i < w->ops; i++)
        step(w);
    while (w->n > 0)
        do_free(w);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t ops = hak_test_env("HAK_TEST_OPS", argc > 2 ? strtoull(argv[2], NULL, 0) : 100000);
    uint64_t seed =
        hak_test_env("HAK_TEST_SEED", (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32);
    REQUIRE(n >= 1 && n <= MAX_THREADS);
    snprintf(hak_test_context, sizeof(hak_test_context), "repeat with HAK_TEST_SEED=%llu",
             (unsigned long long)seed);
    printf("%llu threads, %llu operations each; HAK_TEST_SEED=%llu\n", (unsigned long long)n,
           (unsigned long long)ops, (unsigned long long)seed);
    fflush(stdout);

    shadow_init(&shadow, n * SLOTS + MAILBOXES);
    for (size_t i = 0; i < MAILBOXES; i++)
        pthread_mutex_init(&mailboxes[i].lock, NULL);
    for (uint64_t i = 0; i < n; i++) {
        workers[i].random = (seed + i) * 0x9e3779b97f4a7c15ull | 1;
        workers[i].ops = ops;
    }
    if (n == 1) /* on the main thread: the same addresses each time as far as the system lets */
        run(&workers[0]);
    for (uint64_t i = 0; n > 1 && i < n; i++)
        REQUIRE(pthread_create(&workers[i].thread, NULL, run, &workers[i]) == 0);
    for (uint64_t i = 0; n > 1 && i < n; i++)
        REQUIRE(pthread_join(workers[i].thread, NULL) == 0);
    for (size_t i = 0; i < MAILBOXES; i++)
        if (mailboxes[i].block.p != NULL)
            block_free(&workers[0], &mailboxes[i].block);
    REQUIRE(shadow_count(&shadow) == 0);
    return 0;
}
