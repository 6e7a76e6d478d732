/* SPDX-License-Identifier: MIT
 *
 * unit: what the module tests share. Each test runs in a child of its own, on tiers nobody has
 * used yet and with the system in the test's hand (fake_os.h).
 */
#ifndef UNIT_H
#define UNIT_H

#include "base/hak_base.h"
#include "mid/mid.h"
#include "superslab/ss_internal.h"
#include "support/fake_os.h"
#include "support/hak_test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* UNIT_TEST(name) { body } : the body uses REQUIRE and runs in a child. */
#define UNIT_TEST(name)                                                                        \
    static void name##_child(void *unused);                                                    \
    static void name(void **state)                                                             \
    {                                                                                          \
        EXPECT_CHILD_PASS(name##_child, NULL);                                                 \
    }                                                                                          \
    static void name##_child(void *unused)

static unsigned unit_nnodes; /* that the machine claims to have; 0: the truth */

/* Nothing is purged unasked. */
static inline void unit_params(void)
{
    fake_os_reset();
    fake_os_set_nnodes(unit_nnodes);
    os_init();
    ss_params.superslab_bytes = 2 * MIB;
    ss_params.superslab_keep = 2;
    ss_params.heaps_max = 8;
    ss_params.refill_count = 0;
    ss_params.due_bytes = SIZE_MAX;
    ss_params.purge_min_bytes = SS_UNIT;
}

static inline void unit_start(void)
{
    unit_params();
    REQUIRE(ss_init());
    mid_init(ss_params.superslab_bytes, SIZE_MAX);
}

/* What came home goes to its slabs, and empty slabs to their superslabs. */
static inline void unit_tidy(struct ss_heap *h)
{
    os_lock(&h->lock);
    ss_heap_tidy_locked(h);
    os_unlock(&h->lock);
}

/* So many ticks pass. Returns the bytes that went back. */
static inline size_t unit_ticks(unsigned n)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++) {
        struct ss_tick t;
        ss_tick(&t);
        bytes += t.returned;
    }
    return bytes;
}

static inline struct ss_region_stats unit_region(void)
{
    struct ss_region_stats s;
    ss_region_stats(&s);
    return s;
}

static inline struct ss_heap_stats unit_heap(struct ss_heap *h)
{
    struct ss_heap_stats s;
    ss_heap_stats(h, &s);
    return s;
}

#endif /* UNIT_H */
