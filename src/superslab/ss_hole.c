/* SPDX-License-Identifier: MIT
 *
 * superslab: holes, pages of slabs in use that hold no block and have gone back.
 *
 * A few blocks that stay would hold their whole slab otherwise: one in fifty holds nearly all memory of
 * a peak. Blocks whose pages are gone cannot be linked through their first words; they are known by
 * the holes they touch (S9). They are handed out again page by page, after what the slab has in its
 * list and before what was never cut. doc/why/008-holes.md.
 */
#include "superslab/ss_internal.h"

enum {
    BLOCKS_MAX = SS_UNIT / 16,
    PAGES_MAX = SS_SUPERSLAB_MAX / 4096,
    WORD = 64,
};

static unsigned unit_pages(void)
{
    return (unsigned)(SS_UNIT / os_page_size());
}

static uint32_t slab_pages(const struct ss_slab *s)
{
    return ss_classes[s->class].units * unit_pages();
}

static uint32_t slab_size(const struct ss_slab *s)
{
    return ss_classes[s->class].size;
}

/* The holes of the page's unit. */
static uint16_t *holes_of(struct ss_slab *s, uint32_t page)
{
    return &((union ss_unit *)(void *)s)[page / unit_pages()].slab.holes;
}

static bool is_hole(struct ss_slab *s, uint32_t page)
{
    return (*holes_of(s, page) >> page % unit_pages() & 1) != 0;
}

static void hole_flip(struct ss_slab *s, uint32_t page)
{
    *holes_of(s, page) ^= (uint16_t)(1u << page % unit_pages());
}

/* ---- Blocks and pages. ---- */

/* Blocks first .. end - 1 of those that were ever cut. */
struct blocks {
    uint32_t first, end;
};

static struct blocks blocks_on(const struct ss_slab *s, uint32_t page, uint32_t pages)
{
    size_t from = page * os_page_size(), to = from + pages * os_page_size(),
           size = slab_size(s);
    uint32_t end = (uint32_t)HAK_MIN((to + size - 1) / size, (size_t)s->carved);
    return (struct blocks){HAK_MIN((uint32_t)(from / size), end), end};
}

/* Pages first .. last. */
struct pages {
    uint32_t first, last;
};

static struct pages pages_under(const struct ss_slab *s, uint32_t block)
{
    size_t at = (size_t)block * slab_size(s), last = at + slab_size(s) - 1;
    return (struct pages){(uint32_t)(at / os_page_size()), (uint32_t)(last / os_page_size())};
}

static bool touches_hole(struct ss_slab *s, uint32_t block)
{
    struct pages under = pages_under(s, block);
    for (uint32_t page = under.first; page <= under.last; page++)
        if (is_hole(s, page))
            return true;
    return false;
}

static bool bit(const uint64_t *bits, uint32_t i)
{
    return (bits[i / WORD] >> i % WORD & 1) != 0;
}

static void bit_set(uint64_t *bits, uint32_t i)
{
    bits[i / WORD] |= (uint64_t)1 << i % WORD;
}

static uint32_t block_index(const struct ss_slab *s, const void *block)
{
    return (uint32_t)((size_t)((const char *)block - ss_unit_address(ss_slab_unit(s))) /
                      slab_size(s));
}

static void *block_at(const struct ss_slab *s, uint32_t i)
{
    return ss_unit_address(ss_slab_unit(s)) + (size_t)i * slab_size(s);
}

/* ---- Making holes. ---- */

/* Which of the blocks ever cut are not in use. */
static void idle_blocks(struct ss_slab *s, uint64_t *idle)
{
    for (const void *b = s->free; b != NULL; b = ss_next(b))
        bit_set(idle, block_index(s, b));
    for (uint32_t page = 0; s->ngone > 0 && page < slab_pages(s); page++) {
        struct blocks on = blocks_on(s, page, 1);
        for (uint32_t i = on.first; is_hole(s, page) && i < on.end; i++)
            bit_set(idle, i);
    }
}

/* May hold memory that nobody uses. */
static bool page_is_idle(struct ss_slab *s, uint32_t page, const uint64_t *idle)
{
    struct blocks on = blocks_on(s, page, 1);
    if (is_hole(s, page) || (on.first == on.end && s->zero)) /* never touched */
        return false;
    for (uint32_t i = on.first; i < on.end; i++)
        if (!bit(idle, i))
            return false;
    return true;
}

/* Rows of idle pages, each within a unit, become pieces. false: the batch has no room for all. */
static bool pages_claim(struct ss_slab *s, const uint64_t *pages, struct ss_batch *b)
{
    unsigned n = b->n;
    size_t unit = ss_slab_unit(s);
    for (uint32_t page = 0; page < slab_pages(s); page++) {
        if (!bit(pages, page))
            continue;
        bool more = page % unit_pages() != 0 && page > 0 && bit(pages, page - 1);
        if (!more && n == SS_BATCH_PIECES)
            return false;
        if (!more)
            b->piece[n++] = (struct ss_piece){.first = unit + page / unit_pages(),
                                              .page = (uint16_t)(page % unit_pages())};
        b->piece[n - 1].pages++;
    }
    b->n = n;
    return true;
}

/* Blocks that touch these pages leave the free list. */
static void free_list_filter(struct ss_slab *s, const uint64_t *pages)
{
    void *kept = NULL, *next;
    for (void *b = s->free; b != NULL; b = next) {
        next = ss_next(b);
        struct pages under = pages_under(s, block_index(s, b));
        bool gone = false;
        for (uint32_t page = under.first; page <= under.last; page++)
            gone |= bit(pages, page);
        if (gone) {
            s->nfree--;
            s->ngone++;
        } else {
            ss_link(b, kept);
            kept = b;
        }
    }
    s->free = kept;
}

/* Take all idle pages of a slab out; meanwhile nothing is taken from it, and it cannot become free units.
 * false: the batch is full. */
static bool slab_claim_locked(struct ss_heap *h, struct ss_slab *s, struct ss_batch *b)
{
    uint64_t idle[BLOCKS_MAX / WORD] = {0}, pages[PAGES_MAX / WORD] = {0};
    bool any = false;
    idle_blocks(s, idle);
    for (uint32_t page = 0; page < slab_pages(s); page++) {
        if (page_is_idle(s, page, idle)) {
            bit_set(pages, page);
            any = true;
        }
    }
    if (any && !pages_claim(s, pages, b))
        return false;
    s->looked = true;
    s->tick = h->tick;
    if (any) {
        free_list_filter(s, pages);
        ss_slab_unlink(h, s);
        s->away = true;
    }
    return true;
}

static size_t idle_bytes(const struct ss_slab *s)
{
    size_t blocks = s->nfree + (s->zero ? 0 : s->blocks - s->carved);
    return blocks * slab_size(s);
}

/* A huge page is not broken for holes while most of it is in use: blocks count here, not slabs as where
 * units go back (ss_slab.c). */
static bool huge_page_stays(const struct ss_superslab *ss, size_t first)
{
    if (!ss_huge_is(ss))
        return false;
    size_t idle = (size_t)__builtin_popcount(ss->free) << SS_UNIT_SHIFT;
    for (size_t u = first; u < first + ss_region.ss_units; u++) {
        const struct ss_slab *s = &ss_region.unit[u].slab;
        if (ss_region.words[u] != SS_WORD_NONE && s->back == 0)
            idle += s->nfree * (size_t)slab_size(s);
    }
    return idle < ss_params.superslab_bytes / 2;
}

enum ss_holes ss_holes_claim_locked(struct ss_heap *h, size_t index, struct ss_batch *b)
{
    os_lock_assert_held(&h->lock);
    struct ss_superslab *ss = ss_superslab_at(index);
    size_t first = index * ss_region.ss_units;
    enum ss_holes found = SS_HOLES_NONE;
    if (ss->heap != h || huge_page_stays(ss, first))
        return found;
    for (size_t u = first; u < first + ss_region.ss_units; u++) {
        struct ss_slab *s = &ss_region.unit[u].slab;
        if (ss_region.words[u] == SS_WORD_NONE || s->back != 0 || s->looked || s->away ||
            idle_bytes(s) < os_page_size())
            continue;
        if (!b->all && h->tick - s->tick < SS_DECAY_TICKS)
            found = SS_HOLES_LATER;
        else if (!slab_claim_locked(h, s, b))
            return SS_HOLES_MORE;
    }
    return found;
}

/* The pages are there still, or again: whatever was in them. */
static void blocks_relink(struct ss_slab *s, uint32_t page, uint32_t pages, uint32_t *from)
{
    struct blocks on = blocks_on(s, page, pages);
    for (uint32_t i = HAK_MAX(on.first, *from); i < on.end; i++) {
        if (touches_hole(s, i))
            continue;
        ss_link(block_at(s, i), s->free);
        s->free = block_at(s, i);
        s->nfree++;
        s->ngone--;
    }
    *from = HAK_MAX(*from, on.end);
}

/* All pieces of a slab, or none. Returns bytes. */
static size_t slab_return_locked(struct ss_heap *h, struct ss_slab *s,
                                 const struct ss_piece *piece, unsigned n, bool done)
{
    uint32_t before = s->nholes, from = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t page =
            (uint32_t)(piece[i].first - ss_slab_unit(s)) * unit_pages() + piece[i].page;
        if (!done)
            blocks_relink(s, page, piece[i].pages, &from);
        for (uint32_t k = page; done && k < page + piece[i].pages; k++) {
            hole_flip(s, k);
            s->nholes++;
        }
    }
    size_t pages = s->nholes - before;
    h->hole_pages += pages;
    s->away = false;
    if (ss_slab_has(s))
        ss_slab_link(h, s);
    if (s->nout == 0)
        ss_slab_give_locked(h, s);
    return pages * os_page_size();
}

size_t ss_holes_return_locked(struct ss_heap *h, const struct ss_batch *b, unsigned done)
{
    size_t bytes = 0;
    for (unsigned i = 0, n; i < b->n; i += n) {
        struct ss_slab *s = ss_slab_of(ss_unit_address(b->piece[i].first));
        size_t end = ss_slab_unit(s) + ss_classes[s->class].units;
        for (n = 1; i + n < b->n && b->piece[i + n].first < end; n++) {
        }
        bytes += slab_return_locked(h, s, &b->piece[i], n, i + n <= done);
    }
    return bytes;
}

/* ---- Filling them. ---- */

/* Pages first .. end - 1 shall hold blocks. false: beyond the hard limit. */
static bool pages_fill(struct ss_heap *h, struct ss_slab *s, uint32_t first, uint32_t end)
{
    uint32_t n = 0;
    for (uint32_t page = first; page < end; page++)
        n += is_hole(s, page);
    if (!ss_held_take(n * os_page_size()))
        return false;
    for (uint32_t page = first; page < end; page++)
        if (is_hole(s, page))
            hole_flip(s, page);
    s->nholes -= n;
    h->hole_pages -= n;
    return true;
}

bool ss_holes_carve_locked(struct ss_heap *h, struct ss_slab *s, uint32_t n)
{
    size_t from = (size_t)s->carved * slab_size(s), to = from + (size_t)n * slab_size(s);
    return s->nholes == 0 || pages_fill(h, s, (uint32_t)(from / os_page_size()),
                                        (uint32_t)((to + os_page_size() - 1) / os_page_size()));
}

bool ss_holes_fill_locked(struct ss_heap *h, struct ss_slab *s, uint32_t want,
                          struct ss_chain *out)
{
    uint32_t page = 0;
    while (!is_hole(s, page))
        page++;
    /* Whole blocks up to the end of a page; at the end of the row, that which crosses it too. */
    uint32_t end = page, n = 0, first = blocks_on(s, page, 1).first;
    bool last = false;
    while (n < want && !last) {
        end++;
        struct blocks on = blocks_on(s, page, end - page);
        last = end == slab_pages(s) || !is_hole(s, end) || blocks_on(s, end, 1).first == on.end;
        n = last ? on.end - first : (uint32_t)(end * os_page_size() / slab_size(s)) - first;
    }
    if (!pages_fill(h, s, page, end))
        return false;
    void *list = NULL;
    for (uint32_t i = first + n; i-- > first;) {
        ss_link(block_at(s, i), list);
        list = block_at(s, i);
    }
    s->ngone -= n;
    s->nout += n;
    *out = (struct ss_chain){list, n, false};
    return true;
}

bool ss_holes_drop_locked(struct ss_heap *h, struct ss_slab *s, uint32_t *clean)
{
    uint32_t pages = 0, n = unit_pages();
    *clean = 0;
    for (uint32_t i = 0; i < ss_classes[s->class].units; i++) {
        unsigned count = (unsigned)__builtin_popcount(*holes_of(s, i * n));
        if (count == n)
            *clean |= 1u << i;
        else
            pages += count;
    }
    if (!ss_held_take(pages * os_page_size()))
        return false;
    h->hole_pages -= s->nholes;
    return true;
}

/* Returns how many of the slab's blocks touch holes, as S9 says. */
uint32_t ss_holes_count(struct ss_slab *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->carved; i++)
        n += touches_hole(s, i);
    return n;
}
