/* SPDX-License-Identifier: MIT
 *
 * superslab: holes. Pages without blocks leave slabs in use, and blocks come out of them again.
 */
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MANY = 1 << 30 };

static struct ss_heap *heap_new(void)
{
    unit_start();
    struct ss_heap *h = ss_heap_get(0);
    REQUIRE(h != NULL && os_page_size() == PAGE);
    return h;
}

/* All blocks of one slab more, in the order of their addresses. Returns how many. */
static unsigned slab_use_up(struct ss_heap *h, unsigned class, void **block)
{
    unsigned n = 0;
    for (bool grew; n < ss_classes[class].blocks;) {
        struct ss_chain c;
        REQUIRE(ss_refill(h, class, MANY, &c, &grew));
        for (void *b = c.head; b != NULL; b = ss_next(b))
            block[n++] = b;
    }
    REQUIRE(n == ss_classes[class].blocks);
    return n;
}

static void give(struct ss_heap *h, void *block)
{
    ss_link(block, NULL);
    REQUIRE(ss_flush(h, block) == NULL);
}

/* A tick and the look at holes after it. */
static bool tick(void)
{
    struct ss_tick t;
    ss_tick(&t);
    return ss_holes_tick(&t);
}

static void ticks(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)tick();
}

static unsigned resident_pages(const void *p, size_t bytes)
{
    unsigned char page[64];
    unsigned n = 0;
    REQUIRE(bytes <= sizeof(page) * PAGE && mincore((void *)(uintptr_t)p, bytes, page) == 0);
    for (size_t i = 0; i < bytes / PAGE; i++)
        n += page[i] & 1;
    return n;
}

static void stamp(void *p, size_t n)
{
    hak_test_fill(p, n, (uintptr_t)p);
}

static bool intact(const void *p, size_t n)
{
    return hak_test_check(p, n, (uintptr_t)p) == n;
}

/* A slab of blocks of 512 bytes, 8 a page, of which every 32nd is in use: 4 of 16 pages. */
enum { N = SS_UNIT / 512 };
static void *block[N];
static unsigned class_512;

static struct ss_heap *sparse_slab(void)
{
    struct ss_heap *h = heap_new();
    class_512 = ss_class_of(512);
    REQUIRE(slab_use_up(h, class_512, block) == N);
    for (unsigned i = 0; i < N; i++) {
        if (i % 32 == 0)
            stamp(block[i], 512);
        else
            give(h, block[i]);
    }
    REQUIRE(resident_pages(block[0], SS_UNIT) == 16);
    return h;
}

static void survivors_are_intact(void)
{
    for (unsigned i = 0; i < N; i += 32)
        REQUIRE(intact(block[i], 512));
}

UNIT_TEST(pages_without_blocks_go_back_once_the_slab_is_idle)
{
    struct ss_heap *h = sparse_slab();
    size_t held = ss_held_bytes();
    ticks(SS_DECAY_TICKS - 1);
    REQUIRE(unit_heap(h).hole_bytes == 0);
    ticks(2);
    REQUIRE(unit_heap(h).hole_bytes == 12 * PAGE && ss_held_bytes() == held - 12 * PAGE);
    REQUIRE(resident_pages(block[0], SS_UNIT) == 4);
    REQUIRE(fake_os_calls(FAKE_OS_PURGE) == 4); /* rows of pages */
    survivors_are_intact();
    ss_validate();
    ticks(3 * SS_DECAY_TICKS);
    REQUIRE(fake_os_calls(FAKE_OS_PURGE) == 4); /* and no call for nothing */
}

UNIT_TEST(a_slab_that_blocks_are_taken_from_is_not_idle)
{
    struct ss_heap *h = sparse_slab();
    for (unsigned i = 0; i < 2 * SS_DECAY_TICKS; i++) {
        struct ss_chain c;
        bool grew;
        REQUIRE(ss_refill(h, class_512, 1, &c, &grew));
        REQUIRE(ss_flush(h, c.head) == NULL);
        ticks(1);
    }
    REQUIRE(unit_heap(h).hole_bytes == 0);
}

UNIT_TEST(there_is_more_to_do_until_all_slabs_have_been_idle)
{
    (void)sparse_slab();
    for (unsigned i = 0; i < SS_DECAY_TICKS; i++)
        REQUIRE(tick());
    unsigned more = 0;
    while (tick())
        REQUIRE(more++ < 4);
    REQUIRE(!tick());
}

UNIT_TEST(all_holes_are_made_at_once_on_demand)
{
    struct ss_heap *h = sparse_slab();
    REQUIRE(ss_holes_purge() == 12 * PAGE && unit_heap(h).hole_bytes == 12 * PAGE);
    REQUIRE(ss_holes_purge() == 0);
    give(h, block[32]);
    REQUIRE(ss_holes_purge() == PAGE);
    ss_validate();
}

UNIT_TEST(blocks_come_out_of_holes_a_page_at_a_time_after_those_in_the_list)
{
    struct ss_heap *h = sparse_slab();
    (void)ss_holes_purge();
    struct ss_chain c;
    bool grew, seen[N] = {false};
    REQUIRE(ss_refill(h, class_512, 1, &c, &grew) && c.count == 4 * 7);
    for (unsigned i = 0; i < 12; i++) {
        for (const char *b = c.head; b != NULL; b = ss_next(b)) {
            size_t at = (size_t)(b - (char *)block[0]) / 512;
            REQUIRE(at < N && at % 32 != 0 && !seen[at]);
            seen[at] = true;
        }
        REQUIRE(unit_heap(h).hole_bytes == (12 - i) * (size_t)PAGE);
        REQUIRE(ss_refill(h, class_512, 1, &c, &grew) && c.count == 8 && !c.zero);
    }
    REQUIRE(unit_heap(h).hole_bytes == 0 && unit_heap(h).slabs == 1);
    ss_validate();
    REQUIRE(ss_refill(h, class_512, 1, &c, &grew) && unit_heap(h).slabs == 2);
    survivors_are_intact();
}

UNIT_TEST(the_part_of_a_slab_that_was_never_cut_goes_back_if_its_units_were_dirty)
{
    struct ss_heap *h = heap_new();
    class_512 = ss_class_of(512);
    (void)slab_use_up(h, ss_class_of(64), (void *[1024]){NULL}); /* the superslab stays */
    (void)slab_use_up(h, class_512, block);
    for (unsigned i = 0; i < N; i++)
        give(h, block[i]);
    unit_tidy(h);
    struct ss_chain c;
    bool grew;
    unsigned class = ss_class_of(1024);
    REQUIRE(ss_refill(h, class, 4, &c, &grew) && c.count == 4 && c.head == block[0]);
    REQUIRE(resident_pages(block[0], SS_UNIT) == 16);
    REQUIRE(ss_holes_purge() == 15 * PAGE && resident_pages(block[0], SS_UNIT) == 1);
    ss_validate();
    size_t held = ss_held_bytes();
    REQUIRE(ss_refill(h, class, 5, &c, &grew) && c.count == 5);
    REQUIRE(unit_heap(h).hole_bytes == 13 * PAGE && ss_held_bytes() == held + 2 * PAGE);
    ss_validate();
}

UNIT_TEST(the_hard_limit_holds_for_pages_that_come_back)
{
    struct ss_heap *h = sparse_slab();
    (void)ss_holes_purge();
    struct ss_chain c;
    bool grew;
    REQUIRE(ss_refill(h, class_512, 1, &c, &grew)); /* the list */
    ss_limits_set(ss_held_bytes() + PAGE, SIZE_MAX, SIZE_MAX);
    REQUIRE(ss_refill(h, class_512, 1, &c, &grew) && c.count == 8);
    REQUIRE(!ss_refill(h, class_512, 1, &c, &grew));
    ss_validate();
    ss_limits_set(SIZE_MAX, SIZE_MAX, SIZE_MAX);
    REQUIRE(ss_refill(h, class_512, 1, &c, &grew) && c.count == 8);
}

/* Its units would count as whole, and may be filled, beyond the limit. */
UNIT_TEST(at_the_hard_limit_an_empty_slab_waits_until_all_of_it_has_gone)
{
    struct ss_heap *h = sparse_slab();
    (void)ss_holes_purge();
    ss_limits_set(ss_held_bytes(), SIZE_MAX, SIZE_MAX);
    size_t limit = ss_held_bytes();
    for (unsigned i = 0; i < N; i += 32)
        give(h, block[i]);
    unit_tidy(h);
    REQUIRE(ss_held_bytes() <= limit);
    (void)(ss_purge() + ss_holes_purge());
    unit_tidy(h);
    ss_validate();
    REQUIRE(ss_held_bytes() < limit);
}

UNIT_TEST(a_slab_that_is_all_hole_becomes_clean_units)
{
    struct ss_heap *h = sparse_slab();
    (void)slab_use_up(h, ss_class_of(64), (void *[1024]){NULL}); /* the superslab stays */
    (void)ss_holes_purge();
    for (unsigned i = 0; i < N; i += 32)
        give(h, block[i]);
    size_t held = ss_held_bytes();
    REQUIRE(ss_holes_purge() == 4 * PAGE);
    REQUIRE(unit_heap(h).slabs == 1 && unit_heap(h).dirty_bytes == 0 &&
            unit_heap(h).hole_bytes == 0 && ss_held_bytes() == held - 4 * PAGE);
    REQUIRE(ss_purge() == 0);
    ss_validate();
}

UNIT_TEST(what_the_system_does_not_take_back_is_in_the_list_again)
{
    struct ss_heap *h = sparse_slab();
    size_t held = ss_held_bytes();
    fake_os_fail(FAKE_OS_PURGE, 1, FAKE_OS_FOREVER);
    REQUIRE(ss_holes_purge() == 0);
    ss_validate();
    REQUIRE(unit_heap(h).hole_bytes == 0 && ss_held_bytes() == held);
    struct ss_chain c;
    bool grew;
    REQUIRE(ss_refill(h, class_512, 1, &c, &grew) && c.count == 4 * 31);
    survivors_are_intact();
}

UNIT_TEST(a_huge_page_is_broken_when_half_of_it_is_idle_not_before)
{
    struct ss_heap *h = sparse_slab();
    fake_os_set_huge_bytes(2 * MIB);
    struct ss_superslab *ss = ss_superslab_at(ss_unit_of(block[0]) / ss_region.ss_units);
    atomic_store(&ss->huge, true);
    atomic_store(&ss_region.huge, 1);
    static void *full[15][N];
    for (unsigned i = 0; i < 15; i++)
        (void)slab_use_up(h, ss_class_of(1024), full[i]);
    ss->free &= (1u << 24) - 1; /* as if the rest were in use */
    REQUIRE(ss_holes_purge() == 0 && ss->huge);
    ss->free = UINT32_MAX << 16;
    REQUIRE(ss_holes_purge() == 12 * PAGE && !ss->huge);
}

/* ---- Everything at once. ---- */

/* Every class in turn, against a record of what is out: no block twice, none lost, contents kept. */
UNIT_TEST(random_refills_flushes_and_holes_lose_and_double_no_block)
{
    enum { HELD = 4096 };
    static char *held[HELD];
    struct ss_heap *h = heap_new();
    uint64_t random = hak_test_env("HAK_TEST_SEED", 20261126);
    for (unsigned class = 1; class < SS_NCLASS; class += 3) {
        size_t size = ss_classes[class].size, check = HAK_MIN(size, (size_t)512);
        unsigned most = HAK_MIN((unsigned)HELD, 3u * ss_classes[class].blocks), n = 0;
        snprintf(hak_test_context, sizeof(hak_test_context), "class %u", class);
        for (unsigned step = 0; step < 300; step++) {
            unsigned what = hak_test_random(&random) % 20;
            if (what < 8) {
                struct ss_chain c;
                bool grew;
                REQUIRE(ss_refill(h, class, 1 + what, &c, &grew));
                for (char *b = c.head, *next; b != NULL; b = next) {
                    next = ss_next(b);
                    if (n == most) {
                        give(h, b);
                        continue;
                    }
                    stamp(b, check);
                    stamp(b + size - check, check);
                    held[n++] = b;
                }
            } else if (what < 17) {
                unsigned few = hak_test_random(&random) % (what == 16 ? n + 1 : n / 8 + 1);
                for (; few > 0; few--) {
                    unsigned i = hak_test_random(&random) % n;
                    REQUIRE(check == size ? intact(held[i], check)
                                          : intact(held[i] + size - check, check));
                    give(h, held[i]);
                    held[i] = held[--n];
                }
            } else if (what == 17) {
                fake_os_fail_at_random(step + 1, 30);
                (void)ss_holes_purge();
                fake_os_reset();
            } else {
                what == 18 ? (void)ss_holes_purge() : ticks(SS_DECAY_TICKS / 2);
            }
            if (step % 10 == 0)
                ss_validate();
        }
        while (n > 0)
            give(h, held[--n]);
        unit_tidy(h);
        struct ss_heap_stats s = unit_heap(h);
        REQUIRE(s.out[class] == 0 && s.slabs == 0 && s.hole_bytes == 0);
        ss_validate();
    }
}

/* Holes are made of slabs that other threads take from and give to meanwhile. */
static _Atomic bool stop;
static struct ss_heap *shared;

static void *taker(void *arg)
{
    enum { KEPT = 300 };
    static _Thread_local char *kept[KEPT];
    uint64_t random = (uintptr_t)arg;
    for (unsigned step = 0; !atomic_load(&stop); step++) {
        unsigned i = hak_test_random(&random) % KEPT, class = ss_class_of(64 + i % 7 * 144);
        if (kept[i] != NULL) {
            REQUIRE(intact(kept[i], 64));
            give(shared, kept[i]);
            kept[i] = NULL;
            continue;
        }
        if (step / (4 * KEPT) % 2 != 0)
            continue; /* for a while it only gives, so that many pages come free */
        struct ss_chain c;
        bool grew;
        REQUIRE(ss_refill(shared, class, 1, &c, &grew));
        void *rest = ss_next(c.head);
        if (rest != NULL)
            REQUIRE(ss_flush(shared, rest) == NULL);
        stamp(kept[i] = c.head, 64);
    }
    for (unsigned i = 0; i < KEPT; i++)
        if (kept[i] != NULL)
            give(shared, kept[i]);
    return NULL;
}

UNIT_TEST(holes_are_made_while_threads_take_and_give)
{
    shared = heap_new();
    pthread_t t[2];
    for (uintptr_t i = 0; i < 2; i++)
        REQUIRE(pthread_create(&t[i], NULL, taker, (void *)(i + 1)) == 0);
    size_t bytes = 0;
    while (bytes < (size_t)2000 * PAGE) {
        bytes += ss_holes_purge();
        usleep(100); /* else it has the lock nearly always, and nothing becomes free */
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        REQUIRE(pthread_join(t[i], NULL) == 0);
    unit_tidy(shared);
    REQUIRE(unit_heap(shared).slabs == 0 && unit_heap(shared).hole_bytes == 0);
    ss_validate();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_without_blocks_go_back_once_the_slab_is_idle),
        cmocka_unit_test(a_slab_that_blocks_are_taken_from_is_not_idle),
        cmocka_unit_test(there_is_more_to_do_until_all_slabs_have_been_idle),
        cmocka_unit_test(all_holes_are_made_at_once_on_demand),
        cmocka_unit_test(blocks_come_out_of_holes_a_page_at_a_time_after_those_in_the_list),
        cmocka_unit_test(
            the_part_of_a_slab_that_was_never_cut_goes_back_if_its_units_were_dirty),
        cmocka_unit_test(the_hard_limit_holds_for_pages_that_come_back),
        cmocka_unit_test(at_the_hard_limit_an_empty_slab_waits_until_all_of_it_has_gone),
        cmocka_unit_test(a_slab_that_is_all_hole_becomes_clean_units),
        cmocka_unit_test(what_the_system_does_not_take_back_is_in_the_list_again),
        cmocka_unit_test(a_huge_page_is_broken_when_half_of_it_is_idle_not_before),
        cmocka_unit_test(random_refills_flushes_and_holes_lose_and_double_no_block),
        cmocka_unit_test(holes_are_made_while_threads_take_and_give),
    };
    return cmocka_run_group_tests_name("superslab: holes", tests, NULL, NULL);
}
