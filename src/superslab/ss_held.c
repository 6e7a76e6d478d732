/* SPDX-License-Identifier: MIT
 *
 * superslab: what is held from the system, in one number, against limits that policy sets.
 *
 * It changes where memory that holds no pages is handed out, and where pages have gone back: a slab
 * of virgin units, a run, a mapping. What is freed and used again does not change it.
 */
#include "superslab/ss_internal.h"

_Alignas(HAK_LINE) struct ss_limits ss_limits = {.hard_bytes = SIZE_MAX,
                                                 .soft_bytes = SIZE_MAX,
                                                 .calm_bytes = SIZE_MAX,
                                                 .look_bytes = SIZE_MAX,
                                                 .squeeze_bytes = SIZE_MAX};

static struct {
    _Alignas(HAK_LINE) _Atomic size_t bytes;
    _Atomic uint64_t refused, pressures;
} held;

static size_t limit(const _Atomic size_t *bytes)
{
    return atomic_load_explicit(bytes, memory_order_relaxed);
}

/* Between soft and calm all stays as it is. */
static void judge(size_t now)
{
    bool on = ss_pressure();
    if (!on && now > limit(&ss_limits.soft_bytes)) {
        if (!atomic_exchange_explicit(&ss_limits.pressure, true, memory_order_relaxed)) {
            atomic_fetch_add_explicit(&held.pressures, 1, memory_order_relaxed);
            ss_due_raise(SS_DUE_LIMIT);
        }
    } else if (on && now < limit(&ss_limits.calm_bytes)) {
        atomic_store_explicit(&ss_limits.pressure, false, memory_order_relaxed);
    }
    if (now >= limit(&ss_limits.look_bytes))
        ss_due_raise(SS_DUE_LIMIT);
}

void ss_limits_set(size_t hard_bytes, size_t soft_bytes, size_t calm_bytes)
{
    HAK_ASSERT(calm_bytes <= soft_bytes);
    atomic_store_explicit(&ss_limits.hard_bytes, hard_bytes, memory_order_relaxed);
    atomic_store_explicit(&ss_limits.soft_bytes, soft_bytes, memory_order_relaxed);
    atomic_store_explicit(&ss_limits.calm_bytes, calm_bytes, memory_order_relaxed);
    judge(ss_held_bytes());
}

bool ss_held_take(size_t bytes)
{
    size_t hard = limit(&ss_limits.hard_bytes), now;
    size_t old = atomic_load_explicit(&held.bytes, memory_order_relaxed);
    if (bytes == 0)
        return true;
    do {
        if (__builtin_add_overflow(old, bytes, &now) || HAK_UNLIKELY(now > hard)) {
            atomic_fetch_add_explicit(&held.refused, 1, memory_order_relaxed);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &held.bytes, &old, now, memory_order_relaxed, memory_order_relaxed));
    if (HAK_UNLIKELY(now > limit(&ss_limits.soft_bytes) ||
                     now >= limit(&ss_limits.look_bytes)) ||
        ss_pressure())
        judge(now);
    return true;
}

void ss_held_give(size_t bytes)
{
    if (bytes == 0)
        return;
    size_t old = atomic_fetch_sub_explicit(&held.bytes, bytes, memory_order_relaxed);
    HAK_ASSERT(old >= bytes);
    if (ss_pressure())
        judge(old - bytes);
}

size_t ss_held_bytes(void)
{
    return atomic_load_explicit(&held.bytes, memory_order_relaxed);
}

void ss_held_stats(struct ss_held_stats *out)
{
    out->refused = atomic_load_explicit(&held.refused, memory_order_relaxed);
    out->pressures = atomic_load_explicit(&held.pressures, memory_order_relaxed);
}

static size_t heap_walk(struct ss_heap *h)
{
    os_lock(&h->lock);
    size_t units = h->stats.superslabs * ss_region.ss_units;
    struct ss_superslab *ss = h->superslabs;
    for (bool once = ss != NULL; once; once = ss != h->superslabs) {
        units -= (size_t)__builtin_popcount(ss->free & ~ss->dirty);
        ss = ss->next;
    }
    size_t bytes = (units << SS_UNIT_SHIFT) - h->hole_pages * os_page_size();
    os_unlock(&h->lock);
    return bytes;
}

size_t ss_held_walk(void)
{
    size_t bytes = ss_tables_bytes();
    for (unsigned id = 1; id <= ss_nheaps(); id++)
        bytes += heap_walk(ss_heap_by_id(id));
    os_lock(&ss_region.lock);
    bytes += ss_region.meta_bytes;
    for (unsigned i = 0; i < ss_region.nparts; i++)
        bytes += ss_region.part[i].run_bytes + (ss_region.part[i].dirty.units << SS_UNIT_SHIFT);
    os_unlock(&ss_region.lock);
    return bytes;
}
