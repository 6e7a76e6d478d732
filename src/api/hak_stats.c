/* SPDX-License-Identifier: MIT
 *
 * api: what hakmem says of itself, in its own names; and hak_purge, which acts on it.
 */
#include <string.h>

#include "api/hak_counts.h"
#include "api/hak_slow.h"
#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "hakmem.h"
#include "policy/policy.h"

/* Blocks out of their slabs, less those in this thread's own cache: what other running threads
 * have cached is theirs to count, and shows as used. */
static void heap_counts(struct hak_counts *c)
{
    c->heaps = ss_nheaps();
    for (unsigned id = 1; id <= c->heaps; id++) {
        struct ss_heap_stats copy;
        ss_heap_stats(ss_heap_by_id(id), &copy);
        c->slabs += copy.slabs;
        c->superslabs += copy.superslabs;
        c->refills += copy.refills;
        c->flushes += copy.flushes;
        c->remote_takes += copy.remote_takes;
        c->slab_dirty_bytes += copy.dirty_bytes;
        c->hole_bytes += copy.hole_bytes;
        for (unsigned class = 0; class < SS_NCLASS; class ++) {
            c->blocks += copy.out[class];
            c->block_bytes += copy.out[class] * ss_classes[class].size;
        }
    }
}

/* 0: none. */
static uint64_t limit(const _Atomic size_t *bytes)
{
    size_t v = atomic_load_explicit(bytes, memory_order_relaxed);
    return v != SIZE_MAX ? v : 0;
}

void hak_counts_get(struct hak_counts *c)
{
    memset(c, 0, sizeof(*c));
    if (!hak_init())
        return;
    heap_counts(c);
    ss_region_stats(&c->region);
    large_stats(&c->large);
    c->caches = tiny_ncaches();
    c->cached_bytes = tiny_cached_bytes(TINY_NODES_ALL);
    c->used_bytes = c->block_bytes - HAK_MIN(c->block_bytes, c->cached_bytes) +
                    c->region.run_bytes + c->large.mapped_bytes;
    c->held_bytes = ss_held_bytes();
    c->limit_soft = limit(&ss_limits.soft_bytes);
    c->limit_hard = limit(&ss_limits.hard_bytes);
    ss_held_stats(&c->held);
}

struct row {
    const char *key, *label;
    size_t offset;
    bool bytes;
};

#define ROW(field, key, label, bytes)                                                          \
    {                                                                                          \
        key, label, offsetof(struct hak_counts, field), bytes                                  \
    }

static const struct row rows[] = {
    ROW(used_bytes, "used", "in use (blocks, runs, mappings)", true),
    ROW(cached_bytes, "cached", "in this thread's and parked caches", true),
    ROW(held_bytes, "held", "held from the system", true),
    ROW(limit_soft, "limit_soft", "soft limit on that; 0: none", true),
    ROW(limit_hard, "limit_hard", "hard limit on that; 0: none", true),
    ROW(held.pressures, "pressures", "times it passed the soft limit", false),
    ROW(held.refused, "refused", "requests to the system the hard limit forbade", false),
    ROW(blocks, "blocks", "blocks out of their slabs", false),
    ROW(block_bytes, "block_bytes", "their bytes", true),
    ROW(region.run_bytes, "run_bytes", "large runs", true),
    ROW(large.mappings, "mappings", "own mappings now", false),
    ROW(large.mapped_bytes, "mapped_bytes", "their bytes", true),
    ROW(large.maps, "maps_made", "own mappings ever made", false),
    ROW(region.reserved_bytes, "reserved", "addresses reserved", true),
    ROW(region.committed_bytes, "committed", "of them readable and writable", true),
    ROW(region.dirty_bytes, "dirty_runs", "free runs not yet returned", true),
    ROW(slab_dirty_bytes, "dirty_slabs", "free slabs not yet returned", true),
    ROW(hole_bytes, "holes", "pages of slabs in use that were returned", true),
    ROW(superslabs, "superslabs", "superslabs in use", false),
    ROW(region.pooled_superslabs, "superslabs_pooled", "empty superslabs kept", false),
    ROW(region.grown, "superslabs_made", "superslabs taken from the region", false),
    ROW(slabs, "slabs", "slabs in use", false),
    ROW(heaps, "heaps", "heaps", false),
    ROW(caches, "caches", "thread caches, live and parked", false),
    ROW(refills, "refills", "bins refilled from slabs", false),
    ROW(flushes, "flushes", "lists given back to slabs", false),
    ROW(remote_takes, "remote_carried", "remote-free queues carried to slabs", false),
    ROW(region.purges, "purges", "system calls that returned memory", false),
    ROW(region.purged_bytes, "purged", "bytes they returned", true),
    ROW(region.huge_bytes, "huge", "huge pages asked for", true),
    ROW(region.meta_bytes, "meta", "hakmem's own records", true),
};

static uint64_t row_value(const struct row *r, const struct hak_counts *c)
{
    uint64_t v;
    memcpy(&v, (const char *)c + r->offset, sizeof(v));
    return v;
}

static void stats_text(struct hak_text *t, const struct hak_counts *c)
{
    hak_text_add(t, "hakmem %s statistics\n", hak_version());
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t v = row_value(&rows[i], c);
        hak_text_add(t, "  %s: ", rows[i].label);
        if (rows[i].bytes && v >= 1 << 20)
            hak_text_add(t, "%lu.%lu MiB\n", v >> 20, (v >> 10 & 1023) * 10 >> 10);
        else if (rows[i].bytes)
            hak_text_add(t, "%lu KiB\n", v >> 10);
        else
            hak_text_add(t, "%lu\n", v);
    }
}

static void stats_json(struct hak_text *t, const struct hak_counts *c)
{
    hak_text_add(t, "{\"hakmem\": \"%s\"", hak_version());
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        hak_text_add(t, ", \"%s\": %lu", rows[i].key, row_value(&rows[i], c));
    hak_text_add(t, "}\n");
}

size_t hak_stats(char *buf, size_t size, enum hak_stats_format format)
{
    struct hak_counts c;
    struct hak_text t = {buf, size, 0};
    hak_counts_get(&c);
    if (format == HAK_STATS_JSON)
        stats_json(&t, &c);
    else
        stats_text(&t, &c);
    return t.len;
}

size_t hak_purge(void)
{
    if (!hak_init())
        return 0;
    struct tiny_cache *own = tiny_enter_own();
    if (own->heap != NULL)
        tiny_flush(own);
    tiny_leave();
    return policy_reclaim();
}

const char *hak_version(void)
{
#define STRING(x)  #x
#define VERSION(x) STRING(x)
    return VERSION(HAK_VERSION_MAJOR) "." VERSION(HAK_VERSION_MINOR) "." VERSION(
        HAK_VERSION_PATCH);
}
