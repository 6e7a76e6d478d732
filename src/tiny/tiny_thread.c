/* SPDX-License-Identifier: MIT
 *
 * tiny: caches and threads. A thread's end parks its cache, filled, on the list of the CPU it runs
 * on; the next thread there takes the one parked last. Neither makes a system call, and lives on
 * different CPUs do not meet.
 *
 * Each list is in order of parking, so the oldest are at one end: what has been parked for longer
 * than park_decay_ns is emptied there, one at a parking, all when the region grows, and goes
 * to a list of emptied ones.
 */
#include "tiny/tiny.h"

#include <limits.h>
#include <string.h>

const struct tiny_cache tiny_cache_none;
const struct tiny_cache tiny_cache_ended;
const struct tiny_cache tiny_cache_lent;
HAK_TLS struct tiny_tls tiny_tls = {.self = (struct tiny_cache *)&tiny_cache_none};

static const unsigned ANY_NODE = UINT_MAX;

/* Of one CPU. Heads are read without the lock as well, to see whether there is something. */
struct park {
    _Alignas(HAK_LINE) struct os_lock lock;
    _Atomic(struct tiny_cache *) list[2]; /* newest first, circular: [0] as their threads left
                                             them, [1] emptied since */
};
enum { PARKS_MAX = 1024 };
static HAK_RARE struct park park[PARKS_MAX]; /* by CPU, modulo */

static struct os_lock all_lock;       /* before those of park */
static struct tiny_cache *all_caches; /* [all_lock] */
static _Atomic unsigned ncaches;      /* [all_lock] to write */

/* As many as CPUs: constant. */
static unsigned nparks(void)
{
    return HAK_MIN(os_ncpus(), (unsigned)PARKS_MAX);
}

static struct tiny_cache *parked_head(const struct park *p, bool empty)
{
    return atomic_load_explicit(&p->list[empty], memory_order_relaxed);
}

static void parked_head_set(struct park *p, bool empty, struct tiny_cache *tc)
{
    atomic_store_explicit(&p->list[empty], tc, memory_order_relaxed);
}

static void park_link_locked(struct park *p, struct tiny_cache *tc, uint64_t now)
{
    struct tiny_cache *head = parked_head(p, tc->parked_empty);
    tc->parked_ns = now;
    tc->next = head != NULL ? head : tc;
    tc->prev = head != NULL ? head->prev : tc;
    tc->next->prev = tc->prev->next = tc;
    parked_head_set(p, tc->parked_empty, tc);
    ss_heap_count(tc->heap, -1);
}

static void park_unlink_locked(struct park *p, struct tiny_cache *tc)
{
    tc->prev->next = tc->next;
    tc->next->prev = tc->prev;
    if (parked_head(p, tc->parked_empty) == tc)
        parked_head_set(p, tc->parked_empty, tc->next != tc ? tc->next : NULL);
    tc->parked_ns = 0;
    ss_heap_count(tc->heap, 1);
}

static struct tiny_cache *park_pop(struct park *p, bool empty, unsigned node)
{
    enum { LOOK = 16 }; /* caches of another node come here with threads that moved */
    if (parked_head(p, empty) == NULL)
        return NULL;
    os_lock(&p->lock);
    struct tiny_cache *head = parked_head(p, empty), *tc = head, *found = NULL;
    for (unsigned i = 0; i < LOOK && tc != NULL && found == NULL; i++) {
        if (node == ANY_NODE || tc->node == node)
            found = tc;
        tc = tc->next != head ? tc->next : NULL;
    }
    if (found != NULL)
        park_unlink_locked(p, found);
    os_unlock(&p->lock);
    return found;
}

/* Filled ones first; from this CPU on. */
static struct tiny_cache *parked_take(unsigned node)
{
    if (tiny_ncaches() == 0)
        return NULL; /* at the start: the lists need not be touched */
    unsigned n = nparks(), first = os_cpu() % n;
    for (unsigned empty = 0; empty < 2; empty++) {
        for (unsigned i = 0; i < n; i++) {
            struct park *p = &park[(first + i) % n];
            struct tiny_cache *tc = park_pop(p, empty, node);
            if (tc != NULL)
                return tc;
        }
    }
    return NULL;
}

static struct tiny_cache *cache_create(unsigned node)
{
    struct ss_heap *h = ss_heap_get(node);
    if (h == NULL)
        return NULL;
    struct tiny_cache *tc = ss_meta_alloc(sizeof(*tc));
    if (tc == NULL) {
        ss_heap_count(h, -1);
        return NULL;
    }
    tc->tag = h->id << SS_HEAP_SHIFT;
    tc->heap = h;
    tc->node = h->node;
    for (unsigned c = 0; c < SS_NCLASS; c++)
        tc->bin[c].magic = tc->remote[c].magic = ss_classes[c].magic;
    memcpy(tc->steer, tiny_params.steer, sizeof(tc->steer));
    tiny_flush(tc); /* nothing to flush yet: sets capacities and rooms */
    os_lock(&all_lock);
    tc->all = all_caches;
    all_caches = tc;
    atomic_store_explicit(&ncaches, tiny_ncaches() + 1, memory_order_relaxed);
    os_unlock(&all_lock);
    return tc;
}

struct tiny_cache *tiny_borrow(void)
{
    unsigned node = os_node();
    struct tiny_cache *tc = parked_take(node);
    if (tc == NULL)
        tc = cache_create(node);
    if (HAK_UNLIKELY(tc == NULL) && ss_many_nodes())
        tc = parked_take(ANY_NODE);
    return tc;
}

struct tiny_cache *tiny_attach(void)
{
    struct tiny_cache *tc = tiny_borrow();
    if (tc != NULL) {
        (void)tiny_enter();
        tiny_tls.own = tc;
        atomic_store_explicit(&tiny_tls.self, tc, memory_order_relaxed);
        atomic_store_explicit(&tc->owner, &tiny_tls,
                              memory_order_release); /* may be lent now */
        (void)os_thread_exit_arm(tc);
        tc = tiny_enter_own(); /* that malloc has left */
    }
    return tc;
}

/* Empty the cache parked longest on a list, if it was before before_ns. It leaves the list
 * meanwhile, so that the lock need not be held. false: none is old enough. */
static bool parked_flush_one(struct park *p, uint64_t before_ns)
{
    os_lock(&p->lock);
    struct tiny_cache *tc = parked_head(p, false) != NULL ? parked_head(p, false)->prev : NULL;
    if (tc != NULL && tc->parked_ns <= before_ns)
        park_unlink_locked(p, tc);
    else
        tc = NULL;
    os_unlock(&p->lock);
    if (tc == NULL)
        return false;
    tiny_flush(tc);
    os_lock(&p->lock);
    tc->parked_empty = true;
    park_link_locked(p, tc, before_ns);
    os_unlock(&p->lock);
    return true;
}

static uint64_t ns_before(uint64_t now, uint64_t ns)
{
    return now > ns ? now - ns : 0;
}

void tiny_flush_parked(uint64_t older_ns)
{
    uint64_t before = ns_before(os_now_ns(), older_ns);
    for (unsigned i = 0; i < nparks(); i++) {
        while (parked_flush_one(&park[i], before)) {
        }
    }
}

/* One cache that is old, whatever its heap, is emptied at each parking; where there is none, it
 * is a while before the next one looks. */
static void parked_decay(uint64_t now)
{
    static _Alignas(HAK_LINE) _Atomic uint64_t look_ns;
    if (HAK_LIKELY(now < atomic_load_explicit(&look_ns, memory_order_relaxed)))
        return;
    for (unsigned i = 0; i < nparks(); i++) {
        if (parked_flush_one(&park[i], ns_before(now, tiny_params.park_decay_ns)))
            return;
    }
    atomic_store_explicit(&look_ns, now + tiny_params.park_decay_ns / 8, memory_order_relaxed);
}

void tiny_park(struct tiny_cache *tc)
{
    uint64_t now = os_now_ns();
    struct park *p = &park[os_cpu() % nparks()];
    os_lock(&p->lock);
    tc->parked_empty = false;
    park_link_locked(p, tc, now);
    os_unlock(&p->lock);
    parked_decay(now);
}

/* The thread has no cache from now on, but this one of zeros. */
static void detach(struct tiny_cache *tc, const struct tiny_cache *zeros)
{
    os_lock(&tc->lock); /* it may be lent */
    atomic_store_explicit(&tc->owner, NULL, memory_order_relaxed);
    tiny_tls.own = NULL;
    atomic_store_explicit(&tiny_tls.self, (struct tiny_cache *)zeros, memory_order_relaxed);
    os_unlock(&tc->lock);
    tiny_park(tc);
}

static void thread_exit(void *arg)
{
    detach(arg, &tiny_cache_ended);
}

/* ---- Threads that move. ---- */

/* A thread that the scheduler lends to another node, or moves back and forth, stays with its blocks: they
 * are nearer to it at home than new ones are wherever it goes next. */
static bool moved_for_good(struct tiny_cache *tc)
{
    enum { LOOKS = 16 };
    static const uint64_t TIME_NS = 50000000;
    if (HAK_LIKELY(os_node() == tc->node)) {
        tc->away = 0;
        return false;
    }
    if (tc->away++ == 0)
        tc->away_ns = os_now_ns();
    return tc->away >= LOOKS && os_now_ns() - tc->away_ns >= TIME_NS;
}

void tiny_follow(void)
{
    struct tiny_cache *tc = tiny_enter_own();
    bool moved = tc->heap != NULL && moved_for_good(tc);
    if (moved)
        tc->away = 0;
    tiny_leave();
    if (!moved)
        return;
    (void)os_thread_exit_arm(NULL);
    detach(tc, &tiny_cache_none);
    if (tiny_attach() != NULL) /* else at the next call */
        tiny_leave();
}

/* ---- Lending: another thread empties the cache of one that sleeps (T6). ---- */

struct tiny_cache *tiny_enter_own(void)
{
    struct tiny_cache *tc = tiny_enter();
    while (HAK_UNLIKELY(tc == &tiny_cache_lent)) {
        os_lock(&tiny_tls.own->lock); /* until whoever has it gives it back */
        os_unlock(&tiny_tls.own->lock);
        tc = tiny_enter();
    }
    return tc;
}

static struct tiny_tls *owner_of(const struct tiny_cache *tc)
{
    return atomic_load_explicit(&tc->owner, memory_order_acquire);
}

static void self_set(struct tiny_cache *tc, const struct tiny_cache *self)
{
    atomic_store_explicit(&owner_of(tc)->self, (struct tiny_cache *)self, memory_order_release);
}

/* Ask for a cache, unless it is nobody's. One that was emptied is looked at every few ticks only. One that
 * somebody else has will be emptied by whoever that is: who wants all memory back at once waits for
 * it. All take them in the order of the list. */
static bool lend_begin(struct tiny_cache *tc, unsigned ticks)
{
    if (tc == tiny_tls.own)
        return false;
    if (ticks == 0)
        os_lock(&tc->lock);
    else if (!os_lock_try(&tc->lock))
        return false;
    if (owner_of(tc) != NULL &&
        (ticks == 0 || !tc->idle_flushed || ++tc->idle_ticks % SS_DECAY_TICKS == 0)) {
        self_set(tc, &tiny_cache_lent);
        return true;
    }
    os_unlock(&tc->lock);
    return false;
}

static void lend_end(struct tiny_cache *tc)
{
    self_set(tc, tc);
    os_unlock(&tc->lock);
}

static bool lent_is_idle(struct tiny_cache *tc, unsigned ticks)
{
    if (atomic_load_explicit(&owner_of(tc)->busy, memory_order_acquire) != 0)
        return false;
    uint32_t mark = tiny_mark(tc);
    if (mark != tc->idle_mark) {
        tc->idle_mark = mark;
        tc->idle_ticks = 0;
        tc->idle_flushed = false;
    } else if (!tc->idle_flushed) {
        tc->idle_ticks++;
    }
    return ticks == 0 || (!tc->idle_flushed && tc->idle_ticks >= ticks);
}

/* A few at a time, from *next on: whoever wakes up meanwhile waits for them. */
static bool flush_idle_some(struct tiny_cache **next, unsigned ticks)
{
    enum { SOME = 16 };
    struct tiny_cache *lent[SOME];
    unsigned n = 0, idle = 0;
    bool pending = false;
    for (; *next != NULL && n < SOME; *next = (*next)->all) {
        if (lend_begin(*next, ticks))
            lent[n++] = *next;
    }
    bool ok = n > 0 && os_barrier();
    for (unsigned i = 0; i < n; i++) {
        if (ok && lent_is_idle(lent[i], ticks)) {
            lent[idle++] = lent[i];
        } else {
            pending |= ok && !lent[i]->idle_flushed;
            lend_end(lent[i]);
        }
    }
    for (unsigned i = 0; i < idle; i++) {
        tiny_flush(lent[i]);
        lent[i]->idle_mark = tiny_mark(lent[i]);
        lent[i]->idle_flushed = true;
        lend_end(lent[i]);
    }
    return pending;
}

bool tiny_flush_idle(unsigned ticks)
{
    bool pending = false;
    os_lock(&all_lock);
    struct tiny_cache *next = all_caches; /* the list only grows, in front */
    os_unlock(&all_lock);
    while (next != NULL)
        pending |= flush_idle_some(&next, ticks);
    return pending;
}

void tiny_init(void)
{
    (void)os_thread_exit_init(thread_exit);
}

unsigned tiny_ncaches(void)
{
    return atomic_load_explicit(&ncaches, memory_order_relaxed);
}

struct tiny_cache *tiny_caches(void)
{
    os_lock(&all_lock);
    struct tiny_cache *tc = all_caches;
    os_unlock(&all_lock);
    return tc;
}

static size_t list_bytes(const void *list, size_t size)
{
    size_t bytes = 0;
    for (; list != NULL; list = ss_next(list))
        bytes += size;
    return bytes;
}

static size_t cache_bytes(const struct tiny_cache *tc)
{
    size_t bytes = 0;
    for (unsigned c = 0; c < SS_NCLASS; c++)
        bytes += list_bytes(tc->bin[c].head, ss_classes[c].size) +
                 list_bytes(tc->remote[c].head, ss_classes[c].size);
    bytes += tc->spare_bytes;
    for (unsigned i = 0; i < TINY_NPARCELS; i++)
        bytes += tc->parcel[i].bytes;
    for (const void *list = tc->inbox; list != NULL; list = ss_list_next(list))
        bytes += ss_list_count(list) * (size_t)ss_class_at(ss_word(list))->size;
    return bytes;
}

static bool is_of(const struct tiny_cache *tc, unsigned node)
{
    return node == TINY_NODES_ALL || tc->node == node;
}

size_t tiny_cached_bytes(unsigned node)
{
    const struct tiny_cache *own = tiny_enter_own();
    size_t bytes = own->heap != NULL && is_of(own, node) ? cache_bytes(own) : 0;
    tiny_leave();
    for (unsigned i = 0; i < nparks(); i++) {
        os_lock(&park[i].lock);
        const struct tiny_cache *head = parked_head(&park[i], false), *tc = head;
        for (bool once = tc != NULL; once; once = tc != head) {
            bytes += is_of(tc, node) ? cache_bytes(tc) : 0;
            tc = tc->next;
        }
        os_unlock(&park[i].lock);
    }
    return bytes;
}

void tiny_far(struct tiny_far *out)
{
    *out = (struct tiny_far){0, 0};
    os_lock(&all_lock);
    const struct tiny_cache *tc = all_caches;
    os_unlock(&all_lock);
    for (; tc != NULL; tc = tc->all) {
        out->pushes += atomic_load_explicit(&tc->far_pushes, memory_order_relaxed);
        out->blocks += atomic_load_explicit(&tc->far_blocks, memory_order_relaxed);
    }
}

void tiny_fork_prepare(void)
{
    if (tiny_tls.own != NULL)
        os_lock_fork(&tiny_tls.own->lock); /* if it is lent, until it is back */
    os_lock_fork(&all_lock);
    for (unsigned i = 0; i < nparks(); i++)
        os_lock_fork(&park[i].lock);
}

void tiny_fork_end(void)
{
    for (unsigned i = nparks(); i > 0; i--)
        os_lock_fork_end(&park[i - 1].lock);
    os_lock_fork_end(&all_lock);
    if (tiny_tls.own != NULL)
        os_lock_fork_end(&tiny_tls.own->lock);
}

/* Blocks in the lists stay "out" of their slabs for good: lost to the child, but harmless. */
static void cache_abandon(struct tiny_cache *tc)
{
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        tc->bin[c].head = tc->bin[c].spare = tc->remote[c].head = NULL;
        tc->spares[c] = 0;
    }
    tc->spare_bytes = 0;
    tc->inbox = NULL;
    for (unsigned i = 0; i < TINY_NPARCELS; i++)
        tc->parcel[i] = (struct tiny_parcel){0};
    tiny_flush(tc);
    tc->parked_empty = true;
    park_link_locked(&park[0], tc, 1);
}

void tiny_fork_child(void)
{
    for (struct tiny_cache *tc = all_caches; tc != NULL; tc = tc->all) {
        if (tc == tiny_tls.own)
            continue;
        atomic_store_explicit(&tc->lock.word, OS_LOCK_FREE, memory_order_relaxed);
        atomic_store_explicit(&tc->owner, NULL, memory_order_relaxed);
        if (tc->parked_ns == 0)
            cache_abandon(tc);
    }
}
