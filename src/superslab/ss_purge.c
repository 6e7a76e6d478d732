/* SPDX-License-Identifier: MIT
 *
 * superslab: memory goes back.
 *
 * How much: a ledger keeps, for each of the last ticks, the fewest free units there were: so many
 * were idle all through it, whichever they are (the working set of a depot: Bonwick & Adams,
 * "Magazines and Vmem", 2001). What a load that breathes gives and takes within a tick is never idle.
 * What is idle longer is kept less: the curve is smootherstep (Perlin, 2002), as in jemalloc's decay.
 *
 * How: pieces are taken out of the free memory under the lock, so that nobody else can have them,
 * returned to the system without it, and given back clean. At most a batch at a time is out of
 * reach. doc/why/002-purge.md.
 */
#include "base/hak_log.h"
#include "superslab/ss_internal.h"

_Alignas(HAK_LINE) _Atomic uint32_t ss_due;

enum {
    BATCH_UNITS = SS_BATCH_PIECES, /* 16 MiB */
    HOLES_LOOK = 64,               /* superslabs looked at in a tick: 64 KiB of records */
};

/* What of a piece idle for k of SS_DECAY_TICKS ticks is still there: 1 - (6 x^5 - 15 x^4 + 10 x^3),
 * x = k / 8, in units of 2^-15. */
static const uint16_t curve[SS_DECAY_TICKS + 1] = {32768, 32242, 29376, 23750, 16384,
                                                   9018,  3392,  526,   0};

size_t ss_ledger_tick(struct ss_ledger *l, size_t kept)
{
    size_t due = 0, older = 0, older_kept = 0, low = l->low - HAK_MIN(kept, l->low);
    for (unsigned k = SS_DECAY_TICKS; k-- > 0;) { /* the oldest first */
        size_t idle = HAK_MIN(k > 0 ? l->idle[k - 1] : low, low);
        size_t keep =
            (idle - older) * curve[k + 1] / curve[k]; /* of those idle for k + 1 ticks */
        due += idle - older - keep;
        older = idle;
        older_kept += keep;
        l->idle[k] = older_kept;
    }
    l->low = l->units;
    return due;
}

/* What is on its way, and whose: here, so that a fork child finds what its parent's thread was about
 * to give back. A fork does not wait for `lock`. */
static HAK_RARE struct {
    struct os_lock lock;
    _Atomic(void *) thread; /* that has it; NULL: none */
    struct ss_heap *heap;   /* [its lock] NULL: the region, */
    struct ss_part *part;   /* this part of it */
    bool holes;             /* [heap lock] */
    struct ss_batch batch;  /* [heap or region lock] */
} way;

static struct os_lock *owner_lock(void)
{
    return way.heap != NULL ? &way.heap->lock : &ss_region.lock;
}

static size_t way_return_locked(unsigned done)
{
    size_t bytes = way.heap == NULL ? ss_runs_return_locked(&way.batch, done)
                   : way.holes      ? ss_holes_return_locked(way.heap, &way.batch, done)
                                    : ss_heap_return_locked(way.heap, &way.batch, done);
    way.batch.n = 0;
    return bytes;
}

static void pieces_sort(struct ss_batch *b)
{
    for (unsigned i = 1; i < b->n; i++) {
        struct ss_piece piece = b->piece[i];
        unsigned k = i;
        for (; k > 0 && b->piece[k - 1].first > piece.first; k--)
            b->piece[k] = b->piece[k - 1];
        b->piece[k] = piece;
    }
}

/* Returns how many of the pieces, from the first on, are clean now. Neighbours go in one call. */
static unsigned pieces_purge(const struct ss_batch *b)
{
    struct os_span span[SS_BATCH_PIECES];
    unsigned n = 0, ends[SS_BATCH_PIECES];
    for (unsigned i = 0; i < b->n; i++) {
        const struct ss_piece *p = &b->piece[i];
        ss_huge_break(p->first, HAK_MAX(p->units, 1u));
        char *at = ss_unit_address(p->first) + p->page * os_page_size();
        size_t bytes = ((size_t)p->units << SS_UNIT_SHIFT) + p->pages * os_page_size();
        if (n > 0 && (char *)span[n - 1].addr + span[n - 1].bytes == at)
            span[n - 1].bytes += bytes;
        else
            span[n++] = (struct os_span){at, bytes};
        ends[n - 1] = i + 1;
    }
    unsigned done = os_purge(span, n, ss_params.purge_lazily);
    atomic_fetch_add_explicit(&ss_region.purges, done, memory_order_relaxed);
    return done > 0 ? ends[done - 1] : 0;
}

/* What was claimed goes, its owner's lock not held. Returns bytes; *refused: of some the system would not
 * have any. */
static size_t way_send(bool *refused)
{
    if (way.batch.n == 0)
        return 0;
    unsigned done = pieces_purge(&way.batch);
    os_lock(owner_lock());
    *refused |= done < way.batch.n;
    size_t bytes = way_return_locked(done);
    os_unlock(owner_lock());
    ss_held_give(bytes);
    atomic_fetch_add_explicit(&ss_region.purged_bytes, bytes, memory_order_relaxed);
    return bytes;
}

/* One batch of at most `want` units. Returns units. */
static size_t batch_purge(size_t want, size_t least, bool all, bool *refused)
{
    struct ss_batch *b = &way.batch;
    os_lock(owner_lock());
    way.holes = false;
    b->want = HAK_MIN(want, (size_t)BATCH_UNITS);
    b->least = least;
    b->all = all;
    if (way.heap != NULL)
        ss_heap_claim_locked(way.heap, b);
    else
        ss_runs_claim_locked(way.part, b);
    pieces_sort(b);
    os_unlock(owner_lock());
    return way_send(refused) >> SS_UNIT_SHIFT;
}

void ss_way_enter(struct ss_heap *h, struct ss_part *p)
{
    os_lock(&way.lock);
    atomic_store_explicit(&way.thread, __builtin_thread_pointer(), memory_order_relaxed);
    way.heap = h;
    way.part = p;
}

void ss_way_leave(void)
{
    atomic_store_explicit(&way.thread, NULL, memory_order_relaxed);
    os_unlock(&way.lock);
}

/* Return `want` units of a heap, or of a part of the region. Returns bytes. */
static size_t purge(struct ss_heap *h, struct ss_part *p, size_t want, bool all, bool *refused)
{
    size_t least = all ? 1 : HAK_MAX(ss_params.purge_min_bytes >> SS_UNIT_SHIFT, (size_t)1);
    size_t units = 0, got = 1;
    *refused = false;
    if (want == 0)
        return 0;
    ss_way_enter(h, p);
    while (units < want && got > 0 && !*refused) {
        got = batch_purge(want - units, least, all, refused);
        units += got;
    }
    ss_way_leave();
    return units << SS_UNIT_SHIFT;
}

static void heap_tick(struct ss_heap *h, struct ss_tick *t)
{
    os_lock(&h->lock);
    if (h->ops == h->ops_ticked) /* nobody has looked after it since the last tick */
        ss_heap_tidy_locked(h);
    h->ops_ticked = h->ops;
    size_t due = ss_ledger_tick(&h->dirty, ss_heap_kept_locked(h));
    os_unlock(&h->lock);
    bool refused;
    t->returned += purge(h, NULL, due, false, &refused);
    t->refused |= refused;
    os_lock(&h->lock);
    h->tick++;
    t->ops += h->ops;
    os_unlock(&h->lock);
}

static void region_tick(struct ss_tick *t)
{
    for (unsigned i = 0; i < ss_region.nparts; i++) {
        struct ss_part *p = &ss_region.part[i];
        os_lock(&ss_region.lock);
        size_t due = ss_ledger_tick(&p->dirty, ss_runs_kept_locked(p));
        os_unlock(&ss_region.lock);
        bool refused;
        t->returned += purge(NULL, p, due, false, &refused);
        t->refused |= refused;
    }
    os_lock(&ss_region.lock);
    ss_region.tick++;
    t->ops += ss_region.ops;
    os_unlock(&ss_region.lock);
}

void ss_tick(struct ss_tick *out)
{
    *out = (struct ss_tick){0};
    for (unsigned id = 1; id <= ss_nheaps(); id++)
        heap_tick(ss_heap_by_id(id), out);
    region_tick(out);
    if (out->returned > 0)
        hak_log(HAK_LOG_DEBUG, "purge: %S returned", out->returned);
}

size_t ss_purge(void)
{
    size_t bytes = 0;
    bool refused;
    for (unsigned id = 1; id <= ss_nheaps(); id++) {
        struct ss_heap *h = ss_heap_by_id(id);
        os_lock(&h->lock);
        ss_heap_tidy_locked(h);
        size_t units = h->dirty.units;
        os_unlock(&h->lock);
        bytes += purge(h, NULL, units, true, &refused);
    }
    for (unsigned i = 0; i < ss_region.nparts; i++) {
        struct ss_part *p = &ss_region.part[i];
        os_lock(&ss_region.lock);
        size_t units = p->dirty.units;
        os_unlock(&ss_region.lock);
        bytes += purge(NULL, p, units, true, &refused);
    }
    return bytes;
}

/* ---- Holes. ---- */

/* Whose the next superslab is, from *index on: NULL, no heap's. *end: there is none. */
static struct ss_heap *superslab_heap(size_t *index, bool *end)
{
    struct ss_heap *h = NULL;
    size_t n = ss_region.ss_units;
    *end = true;
    os_lock(&ss_region.lock);
    for (unsigned i = 0; i < ss_region.nparts && *end; i++) {
        const struct ss_part *p = &ss_region.part[i];
        size_t first = HAK_MAX(*index * n, p->first);
        if (first >= p->frontier)
            continue;
        *end = false;
        *index = first / n;
        h = ss_superslab_at(*index)->heap;
    }
    os_unlock(&ss_region.lock);
    return h;
}

/* Returns whether there is more to come. */
static bool superslab_purge_holes(struct ss_heap *h, size_t index, bool all, size_t *bytes)
{
    bool refused = false;
    enum ss_holes found;
    ss_way_enter(h, NULL);
    do {
        os_lock(&h->lock);
        way.holes = true;
        way.batch.all = all;
        found = ss_holes_claim_locked(h, index, &way.batch);
        os_unlock(&h->lock);
        *bytes += way_send(&refused);
    } while (found == SS_HOLES_MORE && !refused);
    ss_way_leave();
    return found != SS_HOLES_NONE && !refused;
}

/* Round and round. There is nothing more to do when two rounds have found nothing since somebody last
 * worked: a part of the first was before. */
bool ss_holes_tick(const struct ss_tick *t)
{
    static size_t index;
    static uint64_t ops;
    static unsigned idle_rounds;
    static bool found;
    size_t bytes = 0;
    if (t->ops != ops)
        idle_rounds = 0;
    ops = t->ops;
    for (unsigned i = 0; i < HOLES_LOOK && idle_rounds < 2; i++) {
        bool end;
        struct ss_heap *h = superslab_heap(&index, &end);
        if (h != NULL)
            found |= superslab_purge_holes(h, index, ss_pressure(), &bytes);
        index++;
        if (end) {
            idle_rounds = found || bytes > 0 ? 0 : idle_rounds + 1;
            found = false;
            index = 0;
            break;
        }
    }
    if (bytes > 0)
        hak_log(HAK_LOG_DEBUG, "purge: %S of slabs in use returned", bytes);
    return idle_rounds < 2;
}

size_t ss_holes_purge(void)
{
    size_t bytes = 0;
    bool end = false;
    for (size_t index = 0; !end; index++) {
        struct ss_heap *h = superslab_heap(&index, &end);
        if (h != NULL)
            (void)superslab_purge_holes(h, index, true, &bytes);
    }
    return bytes;
}

void ss_purge_fork_child(void)
{
    if (atomic_load_explicit(&way.thread, memory_order_relaxed) == __builtin_thread_pointer())
        return; /* a handler forked: this thread goes on with it */
    if (way.batch.n > 0)
        (void)way_return_locked(0);
    atomic_store_explicit(&way.thread, NULL, memory_order_relaxed);
    atomic_store_explicit(&way.lock.word, OS_LOCK_FREE, memory_order_relaxed);
}
