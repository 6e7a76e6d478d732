/* SPDX-License-Identifier: MIT
 *
 * api's own: the numbers behind hak_stats, mallinfo and malloc_info.
 */
#ifndef HAK_COUNTS_H
#define HAK_COUNTS_H

#include "large/large.h"
#include "superslab/ss.h"
#include "tiny/tiny.h"

struct hak_counts {
    uint64_t used_bytes, cached_bytes, held_bytes, limit_soft, limit_hard;
    struct ss_held_stats held;
    uint64_t blocks, block_bytes, slab_dirty_bytes, hole_bytes;
    uint64_t heaps, caches, slabs, superslabs;
    uint64_t refills, flushes, remote_takes;
    struct ss_region_stats region;
    struct large_stats large;
};

/* A consistent view of each part, not of all parts at once: threads run on meanwhile. */
void hak_counts_get(struct hak_counts *c);

#endif /* HAK_COUNTS_H */
