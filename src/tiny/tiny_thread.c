/* SPDX-License-Identifier: MIT
 *
 * tiny: caches and threads. A thread's end parks its cache, filled, on its node's list; the next
 * thread takes the one parked last. Both are O(1) and make no system call.
 *
 * The list is in order of parking, so the oldest are at one end: what has been parked for longer
 * than park_decay_ns is emptied there, one at each parking, all when the region grows, and goes
 * to a list of emptied ones.
 */
#include "tiny/tiny.h"

#include <string.h>

const struct tiny_cache tiny_cache_none = {.tag = UINT32_MAX};
const struct tiny_cache tiny_cache_ended = {.tag = UINT32_MAX};
HAK_TLS struct tiny_cache *tiny_self = (struct tiny_cache *)&tiny_cache_none;

static struct os_lock park_lock;
/* [park_lock] newest first, circular: [0] as their threads left them, [1] emptied since */
static struct tiny_cache *parked[SS_NODES_MAX][2];
static struct tiny_cache *all_caches; /* [park_lock] */
static unsigned ncaches;              /* [park_lock] */

static struct tiny_cache **parked_list(const struct tiny_cache *tc)
{
    return &parked[tc->node][tc->parked_empty];
}

static void parked_link(struct tiny_cache *tc, uint64_t now)
{
    struct tiny_cache **list = parked_list(tc);
    tc->parked_ns = now;
    tc->next = *list != NULL ? *list : tc;
    tc->prev = *list != NULL ? (*list)->prev : tc;
    tc->next->prev = tc->prev->next = tc;
    *list = tc;
}

static void parked_unlink(struct tiny_cache *tc)
{
    struct tiny_cache **list = parked_list(tc);
    struct tiny_cache *next = tc->next != tc ? tc->next : NULL;
    tc->prev->next = tc->next;
    tc->next->prev = tc->prev;
    if (*list == tc)
        *list = next;
    tc->parked_ns = 0;
}

/* The newest on this node, filled ones first; else any node's. */
static struct tiny_cache *parked_take(unsigned node)
{
    os_lock(&park_lock);
    struct tiny_cache *tc = parked[node][0] != NULL ? parked[node][0] : parked[node][1];
    for (unsigned n = 0; tc == NULL && n < os_nnodes(); n++)
        tc = parked[n][0] != NULL ? parked[n][0] : parked[n][1];
    if (tc != NULL)
        parked_unlink(tc);
    os_unlock(&park_lock);
    return tc;
}

static struct tiny_cache *cache_create(unsigned node)
{
    struct ss_heap *h = ss_heap_get(node);
    struct tiny_cache *tc = h != NULL ? ss_meta_alloc(sizeof(*tc)) : NULL;
    if (tc == NULL)
        return NULL;
    tc->tag = h->id << SS_HEAP_SHIFT;
    tc->heap = h;
    tc->node = h->node;
    for (unsigned c = 0; c < SS_NCLASS; c++)
        tc->bin[c].magic = ss_classes[c].magic;
    tiny_flush(tc); /* nothing to flush yet: sets capacities and rooms */
    os_lock(&park_lock);
    tc->all = all_caches;
    all_caches = tc;
    ncaches++;
    os_unlock(&park_lock);
    return tc;
}

struct tiny_cache *tiny_borrow(void)
{
    unsigned node = os_node();
    struct tiny_cache *tc = parked_take(node);
    if (tc == NULL)
        tc = cache_create(node);
    if (tc != NULL)
        atomic_fetch_add_explicit(&tc->heap->nthreads, 1, memory_order_relaxed);
    return tc;
}

struct tiny_cache *tiny_attach(void)
{
    struct tiny_cache *tc = tiny_borrow();
    if (tc != NULL) {
        tiny_self = tc; /* first: arming the hook may call malloc */
        (void)os_thread_exit_arm(tc);
    }
    return tc;
}

/* Empty the cache parked longest on a node, if it was before before_ns. It leaves the list
 * meanwhile, so that the lock need not be held. false: none is old enough. */
static bool parked_flush_one(unsigned node, uint64_t before_ns)
{
    os_lock(&park_lock);
    struct tiny_cache *tc = parked[node][0] != NULL ? parked[node][0]->prev : NULL;
    if (tc != NULL && tc->parked_ns <= before_ns)
        parked_unlink(tc);
    else
        tc = NULL;
    os_unlock(&park_lock);
    if (tc == NULL)
        return false;
    tiny_flush(tc);
    os_lock(&park_lock);
    tc->parked_empty = true;
    parked_link(tc, before_ns);
    os_unlock(&park_lock);
    return true;
}

void tiny_flush_parked(uint64_t older_ns)
{
    uint64_t now = os_now_ns();
    uint64_t before = now > older_ns ? now - older_ns : 0;
    for (unsigned node = 0; node < os_nnodes(); node++) {
        while (parked_flush_one(node, before)) {
        }
    }
}

void tiny_park(struct tiny_cache *tc)
{
    uint64_t now = os_now_ns();
    atomic_fetch_sub_explicit(&tc->heap->nthreads, 1, memory_order_relaxed);
    os_lock(&park_lock);
    tc->parked_empty = false;
    parked_link(tc, now);
    bool old = tc->prev->parked_ns + tiny_params.park_decay_ns < now;
    os_unlock(&park_lock);
    if (HAK_UNLIKELY(old))
        (void)parked_flush_one(tc->node, now - tiny_params.park_decay_ns);
}

static void thread_exit(void *arg)
{
    tiny_self = (struct tiny_cache *)&tiny_cache_ended;
    tiny_park(arg);
}

void tiny_init(void)
{
    (void)os_thread_exit_init(thread_exit);
}

unsigned tiny_ncaches(void)
{
    os_lock(&park_lock);
    unsigned n = ncaches;
    os_unlock(&park_lock);
    return n;
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
        bytes += list_bytes(tc->bin[c].head, ss_classes[c].size);
    bytes += tc->spare_bytes;
    for (unsigned i = 0; i < TINY_NOUT; i++)
        bytes += tc->out[i].bytes;
    for (const void *b = tc->inbox; b != NULL; b = ss_next(b))
        bytes += ss_classes[ss_word_class(ss_word(b))].size;
    return bytes;
}

size_t tiny_cached_bytes(void)
{
    size_t bytes = tiny_self->heap != NULL ? cache_bytes(tiny_self) : 0;
    os_lock(&park_lock);
    for (unsigned node = 0; node < os_nnodes(); node++) {
        const struct tiny_cache *tc = parked[node][0];
        for (bool once = tc != NULL; once; once = tc != parked[node][0]) {
            bytes += cache_bytes(tc);
            tc = tc->next;
        }
    }
    os_unlock(&park_lock);
    return bytes;
}

void tiny_fork_prepare(void)
{
    os_lock_fork(&park_lock);
}

void tiny_fork_end(void)
{
    os_lock_fork_end(&park_lock);
}

/* Blocks in the lists stay "out" of their slabs for good: lost to the child, but harmless. */
static void cache_abandon(struct tiny_cache *tc)
{
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        tc->bin[c].head = tc->bin[c].spare = NULL;
        tc->spares[c] = 0;
    }
    tc->spare_bytes = 0;
    tc->inbox = NULL;
    for (unsigned i = 0; i < TINY_NOUT; i++)
        tc->out[i] = (struct tiny_out){0};
    tiny_flush(tc);
    tc->parked_empty = true;
    parked_link(tc, 1);
}

void tiny_fork_child(void)
{
    for (struct tiny_cache *tc = all_caches; tc != NULL; tc = tc->all) {
        if (tc == tiny_self)
            atomic_store_explicit(&tc->heap->nthreads, 1, memory_order_relaxed);
        else if (tc->parked_ns == 0)
            cache_abandon(tc);
    }
}
