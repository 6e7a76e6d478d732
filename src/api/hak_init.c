/* SPDX-License-Identifier: MIT
 *
 * api: the start, and fork. The first allocation of the process gets here, as a rule before the C
 * library has finished its own start; nothing on the way allocates.
 */
#include <stdatomic.h>

#include "api/hak_slow.h"
#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "hakmem.h"
#include "large/large.h"
#include "mid/mid.h"
#include "policy/policy.h"
#include "tiny/tiny.h"

static struct os_lock init_lock;
static _Atomic bool ready;

/* Where there is no other thread nobody else holds a lock or is half way through something. Then none is
 * taken: each is on a page that parent and child would both have to copy. */
static _Atomic bool fork_alone;

static bool alone(void)
{
    return atomic_load_explicit(&fork_alone, memory_order_relaxed);
}

/* Lock order, which fork takes and keeps whole: all caches, park, heaps, region, mappings.
 * Handlers that other code registered before us run between ours and the fork; they pass the
 * locks (os.h). */
static void fork_prepare(void)
{
    bool now = os_single_threaded();
    if (alone() != now)
        atomic_store_explicit(&fork_alone, now, memory_order_relaxed);
    if (now)
        return;
    tiny_fork_prepare();
    ss_fork_prepare();
    large_fork_prepare();
    os_fork_begin();
}

static void fork_parent(void)
{
    if (alone())
        return;
    os_fork_end();
    large_fork_end();
    ss_fork_end();
    tiny_fork_end();
}

static void fork_child(void)
{
    if (!alone()) {
        ss_fork_child();
        tiny_fork_child();
    }
    policy_fork_child(alone());
    fork_parent();
}

static bool init_once(void)
{
    static bool options_read;
    os_init();
    if (!options_read) { /* once, even where the region has to be tried again */
        hak_opt_load(os_environ());
        policy_profile_load();
        hak_opt_show();
        options_read = true;
        if (hak_opt.stats)
            os_keep_stderr();
    }
    policy_init();
    if (!ss_init())
        return false;
    mid_init(ss_params.superslab_bytes, hak_opt.large_threshold);
    policy_init_bins();
    tiny_init();
    return true;
}

bool hak_init(void)
{
    if (HAK_LIKELY(atomic_load_explicit(&ready, memory_order_acquire)))
        return true;
    bool first = false;
    os_lock(&init_lock);
    if (!atomic_load_explicit(&ready, memory_order_relaxed) && init_once()) {
        atomic_store_explicit(&ready, true, memory_order_release);
        first = true;
    }
    os_unlock(&init_lock);
    if (first) /* registering may allocate: by now it can */
        (void)os_fork_hooks(fork_prepare, fork_parent, fork_child);
    return atomic_load_explicit(&ready, memory_order_relaxed);
}

/* Options are read, and bad ones reported, before main even in a program that never allocates. One that
 * has none starts when it allocates. */
__attribute__((constructor(101))) static void start(void)
{
    if (hak_opt_any(os_environ()))
        (void)hak_init();
}

__attribute__((destructor)) static void finish(void)
{
    if (!atomic_load_explicit(&ready, memory_order_acquire))
        return;
    policy_profile_save();
    if (!hak_opt.stats)
        return;
    char text[4096];
    size_t n = hak_stats(text, sizeof(text), HAK_STATS_TEXT);
    hak_write_err(text, HAK_MIN(n, sizeof(text) - 1));
}
