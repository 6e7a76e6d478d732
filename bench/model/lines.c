/* SPDX-License-Identifier: MIT
 *
 * model: cache lines. For each line the cores that have a valid copy, and who wrote it last.
 * Caches have no end. Lines are kept by pages of 64, which a hash table finds.
 */
#include "model.h"

#include <stdio.h>
#include <sys/mman.h>

enum {
    PAGE_LINES = 64,
    PAGE_SHIFT = MODEL_LINE_SHIFT + 6,
    PAGES_MAX = 1 << 17, /* half a gigabyte that code may touch */
    SITES_MAX = 1 << 14,
};

struct line {
    uint64_t copies; /* bit i: core i */
    uint8_t writer;  /* core + 1; 0: nobody yet */
};

struct page {
    uintptr_t number;
    struct line lines[PAGE_LINES];
};

static struct page *pages;           /* PAGES_MAX, handed out in order */
static uint32_t npages;              /* of them */
static uint32_t slot[2 * PAGES_MAX]; /* hash table: page index + 1, or 0 */

/* Who moved lines of what: by place in the program's text and place in memory. */
struct site {
    const void *pc;
    uintptr_t place;
    uint64_t moves, shares;
};
static struct site sites[SITES_MAX];
static unsigned nsites;

uintptr_t (*model_place)(uintptr_t address);
uintptr_t model_block_place;

static struct page *page_add(uint32_t *s, uintptr_t number)
{
    if (pages == NULL) {
        pages = mmap(NULL, PAGES_MAX * sizeof(*pages), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pages == MAP_FAILED)
            model_fail("cache lines", "no memory for their state");
    }
    if (npages == PAGES_MAX)
        model_fail("cache lines", "the code touched more memory than the model has room for");
    struct page *p = &pages[npages++];
    p->number = number;
    *s = npages;
    return p;
}

static struct line *line_at(uintptr_t line)
{
    uintptr_t number = line / PAGE_LINES;
    static struct page *last; /* most accesses are where the one before was */
    if (last == NULL || last->number != number) {
        uint32_t i = (uint32_t)((number * 0x9E3779B97F4A7C15u) >> 40);
        for (;; i++) {
            uint32_t *s = &slot[i % (2 * PAGES_MAX)];
            last = *s != 0 ? &pages[*s - 1] : page_add(s, number);
            if (last->number == number)
                break;
        }
    }
    return &last->lines[line % PAGE_LINES];
}

static bool has(const struct line *l, int core)
{
    return (l->copies >> core & 1) != 0;
}

/* To a core that has no copy a line comes from the one that wrote it; what nobody wrote comes
 * from memory, and moves between no cores. */
static bool moves(const struct line *l, int core)
{
    return !has(l, core) && l->writer != 0;
}

static bool shares(const struct line *l, int core, bool write)
{
    return write && has(l, core) && l->copies != (uint64_t)1 << core;
}

static uintptr_t place(uintptr_t line)
{
    return model_place != NULL ? model_place(line << MODEL_LINE_SHIFT) : 0;
}

static bool is_block(uintptr_t line)
{
    return model_block_place != 0 && place(line) == model_block_place;
}

bool model_access_noticed(uintptr_t address, size_t bytes, bool write)
{
    int core = model_self->core;
    for (uintptr_t i = address >> MODEL_LINE_SHIFT;
         bytes > 0 && i <= (address + bytes - 1) >> MODEL_LINE_SHIFT; i++) {
        const struct line *l = line_at(i);
        if (moves(l, core) || shares(l, core, write))
            return !is_block(i);
    }
    return false;
}

static struct site *site_of(const void *pc, uintptr_t where)
{
    uintptr_t hash = ((uintptr_t)pc ^ where << 20) * 0x9E3779B97F4A7C15u;
    for (uint32_t i = (uint32_t)(hash >> 40);; i++) {
        struct site *s = &sites[i % SITES_MAX];
        if (s->pc == pc && s->place == where)
            return s;
        if (s->pc == NULL) {
            if (++nsites > SITES_MAX / 2)
                model_fail("sites", "more than the model has room for");
            s->pc = pc;
            s->place = where;
            return s;
        }
    }
}

static void noticed(struct model_thread *t, uintptr_t line, bool moved, const void *pc)
{
    t->clock += moved ? CYCLES_MOVE : CYCLES_SHARE;
    if (pc == NULL) {
        t->n[N_PROGRAM_MOVES]++;
        return;
    }
    t->n[!moved ? N_SHARES : is_block(line) ? N_BLOCK_MOVES : N_RECORD_MOVES]++;
    if (t->measure && t->kind >= 0) {
        struct site *s = site_of(pc, place(line));
        s->moves += moved;
        s->shares += !moved;
    }
}

void model_access(uintptr_t address, size_t bytes, enum model_access how, const void *pc)
{
    struct model_thread *t = model_self;
    bool write = how == A_WRITE || how == A_PROGRAM_WRITE;
    t->clock += CYCLES_ACCESS;
    for (uintptr_t i = address >> MODEL_LINE_SHIFT;
         bytes > 0 && i <= (address + bytes - 1) >> MODEL_LINE_SHIFT; i++) {
        struct line *l = line_at(i);
        bool moved = moves(l, t->core);
        if (moved || shares(l, t->core, write))
            noticed(t, i, moved, pc);
        uint64_t me = (uint64_t)1 << t->core;
        l->copies = write ? me : l->copies | me; /* M1 */
        if (write)
            l->writer = (uint8_t)(t->core + 1);
    }
}

void model_touch(const void *p, bool write)
{
    model_access((uintptr_t)p, 1, write ? A_PROGRAM_WRITE : A_PROGRAM_READ, NULL);
}

void model_lines_report(const char *const *places)
{
    for (unsigned i = 0; i < SITES_MAX; i++) {
        const struct site *s = &sites[i];
        if (s->pc == NULL)
            continue;
        printf("site %#lx ", (unsigned long)(uintptr_t)s->pc);
        if (s->place < MODEL_PLACES)
            printf("%s", places[s->place]);
        else
            printf("%#lx", (unsigned long)s->place);
        printf(" %lu %lu\n", (unsigned long)s->moves, (unsigned long)s->shares);
    }
}
