/* SPDX-License-Identifier: MIT
 *
 * tiny: bins. A bin that is full sets its list aside whole and takes a spare one back whole, as
 * the magazine layer of Bonwick & Adams (2001) does with magazines: neither a boundary crossed
 * back and forth nor a flush ever walks to the middle of a list. Spare lists form a stack, and a
 * load that goes up and down by more than one list gets a taller one.
 */
#include "tiny/tiny.h"

struct tiny_params tiny_params;
_Alignas(HAK_LINE) _Atomic int64_t tiny_quota;

enum {
    CAP_START_BYTES = 2048, /* of a list, when capacities adapt */
    SWEEP_TICKS = 256,
    TICK_BYTES = 64 * 1024, /* moved count as one more operation */
    SPARES_MAX = 4096,      /* lists on one stack */
    QUOTA_STEP = 1 << 20,   /* bytes of spare lists borrowed at a time */
    GATHER_MAX = 256,       /* lists taken in at a time: no malloc takes for ever */
    WHOLE_MIN = 4,          /* blocks in a list that is kept as one */
    USE_MIN_BYTES = 1024,   /* of other heaps' blocks that are used instead of own ones */
};

static uint32_t cap_start(const struct tiny_cache *tc, unsigned class)
{
    uint32_t most = tiny_params.cap_max[class];
    if (!(tiny_params.adapt || tc->squeezed) ||
        most == 0) /* 0: also classes this superslab size has not */
        return most;
    return HAK_MIN(HAK_MAX(CAP_START_BYTES / ss_classes[class].size, 2u), most);
}

/* What policy wants, or the built-in rule's number. */
static uint32_t steered(const struct tiny_cache *tc, const _Atomic uint16_t *wanted,
                        uint32_t built_in)
{
    uint32_t v = atomic_load_explicit(wanted, memory_order_relaxed);
    return HAK_LIKELY(v == 0 || tc->squeezed || built_in == 0) ? built_in : v;
}

static uint32_t cap_most(const struct tiny_cache *tc, unsigned class)
{
    return HAK_UNLIKELY(tc->squeezed)
               ? cap_start(tc, class)
               : steered(tc, &tc->steer[class].cap, tiny_params.cap_max[class]);
}

/* Written by this thread alone: no locked instruction. */
static void see(_Atomic uint32_t *counter)
{
    if (HAK_UNLIKELY(tiny_params.count))
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

static void bin_room_set(struct tiny_cache *tc, unsigned class, uint32_t held)
{
    tc->full[class] = HAK_MAX(tc->cap[class], held);
    tc->bin[class].room = (uint64_t)(tc->full[class] - held) << TINY_ROOM_SHIFT; /* T2 */
}

/* The slow-start rule: every miss that reaches the heap doubles what the bin may hold. */
static void cap_grow(struct tiny_cache *tc, unsigned class)
{
    tc->cap[class] = HAK_MIN(HAK_MAX(tc->cap[class] * 2, 1u), cap_most(tc, class));
}

static uint32_t room_left(const struct tiny_bin *bin)
{
    return (uint32_t)(bin->room >> TINY_ROOM_SHIFT);
}

static uint32_t bin_count(const struct tiny_cache *tc, unsigned class)
{
    return tc->full[class] - room_left(&tc->bin[class]);
}

static void cap_shrink(struct tiny_cache *tc, unsigned class)
{
    uint32_t held = bin_count(tc, class);
    tc->cap[class] = HAK_MAX(tc->cap[class] / 2, cap_start(tc, class));
    bin_room_set(tc, class, held);
}

/* ---- Other heaps' blocks. ---- */

static void parcel_close(struct tiny_parcel *m)
{
    if (m->open == NULL)
        return;
    ss_list_note_set(m->open, m->first, m->count);
    if (m->first == NULL)
        m->last = m->open;
    m->first = m->open;
    m->open = NULL;
    m->count = 0;
}

/* A cache has one writer. */
static void count(_Atomic uint64_t *c, uint64_t more)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static void parcel_send(struct tiny_cache *tc, struct tiny_parcel *m)
{
    parcel_close(m);
    if (m->first == NULL)
        return;
    if (ss_many_nodes() && ss_heap_by_id(ss_word_heap(m->word))->node != tc->node) {
        count(&tc->far_pushes, 1);
        count(&tc->far_blocks, m->blocks);
    }
    ss_send_home(ss_word_heap(m->word), m->first, m->last, m->bytes);
    *m = (struct tiny_parcel){.word = m->word};
}

/* The parcel that blocks of a heap and class are added to. */
static struct tiny_parcel *parcel_open(struct tiny_cache *tc, uint32_t word)
{
    struct tiny_parcel *m = &tc->parcel[ss_word_heap(word) % TINY_NPARCELS];
    if (m->word != word) {
        if (ss_word_heap(m->word) != ss_word_heap(word))
            parcel_send(tc, m);
        else
            parcel_close(m);
        m->word = word;
    }
    return m;
}

/* Blocks that are not this heap's, on their way home: those in a row of the same heap and class as
 * they are. */
static void blocks_send(struct tiny_cache *tc, void *blocks)
{
    while (blocks != NULL) {
        uint32_t word = ss_word_slab(ss_word(blocks)), n = 0;
        void *last, *next = blocks;
        do {
            last = next;
            next = ss_next(last);
            n++;
        } while (next != NULL && ss_word_slab(ss_word(next)) == word);
        struct tiny_parcel *m = parcel_open(tc, word);
        ss_link(last, m->open);
        m->open = blocks;
        m->count += n;
        m->blocks += n;
        m->bytes += n * ss_class_at(word)->size;
        if (m->blocks >= tiny_params.parcel_max || m->bytes >= TINY_PARCEL_BYTES)
            parcel_send(tc, m);
        blocks = next;
    }
}

static uint32_t remote_count(const struct tiny_cache *tc, unsigned class)
{
    return tc->remote_full[class] - room_left(&tc->remote[class]);
}

static void *remote_take(struct tiny_cache *tc, unsigned class)
{
    struct tiny_bin *bin = &tc->remote[class];
    void *list = bin->head;
    bin->head = NULL;
    tc->remote_full[class] =
        steered(tc, &tc->steer[class].remote, tiny_params.remote_max[class]);
    bin->room = (uint64_t)tc->remote_full[class] << TINY_ROOM_SHIFT;
    return list;
}

static void parcels_send(struct tiny_cache *tc)
{
    unsigned n = HAK_MIN(ss_nheaps() + 1, (unsigned)TINY_NPARCELS);
    for (unsigned i = 0; i < n; i++)
        parcel_send(tc, &tc->parcel[i]);
}

/* To their slabs, or on their way home. */
static void blocks_flush(struct tiny_cache *tc, void *blocks)
{
    if (blocks != NULL)
        blocks_send(tc, ss_flush(tc->heap, blocks));
}

/* ---- Spare lists: a stack. ---- */

static void spare_push(struct tiny_cache *tc, unsigned class, void *list, uint32_t count)
{
    struct tiny_bin *bin = &tc->bin[class];
    ss_list_note_set(list, bin->spare, count);
    bin->spare = list;
    tc->spares[class] += count;
    tc->spare_bytes += count * (size_t)ss_classes[class].size;
}

/* A list has left the stack. */
static void spare_left(struct tiny_cache *tc, unsigned class, const void *list)
{
    uint32_t count = ss_list_count(list);
    tc->spares[class] -= count;
    tc->spares_low[class] = HAK_MIN(tc->spares_low[class], tc->spares[class]);
    tc->spare_bytes -= count * (size_t)ss_classes[class].size;
}

/* The newest becomes the bin's list. */
static void spare_pop(struct tiny_cache *tc, unsigned class)
{
    struct tiny_bin *bin = &tc->bin[class];
    bin->head = bin->spare;
    bin->spare = ss_list_next(bin->head);
    spare_left(tc, class, bin->head);
    bin_room_set(tc, class, ss_list_count(bin->head));
}

/* Give the oldest lists back, until no more than `keep` blocks are left. */
static void spares_flush(struct tiny_cache *tc, unsigned class, uint32_t keep)
{
    void *list = tc->bin[class].spare, *last = NULL;
    for (uint32_t n = 0; list != NULL && (n += ss_list_count(list)) <= keep;) {
        last = list;
        list = ss_list_next(list);
    }
    if (last != NULL)
        ss_list_note_set(last, NULL, ss_list_count(last));
    else
        tc->bin[class].spare = NULL;
    while (list != NULL) {
        void *next = ss_list_next(list);
        spare_left(tc, class, list);
        blocks_flush(tc, list);
        list = next;
    }
}

/* May `count` more blocks of the class be kept? What all caches keep together is bounded; each
 * borrows from that in large steps. */
static bool quota_take(struct tiny_cache *tc, unsigned class, uint32_t count)
{
    size_t need = tc->spare_bytes + count * (size_t)ss_classes[class].size;
    if (need <= tc->quota)
        return true;
    int64_t more = (int64_t)HAK_ALIGN_UP(need - tc->quota, (size_t)QUOTA_STEP);
    if (atomic_load_explicit(&tiny_quota, memory_order_relaxed) < more)
        return false; /* used up: every full bin comes here, and shall not write */
    if (atomic_fetch_sub_explicit(&tiny_quota, more, memory_order_relaxed) < more) {
        atomic_fetch_add_explicit(&tiny_quota, more, memory_order_relaxed);
        return false;
    }
    tc->quota += (size_t)more;
    return true;
}

static void quota_return(struct tiny_cache *tc)
{
    size_t need = HAK_ALIGN_UP(tc->spare_bytes, (size_t)QUOTA_STEP);
    if (need < tc->quota) {
        atomic_fetch_add_explicit(&tiny_quota, (int64_t)(tc->quota - need),
                                  memory_order_relaxed);
        tc->quota = need;
    }
}

static uint32_t spares_room(const struct tiny_cache *tc, unsigned class)
{
    return tc->cap[class] * tc->spares_max[class];
}

/* Put a list on the stack. Where that is full: longer lists first, then, if the class keeps running
 * out as well, more of them; else the list goes back, whose blocks are in the CPU's cache now. */
static void spare_add(struct tiny_cache *tc, unsigned class, void *list, uint32_t count)
{
    if (tc->spares[class] + count > spares_room(tc, class)) {
        if (tc->cap[class] < cap_most(tc, class))
            cap_grow(tc, class);
        else if (tiny_params.adapt && !tc->squeezed && tc->missed[class] &&
                 tc->spares_max[class] < SPARES_MAX && quota_take(tc, class, count))
            tc->spares_max[class]++;
    }
    if (tc->spares[class] + count <= spares_room(tc, class))
        spare_push(tc, class, list, count);
    else {
        see(&tc->seen[class].flushes);
        blocks_flush(tc, list);
    }
}

static void bin_flush(struct tiny_cache *tc, unsigned class)
{
    blocks_flush(tc, tc->bin[class].head);
    tc->bin[class].head = NULL;
    spares_flush(tc, class, 0);
    blocks_send(tc, remote_take(tc, class));
    tc->spares_max[class] = 1;
    tc->cap[class] = cap_start(tc, class);
    bin_room_set(tc, class, 0);
}

/* A push or a pop changes it. Pushes and pops that cancel out do not: such a bin looks idle, and
 * pays for it with one refill. */
static uint32_t bin_mark(const struct tiny_cache *tc, unsigned class)
{
    const struct tiny_bin *bin = &tc->bin[class], *remote = &tc->remote[class];
    return (uint32_t)((uintptr_t)remote->head >> 4) ^ (uint32_t)((uintptr_t)bin->head >> 4) ^
           room_left(bin) << 20;
}

uint32_t tiny_mark(const struct tiny_cache *tc)
{
    uint32_t mark = tc->ticks;
    for (unsigned c = 0; c < SS_NCLASS; c++)
        mark = mark * 31 + bin_mark(tc, c);
    return mark;
}

/* Half of the list, that which was freed first, goes back, and so does half of the capacity. */
static void bin_halve(struct tiny_cache *tc, unsigned class)
{
    uint32_t keep = bin_count(tc, class) / 2;
    if (keep == 0)
        return;
    void *last = tc->bin[class].head;
    for (uint32_t n = 1; n < keep; n++)
        last = ss_next(last);
    void *rest = ss_next(last);
    ss_link(last, NULL);
    blocks_flush(tc, rest);
    bin_room_set(tc, class, keep);
    cap_shrink(tc, class);
}

/* What is idle decays. A bin that has not moved since the last sweep is emptied: a few cached
 * blocks of a class that went out of use would hold as many slabs. One that moved gives up the
 * spare lists it did without (Bonwick & Adams' working set of a depot), and, where it did without
 * any, half its capacity. One that had enough for long gives up half of its list: how much of that it
 * never touches is not known. */
static void cache_sweep(struct tiny_cache *tc)
{
    uint64_t now = os_now_ns();
    bool first = tc->halved_ns == 0;
    bool halve = !first && now - tc->halved_ns >= tiny_params.halve_ns;
    tc->swept_ns = now;
    if (halve || first)
        tc->halved_ns = now;
    for (unsigned c = 1; c < SS_NCLASS; c++) {
        struct tiny_bin *bin = &tc->bin[c];
        if (bin->head == NULL && bin->spare == NULL && tc->remote[c].head == NULL)
            continue;
        if (!tc->moved[c] && bin_mark(tc, c) == tc->mark[c]) {
            bin_flush(tc, c);
        } else if (tc->spares_low[c] > 0) {
            if (tc->spares_low[c] == tc->spares[c])
                cap_shrink(tc, c);
            spares_flush(tc, c, tc->spares[c] - tc->spares_low[c]);
            uint32_t lists = (tc->spares[c] + tc->cap[c] - 1) / HAK_MAX(tc->cap[c], 1u);
            tc->spares_max[c] = (uint16_t)HAK_MIN(HAK_MAX(lists, 1u), (uint32_t)SPARES_MAX);
        }
        if (halve) {
            if (!tc->starved[c])
                bin_halve(tc, c);
            tc->starved[c] = false;
        }
        tc->mark[c] = bin_mark(tc, c);
        tc->spares_low[c] = tc->spares[c];
        tc->missed[c] = tc->moved[c] = false;
    }
    quota_return(tc);
    parcels_send(tc);
}

/* Pressure set in: all goes back, and lists stay as short as they start. Or it has gone. */
static HAK_SLOW void cache_squeeze(struct tiny_cache *tc, bool on)
{
    tc->squeezed = on;
    for (unsigned c = 1; c < SS_NCLASS; c++) {
        uint32_t held = bin_count(tc, c);
        if (on) {
            bin_flush(tc, c);
        } else {
            tc->cap[c] = HAK_MAX(tc->cap[c], cap_start(tc, c));
            bin_room_set(tc, c, held);
        }
    }
    quota_return(tc);
    parcels_send(tc);
}

void tiny_tick(struct tiny_cache *tc, size_t bytes)
{
    if (HAK_UNLIKELY(ss_pressure() != tc->squeezed))
        cache_squeeze(tc, !tc->squeezed);
    uint32_t before = tc->ticks / SWEEP_TICKS;
    tc->ticks += 1 + (uint32_t)HAK_MIN(bytes / TICK_BYTES, (size_t)SWEEP_TICKS - 1);
    if (HAK_LIKELY(tc->ticks / SWEEP_TICKS == before) || !tiny_params.adapt)
        return;
    if (os_now_ns() - tc->swept_ns >= tiny_params.sweep_ns)
        cache_sweep(tc);
}

/* The bin ran full or empty. What that moves, about: no refill brings more than a slab. */
static void bin_tick(struct tiny_cache *tc, unsigned class)
{
    const struct ss_class *k = &ss_classes[class];
    tc->moved[class] = true;
    tiny_tick(tc, HAK_MIN(tc->cap[class], (uint32_t)k->blocks) * (size_t)k->size);
}

/* The region had to grow: before it does so again, collect what nobody uses. */
static HAK_SLOW void unused_collect(struct tiny_cache *tc)
{
    if (tiny_params.adapt)
        cache_sweep(tc);
    ss_drain_parked();
    tiny_flush_parked(ss_pressure() ? 0 : tiny_params.park_decay_ns);
}

void tiny_give(struct tiny_cache *tc, unsigned class, void *p)
{
    struct tiny_bin *bin = &tc->bin[class];
    HAK_CHECK_POINTER(p != bin->head && p != bin->spare, "tiny: block freed twice", p);
    if (tc->cap[class] == 0) { /* cap_max is 0: nothing of this class is kept */
        ss_link(p, NULL);
        (void)ss_flush(tc->heap, p);
        return;
    }
    if (bin->room < TINY_ROOM_ONE)
        bin_tick(tc, class);
    if (bin->room < TINY_ROOM_ONE) { /* still: a sweep may have made room */
        void *list = bin->head;
        uint32_t count = tc->full[class];
        bin->head = NULL;
        spare_add(tc, class, list, HAK_MIN(count, (uint32_t)UINT16_MAX));
        bin_room_set(tc, class, 0);
    }
    ss_link(p, bin->head);
    bin->head = p;
    bin->room -= TINY_ROOM_ONE;
}

/* What there is of other heaps' blocks, but those of another node: they are sent home. */
static void *remote_take_near(struct tiny_cache *tc, unsigned class, uint32_t *count)
{
    *count = remote_count(tc, class);
    void *list = remote_take(tc, class), *near = NULL, *far = NULL;
    if (!ss_many_nodes())
        return list;
    for (void *next; list != NULL; list = next) {
        next = ss_next(list);
        bool is_near = ss_heap_by_id(ss_word_heap(ss_word(list)))->node == tc->node;
        ss_link(list, is_near ? near : far);
        *(is_near ? &near : &far) = list;
        *count -= !is_near;
    }
    blocks_send(tc, far);
    return near;
}

/* May a list of other heaps' blocks stay? Where threads exchange blocks, what one frees is what it
 * needs next, and lies in its CPU's cache. */
static bool remote_stays(const struct tiny_cache *tc, unsigned class, uint32_t count)
{
    return tc->cap[class] != 0 && count * (size_t)ss_classes[class].size >= USE_MIN_BYTES &&
           (tc->missed[class] || tc->spares[class] + count <= spares_room(tc, class));
}

void tiny_give_remote(struct tiny_cache *tc, unsigned class, void *p)
{
    struct tiny_bin *bin = &tc->remote[class];
    HAK_CHECK_POINTER(p != bin->head, "tiny: block freed twice", p);
    if (bin->room < TINY_ROOM_ONE)
        bin_tick(tc, class);
    if (bin->room < TINY_ROOM_ONE) { /* still: a sweep may have made room */
        uint32_t count;
        void *list = remote_take_near(tc, class, &count);
        if (remote_stays(tc, class, count))
            spare_add(tc, class, list, count);
        else {
            see(&tc->seen[class].sent);
            blocks_send(tc, list);
        }
    }
    ss_link(p, bin->head);
    bin->head = p;
    bin->room -= TINY_ROOM_ONE;
}

/* The bin and its stack are empty: use what other heaps' blocks there are. */
static bool remote_use(struct tiny_cache *tc, unsigned class)
{
    uint32_t count = remote_count(tc, class);
    if (tc->cap[class] == 0 || count * (size_t)ss_classes[class].size < USE_MIN_BYTES)
        return false;
    tc->bin[class].head = remote_take_near(tc, class, &count);
    bin_room_set(tc, class, count);
    return count > 0;
}

/* A list that came home: whole where it is long enough to be worth a refill of its own. */
static void list_receive(struct tiny_cache *tc, void *list)
{
    uint32_t word = ss_word(list), count = ss_list_count(list);
    HAK_CHECK_POINTER(ss_word_heap(word) == ss_word_heap(tc->tag),
                      "tiny: freed block was written to", list);
    unsigned class = ss_word_class(word);
    if (tc->cap[class] == 0) {
        (void)ss_flush(tc->heap, list);
    } else if (count >= WHOLE_MIN) {
        tc->moved[class] = true;
        spare_add(tc, class, list, count);
    } else {
        for (void *next; list != NULL; list = next) {
            next = ss_next(list);
            tiny_give(tc, class, list);
        }
    }
}

static void *inbox_pop(struct tiny_cache *tc)
{
    void *list = tc->inbox;
    tc->inbox = ss_list_next(list);
    return list;
}

/* What other threads freed goes to its bins. */
static void gather(struct tiny_cache *tc)
{
    if (tc->inbox == NULL)
        tc->inbox = ss_remote_take(&tc->heap->remote);
    for (unsigned i = 0; i < GATHER_MAX && tc->inbox != NULL; i++) {
        void *list = inbox_pop(tc);
        os_prefetch_write(tc->inbox);
        list_receive(tc, list);
    }
}

/* One refill in 16 is timed, where policy wants to know. 0: not this one. */
static uint64_t refill_begin(struct tiny_cache *tc, unsigned class)
{
    if (HAK_LIKELY(!tiny_params.count))
        return 0;
    see(&tc->seen[class].misses);
    return atomic_load_explicit(&tc->seen[class].misses, memory_order_relaxed) % 16 == 1
               ? os_now_ns()
               : 0;
}

static void refill_end(struct tiny_cache *tc, unsigned class, uint64_t begun)
{
    if (HAK_LIKELY(begun == 0))
        return;
    _Atomic uint32_t *ns = &tc->seen[class].miss_ns;
    uint32_t old = atomic_load_explicit(ns, memory_order_relaxed);
    uint32_t now = (uint32_t)HAK_MIN(os_now_ns() - begun, (uint64_t)1000000);
    atomic_store_explicit(ns, old == 0 ? now : old - old / 4 + now / 4, memory_order_relaxed);
}

void *tiny_refill(struct tiny_cache *tc, unsigned class, bool *zero)
{
    struct tiny_bin *bin = &tc->bin[class];
    HAK_ASSERT(bin->head == NULL);
    *zero = false;
    bin_tick(tc, class);
    if (bin->spare == NULL && !remote_use(tc, class))
        gather(tc);
    if (bin->head == NULL && bin->spare != NULL)
        spare_pop(tc, class);
    if (bin->head != NULL)
        return tiny_pop(bin);
    struct ss_chain chain;
    bool grew;
    if (tc->missed[class] || tc->cap[class] == 0)
        cap_grow(tc, class);
    tc->missed[class] = tc->starved[class] = true;
    uint32_t want = steered(tc, &tc->steer[class].refill, HAK_MAX(tc->cap[class] / 2, 1u));
    uint64_t begun = refill_begin(tc, class);
    if (!ss_refill(tc->heap, class, want, &chain, &grew))
        return NULL;
    refill_end(tc, class, begun);
    void *p = chain.head;
    *zero = chain.zero;
    bin->head = ss_next(p);
    bin_room_set(tc, class, chain.count - 1);
    if (HAK_UNLIKELY(tc->cap[class] == 0)) /* nothing is kept: the rest goes back at once */
        bin_flush(tc, class);
    if (HAK_UNLIKELY(grew) && tc->ticks > 1) /* the first: there is nothing yet */
        unused_collect(tc);
    return p;
}

void tiny_flush(struct tiny_cache *tc)
{
    for (unsigned c = 0; c < SS_NCLASS; c++)
        bin_flush(tc, c);
    while (tc->inbox != NULL)
        (void)ss_flush(tc->heap, inbox_pop(tc));
    parcels_send(tc);
    quota_return(tc);
}

static void list_validate(unsigned class, const void *list)
{
    for (const void *b = list; b != NULL; b = ss_next(b))
        HAK_CHECK_POINTER(ss_word_class(ss_word(b)) == class && ss_block_starts(b, ss_word(b)),
                          "tiny: foreign block in a bin", b); /* T1 */
}

void tiny_validate(const struct tiny_cache *tc)
{
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        uint32_t n = 0;
        list_validate(c, tc->bin[c].head);
        for (const void *b = tc->bin[c].head; b != NULL; b = ss_next(b))
            n++;
        HAK_CHECK(n == bin_count(tc, c), "tiny: bin's room is wrong"); /* T2 */
        n = 0;
        for (const void *list = tc->bin[c].spare; list != NULL; list = ss_list_next(list)) {
            list_validate(c, list);
            n += ss_list_count(list);
        }
        HAK_CHECK(n == tc->spares[c], "tiny: spare blocks miscounted"); /* T5 */
        n = 0;
        list_validate(c, tc->remote[c].head);
        for (const void *b = tc->remote[c].head; b != NULL; b = ss_next(b), n++)
            HAK_CHECK_POINTER(ss_word_heap(ss_word(b)) != tc->heap->id, /* T1 */
                              "tiny: own block among other heaps'", b);
        HAK_CHECK(n == remote_count(tc, c), "tiny: other heaps' blocks miscounted");
    }
    for (unsigned i = 0; i < TINY_NPARCELS; i++) {
        const struct tiny_parcel *m = &tc->parcel[i];
        uint32_t n = 0;
        for (const void *b = m->open; b != NULL; b = ss_next(b), n++)
            HAK_CHECK_POINTER(ss_word_slab(ss_word(b)) == m->word, /* T4 */
                              "tiny: list on its way home is damaged", b);
        HAK_CHECK(n == m->count, "tiny: blocks on their way home miscounted");
        for (const void *list = m->first; list != NULL; list = ss_list_next(list)) {
            HAK_CHECK_POINTER(ss_word_heap(ss_word(list)) == ss_word_heap(m->word), /* T4 */
                              "tiny: list in another heap's parcel", list);
            n += ss_list_count(list);
        }
        HAK_CHECK(n == m->blocks, "tiny: blocks in a parcel miscounted");
    }
}
