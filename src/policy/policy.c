/* SPDX-License-Identifier: MIT
 *
 * policy: from options to parameters.
 */
#include "policy/policy_internal.h"

#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "large/large.h"
#include "mid/mid.h"
#include "policy/limit.h"
#include "tiny/tiny.h"

enum {
    CAP_MAX_BLOCKS = 4096, /* of one list: a slab of the smallest class */
    CAP_FEW_BLOCKS = 8, /* a shorter list changes hands at every second operation: it may be */
    CAP_FEW_TIMES = 4,  /* so many times as long */
};

static const uint64_t PARK_DECAY_NS = 1000000000u, SWEEP_NS = 1000000u, HALVE_NS = 125000000u;

static void ace_init(void)
{
    char thread[POLICY_SIZE_MAX], process[POLICY_SIZE_MAX];
    tiny_params.adapt = true;
    if (hak_opt.ace_enabled)
        hak_log(HAK_LOG_INFO, "[ACE] Initialized (thread=%s, process=%s)",
                policy_size(thread, hak_opt.ace_thread),
                policy_size(process, hak_opt.cache_total));
    else
        hak_log(HAK_LOG_INFO, "[ACE] ACE disabled (HAKMEM_ACE_ENABLED=0)");
}

void policy_init(void)
{
    explain_init();
    ss_params.superslab_bytes = (size_t)256 * 1024 << hak_opt.superslab_size;
    ss_params.superslab_keep = (unsigned)hak_opt.superslab_keep;
    ss_params.heaps_max =
        hak_opt.heaps != 0 ? (unsigned)hak_opt.heaps : HAK_MIN(os_ncpus(), SS_HEAPS_MAX - 1u);
    ss_params.refill_count = (unsigned)hak_opt.tiny_refill_count;
    tiny_params.parcel_max = (uint32_t)hak_opt.remote_batch;
    tiny_params.park_decay_ns = PARK_DECAY_NS;
    tiny_params.sweep_ns = SWEEP_NS;
    tiny_params.halve_ns = HALVE_NS;
    atomic_store_explicit(&tiny_quota, (int64_t)hak_opt.cache_total, memory_order_relaxed);
    threshold_init();
    numa_init();
    batch_init();
    limit_init();
    ace_init();
}

static uint32_t cap_max(size_t size)
{
    uint64_t blocks = hak_opt.tiny_cache / 2 / size;
    uint64_t one = size <= CAP_FEW_TIMES * hak_opt.tiny_cache; /* or each malloc takes a slab */
    uint64_t few = HAK_MIN(HAK_MAX(blocks * CAP_FEW_TIMES, one), (uint64_t)CAP_FEW_BLOCKS);
    return (uint32_t)HAK_MIN(HAK_MAX(blocks, few), (uint64_t)CAP_MAX_BLOCKS);
}

void policy_init_bins(void)
{
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        size_t size = ss_classes[c].size;
        if (size == 0)
            continue; /* too big for this superslab size */
        tiny_params.cap_max[c] = cap_max(size);
        tiny_params.remote_max[c] = (uint32_t)HAK_MAX(
            HAK_MIN(hak_opt.remote_batch, (uint64_t)TINY_PARCEL_BYTES / size), (uint64_t)1);
    }
    caches_init();
}

size_t policy_reclaim(void)
{
    tiny_flush_parked(0);
    (void)tiny_flush_idle(0);
    return ss_purge() + ss_holes_purge();
}
