/* SPDX-License-Identifier: MIT
 *
 * superslab: heaps. Refill and flush, which every block passes through, and the way home.
 */
#include "superslab/ss_internal.h"

/* A longer remote-free queue is carried home by who frees. */
enum { QUEUE_MAX_BYTES = 32 * SS_UNIT, QUEUE_MAX_BYTES_PARKED = SS_UNIT };

static HAK_TABLE struct ss_heap *heaps[SS_HEAPS_MAX]; /* [region lock] to add; never removed */
static _Atomic unsigned nheaps;                       /* ids 1 .. nheaps */

const struct ss_view hak_view = {sizeof(struct ss_view),
                                 sizeof(struct ss_region),
                                 sizeof(struct ss_heap),
                                 sizeof(struct ss_class),
                                 &ss_region,
                                 heaps,
                                 &nheaps,
                                 ss_classes};

struct ss_heap *ss_heap_by_id(unsigned id)
{
    return heaps[id];
}

unsigned ss_nheaps(void)
{
    return atomic_load_explicit(&nheaps, memory_order_acquire);
}

/* Each node has as many as that, for all threads may be on one; its first, while there are ids, in any
 * case. */
static bool may_create(unsigned node)
{
    unsigned most = atomic_load_explicit(&ss_params.heaps_max, memory_order_relaxed);
    unsigned have = atomic_load_explicit(&ss_region.part[node].nheaps, memory_order_relaxed);
    bool first = have == 0;
    return have < most && ss_nheaps() + 1 < SS_HEAPS_MAX - (first ? 0 : os_nnodes() - 1);
}

static struct ss_heap *heap_create_locked(unsigned node, struct ss_heap *h)
{
    unsigned id = atomic_load_explicit(&nheaps, memory_order_relaxed) + 1;
    if (h == NULL || !may_create(node))
        return NULL; /* another thread made the last one: a few bytes of meta are lost, once */
    atomic_fetch_add_explicit(&ss_region.part[node].nheaps, 1, memory_order_relaxed);
    h->id = id;
    h->node = node;
    heaps[id] = h;
    atomic_store_explicit(&nheaps, id, memory_order_release);
    return h;
}

/* Fewest threads, the same node first. */
static struct ss_heap *heap_share_locked(unsigned node)
{
    struct ss_heap *best = NULL;
    uint32_t best_cost = UINT32_MAX;
    for (unsigned id = 1; id <= ss_nheaps(); id++) {
        struct ss_heap *h = heaps[id];
        uint32_t cost = atomic_load_explicit(&h->nthreads, memory_order_relaxed) +
                        (h->node != node ? UINT32_MAX / 2 : 0);
        if (best == NULL || cost < best_cost) {
            best = h;
            best_cost = cost;
        }
    }
    return best;
}

/* Chosen and counted under one lock: threads born at the same time shall not choose the same. */
struct ss_heap *ss_heap_get(unsigned node)
{
    struct ss_heap *fresh = may_create(node) ? ss_meta_alloc(sizeof(struct ss_heap)) : NULL;
    os_lock(&ss_region.lock);
    struct ss_heap *h = heap_create_locked(node, fresh);
    if (h == NULL)
        h = heap_share_locked(node);
    if (h != NULL)
        ss_heap_count(h, 1);
    os_unlock(&ss_region.lock);
    return h;
}

void ss_heap_stats(struct ss_heap *h, struct ss_heap_stats *out)
{
    os_lock(&h->lock);
    *out = h->stats;
    out->dirty_bytes = h->dirty.units << SS_UNIT_SHIFT;
    out->hole_bytes = h->hole_pages * os_page_size();
    os_unlock(&h->lock);
}

/* Whoever sleeps until there is something to return shall learn that there was something to do. */
static void heap_op(struct ss_heap *h)
{
    enum { SOME = 64 };
    if (HAK_UNLIKELY(++h->ops % SOME == 0) &&
        atomic_load_explicit(&ss_params.due_ops, memory_order_relaxed))
        ss_due_raise(SS_DUE_OPS);
}

/* ---- Refill. ---- */

/* How many virgin blocks to cut: to the end of the page where they are the first to touch it,
 * as many as are wanted where the pages are there already. */
static uint32_t carve_count(const struct ss_slab *s, uint32_t want)
{
    uint32_t size = ss_classes[s->class].size;
    uint32_t n = ss_params.refill_count;
    if (n == 0) {
        size_t at = (size_t)s->carved * size;
        n = (uint32_t)((HAK_ALIGN_UP(at + size, os_page_size()) - at) / size);
        if (!s->zero || n > want)
            n = want;
    }
    return HAK_MIN(HAK_MAX(n, 1u), s->blocks - s->carved);
}

static bool slab_carve(struct ss_heap *h, struct ss_slab *s, uint32_t want,
                       struct ss_chain *out)
{
    uint32_t size = ss_classes[s->class].size;
    uint32_t n = carve_count(s, want);
    if (HAK_UNLIKELY(!ss_holes_carve_locked(h, s, n)))
        return false;
    char *first = ss_unit_address(ss_slab_unit(s)) + (size_t)s->carved * size;
    char *last = first + (size_t)(n - 1) * size;
    for (char *b = first; b < last; b += size)
        ss_link(b, b + size);
    ss_link(last, NULL);
    s->carved += n;
    s->nout += n;
    *out = (struct ss_chain){first, n, s->zero};
    return true;
}

static void slab_splice(struct ss_slab *s, struct ss_chain *out)
{
    *out = (struct ss_chain){s->free, s->nfree, false};
    s->nout += s->nfree;
    s->free = NULL;
    s->nfree = 0;
}

/* What costs no page fault first. */
static bool slab_refill(struct ss_heap *h, struct ss_slab *s, uint32_t want,
                        struct ss_chain *out)
{
    s->tick = h->tick;
    s->looked = false;
    if (HAK_LIKELY(s->nfree > 0))
        slab_splice(s, out);
    else if (s->ngone > 0 ? !ss_holes_fill_locked(h, s, want, out)
                          : !slab_carve(h, s, want, out))
        return false;
    if (!ss_slab_has(s))
        ss_slab_unlink(h, s); /* S3: it has nothing left */
    return true;
}

static uint32_t slab_rank(const struct ss_slab *s)
{
    return s->nout + (s->nfree > 0 ? UINT16_MAX : 0u);
}

/* The slab to refill from: the fullest of the first few, so that the others become empty, and their
 * units another class's or the system's. */
static struct ss_slab *slab_current(struct ss_heap *h, unsigned class)
{
    enum { LOOK = 8 };
    struct ss_slab *first = h->slabs[class], *best = first;
    if (first == NULL)
        return first;
    struct ss_slab *s = first->next;
    for (unsigned i = 1; i < LOOK && s != first; i++, s = s->next) {
        if (slab_rank(s) > slab_rank(best))
            best = s;
    }
    return best;
}

/* superslab_refill. Step 1 is here; ss_slab_take_locked does 2 to 4. */
bool ss_refill(struct ss_heap *h, unsigned class, uint32_t want, struct ss_chain *out,
               bool *grew)
{
    *grew = false;
    *out = (struct ss_chain){NULL, 0, false};
    os_lock(&h->lock);
    struct ss_slab *s = slab_current(h, class);
    if (HAK_LIKELY(s != NULL || (s = ss_slab_take_locked(h, class, grew)) != NULL) &&
        HAK_LIKELY(slab_refill(h, s, want, out))) {
        h->stats.refills++;
        h->stats.out[class] += out->count;
        heap_op(h);
    }
    os_unlock(&h->lock);
    return out->count > 0;
}

/* ---- Flush. ---- */

/* Give back the blocks at the head of a list that are of one slab: they are spliced as they are.
 * Returns the rest of the list. */
static void *blocks_splice(struct ss_heap *h, void *blocks)
{
    struct ss_slab *s = ss_slab_of(blocks);
    HAK_ASSERT(s->heap == h->id);
    const char *begin = ss_unit_address(ss_slab_unit(s));
    size_t bytes = (size_t)ss_classes[s->class].units << SS_UNIT_SHIFT;
    uint32_t n = 0;
    void *last, *next = blocks;
    do {
        last = next;
        next = ss_next(last);
        HAK_CHECK_POINTER(n++ < s->nout && last != s->free && last != next,
                          "superslab: block freed twice", last);
    } while ((uintptr_t)next - (uintptr_t)begin < bytes); /* NULL is in no slab */
    ss_link(last, s->free);
    s->free = blocks;
    bool was_full = !ss_slab_has(s);
    s->nfree += n;
    s->nout -= n;
    s->looked = false;
    h->stats.out[s->class] -= n;
    if (HAK_UNLIKELY(s->away))
        return next;
    if (was_full)
        ss_slab_link(h, s); /* S3 */
    /* The last slab of a tiny class stays for the next refill; mid slabs are too big to wait. */
    if (s->nout == 0 && (s->next != s || s->class >= SS_TINY_NCLASS))
        ss_slab_give_locked(h, s);
    return next;
}

/* Returns the blocks of other heaps. */
static void *blocks_give_locked(struct ss_heap *h, void *blocks)
{
    void *others = NULL;
    while (blocks != NULL) {
        if (HAK_LIKELY(ss_word_heap(ss_word(blocks)) == h->id)) {
            blocks = blocks_splice(h, blocks);
        } else { /* whose slab's record is other CPUs' to read */
            void *next = ss_next(blocks);
            ss_link(blocks, others);
            others = blocks;
            blocks = next;
        }
    }
    h->stats.flushes++;
    heap_op(h);
    return others;
}

void *ss_flush(struct ss_heap *h, void *blocks)
{
    os_lock(&h->lock);
    void *others = blocks_give_locked(h, blocks);
    if (HAK_CFG_DEBUG >= 2)
        ss_slabs_validate(h);
    os_unlock(&h->lock);
    return others;
}

/* ---- The way home. ---- */

static void queue_carry_locked(struct ss_heap *h)
{
    void *list = ss_remote_take(&h->remote);
    h->stats.remote_takes += list != NULL;
    while (list != NULL) {
        void *next = ss_list_next(list);
        void *others = blocks_give_locked(h, list);
        HAK_CHECK_POINTER(others == NULL, "superslab: freed block was written to", others);
        list = next;
    }
}

void ss_send_home(unsigned heap, void *first, void *last, size_t bytes)
{
    struct ss_heap *h = heaps[heap];
    bytes = ss_remote_push(&h->remote, first, last, bytes);
    size_t most = atomic_load_explicit(&h->nthreads, memory_order_relaxed) > 0
                      ? QUEUE_MAX_BYTES
                      : QUEUE_MAX_BYTES_PARKED;
    if (HAK_LIKELY(bytes < most))
        return;
    if (os_lock_try(&h->lock)) { /* somebody is there already: they will see to it */
        queue_carry_locked(h);
        os_unlock(&h->lock);
    }
}

void ss_heap_drain(struct ss_heap *h)
{
    os_lock(&h->lock);
    queue_carry_locked(h);
    os_unlock(&h->lock);
}

void ss_drain_parked(void)
{
    static _Atomic unsigned turn;
    unsigned n = ss_nheaps();
    unsigned id = 1 + atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) % n;
    if (atomic_load_explicit(&heaps[id]->nthreads, memory_order_relaxed) == 0)
        ss_heap_drain(heaps[id]);
}

/* The empty slab that each class keeps for its next refill. */
static void empty_slabs_give_locked(struct ss_heap *h)
{
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        struct ss_slab *s = h->slabs[c];
        if (s != NULL && s->nout == 0)
            ss_slab_give_locked(h, s);
    }
}

void ss_heap_tidy_locked(struct ss_heap *h)
{
    queue_carry_locked(h);
    empty_slabs_give_locked(h);
}

/* ---- Fork. ---- */

static unsigned fork_locked; /* heaps 1 .. fork_locked are held */

void ss_fork_prepare(void)
{
    for (unsigned id = 1; id <= ss_nheaps(); id++)
        ss_heap_drain(heaps[id]); /* what the child would lose */
    for (unsigned locked = 0;;) {
        while (locked < ss_nheaps())
            os_lock_fork(&heaps[++locked]->lock);
        os_lock_fork(&ss_region.lock);
        fork_locked = locked;
        if (locked == ss_nheaps())
            return;
        os_lock_fork_end(&ss_region.lock); /* one was born; heaps come before the region */
    }
}

void ss_fork_end(void)
{
    unsigned locked = fork_locked;
    os_lock_fork_end(&ss_region.lock);
    for (unsigned id = locked; id >= 1; id--)
        os_lock_fork_end(&heaps[id]->lock);
}

void ss_fork_child(void)
{
    for (unsigned id = 1; id <= ss_nheaps(); id++) {
        struct ss_heap *h = heaps[id];
        /* Pages are copied one after another while other threads run on: a chain pushed in that
         * time may be here without its links. Those few blocks are given up. */
        atomic_store_explicit(&h->remote, 0, memory_order_relaxed);
    }
    ss_purge_fork_child();
}

void ss_validate(void)
{
    for (unsigned id = 1; id <= ss_nheaps(); id++) {
        os_lock(&heaps[id]->lock);
        ss_slabs_validate(heaps[id]);
        os_unlock(&heaps[id]->lock);
    }
    os_lock(&ss_region.lock);
    ss_runs_validate();
    os_unlock(&ss_region.lock);
    HAK_CHECK(ss_held_bytes() >= ss_held_walk(),
              "superslab: less counted than is held"); /* S8 */
}
