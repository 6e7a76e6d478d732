/* SPDX-License-Identifier: MIT
 *
 * tiny: bins. Each bin has two lists, as the magazine layer of Bonwick & Adams (2001) has two
 * magazines: a full list is set aside whole and a spare one taken back whole, so neither a
 * boundary crossed back and forth nor a flush ever walks to the middle of a list.
 */
#include "tiny/tiny.h"

struct tiny_params tiny_params;

enum {
    CAP_START_BYTES = 2048, /* of a list, when capacities adapt */
    SWEEP_TICKS = 256,
};

static uint32_t cap_start(unsigned class)
{
    uint32_t most = tiny_params.cap_max[class];
    if (!tiny_params.adapt || most == 0) /* 0: also classes this superslab size has not */
        return most;
    return HAK_MIN(HAK_MAX(CAP_START_BYTES / ss_classes[class].size, 2u), most);
}

static void bin_room_set(struct tiny_cache *tc, unsigned class, uint32_t held)
{
    uint32_t cap = tc->cap[class];
    tc->bin[class].room = cap > held ? (uint64_t)(cap - held) << TINY_ROOM_SHIFT : 0; /* T2 */
}

/* The slow-start rule: every miss that reaches the heap doubles what the bin may hold. */
static void cap_grow(struct tiny_cache *tc, unsigned class)
{
    tc->missed[class] = 1;
    tc->cap[class] = HAK_MIN(HAK_MAX(tc->cap[class] * 2, 1u), tiny_params.cap_max[class]);
}

static void out_flush(struct tiny_out *o)
{
    if (o->count == 0)
        return;
    struct ss_chain chain = {o->head, o->tail, o->count, false};
    o->count = 0;
    o->head = NULL;
    ss_send_home(o->word, &chain);
}

static void list_flush(struct tiny_cache *tc, void **list)
{
    void *blocks = *list;
    *list = NULL;
    if (blocks != NULL)
        ss_flush(tc->heap, blocks);
}

static void bin_flush(struct tiny_cache *tc, unsigned class)
{
    struct tiny_bin *bin = &tc->bin[class];
    list_flush(tc, &bin->head);
    list_flush(tc, &bin->spare);
    tc->cap[class] = cap_start(class);
    bin_room_set(tc, class, 0);
}

/* A push or a pop changes it. Pushes and pops that cancel out do not: such a bin looks idle, and
 * pays for it with one refill. */
static uint32_t bin_mark(const struct tiny_bin *bin)
{
    return (uint32_t)((uintptr_t)bin->head >> 4) ^ (uint32_t)(bin->room >> TINY_ROOM_SHIFT)
                                                       << 20;
}

/* What is idle decays. A bin that has not moved since the last sweep is emptied: a few cached
 * blocks of a class that went out of use would hold as many slabs. One that moved without a miss
 * gives up its spare list and half its capacity. */
static void cache_sweep(struct tiny_cache *tc)
{
    for (unsigned c = 1; c < SS_NCLASS; c++) {
        struct tiny_bin *bin = &tc->bin[c];
        if (bin->head == NULL && bin->spare == NULL)
            continue;
        if (bin_mark(bin) == tc->mark[c]) {
            bin_flush(tc, c);
        } else if (!tc->missed[c] && bin->spare != NULL) {
            list_flush(tc, &bin->spare);
            uint32_t cut = tc->cap[c] - HAK_MAX(tc->cap[c] / 2, cap_start(c));
            tc->cap[c] -= cut;
            bin->room -= HAK_MIN(bin->room, (uint64_t)cut << TINY_ROOM_SHIFT);
        }
        tc->mark[c] = bin_mark(bin);
        tc->missed[c] = 0;
    }
    for (unsigned i = 0; i < TINY_NOUT; i++)
        out_flush(&tc->out[i]);
}

static void cache_tick(struct tiny_cache *tc)
{
    if (HAK_UNLIKELY(++tc->ticks % SWEEP_TICKS == 0) && tiny_params.adapt)
        cache_sweep(tc);
}

/* The region had to grow: before it does so again, collect what nobody uses. */
static HAK_SLOW void unused_collect(struct tiny_cache *tc)
{
    if (tiny_params.adapt)
        cache_sweep(tc);
    ss_drain_parked();
    tiny_flush_parked(tiny_params.park_decay_ns);
}

void *tiny_refill(struct tiny_cache *tc, unsigned class, bool *zero)
{
    struct tiny_bin *bin = &tc->bin[class];
    HAK_ASSERT(bin->head == NULL);
    *zero = false;
    if (bin->spare != NULL) {
        bin->head = bin->spare;
        bin->spare = NULL;
        bin->room = 0;
        return tiny_pop(bin);
    }
    struct ss_chain chain;
    bool grew;
    cache_tick(tc);
    if (tc->missed[class] || tc->cap[class] == 0)
        cap_grow(tc, class);
    tc->missed[class] = 1;
    uint32_t want = HAK_MAX(tc->cap[class] / 2, 1u);
    if (!ss_refill(tc->heap, class, want, &chain, &grew))
        return NULL;
    void *p = chain.head;
    *zero = chain.zero;
    bin->head = ss_next(p);
    bin_room_set(tc, class, chain.count - 1);
    if (HAK_UNLIKELY(tc->cap[class] == 0)) /* nothing is kept: the rest goes back at once */
        list_flush(tc, &bin->head);
    if (HAK_UNLIKELY(grew))
        unused_collect(tc);
    return p;
}

void tiny_give(struct tiny_cache *tc, unsigned class, void *p)
{
    struct tiny_bin *bin = &tc->bin[class];
    HAK_CHECK_POINTER(p != bin->head && p != bin->spare, "tiny: block freed twice", p);
    if (bin->room < TINY_ROOM_ONE) {
        if (tc->cap[class] == 0) { /* cap_max is 0: nothing of this class is kept */
            ss_link(p, NULL);
            ss_flush(tc->heap, p);
            return;
        }
        cache_tick(tc);
        if (bin->spare != NULL) {
            ss_flush(tc->heap, bin->spare);
            cap_grow(tc, class);
        }
        bin->spare = bin->head;
        bin->head = NULL;
        bin_room_set(tc, class, 0);
    }
    ss_link(p, bin->head);
    bin->head = p;
    bin->room -= TINY_ROOM_ONE;
}

void tiny_send(struct tiny_cache *tc, uint32_t word, void *p)
{
    unsigned class = ss_word_class(word);
    struct tiny_out *o = &tc->out[(class + 29 * ss_word_heap(word)) % TINY_NOUT];
    if (o->word != word) {
        out_flush(o);
        o->word = word;
    }
    HAK_CHECK_POINTER(p != o->head, "tiny: block freed twice", p);
    ss_link(p, o->head);
    o->head = p;
    if (o->count++ == 0)
        o->tail = p;
    if (o->count >= tiny_params.out_max[class])
        out_flush(o);
}

void tiny_flush(struct tiny_cache *tc)
{
    for (unsigned c = 0; c < SS_NCLASS; c++)
        bin_flush(tc, c);
    for (unsigned i = 0; i < TINY_NOUT; i++)
        out_flush(&tc->out[i]);
}

void tiny_validate(const struct tiny_cache *tc)
{
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        const void *lists[] = {tc->bin[c].head, tc->bin[c].spare};
        for (unsigned i = 0; i < 2; i++) {
            for (const void *b = lists[i]; b != NULL; b = ss_next(b))
                HAK_CHECK_POINTER(ss_word(b) == (tc->tag | c << SS_CLASS_SHIFT) &&
                                      ss_block_starts(b, ss_word(b)), /* T1 */
                                  "tiny: foreign block in a bin", b);
        }
    }
    for (unsigned i = 0; i < TINY_NOUT; i++) {
        const struct tiny_out *o = &tc->out[i];
        uint32_t n = 0;
        for (const void *b = o->head; n < o->count; b = b == o->tail ? NULL : ss_next(b), n++)
            HAK_CHECK_POINTER(b != NULL && ss_word(b) == o->word, /* T4 */
                              "tiny: list on its way home is damaged", b);
    }
}
