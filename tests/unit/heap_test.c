/* SPDX-License-Identifier: MIT
 *
 * superslab: heaps, the five steps of a refill, slabs and superslabs coming and going, and the
 * way home of blocks that another thread freed.
 */
#include "unit.h"

#include <pthread.h>
#include <string.h>

enum { MANY = 1 << 30 }; /* as many as there are */

static struct ss_heap *heap_new(void)
{
    struct ss_heap *h = ss_heap_get(0);
    REQUIRE(h != NULL);
    return h;
}

static struct ss_chain refill(struct ss_heap *h, unsigned class, uint32_t want, bool *grew)
{
    struct ss_chain c;
    REQUIRE(ss_refill(h, class, want, &c, grew));
    REQUIRE(c.count > 0 && c.head != NULL);
    uint32_t n = 0;
    for (void *b = c.head; b != NULL; b = ss_next(b), n++) {
        REQUIRE(ss_word_heap(ss_word(b)) == h->id &&
                ss_word_class(ss_word(b)) == class); /* S1 */
        REQUIRE(ss_block_starts(b, ss_word(b)));
    }
    REQUIRE(n == c.count);
    return c;
}

/* Blocks, linked into one list, until `n` slabs of the class are used up. */
static void *use_up_slabs(struct ss_heap *h, unsigned class, unsigned n)
{
    void *all = NULL;
    bool grew;
    for (size_t left = (size_t)n * ss_classes[class].blocks; left > 0;) {
        struct ss_chain c = refill(h, class, MANY, &grew);
        REQUIRE(c.count <= left);
        left -= c.count;
        for (void *b = c.head, *next; b != NULL; b = next) {
            next = ss_next(b);
            ss_link(b, all);
            all = b;
        }
    }
    return all;
}

static struct ss_chain chain_of(void *head)
{
    struct ss_chain c = {.head = head};
    for (void *b = head; b != NULL; b = ss_next(b))
        c.count++;
    return c;
}

static void send_home(struct ss_chain c)
{
    uint32_t word = ss_word(c.head);
    ss_list_note_set(c.head, NULL, c.count);
    ss_send_home(ss_word_heap(word), c.head, c.head,
                 c.count * (size_t)ss_classes[ss_word_class(word)].size);
}

/* ---- Refill. ---- */

UNIT_TEST(refill_takes_its_four_steps_in_order)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(512);
    bool grew;
    struct ss_chain first = refill(h, class, 8, &grew); /* (4) a new superslab */
    REQUIRE(grew && unit_region().grown == 1);
    REQUIRE(unit_heap(h).slabs == 1);

    struct ss_chain more =
        refill(h, class, 8, &grew); /* (1) virgin blocks of the current slab */
    REQUIRE(!grew && unit_heap(h).slabs == 1);
    REQUIRE(more.head == (char *)first.head + first.count * (size_t)512);

    ss_flush(h, first.head); /* (1) its free list goes before virgin blocks, and whole */
    struct ss_chain again = refill(h, class, 1, &grew);
    REQUIRE(again.count == first.count);
    REQUIRE(unit_heap(h).slabs == 1);

    while (unit_heap(h).slabs == 1)
        (void)refill(h, class, MANY, &grew); /* (2) a free slab of the same superslab */
    REQUIRE(!grew && unit_region().grown == 1);
    ss_validate();
}

UNIT_TEST(refill_takes_a_pooled_superslab_before_a_new_one)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(8192), units = (unsigned)(2 * MIB / SS_UNIT);
    void *first = use_up_slabs(h, class, units), *second = use_up_slabs(h, class, units);
    REQUIRE(unit_heap(h).superslabs == 2 && unit_region().grown == 2);
    ss_flush(h, first);
    unit_tidy(h); /* the one slab that was kept for the next refill */
    REQUIRE(unit_region().pooled_superslabs == 1);
    REQUIRE(unit_heap(h).superslabs == 1);
    bool grew;
    (void)refill(h, class, 1, &grew); /* (3) */
    REQUIRE(!grew && unit_region().grown == 2 && unit_region().pooled_superslabs == 0);
    ss_flush(h, second);
    ss_validate();
}

UNIT_TEST(virgin_blocks_are_cut_a_page_at_a_time)
{
    unit_start();
    struct ss_heap *h = heap_new();
    bool grew;
    for (size_t size = 16; size <= 8192; size *= 2) {
        struct ss_chain c = refill(h, ss_class_of(size), MANY, &grew);
        REQUIRE(c.count == HAK_MAX(4096 / size, (size_t)1));
        REQUIRE(c.count == 1 || refill(h, ss_class_of(size), 1, &grew).count == 1);
    }
}

UNIT_TEST(the_refill_count_of_the_options_is_kept)
{
    unit_params();
    ss_params.refill_count = 7;
    REQUIRE(ss_init());
    struct ss_heap *h = heap_new();
    bool grew;
    for (unsigned i = 0; i < 20; i++)
        REQUIRE(refill(h, ss_class_of(64), MANY, &grew).count == 7);
}

UNIT_TEST(no_block_is_handed_out_twice_and_none_is_forgotten)
{
    unit_start();
    struct ss_heap *h = heap_new();
    for (unsigned c = ss_class_of(1); c < SS_NCLASS; c++) {
        char *low = NULL;
        void *all = use_up_slabs(h, c, 1);
        unsigned n = 0;
        for (char *b = all; b != NULL; b = ss_next(b), n++)
            low = low == NULL || b < low ? b : low;
        REQUIRE(n == ss_classes[c].blocks);
        for (char *b = all; b != NULL; b = ss_next(b)) { /* each at its own multiple */
            size_t i = (size_t)(b - low) / ss_classes[c].size;
            REQUIRE(i < n && low + i * ss_classes[c].size == b);
            REQUIRE(*(uint64_t *)(b + 8) != 0x5ee5ee5ee5ee5eeull + c);
            *(uint64_t *)(b + 8) = 0x5ee5ee5ee5ee5eeull + c;
        }
        REQUIRE(unit_heap(h).out[c] == n);
        ss_flush(h, all);
        REQUIRE(unit_heap(h).out[c] == 0);
        ss_validate();
    }
}

/* ---- Reuse across classes and heaps. ---- */

UNIT_TEST(an_emptied_slab_changes_class)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned a = ss_class_of(64), b = ss_class_of(96);
    void *one = use_up_slabs(h, a, 1), *two = use_up_slabs(h, a, 1);
    char *unit = (char *)((uintptr_t)one & ~(uintptr_t)(SS_UNIT - 1));
    ss_flush(h, two); /* stays: the last one of its class with room */
    ss_flush(h, one);
    REQUIRE(unit_heap(h).slabs == 1);
    bool grew;
    struct ss_chain c = refill(h, b, 1, &grew);
    char *reused = (char *)((uintptr_t)c.head & ~(uintptr_t)(SS_UNIT - 1));
    REQUIRE(reused == unit || reused == (char *)((uintptr_t)two & ~(uintptr_t)(SS_UNIT - 1)));
    REQUIRE(!grew && unit_region().grown == 1);
    ss_validate();
}

UNIT_TEST(units_that_hold_pages_are_used_before_virgin_ones)
{
    unit_start();
    struct ss_heap *h = heap_new();
    bool grew;
    (void)use_up_slabs(h, ss_class_of(64), 1);
    void *big = use_up_slabs(h, mid_class_of(20 * KIB), 1);
    (void)use_up_slabs(h, ss_class_of(80), 1);
    uintptr_t from = UINTPTR_MAX;
    for (void *b = big; b != NULL; b = ss_next(b))
        from = HAK_MIN(from, (uintptr_t)b);
    ss_flush(h, big); /* a hole of several units between two slabs */
    struct ss_chain c = refill(h, ss_class_of(112), 1, &grew);
    REQUIRE((uintptr_t)c.head == from);
    ss_validate();
}

/* The unit of each of n slabs of one unit, in a row; all blocks of slab i in blocks[i]. */
static size_t slabs_in_a_row(struct ss_heap *h, unsigned n, void **blocks)
{
    unsigned class = ss_class_of(8192);
    for (unsigned i = 0; i < n; i++) {
        blocks[i] = use_up_slabs(h, class, 1);
        REQUIRE(ss_unit_of(blocks[i]) == ss_unit_of(blocks[0]) + i);
    }
    return ss_unit_of(blocks[0]);
}

static void slab_empty(struct ss_heap *h, void *blocks)
{
    struct ss_slab *s = ss_slab_of(blocks);
    ss_flush(h, blocks);
    os_lock(&h->lock);
    if (h->slabs[ss_class_of(8192)] == s) /* the last of its class stayed */
        ss_slab_give_locked(h, s);
    os_unlock(&h->lock);
}

static size_t unit_of_new_slab(struct ss_heap *h, unsigned class)
{
    bool grew;
    return ss_unit_of(refill(h, class, MANY, &grew).head);
}

UNIT_TEST(a_slab_takes_the_shortest_row_of_units_that_holds_it)
{
    unit_start();
    struct ss_heap *h = heap_new();
    void *slab[12];
    size_t first = slabs_in_a_row(h, 12, slab);
    static const unsigned empty[] = {1, 2, 3, 5, 7, 8};
    for (unsigned i = 0; i < 6; i++)
        slab_empty(h, slab[empty[i]]);
    unsigned one = ss_class_of(64), two = mid_class_of(20 * KIB);
    REQUIRE(ss_classes[two].units == 2);
    REQUIRE(unit_of_new_slab(h, one) == first + 5);
    REQUIRE(unit_of_new_slab(h, two) == first + 7);
    REQUIRE(unit_of_new_slab(h, ss_class_of(96)) == first + 1);
    REQUIRE(unit_of_new_slab(h, ss_class_of(112)) == first + 2);
    ss_validate();
}

UNIT_TEST(of_rows_alike_a_slab_takes_that_in_the_fullest_superslab)
{
    unit_start();
    struct ss_heap *h = heap_new();
    enum { UNITS = 32 };
    void *a[UNITS], *b[UNITS], *c[UNITS];
    (void)slabs_in_a_row(h, UNITS, a);
    size_t full = slabs_in_a_row(h, UNITS, b);
    (void)slabs_in_a_row(h, UNITS, c);
    for (unsigned i = 1; i < 20; i += 2) { /* holes of one unit: ten, one, and five */
        slab_empty(h, a[i]);
        if (i == 9)
            slab_empty(h, b[i]);
        if (i < 10)
            slab_empty(h, c[i]);
    }
    REQUIRE(unit_of_new_slab(h, ss_class_of(64)) == full + 9);
    size_t next = unit_of_new_slab(h, ss_class_of(96));
    REQUIRE(next >= ss_unit_of(c[0]) && next < ss_unit_of(c[0]) + UNITS);
    ss_validate();
}

static void refill_from_fullest(unsigned class)
{
    struct ss_heap *h = heap_new();
    unsigned n = ss_classes[class].blocks;
    void *slab[3];
    bool grew;
    for (unsigned i = 0; i < 3; i++)
        slab[i] = use_up_slabs(h, class, 1);
    static const unsigned given[] = {4, 1, 3}; /* blocks of each that come home */
    for (unsigned i = 0; i < 3; i++) {
        void *last = slab[i];
        for (unsigned k = 1; k < given[i]; k++)
            last = ss_next(last);
        ss_link(last, NULL);
        ss_flush(h, slab[i]);
    }
    REQUIRE(n > 4);
    static const unsigned order[] = {1, 2, 0};
    for (unsigned i = 0; i < 3; i++) {
        struct ss_chain c = refill(h, class, 1, &grew);
        REQUIRE(c.head == slab[order[i]] && c.count == given[order[i]]);
    }
    ss_validate();
}

static const unsigned CLASS_64 = 4; /* its blocks fill a slab to the last byte */

UNIT_TEST(pages_of_a_slab_that_will_be_filled_come_in_one_call)
{
    unit_start();
    struct ss_heap *h = heap_new();
    bool grew;
    (void)use_up_slabs(h, CLASS_64, 4);
    REQUIRE(fake_os_calls(FAKE_OS_POPULATE) == 0);
    struct ss_chain c = refill(h, CLASS_64, 1, &grew);
    REQUIRE(fake_os_calls(FAKE_OS_POPULATE) == 1);
    struct fake_os_call call = fake_os_last(FAKE_OS_POPULATE);
    REQUIRE(call.addr == c.head && call.bytes == SS_UNIT && c.zero);
    REQUIRE(ss_held_bytes() == ss_held_walk());
    /* Of a large block nobody knows how much is used. */
    (void)use_up_slabs(h, SS_TINY_NCLASS, 6);
    (void)refill(h, CLASS_64 + 1, 1, &grew);
    REQUIRE(fake_os_calls(FAKE_OS_POPULATE) == 1);
    ss_validate();
}

static void fill_after(void (*setup)(void), uint64_t calls)
{
    unit_start();
    struct ss_heap *h = heap_new();
    (void)use_up_slabs(h, CLASS_64, 10);
    uint64_t before = fake_os_calls(FAKE_OS_POPULATE);
    setup();
    (void)use_up_slabs(h, CLASS_64, 10);
    REQUIRE(before == 6 && fake_os_calls(FAKE_OS_POPULATE) == before + calls);
    ss_validate();
}

static void refuse(void)
{
    fake_os_fail(FAKE_OS_POPULATE, 1, FAKE_OS_FOREVER);
}

static void press(void)
{
    ss_limits_set(SIZE_MAX, 0, 0);
}

UNIT_TEST(a_system_that_cannot_bring_pages_is_asked_once)
{
    fill_after(refuse, 1);
}

UNIT_TEST(under_pressure_pages_come_when_they_are_used)
{
    fill_after(press, 0);
}

UNIT_TEST(blocks_come_from_the_fullest_slab)
{
    unit_start();
    refill_from_fullest(mid_class_of(20 * KIB));
    refill_from_fullest(ss_class_of(4096));
    refill_from_fullest(ss_class_of(48));
}

UNIT_TEST(an_emptied_superslab_goes_to_another_heap)
{
    unit_start();
    struct ss_heap *h = heap_new(), *other = heap_new();
    REQUIRE(h != other);
    void *all = use_up_slabs(h, ss_class_of(1024), 3);
    char *superslab = (char *)((uintptr_t)all & ~(uintptr_t)(2 * MIB - 1));
    ss_flush(h, all);
    unit_tidy(h); /* also lets go of the slab that was kept for the next refill */
    REQUIRE(unit_heap(h).superslabs == 0 && unit_heap(h).slabs == 0);
    REQUIRE(unit_region().pooled_superslabs == 1);
    bool grew;
    struct ss_chain c = refill(other, ss_class_of(48), 1, &grew);
    REQUIRE((char *)((uintptr_t)c.head & ~(uintptr_t)(2 * MIB - 1)) == superslab);
    REQUIRE(!grew && unit_region().grown == 1);
    ss_validate();
}

UNIT_TEST(beyond_the_pools_bound_superslabs_become_free_runs)
{
    unit_params();
    ss_params.superslab_keep = 1;
    REQUIRE(ss_init());
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(8192);
    void *all[3];
    for (unsigned i = 0; i < 3; i++)
        all[i] = use_up_slabs(h, class, 32);
    for (unsigned i = 0; i < 3; i++)
        ss_flush(h, all[i]);
    unit_tidy(h);
    REQUIRE(unit_region().pooled_superslabs == 1);
    size_t frontier = ss_region.part[0].frontier;
    bool zero;
    REQUIRE(ss_run_alloc(32, SS_UNIT, &zero) != NULL &&
            ss_run_alloc(32, SS_UNIT, &zero) != NULL);
    REQUIRE(ss_region.part[0].frontier == frontier); /* where two of the three had been */
    REQUIRE(ss_purge() > 0);
    REQUIRE(unit_region().pooled_superslabs == 0);
    ss_validate();
}

UNIT_TEST(purged_slabs_read_zero_again_and_dirty_ones_are_counted)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(4096);
    (void)use_up_slabs(h, ss_class_of(16), 1); /* keeps the superslab from becoming empty */
    void *all = use_up_slabs(h, class, 8), *keep = all;
    for (void *b = all, *next; b != NULL; b = next) {
        next = ss_next(b);
        memset((char *)b + 8, 0xdd, 4088);
    }
    ss_flush(h, keep);
    REQUIRE(unit_heap(h).dirty_bytes == 7 * SS_UNIT); /* S6; one slab is kept */
    fake_os_fail(FAKE_OS_PURGE, 1, FAKE_OS_FOREVER);
    REQUIRE(ss_purge() == 0);
    REQUIRE(unit_heap(h).dirty_bytes == 8 * SS_UNIT);
    fake_os_reset();
    REQUIRE(ss_purge() == 8 * SS_UNIT);
    REQUIRE(unit_heap(h).dirty_bytes == 0);
    bool grew;
    for (unsigned i = 0; i < 8 * 16; i++) {
        struct ss_chain c = refill(h, class, 1, &grew);
        REQUIRE(hak_test_is_zero((char *)c.head + 8, 4088));
    }
    ss_validate();
}

UNIT_TEST(idle_slabs_go_back_along_the_curve_and_those_in_use_in_between_stay)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(8192);
    bool grew;
    (void)refill(h, ss_class_of(64), 1, &grew); /* the superslab stays */
    ss_flush(h, use_up_slabs(h, class, 24));
    unit_tidy(h);
    REQUIRE(unit_heap(h).dirty_bytes == 24 * SS_UNIT);
    REQUIRE(unit_ticks(1) == 0); /* they have not been free all through it */
    size_t returned = 0;
    for (unsigned i = 0; i < SS_DECAY_TICKS; i++) {
        void *busy = use_up_slabs(h, class, 4);
        REQUIRE(unit_heap(h).dirty_bytes == 20 * SS_UNIT - returned); /* no virgin ones */
        ss_flush(h, busy);
        unit_tidy(h);
        size_t now = unit_ticks(1);
        REQUIRE(i != 3 || (returned + now > 7 * SS_UNIT && returned + now < 13 * SS_UNIT));
        returned += now;
    }
    REQUIRE(returned == 20 * SS_UNIT && unit_heap(h).dirty_bytes == 4 * SS_UNIT);
    REQUIRE(unit_ticks(SS_DECAY_TICKS) == 4 * SS_UNIT);
    REQUIRE(unit_heap(h).dirty_bytes == 0);
    ss_validate();
}

UNIT_TEST(the_slab_kept_for_the_next_refill_and_what_came_home_go_back_when_nobody_asks)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(8192);
    void *kept = use_up_slabs(h, class, 1), *sent = use_up_slabs(h, ss_class_of(512), 3);
    ss_flush(h, kept);
    send_home(chain_of(sent));
    REQUIRE(unit_heap(h).slabs == 4);
    (void)unit_ticks(1);
    REQUIRE(unit_heap(h).slabs == 4); /* it was busy */
    (void)unit_ticks(2);
    REQUIRE(unit_heap(h).slabs == 0 && unit_heap(h).superslabs == 0);
    (void)unit_ticks(SS_DECAY_TICKS + 1);
    REQUIRE(unit_region().pooled_superslabs == 0 && unit_region().dirty_bytes == 0);
    ss_validate();
}

UNIT_TEST(what_a_tick_is_refused_stays_and_is_told)
{
    unit_start();
    char *p = ss_run_alloc(40, SS_UNIT, &(bool){false});
    ss_run_free(p);
    fake_os_fail(FAKE_OS_PURGE, 1, FAKE_OS_FOREVER);
    bool refused = false;
    for (unsigned i = 0; i < 3 * SS_DECAY_TICKS; i++) {
        struct ss_tick t;
        ss_tick(&t);
        REQUIRE(t.returned == 0);
        refused |= t.refused;
    }
    REQUIRE(refused && unit_region().dirty_bytes == 40 * SS_UNIT);
    fake_os_reset();
    REQUIRE(unit_ticks(2 * SS_DECAY_TICKS) == 40 * SS_UNIT);
    ss_validate();
}

/* ---- The way home. ---- */

UNIT_TEST(blocks_sent_home_wait_for_the_owners_refill)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(64);
    bool grew;
    struct ss_chain c = refill(h, class, MANY, &grew), sent = chain_of(c.head);
    send_home(sent);
    REQUIRE(unit_heap(h).out[class] == sent.count); /* still out: in the queue */
    ss_heap_drain(h);
    REQUIRE(unit_heap(h).out[class] == 0);
    ss_validate();
}

UNIT_TEST(for_a_heap_without_threads_the_sender_carries_them_home)
{
    unit_start();
    struct ss_heap *h = heap_new();
    unsigned class = ss_class_of(64);
    void *first = use_up_slabs(h, class, 1), *rest = ss_next(first);
    ss_link(first, NULL);
    atomic_store(&h->nthreads, 0);
    struct ss_chain one = chain_of(first), others = chain_of(rest);
    send_home(one); /* a few wait for its next thread; a slabful does not */
    REQUIRE(unit_heap(h).remote_takes == 0 && unit_heap(h).out[class] == others.count + 1);
    send_home(others);
    REQUIRE(unit_heap(h).remote_takes == 1 && unit_heap(h).out[class] == 0);
    ss_validate();
}

UNIT_TEST(a_queue_that_its_owner_neglects_is_carried_home)
{
    unit_start();
    struct ss_heap *h = heap_new();
    size_t sizes[] = {8192, 16};
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < 40; i++) { /* 20 MiB */
            struct ss_chain sent = chain_of(use_up_slabs(h, ss_class_of(sizes[k]), 8));
            send_home(sent);
        }
    }
    REQUIRE(unit_region().grown <= 4);
    ss_validate();
}

UNIT_TEST(only_heaps_without_threads_are_drained_by_others)
{
    unit_start();
    struct ss_heap *h[3];
    struct ss_chain sent[3];
    unsigned class = ss_class_of(64);
    bool grew;
    for (unsigned i = 0; i < 3; i++) {
        h[i] = heap_new();
        sent[i] = chain_of(refill(h[i], class, MANY, &grew).head);
        send_home(sent[i]);
    }
    atomic_store(&h[1]->nthreads, 0); /* its thread has ended since */
    for (unsigned i = 0; i < 3; i++)
        ss_drain_parked();
    REQUIRE(unit_heap(h[0]).out[class] > 0 && unit_heap(h[2]).out[class] > 0);
    REQUIRE(unit_heap(h[1]).out[class] == 0);
}

UNIT_TEST(the_queue_keeps_every_list_and_its_size_sticks)
{
    static ss_remote_t q;
    static uint64_t cells[70000][2];
    for (unsigned i = 0; i < 70000; i += 2) { /* two lists of 80 bytes: two grains of 64 */
        ss_list_note_set(cells[i], cells[i + 1], 7);
        ss_list_note_set(cells[i + 1], NULL, i % 1000);
        size_t bytes = ss_remote_push(&q, cells[i], cells[i + 1], 80);
        REQUIRE(bytes == HAK_MIN((size_t)i + 2, (size_t)65535) * 64);
    }
    REQUIRE(ss_remote_waiting(&q));
    unsigned n = 0;
    for (void *list = ss_remote_take(&q); list != NULL; list = ss_list_next(list), n++) {
        unsigned i = 70000 - 2 - n / 2 * 2; /* the newest push first, each in its order */
        REQUIRE(list == cells[i + n % 2]);
        REQUIRE(ss_list_count(list) == (n % 2 == 0 ? 7 : i % 1000));
    }
    REQUIRE(n == 70000);
    REQUIRE(!ss_remote_waiting(&q) && ss_remote_take(&q) == NULL);
}

static ss_remote_t shared_queue;
static _Atomic unsigned taken, pushers;

static void *push_many(void *cells)
{
    void *(*c)[2] = cells;
    for (unsigned i = 0; i < 20000; i++) {
        ss_list_note_set(c[i], NULL, 1);
        (void)ss_remote_push(&shared_queue, c[i], c[i], 64);
    }
    pushers--;
    return NULL;
}

static void *take_many(void *unused)
{
    bool last;
    do {
        last = pushers == 0;
        unsigned n = 0;
        for (void *b = ss_remote_take(&shared_queue); b != NULL; b = ss_list_next(b))
            n++;
        taken += n;
    } while (!last);
    return NULL;
}

UNIT_TEST(pushers_and_takers_lose_nothing)
{
    static void *cells[3][20000][2];
    pthread_t t[5];
    pushers = 3;
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(pthread_create(&t[i], NULL, push_many, cells[i]) == 0);
    for (unsigned i = 3; i < 5; i++)
        REQUIRE(pthread_create(&t[i], NULL, take_many, NULL) == 0);
    for (unsigned i = 0; i < 5; i++)
        REQUIRE(pthread_join(t[i], NULL) == 0);
    REQUIRE(taken == 60000 && !ss_remote_waiting(&shared_queue));
}

static struct ss_heap *shared_heap;

static void *refill_and_send(void *unused)
{
    bool grew;
    for (unsigned i = 0; i < 30000; i++) {
        struct ss_chain c;
        REQUIRE(ss_refill(shared_heap, ss_class_of(64), 1, &c, &grew));
        REQUIRE(c.count > 0); /* also where another thread emptied the queue in between */
        c = chain_of(c.head);
        send_home(c);
    }
    return NULL;
}

UNIT_TEST(threads_that_share_a_heap_are_never_refilled_with_nothing)
{
    pthread_t t[3];
    unit_start();
    shared_heap = heap_new();
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(pthread_create(&t[i], NULL, refill_and_send, NULL) == 0);
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(pthread_join(t[i], NULL) == 0);
    ss_validate();
}

/* ---- Which heap. ---- */

UNIT_TEST(heaps_are_made_up_to_the_bound_and_then_shared_evenly)
{
    unit_params();
    ss_params.heaps_max = 3;
    REQUIRE(ss_init());
    for (unsigned i = 0; i < 30; i++)
        (void)heap_new();
    REQUIRE(ss_nheaps() == 3);
    for (unsigned id = 1; id <= 3; id++) {
        REQUIRE(ss_heap_by_id(id)->nthreads == 10);
        REQUIRE(ss_heap_by_id(id)->id == id);
    }
}

UNIT_TEST(a_shared_heap_is_one_of_the_same_node)
{
    unit_nnodes = 2;
    unit_params();
    ss_params.heaps_max = 2;
    REQUIRE(ss_init());
    for (unsigned i = 0; i < 10; i++) /* each node has its own bound */
        REQUIRE(ss_heap_get(0)->node == 0 && ss_nheaps() <= 2);
    for (unsigned i = 0; i < 20; i++) {
        struct ss_heap *h = ss_heap_get(1);
        REQUIRE(h->node == 1);
    }
    REQUIRE(ss_nheaps() == 4);
}

UNIT_TEST(superslabs_stay_on_their_node)
{
    unit_nnodes = 2;
    unit_params();
    REQUIRE(ss_init());
    struct ss_heap *here = ss_heap_get(0), *there = ss_heap_get(1);
    void *all = use_up_slabs(here, ss_class_of(1024), 3);
    ss_flush(here, all);
    unit_tidy(here);
    REQUIRE(unit_region().pooled_superslabs == 1);
    bool grew;
    (void)refill(there, ss_class_of(1024), 1, &grew);
    REQUIRE(grew && unit_region().pooled_superslabs == 1);
    (void)refill(here, ss_class_of(1024), 1, &grew);
    REQUIRE(!grew && unit_region().pooled_superslabs == 0);
}

/* ---- No memory. ---- */

UNIT_TEST(without_memory_refill_says_so_and_works_again_later)
{
    unit_start();
    struct ss_heap *h = heap_new();
    struct ss_chain c;
    bool grew;
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    for (unsigned class = ss_class_of(1); class < SS_NCLASS; class += 7) {
        while (ss_refill(h, class, MANY, &c, &grew)) {
        }
        REQUIRE(c.count == 0);
        ss_validate();
    }
    fake_os_reset();
    for (unsigned class = ss_class_of(1); class < SS_NCLASS; class += 7)
        (void)refill(h, class, 1, &grew);
    ss_validate();
}

UNIT_TEST(heaps_without_memory_share_those_there_are)
{
    unit_start();
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    while (ss_meta_alloc(64) != NULL) { /* what the start brought */
    }
    REQUIRE(ss_heap_get(0) == NULL);
    fake_os_reset();
    struct ss_heap *h = heap_new();
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    while (ss_meta_alloc(64) != NULL) {
    }
    REQUIRE(ss_heap_get(0) == h);
}

/* ---- Everything at once. ---- */

UNIT_TEST(random_refills_flushes_and_purges_keep_the_invariants)
{
    enum { HEAPS = 3, HELD = 60 };
    unit_params();
    ss_params.superslab_bytes = 256 * KIB;
    ss_params.superslab_keep = 3;
    REQUIRE(ss_init());
    mid_init(ss_params.superslab_bytes, SIZE_MAX);
    struct ss_heap *h[HEAPS];
    static struct ss_chain held[HELD];
    uint64_t random = hak_test_env("HAK_TEST_SEED", 20261123);
    size_t out[HEAPS] = {0};
    for (unsigned i = 0; i < HEAPS; i++)
        h[i] = heap_new();
    unsigned top = mid_class_of(mid_max) + 1;
    for (unsigned step = 0; step < 20000; step++) {
        unsigned k = hak_test_random(&random) % HELD, what = hak_test_random(&random) % 100;
        if (what == 0) {
            (void)(k % 2 == 0 ? ss_purge() : unit_ticks(1));
        } else if (what == 1) {
            ss_heap_drain(h[k % HEAPS]);
        } else if (held[k].count == 0) {
            unsigned i = k % HEAPS;
            unsigned class = 1 + hak_test_random(&random) % (top - 1);
            bool grew;
            held[k] = chain_of(refill(h[i], class, 1 + what, &grew).head);
            out[i] += held[k].count;
        } else {
            out[k % HEAPS] -= held[k].count;
            if (what % 3 == 0)
                send_home(held[k]);
            else
                ss_flush(h[k % HEAPS], held[k].head);
            held[k].count = 0;
        }
        if (step % 100 == 0)
            ss_validate();
    }
    for (unsigned k = 0; k < HELD; k++)
        if (held[k].count > 0)
            ss_flush(h[k % HEAPS], held[k].head);
    for (unsigned i = 0; i < HEAPS; i++) {
        ss_heap_drain(h[i]);
        unit_tidy(h[i]);
        struct ss_heap_stats s = unit_heap(h[i]);
        for (unsigned c = 0; c < SS_NCLASS; c++)
            REQUIRE(s.out[c] == 0);
        REQUIRE(s.slabs == 0 && s.superslabs == 0);
    }
    ss_validate();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refill_takes_its_four_steps_in_order),
        cmocka_unit_test(refill_takes_a_pooled_superslab_before_a_new_one),
        cmocka_unit_test(virgin_blocks_are_cut_a_page_at_a_time),
        cmocka_unit_test(the_refill_count_of_the_options_is_kept),
        cmocka_unit_test(no_block_is_handed_out_twice_and_none_is_forgotten),
        cmocka_unit_test(an_emptied_slab_changes_class),
        cmocka_unit_test(units_that_hold_pages_are_used_before_virgin_ones),
        cmocka_unit_test(a_slab_takes_the_shortest_row_of_units_that_holds_it),
        cmocka_unit_test(of_rows_alike_a_slab_takes_that_in_the_fullest_superslab),
        cmocka_unit_test(pages_of_a_slab_that_will_be_filled_come_in_one_call),
        cmocka_unit_test(a_system_that_cannot_bring_pages_is_asked_once),
        cmocka_unit_test(under_pressure_pages_come_when_they_are_used),
        cmocka_unit_test(blocks_come_from_the_fullest_slab),
        cmocka_unit_test(an_emptied_superslab_goes_to_another_heap),
        cmocka_unit_test(beyond_the_pools_bound_superslabs_become_free_runs),
        cmocka_unit_test(purged_slabs_read_zero_again_and_dirty_ones_are_counted),
        cmocka_unit_test(
            the_slab_kept_for_the_next_refill_and_what_came_home_go_back_when_nobody_asks),
        cmocka_unit_test(what_a_tick_is_refused_stays_and_is_told),
        cmocka_unit_test(idle_slabs_go_back_along_the_curve_and_those_in_use_in_between_stay),
        cmocka_unit_test(blocks_sent_home_wait_for_the_owners_refill),
        cmocka_unit_test(for_a_heap_without_threads_the_sender_carries_them_home),
        cmocka_unit_test(a_queue_that_its_owner_neglects_is_carried_home),
        cmocka_unit_test(only_heaps_without_threads_are_drained_by_others),
        cmocka_unit_test(the_queue_keeps_every_list_and_its_size_sticks),
        cmocka_unit_test(pushers_and_takers_lose_nothing),
        cmocka_unit_test(threads_that_share_a_heap_are_never_refilled_with_nothing),
        cmocka_unit_test(heaps_are_made_up_to_the_bound_and_then_shared_evenly),
        cmocka_unit_test(a_shared_heap_is_one_of_the_same_node),
        cmocka_unit_test(superslabs_stay_on_their_node),
        cmocka_unit_test(without_memory_refill_says_so_and_works_again_later),
        cmocka_unit_test(heaps_without_memory_share_those_there_are),
        cmocka_unit_test(random_refills_flushes_and_purges_keep_the_invariants),
    };
    return cmocka_run_group_tests_name("superslab: heaps", tests, NULL, NULL);
}
