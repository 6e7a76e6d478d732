/* SPDX-License-Identifier: MIT
 *
 * policy: limits. The arithmetic without files or clocks; then looks at a cgroup that the test has made,
 * with every read failing in turn; then a load that fits its container only if caches give way.
 */
#include "policy/limit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "api/hak_slow.h"
#include "base/hak_opt.h"
#include "hakmem.h"
#include "support/fake_root.h"
#include "tiny/tiny.h"
#include "unit.h"

static const uint64_t NONE = UINT64_MAX;

/* ---- Arithmetic. ---- */

static uint64_t soft_of(uint64_t max, uint64_t high, uint64_t used, uint64_t held)
{
    struct os_cgroup_level l = {max, high, used};
    return limit_room(&l, 1, held, true);
}

static uint64_t hard_of(uint64_t max, uint64_t high, uint64_t used, uint64_t held)
{
    struct os_cgroup_level l = {max, high, used};
    return limit_room(&l, 1, held, false);
}

UNIT_TEST(room_is_what_the_limit_leaves_beside_others)
{
    REQUIRE(limit_room(NULL, 0, 5, true) == NONE && limit_room(NULL, 0, 5, false) == NONE);
    REQUIRE(soft_of(1000, NONE, 0, 0) == 900 && hard_of(1000, NONE, 0, 0) == 950);
    REQUIRE(soft_of(1000, NONE, 300, 200) == 800); /* others have 100 */
    REQUIRE(hard_of(1000, NONE, 300, 200) == 850);
    REQUIRE(soft_of(1000, NONE, 100, 400) == 900); /* ours, but not all of it was touched */
    REQUIRE(soft_of(1000, NONE, 950, 10) == 0 && hard_of(1000, NONE, 950, 10) == 10);
    REQUIRE(hard_of(1000, NONE, 5000, 10) == 0);
    REQUIRE(soft_of(1000, 500, 0, 0) == 450); /* the kernel slows down from `high` on, */
    REQUIRE(hard_of(1000, 500, 0, 0) == 950); /* but kills at `max` only */
    REQUIRE(soft_of(NONE, 500, 0, 0) == 450 && hard_of(NONE, 500, 0, 0) == NONE);
    REQUIRE(soft_of(NONE, NONE, 7, 0) == NONE && soft_of(0, NONE, 7, 0) == 0);
    REQUIRE(soft_of((uint64_t)1 << 61, NONE, 0, 0) > (uint64_t)1 << 60); /* no overflow */
    struct os_cgroup_level both[] = {{1000, NONE, 100}, {5000, NONE, 4700}};
    REQUIRE(limit_room(both, 2, 100, false) == 150); /* the upper level is nearer */
    REQUIRE(limit_room(both, 2, 100, true) == 0);
}

UNIT_TEST(speed_rises_at_once_and_falls_late)
{
    REQUIRE(limit_speed(1, 0) == 1 && limit_speed(1, 99) == 1 && limit_speed(1, 100) == 2);
    REQUIRE(limit_speed(1, 1000) == 4 && limit_speed(1, 10000) == 8);
    REQUIRE(limit_speed(8, 3999) == 8 && limit_speed(8, 2000) == 8); /* half of 4000 */
    REQUIRE(limit_speed(8, 1999) == 4 && limit_speed(4, 500) == 4 && limit_speed(4, 499) == 2);
    REQUIRE(limit_speed(2, 50) == 2 && limit_speed(2, 49) == 1 && limit_speed(8, 0) == 1);
    for (unsigned old = 1; old <= 8; old *= 2)
        for (unsigned share = 0; share <= 10000; share++) {
            unsigned speed = limit_speed(old, share);
            REQUIRE(speed >= 1 && speed <= 8 && HAK_IS_POW2(speed));
            REQUIRE(limit_speed(speed, share) == speed); /* it does not swing */
        }
}

UNIT_TEST(the_share_of_waiting_is_the_greater_of_average_and_growth)
{
    struct os_pressure before = {0, 1000000}, now = {250, 1000000};
    REQUIRE(limit_share(&now, &before, 1000000000) == 250);
    now.total_us += 100000; /* a tenth of the second since */
    REQUIRE(limit_share(&now, &before, 1000000000) == 1000);
    REQUIRE(limit_share(&now, &before, 200000000) == 5000);
    REQUIRE(limit_share(&now, &before, 99000000) == 250); /* too short to tell */
    REQUIRE(limit_share(&now, &before, 0) == 250);
    now.total_us = NONE / 20000;
    REQUIRE(limit_share(&now, &before, 100000000) == 10000);
    now = (struct os_pressure){0, 5}; /* another cgroup's total, lower than the last */
    REQUIRE(limit_share(&now, &before, 1000000000) == 0);
}

/* ---- Looks. ---- */

#define CG "/sys/fs/cgroup"

static void container(const char *max, const char *current)
{
    fake_root_put("/proc/self/cgroup", "0::/\n");
    fake_root_put("/proc/self/mountinfo", "41 31 0:38 / " CG " rw - cgroup2 cgroup2 rw\n");
    fake_root_put(CG "/memory.max", max);
    fake_root_put(CG "/memory.current", current);
    fake_root_put(CG "/memory.pressure", "some avg10=0.00 total=0\n");
}

/* A first start comes to nothing (fake_os.h) but for the options, which are read once. */
static void start_with(const char *a, const char *b)
{
    const char *const env[] = {"HAKMEM_BATCH_BG=0", a, a != NULL ? b : NULL, NULL};
    REQUIRE(!hak_init());
    fake_os_reset();
    fake_os_set_root(fake_root_make());
    hak_opt_load(env);
}

static size_t soft(void)
{
    return ss_limits.soft_bytes;
}

static size_t hard(void)
{
    return ss_limits.hard_bytes;
}

UNIT_TEST(no_file_is_opened_before_16_mib_are_held)
{
    start_with(NULL, NULL);
    container("104857600\n", "1000\n");
    void *p = hak_malloc(12 * MIB), *q = hak_malloc(100);
    REQUIRE(p != NULL && q != NULL && fake_os_calls(FAKE_OS_FILE) == 0 && soft() == SIZE_MAX);
    void *r = hak_malloc(5 * MIB);
    REQUIRE(r != NULL && fake_os_calls(FAKE_OS_FILE) > 0 && soft() == 90 * MIB);
    REQUIRE(hard() == SIZE_MAX && ss_limits.calm_bytes == 90 * MIB / 16 * 15);
}

UNIT_TEST(limits_that_are_not_auto_open_no_file)
{
    start_with("HAKMEM_LIMIT_SOFT=50M", "HAKMEM_LIMIT_HARD=80M");
    container("31457280\n", "1000\n");
    void *p = hak_malloc(40 * MIB), *q = hak_malloc(30 * MIB);
    REQUIRE(p != NULL && q != NULL && fake_os_calls(FAKE_OS_FILE) == 0);
    policy_limit_tick();
    REQUIRE(fake_os_calls(FAKE_OS_FILE) == 0 && soft() == 50 * MIB && hard() == 80 * MIB);
    errno = 0;
    REQUIRE(hak_malloc(20 * MIB) == NULL && errno == ENOMEM);
}

UNIT_TEST(near_a_hard_limit_without_a_soft_one_there_is_pressure_too)
{
    start_with("HAKMEM_LIMIT_SOFT=0", "HAKMEM_LIMIT_HARD=64M");
    hak_free(hak_malloc(1));
    REQUIRE(hard() == 64 * MIB && soft() == 60 * MIB);
}

UNIT_TEST(both_options_0_ask_nobody)
{
    start_with("HAKMEM_LIMIT_SOFT=0", NULL);
    container("31457280\n", "1000\n");
    void *p = hak_malloc(400 * MIB);
    policy_limit_tick();
    REQUIRE(p != NULL && soft() == SIZE_MAX && hard() == SIZE_MAX);
    REQUIRE(fake_os_calls(FAKE_OS_FILE) == 0);
}

UNIT_TEST(a_hard_limit_that_is_auto_follows_the_cgroups)
{
    start_with("HAKMEM_LIMIT_HARD=auto", NULL);
    container("104857600\n", "31457280\n");
    void *p = hak_malloc(20 * MIB); /* first refused, for nothing is known; then looked up */
    REQUIRE(p != NULL && hard() >= 85 * MIB && hard() <= 86 * MIB); /* others have 10 */
    errno = 0;
    REQUIRE(hak_malloc(90 * MIB) == NULL && errno == ENOMEM);
    fake_root_put(CG "/memory.max", "209715200\n");
    void *q = hak_malloc(90 * MIB); /* the first answer was too old */
    REQUIRE(q != NULL);
    fake_root_put(CG "/memory.current", "178257920\n"); /* 170: others have 60 of 200 */
    REQUIRE(hak_malloc(100 * MIB) == NULL && hard() >= 130 * MIB && hard() <= 131 * MIB);
    REQUIRE(hak_malloc(50 * MIB) == NULL);
    hak_free(q);
}

static void nothing_readable_body(void *kind)
{
    start_with("HAKMEM_LIMIT_HARD=auto", NULL);
    container("104857600\n", "1000\n");
    fake_os_fail(FAKE_OS_FILE, 1, FAKE_OS_FOREVER);
    void *p = hak_malloc(400 * MIB);
    REQUIRE(p != NULL && hard() == SIZE_MAX && soft() == SIZE_MAX);
    REQUIRE(policy_limit_speed() == 1);
}

static void what_cannot_be_read_is_no_limit(void **state)
{
    EXPECT_CHILD_PASS(nothing_readable_body, NULL);
}

struct order {
    enum fake_os_kind kind;
    uint64_t nth;
};
static _Atomic bool *reached; /* shared with the children */

static void one_read_fails_body(void *arg)
{
    const struct order *o = arg;
    start_with("HAKMEM_LIMIT_HARD=auto", NULL);
    container("104857600\n", "94371840\n");
    fake_root_put(CG "/memory.stat", "inactive_file 1000\nactive_file 1000\n");
    fake_os_fail(o->kind, o->nth, 1);
    for (unsigned i = 0; i < 40; i++)
        (void)hak_malloc(5 * MIB);
    *reached = fake_os_failed(o->kind) > 0;
    REQUIRE(hard() == SIZE_MAX || hard() <= 100 * MIB);
    fake_os_reset();
    ss_limits.look_bytes = 0;
    ss_due |= SS_DUE_LIMIT;
    fake_os_set_root(fake_root_path());
    (void)hak_malloc(5 * MIB); /* the next look finds what there is */
    REQUIRE(hard() != SIZE_MAX && soft() != SIZE_MAX);
}

static void each_read_may_fail_once(void **state)
{
    static const enum fake_os_kind kinds[] = {FAKE_OS_FILE, FAKE_OS_FILE_END};
    for (unsigned i = 0; i < 2; i++) {
        struct order o = {kinds[i], 0};
        do {
            o.nth++;
            *reached = false;
            EXPECT_CHILD_PASS(one_read_fails_body, &o);
        } while (*reached && o.nth < 40);
        assert_true(o.nth > 5);
    }
}

UNIT_TEST(waiting_for_memory_speeds_decay)
{
    start_with(NULL, NULL);
    container("max\n", "1000\n");
    fake_root_put(CG "/memory.pressure", "some avg10=12.50 total=99\n");
    hak_free(hak_malloc(20 * MIB));
    REQUIRE(policy_limit_speed() == 4);
    fake_root_put(CG "/memory.pressure", "some avg10=0.10 total=99\n");
    ss_limits.look_bytes = 0;
    ss_due |= SS_DUE_LIMIT;
    hak_free(hak_malloc(20 * MIB));
    REQUIRE(policy_limit_speed() == 1);
}

/* ---- Under pressure. ---- */

UNIT_TEST(pressure_empties_caches_and_keeps_them_small_until_it_ends)
{
    start_with("HAKMEM_LIMIT_SOFT=64M", NULL);
    static void *block[20000];
    for (unsigned round = 0; round < 10; round++) { /* a cache that has grown */
        for (unsigned i = 0; i < 20000; i++)
            block[i] = hak_malloc(64);
        for (unsigned i = 0; i < 20000; i++)
            hak_free(block[i]);
    }
    unsigned class = ss_class_of(64);
    REQUIRE(tiny_cached_bytes(TINY_NODES_ALL) > 64 * KIB && tiny_tls.own->cap[class] > 32);
    void *big = hak_malloc(70 * MIB);
    REQUIRE(ss_pressure());
    for (unsigned i = 0; i < 20000; i++)
        block[i] = hak_malloc(64);
    for (unsigned i = 0; i < 20000; i++)
        hak_free(block[i]);
    REQUIRE(tiny_tls.own->squeezed && tiny_tls.own->cap[class] <= 32 &&
            tiny_cached_bytes(TINY_NODES_ALL) < 16 * KIB);
    tiny_validate(tiny_tls.own);
    REQUIRE(unit_region().dirty_bytes + unit_heap(tiny_tls.own->heap).dirty_bytes <= 2 * MIB);
    hak_free(big);
    REQUIRE(!ss_pressure());
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 20000; i++)
            block[i] = hak_malloc(64);
        for (unsigned i = 0; i < 20000; i++)
            hak_free(block[i]);
    }
    REQUIRE(!tiny_tls.own->squeezed && tiny_tls.own->cap[class] > 32);
    tiny_validate(tiny_tls.own);
    ss_validate();
}

/* ---- A load that fits, and whose churn does not. ---- */

enum { LIVE = 100000, ROUNDS = 12 };

static void write_all(char *p, size_t n)
{
    REQUIRE(p != NULL);
    for (size_t i = 0; i < n; i += 4096)
        p[i] = 1;
}

/* 100 MiB live; then 90 MiB in runs, and the same in one mapping, in turn. Returns the peak. */
static size_t load(void)
{
    static void *live[LIVE], *run[90];
    size_t before = hak_test_resident_bytes(), peak = 0;
    for (unsigned i = 0; i < LIVE; i++)
        write_all(live[i] = hak_malloc(1000), 1000);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < 90; i++)
            write_all(run[i] = hak_malloc(MIB), MIB);
        for (unsigned i = 0; i < 90; i++)
            hak_free(run[i]);
        char *mapping = hak_malloc(90 * MIB);
        write_all(mapping, 90 * MIB);
        peak = HAK_MAX(peak, hak_test_resident_bytes() - before);
        hak_free(mapping);
    }
    for (unsigned i = 0; i < LIVE; i++)
        hak_free(live[i]);
    return peak;
}

static void load_body(void *setting)
{
    start_with(setting, "HAKMEM_DECAY_MS=3600000");
    container("241172480\n", "0\n"); /* 230 MiB */
    size_t peak = load();
    bool limited = strcmp(setting, "HAKMEM_LIMIT_SOFT=0") != 0;
    if (limited ? peak > 230 * MIB : peak < 270 * MIB) {
        char what[80];
        snprintf(what, sizeof(what), "%s: peak %zu MiB", (const char *)setting, peak >> 20);
        hak_require_failed(what, __FILE__, __LINE__);
    }
}

static void a_load_stays_in_its_container_by_default_and_not_without_a_limit(void **state)
{
    EXPECT_CHILD_PASS(load_body, "HAKMEM_LIMIT_SOFT=auto");
    EXPECT_CHILD_PASS(load_body, "HAKMEM_LIMIT_SOFT=207M");
    EXPECT_CHILD_PASS(load_body, "HAKMEM_LIMIT_HARD=auto");
    EXPECT_CHILD_PASS(load_body, "HAKMEM_LIMIT_SOFT=0");
}

static int make(void **state)
{
    return fake_root_make() == NULL;
}

static int clean(void **state)
{
    fake_root_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_is_what_the_limit_leaves_beside_others),
        cmocka_unit_test(speed_rises_at_once_and_falls_late),
        cmocka_unit_test(the_share_of_waiting_is_the_greater_of_average_and_growth),
        cmocka_unit_test(no_file_is_opened_before_16_mib_are_held),
        cmocka_unit_test(limits_that_are_not_auto_open_no_file),
        cmocka_unit_test(near_a_hard_limit_without_a_soft_one_there_is_pressure_too),
        cmocka_unit_test(both_options_0_ask_nobody),
        cmocka_unit_test(a_hard_limit_that_is_auto_follows_the_cgroups),
        cmocka_unit_test(what_cannot_be_read_is_no_limit),
        cmocka_unit_test(each_read_may_fail_once),
        cmocka_unit_test(waiting_for_memory_speeds_decay),
        cmocka_unit_test(pressure_empties_caches_and_keeps_them_small_until_it_ends),
        cmocka_unit_test(a_load_stays_in_its_container_by_default_and_not_without_a_limit),
    };
    reached = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reached == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests_name("limits", tests, make, clean);
}
