/* SPDX-License-Identifier: MIT
 *
 * superslab: what is held is counted right after everything that can happen (S8), and kept below the
 * hard limit; pressure sets in and goes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/hak_slow.h"
#include "base/hak_opt.h"
#include "hakmem.h"
#include "large/large.h"
#include "policy/policy.h"
#include "tiny/tiny.h"
#include "unit.h"

static void require_counted(void)
{
    struct large_stats l;
    large_stats(&l);
    size_t walk = ss_held_walk() + l.mapped_bytes + l.table_bytes;
    if (ss_held_bytes() != walk) {
        char what[96];
        snprintf(what, sizeof(what), "counted %zu, there are %zu", ss_held_bytes(), walk);
        hak_require_failed(what, __FILE__, __LINE__);
    }
}

enum { HELD = 300 };
static void *held[HELD];

static size_t random_size(uint64_t *random)
{
    static const size_t top[] = {200, 9000, 200 * KIB, 3 * MIB, 9 * MIB};
    return 1 + hak_test_random(random) % top[hak_test_random(random) % 5];
}

static void touch(void *p, size_t n)
{
    for (size_t i = 0; p != NULL && i < n; i += 4096)
        ((char *)p)[i] = 1;
}

/* One of everything, at random: what there is may be refused. */
static void step(uint64_t *random)
{
    void **at = &held[hak_test_random(random) % HELD];
    size_t n = random_size(random);
    switch (hak_test_random(random) % 16) {
    case 0: {
        struct ss_tick t;
        ss_tick(&t);
        break;
    }
    case 1:
        if (hak_test_random(random) % 16 == 0)
            (void)hak_purge();
        break;
    case 2:
    case 3:
    case 4: {
        void *q = hak_realloc(*at, n);
        *at = q != NULL ? q : *at;
        touch(q, n);
        break;
    }
    case 5:
        hak_free(*at);
        *at = hak_aligned_alloc((size_t)4096 << hak_test_random(random) % 11, n);
        touch(*at, n);
        break;
    default:
        hak_free(*at);
        *at = hak_test_random(random) % 2 == 0 ? hak_malloc(n) : NULL;
        touch(*at, n);
    }
}

static void free_all(void)
{
    for (unsigned i = 0; i < HELD; i++) {
        hak_free(held[i]);
        held[i] = NULL;
    }
}

static uint64_t seed_of(void *arg)
{
    uint64_t seed = hak_test_env("HAK_TEST_SEED", 1000 + (uintptr_t)arg);
    snprintf(hak_test_context, sizeof(hak_test_context), "seed %llu", (unsigned long long)seed);
    return seed;
}

/* Mappings are wanted too, without being huge; and no second thread. A first start comes to nothing
 * (fake_os.h) but for the options, which are read once. */
static void start_with(const char *setting)
{
    const char *const env[] = {"HAKMEM_LARGE_THRESHOLD=2M", "HAKMEM_BATCH_BG=0",
                               "HAKMEM_LIMIT_SOFT=0", setting, NULL};
    REQUIRE(!hak_init());
    fake_os_reset();
    hak_opt_load(env);
    hak_free(hak_malloc(1));
}

static void counted_body(void *arg)
{
    uint64_t random = seed_of(arg);
    start_with((uintptr_t)arg % 4 == 3 ? "HAKMEM_SUPERSLAB=0" : NULL);
    for (unsigned i = 0; i < 3000; i++) {
        if ((uintptr_t)arg % 4 == 1 && i % 500 == 0)
            fake_os_fail(FAKE_OS_PURGE, 1, 10);
        if ((uintptr_t)arg % 4 == 2 && i % 50 == 0)
            fake_os_fail_at_random(random, i % 100 == 0 ? 20 : 0);
        step(&random);
        require_counted();
    }
    fake_os_fail_at_random(1, 0);
    free_all();
    (void)hak_purge();
    (void)hak_purge();
    require_counted();
    ss_validate();
    struct ss_region_stats r = unit_region();
    REQUIRE(r.dirty_bytes == 0 && r.run_bytes == 0);
    REQUIRE(ss_held_bytes() <= r.committed_bytes / 256 + 4 * MIB); /* tables and records */
}

static void everything_that_happens_is_counted(void **state)
{
    for (uintptr_t i = 0; i < 8; i++)
        EXPECT_CHILD_PASS(counted_body, i);
}

static void bounds_body(void *arg)
{
    uint64_t random = seed_of(arg);
    size_t hard = 64 * MIB, most = 0;
    start_with(NULL);
    size_t before = hak_test_resident_bytes();
    ss_limits_set(hard, SIZE_MAX, SIZE_MAX);
    for (unsigned i = 0; i < 6000; i++) {
        errno = 0;
        step(&random);
        REQUIRE(ss_held_bytes() <= hard);
        most = HAK_MAX(most, ss_held_bytes());
        if (i % 100 == 0)
            REQUIRE(hak_test_resident_bytes() <= before + hard + 8 * MIB);
    }
    struct ss_held_stats s;
    ss_held_stats(&s);
    REQUIRE(s.refused > 0 && most > hard - 10 * MIB); /* the limit was met */
    require_counted();
    ss_limits_set(SIZE_MAX, SIZE_MAX, SIZE_MAX);
    free_all();
    ss_validate();
}

static void never_more_is_held_than_the_hard_limit(void **state)
{
    for (uintptr_t i = 0; i < 4; i++)
        EXPECT_CHILD_PASS(bounds_body, i);
}

/* Freed memory of one kind makes room for any other, up to the limit. */
UNIT_TEST(at_the_limit_all_that_is_free_can_be_had_again)
{
    start_with(NULL);
    ss_limits_set(40 * MIB, SIZE_MAX, SIZE_MAX);
    static const size_t sizes[] = {MIB, 100, 30 * MIB, 20 * KIB, 3 * MIB, 5000};
    static void *blocks[400000];
    for (unsigned round = 0; round < 12; round++) {
        size_t n = sizes[round % 6], got = 0, count = 0;
        for (void *p; got < 30 * MIB && (p = hak_malloc(n)) != NULL; got += n) {
            touch(p, n);
            blocks[count++] = p;
        }
        REQUIRE(got >= 30 * MIB && ss_held_bytes() <= 40 * MIB);
        while (count > 0)
            hak_free(blocks[--count]);
    }
    require_counted();
}

UNIT_TEST(a_block_grows_in_place_into_what_reclaim_gives_up)
{
    start_with(NULL);
    ss_limits_set(48 * MIB, SIZE_MAX, SIZE_MAX);
    void *p = hak_malloc(20 * MIB), *dirty[20];
    for (unsigned i = 0; i < 20; i++)
        REQUIRE((dirty[i] = hak_malloc(MIB)) != NULL);
    for (unsigned i = 0; i < 20; i++)
        hak_free(dirty[i]); /* 40 MiB held, half of it free */
    errno = 0;
    REQUIRE((p = hak_realloc(p, 40 * MIB)) != NULL && errno == 0);
    REQUIRE(hak_realloc(p, 50 * MIB) == NULL && errno == ENOMEM);
    hak_free(p);
    require_counted();
}

UNIT_TEST(pressure_sets_in_beyond_soft_and_lasts_until_calm)
{
    start_with(NULL);
    size_t base = ss_held_bytes();
    ss_limits_set(SIZE_MAX, base + 20 * MIB, base + 10 * MIB);
    void *a = large_map_alloc(10 * MIB, 1), *b = large_map_alloc(9 * MIB, 1);
    REQUIRE(a != NULL && b != NULL && !ss_pressure() && (ss_due & SS_DUE_LIMIT) == 0);
    void *c = large_map_alloc(2 * MIB, 1);
    REQUIRE(ss_pressure() && (ss_due & SS_DUE_LIMIT) != 0);
    large_free(c, SS_WORD_NONE);
    REQUIRE(ss_pressure()); /* between the two it stays as it was */
    large_free(b, SS_WORD_NONE);
    c = large_map_alloc(9 * MIB, 1);
    REQUIRE(ss_pressure());
    large_free(c, SS_WORD_NONE);
    large_free(a, SS_WORD_NONE);
    REQUIRE(!ss_pressure());
    struct ss_held_stats s;
    ss_held_stats(&s);
    REQUIRE(s.pressures == 1 && s.refused == 0);
    a = large_map_alloc(10 * MIB, 1);
    ss_limits_set(SIZE_MAX, base + 5 * MIB,
                  base + 4 * MIB); /* a lower limit is judged at once */
    REQUIRE(ss_pressure());
    ss_limits_set(SIZE_MAX, base + 30 * MIB, base + 20 * MIB);
    REQUIRE(!ss_pressure());
    large_free(a, SS_WORD_NONE);
}

UNIT_TEST(a_look_is_asked_for_from_its_bytes_on)
{
    start_with(NULL);
    ss_limits.look_bytes = ss_held_bytes() + 5 * MIB;
    ss_due = 0;
    void *a = large_map_alloc(4 * MIB, 1);
    REQUIRE((ss_due & SS_DUE_LIMIT) == 0);
    void *b = large_map_alloc(MIB, 1);
    REQUIRE((ss_due & SS_DUE_LIMIT) != 0);
    large_free(a, SS_WORD_NONE);
    large_free(b, SS_WORD_NONE);
}

/* Each thing refused in the middle leaves nothing counted, and nothing half done. */
UNIT_TEST(what_the_limit_refuses_costs_nothing)
{
    start_with(NULL);
    bool zero;
    struct ss_chain chain;
    bool grew;
    struct ss_heap *h = tiny_tls.own->heap;
    ss_limits_set(ss_held_bytes(), SIZE_MAX, SIZE_MAX);
    size_t held_before = ss_held_bytes();
    REQUIRE(ss_run_alloc(1, SS_UNIT, &zero) == NULL);
    REQUIRE(ss_run_alloc(SIZE_MAX >> SS_UNIT_SHIFT, SS_UNIT, &zero) == NULL);
    REQUIRE(large_map_alloc(1, 1) == NULL && ss_meta_alloc(1) == NULL);
    unsigned class = mid_class_of(200 * KIB);
    for (unsigned i = 0; i < 20; i++)
        REQUIRE(!ss_refill(h, class, 1, &chain, &grew));
    REQUIRE(ss_held_bytes() == held_before && unit_heap(h).superslabs <= 1);
    ss_limits_set(SIZE_MAX, SIZE_MAX, SIZE_MAX);
    REQUIRE(ss_refill(h, class, 1, &chain, &grew));
    require_counted();
    ss_validate();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_happens_is_counted),
        cmocka_unit_test(never_more_is_held_than_the_hard_limit),
        cmocka_unit_test(at_the_limit_all_that_is_free_can_be_had_again),
        cmocka_unit_test(a_block_grows_in_place_into_what_reclaim_gives_up),
        cmocka_unit_test(pressure_sets_in_beyond_soft_and_lasts_until_calm),
        cmocka_unit_test(a_look_is_asked_for_from_its_bytes_on),
        cmocka_unit_test(what_the_limit_refuses_costs_nothing),
    };
    return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
