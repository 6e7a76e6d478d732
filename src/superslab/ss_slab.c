/* SPDX-License-Identifier: MIT
 *
 * superslab: slabs cut from superslabs, and superslabs from the node's pool or the region.
 *
 * Free units of a superslab are bits of one word, so finding, taking and giving back a slab are
 * a few bit operations. Units that hold pages are reused before virgin ones.
 */
#include "superslab/ss_internal.h"

#include <limits.h>

/* ---- Lists. ---- */

void ss_slab_link(struct ss_heap *h, struct ss_slab *s)
{
    struct ss_slab *head = h->slabs[s->class];
    if (head == NULL) {
        s->next = s->prev = s;
        h->slabs[s->class] = s;
    } else { /* last: the longer it waits, the more blocks come home to it */
        s->next = head;
        s->prev = head->prev;
        s->prev->next = head->prev = s;
    }
}

void ss_slab_unlink(struct ss_heap *h, struct ss_slab *s)
{
    struct ss_slab *next = s->next != s ? s->next : NULL;
    s->prev->next = s->next;
    s->next->prev = s->prev;
    if (h->slabs[s->class] == s)
        h->slabs[s->class] = next;
}

/* Last on a list. */
static void superslab_append(struct ss_superslab **list, struct ss_superslab *ss)
{
    struct ss_superslab *head = *list;
    ss->next = head != NULL ? head : ss;
    ss->prev = head != NULL ? head->prev : ss;
    ss->next->prev = ss->prev->next = ss;
    if (head == NULL)
        *list = ss;
}

static void superslab_remove(struct ss_superslab **list, struct ss_superslab *ss)
{
    struct ss_superslab *next = ss->next != ss ? ss->next : NULL;
    ss->prev->next = ss->next;
    ss->next->prev = ss->prev;
    if (*list == ss)
        *list = next;
}

/* S4, first. */
static void superslab_link(struct ss_heap *h, struct ss_superslab *ss)
{
    superslab_append(&h->superslabs, ss);
    h->superslabs = ss;
}

static void superslab_wait(struct ss_heap *h, struct ss_superslab *ss)
{
    ss->waits = true;
    ss->tick = h->tick;
    superslab_append(&h->full, ss);
}

static void superslab_to_full(struct ss_heap *h, struct ss_superslab *ss)
{
    superslab_remove(&h->superslabs, ss);
    superslab_wait(h, ss);
}

static void superslab_from_full(struct ss_heap *h, struct ss_superslab *ss)
{
    if (ss->waits)
        superslab_remove(&h->full, ss);
    ss->waits = false;
    superslab_link(h, ss);
}

/* ---- Superslabs. ---- */

static size_t superslab_first(const struct ss_superslab *ss)
{
    return ss_superslab_index(ss) * ss_region.ss_units;
}

/* Step 3. NULL: there is none. */
static struct ss_superslab *pool_take_locked(struct ss_part *p)
{
    struct ss_superslab *ss = p->pool.head;
    if (ss == NULL)
        return NULL;
    p->pool.head = ss->next;
    p->pool.count--;
    ss_ledger_sub(&p->dirty, (size_t)__builtin_popcount(ss->dirty));
    return ss;
}

/* Step 4. NULL: no memory. */
static struct ss_superslab *superslab_cut_locked(struct ss_part *p)
{
    uint32_t dirty;
    unsigned units = ss_region.ss_units;
    size_t first = ss_run_take_locked(p, units, units, true, &dirty);
    if (first == SS_UNIT_NONE)
        return NULL;
    struct ss_superslab *ss = ss_superslab_at(first / units);
    ss->dirty = dirty != 0 ? ss_region.ss_mask : 0;
    ss_region.grown++;
    for (size_t u = first; u < first + units; u++)
        ss_region.unit[u].slab.kind = SS_KIND_USED;
    return ss;
}

/* Steps 3 and 4: an empty superslab of the node's pool, or a new one; another node's only where its
 * own has no addresses left. */
static struct ss_superslab *superslab_take(struct ss_heap *h, bool *grew)
{
    struct ss_superslab *ss = NULL;
    os_lock(&ss_region.lock);
    for (struct ss_part *p = &ss_region.part[h->node]; p != NULL && ss == NULL;
         p = ss_part_after(p, 2 * ss_region.ss_units, h->node)) {
        ss = pool_take_locked(p);
        if (ss == NULL)
            *grew = (ss = superslab_cut_locked(p)) != NULL;
    }
    ss_region.ops++;
    if (ss != NULL)
        ss->heap = h;
    os_unlock(&ss_region.lock);
    if (ss != NULL) {
        ss->free = ss_region.ss_mask;
        ss->old = 0;
        ss->tick = h->tick;
        ss_ledger_add(&h->dirty, (size_t)__builtin_popcount(ss->dirty));
        superslab_link(h, ss);
        h->stats.superslabs++;
    }
    return ss;
}

static void superslab_give(struct ss_heap *h, struct ss_superslab *ss)
{
    superslab_remove(&h->superslabs, ss);
    h->stats.superslabs--;
    size_t dirty = (size_t)__builtin_popcount(ss->dirty);
    ss_ledger_sub(&h->dirty, dirty);
    struct ss_part *p = ss_part_of(superslab_first(ss));
    os_lock(&ss_region.lock);
    ss->heap = NULL;
    ss_region.ops++;
    if (p->pool.count < ss_params.superslab_keep) {
        ss->tick = ss_region.tick;
        ss->next = p->pool.head;
        p->pool.head = ss;
        p->pool.count++;
        ss_ledger_add(&p->dirty, dirty);
    } else {
        ss_run_give_locked(superslab_first(ss), ss_region.ss_units, (uint32_t)dirty);
    }
    os_unlock(&ss_region.lock);
}

static uint32_t row_mask(unsigned bit, unsigned units)
{
    return (UINT32_MAX >> (32 - units)) << bit;
}

/* How many set bits are in a row from `bit` on, which is one. */
static unsigned row_length(uint32_t bits, unsigned bit)
{
    uint32_t end = ~(bits >> bit);
    return end != 0 ? (unsigned)__builtin_ctz(end) : 32;
}

/* Cut `units` from bit on out of a superslab's free units. Returns the first. */
static size_t units_cut(struct ss_heap *h, struct ss_superslab *ss, unsigned bit,
                        unsigned units, bool *untouched)
{
    uint32_t mask = row_mask(bit, units);
    uint32_t touched = ss->dirty & mask;
    *untouched = touched == 0;
    ss_ledger_sub(&h->dirty, (size_t)__builtin_popcount(touched));
    ss->dirty &= ~mask;
    ss->old &= ~mask;
    ss->free &= ~mask;
    if (ss->free == 0)
        superslab_to_full(h, ss);
    return superslab_first(ss) + bit;
}

/* Units are free again, and may hold pages, or not. */
static void units_give(struct ss_heap *h, struct ss_superslab *ss, uint32_t mask, bool dirty)
{
    if (ss->free == 0)
        superslab_from_full(h, ss);
    ss->free |= mask;
    if (dirty) {
        if (ss->tick != h->tick) {
            ss->old = ss->dirty;
            ss->tick = h->tick;
        }
        ss->dirty |= mask;
        ss_ledger_add(&h->dirty, (size_t)__builtin_popcount(mask));
    }
    if (ss->free == ss_region.ss_mask)
        superslab_give(h, ss);
}

/* A row of free units in a superslab. */
struct row {
    struct ss_superslab *ss;
    unsigned bit, cost;
};

/* Of the rows of set bits that hold `units`, the shortest; of equals, that in the fullest superslab.
 * So rows that are long, and superslabs that are nearly empty, have time to become more so. */
static void row_search(struct ss_superslab *ss, uint32_t bits, unsigned units, struct row *best)
{
    unsigned nfree = (unsigned)__builtin_popcount(ss->free);
    while (bits != 0) {
        unsigned bit = (unsigned)__builtin_ctz(bits);
        unsigned length = row_length(bits, bit);
        unsigned cost = length * 64 + nfree;
        if (length >= units && cost < best->cost)
            *best = (struct row){ss, bit, cost};
        bits &= ~row_mask(bit, length);
    }
}

/* Step 2: units of one of the first superslabs; resident ones if there are, for they cost no page
 * fault and no memory. ss NULL: none. */
static struct row units_search(struct ss_heap *h, unsigned units)
{
    enum { LOOK = 64 };
    struct row dirty = {.cost = UINT_MAX}, any = {.cost = UINT_MAX};
    struct ss_superslab *ss = h->superslabs;
    for (unsigned i = 0; i < LOOK && ss != NULL; i++) {
        row_search(ss, ss->dirty, units, &dirty);
        if (dirty.ss == NULL)
            row_search(ss, ss->free, units, &any);
        ss = ss->next != h->superslabs ? ss->next : NULL;
    }
    return dirty.ss != NULL ? dirty : any;
}

/* Count those of a row that hold no pages yet. false: beyond the hard limit. */
static bool row_hold(const struct row *r, unsigned units)
{
    size_t clean = (size_t)__builtin_popcount(row_mask(r->bit, units) & ~r->ss->dirty);
    return clean == 0 || ss_held_take(clean << SS_UNIT_SHIFT);
}

/* ---- Slabs. ---- */

/* A tiny class with so much out will fill its next slab, too: its pages come in one call, at about half
 * of what a fault each costs, and what may stay unused is a fifth. doc/why/010-faults.md. */
enum { FILLS_BYTES = 4 * SS_UNIT };

static void slab_populate(const struct ss_heap *h, unsigned class, size_t unit)
{
    static _Atomic bool refused; /* then faults do, once and for all */
    if (class < SS_TINY_NCLASS && h->stats.out[class] * ss_classes[class].size >= FILLS_BYTES &&
        !ss_pressure() && !atomic_load_explicit(&refused, memory_order_relaxed) &&
        !os_populate(ss_unit_address(unit), SS_UNIT))
        atomic_store_explicit(&refused, true, memory_order_relaxed);
}

struct ss_slab *ss_slab_take_locked(struct ss_heap *h, unsigned class, bool *grew)
{
    const struct ss_class *k = &ss_classes[class];
    bool untouched;
    struct row row = units_search(h, k->units);
    if (row.ss == NULL) {
        if (superslab_take(h, grew) == NULL)
            return NULL;
        row = units_search(h, k->units);
    }
    if (HAK_UNLIKELY(!row_hold(&row, k->units))) {
        if (row.ss->free == ss_region.ss_mask)
            superslab_give(h, row.ss);
        return NULL;
    }
    size_t unit = units_cut(h, row.ss, row.bit, k->units, &untouched);
    if (untouched)
        slab_populate(h, class, unit);
    struct ss_slab *s = &ss_region.unit[unit].slab;
    /* Not kind: it is SS_KIND_USED already, and a run beside the superslab may be reading it. */
    s->class = (uint8_t) class;
    s->zero = untouched && !ss_params.purge_lazily;
    s->heap = h->id;
    s->free = NULL;
    s->nfree = s->nout = s->carved = 0;
    s->ngone = s->nholes = 0;
    s->blocks = k->blocks;
    s->tick = h->tick;
    s->looked = s->away = false;
    for (unsigned i = 0; i < k->units; i++) {
        ss_region.unit[unit + i].slab.back = (uint8_t)i;
        ss_region.unit[unit + i].slab.holes = 0;
        ss_region.words[unit + i] =
            h->id << SS_HEAP_SHIFT | i << SS_NTH_SHIFT | class << SS_CLASS_SHIFT; /* S1 */
    }
    ss_slab_link(h, s);
    h->stats.slabs++;
    return s;
}

void ss_slab_give_locked(struct ss_heap *h, struct ss_slab *s)
{
    HAK_ASSERT(s->nout == 0);
    size_t unit = ss_slab_unit(s);
    unsigned units = ss_classes[s->class].units;
    uint32_t clean = 0;
    if (s->nholes > 0 && !ss_holes_drop_locked(h, s, &clean))
        return;
    ss_slab_unlink(h, s);
    h->stats.slabs--;
    for (unsigned i = 0; i < units; i++)
        ss_region.words[unit + i] = SS_WORD_NONE;
    struct ss_superslab *ss = ss_superslab_at(unit / ss_region.ss_units);
    unsigned bit = unit % ss_region.ss_units;
    uint32_t mask = row_mask(bit, units);
    clean <<= bit;
    if (clean != 0)
        units_give(h, ss, clean, false);
    if (clean != mask)
        units_give(h, ss, mask & ~clean, true);
}

/* ---- On their way to the system. ---- */

/* Take rows of a superslab's bits out of its free units. */
static void superslab_claim(struct ss_heap *h, struct ss_superslab *ss, uint32_t bits,
                            struct ss_batch *b)
{
    while (bits != 0 && !ss_batch_full(b)) {
        unsigned bit = (unsigned)__builtin_ctz(bits);
        unsigned length = row_length(bits, bit);
        bits &= ~row_mask(bit, length);
        if (length < b->least)
            continue;
        bool untouched;
        unsigned units = (unsigned)HAK_MIN((size_t)length, b->want);
        size_t first = units_cut(h, ss, bit, units, &untouched);
        b->piece[b->n++] = (struct ss_piece){first, units, units, 0, 0};
        b->want -= units;
    }
}

static bool superslab_half_free(const struct ss_superslab *ss)
{
    return (unsigned)__builtin_popcount(ss->free) >= ss_region.ss_units / 2;
}

/* A huge page is kept whole until half of it is free. */
static bool superslab_keeps(const struct ss_superslab *ss)
{
    return !superslab_half_free(ss) && ss_huge_is(ss);
}

size_t ss_heap_kept_locked(struct ss_heap *h)
{
    size_t kept = 0;
    struct ss_superslab *ss = h->superslabs;
    for (bool once = ss != NULL; once; once = ss != h->superslabs) {
        if (superslab_keeps(ss))
            kept += (size_t)__builtin_popcount(ss->dirty);
        ss = ss->next;
    }
    return kept;
}

/* Of a tick's work none that became free during it. Superslabs that are half empty first: the
 * others are where the next slab is taken from. */
void ss_heap_claim_locked(struct ss_heap *h, struct ss_batch *b)
{
    os_lock_assert_held(&h->lock);
    for (unsigned pass = 0; pass < 2 && h->superslabs != NULL; pass++) {
        struct ss_superslab *ss = h->superslabs, *last = ss->prev;
        for (bool end = false; !end && !ss_batch_full(b);) {
            struct ss_superslab *next = ss->next;
            bool half = superslab_half_free(ss);
            end = ss == last;
            if (half == (pass == 0) && (b->all || !superslab_keeps(ss)))
                superslab_claim(h, ss, b->all || ss->tick != h->tick ? ss->dirty : ss->old, b);
            ss = next;
        }
    }
}

size_t ss_heap_return_locked(struct ss_heap *h, const struct ss_batch *b, unsigned done)
{
    size_t units = 0;
    for (unsigned i = 0; i < b->n; i++) {
        size_t first = b->piece[i].first;
        units += i < done ? b->piece[i].units : 0;
        units_give(h, ss_superslab_at(first / ss_region.ss_units),
                   row_mask(first % ss_region.ss_units, b->piece[i].units), i >= done);
    }
    return units << SS_UNIT_SHIFT;
}

/* ---- Full ones, that wait. ---- */

/* A huge page would fill them. */
static bool superslab_has_holes(const struct ss_superslab *ss)
{
    uint32_t holes = 0;
    for (unsigned i = 0; i < ss_region.ss_units; i++)
        holes |= ss_region.unit[superslab_first(ss) + i].slab.holes;
    return holes != 0;
}

struct ss_superslab *ss_full_take(struct ss_heap *h)
{
    os_lock(&h->lock);
    struct ss_superslab *ss = h->full;
    if (ss != NULL && h->tick - ss->tick >= SS_DECAY_TICKS) {
        superslab_remove(&h->full, ss);
        ss->waits = false;
        if (superslab_has_holes(ss)) {
            superslab_wait(h, ss);
            ss = NULL;
        }
    } else {
        ss = NULL;
    }
    os_unlock(&h->lock);
    return ss;
}

void ss_full_again(struct ss_heap *h, struct ss_superslab *ss)
{
    os_lock(&h->lock);
    os_lock(&ss_region.lock);
    bool own = ss->heap == h;
    os_unlock(&ss_region.lock);
    if (own && ss->free == 0 && !ss->waits)
        superslab_wait(h, ss);
    os_unlock(&h->lock);
}

static void superslabs_validate(struct ss_heap *h)
{
    size_t dirty = 0;
    struct ss_superslab *ss = h->superslabs;
    for (bool once = ss != NULL; once; once = ss != h->superslabs) {
        HAK_CHECK(ss->heap == h && ss->free != 0 && (ss->dirty & ~ss->free) == 0 &&
                      (ss->old & ~ss->dirty) == 0 && !ss->waits, /* S4 */
                  "superslab: superslab list is wrong");
        dirty += (size_t)__builtin_popcount(ss->dirty);
        ss = ss->next;
    }
    HAK_CHECK(dirty == h->dirty.units, "superslab: dirty units miscounted"); /* S6 */
    ss = h->full;
    for (bool once = ss != NULL; once; once = ss != h->full) {
        HAK_CHECK(ss->heap == h && ss->free == 0 && ss->waits, /* S4 */
                  "superslab: list of full superslabs is wrong");
        ss = ss->next;
    }
}

void ss_slabs_validate(struct ss_heap *h)
{
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        struct ss_slab *s = h->slabs[c];
        for (bool once = s != NULL; once; once = s != h->slabs[c]) {
            HAK_CHECK(s->class == c && s->heap == h->id, "superslab: slab on a foreign list");
            HAK_CHECK(s->carved == s->nfree + s->ngone + s->nout &&
                          s->carved <= s->blocks, /* S2 */
                      "superslab: slab counts do not add up");
            HAK_CHECK(ss_slab_has(s), "superslab: full slab on a list");              /* S3 */
            HAK_CHECK(s->nholes == 0 ? s->ngone == 0 : ss_holes_count(s) == s->ngone, /* S9 */
                      "superslab: blocks with holes miscounted");
            uint32_t n = 0;
            for (void *b = s->free; b != NULL && n <= s->nfree; b = ss_next(b))
                n++;
            HAK_CHECK(n == s->nfree, "superslab: slab's free list has the wrong length");
            for (unsigned i = 0; i < ss_classes[c].units; i++)
                HAK_CHECK(ss_region.words[ss_slab_unit(s) + i] ==
                              (h->id << SS_HEAP_SHIFT | i << SS_NTH_SHIFT |
                               c << SS_CLASS_SHIFT), /* S1 */
                          "superslab: slab's word is wrong");
            s = s->next;
        }
    }
    superslabs_validate(h);
}
