/* SPDX-License-Identifier: MIT
 *
 * superslab: runs of whole units. Best fit with immediate coalescing (Knuth, TAOCP vol. 1, 2.5).
 *
 * Free runs hang in bins by size: one bin a size up to 32 units, then four a doubling. A search
 * starts in the bin of the size asked for and looks at a bounded number of runs in each bin, so
 * it costs O(bins); within that bound the smallest run that fits is taken. What is free nowhere
 * is cut from the frontier.
 */
#include "base/hak_log.h"
#include "superslab/ss_internal.h"

enum {
    EXACT = 32,
    NBINS = SS_RUN_BINS,
    LOOK = 32, /* runs looked at in one bin */
};

static unsigned bin_of(size_t units)
{
    if (units <= EXACT)
        return (unsigned)units - 1;
    unsigned k = hak_log2(units);
    unsigned bin = EXACT + (k - 5) * 4 + ((unsigned)(units >> (k - 2)) & 3);
    return HAK_MIN(bin, (unsigned)NBINS - 1);
}

/* First bin in use from `bin` on; NBINS: none. */
static unsigned bin_next(const struct ss_part *p, unsigned bin)
{
    if (bin >= NBINS)
        return NBINS;
    for (unsigned w = bin / 64; w < NBINS / 64; w++) {
        uint64_t used =
            p->bins_used[w] & (w == bin / 64 ? UINT64_MAX << (bin % 64) : UINT64_MAX);
        if (used != 0)
            return w * 64 + (unsigned)__builtin_ctzll(used);
    }
    return NBINS;
}

static size_t run_first(const struct ss_run *r)
{
    return (size_t)((const union ss_unit *)(const void *)r - ss_region.unit);
}

/* Enter a free run; its neighbours are not free. */
static void run_link(struct ss_part *p, size_t first, size_t units, uint32_t dirty,
                     uint32_t clean, uint32_t tick)
{
    struct ss_run *r = &ss_region.unit[first].run;
    struct ss_run *last = &ss_region.unit[first + units - 1].run;
    *last = (struct ss_run){.kind = SS_KIND_FREE_RUN, .units = (uint32_t)units};
    *r = (struct ss_run){.kind = SS_KIND_FREE_RUN,
                         .units = (uint32_t)units,
                         .dirty = dirty,
                         .clean = clean,
                         .tick = tick};
    p->free_units += units;
    unsigned bin = bin_of(units);
    struct ss_run *head = p->bins[bin];
    if (head == NULL) {
        r->next = r->prev = r;
    } else {
        r->next = head;
        r->prev = head->prev;
        r->next->prev = r->prev->next = r;
    }
    p->bins[bin] = r;
    p->bins_used[bin / 64] |= (uint64_t)1 << (bin % 64);
}

static void run_unlink(struct ss_part *p, struct ss_run *r)
{
    p->free_units -= r->units;
    unsigned bin = bin_of(r->units);
    struct ss_run *next = r->next != r ? r->next : NULL;
    r->prev->next = r->next;
    r->next->prev = r->prev;
    if (p->bins[bin] == r)
        p->bins[bin] = next;
    if (p->bins[bin] == NULL)
        p->bins_used[bin / 64] &= ~((uint64_t)1 << (bin % 64));
    r->kind = SS_KIND_USED;
    ss_region.unit[run_first(r) + r->units - 1].run.kind = SS_KIND_USED;
}

/* A run joins its free neighbours, and is as old as that part of it that has most dirty units. */
void ss_run_give_locked(size_t first, size_t units, uint32_t dirty)
{
    os_lock_assert_held(&ss_region.lock);
    struct ss_part *p = ss_part_of(first);
    ss_ledger_add(&p->dirty, dirty);
    uint32_t tick = ss_region.tick, most = dirty, clean = dirty == 0 ? (uint32_t)units : 0;
    if (first > p->first && ss_region.unit[first - 1].run.kind == SS_KIND_FREE_RUN) {
        struct ss_run *before =
            &ss_region.unit[first - ss_region.unit[first - 1].run.units].run;
        run_unlink(p, before);
        first -= before->units;
        units += before->units;
        dirty += before->dirty;
        clean = before->clean + (before->clean == before->units ? clean : 0);
        tick = before->dirty > most ? before->tick : tick;
        most = HAK_MAX(most, before->dirty);
    }
    if (first + units < p->frontier &&
        ss_region.unit[first + units].run.kind == SS_KIND_FREE_RUN) {
        struct ss_run *after = &ss_region.unit[first + units].run;
        run_unlink(p, after);
        clean += clean == units ? after->clean : 0;
        units += after->units;
        dirty += after->dirty;
        tick = after->dirty > most ? after->tick : tick;
    }
    run_link(p, first, units, dirty, clean, tick);
}

/* The part [start, end) of a free run that was at first. Where a run is dirty in part nobody knows
 * which part of it is, beyond the clean front: each piece is as dirty as it can be. */
static uint32_t part_clean(const struct ss_run *r, size_t first, size_t start, size_t end)
{
    return (uint32_t)HAK_MIN(first + r->clean > start ? first + r->clean - start : 0,
                             end - start);
}

static uint32_t part_dirty(const struct ss_run *r, size_t first, size_t start, size_t end)
{
    return (uint32_t)HAK_MIN((size_t)r->dirty, end - start - part_clean(r, first, start, end));
}

static void part_link(struct ss_part *p, const struct ss_run *r, size_t first, size_t start,
                      size_t end)
{
    if (start == end)
        return;
    uint32_t dirty = part_dirty(r, first, start, end);
    ss_ledger_add(&p->dirty, dirty);
    run_link(p, start, end - start, dirty, part_clean(r, first, start, end), r->tick);
}

/* Cut [start, start + units) out of a free run, and give back what is left on either side. Returns
 * how many of the units cut may hold pages. */
static uint32_t run_cut(struct ss_part *p, struct ss_run *free_run, size_t start, size_t units)
{
    struct ss_run r = *free_run;
    size_t first = run_first(free_run);
    run_unlink(p, free_run);
    part_link(p, &r, first, first, start);
    part_link(p, &r, first, start + units, first + r.units);
    ss_ledger_sub(&p->dirty, r.dirty); /* last: what was free stays so */
    return part_dirty(&r, first, start, start + units);
}

/* Count (S8) [start, start + units), which begins inside the free run r, or at the frontier (NULL),
 * before it is cut. As a superslab's, clean ones count later. Returns bytes, which `false` from
 * ss_held_take refuses. */
static size_t run_cost(const struct ss_run *r, size_t start, size_t units, bool as_superslab)
{
    if (r == NULL)
        return as_superslab ? 0 : units << SS_UNIT_SHIFT;
    size_t first = run_first(r), end = first + r->units, stop = HAK_MIN(start + units, end);
    if (as_superslab && part_dirty(r, first, start, stop) == 0)
        return 0;
    return (units + part_dirty(r, first, first, start) + part_dirty(r, first, stop, end) -
            r->dirty)
           << SS_UNIT_SHIFT;
}

static bool run_fits(const struct ss_run *r, size_t units, size_t align_units)
{
    size_t first = run_first(r);
    return HAK_ALIGN_UP(first, align_units) + units <= first + r->units;
}

static struct ss_run *run_search(const struct ss_part *p, size_t units, size_t align_units)
{
    for (unsigned bin = bin_next(p, bin_of(units)); bin < NBINS; bin = bin_next(p, bin + 1)) {
        struct ss_run *best = NULL;
        struct ss_run *r = p->bins[bin];
        for (unsigned i = 0; i < LOOK; i++) {
            if (run_fits(r, units, align_units) && (best == NULL || r->units < best->units))
                best = r;
            r = r->next;
            if (r == p->bins[bin])
                break;
        }
        if (best != NULL)
            return best;
    }
    return NULL;
}

/* From the frontier, using the free run that ends there, if one does. */
static size_t run_extend_frontier(struct ss_part *p, size_t units, size_t align_units,
                                  bool as_superslab, uint32_t *dirty)
{
    size_t first = p->frontier;
    struct ss_run *last = first > p->first ? &ss_region.unit[first - 1].run : NULL;
    struct ss_run *r = NULL;
    if (last != NULL && last->kind == SS_KIND_FREE_RUN) {
        r = &ss_region.unit[first - last->units].run;
        first = run_first(r);
    }
    size_t start = HAK_ALIGN_UP(first, align_units), old = p->frontier;
    if (units > p->end || start + units > p->end)
        return SS_UNIT_NONE;
    size_t cost = run_cost(start < old ? r : NULL, start, units, as_superslab);
    if (!ss_held_take(cost))
        return SS_UNIT_NONE;
    if (!ss_region_commit_locked(p, start + units)) {
        ss_held_give(cost);
        return SS_UNIT_NONE;
    }
    p->frontier = HAK_MAX(old, start + units);
    if (r != NULL && start < old) {
        *dirty = run_cut(p, r, start, HAK_MIN(old - start, units));
    } else if (start > old) {
        ss_run_give_locked(old, start - old, 0);
    }
    ss_huge_note_locked();
    return start;
}

size_t ss_run_take_locked(struct ss_part *p, size_t units, size_t align_units,
                          bool as_superslab, uint32_t *dirty)
{
    os_lock_assert_held(&ss_region.lock);
    *dirty = 0;
    struct ss_run *r = run_search(p, units, align_units);
    size_t start;
    if (r != NULL) {
        start = HAK_ALIGN_UP(run_first(r), align_units);
        if (!ss_held_take(run_cost(r, start, units, as_superslab)))
            return SS_UNIT_NONE;
        *dirty = run_cut(p, r, start, units);
    } else {
        start = run_extend_frontier(p, units, align_units, as_superslab, dirty);
        if (start == SS_UNIT_NONE)
            return start;
    }
    ss_region.unit[start].run.kind = SS_KIND_USED;
    ss_region.unit[start + units - 1].run.kind = SS_KIND_USED;
    return start;
}

/* ---- Runs given out that wait to be looked at for huge pages. ---- */

static void run_wait(struct ss_run *r)
{
    struct ss_run *head = ss_region.full;
    r->waits = r->units >= ss_region.ss_units;
    if (!r->waits)
        return;
    r->tick = ss_region.tick;
    r->next = head != NULL ? head : r;
    r->prev = head != NULL ? head->prev : r;
    r->next->prev = r->prev->next = r;
    if (head == NULL)
        ss_region.full = r;
}

static void run_wait_no_more(struct ss_run *r)
{
    struct ss_run *next = r->next != r ? r->next : NULL;
    if (!r->waits)
        return;
    r->waits = false;
    r->prev->next = r->next;
    r->next->prev = r->prev;
    if (ss_region.full == r)
        ss_region.full = next;
}

size_t ss_run_full_take(size_t *first)
{
    size_t units = 0;
    os_lock(&ss_region.lock);
    struct ss_run *r = ss_region.full;
    if (r != NULL && ss_region.tick - r->tick >= SS_DECAY_TICKS) {
        run_wait_no_more(r);
        *first = run_first(r);
        units = r->units;
    }
    os_unlock(&ss_region.lock);
    return units;
}

void ss_run_full_again(size_t first)
{
    struct ss_run *r = &ss_region.unit[first].run;
    os_lock(&ss_region.lock);
    if (ss_region.words[first] == SS_WORD_RUN && !r->waits) /* perhaps another by now */
        run_wait(r);
    os_unlock(&ss_region.lock);
}

/* ---- Runs. ---- */

static void run_words_set(size_t first, size_t units, uint32_t word)
{
    for (size_t u = first; u < first + units; u++)
        ss_region.words[u] = word;
}

/* Where a run comes from: the calling thread's node, or the part that is spread over all. */
static unsigned run_part(size_t units)
{
    if (HAK_LIKELY(ss_region.nparts == 1))
        return 0;
    bool spread =
        ss_params.interleave_bytes != 0 && units >= ss_params.interleave_bytes >> SS_UNIT_SHIFT;
    return spread ? ss_region.nparts - 1 : os_node();
}

void *ss_run_alloc(size_t units, size_t align, bool *zero)
{
    HAK_ASSERT(align <= SS_RUN_ALIGN_MAX);
    uint32_t dirty = 0;
    size_t start, align_units = HAK_MAX(align >> SS_UNIT_SHIFT, (size_t)1);
    unsigned first = run_part(units);
    struct ss_part *p = &ss_region.part[first], *next = p;
    os_lock(&ss_region.lock);
    do {
        p = next;
        start = ss_run_take_locked(p, units, align_units, false, &dirty);
    } while (HAK_UNLIKELY(start == SS_UNIT_NONE) &&
             (next = ss_part_after(p, units + align_units, first)) != NULL);
    if (start != SS_UNIT_NONE) {
        ss_region.unit[start].run.units = (uint32_t)units;
        run_wait(&ss_region.unit[start].run);
        ss_region.words[start] = SS_WORD_RUN;
        run_words_set(start + 1, units - 1, SS_WORD_RUN_MORE);
        p->run_bytes += units << SS_UNIT_SHIFT;
    }
    os_unlock(&ss_region.lock);
    *zero = dirty == 0 && !ss_params.purge_lazily;
    return start != SS_UNIT_NONE ? ss_unit_address(start) : NULL;
}

size_t ss_run_units(const void *p)
{
    return ss_region.unit[ss_unit_of(p)].run.units;
}

void ss_run_free(void *p)
{
    size_t first = ss_unit_of(p);
    os_lock(&ss_region.lock);
    HAK_CHECK_POINTER(ss_region.words[first] == SS_WORD_RUN, "large: block freed twice", p);
    size_t units = ss_region.unit[first].run.units;
    run_wait_no_more(&ss_region.unit[first].run);
    run_words_set(first, units, SS_WORD_NONE);
    ss_part_of(first)->run_bytes -= units << SS_UNIT_SHIFT;
    ss_run_give_locked(first, units, (uint32_t)units);
    ss_region.ops++;
    os_unlock(&ss_region.lock);
}

static void run_shrink_locked(size_t first, size_t old, size_t units)
{
    run_words_set(first + units, old - units, SS_WORD_NONE);
    ss_region.unit[first + units - 1].run.kind = SS_KIND_USED;
    ss_run_give_locked(first + units, old - units, (uint32_t)(old - units));
}

/* Grow by the free run behind, by the frontier, or by both. */
static bool run_grow_locked(size_t first, size_t old, size_t units)
{
    size_t end = first + old;
    size_t need = units - old;
    struct ss_part *p = ss_part_of(first);
    struct ss_run *after = NULL;
    size_t have = 0;
    if (end < p->frontier && ss_region.unit[end].run.kind == SS_KIND_FREE_RUN) {
        after = &ss_region.unit[end].run;
        have = after->units;
    }
    if (have < need && (end + have != p->frontier || first + units > p->end))
        return false;
    size_t cost = run_cost(after, end, need, false);
    if (!ss_held_take(cost))
        return false;
    if (have < need && !ss_region_commit_locked(p, first + units)) {
        ss_held_give(cost);
        return false;
    }
    p->frontier = HAK_MAX(p->frontier, first + units);
    if (after != NULL)
        (void)run_cut(p, after, end, HAK_MIN(have, need));
    run_words_set(end, need, SS_WORD_RUN_MORE);
    ss_region.unit[first + units - 1].run.kind = SS_KIND_USED;
    return true;
}

bool ss_run_resize(void *p, size_t units)
{
    size_t first = ss_unit_of(p);
    os_lock(&ss_region.lock);
    size_t old = ss_region.unit[first].run.units;
    bool ok = true;
    if (units < old)
        run_shrink_locked(first, old, units);
    else if (units > old)
        ok = run_grow_locked(first, old, units);
    if (ok) {
        ss_region.unit[first].run.units = (uint32_t)units;
        if (!ss_region.unit[first].run.waits)
            run_wait(&ss_region.unit[first].run);
        ss_part_of(first)->run_bytes += (units - old) << SS_UNIT_SHIFT;
    }
    os_unlock(&ss_region.lock);
    return ok;
}

/* ---- On their way to the system. ---- */

/* What [start, end) of a free run counts for more once it is cut out (S8), in bytes. */
static size_t claim_cost(const struct ss_run *r, size_t start, size_t end)
{
    size_t first = run_first(r);
    return (size_t)(part_dirty(r, first, first, start) + part_dirty(r, first, start, end) +
                    part_dirty(r, first, end, first + r->units) - r->dirty)
           << SS_UNIT_SHIFT;
}

/* Take what a run has behind its clean front out of the free ones, or no more than is wanted where all
 * of it is dirty. */
static void run_claim(struct ss_part *p, struct ss_run *r, struct ss_batch *b)
{
    const size_t first = run_first(r) + r->clean, last = run_first(r) + r->units;
    size_t start = first, end = last;
    if (!b->all)
        ss_huge_trim(&start, &end);
    if (end - start < b->least)
        return;
    if (!ss_held_take(claim_cost(r, start, end))) {
        start = first; /* at the limit memory is wanted more than huge pages */
        end = last;
    }
    size_t units = end - start;
    if (r->dirty == last - first)
        units = HAK_MIN(units, b->want);
    uint32_t dirty = run_cut(p, r, start, units);
    ss_region.unit[start].run.kind = SS_KIND_USED;
    ss_region.unit[start + units - 1].run.kind = SS_KIND_USED;
    b->piece[b->n++] = (struct ss_piece){start, (uint32_t)units, dirty, 0, 0};
    b->want -= HAK_MIN((size_t)dirty, b->want);
}

static size_t run_kept(const struct ss_run *r)
{
    size_t start = run_first(r) + r->clean, end = run_first(r) + r->units, units = end - start;
    ss_huge_trim(&start, &end);
    return HAK_MIN(units - (end - start), (size_t)r->dirty);
}

size_t ss_runs_kept_locked(struct ss_part *p)
{
    size_t kept = 0;
    if (!ss_huge_any())
        return 0;
    for (unsigned bin = bin_next(p, 0); bin < NBINS; bin = bin_next(p, bin + 1)) {
        struct ss_run *r = p->bins[bin];
        for (bool once = true; once; once = r != p->bins[bin]) {
            kept += r->dirty > 0 ? run_kept(r) : 0;
            r = r->next;
        }
    }
    return kept;
}

static void bin_claim(struct ss_part *p, unsigned bin, uint32_t age, struct ss_batch *b)
{
    struct ss_run *r = p->bins[bin], *last = r->prev;
    for (bool end = false; !end && !ss_batch_full(b);) {
        struct ss_run *next = r->next;
        end = r == last;
        if (r->dirty > 0 && ss_region.tick - r->tick >= age)
            run_claim(p, r, b);
        r = next;
    }
}

/* Empty superslabs go the same way, and come back as free runs. */
static void pool_claim(struct ss_part *p, uint32_t age, struct ss_batch *b)
{
    struct ss_superslab **at = &p->pool.head;
    while (*at != NULL && !ss_batch_full(b)) {
        struct ss_superslab *ss = *at;
        uint32_t dirty = (uint32_t)__builtin_popcount(ss->dirty);
        if (dirty == 0 || ss_region.tick - ss->tick < age) {
            at = &ss->next;
            continue;
        }
        *at = ss->next;
        p->pool.count--;
        ss_ledger_sub(&p->dirty, dirty);
        b->piece[b->n++] = (struct ss_piece){ss_superslab_index(ss) * ss_region.ss_units,
                                             ss_region.ss_units, dirty, 0, 0};
        b->want -= HAK_MIN((size_t)dirty, b->want);
    }
}

/* The oldest first; of a tick's work none that became free during it. */
void ss_runs_claim_locked(struct ss_part *p, struct ss_batch *b)
{
    os_lock_assert_held(&ss_region.lock);
    for (uint32_t age = b->all ? 0 : SS_DECAY_TICKS / 2;; age = 1) {
        for (unsigned bin = bin_next(p, bin_of(b->least)); bin < NBINS;
             bin = bin_next(p, bin + 1))
            bin_claim(p, bin, age, b);
        pool_claim(p, age, b);
        if (age <= 1)
            break;
    }
}

size_t ss_runs_return_locked(const struct ss_batch *b, unsigned done)
{
    size_t units = 0;
    for (unsigned i = 0; i < b->n; i++) {
        units += i < done ? b->piece[i].dirty : 0;
        ss_run_give_locked(b->piece[i].first, b->piece[i].units,
                           i < done ? 0 : b->piece[i].dirty);
    }
    return units << SS_UNIT_SHIFT;
}

static void runs_full_validate(void)
{
    struct ss_run *r = ss_region.full;
    for (bool once = r != NULL; once; once = r != ss_region.full) {
        HAK_CHECK(r->waits && ss_region.words[run_first(r)] == SS_WORD_RUN,
                  "superslab: list of waiting runs is wrong");
        r = r->next;
    }
}

static void part_validate(const struct ss_part *p)
{
    HAK_CHECK(p->first <= p->frontier && p->frontier <= p->committed && p->committed <= p->end,
              "superslab: part out of order"); /* S10 */
    for (unsigned bin = 0; bin < NBINS; bin++) {
        struct ss_run *r = p->bins[bin];
        HAK_CHECK((r != NULL) == ((p->bins_used[bin / 64] >> (bin % 64) & 1) != 0),
                  "superslab: bin bitmap disagrees with its list");
        for (bool once = r != NULL; once; once = r != p->bins[bin]) {
            size_t first = run_first(r);
            size_t end = first + r->units;
            HAK_CHECK(r->kind == SS_KIND_FREE_RUN && bin_of(r->units) == bin &&
                          r->dirty + r->clean <= r->units && first >= p->first &&
                          end <= p->frontier,
                      "superslab: free run out of order");
            HAK_CHECK(ss_region.unit[end - 1].run.units == r->units || r->units == 1,
                      "superslab: free run's ends disagree");
            HAK_CHECK(end == p->frontier || ss_region.unit[end].run.kind != SS_KIND_FREE_RUN,
                      "superslab: two free runs touch"); /* S5 */
            for (size_t u = first; u < end; u++)
                HAK_CHECK(ss_region.words[u] == SS_WORD_NONE,
                          "superslab: free unit has a word");
            r = r->next;
        }
    }
}

/* S5, and that bins, records and words agree. Lock held. */
void ss_runs_validate(void)
{
    runs_full_validate();
    for (unsigned i = 0; i < ss_region.nparts; i++)
        part_validate(&ss_region.part[i]);
}
