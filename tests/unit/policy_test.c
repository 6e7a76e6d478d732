/* SPDX-License-Identifier: MIT
 *
 * policy: from options to the numbers of the tiers, and what is given up when memory runs out.
 */
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hak_opt.h"
#include "large/large.h"
#include "tiny/tiny.h"
#include "unit.h"

static void start_with(const char *a, const char *b)
{
    const char *const env[] = {a, a != NULL ? b : NULL, NULL};
    fake_os_reset();
    os_init();
    fake_os_set_ncpus(6);
    hak_opt_load(env);
    policy_init();
    REQUIRE(ss_init());
    mid_init(ss_params.superslab_bytes, SIZE_MAX);
    policy_init_bins();
    tiny_init();
}

UNIT_TEST(the_default_numbers_are_those_of_the_table)
{
    start_with(NULL, NULL);
    REQUIRE(ss_params.superslab_bytes == 2 * MIB);
    REQUIRE(ss_params.superslab_keep == hak_opt.superslab_keep);
    REQUIRE(ss_params.heaps_max == 6); /* as many as CPUs */
    REQUIRE(ss_params.refill_count == 0);
    REQUIRE(ss_params.due_bytes == hak_opt.batch_threshold);
    REQUIRE(ss_params.purge_min_bytes == hak_opt.batch_min_size);
    REQUIRE(large_params.threshold == hak_opt.large_threshold);
    REQUIRE(tiny_params.adapt);
    REQUIRE(ss_params.huge == SS_HUGE_AUTO && !ss_params.purge_lazily);
}

UNIT_TEST(heaps_follow_the_cpus_up_to_their_bound)
{
    fake_os_reset();
    os_init();
    fake_os_set_ncpus(100000);
    hak_opt_load(NULL);
    policy_init();
    REQUIRE(ss_params.heaps_max == SS_HEAPS_MAX - 1);
}

UNIT_TEST(options_reach_their_tiers)
{
    start_with("HAKMEM_SUPERSLAB_SIZE=512K", "HAKMEM_HEAPS=5");
    REQUIRE(ss_params.superslab_bytes == 512 * KIB && ss_params.heaps_max == 5);
    REQUIRE(mid_max == 256 * KIB);
    start_with("HAKMEM_TINY_REFILL_COUNT=9", "HAKMEM_ACE_ENABLED=0");
    REQUIRE(ss_params.refill_count == 9 && tiny_params.adapt && !tiny_params.count);
    start_with("HAKMEM_ACE_ENABLED=1", NULL);
    REQUIRE(tiny_params.adapt && tiny_params.count);
    start_with("HAKMEM_LARGE_THRESHOLD=1M", "HAKMEM_BATCH_THRESHOLD=3M");
    REQUIRE(large_params.threshold == MIB && ss_params.due_bytes == 3 * MIB);
    start_with("HAKMEM_BATCH_MIN_SIZE=1M", "HAKMEM_SUPERSLAB_KEEP=7");
    REQUIRE(ss_params.purge_min_bytes == MIB && ss_params.superslab_keep == 7);
    start_with("HAKMEM_THP=off", "HAKMEM_PURGE=free");
    REQUIRE(ss_params.huge == SS_HUGE_OFF && ss_params.purge_lazily);
    start_with("HAKMEM_THP=on", NULL);
    REQUIRE(ss_params.huge == SS_HUGE_ON);
}

static void bins_body(void *mode)
{
    start_with(mode, NULL);
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        size_t size = ss_classes[c].size;
        if (size == 0)
            continue;
        /* A bin has two lists; short ones may have more bytes. */
        REQUIRE(2 * tiny_params.cap_max[c] * size <= hak_opt.tiny_cache ||
                (tiny_params.cap_max[c] <= 8 &&
                 2 * tiny_params.cap_max[c] * size <= 4 * hak_opt.tiny_cache) ||
                tiny_params.cap_max[c] == 1);
        REQUIRE(tiny_params.cap_max[c] <= 65535); /* a spare list's count */
        REQUIRE((tiny_params.cap_max[c] > 0) == (size <= 4 * hak_opt.tiny_cache));
    }
}

static void bins_keep_to_their_byte_budget_in_every_mode(void **state)
{
    EXPECT_CHILD_PASS(bins_body, "HAKMEM_MODE=fast");
    EXPECT_CHILD_PASS(bins_body, "HAKMEM_MODE=balanced");
    EXPECT_CHILD_PASS(bins_body, "HAKMEM_MODE=lean");
    EXPECT_CHILD_PASS(bins_body, "HAKMEM_TINY_CACHE=16M");
    EXPECT_CHILD_PASS(bins_body, "HAKMEM_TINY_CACHE=0");
}

/* Fill every kind of cache there is; reclaim; all of it must be back. */
UNIT_TEST(reclaim_collects_parked_caches_queues_slabs_pools_and_runs)
{
    start_with(NULL, NULL);
    struct tiny_cache *parked = tiny_borrow(), *owner = tiny_borrow();
    bool zero;
    for (unsigned class = ss_class_of(1); class < SS_NCLASS; class += 3) {
        char *p = tiny_refill(parked, class, &zero), *q = tiny_refill(owner, class, &zero);
        REQUIRE(p != NULL && q != NULL);
        memset(p, 1, ss_classes[class].size);
        memset(q, 1, ss_classes[class].size);
        tiny_give(parked, class, p);
        tiny_give_remote(parked, class, q); /* to a queue its owner does not look into */
    }
    tiny_flush(owner);
    void *run = ss_run_alloc(40, SS_UNIT, &zero);
    memset(run, 1, 40 * SS_UNIT);
    ss_run_free(run);
    tiny_park(parked);
    size_t full = hak_test_resident_bytes(), bytes = policy_reclaim();
    REQUIRE(bytes >= 40 * SS_UNIT);
    REQUIRE(hak_test_resident_bytes() + 40 * SS_UNIT <= full);
    for (unsigned id = 1; id <= ss_nheaps(); id++) {
        struct ss_heap_stats s = unit_heap(ss_heap_by_id(id));
        REQUIRE(s.slabs == 0 && s.superslabs == 0);
        for (unsigned c = 0; c < SS_NCLASS; c++)
            REQUIRE(s.out[c] == 0);
    }
    REQUIRE(unit_region().dirty_bytes == 0 && unit_region().pooled_superslabs == 0);
    REQUIRE(policy_reclaim() == 0);
    ss_validate();
}

/* ---- ELO. ---- */

static void large_operation(void)
{
    policy_large_end(policy_large_begin(MIB), MIB, MIB);
}

UNIT_TEST(an_operation_that_was_going_on_leaves_the_threshold_the_program_has_set)
{
    start_with(NULL, NULL);
    uint64_t begun = policy_large_begin(MIB);
    REQUIRE(begun != 0);
    policy_threshold_set(3 * MIB);
    policy_large_end(begun, 0, MIB);
    REQUIRE(large_params.threshold == 3 * MIB);
    REQUIRE(policy_large_begin(MIB) == 0);
}

/* Two seconds without the operations of an epoch: it says nothing, and its challenger goes. */
UNIT_TEST(where_operations_become_few_the_leader_plays_again)
{
    start_with(NULL, NULL);
    for (unsigned i = 0; large_params.threshold == 32 * MIB; i++) {
        REQUIRE(i < 50000);
        large_operation();
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    nanosleep(&(struct timespec){2, 100000000}, NULL);
    large_operation();
    REQUIRE(large_params.threshold == 32 * MIB);
}

/* ---- Batch. ---- */

static const void *program(void)
{
    return (const void *)(uintptr_t)program; /* code that is not the C library's */
}

UNIT_TEST(the_thread_starts_for_bytes_and_not_for_the_c_library)
{
    start_with(NULL, NULL);
    ss_due = SS_DUE_OPS; /* a process of one thread: that is no reason */
    policy_due(program());
    ss_due = SS_DUE_BYTES;
    policy_due((const void *)(uintptr_t)abort);
    REQUIRE(fake_os_calls(FAKE_OS_THREAD_START) == 0 && ss_due == 0);
    fake_os_fail(FAKE_OS_THREAD_START, 1, FAKE_OS_FOREVER);
    ss_due = SS_DUE_BYTES;
    policy_due(program());
    REQUIRE(fake_os_calls(FAKE_OS_THREAD_START) == 1);
}

/* Refused once, it is not asked for again: slow paths do the work. */
UNIT_TEST(without_a_thread_slow_paths_tick)
{
    start_with("HAKMEM_DECAY_MS=80", NULL);
    bool zero;
    void *run = ss_run_alloc(400, SS_UNIT, &zero);
    ss_run_free(run);
    fake_os_fail(FAKE_OS_THREAD_START, 1, FAKE_OS_FOREVER);
    for (unsigned i = 0; unit_region().dirty_bytes > 0; i++) {
        REQUIRE(i < 5000);
        ss_due = SS_DUE_BYTES;
        policy_due(program());
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    REQUIRE(fake_os_calls(FAKE_OS_THREAD_START) == 1);
    ss_validate();
}

UNIT_TEST(without_decay_memory_goes_back_at_once)
{
    start_with("HAKMEM_DECAY_MS=0", NULL);
    bool zero;
    ss_run_free(ss_run_alloc(40, SS_UNIT, &zero));
    REQUIRE(ss_due == 0); /* below the threshold */
    ss_run_free(ss_run_alloc(400, SS_UNIT, &zero));
    REQUIRE((ss_due & SS_DUE_BYTES) != 0);
    policy_due(program());
    REQUIRE(unit_region().dirty_bytes == 0 && fake_os_calls(FAKE_OS_THREAD_START) == 0);
}

UNIT_TEST(a_thread_that_started_sleeps_when_all_has_gone_back_and_wakes_up_again)
{
    start_with("HAKMEM_DECAY_MS=80", NULL);
    bool zero;
    for (unsigned round = 0; round < 3; round++) {
        ss_run_free(ss_run_alloc(400, SS_UNIT, &zero));
        REQUIRE(round > 0 || (ss_due & SS_DUE_BYTES) != 0);
        policy_due(program());
        for (unsigned i = 0; unit_region().dirty_bytes > 0 || !ss_params.due_ops; i++) {
            REQUIRE(i < 20000); /* armed again: it is about to sleep */
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
    }
    REQUIRE(fake_os_calls(FAKE_OS_THREAD_START) == 1);
}

static void grow(void)
{
    bool zero;
    REQUIRE(ss_run_alloc(700, SS_UNIT, &zero) != NULL);
}

/* A program of one thread that only grows has huge pages all the same. */
UNIT_TEST(the_thread_starts_for_what_may_have_huge_pages)
{
    fake_os_set_huge_bytes(2 * MIB);
    start_with("HAKMEM_THP=off", NULL);
    grow();
    REQUIRE((ss_due & SS_DUE_OPS) == 0);
    start_with(NULL, NULL);
    fake_os_set_huge_bytes(2 * MIB);
    fake_os_fail(FAKE_OS_THREAD_START, 1, FAKE_OS_FOREVER);
    grow();
    REQUIRE((ss_due & SS_DUE_OPS) != 0);
    policy_due((const void *)(uintptr_t)abort);
    REQUIRE(fake_os_calls(FAKE_OS_THREAD_START) == 0);
    ss_due = SS_DUE_OPS; /* any later one will do */
    policy_due(program());
    REQUIRE(fake_os_calls(FAKE_OS_THREAD_START) == 1);
}

UNIT_TEST(without_a_thread_slow_paths_ask_for_huge_pages)
{
    start_with("HAKMEM_DECAY_MS=80", "HAKMEM_BATCH_BG=0");
    fake_os_set_huge_bytes(2 * MIB);
    fake_os_set_huge_allowed(true);
    fake_os_set_resident_percent(100);
    grow();
    for (unsigned i = 0; unit_region().huge_bytes < 40 * MIB; i++) {
        REQUIRE(i < 5000);
        ss_due = SS_DUE_OPS;
        policy_due(program());
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    ss_validate();
}

/* Not before all that may be had was asked for; then it sleeps as ever. */
UNIT_TEST(the_thread_asks_for_all_huge_pages_and_then_sleeps)
{
    start_with("HAKMEM_DECAY_MS=80", NULL);
    fake_os_set_huge_bytes(2 * MIB);
    fake_os_set_huge_allowed(true);
    fake_os_set_resident_percent(100);
    grow();
    grow();
    ss_due = SS_DUE_OPS;
    policy_due(program());
    for (unsigned i = 0; !ss_params.due_ops; i++) {
        REQUIRE(i < 20000);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    REQUIRE(unit_region().huge_bytes >= 2 * 40 * MIB);
}

/* HAKMEM_PURGE=free: old contents may come back, so nothing is known to be zero. */
UNIT_TEST(what_goes_back_lazily_is_not_known_to_be_zero)
{
    start_with("HAKMEM_PURGE=free", NULL);
    bool zero = true, grew;
    char *run = ss_run_alloc(400, SS_UNIT, &zero);
    REQUIRE(run != NULL && !zero);
    memset(run, 1, 400 * SS_UNIT);
    ss_run_free(run);
    REQUIRE(policy_reclaim() == 400 * SS_UNIT && fake_os_last(FAKE_OS_PURGE).lazily);
    REQUIRE(unit_region().dirty_bytes == 0); /* it is the system's now, resident or not */
    run = ss_run_alloc(400, SS_UNIT, &zero);
    REQUIRE(run != NULL && !zero);
    struct ss_chain c;
    REQUIRE(ss_refill(ss_heap_get(0), ss_class_of(4096), 1, &c, &grew) && !c.zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_numbers_are_those_of_the_table),
        cmocka_unit_test(heaps_follow_the_cpus_up_to_their_bound),
        cmocka_unit_test(options_reach_their_tiers),
        cmocka_unit_test(bins_keep_to_their_byte_budget_in_every_mode),
        cmocka_unit_test(reclaim_collects_parked_caches_queues_slabs_pools_and_runs),
        cmocka_unit_test(
            an_operation_that_was_going_on_leaves_the_threshold_the_program_has_set),
        cmocka_unit_test(where_operations_become_few_the_leader_plays_again),
        cmocka_unit_test(the_thread_starts_for_bytes_and_not_for_the_c_library),
        cmocka_unit_test(without_a_thread_slow_paths_tick),
        cmocka_unit_test(without_decay_memory_goes_back_at_once),
        cmocka_unit_test(
            a_thread_that_started_sleeps_when_all_has_gone_back_and_wakes_up_again),
        cmocka_unit_test(the_thread_starts_for_what_may_have_huge_pages),
        cmocka_unit_test(without_a_thread_slow_paths_ask_for_huge_pages),
        cmocka_unit_test(the_thread_asks_for_all_huge_pages_and_then_sleeps),
        cmocka_unit_test(what_goes_back_lazily_is_not_known_to_be_zero),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
