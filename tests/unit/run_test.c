/* SPDX-License-Identifier: MIT
 *
 * superslab: the region and its runs of whole units.
 */
#include "unit.h"

#include <string.h>
#include <sys/mman.h>

static char *take(size_t units)
{
    bool zero;
    char *p = ss_run_alloc(units, SS_UNIT, &zero);
    REQUIRE(p != NULL && ss_run_units(p) == units);
    return p;
}

static bool is_zeroed(size_t units, char **p)
{
    bool zero;
    *p = ss_run_alloc(units, SS_UNIT, &zero);
    REQUIRE(*p != NULL);
    REQUIRE(!zero || hak_test_is_zero(*p, units * SS_UNIT));
    return zero;
}

UNIT_TEST(words_mark_a_run_and_nothing_else)
{
    unit_start();
    char *p = take(3);
    REQUIRE(ss_word(p) == SS_WORD_RUN);
    REQUIRE(ss_word(p + SS_UNIT) == SS_WORD_RUN_MORE);
    REQUIRE(ss_word(p + 3 * SS_UNIT - 1) == SS_WORD_RUN_MORE);
    REQUIRE(ss_word(p + 3 * SS_UNIT) == SS_WORD_NONE);
    ss_run_free(p);
    REQUIRE(ss_word(p) == SS_WORD_NONE && ss_word(p + 2 * SS_UNIT) == SS_WORD_NONE);
    int local;
    REQUIRE(ss_word(&local) == SS_WORD_NONE && ss_word(NULL) == SS_WORD_NONE);
    REQUIRE(ss_word((void *)(ss_map.base - 1)) == SS_WORD_NONE);
    REQUIRE(ss_word((void *)(ss_map.base + ss_map.units * SS_UNIT)) == SS_WORD_NONE);
    REQUIRE(ss_word((void *)UINTPTR_MAX) == SS_WORD_NONE);
    ss_validate();
}

UNIT_TEST(the_smallest_run_that_fits_is_taken)
{
    unit_start();
    char *four = take(4), *wall1 = take(1), *eight = take(8), *wall2 = take(1);
    char *six = take(6), *wall3 = take(1), *forty = take(40), *wall4 = take(1);
    ss_run_free(eight);
    ss_run_free(forty);
    ss_run_free(four);
    ss_run_free(six);
    ss_validate();
    REQUIRE(take(5) == six);
    REQUIRE(take(4) == four);
    REQUIRE(take(7) == eight);
    REQUIRE(take(33) == forty);
    REQUIRE(take(7) == forty + 33 * SS_UNIT);
    ss_validate();
    ss_run_free(wall1);
    ss_run_free(wall2);
    ss_run_free(wall3);
    ss_run_free(wall4);
    ss_validate();
}

/* S5: in whatever order neighbours are freed, one run is left. */
UNIT_TEST(neighbours_coalesce_in_every_order_of_freeing)
{
    unit_start();
    for (unsigned order = 0; order < 24; order++) {
        char *p[4], *wall;
        for (unsigned i = 0; i < 4; i++)
            p[i] = take(3);
        wall = take(1);
        unsigned left[4] = {0, 1, 2, 3}, n = 4, o = order;
        for (; n > 0; n--) {
            unsigned k = o % n;
            o /= n;
            ss_run_free(p[left[k]]);
            left[k] = left[n - 1];
            ss_validate();
        }
        char *whole = take(12);
        REQUIRE(whole == p[0]);
        ss_run_free(whole);
        ss_run_free(wall);
    }
}

UNIT_TEST(any_alignment_up_to_the_largest_is_kept_and_the_gaps_are_used)
{
    unit_start();
    bool zero;
    for (size_t align = 16; align <= SS_RUN_ALIGN_MAX; align *= 2) {
        for (size_t units = 1; units < 70; units += 9) {
            char *odd = take(1), *p = ss_run_alloc(units, align, &zero);
            REQUIRE(p != NULL && ((uintptr_t)p & (align - 1)) == 0);
            REQUIRE(ss_run_units(p) == units);
            ss_run_free(odd);
            ss_run_free(p);
        }
    }
    ss_validate();
    size_t frontier = ss_region.part[0].frontier;
    char *first = take(1), *aligned = ss_run_alloc(1, 2 * MIB, &zero);
    REQUIRE(aligned != NULL && ss_region.part[0].frontier == frontier);
    REQUIRE(take(1) == first + SS_UNIT); /* between the two */
}

UNIT_TEST(fresh_runs_are_zero_used_ones_are_not_and_purged_ones_are_again)
{
    unit_start();
    char *p, *q;
    REQUIRE(is_zeroed(8, &p));
    memset(p, 1, 8 * SS_UNIT);
    char *wall = take(1);
    ss_run_free(p);
    REQUIRE(!is_zeroed(8, &q) && q == p);
    ss_run_free(q);
    REQUIRE(unit_region().dirty_bytes == 8 * SS_UNIT);
    REQUIRE(ss_purge() >= 8 * SS_UNIT);
    REQUIRE(unit_region().dirty_bytes == 0);
    REQUIRE(ss_purge() == 0);
    REQUIRE(is_zeroed(8, &q) && q == p);
    ss_run_free(wall);
    ss_validate();
}

/* What is cut from a run that is dirty in part counts as dirty where it may be. */
UNIT_TEST(pieces_of_dirty_runs_are_never_called_zero)
{
    unit_start();
    uint64_t random = 99;
    char *held[40] = {NULL};
    for (unsigned i = 0; i < 5000; i++) {
        unsigned k = hak_test_random(&random) % 40;
        if (held[k] == NULL) {
            (void)is_zeroed(1 + hak_test_random(&random) % 20, &held[k]);
            if (i % 3 != 0)
                memset(held[k], 0xee, ss_run_units(held[k]) * SS_UNIT);
        } else {
            ss_run_free(held[k]);
            held[k] = NULL;
        }
        if (i % 500 == 250)
            ss_purge();
        if (i % 50 == 0)
            ss_validate();
    }
}

UNIT_TEST(a_refused_purge_changes_nothing_and_may_be_repeated)
{
    unit_start();
    char *p = take(16);
    memset(p, 1, 16 * SS_UNIT);
    ss_run_free(p);
    fake_os_fail(FAKE_OS_PURGE, 1, FAKE_OS_FOREVER);
    REQUIRE(ss_purge() == 0);
    REQUIRE(unit_region().dirty_bytes == 16 * SS_UNIT);
    char *q;
    REQUIRE(!is_zeroed(16, &q) && q == p);
    ss_run_free(q);
    fake_os_reset();
    REQUIRE(ss_purge() == 16 * SS_UNIT);
    ss_validate();
}

UNIT_TEST(resize_shrinks_and_grows_in_place)
{
    unit_start();
    char *p = take(10), *wall = take(1);
    REQUIRE(!ss_run_resize(p, 11)); /* somebody is there */
    REQUIRE(ss_run_units(p) == 10);
    REQUIRE(ss_run_resize(p, 4) && ss_run_units(p) == 4);
    REQUIRE(ss_word(p + 4 * SS_UNIT) == SS_WORD_NONE);
    ss_validate();
    REQUIRE(ss_run_resize(p, 10) && ss_run_units(p) == 10);
    REQUIRE(ss_word(p + 9 * SS_UNIT) == SS_WORD_RUN_MORE);
    REQUIRE(ss_run_resize(p, 2));
    REQUIRE(take(8) == p + 2 * SS_UNIT); /* what was cut off is free for others */
    REQUIRE(!ss_run_resize(p, 3));
    ss_validate();
    ss_run_free(wall);
}

UNIT_TEST(resize_grows_over_the_frontier)
{
    unit_start();
    char *p = take(2), *q = take(5);
    memset(q, 7, 5 * SS_UNIT);
    ss_run_free(q);
    REQUIRE(ss_run_resize(p, 400)); /* the free run behind, then virgin units */
    REQUIRE(ss_run_units(p) == 400);
    memset(p, 1, 400 * SS_UNIT);
    REQUIRE(unit_region().run_bytes == 400 * SS_UNIT);
    REQUIRE(!ss_run_resize(p, ss_map.units + 1));
    fake_os_fail(FAKE_OS_COMMIT, 1, FAKE_OS_FOREVER);
    REQUIRE(!ss_run_resize(p, 40000));
    REQUIRE(ss_run_units(p) == 400);
    fake_os_reset();
    ss_validate();
    ss_run_free(p);
    ss_validate();
}

UNIT_TEST(the_region_grows_in_few_calls)
{
    unit_start();
    fake_os_reset();
    for (unsigned i = 0; i < 16384; i++) /* a gibibyte */
        (void)take(1);
    REQUIRE(fake_os_calls(FAKE_OS_COMMIT) < 60);
    REQUIRE(unit_region().committed_bytes < GIB + 80 * MIB); /* and takes little in vain */
    ss_validate();
}

/* vm.overcommit_memory=2: what every process commits in vain is refused to another. */
UNIT_TEST(where_commitments_count_the_region_grows_by_eighths)
{
    unit_params();
    fake_os_set_commit_counts(true);
    REQUIRE(ss_init());
    size_t used = 0;
    for (unsigned i = 0; i < 16384; i++) {
        (void)take(1);
        used += SS_UNIT;
        REQUIRE(unit_region().committed_bytes <= used + HAK_MAX(used / 8, 2 * MIB));
    }
    ss_validate();
}

UNIT_TEST(where_generous_growth_is_refused_exact_growth_serves)
{
    unit_start();
    (void)take(1);
    size_t left = (ss_region.part[0].committed - ss_region.part[0].frontier);
    fake_os_reset();
    fake_os_fail(FAKE_OS_COMMIT, 1, 1);
    (void)take(left + 3);
    REQUIRE(fake_os_failed(FAKE_OS_COMMIT) == 1);
    ss_validate();
}

UNIT_TEST(without_memory_a_run_is_refused_and_later_served)
{
    unit_start();
    (void)take(1);
    fake_os_fail(FAKE_OS_COMMIT, 1, FAKE_OS_FOREVER);
    bool zero;
    REQUIRE(ss_run_alloc(5000, SS_UNIT, &zero) == NULL);
    ss_validate();
    fake_os_reset();
    (void)take(5000);
    REQUIRE(ss_run_alloc(ss_map.units + 1, SS_UNIT, &zero) == NULL);
    REQUIRE(ss_run_alloc(ss_map.units, SS_UNIT, &zero) == NULL);
    REQUIRE(ss_run_alloc(SIZE_MAX >> SS_UNIT_SHIFT, SS_UNIT, &zero) == NULL);
    ss_validate();
}

UNIT_TEST(a_refused_reservation_is_halved_until_it_is_granted)
{
    unit_params();
    fake_os_fail(FAKE_OS_RESERVE, 1, 3);
    REQUIRE(ss_init());
    REQUIRE(fake_os_failed(FAKE_OS_RESERVE) == 3);
    size_t with_failures = ss_map.units;
    REQUIRE(with_failures > 0);
    memset(take(10), 1, 10 * SS_UNIT);
    ss_validate();
    uint64_t full = HAK_MAX(os_ram_bytes(), (uint64_t)8 * GIB) >> SS_UNIT_SHIFT;
    REQUIRE(with_failures >= full / 8); /* not given up too soon */
}

UNIT_TEST(with_no_addresses_at_all_init_fails_and_may_be_repeated)
{
    unit_params();
    fake_os_fail(FAKE_OS_RESERVE, 1, FAKE_OS_FOREVER);
    REQUIRE(!ss_init());
    REQUIRE(!ss_init());
    size_t held = fake_os_held_bytes();
    REQUIRE(held == 0); /* nothing is left of the attempts */
    fake_os_reset();
    REQUIRE(ss_init());
    (void)take(3);
}

UNIT_TEST(a_failed_table_fails_init_and_leaves_nothing)
{
    unit_params();
    fake_os_fail(FAKE_OS_RESERVE_READABLE, 1, FAKE_OS_FOREVER);
    REQUIRE(!ss_init());
    REQUIRE(fake_os_held_bytes() == 0);
    fake_os_reset();
    REQUIRE(ss_init());
}

/* A short process pays for every one of them. */
UNIT_TEST(a_start_and_its_first_superslab_take_six_calls)
{
    unit_start();
    /* Window and tables, the window's huge pages; both ends of what is used. */
    REQUIRE(fake_os_calls(FAKE_OS_ANY) == 5);
    REQUIRE(ss_heap_get(0) != NULL && ss_meta_alloc(20000) != NULL);
    REQUIRE(fake_os_calls(FAKE_OS_ANY) == 5);
    bool zero;
    REQUIRE(ss_run_alloc(32, 2 * MIB, &zero) != NULL);
    REQUIRE(fake_os_calls(FAKE_OS_ANY) == 6);
}

UNIT_TEST(a_start_that_may_not_commit_does_so_later)
{
    unit_params();
    fake_os_fail(FAKE_OS_COMMIT, 1, FAKE_OS_FOREVER);
    REQUIRE(ss_init());
    bool zero;
    REQUIRE(ss_run_alloc(1, SS_UNIT, &zero) == NULL);
    fake_os_reset();
    REQUIRE(ss_run_alloc(1, SS_UNIT, &zero) != NULL);
    REQUIRE(ss_meta_alloc(64) != NULL && fake_os_calls(FAKE_OS_MAP) == 0);
    ss_validate();
}

/* The three tables over the whole of a small window: records of different units are apart, and
 * those of the last unit are memory. */
UNIT_TEST(every_unit_of_a_window_has_its_records)
{
    unit_params();
    fake_os_set_address_limit(64 * MIB);
    REQUIRE(ss_init());
    size_t n = ss_region.units;
    os_lock(&ss_region.lock);
    bool all = ss_region_commit_locked(&ss_region.part[0], n);
    for (size_t u = 0; all && u < n; u++) {
        ss_region.words[u] = SS_WORD_RUN;
        memset(&ss_region.unit[u], 0xaa, sizeof(ss_region.unit[u]));
        memset(ss_superslab_at(u / ss_region.ss_units), 0x55, sizeof(struct ss_superslab));
    }
    for (size_t u = 0; all && u < n; u++) {
        const unsigned char *last = (const void *)(ss_superslab_at(u / ss_region.ss_units) + 1);
        REQUIRE(ss_region.words[u] == SS_WORD_RUN && last[-1] == 0x55);
        REQUIRE(*(const unsigned char *)&ss_region.unit[u] == 0xaa);
    }
    REQUIRE(all && ss_region.words[n] == SS_WORD_NONE && ss_word(&n) == SS_WORD_NONE);
    os_unlock(&ss_region.lock);
}

/* RLIMIT_AS: addresses are the program's too. */
UNIT_TEST(under_an_address_limit_the_window_is_taken_in_pieces)
{
    unit_params();
    fake_os_set_address_limit(4 * GIB);
    REQUIRE(ss_init());
    REQUIRE(fake_os_held_bytes() <= 300 * MIB);
    for (unsigned i = 0; i < 100; i++)
        memset(take(16), 1, 16 * SS_UNIT);
    REQUIRE(fake_os_held_bytes() <= 600 * MIB);
    ss_validate();
    /* The addresses behind are somebody else's now: no more runs, but nothing breaks. */
    char *next = ss_region.base + (ss_region.reserved << SS_UNIT_SHIFT);
    void *other =
        mmap(next, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    REQUIRE(other == next);
    bool zero;
    size_t n = 0;
    while (ss_run_alloc(16, SS_UNIT, &zero) != NULL)
        n++;
    REQUIRE(n < 100000);
    ss_validate();
    REQUIRE(munmap(other, 4096) == 0);
    (void)take(16);
}

UNIT_TEST(pages_of_64_kib_are_respected)
{
    unit_params();
    fake_os_set_page_size(64 * KIB); /* the fake holds every address and length to it */
    REQUIRE(ss_init());
    char *p = take(7);
    memset(p, 1, 7 * SS_UNIT);
    ss_run_free(p);
    REQUIRE(ss_purge() == 7 * SS_UNIT);
    REQUIRE(ss_meta_alloc(1000) != NULL);
    REQUIRE(take(700) == p);
    ss_validate();
}

UNIT_TEST(meta_memory_is_zero_aligned_and_refused_without_memory)
{
    unit_start();
    for (unsigned i = 1; i < 3000; i += 7) {
        char *p = ss_meta_alloc(i);
        REQUIRE(p != NULL && (uintptr_t)p % HAK_LINE == 0 && hak_test_is_zero(p, i));
        memset(p, 1, i);
    }
    fake_os_fail(FAKE_OS_MAP, 1, FAKE_OS_FOREVER);
    unsigned n = 0;
    while (ss_meta_alloc(1000) != NULL)
        n++;
    REQUIRE(n < 3000); /* what is left of the last chunk: chunks double */
    fake_os_reset();
    REQUIRE(ss_meta_alloc(1000) != NULL);
}

UNIT_TEST(free_runs_over_the_bound_are_told_to_policy)
{
    unit_params();
    ss_params.due_bytes = 4 * MIB;
    REQUIRE(ss_init());
    char *p = take(32), *wall = take(1), *q = take(200);
    (void)wall;
    ss_run_free(p);
    REQUIRE(ss_due == 0);
    ss_run_free(q);
    REQUIRE(ss_due == SS_DUE_BYTES);
    REQUIRE(fake_os_calls(FAKE_OS_PURGE) == 0); /* it is for policy to say when */
    ss_validate();
}

UNIT_TEST(idle_runs_go_back_along_the_curve_and_those_in_use_in_between_stay)
{
    unit_start();
    char *idle = take(320), *wall = take(1), *busy = take(64), *end = take(1);
    (void)wall;
    (void)end;
    memset(idle, 1, 320 * SS_UNIT);
    memset(busy, 1, 64 * SS_UNIT);
    ss_run_free(idle);
    ss_run_free(busy);
    REQUIRE(unit_ticks(1) == 0); /* not free all through it */
    size_t returned = 0;
    for (unsigned i = 0; i < SS_DECAY_TICKS; i++) {
        REQUIRE(take(64) == busy);
        ss_run_free(busy);
        size_t now = unit_ticks(1);
        REQUIRE(i != 0 || (now > 0 && now < 20 * SS_UNIT));
        returned += now;
        REQUIRE(i != 3 || (returned > 150 * SS_UNIT && returned < 175 * SS_UNIT));
        ss_validate();
    }
    REQUIRE(returned == 320 * SS_UNIT && unit_region().dirty_bytes == 64 * SS_UNIT);
    REQUIRE(busy[0] == 1 && hak_test_is_zero(idle, 320 * SS_UNIT));
    REQUIRE(unit_ticks(SS_DECAY_TICKS) == 64 * SS_UNIT);
    REQUIRE(unit_region().dirty_bytes == 0);
}

UNIT_TEST(a_run_is_as_old_as_most_of_it)
{
    unit_start();
    char *much = take(640), *little = take(2), *end = take(1);
    (void)end;
    ss_run_free(much);
    REQUIRE(unit_ticks(1) == 0);
    ss_run_free(little); /* joins it */
    REQUIRE(unit_ticks(1) > 0);
    ss_validate();
}

/* The search looks at so many runs of like size; a run at the frontier that it did not come to may
 * be larger than what is wanted, and keeps the rest. */
UNIT_TEST(a_run_at_the_frontier_keeps_what_is_not_wanted)
{
    enum { MANY = 40 };
    unit_start();
    char *small[MANY], *wall[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        small[i] = take(40);
        wall[i] = take(1);
    }
    char *last = take(47);
    ss_run_free(last); /* first: those freed after it are looked at before it */
    for (unsigned i = 0; i < MANY; i++)
        ss_run_free(small[i]);
    REQUIRE(take(44) == last);
    ss_validate();
    ss_run_free(last);
    for (unsigned i = 0; i < MANY; i++)
        ss_run_free(wall[i]);
    REQUIRE(ss_region.part[0].free_units == ss_region.part[0].frontier);
}

UNIT_TEST(cutting_a_piece_off_a_large_run_leaves_the_rest_idle)
{
    unit_start();
    char *large = take(320), *end = take(1);
    (void)end;
    ss_run_free(large);
    (void)unit_ticks(1);
    for (unsigned i = 0; i < SS_DECAY_TICKS; i++) {
        ss_run_free(take(8));
        (void)unit_ticks(1);
    }
    REQUIRE(unit_region().dirty_bytes <= 16 * SS_UNIT);
}

/* A purge in batches: what is out of reach at a time is bounded, and all of it comes back. */
UNIT_TEST(a_purge_takes_large_runs_piece_by_piece)
{
    unit_start();
    char *p = take(5000), *end = take(1);
    (void)end;
    ss_run_free(p);
    fake_os_reset();
    REQUIRE(ss_purge() == 5000 * SS_UNIT);
    REQUIRE(fake_os_last(FAKE_OS_PURGE).bytes <= 16 * MIB);
    REQUIRE(fake_os_calls(FAKE_OS_PURGE) >= 5000 / 256);
    REQUIRE(take(5000) == p);
    ss_validate();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_mark_a_run_and_nothing_else),
        cmocka_unit_test(idle_runs_go_back_along_the_curve_and_those_in_use_in_between_stay),
        cmocka_unit_test(a_run_is_as_old_as_most_of_it),
        cmocka_unit_test(the_smallest_run_that_fits_is_taken),
        cmocka_unit_test(neighbours_coalesce_in_every_order_of_freeing),
        cmocka_unit_test(any_alignment_up_to_the_largest_is_kept_and_the_gaps_are_used),
        cmocka_unit_test(fresh_runs_are_zero_used_ones_are_not_and_purged_ones_are_again),
        cmocka_unit_test(pieces_of_dirty_runs_are_never_called_zero),
        cmocka_unit_test(a_refused_purge_changes_nothing_and_may_be_repeated),
        cmocka_unit_test(resize_shrinks_and_grows_in_place),
        cmocka_unit_test(resize_grows_over_the_frontier),
        cmocka_unit_test(the_region_grows_in_few_calls),
        cmocka_unit_test(where_commitments_count_the_region_grows_by_eighths),
        cmocka_unit_test(where_generous_growth_is_refused_exact_growth_serves),
        cmocka_unit_test(without_memory_a_run_is_refused_and_later_served),
        cmocka_unit_test(a_refused_reservation_is_halved_until_it_is_granted),
        cmocka_unit_test(with_no_addresses_at_all_init_fails_and_may_be_repeated),
        cmocka_unit_test(a_failed_table_fails_init_and_leaves_nothing),
        cmocka_unit_test(a_start_and_its_first_superslab_take_six_calls),
        cmocka_unit_test(a_start_that_may_not_commit_does_so_later),
        cmocka_unit_test(every_unit_of_a_window_has_its_records),
        cmocka_unit_test(under_an_address_limit_the_window_is_taken_in_pieces),
        cmocka_unit_test(pages_of_64_kib_are_respected),
        cmocka_unit_test(meta_memory_is_zero_aligned_and_refused_without_memory),
        cmocka_unit_test(free_runs_over_the_bound_are_told_to_policy),
        cmocka_unit_test(a_run_at_the_frontier_keeps_what_is_not_wanted),
        cmocka_unit_test(cutting_a_piece_off_a_large_run_leaves_the_rest_idle),
        cmocka_unit_test(a_purge_takes_large_runs_piece_by_piece),
    };
    return cmocka_run_group_tests_name("superslab: region and runs", tests, NULL, NULL);
}
