/* SPDX-License-Identifier: MIT
 *
 * tiny: bins, their capacities, the way home, and caches that outlive their threads.
 */
#include "tiny/tiny.h"

#include <pthread.h>
#include <string.h>

#include "unit.h"

static const uint64_t long_ns = 30000000000u; /* longer than any test runs */

static void tiny_start(bool adapt, uint32_t cap_max, uint32_t out_max)
{
    unit_start();
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        tiny_params.cap_max[c] = ss_classes[c].size != 0 ? cap_max : 0;
        tiny_params.remote_max[c] = ss_classes[c].size != 0 ? out_max : 0;
    }
    tiny_params.parcel_max = out_max;
    tiny_params.adapt = adapt;
    tiny_params.sweep_ns = 0;
    tiny_params.halve_ns = tiny_params.park_decay_ns = long_ns;
    fake_os_set_cpu(0);
    tiny_init();
}

/* malloc and free as api does them, for a thread that has a cache. */
static void *get(struct tiny_cache *tc, unsigned class)
{
    bool zero;
    void *p = tiny_pop(&tc->bin[class]);
    if (p == NULL)
        p = tiny_refill(tc, class, &zero);
    REQUIRE(p != NULL && ss_word_class(ss_word(p)) == class);
    return p;
}

static bool is_of(const struct tiny_cache *tc, const void *p)
{
    return ss_word_heap(ss_word(p)) == tc->heap->id;
}

static void put(struct tiny_cache *tc, void *p)
{
    if (!tiny_push(tc, p))
        (is_of(tc, p) ? tiny_give : tiny_give_remote)(tc, ss_word_class(ss_word(p)), p);
}

static uint64_t room(const struct tiny_cache *tc, unsigned class)
{
    return tc->bin[class].room >> TINY_ROOM_SHIFT;
}

static unsigned length(const void *list)
{
    unsigned n = 0;
    for (; list != NULL; list = ss_next(list))
        n++;
    return n;
}

/* ---- Bins. ---- */

UNIT_TEST(without_capacity_nothing_is_kept_whatever_a_refill_brings)
{
    tiny_start(false, 0, 8);
    struct tiny_cache *tc = tiny_attach();
    void *p[100];
    for (unsigned i = 0; i < 100; i++)
        p[i] = get(tc, 4);
    for (unsigned i = 1; i < 100; i++)
        put(tc, p[i]); /* the slab's free list: 99 blocks, which the next refill takes whole */
    REQUIRE(get(tc, 4) != NULL);
    REQUIRE(length(tc->bin[4].head) == 0 && tc->bin[4].spare == NULL && room(tc, 4) == 0);
}

/* Bins of classes that went out of use would each hold as many slabs as they have blocks. */
UNIT_TEST(a_bin_that_does_not_move_is_emptied_while_others_work)
{
    tiny_start(true, 64, 8);
    struct tiny_cache *tc = tiny_attach();
    void *idle = get(tc, 4);
    put(tc, idle);
    REQUIRE(length(tc->bin[4].head) > 0);
    for (unsigned i = 0; i < 200000 && tc->bin[4].head != NULL; i++)
        (void)get(tc, 5);
    REQUIRE(tc->bin[4].head == NULL && tc->bin[4].spare == NULL);
    tiny_validate(tc);
    ss_validate();
}

/* Few operations move much memory then, and the slabs that idle bins hold are what it could use. */
UNIT_TEST(large_lists_and_large_blocks_bring_the_sweep_on)
{
    tiny_start(true, 4, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned mid = mid_class_of(128 * KIB);
    for (unsigned round = 0; round < 40; round++) { /* of at most ten slow operations */
        void *p[10];
        if (round == 2) /* from here on there is memory enough: growth sweeps, too */
            put(tc, get(tc, 4));
        for (unsigned i = 0; i < 10; i++)
            p[i] = get(tc, mid);
        for (unsigned i = 0; i < 10; i++)
            put(tc, p[i]);
    }
    REQUIRE(tc->bin[4].head == NULL && tc->bin[4].spare == NULL);
    put(tc, get(tc, 4));
    for (unsigned i = 0; i < 3; i++)
        tiny_tick(tc, 64 * MIB);
    REQUIRE(tc->bin[4].head == NULL && tc->bin[4].spare == NULL);
    tiny_validate(tc);
}

UNIT_TEST(an_age_beyond_the_start_of_time_is_no_age)
{
    tiny_start(false, 64, 8);
    struct tiny_cache *tc = tiny_borrow();
    put(tc, get(tc, 4));
    tiny_park(tc);
    tiny_flush_parked(UINT64_MAX);
    REQUIRE(!tc->parked_empty);
    tiny_flush_parked(0);
    REQUIRE(tc->parked_empty && length(tc->bin[4].head) == 0);
}

UNIT_TEST(what_was_pushed_last_is_popped_first)
{
    tiny_start(false, 64, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(48);
    void *p[10];
    for (unsigned i = 0; i < 10; i++)
        p[i] = get(tc, class);
    uint64_t before = room(tc, class);
    for (unsigned i = 0; i < 10; i++)
        REQUIRE(tiny_push(tc, p[i]));
    REQUIRE(room(tc, class) == before - 10); /* T2 */
    for (unsigned i = 10; i-- > 0;)
        REQUIRE(tiny_pop(&tc->bin[class]) == p[i]);
    REQUIRE(room(tc, class) == before);
    tiny_validate(tc);
}

UNIT_TEST(a_thread_without_a_cache_has_empty_bins_and_takes_no_block)
{
    tiny_start(false, 64, 8);
    REQUIRE(tiny_tls.self == &tiny_cache_none); /* T3 */
    for (unsigned c = 0; c < SS_NCLASS; c++)
        REQUIRE(tiny_pop((struct tiny_bin *)&tiny_cache_none.bin[c]) == NULL);
    struct tiny_cache *tc = tiny_borrow();
    void *p = get(tc, ss_class_of(100));
    REQUIRE(!tiny_push((struct tiny_cache *)&tiny_cache_none, p));
    REQUIRE(!tiny_push((struct tiny_cache *)&tiny_cache_ended, p));
    REQUIRE(!tiny_push((struct tiny_cache *)&tiny_cache_none, NULL));
    tiny_park(tc);
}

UNIT_TEST(the_fast_push_refuses_everything_but_blocks)
{
    tiny_start(false, 64, 8);
    struct tiny_cache *tc = tiny_attach(), *other = tiny_borrow();
    REQUIRE(other != tc && other->heap != tc->heap);
    char *mine = get(tc, ss_class_of(64)), *theirs = get(other, ss_class_of(64));
    char *mid = get(tc, mid_class_of(20 * KIB)), local[64];
    while ((uintptr_t)mid % SS_UNIT + 20 * KIB <= SS_UNIT)
        mid = get(tc, mid_class_of(20 * KIB));
    bool zero;
    char *run = ss_run_alloc(3, SS_UNIT, &zero);
    char *refused[] = {
        run,  run + SS_UNIT,       local,
        NULL, (char *)UINTPTR_MAX, (char *)ss_map.base + (ss_map.units - 1) * SS_UNIT};
    for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        REQUIRE(!tiny_push(tc, refused[i]));
    for (unsigned at = 1; at < 64; at++)
        REQUIRE(!tiny_push(tc, mine + at) && !tiny_push(tc, theirs + at));
    REQUIRE(tiny_push(tc, mine) && tiny_push(tc, theirs));
    REQUIRE(tc->bin[ss_class_of(64)].head == mine &&
            tc->remote[ss_class_of(64)].head == theirs);
    REQUIRE(!tiny_push(tc, mine) && !tiny_push(tc, theirs)); /* twice */
    for (size_t at = 1; at < 20 * KIB; at++)                 /* over unit borders */
        REQUIRE(!tiny_push(tc, mid + at));
    REQUIRE(tiny_push(tc, mid));
    tiny_validate(tc);
}

UNIT_TEST(a_full_list_is_set_aside_and_taken_back_whole)
{
    tiny_start(false, 8, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64);
    void *p[16];
    for (unsigned i = 0; i < 16; i++)
        p[i] = get(tc, class);
    tiny_flush(tc);
    for (unsigned i = 0; i < 16; i++)
        put(tc, p[i]);
    REQUIRE(length(tc->bin[class].head) == 8 && length(tc->bin[class].spare) == 8);
    uint64_t refills = unit_heap(tc->heap).refills, flushes = unit_heap(tc->heap).flushes;
    for (unsigned round = 0; round < 10; round++) { /* back and forth over the boundary */
        for (unsigned i = 0; i < 16; i++)
            p[i] = get(tc, class);
        for (unsigned i = 0; i < 16; i++)
            put(tc, p[i]);
    }
    REQUIRE(unit_heap(tc->heap).refills == refills);
    REQUIRE(unit_heap(tc->heap).flushes == flushes);
    tiny_validate(tc);
}

UNIT_TEST(no_bin_holds_more_than_twice_its_capacity)
{
    tiny_start(true, 40, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64);
    enum { N = 5000 };
    static void *p[N];
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < N; i++)
            p[i] = get(tc, class);
        for (unsigned i = 0; i < N; i++) {
            put(tc, p[i]);
            if (i % 97 == 0)
                REQUIRE(length(tc->bin[class].head) <= 40 || room(tc, class) == 0);
        }
        REQUIRE(length(tc->bin[class].head) + length(tc->bin[class].spare) <= 80);
        REQUIRE(tc->cap[class] <= 40);
    }
    tiny_validate(tc);
    ss_validate();
}

UNIT_TEST(capacities_grow_with_misses_up_to_the_bound)
{
    tiny_start(true, 1000, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64);
    uint32_t first = tc->cap[class];
    REQUIRE(first > 0 && first < 1000);
    uint32_t last = first;
    for (unsigned i = 0; i < 100000; i++) {
        (void)get(tc, class);
        REQUIRE(tc->cap[class] >= last);
        last = tc->cap[class];
    }
    REQUIRE(last == 1000);
    REQUIRE(tc->cap[ss_class_of(2000)] <= first); /* other classes did not */
}

UNIT_TEST(without_adaption_capacities_stay_where_they_are)
{
    tiny_start(false, 33, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64);
    static void *p[3000];
    for (unsigned i = 0; i < 3000; i++)
        p[i] = get(tc, class);
    for (unsigned i = 0; i < 3000; i++)
        put(tc, p[i]);
    REQUIRE(tc->cap[class] == 33);
}

UNIT_TEST(an_idle_class_gives_up_its_spare_list_and_capacity)
{
    tiny_start(true, 512, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned idle = ss_class_of(64), busy = ss_class_of(2048);
    static void *p[20000];
    for (unsigned i = 0; i < 20000; i++)
        p[i] = get(tc, idle);
    for (unsigned i = 0; i < 20000; i++)
        put(tc, p[i]);
    REQUIRE(tc->bin[idle].spare != NULL && tc->cap[idle] == 512);
    for (unsigned i = 0; i < 60000; i++) /* slow operations tick, many sweeps pass */
        (void)get(tc, busy);
    REQUIRE(tc->bin[idle].spare == NULL && tc->cap[idle] < 512);
    tiny_validate(tc);
}

/* Its blocks are in the CPU's cache, those of the lists below are not. */
UNIT_TEST(where_the_stack_is_full_the_list_just_filled_goes_back)
{
    tiny_start(false, 10, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64);
    void *p[30];
    for (unsigned i = 0; i < 30; i++)
        p[i] = get(tc, class);
    tiny_flush(tc);
    uint64_t out = unit_heap(tc->heap).out[class];
    for (unsigned i = 0; i < 30; i++)
        put(tc, p[i]);
    REQUIRE(unit_heap(tc->heap).out[class] == out - 10);
    REQUIRE(tc->bin[class].spare == p[9] && ss_list_next(p[9]) == NULL);
    REQUIRE(tc->bin[class].head == p[29]);
    REQUIRE(ss_slab_of(p[0])->free == p[19]);
    tiny_validate(tc);
}

enum { WAVE = 20000, KEEP = 512 };

/* All blocks of a wave taken, then all given back: 39 lists of 512. */
static void wave(struct tiny_cache *tc, unsigned class)
{
    static void *p[WAVE];
    for (unsigned i = 0; i < WAVE; i++)
        p[i] = get(tc, class);
    for (unsigned i = 0; i < WAVE; i++)
        put(tc, p[i]);
}

UNIT_TEST(a_load_that_comes_in_waves_keeps_as_many_lists_as_a_wave_has)
{
    tiny_start(true, KEEP, 8);
    atomic_store(&tiny_quota, 8 * (int64_t)MIB);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64);
    wave(tc, class);
    wave(tc, class);
    uint64_t refills = unit_heap(tc->heap).refills, flushes = unit_heap(tc->heap).flushes;
    for (unsigned i = 0; i < 5; i++)
        wave(tc, class);
    REQUIRE(unit_heap(tc->heap).flushes == flushes);
    REQUIRE(unit_heap(tc->heap).refills - refills <= 5); /* the last list may be a short one */
    REQUIRE(tc->spares[class] > 30 * KEEP);
    tiny_validate(tc); /* T5 */
    size_t cached = tiny_cached_bytes(TINY_NODES_ALL);
    REQUIRE(cached >= WAVE * 64u && cached <= WAVE * 64u + 4096);
    tiny_flush(tc);
    REQUIRE(tc->spares[class] == 0 && tc->spare_bytes == 0);
    REQUIRE(unit_heap(tc->heap).out[class] == 0);
    REQUIRE(atomic_load(&tiny_quota) == 8 * (int64_t)MIB && tc->quota == 0);
    ss_validate();
}

UNIT_TEST(spare_lists_of_all_caches_together_stay_within_the_quota)
{
    tiny_start(true, KEEP, 8);
    atomic_store(&tiny_quota, 2 * (int64_t)MIB);
    struct tiny_cache *tc[] = {tiny_attach(), tiny_borrow(), tiny_borrow()};
    unsigned class = ss_class_of(64);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 3; i++) {
            wave(tc[i], class);
            REQUIRE(atomic_load(&tiny_quota) >= 0);
        }
    }
    size_t list = KEEP * 64, held = 0;
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(tc[i]->spare_bytes <= tc[i]->quota + list);
        held += tc[i]->spare_bytes;
        tiny_validate(tc[i]);
    }
    REQUIRE(held > MIB && held <= 2 * MIB + 3 * list);
    for (unsigned i = 0; i < 3; i++)
        tiny_flush(tc[i]);
    REQUIRE(atomic_load(&tiny_quota) == 2 * (int64_t)MIB);
    ss_validate();
}

UNIT_TEST(spare_lists_that_were_not_needed_between_two_sweeps_go_back)
{
    tiny_start(true, KEEP, 8);
    atomic_store(&tiny_quota, 8 * (int64_t)MIB);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64), other = ss_class_of(2048);
    wave(tc, class);
    wave(tc, class);
    REQUIRE(tc->spares[class] > 30 * KEEP);
    void *p[2 * KEEP];
    for (unsigned i = 0; i < 60000; i++) { /* two lists of the class at work; sweeps pass */
        for (unsigned k = 0; i % 100 == 0 && k < 2 * KEEP; k++)
            p[k] = get(tc, class);
        for (unsigned k = 0; i % 100 == 0 && k < 2 * KEEP; k++)
            put(tc, p[k]);
        (void)get(tc, other);
    }
    REQUIRE(tc->spares[class] >= KEEP && tc->spares[class] <= 3 * KEEP);
    tiny_validate(tc);
}

UNIT_TEST(a_capacity_of_nothing_keeps_nothing)
{
    tiny_start(false, 0, 1);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(64);
    void *p[100];
    for (unsigned i = 0; i < 100; i++)
        p[i] = get(tc, class);
    tiny_flush(tc);
    for (unsigned i = 0; i < 100; i++)
        put(tc, p[i]);
    REQUIRE(unit_heap(tc->heap).out[class] == 0);
}

UNIT_TEST(flush_leaves_no_block_behind)
{
    tiny_start(true, 100, 50);
    struct tiny_cache *tc = tiny_attach(), *other = tiny_borrow();
    for (unsigned c = ss_class_of(1); c < SS_NCLASS; c++) {
        void *p[6];
        for (unsigned i = 0; i < 6; i++)
            p[i] = get(i < 3 ? tc : other, c);
        for (unsigned i = 0; i < 3; i++) {
            put(tc, p[i]);
            put(tc, p[i + 3]);
        }
    }
    tiny_validate(tc);
    tiny_flush(tc);
    tiny_flush(other);
    ss_heap_drain(other->heap);
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        REQUIRE(tc->bin[c].head == NULL && tc->bin[c].spare == NULL);
        REQUIRE(unit_heap(tc->heap).out[c] == 0);
        REQUIRE(unit_heap(other->heap).out[c] == 0);
    }
    ss_validate();
}

UNIT_TEST(cached_bytes_are_those_in_the_lists)
{
    tiny_start(false, 100, 50);
    struct tiny_cache *tc = tiny_attach();
    tiny_flush(tc);
    REQUIRE(tiny_cached_bytes(TINY_NODES_ALL) == 0);
    void *p = get(tc, ss_class_of(64));
    size_t rest = tiny_cached_bytes(TINY_NODES_ALL);
    put(tc, p);
    REQUIRE(tiny_cached_bytes(TINY_NODES_ALL) == rest + 64);
    tiny_flush(tc);
    REQUIRE(tiny_cached_bytes(TINY_NODES_ALL) == 0);
}

/* ---- The way home. ---- */

UNIT_TEST(blocks_of_other_heaps_go_home_in_batches)
{
    tiny_start(false, 64, 10);
    struct tiny_cache *tc = tiny_attach(), *owner = tiny_borrow();
    unsigned class = ss_class_of(64);
    void *p[25];
    for (unsigned i = 0; i < 25; i++)
        p[i] = get(owner, class);
    for (unsigned i = 0; i < 25; i++) {
        put(tc, p[i]);
        REQUIRE(ss_remote_waiting(&owner->heap->remote) == (i >= 10)); /* with the next */
        tiny_validate(tc);
    }
    void *list = ss_remote_take(&owner->heap->remote);
    REQUIRE(length(list) == 10 && ss_list_count(list) == 10);
    list = ss_list_next(list);
    REQUIRE(length(list) == 10 && ss_list_next(list) == NULL);
}

UNIT_TEST(lists_of_one_owner_travel_together)
{
    tiny_start(false, 64, 10);
    struct tiny_cache *tc = tiny_attach(), *owner = tiny_borrow();
    tiny_params.parcel_max = 12;
    unsigned a = ss_class_of(64), b = ss_class_of(96);
    void *p[22];
    for (unsigned i = 0; i < 22; i++)
        p[i] = get(owner, i < 11 ? a : b);
    for (unsigned i = 0; i < 22; i++) {
        put(tc, p[i]);
        REQUIRE(ss_remote_waiting(&owner->heap->remote) ==
                (i == 21)); /* not with the first ten */
        tiny_validate(tc);
    }
    void *list = ss_remote_take(&owner->heap->remote);
    REQUIRE(ss_list_count(list) == 10 && ss_word_class(ss_word(list)) == b);
    list = ss_list_next(list);
    REQUIRE(ss_list_count(list) == 10 && ss_word_class(ss_word(list)) == a);
}

UNIT_TEST(blocks_of_several_owners_are_sorted_and_keep_their_rows)
{
    tiny_start(false, 64, 12);
    tiny_params.parcel_max = 1000;
    struct tiny_cache *tc = tiny_attach(), *owner[] = {tiny_borrow(), tiny_borrow()};
    unsigned class = ss_class_of(64);
    for (unsigned i = 0; i < 12; i++) /* three of one, three of the other, and so on */
        put(tc, get(owner[i / 3 % 2], class));
    for (unsigned i = 0; i < 2; i++) {
        put(tc, get(owner[i], class)); /* the first of these sends the twelve on their way */
        tiny_validate(tc);
    }
    tiny_flush(tc);
    for (unsigned i = 0; i < 2; i++) {
        void *list = ss_remote_take(&owner[i]->heap->remote);
        REQUIRE(length(list) == 7 && ss_list_count(list) == 7 && ss_list_next(list) == NULL);
        for (void *b = list; b != NULL; b = ss_next(b))
            REQUIRE(is_of(owner[i], b));
    }
}

UNIT_TEST(a_parcel_is_bounded_in_bytes_too)
{
    tiny_start(false, 0, 1000); /* nothing stays */
    unsigned class = ss_class_of(8192);
    tiny_params.remote_max[class] = 2;
    struct tiny_cache *tc = tiny_attach(), *owner = tiny_borrow();
    for (unsigned i = 1; i <= 5; i++) {
        void *p = get(owner, class);
        put(tc, p);
        REQUIRE(ss_remote_waiting(&owner->heap->remote) == (i == 5)); /* 32 KiB */
    }
}

/* tc frees n blocks of owner's. */
static void free_others(struct tiny_cache *tc, struct tiny_cache *owner, unsigned class,
                        unsigned n)
{
    void *p[200];
    for (unsigned i = 0; i < n; i++)
        p[i] = get(owner, class);
    for (unsigned i = 0; i < n; i++)
        put(tc, p[i]);
    tiny_validate(tc);
}

UNIT_TEST(other_heaps_blocks_are_used_where_own_ones_run_out)
{
    tiny_start(true, 64, 100);
    struct tiny_cache *tc = tiny_attach(), *owner = tiny_borrow();
    for (unsigned class = ss_class_of(16); class < SS_NCLASS; class += 13) {
        unsigned n = 1024 / ss_classes[class].size + 1;
        uint64_t refills = unit_heap(tc->heap).refills;
        free_others(tc, owner, class, n);
        for (unsigned i = 0; i < n; i++)
            REQUIRE(is_of(owner, get(tc, class)));
        REQUIRE(unit_heap(tc->heap).refills == refills && tc->remote[class].head == NULL);
        REQUIRE(is_of(tc, get(tc, class)));
        tiny_validate(tc);
    }
}

/* Whose neighbours on the same cache line other threads may be writing. */
UNIT_TEST(a_few_blocks_of_other_heaps_are_not_used)
{
    tiny_start(true, 64, 100);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(16);
    free_others(tc, tiny_borrow(), class, 1024 / 16 - 1);
    for (unsigned i = 0; i < 1000; i++)
        REQUIRE(is_of(tc, get(tc, class)));
}

UNIT_TEST(a_full_list_of_other_heaps_blocks_stays_where_there_is_room_for_it)
{
    tiny_start(false, 64, 32);
    struct tiny_cache *tc = tiny_attach(), *owner = tiny_borrow();
    unsigned class = ss_class_of(64);
    free_others(tc, owner, class, 33);
    REQUIRE(tc->spares[class] == 32 && length(tc->remote[class].head) == 1);
    free_others(tc, owner, class, 63);
    REQUIRE(tc->spares[class] == 64 && !ss_remote_waiting(&owner->heap->remote));
    free_others(tc, owner, class,
                1); /* there are as many as a list may be long: this one goes */
    REQUIRE(tc->spares[class] == 64 && ss_remote_waiting(&owner->heap->remote));
    for (unsigned i = 0; i < 64; i++)
        REQUIRE(is_of(owner, get(tc, class)));
    tiny_validate(tc);
}

UNIT_TEST(blocks_of_another_node_do_not_stay)
{
    unit_nnodes = 2;
    tiny_start(true, 64, 32);
    struct tiny_cache *tc = tiny_attach(), *near = tiny_borrow();
    fake_os_set_node(1);
    struct tiny_cache *far = tiny_borrow();
    unsigned class = ss_class_of(64);
    free_others(tc, near, class, 20);
    free_others(tc, far, class, 10);
    REQUIRE(near->node == tc->node && far->node != tc->node);
    for (unsigned i = 0; i < 20; i++)
        REQUIRE(is_of(near, get(tc, class)));
    REQUIRE(is_of(tc, get(tc, class)));
    tiny_flush(tc);
    REQUIRE(ss_remote_waiting(&far->heap->remote));
    ss_heap_drain(far->heap);
    tiny_flush(far);
    REQUIRE(unit_heap(far->heap).out[class] == 0);
}

UNIT_TEST(what_came_home_is_taken_before_the_heap_is_asked)
{
    tiny_start(false, 64, 10);
    struct tiny_cache *tc = tiny_attach(), *owner = tiny_borrow();
    enum { N = 32 };
    void *p[N];
    unsigned a = ss_class_of(64), b = ss_class_of(2000), c = mid_class_of(20 * KIB);
    for (unsigned i = 0; i < N; i++)
        p[i] = get(owner, i % 16 < 14 ? a : i % 16 == 14 ? b : c);
    tiny_flush(owner);
    for (unsigned i = 0; i < N; i++)
        put(tc, p[i]);
    tiny_flush(tc);
    uint64_t refills = unit_heap(owner->heap).refills;
    REQUIRE(get(owner, b) != NULL);
    tiny_validate(owner);
    REQUIRE(owner->spares[a] == 28); /* lists, as they came */
    REQUIRE(length(owner->bin[b].head) == 1 &&
            length(owner->bin[c].head) == 2); /* short ones */
    for (unsigned i = 0; i < 28; i++)
        REQUIRE(get(owner, a) != NULL);
    REQUIRE(unit_heap(owner->heap).refills == refills && owner->inbox == NULL);
    tiny_validate(owner);
}

UNIT_TEST(one_refill_takes_in_no_more_than_a_part_of_what_came_home)
{
    tiny_start(false, 64, 4);
    struct tiny_cache *tc = tiny_attach(), *owner = tiny_borrow();
    enum { N = 5000 };
    static void *p[N];
    unsigned class = ss_class_of(32), other = ss_class_of(64);
    for (unsigned i = 0; i < N; i++)
        p[i] = get(owner, class);
    tiny_flush(owner);
    for (unsigned i = 0; i < N; i++)
        put(tc, p[i]);
    tiny_flush(tc);
    REQUIRE(get(owner, other) != NULL); /* of which nothing came home */
    unsigned left = 0;
    for (void *list = owner->inbox; list != NULL; list = ss_list_next(list))
        left += ss_list_count(list);
    REQUIRE(left >= N - 2000 && left < N);
    tiny_validate(owner);
    for (unsigned i = 0; i < N; i++)
        REQUIRE(get(owner, class) != NULL);
    REQUIRE(owner->inbox == NULL);
    tiny_flush(owner);
    ss_validate();
}

/* Slow operations until the next sweep, of a class that needs no more memory for them. */
static void work_until_sweep(struct tiny_cache *tc, unsigned class)
{
    void *p[100];
    for (uint32_t sweep = tc->ticks / 256; tc->ticks / 256 == sweep;) {
        for (unsigned i = 0; i < 100; i++)
            p[i] = get(tc, class);
        for (unsigned i = 0; i < 100; i++)
            put(tc, p[i]);
    }
}

/* Capacity grew by lists that came home, beyond what the bin had room for; then it shrinks. */
UNIT_TEST(an_empty_bin_whose_capacity_shrinks_still_takes_a_block)
{
    tiny_start(true, 40, 16);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(1152), busy = ss_class_of(2048);
    void *p[10];
    for (unsigned i = 0; i < 10; i++)
        p[i] = get(tc, class);
    tiny_flush(tc);
    REQUIRE(tc->cap[class] == 2 && tc->bin[class].head == NULL && room(tc, class) == 2);
    ss_link(p[9], NULL); /* as if one had come home, and others gone since */
    ss_list_note_set(p[9], NULL, 1);
    tc->bin[class].spare = p[9];
    tc->spares[class] = tc->spares_low[class] = 1;
    tc->spare_bytes = ss_classes[class].size;
    tc->cap[class] = 40;
    tc->moved[class] = true;
    work_until_sweep(tc, busy);
    REQUIRE(tc->cap[class] < 40 && tc->spares[class] == 0);
    tiny_validate(tc);
    for (unsigned i = 0; i < 9; i++)
        put(tc, p[i]);
    tiny_validate(tc);
}

/* What a bin did without it cannot tell; it tries. */
UNIT_TEST(a_bin_that_had_enough_for_long_gives_half_of_its_list_up)
{
    tiny_start(true, 64, 16);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(32), busy = ss_class_of(2048);
    enum { HAD = 60 };
    void *p[HAD];
    for (unsigned i = 0; i < HAD; i++)
        p[i] = get(tc, class);
    for (unsigned i = 0; i < HAD; i++)
        put(tc, p[i]);
    work_until_sweep(tc, busy);
    put(tc, get(tc, class));
    unsigned had = length(tc->bin[class].head);
    tiny_params.halve_ns = 0;
    tc->moved[class] = tc->starved[class] = true;
    work_until_sweep(tc, busy);
    REQUIRE(length(tc->bin[class].head) == had && had >= 4); /* it asked the heap meanwhile */
    tc->moved[class] = true;                                 /* else it is idle, and emptied */
    work_until_sweep(tc, busy);
    REQUIRE(length(tc->bin[class].head) == had / 2);
    tiny_validate(tc);
    ss_validate();
}

UNIT_TEST(caches_that_trade_blocks_at_random_keep_their_accounts)
{
    tiny_start(true, 40, 16);
    atomic_store(&tiny_quota, 4 * (int64_t)MIB);
    struct tiny_cache *tc[] = {tiny_attach(), tiny_borrow(), tiny_borrow()};
    enum { N = 3000 };
    static void *p[N];
    uint64_t random = 11;
    for (unsigned step = 0; step < 600000; step++) {
        /* Phases: sizes and the way blocks go change, so that capacities grow and shrink. */
        unsigned phase = step / 50000, k = hak_test_random(&random) % N;
        struct tiny_cache *by = tc[hak_test_random(&random) % (1 + phase % 3)];
        if (p[k] == NULL) {
            p[k] = get(by, ss_class_of(1 + hak_test_random(&random) % (64u << phase % 6)));
        } else {
            put(by, p[k]);
            p[k] = NULL;
        }
        if (step % 5000 == 0) {
            for (unsigned i = 0; i < 3; i++)
                tiny_validate(tc[i]);
            ss_validate();
        }
    }
    for (unsigned k = 0; k < N; k++) {
        if (p[k] != NULL)
            put(tc[0], p[k]);
    }
    for (unsigned i = 0; i < 3; i++)
        tiny_flush(tc[i]);
    for (unsigned i = 0; i < 3; i++) {
        ss_heap_drain(tc[i]->heap);
        for (unsigned c = 0; c < SS_NCLASS; c++)
            REQUIRE(unit_heap(tc[i]->heap).out[c] == 0);
    }
    REQUIRE(atomic_load(&tiny_quota) == 4 * (int64_t)MIB);
    ss_validate();
}

UNIT_TEST(a_sender_tells_owners_and_classes_apart)
{
    tiny_start(false, 64, 1000);
    struct tiny_cache *tc = tiny_attach(), *owner[4];
    for (unsigned i = 0; i < 4; i++)
        owner[i] = tiny_borrow();
    enum { N = 2000 };
    uint64_t random = 7;
    for (unsigned i = 0; i < N; i++) {
        struct tiny_cache *o = owner[hak_test_random(&random) % 4];
        void *p = get(o, 1 + hak_test_random(&random) % (SS_NCLASS - 1));
        put(tc, p);
        if (i % 100 == 0)
            tiny_validate(tc);
    }
    tiny_flush(tc);
    for (unsigned i = 0; i < 4; i++) {
        ss_heap_drain(owner[i]->heap);
        tiny_flush(owner[i]);
        for (unsigned c = 0; c < SS_NCLASS; c++)
            REQUIRE(unit_heap(owner[i]->heap).out[c] == 0);
    }
    ss_validate();
}

/* ---- Threads. ---- */

static struct tiny_cache *seen;
static void *kept;

static void *live_and_die(void *unused)
{
    struct tiny_cache *tc = tiny_attach();
    REQUIRE(tc != NULL && tiny_tls.self == tc);
    seen = tc;
    void *p[20];
    for (unsigned i = 0; i < 20; i++)
        p[i] = get(tc, ss_class_of(64));
    for (unsigned i = 0; i < 20; i++)
        put(tc, p[i]);
    kept = tc->bin[ss_class_of(64)].head;
    return NULL;
}

static void one_thread(void)
{
    pthread_t t;
    REQUIRE(pthread_create(&t, NULL, live_and_die, NULL) == 0);
    REQUIRE(pthread_join(t, NULL) == 0);
}

UNIT_TEST(a_thread_takes_over_the_filled_cache_of_the_one_before)
{
    tiny_start(true, 100, 8);
    one_thread();
    struct tiny_cache *first = seen;
    void *newest = kept;
    REQUIRE(first->parked_ns != 0 && first->bin[ss_class_of(64)].head == newest);
    uint64_t refills = unit_heap(first->heap).refills;
    one_thread();
    REQUIRE(seen == first && tiny_ncaches() == 1);
    REQUIRE(unit_heap(first->heap).refills == refills);
    REQUIRE(first->heap->nthreads == 0);
}

/* The law: after the first few, a thread makes no system call and no mapping. */
UNIT_TEST(birth_and_death_of_a_thread_make_no_system_call)
{
    tiny_start(true, 100, 8);
    for (unsigned i = 0; i < 3; i++)
        one_thread();
    fake_os_reset();
    size_t held = fake_os_held_bytes();
    for (unsigned i = 0; i < 200; i++)
        one_thread();
    /* Arming the thread's exit hook is pthread_setspecific: no system call. */
    REQUIRE(fake_os_calls(FAKE_OS_ANY) == fake_os_calls(FAKE_OS_THREAD_EXIT));
    REQUIRE(fake_os_calls(FAKE_OS_UNMAP) == 0 && fake_os_held_bytes() == held);
}

UNIT_TEST(the_cache_parked_last_is_taken_first)
{
    tiny_start(true, 100, 8);
    ss_params.heaps_max = 1;
    struct tiny_cache *a = tiny_borrow(), *b = tiny_borrow(), *c = tiny_borrow();
    tiny_park(b);
    tiny_park(c);
    tiny_park(a);
    REQUIRE(tiny_borrow() == a);
    REQUIRE(tiny_borrow() == c);
    tiny_park(a);
    REQUIRE(tiny_borrow() == a);
    REQUIRE(tiny_borrow() == b);
}

/* Its blocks are in that CPU's cache. */
UNIT_TEST(a_thread_takes_the_cache_parked_on_its_cpu)
{
    tiny_start(true, 100, 8);
    fake_os_set_ncpus(4);
    struct tiny_cache *on[4];
    for (unsigned i = 0; i < 4; i++)
        on[i] = tiny_borrow();
    for (unsigned i = 0; i < 4; i++) {
        fake_os_set_cpu(3 - i);
        tiny_park(on[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        fake_os_set_cpu(3 - i);
        REQUIRE(tiny_borrow() == on[i]);
    }
    tiny_park(on[3]);
    fake_os_set_cpu(2);
    REQUIRE(tiny_borrow() == on[3]); /* better another CPU's than one more */
    fake_os_set_cpu(1000);           /* plugged in since */
    tiny_park(on[2]);
    REQUIRE(tiny_borrow() == on[2]);
}

UNIT_TEST(a_heap_counts_its_caches_that_are_not_parked)
{
    tiny_start(true, 100, 8);
    ss_params.heaps_max = 1;
    struct tiny_cache *a = tiny_borrow(), *b = tiny_borrow();
    REQUIRE(a->heap == b->heap && a->heap->nthreads == 2);
    tiny_park(a);
    REQUIRE(a->heap->nthreads == 1);
    tiny_flush_parked(0);
    REQUIRE(a->heap->nthreads == 1);
    tiny_park(b);
    REQUIRE(a->heap->nthreads == 0);
    REQUIRE(tiny_borrow() == b && a->heap->nthreads == 1);
}

UNIT_TEST(after_a_fork_the_caches_of_all_other_threads_are_parked)
{
    tiny_start(true, 100, 8);
    ss_params.heaps_max = 2;
    struct tiny_cache *own = tiny_attach(), *other = tiny_borrow(), *third = tiny_borrow();
    REQUIRE(own->heap != other->heap && own->heap == third->heap);
    tiny_fork_prepare();
    tiny_fork_child();
    tiny_fork_end();
    REQUIRE(own->parked_ns == 0 && own->heap->nthreads == 1);
    REQUIRE(other->parked_ns != 0 && other->parked_empty && other->heap->nthreads == 0);
    REQUIRE(tiny_borrow() == other && tiny_borrow() == third);
}

UNIT_TEST(parked_caches_decay_and_are_still_taken_over)
{
    tiny_start(true, 100, 8);
    one_thread();
    struct tiny_cache *first = seen;
    tiny_flush_parked(long_ns); /* not so old */
    REQUIRE(first->bin[ss_class_of(64)].head != NULL);
    tiny_flush_parked(0);
    REQUIRE(first->bin[ss_class_of(64)].head == NULL);
    for (unsigned c = 0; c < SS_NCLASS; c++)
        REQUIRE(unit_heap(first->heap).out[c] == 0);
    tiny_flush_parked(0); /* nothing left to do */
    one_thread();
    REQUIRE(seen == first);
    REQUIRE(first->bin[ss_class_of(64)].head != NULL);
}

UNIT_TEST(each_parking_empties_one_that_is_old_wherever_it_is)
{
    tiny_start(true, 100, 8);
    fake_os_set_ncpus(3);
    tiny_params.park_decay_ns = 1000000;
    struct tiny_cache *old[] = {tiny_borrow(), tiny_borrow()}, *young = tiny_borrow();
    REQUIRE(old[0]->heap != young->heap && old[0]->heap != old[1]->heap);
    for (unsigned i = 0; i < 2; i++) {
        void *p = get(old[i], ss_class_of(64));
        put(old[i], p);
        fake_os_set_cpu(i);
        tiny_park(old[i]);
    }
    fake_os_set_cpu(2);
    uint64_t now = os_now_ns();
    while (os_now_ns() <= now + tiny_params.park_decay_ns) {
    }
    for (unsigned left = 2; left-- > 0;) {
        tiny_park(young);
        REQUIRE(!old[0]->parked_empty + !old[1]->parked_empty == (int)left);
        REQUIRE(tiny_borrow() == young);
    }
    REQUIRE(old[0]->bin[ss_class_of(64)].head == NULL);
    REQUIRE(old[1]->bin[ss_class_of(64)].head == NULL);
}

UNIT_TEST(a_filled_cache_is_preferred_to_an_emptied_one_and_another_node_s_is_not_taken)
{
    unit_nnodes = 2;
    tiny_start(true, 100, 8);
    struct tiny_cache *on[4];
    for (unsigned i = 0; i < 4; i++) {
        fake_os_set_node(i % 2);
        on[i] = tiny_borrow();
        REQUIRE(on[i]->heap->node == i % 2);
    }
    tiny_park(on[0]);
    tiny_park(on[1]);
    tiny_flush_parked(0);
    tiny_park(on[2]);
    tiny_park(on[3]);
    fake_os_set_node(0);
    REQUIRE(tiny_borrow() == on[2]);
    REQUIRE(tiny_borrow() == on[0]);
    struct tiny_cache *more = tiny_borrow();
    REQUIRE(more->node == 0 && tiny_ncaches() == 5);
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    while (ss_meta_alloc(64) != NULL) { /* what the start brought */
    }
    REQUIRE(tiny_borrow() == on[3]); /* better another node's than none */
    REQUIRE(tiny_borrow() == on[1]);
    REQUIRE(tiny_borrow() == NULL);
}

UNIT_TEST(a_thread_without_memory_for_a_cache_gets_none_and_later_one)
{
    tiny_start(true, 100, 8);
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    while (ss_meta_alloc(64) != NULL) { /* what the start brought */
    }
    REQUIRE(tiny_attach() == NULL && tiny_tls.self == &tiny_cache_none);
    REQUIRE(tiny_borrow() == NULL);
    fake_os_reset();
    struct tiny_cache *tc = tiny_attach();
    REQUIRE(tc != NULL && tiny_tls.self == tc);
}

UNIT_TEST(refill_without_memory_leaves_the_bin_empty_and_works_later)
{
    tiny_start(true, 100, 8);
    struct tiny_cache *tc = tiny_attach();
    unsigned class = ss_class_of(8192);
    bool zero;
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    while (tiny_pop(&tc->bin[class]) != NULL || tiny_refill(tc, class, &zero) != NULL) {
    }
    REQUIRE(tc->bin[class].head == NULL && tc->bin[class].spare == NULL);
    tiny_validate(tc);
    fake_os_reset();
    (void)get(tc, class);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_capacity_nothing_is_kept_whatever_a_refill_brings),
        cmocka_unit_test(a_bin_that_does_not_move_is_emptied_while_others_work),
        cmocka_unit_test(large_lists_and_large_blocks_bring_the_sweep_on),
        cmocka_unit_test(an_age_beyond_the_start_of_time_is_no_age),
        cmocka_unit_test(what_was_pushed_last_is_popped_first),
        cmocka_unit_test(a_thread_without_a_cache_has_empty_bins_and_takes_no_block),
        cmocka_unit_test(the_fast_push_refuses_everything_but_blocks),
        cmocka_unit_test(a_full_list_is_set_aside_and_taken_back_whole),
        cmocka_unit_test(no_bin_holds_more_than_twice_its_capacity),
        cmocka_unit_test(capacities_grow_with_misses_up_to_the_bound),
        cmocka_unit_test(without_adaption_capacities_stay_where_they_are),
        cmocka_unit_test(an_idle_class_gives_up_its_spare_list_and_capacity),
        cmocka_unit_test(where_the_stack_is_full_the_list_just_filled_goes_back),
        cmocka_unit_test(a_load_that_comes_in_waves_keeps_as_many_lists_as_a_wave_has),
        cmocka_unit_test(spare_lists_of_all_caches_together_stay_within_the_quota),
        cmocka_unit_test(spare_lists_that_were_not_needed_between_two_sweeps_go_back),
        cmocka_unit_test(a_capacity_of_nothing_keeps_nothing),
        cmocka_unit_test(flush_leaves_no_block_behind),
        cmocka_unit_test(cached_bytes_are_those_in_the_lists),
        cmocka_unit_test(blocks_of_other_heaps_go_home_in_batches),
        cmocka_unit_test(other_heaps_blocks_are_used_where_own_ones_run_out),
        cmocka_unit_test(a_few_blocks_of_other_heaps_are_not_used),
        cmocka_unit_test(a_full_list_of_other_heaps_blocks_stays_where_there_is_room_for_it),
        cmocka_unit_test(blocks_of_another_node_do_not_stay),
        cmocka_unit_test(lists_of_one_owner_travel_together),
        cmocka_unit_test(blocks_of_several_owners_are_sorted_and_keep_their_rows),
        cmocka_unit_test(a_parcel_is_bounded_in_bytes_too),
        cmocka_unit_test(what_came_home_is_taken_before_the_heap_is_asked),
        cmocka_unit_test(one_refill_takes_in_no_more_than_a_part_of_what_came_home),
        cmocka_unit_test(an_empty_bin_whose_capacity_shrinks_still_takes_a_block),
        cmocka_unit_test(a_bin_that_had_enough_for_long_gives_half_of_its_list_up),
        cmocka_unit_test(caches_that_trade_blocks_at_random_keep_their_accounts),
        cmocka_unit_test(a_sender_tells_owners_and_classes_apart),
        cmocka_unit_test(a_thread_takes_over_the_filled_cache_of_the_one_before),
        cmocka_unit_test(birth_and_death_of_a_thread_make_no_system_call),
        cmocka_unit_test(the_cache_parked_last_is_taken_first),
        cmocka_unit_test(a_thread_takes_the_cache_parked_on_its_cpu),
        cmocka_unit_test(a_heap_counts_its_caches_that_are_not_parked),
        cmocka_unit_test(after_a_fork_the_caches_of_all_other_threads_are_parked),
        cmocka_unit_test(parked_caches_decay_and_are_still_taken_over),
        cmocka_unit_test(each_parking_empties_one_that_is_old_wherever_it_is),
        cmocka_unit_test(
            a_filled_cache_is_preferred_to_an_emptied_one_and_another_node_s_is_not_taken),
        cmocka_unit_test(a_thread_without_memory_for_a_cache_gets_none_and_later_one),
        cmocka_unit_test(refill_without_memory_leaves_the_bin_empty_and_works_later),
    };
    return cmocka_run_group_tests_name("tiny", tests, NULL, NULL);
}
