/* SPDX-License-Identifier: MIT
 *
 * superslab: the region. Addresses first, memory later.
 *
 * A window of addresses several times the machine's memory is reserved at start; pages become
 * usable ("committed") from the low end up in growing steps. Three tables cover the window, in a
 * reservation of their own, readable as a whole from the start, so that any address may be looked
 * up, and committed along with the units they speak of. What a short process touches lies together,
 * for it pays by the page and by the call:
 *
 *            <- superslabs | first records | words ->             words[units] | units ->
 *     - - - +--------------+---------------+--------+ - - - - - - - - - -+-----+--------+ - - -
 *           |                                       |                    |              |
 *     - - - +---------------------------------------+ - - - - - - - - - -+-----+--------+ - - -
 *
 * Where there are several nodes each has a part of the window for its own, with a frontier and tables
 * that grow on their own. So the system is told once, at the start, where the pages of each part
 * shall be, and has one mapping a part, not one wherever neighbours differ.
 *
 * Where addresses are rationed (RLIMIT_AS) the window is only a plan: it is reserved piece by
 * piece as it is needed, and the program keeps the rest.
 */
#include "base/hak_log.h"
#include "superslab/ss_internal.h"

#include <string.h>

static const uint32_t nothing[1] = {SS_WORD_NONE};
struct ss_map ss_map = {0, 0, nothing, false};
struct ss_region ss_region;

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

enum { FIRST_STEP = 2 * MIB / SS_UNIT };
enum { ALIGN = SS_RUN_ALIGN_MAX }; /* of the base: the largest superslab, and a huge page */

static struct {
    char *base;
    size_t bytes;
    size_t superslabs_end, meta_end, words, units; /* offsets from base */
    bool rationed;                                 /* RLIMIT_AS is set */
    bool asked, sparing; /* what is committed counts, touched or not: known once it was asked */
    bool named;          /* for /proc/PID/maps */
    size_t step;         /* units reserved at a time where rationed */
} plan;

static const char window_name[] = "hakmem";

static size_t pow2_up(uint64_t x)
{
    return x <= 1 ? 1 : (size_t)1 << (hak_log2(x - 1) + 1);
}

/* Where the kernel puts nothing by itself: between the program (low, or 0x55...) and the
 * libraries (0x7f...); a random place each run, as the kernel would choose. */
static char *window_hint(void)
{
    return (char *)(((uint64_t)1 << 44) + (os_random() % (1u << 20)) * ALIGN);
}

static size_t table_step(void)
{
    return HAK_MAX(os_page_size(), (size_t)SS_UNIT);
}

static void part_tables_plan(struct ss_part *p, size_t middle, size_t step)
{
    size_t end =
        plan.superslabs_end - p->first / ss_region.ss_units * sizeof(struct ss_superslab);
    size_t high = p->first == 0 ? middle : HAK_ALIGN_UP(end, step);
    size_t words =
        p->first == 0 ? middle : (plan.words + p->first * sizeof(uint32_t)) & ~(step - 1);
    size_t records = (plan.units + p->first * sizeof(union ss_unit)) & ~(step - 1);
    p->superslabs = (struct ss_extent){high, high};
    p->words = (struct ss_extent){words, words};
    p->records = (struct ss_extent){records, records};
    p->recorded = p->first;
}

static void tables_plan(size_t units)
{
    size_t step = table_step();
    size_t superslabs = (units / ss_region.ss_units + 1) * sizeof(struct ss_superslab);
    size_t middle = HAK_ALIGN_UP(superslabs, step); /* the first few share a page with meta */
    plan.superslabs_end = middle + HAK_ALIGN_UP(4 * sizeof(struct ss_superslab), HAK_LINE);
    plan.words = plan.meta_end = middle + step;
    plan.units = plan.words + HAK_ALIGN_UP((units + 1) * sizeof(uint32_t), HAK_LINE);
    plan.bytes = HAK_ALIGN_UP(plan.units + units * sizeof(union ss_unit), step);
    for (unsigned i = 0; i < ss_region.nparts; i++)
        part_tables_plan(&ss_region.part[i], middle, step);
}

/* The records of the parts; of one, next to what else a start writes to. */
static bool parts_make(void)
{
    static struct ss_part one;
    unsigned n = os_nnodes() + (os_nnodes() > 1 && ss_params.interleave_bytes != 0);
    ss_region.nnodes = os_nnodes();
    ss_region.node_ids = os_node_ids(0);
    if (n != ss_region.nparts) { /* else a start that comes again */
        size_t bytes = HAK_ALIGN_UP(n * sizeof(one), os_page_size());
        struct ss_part *part = n == 1 ? &one : os_map(bytes, os_page_size());
        if (part == NULL)
            return false;
        ss_region.part = part;
        ss_region.nparts = n;
    }
    return true;
}

/* Parts have one size, a power of two: so many there is room for. */
static unsigned slots_log2(void)
{
    return hak_log2(2 * ss_region.nparts - 1);
}

/* One a node, and one more where large runs are spread over all. */
static void parts_plan(size_t units)
{
    unsigned n = ss_region.nparts;
    ss_region.part_shift = n > 1 ? hak_log2(units) - slots_log2() : 63;
    for (unsigned i = 0; i < n; i++) {
        struct ss_part *p = &ss_region.part[i];
        p->first = p->committed = p->frontier = n > 1 ? (size_t)i << ss_region.part_shift : 0;
        p->end = n > 1 ? p->first + ((size_t)1 << ss_region.part_shift) : units;
    }
}

static void parts_place(void)
{
    for (unsigned i = 0; i < ss_region.nparts && os_node_places(); i++) {
        const struct ss_part *p = &ss_region.part[i];
        os_node_place(ss_unit_address(p->first), (p->end - p->first) << SS_UNIT_SHIFT,
                      i < os_nnodes() ? i : OS_NODES_ALL);
    }
}

/* Reserve the window, or its first piece, at an aligned base. */
static bool window_reserve(size_t bytes)
{
    size_t piece = plan.rationed ? plan.step << SS_UNIT_SHIFT : bytes + ALIGN;
    char *p = os_reserve(window_hint(), piece, plan.rationed);
    if (p == NULL)
        return false;
    ss_region.base = (char *)HAK_ALIGN_UP((uintptr_t)p, (size_t)ALIGN);
    ss_region.units = bytes >> SS_UNIT_SHIFT;
    ss_region.reserved = plan.rationed ? plan.step : ss_region.units;
    parts_plan(ss_region.units);
    tables_plan(ss_region.units);
    plan.base = os_reserve_readable(plan.bytes);
    if (plan.base == NULL) {
        os_unmap(p, piece);
        return false;
    }
    ss_huge_reserved(p, piece); /* all of it: a part would be a mapping of its own */
    parts_place();
    return true;
}

/* Widen a piece to hold [low, high): one call where it grows at one end, or is new. */
static bool extent_commit(struct ss_extent *e, size_t low, size_t high)
{
    size_t step = table_step();
    low = HAK_MIN(low & ~(step - 1), e->low);
    high = HAK_MAX(HAK_ALIGN_UP(high, step), e->high);
    size_t from = low < e->low ? low : e->high;
    size_t to = high > e->high ? high : e->low;
    size_t more = high - low - (e->high - e->low);
    if (!ss_held_take(more))
        return false;
    if (from < to && !os_commit(plan.base + from, to - from)) {
        ss_held_give(more);
        return false;
    }
    *e = (struct ss_extent){low, high};
    return true;
}

static bool tables_commit(struct ss_part *p, size_t upto)
{
    if (upto <= p->recorded)
        return true;
    size_t low =
        plan.superslabs_end - (upto / ss_region.ss_units + 1) * sizeof(struct ss_superslab);
    size_t high = plan.words + upto * sizeof(uint32_t);
    if (p->first > 0) {
        if (!extent_commit(&p->superslabs, low, p->superslabs.high))
            return false;
        low = plan.words + p->first * sizeof(uint32_t);
    }
    if (!extent_commit(&p->words, low, high) ||
        !extent_commit(&p->records, plan.units + p->first * sizeof(union ss_unit),
                       plan.units + upto * sizeof(union ss_unit)))
        return false;
    p->recorded = upto;
    return true;
}

static size_t extent_bytes(const struct ss_extent *e)
{
    return e->high - e->low;
}

size_t ss_tables_bytes(void)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < ss_region.nparts; i++) {
        const struct ss_part *p = &ss_region.part[i];
        bytes +=
            extent_bytes(&p->superslabs) + extent_bytes(&p->words) + extent_bytes(&p->records);
    }
    return bytes;
}

/* Units to commit at a time. A call stops the page faults of all threads, which may then wake up
 * on one CPU: 64 MiB. Where that would count against a limit, an eighth of what there is. The first
 * step is small, so that a short process need not ask. */
static size_t commit_step(const struct ss_part *p)
{
    enum { LEAST = 2 * MIB / SS_UNIT, MOST = 64 * MIB / SS_UNIT };
    size_t committed = p->committed - p->first;
    if (committed == 0)
        return FIRST_STEP;
    if (!plan.asked) {
        plan.sparing = os_commit_counts();
        plan.asked = true;
    }
    return plan.sparing ? HAK_MIN(HAK_MAX(committed / 8, (size_t)LEAST), (size_t)MOST) : MOST;
}

bool ss_region_init(void)
{
    uint64_t limit = os_address_limit();
    size_t most = (os_nnodes() > 1 ? 64 : 16) * 1024 * GIB; /* of 128 TiB there are */
    size_t bytes = HAK_MIN(HAK_MAX(pow2_up(os_ram_bytes()) * 8, 64 * GIB), most);
    plan.rationed = limit != UINT64_MAX;
    if (!parts_make())
        return false;
    size_t least = 64 * MIB << slots_log2();
    if (plan.rationed) {
        bytes = HAK_MIN(bytes, HAK_MAX(pow2_up(limit) * 2, least));
        plan.step = HAK_ALIGN_UP(HAK_MIN(limit / 64, 256 * MIB) + 1, (size_t)ALIGN) / SS_UNIT;
    }
    ss_region.ss_units = (unsigned)(ss_params.superslab_bytes / SS_UNIT);
    ss_region.ss_mask = UINT32_MAX >> (32 - ss_region.ss_units);
    while (!window_reserve(bytes)) {
        if (bytes == least)
            return false;
        bytes = HAK_MAX(bytes / 2, least);
    }
    ss_region.words = (uint32_t *)(void *)(plan.base + plan.words);
    ss_region.unit = (union ss_unit *)(void *)(plan.base + plan.units);
    ss_region.superslab = (struct ss_superslab *)(void *)(plan.base + plan.superslabs_end);
    /* Next to every process needs the first pieces. The word of foreign addresses is written, not
     * only read, or its page would be had twice: as a page of zeros, then as one of its own. */
    if (tables_commit(&ss_region.part[0], ss_region.ss_units))
        *(volatile uint32_t *)&ss_region.words[ss_region.units] = SS_WORD_NONE;
    ss_map.words = ss_region.words;
    ss_map.base = (uintptr_t)ss_region.base;
    ss_map.units = ss_region.units;
    ss_map.many_nodes = ss_region.nnodes > 1;
    hak_log(HAK_LOG_INFO, "region: %S of addresses at %p%s", bytes, (void *)ss_region.base,
            plan.rationed ? ", reserved piece by piece under RLIMIT_AS" : "");
    return true;
}

static bool reserve_upto(size_t upto)
{
    while (ss_region.reserved < upto) {
        size_t left = ss_region.units - ss_region.reserved;
        size_t least = HAK_MIN(HAK_ALIGN_UP(upto - ss_region.reserved, 32u), left);
        size_t step = HAK_MIN(HAK_MAX(plan.step, least), left);
        char *at = ss_unit_address(ss_region.reserved);
        while (os_reserve(at, step << SS_UNIT_SHIFT, true) == NULL) {
            if (step <= least)
                return false;
            step = HAK_MAX(step / 2, least);
        }
        ss_huge_reserved(at, step << SS_UNIT_SHIFT);
        if (plan.named)
            os_name(at, step << SS_UNIT_SHIFT, window_name);
        ss_region.reserved += step;
    }
    return true;
}

static bool commit_exactly(struct ss_part *p, size_t upto)
{
    size_t from = p->committed;
    if (!reserve_upto(upto) || !tables_commit(p, upto) ||
        !os_commit(ss_unit_address(from), (upto - from) << SS_UNIT_SHIFT))
        return false;
    p->committed = upto;
    return true;
}

/* Not at the start: a short process pays for each call. */
static void region_name(void)
{
    os_name(ss_region.base, ss_region.reserved << SS_UNIT_SHIFT, window_name);
    os_name_records(plan.base, plan.bytes);
    plan.named = true;
}

bool ss_region_commit_locked(struct ss_part *p, size_t upto)
{
    os_lock_assert_held(&ss_region.lock);
    if (upto <= p->committed)
        return true;
    if (upto > p->end)
        return false;
    /* Where a whole step is refused, what is needed and no more. */
    size_t generous = HAK_MIN(HAK_MAX(upto, p->committed + commit_step(p)), p->end);
    bool ok = commit_exactly(p, generous) || commit_exactly(p, upto);
    if (p->committed - p->first > FIRST_STEP && !plan.named)
        region_name();
    hak_log(HAK_LOG_DEBUG, "region: %S committed%s", (p->committed - p->first) << SS_UNIT_SHIFT,
            ok ? "" : ", more is refused");
    return ok;
}

/* First what lies between the tables: the first heap comes before its first superslab, but not
 * long. Then chunks that double, so that ten thousand caches are a dozen mappings, not hundreds. */
static void meta_grow_locked(size_t bytes)
{
    size_t first = plan.meta_end - plan.superslabs_end;
    if (ss_region.meta == NULL && bytes <= first &&
        tables_commit(&ss_region.part[0], ss_region.ss_units)) {
        ss_region.meta = plan.base + plan.superslabs_end;
        ss_region.meta_end = plan.base + plan.meta_end;
        return;
    }
    size_t least = HAK_ALIGN_UP(bytes, HAK_MAX(os_page_size(), (size_t)SS_UNIT));
    size_t chunk = HAK_MAX(HAK_ALIGN_UP(ss_region.meta_bytes, (size_t)SS_UNIT), 4 * least);
    char *p = os_map(chunk, os_page_size());
    if (p == NULL)
        p = os_map(chunk = least, os_page_size());
    if (p != NULL) {
        os_name_records(p, chunk);
        ss_region.meta = p;
        ss_region.meta_end = p + chunk;
    }
}

void *ss_meta_alloc(size_t bytes)
{
    bytes = HAK_ALIGN_UP(bytes, (size_t)HAK_LINE);
    void *p = NULL;
    if (!ss_held_take(bytes))
        return NULL;
    os_lock(&ss_region.lock);
    if ((size_t)(ss_region.meta_end - ss_region.meta) < bytes)
        meta_grow_locked(bytes);
    if ((size_t)(ss_region.meta_end - ss_region.meta) >= bytes) {
        p = ss_region.meta;
        ss_region.meta += bytes;
        ss_region.meta_bytes += bytes;
    }
    os_unlock(&ss_region.lock);
    if (p == NULL)
        ss_held_give(bytes);
    return p;
}

void ss_region_stats(struct ss_region_stats *out)
{
    os_lock(&ss_region.lock);
    *out = (struct ss_region_stats){
        .reserved_bytes = ss_region.reserved << SS_UNIT_SHIFT,
        .purges = atomic_load_explicit(&ss_region.purges, memory_order_relaxed),
        .purged_bytes = atomic_load_explicit(&ss_region.purged_bytes, memory_order_relaxed),
        .grown = ss_region.grown,
        .huge_bytes = atomic_load_explicit(&ss_region.huge, memory_order_relaxed) *
                      ss_params.superslab_bytes,
        .meta_bytes = ss_region.meta_bytes,
    };
    for (unsigned i = 0; i < ss_region.nparts; i++) {
        const struct ss_part *p = &ss_region.part[i];
        out->committed_bytes += (p->committed - p->first) << SS_UNIT_SHIFT;
        out->dirty_bytes += p->dirty.units << SS_UNIT_SHIFT;
        out->run_bytes += p->run_bytes;
        out->pooled_superslabs += p->pool.count;
    }
    os_unlock(&ss_region.lock);
}

static void heap_add(const struct ss_heap_stats *h, struct ss_node_stats *out)
{
    out->heaps++;
    out->dirty_bytes += h->dirty_bytes;
    for (unsigned class = 0; class < SS_NCLASS; class ++)
        out->block_bytes += h->out[class] * ss_classes[class].size;
}

bool ss_node_stats(unsigned node, struct ss_node_stats *out)
{
    unsigned part = node == SS_NODE_SPREAD ? os_nnodes() : node;
    *out = (struct ss_node_stats){0};
    if (part >= ss_region.nparts)
        return false;
    for (unsigned id = 1; id <= ss_nheaps(); id++) {
        struct ss_heap_stats copy;
        ss_heap_stats(ss_heap_by_id(id), &copy);
        if (ss_heap_by_id(id)->node == part)
            heap_add(&copy, out);
    }
    const struct ss_part *p = &ss_region.part[part];
    os_lock(&ss_region.lock);
    out->first = ss_unit_address(p->first);
    out->bytes = (p->frontier - p->first) << SS_UNIT_SHIFT;
    out->run_bytes = p->run_bytes;
    out->dirty_bytes += p->dirty.units << SS_UNIT_SHIFT;
    os_unlock(&ss_region.lock);
    return true;
}

bool ss_init(void)
{
    ss_classes_init();
    return ss_region_init();
}
