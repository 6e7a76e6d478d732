/* SPDX-License-Identifier: MIT
 *
 * NUMA: nodes in every shape that the kernel shows them, from files and answers the test has made; and
 * what the tiers do on a machine with several. tests/numa has machines that really have them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/hak_slow.h"
#include "base/hak_list.h"
#include "base/hak_opt.h"
#include "hakmem.h"
#include "large/large.h"
#include "policy/policy_internal.h"
#include "support/fake_root.h"
#include "tiny/tiny.h"
#include "unit.h"

/* ---- Lists. ---- */

UNIT_TEST(lists_are_read_as_the_kernel_writes_them)
{
    static const struct {
        const char *text;
        uint64_t low, high;
        bool good;
    } lists[] = {
        {"", 0, 0, true},
        {"\n", 0, 0, true},
        {"0", 1, 0, true},
        {"0-1,3\n", 11, 0, true},
        {"63-64", 1ull << 63, 1, true},
        {"127", 0, 1ull << 63, true},
        {"1,1,0-1", 3, 0, true},
        {"128", 0, 0, false},
        {"1-128", 0, 0, false},
        {"1,", 0, 0, false},
        {",1", 0, 0, false},
        {"2-1", 0, 0, false},
        {"1-", 0, 0, false},
        {"-1", 0, 0, false},
        {"1 2", 0, 0, false},
        {"x", 0, 0, false},
        {"1x", 0, 0, false},
        {"4294967296", 0, 0, false},
        {"1--2", 0, 0, false},
        {"all", 0, 0, false},
        {"99999999999999999999", 0, 0, false},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        uint64_t bits[2] = {0, 0};
        bool good = hak_list_parse(lists[i].text, bits, 128);
        if (good != lists[i].good ||
            (good && (bits[0] != lists[i].low || bits[1] != lists[i].high)))
            hak_require_failed(lists[i].text, __FILE__, __LINE__);
    }
}

/* ---- The machine. ---- */

static const char *root;

static void given(const char *online, const char *memory, const char *cpu)
{
    fake_os_reset();
    os_init();
    fake_os_set_numa(online, 0);
    root = fake_root_make();
    fake_root_put("/sys/devices/system/node/online", online);
    if (memory != NULL)
        fake_root_put("/sys/devices/system/node/has_memory", memory);
    fake_root_put("/sys/devices/system/node/has_cpu", cpu);
    errno = 4321;
}

static void distance(unsigned id, const char *row)
{
    char path[80];
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/distance", id);
    fake_root_put(path, row);
}

static const char *find(void)
{
    bool bad;
    const char *why = os_numa_init(root, NULL, &bad);
    REQUIRE(!bad && errno == 4321);
    return why;
}

static const char *find_of(const char *list, bool *bad)
{
    struct os_ids wanted = {{0}};
    REQUIRE(hak_list_parse(list, wanted.word, OS_NODE_IDS));
    return os_numa_init(root, &wanted, bad);
}

static unsigned home(unsigned id)
{
    fake_os_set_node_id(id);
    return os_node();
}

static bool ids_are(unsigned node, const char *list)
{
    struct os_ids ids = {{0}};
    REQUIRE(hak_list_parse(list, ids.word, OS_NODE_IDS));
    return memcmp(&ids, os_node_ids(node), sizeof(ids)) == 0;
}

static bool says(const char *text, const char *part)
{
    if (text == NULL || strstr(text, part) == NULL)
        hak_require_failed(text != NULL ? text : "(nothing)", __FILE__, __LINE__);
    return true;
}

UNIT_TEST(nodes_are_what_has_memory)
{
    given("0-1", "0-1", "0-1");
    REQUIRE(find() == NULL && os_nnodes() == 2 && os_node_places());
    REQUIRE(ids_are(0, "0") && ids_are(1, "1") && ids_are(OS_NODES_ALL, "0-1"));
    REQUIRE(home(0) == 0 && home(1) == 1 && home(5) == 0 && home(1024) == 0);
}

UNIT_TEST(a_machine_with_one_node_is_asked_one_question)
{
    given("0", "0", "0");
    fake_os_fail(FAKE_OS_FILE, 1, FAKE_OS_FOREVER);
    REQUIRE(find() == NULL && os_nnodes() == 1 && !os_node_places() && os_node() == 0);
    REQUIRE(fake_os_calls(FAKE_OS_FILE) == 0);
    fake_os_set_numa("", ENOSYS); /* a kernel without nodes */
    REQUIRE(find() == NULL && os_nnodes() == 1 && fake_os_calls(FAKE_OS_FILE) == 0);
    REQUIRE(!os_numa_follow(root));
}

UNIT_TEST(numbers_may_have_gaps_and_nodes_be_offline)
{
    given("0,4,1023", "0,4,1023", "0,4,1023");
    fake_os_set_numa("0,3-4,9,1023", 0); /* 3 and 9 may be used once they are there */
    REQUIRE(find() == NULL && os_nnodes() == 3);
    REQUIRE(ids_are(0, "0") && ids_are(1, "4") && ids_are(2, "1023"));
    REQUIRE(!os_numa_follow(root));
    REQUIRE(home(0) == 0 && home(4) == 1 && home(1023) == 2 && home(3) == 0);
}

UNIT_TEST(threads_of_a_node_without_memory_belong_to_the_nearest)
{
    given("0-2,5", "0,2,5", "0-1,5"); /* and one without CPUs is a node like others */
    fake_os_set_numa("0,2,5", 0);
    distance(1, "30 10 20 25\n");
    REQUIRE(says(find(), "use the nearest") && os_nnodes() == 3);
    REQUIRE(home(1) == 1 && ids_are(1, "2") && ids_are(2, "5"));
}

UNIT_TEST(between_two_that_are_as_near_they_belong_to_both)
{
    given("0-4", "0,2,4", "0-4");
    distance(1, "20 10 20 20 30\n");
    distance(3, "20 20 20 10 30\n");
    REQUIRE(says(find(), "use the nearest") && os_nnodes() == 4 && ids_are(3, "0,2"));
    REQUIRE(home(0) == 0 && home(2) == 1 && home(4) == 2 && home(1) == 3 && home(3) == 3);
    /* Neither changes what the others are. */
    fake_os_set_numa("0,2,4", 0);
    (void)os_numa_follow(root);
    REQUIRE(home(0) == 0 && home(2) == 1 && home(4) == 2 && home(1) == 3 && home(3) == 3);
}

UNIT_TEST(where_distances_are_not_told_the_nodes_are_as_near_as_each_other)
{
    given("0-2", "0,2", "0-2");
    REQUIRE(says(find(), "use the nearest") && ids_are(0, "0") && ids_are(1, "2"));
    REQUIRE(home(0) == 0 && home(2) == 1 && home(1) == 2 && ids_are(2, "0,2"));
}

UNIT_TEST(a_garbled_distance_is_no_distance)
{
    given("0-2", "0,2", "0-2");
    distance(1, "ten 10 twenty\n");
    REQUIRE(says(find(), "use the nearest") && home(1) == 2 && ids_are(2, "0,2"));
}

UNIT_TEST(of_more_nodes_than_there_is_room_for_the_others_use_the_nearest)
{
    char row[512] = "";
    given("0-99", "0-99", "0-99");
    for (unsigned id = 64; id < 100; id++) {
        row[0] = '\0';
        for (unsigned to = 0; to < 100; to++)
            snprintf(row + strlen(row), sizeof(row) - strlen(row), "%u ",
                     to == id        ? 10
                     : to == id - 60 ? 15
                                     : 20);
        distance(id, row);
    }
    REQUIRE(says(find(), "more than it tells apart") && os_nnodes() == OS_NODES_MAX &&
            os_node_places());
    for (unsigned id = 0; id < 64; id++)
        REQUIRE(home(id) == id);
    for (unsigned id = 64; id < 100; id++)
        REQUIRE(home(id) == id - 60);
    REQUIRE(ids_are(OS_NODES_ALL, "0-99"));
}

UNIT_TEST(without_sysfs_there_is_one_node)
{
    given("0-1", "0-1", "0-1");
    (void)fake_root_make();
    REQUIRE(says(find(), "/sys/devices/system/node cannot be read") && os_nnodes() == 1);
    REQUIRE(!os_node_places() && os_node() == 0);
}

UNIT_TEST(an_older_kernel_has_another_name_for_memory)
{
    given("0-1", NULL, "0-1");
    fake_root_put("/sys/devices/system/node/has_normal_memory", "0-1\n");
    REQUIRE(find() == NULL && os_nnodes() == 2);
}

UNIT_TEST(files_that_are_no_lists_are_as_none)
{
    given("0-1", "0-1", "0-1");
    fake_root_put("/sys/devices/system/node/has_memory", "none of them\n");
    REQUIRE(says(find(), "cannot be read") && os_nnodes() == 1);
}

UNIT_TEST(a_filter_that_answers_eperm_leaves_nodes_and_places_nothing)
{
    given("0-1", "0-1", "0-1");
    fake_os_set_numa("", EPERM);
    fake_root_put("/proc/self/status", "Name:\tx\nMems_allowed:\t3\nMems_allowed_list:\t0-1\n");
    REQUIRE(says(find(), "refuses to place") && os_nnodes() == 2 && !os_node_places());
    REQUIRE(home(1) == 1 && !os_numa_follow(root));
    os_node_place((void *)(uintptr_t)(1 << 30), MIB, 1);
    REQUIRE(fake_os_calls(FAKE_OS_PLACE) == 0);
}

UNIT_TEST(a_filter_on_one_node_is_nothing_to_speak_of)
{
    given("0", "0", "0");
    fake_os_set_numa("", EPERM);
    fake_root_put("/proc/self/status", "Mems_allowed_list:\t0\n");
    REQUIRE(find() == NULL && os_nnodes() == 1);
}

UNIT_TEST(a_filter_without_proc_leaves_one_node)
{
    given("0-1", "0-1", "0-1");
    fake_os_set_numa("", EPERM);
    REQUIRE(says(find(), "one is used") && os_nnodes() == 1);
}

UNIT_TEST(a_cpuset_that_changes_moves_threads_to_the_nearest)
{
    given("0-2", "0-2", "0-2");
    distance(0, "10 20 30\n");
    distance(1, "20 10 15\n");
    distance(2, "30 15 10\n");
    REQUIRE(find() == NULL && os_nnodes() == 3 && !os_numa_follow(root));
    fake_os_set_numa("0,2", 0);
    REQUIRE(os_numa_follow(root) && !os_numa_follow(root));
    REQUIRE(home(0) == 0 && home(1) == 2 && home(2) == 2);
    fake_os_set_numa("0", 0);
    REQUIRE(os_numa_follow(root) && home(1) == 0 && home(2) == 0);
    fake_os_set_numa("7", 0); /* none of those there are: as before */
    REQUIRE(os_numa_follow(root) && home(1) == 0 && home(2) == 0);
    fake_os_set_numa("0-2", 0);
    REQUIRE(os_numa_follow(root) && home(1) == 1 && home(2) == 2);
    REQUIRE(errno == 4321 && os_nnodes() == 3);
}

UNIT_TEST(the_nodes_of_the_option_are_used_and_no_others)
{
    bool bad;
    given("0-3", "0-3", "0-3");
    distance(0, "10 20 30 15\n");
    distance(2, "30 15 10 20\n");
    REQUIRE(says(find_of("1,3,900", &bad), "use the nearest") && !bad && os_nnodes() == 2);
    REQUIRE(ids_are(0, "1") && ids_are(1, "3") && ids_are(OS_NODES_ALL, "1,3"));
    REQUIRE(home(0) == 1 && home(1) == 0 && home(2) == 0 && home(3) == 1);
    REQUIRE(!os_numa_follow(root));
}

UNIT_TEST(one_node_of_several_is_placed_on_as_well)
{
    bool bad;
    given("0-1", "0-1", "0-1");
    REQUIRE(says(find_of("1", &bad), "use the nearest") && !bad && os_nnodes() == 1);
    REQUIRE(os_node_places());
    REQUIRE(ids_are(0, "1") && home(0) == 0 && home(1) == 0);
}

UNIT_TEST(an_option_of_nodes_that_cannot_be_used_is_told_and_all_are)
{
    bool bad;
    given("0-2", "0,2", "0-2");
    (void)find_of("1,5", &bad);
    REQUIRE(bad && os_nnodes() >= 2 && ids_are(0, "0") && ids_are(1, "2"));
}

UNIT_TEST(on_one_node_too_the_option_is_looked_at)
{
    bool bad;
    given("0", "0", "0");
    REQUIRE(find_of("1", &bad) == NULL && bad && os_nnodes() == 1);
    REQUIRE(find_of("0", &bad) == NULL && !bad && os_nnodes() == 1);
}

/* policy, its nodes -> nodes there are; nothing is ever placed. */
#define POLICY_TEST(name, policy, of, nodes)                                                   \
    UNIT_TEST(name)                                                                            \
    {                                                                                          \
        given("0-2", "0-2", "0-2");                                                            \
        fake_os_set_mempolicy(policy, of);                                                     \
        distance(0, "10 20 30\n");                                                             \
        REQUIRE(says(find(), "memory policy of its own") && os_nnodes() == (nodes));           \
        REQUIRE(!os_node_places());                                                            \
        os_node_place((void *)(uintptr_t)(1 << 30), MIB, 0);                                   \
        REQUIRE(fake_os_calls(FAKE_OS_PLACE) == 0);                                            \
    }
POLICY_TEST(memory_bound_by_the_user_has_its_nodes, OS_MEMPOLICY_NEAR, "1-2", 2)
POLICY_TEST(memory_spread_by_the_user_has_one_pool, OS_MEMPOLICY_ELSEWHERE, "0-2", 1)
POLICY_TEST(memory_kept_local_by_the_user_has_all_nodes, OS_MEMPOLICY_LOCAL, "", 3)

UNIT_TEST(under_a_limit_on_addresses_there_is_one_node)
{
    given("0-1", "0-1", "0-1");
    fake_os_set_address_limit(GIB);
    REQUIRE(says(find(), "RLIMIT_AS") && os_nnodes() == 1 && !os_node_places());
}

UNIT_TEST(placing_that_is_refused_is_not_tried_again)
{
    given("0-1", "0-1", "0-1");
    REQUIRE(find() == NULL);
    void *p = (void *)(uintptr_t)(1 << 30);
    os_node_place(p, MIB, 1);
    REQUIRE(fake_os_calls(FAKE_OS_PLACE) == 1 && os_node_places());
    fake_os_set_place_error(EPERM);
    os_node_place(p, MIB, 1);
    REQUIRE(fake_os_calls(FAKE_OS_PLACE) == 2 && !os_node_places() && os_nnodes() == 2);
    os_node_place(p, MIB, OS_NODES_ALL);
    REQUIRE(fake_os_calls(FAKE_OS_PLACE) == 2 && errno == 4321);
}

UNIT_TEST(a_kernel_that_cannot_prefer_several_nodes_prefers_the_first)
{
    given("0-2", "0,2", "0-2");
    distance(1, "20 10 20\n");
    REQUIRE(find() != NULL && os_nnodes() == 3);
    fake_os_set_place_error(EINVAL);
    os_node_place((void *)(uintptr_t)(1 << 30), MIB, 2);
    REQUIRE(fake_os_calls(FAKE_OS_PLACE) == 2 && os_node_places());
}

UNIT_TEST(distances_are_those_of_the_firmware)
{
    given("0-3", "0,2,3", "0-3");
    distance(0, "10 20 30 40\n");
    distance(1, "20 10 20 99\n");
    distance(2, "30 20 10 50\n");
    distance(3, "40 99 50 10\n");
    REQUIRE(find() != NULL && os_nnodes() == 4);
    REQUIRE(os_node_distance(root, 0, 0) == 10 && os_node_distance(root, 0, 1) == 30);
    REQUIRE(os_node_distance(root, 2, 1) == 50 && os_node_distance(root, 2, 3) == 40);
}

/* ---- The region. ---- */

static void nodes_start(unsigned n)
{
    unit_nnodes = n;
    unit_start();
}

static unsigned part_of(const void *p)
{
    return (unsigned)(ss_part_of(ss_unit_of(p)) - ss_region.part);
}

static char *run_on(unsigned node, size_t units)
{
    bool zero;
    fake_os_set_node(node);
    return ss_run_alloc(units, SS_UNIT, &zero);
}

UNIT_TEST(each_node_has_its_part_placed_once)
{
    nodes_start(3);
    REQUIRE(ss_region.nparts == 3);
    for (unsigned n = 0; n < 3; n++) {
        const struct ss_part *p = &ss_region.part[n];
        REQUIRE(fake_os_said(ss_unit_address(p->first)).node == (int)n);
        REQUIRE(fake_os_said(ss_unit_address(p->end - 1)).node == (int)n);
        REQUIRE(p->end - p->first == ss_region.part[0].end &&
                p->first % ss_region.ss_units == 0);
        REQUIRE(part_of(run_on(n, 5)) == n && part_of(run_on(n, 100)) == n);
        struct ss_heap *h = ss_heap_get(n);
        struct ss_chain c;
        bool grew;
        REQUIRE(ss_refill(h, ss_class_of(100), 1, &c, &grew) && grew && part_of(c.head) == n);
        REQUIRE(ss_word_heap(ss_word(c.head)) == h->id);
    }
    ss_validate();
}

UNIT_TEST(what_is_freed_is_its_node_s_again_whoever_frees_it)
{
    nodes_start(2);
    char *here = run_on(0, 40), *there = run_on(1, 40);
    ss_run_free(there);
    fake_os_set_node(0);
    char *more = run_on(0, 40);
    REQUIRE(more != there && part_of(more) == 0);
    REQUIRE(run_on(1, 40) == there);
    ss_run_free(here);
    REQUIRE(run_on(1, 40) != here && run_on(0, 40) == here);
    ss_validate();
}

UNIT_TEST(parts_do_not_grow_together)
{
    unit_nnodes = 2;
    unit_params();
    fake_os_set_ram(GIB);
    fake_os_fail(FAKE_OS_RESERVE, 1, 9); /* 64 GiB are refused, and so on down to 256 MiB */
    REQUIRE(ss_init());
    REQUIRE(ss_region.units == 128 * MIB / SS_UNIT);
    size_t all = 64 * MIB / SS_UNIT;
    char *a = run_on(0, all), *b = run_on(1, all);
    REQUIRE(part_of(a) == 0 && part_of(b) == 1 && b == a + 64 * MIB);
    REQUIRE(run_on(0, 1) == NULL);
    ss_run_free(a);
    ss_run_free(b);
    REQUIRE(run_on(0, all + 1) == NULL && run_on(1, all) == b);
    ss_validate();
}

UNIT_TEST(a_node_without_addresses_uses_another_s)
{
    unit_nnodes = 2;
    unit_params();
    fake_os_set_ram(GIB);
    fake_os_fail(FAKE_OS_RESERVE, 1, 9);
    REQUIRE(ss_init());
    mid_init(2 * MIB, SIZE_MAX);
    REQUIRE(part_of(run_on(1, 64 * MIB / SS_UNIT)) == 1);
    REQUIRE(part_of(run_on(1, 10)) == 0);
    struct ss_heap *h = ss_heap_get(1);
    struct ss_chain c;
    bool grew;
    REQUIRE(ss_refill(h, ss_class_of(100), 1, &c, &grew) && part_of(c.head) == 0);
    REQUIRE(ss_flush(h, c.head) == NULL);
    unit_tidy(h);
    REQUIRE(ss_region.part[0].pool.count == 1 && ss_region.part[1].pool.count == 0);
    ss_validate();
}

UNIT_TEST(large_runs_may_be_spread_over_all)
{
    ss_params.interleave_bytes = 2 * MIB;
    nodes_start(2);
    REQUIRE(ss_region.nparts == 3);
    REQUIRE(part_of(run_on(1, 2 * MIB / SS_UNIT)) == 2 && part_of(run_on(0, 500)) == 2);
    REQUIRE(part_of(run_on(1, 2 * MIB / SS_UNIT - 1)) == 1);
    REQUIRE(fake_os_said(ss_unit_address(ss_region.part[2].first)).node == OS_NODES_ALL);
    char *own = large_map_alloc(40 * MIB, 1), *small = large_map_alloc(MIB, 1);
    REQUIRE(fake_os_said(own).node == OS_NODES_ALL && fake_os_said(small).node == -1);
    struct ss_node_stats s;
    REQUIRE(ss_node_stats(SS_NODE_SPREAD, &s) && s.run_bytes == 532 * SS_UNIT && s.heaps == 0);
    ss_validate();
}

UNIT_TEST(mappings_of_their_own_are_where_they_are_touched)
{
    nodes_start(2);
    REQUIRE(fake_os_said(large_map_alloc(40 * MIB, 1)).node == -1);
}

UNIT_TEST(on_one_node_nothing_is_spread)
{
    ss_params.interleave_bytes = 2 * MIB;
    nodes_start(1);
    REQUIRE(ss_region.nparts == 1 && ss_region.part[0].end == ss_region.units);
    struct ss_node_stats s;
    REQUIRE(!ss_node_stats(SS_NODE_SPREAD, &s) && ss_node_stats(0, &s) &&
            !ss_node_stats(1, &s));
}

UNIT_TEST(a_part_has_room_for_all_the_memory_of_its_node)
{
    unit_nnodes = 32;
    unit_params();
    fake_os_set_ram(24 * 1024 * GIB);
    REQUIRE(ss_init());
    for (unsigned n = 0; n < 32; n++)
        REQUIRE((ss_region.part[n].end - ss_region.part[n].first) << SS_UNIT_SHIFT >=
                1024 * GIB);
    REQUIRE(part_of(run_on(31, 8)) == 31);
    ss_validate();
}

UNIT_TEST(each_of_64_nodes_has_a_heap_whatever_the_bound)
{
    unit_nnodes = OS_NODES_MAX;
    unit_params();
    ss_params.heaps_max = SS_HEAPS_MAX - 1;
    REQUIRE(ss_init());
    for (unsigned i = 0; i < SS_HEAPS_MAX; i++) /* one node would take all there are */
        REQUIRE(ss_heap_get(7)->node == 7);
    for (unsigned n = 0; n < OS_NODES_MAX; n++)
        REQUIRE(ss_heap_get(n)->node == n && part_of(run_on(n, 1)) == n);
    REQUIRE(ss_nheaps() <= SS_HEAPS_MAX - 1);
    ss_validate();
}

UNIT_TEST(units_in_use_on_all_nodes_together_are_worth_huge_pages)
{
    unit_nnodes = 4;
    unit_params();
    ss_params.huge = SS_HUGE_AUTO;
    fake_os_set_huge_bytes(2 * MIB);
    fake_os_set_huge_allowed(true);
    fake_os_set_resident_percent(100);
    REQUIRE(ss_init());
    for (unsigned n = 0; n < 4; n++) {
        REQUIRE(!ss_huge_worth());
        REQUIRE(run_on(n, 8 * MIB / SS_UNIT) != NULL);
    }
    REQUIRE(ss_huge_worth());
    (void)unit_ticks(SS_DECAY_TICKS);
    unsigned asked = 0;
    for (unsigned n; (n = ss_huge_ask(1)) > 0;)
        asked += n;
    REQUIRE(asked == 4 * 4);
    for (unsigned n = 0; n < 4; n++)
        REQUIRE(fake_os_said(ss_unit_address(ss_region.part[n].first)).huge == 1);
    /* Half of one goes back: that one is broken, on its node; the next node's first is not. */
    size_t last = ss_region.part[1].frontier - ss_region.ss_units;
    char *p = ss_unit_address(ss_region.part[1].first);
    REQUIRE(ss_run_resize(p, 6 * MIB / SS_UNIT));
    (void)ss_purge();
    REQUIRE(fake_os_said(ss_unit_address(last)).huge == 0);
    REQUIRE(fake_os_said(ss_unit_address(ss_region.part[2].first)).huge == 1);
    ss_validate();
}

/* ---- Decay and limits. ---- */

static size_t dirty(unsigned node)
{
    struct ss_node_stats s;
    REQUIRE(ss_node_stats(node, &s));
    return s.dirty_bytes;
}

UNIT_TEST(what_is_idle_on_one_node_decays_while_another_is_busy)
{
    nodes_start(2);
    char *busy = run_on(0, 64), *idle = run_on(1, 64);
    ss_run_free(idle);
    for (unsigned i = 0; i < SS_DECAY_TICKS + 1; i++) {
        ss_run_free(busy); /* never free all through a tick */
        busy = run_on(0, 64);
        REQUIRE(busy != NULL);
        ss_run_free(busy);
        (void)unit_ticks(1);
        busy = run_on(0, 64);
    }
    REQUIRE(dirty(1) == 0);
    ss_run_free(busy);
    REQUIRE(dirty(0) == 64 * SS_UNIT); /* it is the same memory all the time */
    REQUIRE(ss_purge() == 64 * SS_UNIT && dirty(0) == 0);
    ss_validate();
}

/* A node's slabs of which one block in 64 stays. */
static struct ss_heap *sparse_slabs(unsigned node, unsigned slabs)
{
    struct ss_heap *h = ss_heap_get(node);
    unsigned class = ss_class_of(1000), n = slabs * ss_classes[class].blocks;
    void *gone = NULL;
    for (unsigned i = 0; i < n;) {
        struct ss_chain c;
        bool grew;
        REQUIRE(ss_refill(h, class, 1, &c, &grew));
        for (void *b = c.head, *next; b != NULL; b = next, i++) {
            next = ss_next(b);
            memset(b, 1, 1000);
            ss_link(b, gone);
            gone = i % 64 != 0 ? b : gone;
        }
    }
    REQUIRE(ss_flush(h, gone) == NULL);
    return h;
}

UNIT_TEST(holes_are_made_on_all_nodes)
{
    nodes_start(3);
    struct ss_heap *h[3];
    for (unsigned n = 0; n < 3; n++)
        h[n] = sparse_slabs(n, n == 1 ? 70 : 7); /* of superslabs one and more */
    REQUIRE(ss_holes_purge() > 60 * SS_UNIT);
    for (unsigned n = 0; n < 3; n++)
        REQUIRE(unit_heap(h[n]).hole_bytes > 5 * SS_UNIT);
    REQUIRE(unit_heap(h[1]).hole_bytes > 50 * SS_UNIT);
    ss_validate();
}

UNIT_TEST(the_hard_limit_counts_all_nodes_and_what_is_free_on_one_makes_room_on_another)
{
    nodes_start(2);
    char *a = run_on(0, 64);
    REQUIRE(a != NULL && run_on(1, 4) != NULL);
    ss_limits_set(ss_held_bytes() + 8 * SS_UNIT, SIZE_MAX, SIZE_MAX);
    REQUIRE(run_on(1, 32) == NULL && run_on(1, 8) != NULL);
    ss_run_free(a);
    /* Not the other node's: what is refused is asked for again once that has gone back. */
    REQUIRE(run_on(1, 32) == NULL);
    REQUIRE(ss_purge() > 0);
    char *b = run_on(1, 32);
    REQUIRE(b != NULL && part_of(b) == 1);
    ss_validate();
}

/* ---- Threads that move. ---- */

static void tiny_start(void)
{
    nodes_start(2);
    tiny_params.adapt = true;
    tiny_params.parcel_max = 8;
    tiny_params.sweep_ns = tiny_params.park_decay_ns = UINT64_MAX / 2;
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        tiny_params.cap_max[c] = ss_classes[c].size != 0 ? 64 : 0;
        tiny_params.remote_max[c] = ss_classes[c].size != 0 ? 8 : 0;
    }
    tiny_init();
}

enum { LOOKS = 16, FOR_GOOD_US = 60000 };

static void look(unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        tiny_follow();
}

UNIT_TEST(a_thread_that_moved_for_good_takes_a_heap_there)
{
    tiny_start();
    struct tiny_cache *old = tiny_attach();
    tiny_leave();
    REQUIRE(old->node == 0);
    for (unsigned i = 0; i < 5; i++) { /* to and fro */
        fake_os_set_node(1);
        look(LOOKS - 1);
        usleep(FOR_GOOD_US / 4);
        fake_os_set_node(0);
        look(1);
        REQUIRE(tiny_tls.self == old);
    }
    fake_os_set_node(1);
    look(1);
    usleep(FOR_GOOD_US);
    look(LOOKS - 2);
    REQUIRE(tiny_tls.self == old);
    look(1);
    struct tiny_cache *new = tiny_tls.own;
    REQUIRE(new != old &&new != NULL &&tiny_tls.self == new &&new->node == 1);
    REQUIRE(old->owner == NULL && old->parked_ns != 0 && old->heap->nthreads == 0);
    REQUIRE(new->owner == &tiny_tls &&new->heap->nthreads == 1 && tiny_tls.busy == 0);
    look(3 * LOOKS);
    REQUIRE(tiny_tls.own == new &&tiny_ncaches() == 2);
    fake_os_set_node(0); /* and home again: the old one waits, filled */
    look(1);
    usleep(FOR_GOOD_US);
    look(LOOKS);
    REQUIRE(tiny_tls.own == old && tiny_ncaches() == 2);
}

UNIT_TEST(without_memory_for_another_cache_a_thread_keeps_its_own)
{
    tiny_start();
    struct tiny_cache *old = tiny_attach();
    tiny_leave();
    fake_os_set_node(1);
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    while (ss_meta_alloc(64) != NULL) { /* what the start brought */
    }
    look(1);
    usleep(FOR_GOOD_US);
    look(LOOKS);
    REQUIRE(tiny_tls.own == old && old->parked_ns == 0);
    tiny_validate(old);
}

UNIT_TEST(a_thread_without_a_cache_follows_nothing)
{
    tiny_start();
    look(2 * LOOKS);
    REQUIRE(tiny_tls.self == &tiny_cache_none && tiny_ncaches() == 0 && tiny_tls.busy == 0);
}

UNIT_TEST(what_goes_to_another_node_is_counted)
{
    tiny_start();
    fake_os_set_node(1);
    struct tiny_cache *far = tiny_borrow();
    fake_os_set_node(0);
    struct tiny_cache *tc = tiny_attach(), *near = tiny_borrow();
    struct tiny_far before, after;
    unsigned class = ss_class_of(200);
    tiny_far(&before);
    REQUIRE(before.pushes == 0 && before.blocks == 0);
    for (unsigned i = 0; i < 64; i++) {
        bool zero;
        void *p = tiny_pop(&far->bin[class]), *q = tiny_pop(&near->bin[class]);
        p = p != NULL ? p : tiny_refill(far, class, &zero);
        q = q != NULL ? q : tiny_refill(near, class, &zero);
        if (!tiny_push(tc, p))
            tiny_give_remote(tc, class, p);
        if (!tiny_push(tc, q))
            tiny_give_remote(tc, class, q);
    }
    tiny_flush(tc);
    tiny_far(&after);
    REQUIRE(after.blocks == 64 && after.pushes >= 64 / 16 && after.pushes <= 64 / 4);
    REQUIRE(ss_remote_waiting(&far->heap->remote));
    tiny_leave();
}

/* ---- Options. ---- */

static void start_with(const char *setting)
{
    const char *env[] = {setting, NULL};
    REQUIRE(!hak_init()); /* comes to nothing (fake_os.h), but the real options are read now */
    given("0-1", "0-1", "0-1");
    fake_os_set_root(root);
    hak_opt_load(env);
    char *p = hak_malloc(3 * MIB);
    REQUIRE(p != NULL);
    hak_free(p);
}

UNIT_TEST(by_default_there_is_a_part_a_node)
{
    start_with("HAKMEM_LOG=error");
    REQUIRE(os_nnodes() == 2 && ss_region.nparts == 2 && fake_os_calls(FAKE_OS_PLACE) == 2);
    REQUIRE(ss_map.many_nodes);
}

UNIT_TEST(switched_off_nothing_is_asked)
{
    start_with("HAKMEM_NUMA=off");
    REQUIRE(os_nnodes() == 1 && ss_region.nparts == 1 && fake_os_calls(FAKE_OS_PLACE) == 0);
    REQUIRE(!ss_map.many_nodes && fake_os_calls(FAKE_OS_FILE) == 0);
}

UNIT_TEST(an_option_spreads_what_is_large)
{
    start_with("HAKMEM_NUMA_LARGE=interleave");
    REQUIRE(ss_region.nparts == 3 && fake_os_calls(FAKE_OS_PLACE) == 3);
    REQUIRE(ss_region.part[2].frontier > ss_region.part[2].first);
}

UNIT_TEST(an_option_says_which_nodes)
{
    start_with("HAKMEM_NUMA_NODES=1,9");
    REQUIRE(os_nnodes() == 1 && ids_are(0, "1") && fake_os_calls(FAKE_OS_PLACE) == 1);
}

UNIT_TEST(a_tick_looks_whether_other_nodes_may_be_used)
{
    start_with("HAKMEM_BATCH_BG=0");
    REQUIRE(home(1) == 1);
    fake_os_set_numa("0", 0);
    numa_tick();
    REQUIRE(home(1) == 0);
}

/* ---- What is said. ---- */

static size_t number(const char *text, const char *key, unsigned nth)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    const char *at = text;
    for (unsigned i = 0; i <= nth; i++) {
        at = strstr(at, quoted);
        REQUIRE(at != NULL);
        at += strlen(quoted);
    }
    return strtoul(at, NULL, 10);
}

UNIT_TEST(statistics_have_a_row_for_each_node)
{
    fake_os_reset();
    fake_os_set_nnodes(2);
    fake_os_set_node(1);
    char *p = hak_malloc(5 * MIB), text[4096], again[64];
    REQUIRE(p != NULL && part_of(p) == 1);
    memset(p, 1, 5 * MIB);
    size_t n = hak_numa_stats(text, sizeof(text), HAK_STATS_JSON);
    REQUIRE(n == strlen(text) && number(text, "live", 0) == 0 &&
            number(text, "live", 1) >= 5 * MIB && number(text, "live", 1) < 6 * MIB);
    REQUIRE(number(text, "heaps", 0) == 0);
    hak_free(p);
    hak_numa_stats(text, sizeof(text), HAK_STATS_JSON);
    REQUIRE(number(text, "live", 1) < MIB && number(text, "cached", 1) >= 5 * MIB);
    REQUIRE(hak_numa_stats(again, sizeof(again), HAK_STATS_TEXT) > sizeof(again) &&
            again[sizeof(again) - 1] == '\0' && strncmp(again, "hakmem ", 7) == 0);
    REQUIRE(hak_numa_stats(NULL, 0, HAK_STATS_TEXT) > sizeof(again));
}

static int make(void **state)
{
    (void)fake_root_make();
    return 0;
}

static int clean(void **state)
{
    fake_root_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read_as_the_kernel_writes_them),
        cmocka_unit_test(nodes_are_what_has_memory),
        cmocka_unit_test(a_machine_with_one_node_is_asked_one_question),
        cmocka_unit_test(numbers_may_have_gaps_and_nodes_be_offline),
        cmocka_unit_test(threads_of_a_node_without_memory_belong_to_the_nearest),
        cmocka_unit_test(between_two_that_are_as_near_they_belong_to_both),
        cmocka_unit_test(where_distances_are_not_told_the_nodes_are_as_near_as_each_other),
        cmocka_unit_test(a_garbled_distance_is_no_distance),
        cmocka_unit_test(of_more_nodes_than_there_is_room_for_the_others_use_the_nearest),
        cmocka_unit_test(without_sysfs_there_is_one_node),
        cmocka_unit_test(an_older_kernel_has_another_name_for_memory),
        cmocka_unit_test(files_that_are_no_lists_are_as_none),
        cmocka_unit_test(a_filter_that_answers_eperm_leaves_nodes_and_places_nothing),
        cmocka_unit_test(a_filter_on_one_node_is_nothing_to_speak_of),
        cmocka_unit_test(a_filter_without_proc_leaves_one_node),
        cmocka_unit_test(a_cpuset_that_changes_moves_threads_to_the_nearest),
        cmocka_unit_test(the_nodes_of_the_option_are_used_and_no_others),
        cmocka_unit_test(one_node_of_several_is_placed_on_as_well),
        cmocka_unit_test(an_option_of_nodes_that_cannot_be_used_is_told_and_all_are),
        cmocka_unit_test(on_one_node_too_the_option_is_looked_at),
        cmocka_unit_test(memory_bound_by_the_user_has_its_nodes),
        cmocka_unit_test(memory_spread_by_the_user_has_one_pool),
        cmocka_unit_test(memory_kept_local_by_the_user_has_all_nodes),
        cmocka_unit_test(under_a_limit_on_addresses_there_is_one_node),
        cmocka_unit_test(placing_that_is_refused_is_not_tried_again),
        cmocka_unit_test(a_kernel_that_cannot_prefer_several_nodes_prefers_the_first),
        cmocka_unit_test(distances_are_those_of_the_firmware),
        cmocka_unit_test(each_node_has_its_part_placed_once),
        cmocka_unit_test(what_is_freed_is_its_node_s_again_whoever_frees_it),
        cmocka_unit_test(parts_do_not_grow_together),
        cmocka_unit_test(a_node_without_addresses_uses_another_s),
        cmocka_unit_test(large_runs_may_be_spread_over_all),
        cmocka_unit_test(mappings_of_their_own_are_where_they_are_touched),
        cmocka_unit_test(on_one_node_nothing_is_spread),
        cmocka_unit_test(a_part_has_room_for_all_the_memory_of_its_node),
        cmocka_unit_test(each_of_64_nodes_has_a_heap_whatever_the_bound),
        cmocka_unit_test(units_in_use_on_all_nodes_together_are_worth_huge_pages),
        cmocka_unit_test(what_is_idle_on_one_node_decays_while_another_is_busy),
        cmocka_unit_test(holes_are_made_on_all_nodes),
        cmocka_unit_test(
            the_hard_limit_counts_all_nodes_and_what_is_free_on_one_makes_room_on_another),
        cmocka_unit_test(a_thread_that_moved_for_good_takes_a_heap_there),
        cmocka_unit_test(without_memory_for_another_cache_a_thread_keeps_its_own),
        cmocka_unit_test(a_thread_without_a_cache_follows_nothing),
        cmocka_unit_test(what_goes_to_another_node_is_counted),
        cmocka_unit_test(by_default_there_is_a_part_a_node),
        cmocka_unit_test(switched_off_nothing_is_asked),
        cmocka_unit_test(an_option_spreads_what_is_large),
        cmocka_unit_test(an_option_says_which_nodes),
        cmocka_unit_test(a_tick_looks_whether_other_nodes_may_be_used),
        cmocka_unit_test(statistics_have_a_row_for_each_node),
    };
    return cmocka_run_group_tests_name("NUMA", tests, make, clean);
}
