/* SPDX-License-Identifier: MIT
 *
 * superslab: which addresses are advised to have huge pages, and when they are broken again. What
 * the system was told is asked of the fake; what it made of it, tests/life/huge.c looks up.
 */
#include "unit.h"

#include <string.h>
#include <unistd.h>

enum { UNITS = 32, DECAY = SS_DECAY_TICKS };

static const unsigned TINY = 30; /* a class in slabs of one unit */

static void start(enum ss_huge huge)
{
    unit_params();
    ss_params.huge = huge;
    fake_os_set_huge_bytes(2 * MIB);
    fake_os_set_huge_allowed(true);
    fake_os_set_resident_percent(100);
    REQUIRE(ss_init());
    mid_init(ss_params.superslab_bytes, SIZE_MAX);
}

/* The program is no small one any more; nothing of this stays in use. */
static void grow(void)
{
    bool zero;
    ss_run_free(ss_run_alloc(48 * MIB / SS_UNIT, SS_UNIT, &zero));
    (void)ss_purge();
}

static unsigned tick(void)
{
    (void)unit_ticks(1);
    return ss_huge_ask(32);
}

static unsigned ticks(unsigned n)
{
    unsigned asked = 0;
    while (n-- > 0)
        asked += tick();
    return asked;
}

static int said(const void *p)
{
    return fake_os_said(p).huge;
}

/* All blocks of n slabs of the class, linked. */
static void *slabs_take(struct ss_heap *h, unsigned n)
{
    void *all = NULL;
    for (size_t left = (size_t)n * ss_classes[TINY].blocks; left > 0;) {
        struct ss_chain c;
        bool grew;
        REQUIRE(ss_refill(h, TINY, (uint32_t)left, &c, &grew));
        left -= c.count;
        for (void *b = c.head, *next; b != NULL; b = next) {
            next = ss_next(b);
            ss_link(b, all);
            all = b;
        }
    }
    return all;
}

static struct ss_superslab *superslab_of(const void *block)
{
    return ss_superslab_at(ss_unit_of(block) / UNITS);
}

/* Give back the blocks of `units` of the superslab's units. Returns what is left. */
static void *units_give_back(struct ss_heap *h, void *blocks, struct ss_superslab *ss,
                             unsigned units)
{
    void *left = NULL, *back = NULL;
    for (void *b = blocks, *next; b != NULL; b = next) {
        next = ss_next(b);
        void **to = superslab_of(b) == ss && ss_unit_of(b) % UNITS < units ? &back : &left;
        ss_link(b, *to);
        *to = b;
    }
    (void)ss_flush(h, back);
    unit_tidy(h);
    REQUIRE((unsigned)__builtin_popcount(ss->free) == units);
    return left;
}

UNIT_TEST(the_region_is_told_at_the_start)
{
    static const int want[] = {[SS_HUGE_OFF] = 0, [SS_HUGE_AUTO] = 0, [SS_HUGE_ON] = 1};
    for (unsigned mode = SS_HUGE_OFF; mode <= SS_HUGE_ON; mode++) {
        start((enum ss_huge)mode);
        char *base = ss_region.base, *end = base + (ss_region.reserved << SS_UNIT_SHIFT);
        REQUIRE(said(base) == want[mode] && said(end - 1) == want[mode]);
        size_t around = 0; /* what was reserved to align it is told, too, and no more */
        for (size_t at = 0; at < 2 * SS_RUN_ALIGN_MAX; at += SS_UNIT)
            around += SS_UNIT * ((said(end + at) >= 0) + (said(base - SS_UNIT - at) >= 0));
        REQUIRE(around == SS_RUN_ALIGN_MAX);
    }
}

/* And where addresses are reserved piece by piece, each piece. */
UNIT_TEST(every_piece_of_a_rationed_region_is_told)
{
    unit_params();
    fake_os_set_address_limit(8 * GIB);
    ss_params.huge = SS_HUGE_AUTO;
    REQUIRE(ss_init());
    bool zero;
    char *p = ss_run_alloc(300 * MIB / SS_UNIT, SS_UNIT, &zero);
    REQUIRE(p != NULL && fake_os_calls(FAKE_OS_HUGE_ADVISE) > 1);
    for (size_t at = 0; at < 300 * MIB; at += SS_UNIT) {
        struct fake_os_said s = fake_os_said(p + at);
        REQUIRE(s.huge == 0 && s.name != NULL && strcmp(s.name, "hakmem") == 0);
    }
}

UNIT_TEST(a_superslab_that_stays_full_is_asked_for_once_after_a_decay)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    char *p = slabs_take(h, 3 * UNITS);
    REQUIRE(ticks(DECAY - 1) == 0 && said(p) == 0);
    REQUIRE(tick() + tick() == 3);
    struct fake_os_said s = fake_os_said(p);
    REQUIRE(s.huge == 1 && s.made && unit_region().huge_bytes == 6 * MIB);
    REQUIRE(ticks(3 * DECAY) == 0);
    ss_validate();
}

UNIT_TEST(what_is_not_full_or_has_few_pages_is_not_asked_for)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    char *p = slabs_take(h, UNITS - 1);
    REQUIRE(ticks(3 * DECAY) == 0 && said(p) == 0);
    fake_os_set_resident_percent(80);
    (void)slabs_take(h, 1);
    REQUIRE(ticks(3 * DECAY) == 0 && said(p) == 0);
    fake_os_set_resident_percent(95); /* by and by */
    REQUIRE(ticks(DECAY + 1) == 1 && said(p) == 1);
    ss_validate();
}

UNIT_TEST(a_superslab_full_for_less_than_a_decay_is_not_asked_for)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    void *blocks = slabs_take(h, UNITS);
    struct ss_superslab *ss = superslab_of(blocks);
    for (unsigned i = 0; i < 5; i++) {
        REQUIRE(ticks(DECAY / 2) == 0);
        (void)units_give_back(h, blocks, ss, 1);
        blocks = slabs_take(h, 1);
        REQUIRE(superslab_of(blocks) == ss && ss->free == 0);
    }
    REQUIRE(said(blocks) == 0);
    REQUIRE(ticks(DECAY + 1) == 1 && said(blocks) == 1);
}

UNIT_TEST(a_small_program_asks_for_nothing)
{
    start(SS_HUGE_AUTO);
    struct ss_heap *h = ss_heap_get(0);
    char *p = slabs_take(h, 8 * UNITS);
    REQUIRE(!ss_huge_worth() && ticks(3 * DECAY) == 0 && said(p) == 0);
    grow();
    REQUIRE(ss_huge_worth() && ticks(DECAY + 1) == 8);
}

static void asks_for_nothing(void *setup)
{
    start(SS_HUGE_AUTO);
    ((void (*)(void))(uintptr_t)setup)();
    grow();
    char *p = slabs_take(ss_heap_get(0), 4 * UNITS);
    REQUIRE(ticks(3 * DECAY) == 0 && said(p) != 1);
}

static void forbid(void)
{
    fake_os_set_huge_allowed(false);
}

static void other_size(void)
{
    fake_os_set_huge_bytes(32 * MIB);
}

static void switch_off(void)
{
    ss_params.huge = SS_HUGE_OFF;
}

static void switch_on(void)
{
    ss_params.huge = SS_HUGE_ON;
}

static void nothing_is_asked_for_one_by_one(void **state)
{
    static void (*const setup[])(void) = {forbid, other_size, switch_off, switch_on};
    for (size_t i = 0; i < sizeof(setup) / sizeof(setup[0]); i++)
        EXPECT_CHILD_PASS(asks_for_nothing, (uintptr_t)setup[i]);
}

UNIT_TEST(a_tick_asks_for_no_more_than_it_may)
{
    start(SS_HUGE_AUTO);
    grow();
    (void)slabs_take(ss_heap_get(0), 10 * UNITS);
    (void)unit_ticks(DECAY + 1);
    REQUIRE(ss_huge_ask(4) == 4 && ss_huge_ask(0) == 0);
    REQUIRE(ss_huge_ask(4) == 4 && ss_huge_ask(4) == 2 && ss_huge_ask(4) == 0);
}

/* ---- Going back. ---- */

/* A huge superslab of which `units` are free, and the rest in *blocks. */
static struct ss_superslab *huge_with_free(struct ss_heap *h, unsigned units, void **blocks)
{
    *blocks = slabs_take(h, UNITS);
    struct ss_superslab *ss = superslab_of(*blocks);
    REQUIRE(ticks(DECAY + 1) == 1 && ss->huge);
    *blocks = units_give_back(h, *blocks, ss, units);
    return ss;
}

UNIT_TEST(a_huge_page_is_kept_until_half_of_it_is_free)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    void *blocks;
    struct ss_superslab *ss = huge_with_free(h, UNITS / 2 - 1, &blocks);
    REQUIRE(unit_ticks(3 * DECAY) == 0 && ss->huge && said(blocks) == 1);
    (void)units_give_back(h, blocks, ss, UNITS / 2);
    size_t back = unit_ticks(3 * DECAY);
    REQUIRE(back == MIB && !ss->huge && said(blocks) == 0);
    REQUIRE(unit_region().huge_bytes == 0 && ss->dirty == 0);
    ss_validate();
}

UNIT_TEST(all_that_is_free_goes_back_on_demand_huge_or_not)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    void *blocks;
    struct ss_superslab *ss = huge_with_free(h, 1, &blocks);
    REQUIRE(ss_purge() == SS_UNIT && !ss->huge && said(blocks) == 0);
}

UNIT_TEST(a_broken_one_that_fills_up_is_asked_for_again)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    void *blocks;
    struct ss_superslab *ss = huge_with_free(h, 3, &blocks);
    REQUIRE(ss_purge() == 3 * SS_UNIT);
    (void)slabs_take(h, 3);
    REQUIRE(ss->free == 0 && ticks(DECAY + 1) == 1 && ss->huge);
}

/* What a huge page keeps is always due; other memory has its whole decay all the same. */
UNIT_TEST(what_huge_pages_keep_is_not_taken_elsewhere)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    void *blocks = slabs_take(h, 4 * UNITS);
    REQUIRE(ticks(DECAY + 1) == 4);
    size_t first = ss_superslab_index(superslab_of(blocks));
    for (void *b = blocks; b != NULL; b = ss_next(b))
        first = HAK_MIN(first, ss_superslab_index(superslab_of(b)));
    for (unsigned i = 0; i < 4; i++)
        blocks = units_give_back(h, blocks, ss_superslab_at(first + i), UNITS / 2 - 1);
    REQUIRE(unit_ticks(3 * DECAY) == 0);
    void *kept = slabs_take(h, 4 * (UNITS / 2 - 1)), *other = slabs_take(h, 1);
    void *fresh = slabs_take(h, 8);
    REQUIRE(superslab_of(kept)->huge && !superslab_of(fresh)->huge);
    REQUIRE(superslab_of(other) == superslab_of(fresh));
    (void)ss_flush(h, kept);
    (void)ss_flush(h, fresh);
    unit_tidy(h);
    size_t back = unit_ticks(DECAY / 2);
    REQUIRE(back <= 5 * SS_UNIT); /* of 8 units, half of the curve */
    REQUIRE(back + unit_ticks(DECAY) == 8 * SS_UNIT);
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(ss_superslab_at(first + i)->huge);
    ss_validate();
}

UNIT_TEST(an_emptied_huge_superslab_goes_back_whole)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    void *blocks = slabs_take(h, 6 * UNITS);
    REQUIRE(ticks(DECAY + 1) == 6);
    (void)ss_flush(h, blocks);
    unit_tidy(h);
    REQUIRE(unit_region().pooled_superslabs == 2 && unit_region().huge_bytes == 12 * MIB);
    REQUIRE(unit_ticks(3 * DECAY) >= 12 * MIB && unit_region().huge_bytes == 0);
    REQUIRE(said(ss_region.base + MIB) == 0);
    ss_validate();
}

/* ---- Runs. ---- */

UNIT_TEST(the_huge_pages_inside_a_run_are_asked_for)
{
    start(SS_HUGE_AUTO);
    grow();
    bool zero;
    char *small = ss_run_alloc(UNITS - 1, SS_UNIT, &zero);
    char *p = ss_run_alloc(4 * UNITS, SS_UNIT, &zero); /* three whole ones */
    REQUIRE(ticks(DECAY - 1) == 0 && ticks(2) == 3);
    REQUIRE(said(small) == 0 && said(p) == 0 && said(p + 4 * UNITS * SS_UNIT - 1) == 0);
    for (char *at = (char *)HAK_ALIGN_UP((uintptr_t)p, 2 * MIB); at < p + 6 * MIB;
         at += 2 * MIB)
        REQUIRE(said(at) == 1 && said(at + 2 * MIB - 1) == 1);
    REQUIRE(ticks(3 * DECAY) == 0);
    ss_run_free(p);
    ss_validate();
    REQUIRE(unit_ticks(3 * DECAY) >= 8 * MIB && unit_region().huge_bytes == 0);
    REQUIRE(said(p + 4 * MIB) == 0);
}

UNIT_TEST(a_run_that_grows_or_fills_later_is_looked_at_again)
{
    start(SS_HUGE_AUTO);
    grow();
    bool zero;
    fake_os_set_resident_percent(10);
    char *p = ss_run_alloc(UNITS, 2 * MIB, &zero);
    REQUIRE(ticks(2 * DECAY) == 0);
    fake_os_set_resident_percent(100);
    REQUIRE(ticks(DECAY + 1) == 1 && ticks(2 * DECAY) == 0);
    REQUIRE(ss_run_resize(p, 3 * UNITS) && ticks(DECAY + 1) == 2);
    REQUIRE(ss_run_resize(p, UNITS / 2));
    ss_validate();
    ss_run_free(p);
    ss_validate();
}

/* A free run may end inside a huge page of which most is in use. */
UNIT_TEST(the_ends_of_a_free_run_are_left_to_the_huge_pages_they_are_in)
{
    start(SS_HUGE_AUTO);
    grow();
    bool zero;
    char *p = ss_run_alloc(4 * UNITS, 2 * MIB, &zero);
    struct ss_superslab *ss = superslab_of(p);
    char *rest = ss_run_alloc(48 * MIB / SS_UNIT - 4 * UNITS, SS_UNIT, &zero);
    REQUIRE(rest == p + 8 * MIB);
    REQUIRE(ticks(DECAY + 1) == 24 && ss_run_resize(p, 20));
    char *middle = ss_run_alloc(88, SS_UNIT, &zero), *end = ss_run_alloc(20, SS_UNIT, &zero);
    REQUIRE(middle == p + 20 * SS_UNIT && end == middle + 88 * SS_UNIT);
    ss_run_free(middle);
    size_t back = unit_ticks(3 * DECAY) / SS_UNIT; /* of a run dirty in part some go twice */
    REQUIRE(back >= 2 * UNITS && back <= 2 * UNITS + 8);
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(ss_superslab_at(ss_superslab_index(ss) + i)->huge == (i == 0 || i == 3));
    REQUIRE(unit_region().dirty_bytes == 24 * SS_UNIT);
    REQUIRE(ss_run_resize(p, 16)); /* half of it is free now */
    REQUIRE(unit_ticks(3 * DECAY) >= 16 * SS_UNIT && !ss->huge);
    ss_run_free(rest);
    REQUIRE(ss_purge() >= 12 * SS_UNIT && unit_region().huge_bytes == 0);
    ss_validate();
}

/* ---- Refusals. ---- */

static bool spoke(int fd)
{
    char text[512] = "";
    ssize_t n = read(fd, text, sizeof(text) - 1);
    return n > 0;
}

static void refused_body(void *nth)
{
    start(SS_HUGE_AUTO);
    grow();
    struct ss_heap *h = ss_heap_get(0);
    void *blocks = slabs_take(h, 6 * UNITS);
    fake_os_fail(FAKE_OS_HUGE_ADVISE, (uintptr_t)nth, FAKE_OS_FOREVER);
    (void)ticks(3 * DECAY);
    REQUIRE(unit_region().huge_bytes == ((uintptr_t)nth - 1) * 2 * MIB);
    REQUIRE(fake_os_failed(FAKE_OS_HUGE_ADVISE) == 1); /* not tried again */
    REQUIRE(!ss_huge_worth());
    (void)ss_flush(h, blocks);
    unit_tidy(h);
    REQUIRE(unit_ticks(3 * DECAY) >= 12 * MIB);
    ss_validate();
}

static void a_refused_advice_costs_nothing_and_is_not_given_again(void **state)
{
    for (uintptr_t nth = 1; nth <= 6; nth++)
        EXPECT_CHILD_PASS(refused_body, nth);
}

UNIT_TEST(a_kernel_without_huge_pages_is_told_once)
{
    int fds[2];
    REQUIRE(pipe(fds) == 0 && dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
    close(fds[1]);
    unit_params();
    ss_params.huge = SS_HUGE_AUTO;
    fake_os_fail(FAKE_OS_HUGE_ADVISE, 1, FAKE_OS_FOREVER);
    REQUIRE(ss_init());
    grow();
    (void)slabs_take(ss_heap_get(0), 4 * UNITS);
    REQUIRE(ticks(3 * DECAY) == 0 && fake_os_calls(FAKE_OS_HUGE_ADVISE) == 1);
    ss_params.huge = SS_HUGE_ON; /* which was asked for: that is worth a line, once */
    ss_huge_reserved(ss_region.base, 2 * MIB);
    close(STDERR_FILENO);
    REQUIRE(!spoke(fds[0]));
}

UNIT_TEST(a_page_that_cannot_be_made_now_ends_the_tick)
{
    start(SS_HUGE_AUTO);
    grow();
    char *p = slabs_take(ss_heap_get(0), 3 * UNITS);
    fake_os_fail(FAKE_OS_HUGE_MAKE, 1, 1);
    (void)unit_ticks(DECAY + 1);
    (void)ss_huge_ask(32);
    REQUIRE(fake_os_calls(FAKE_OS_HUGE_MAKE) == 1 && unit_region().huge_bytes == 2 * MIB);
    (void)ss_huge_ask(32);
    REQUIRE(fake_os_calls(FAKE_OS_HUGE_MAKE) == 3 && unit_region().huge_bytes == 6 * MIB);
    REQUIRE(said(p) == 1);
}

/* ---- Names. ---- */

UNIT_TEST(mappings_are_named_once_the_program_grows)
{
    start(SS_HUGE_AUTO);
    bool zero;
    char *p = ss_run_alloc(UNITS, SS_UNIT, &zero);
    REQUIRE(fake_os_said(p).name == NULL); /* a short process does not pay */
    p = ss_run_alloc(1, SS_UNIT, &zero);
    REQUIRE(strcmp(fake_os_said(p).name, "hakmem") == 0 && !fake_os_said(p).records);
    REQUIRE(fake_os_said(ss_region.words).records && fake_os_said(ss_region.unit).records &&
            fake_os_said(ss_superslab_at(0)).records);
    char *meta = ss_meta_alloc(MIB);
    REQUIRE(fake_os_said(meta).records && fake_os_said(meta + MIB - 1).records);
}

/* ---- Any load. ---- */

static void random_body(void *percent)
{
    enum { SLOTS = 40 };
    start(SS_HUGE_AUTO);
    grow();
    uint64_t random = hak_test_env("HAK_TEST_SEED", 20261126);
    struct ss_heap *h[2] = {ss_heap_get(0), ss_heap_get(0)};
    void *slabs[SLOTS] = {NULL};
    char *run[SLOTS] = {NULL};
    fake_os_fail_at_random(hak_test_random(&random), (unsigned)(uintptr_t)percent);
    for (unsigned step = 0; step < 4000; step++) {
        unsigned i = hak_test_random(&random) % SLOTS;
        if (run[i] != NULL) {
            size_t units = ss_run_units(run[i]);
            REQUIRE(run[i][0] == (char)i && run[i][units * SS_UNIT - 1] == (char)i);
            ss_run_free(run[i]);
            run[i] = NULL;
        } else {
            bool zero;
            size_t units = 1 + hak_test_random(&random) % 100;
            run[i] = ss_run_alloc(units, SS_UNIT, &zero);
            if (run[i] != NULL)
                run[i][0] = run[i][units * SS_UNIT - 1] = (char)i;
        }
        i = hak_test_random(&random) % SLOTS;
        if (slabs[i] != NULL) {
            void *rest = ss_flush(h[i % 2], slabs[i]);
            REQUIRE(rest == NULL);
            slabs[i] = NULL;
        } else {
            struct ss_chain c = {NULL, 0, false};
            bool grew;
            for (unsigned n = hak_test_random(&random) % 3000; n > 0;
                 n -= HAK_MIN(n, c.count)) {
                if (!ss_refill(h[i % 2], TINY, n, &c, &grew))
                    break;
                void *last = c.head;
                while (ss_next(last) != NULL)
                    last = ss_next(last);
                ss_link(last, slabs[i]);
                slabs[i] = c.head;
            }
        }
        if (step % 7 == 0)
            (void)tick();
        if (step % 500 == 0)
            (void)ss_purge();
        if (step % 50 == 0)
            ss_validate();
    }
    REQUIRE((uintptr_t)percent > 0 || fake_os_calls(FAKE_OS_HUGE_MAKE) > 10);
    fake_os_fail_at_random(1, 0);
    for (unsigned i = 0; i < SLOTS; i++) {
        (void)ss_flush(h[i % 2], slabs[i]);
        if (run[i] != NULL)
            ss_run_free(run[i]);
    }
    unit_tidy(h[0]);
    unit_tidy(h[1]);
    (void)unit_ticks(3 * DECAY);
    (void)ss_purge();
    REQUIRE(unit_region().huge_bytes == 0 && unit_region().dirty_bytes == 0);
    REQUIRE(unit_heap(h[0]).superslabs == 0 && unit_heap(h[1]).superslabs == 0);
    for (char *at = ss_region.base; at < ss_unit_address(ss_region.part[0].frontier);
         at += 2 * MIB)
        REQUIRE(said(at) == 0);
    ss_validate();
}

static void any_load_keeps_the_books_straight(void **state)
{
    EXPECT_CHILD_PASS(random_body, 0);
    EXPECT_CHILD_PASS(random_body, 1);
    EXPECT_CHILD_PASS(random_body, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_region_is_told_at_the_start),
        cmocka_unit_test(every_piece_of_a_rationed_region_is_told),
        cmocka_unit_test(a_superslab_that_stays_full_is_asked_for_once_after_a_decay),
        cmocka_unit_test(what_is_not_full_or_has_few_pages_is_not_asked_for),
        cmocka_unit_test(a_superslab_full_for_less_than_a_decay_is_not_asked_for),
        cmocka_unit_test(a_small_program_asks_for_nothing),
        cmocka_unit_test(nothing_is_asked_for_one_by_one),
        cmocka_unit_test(a_tick_asks_for_no_more_than_it_may),
        cmocka_unit_test(a_huge_page_is_kept_until_half_of_it_is_free),
        cmocka_unit_test(all_that_is_free_goes_back_on_demand_huge_or_not),
        cmocka_unit_test(a_broken_one_that_fills_up_is_asked_for_again),
        cmocka_unit_test(what_huge_pages_keep_is_not_taken_elsewhere),
        cmocka_unit_test(an_emptied_huge_superslab_goes_back_whole),
        cmocka_unit_test(the_huge_pages_inside_a_run_are_asked_for),
        cmocka_unit_test(a_run_that_grows_or_fills_later_is_looked_at_again),
        cmocka_unit_test(the_ends_of_a_free_run_are_left_to_the_huge_pages_they_are_in),
        cmocka_unit_test(a_refused_advice_costs_nothing_and_is_not_given_again),
        cmocka_unit_test(a_kernel_without_huge_pages_is_told_once),
        cmocka_unit_test(a_page_that_cannot_be_made_now_ends_the_tick),
        cmocka_unit_test(mappings_are_named_once_the_program_grows),
        cmocka_unit_test(any_load_keeps_the_books_straight),
    };
    return cmocka_run_group_tests_name("huge", tests, NULL, NULL);
}
