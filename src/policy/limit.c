/* SPDX-License-Identifier: MIT
 *
 * policy: limits. See limit.h.
 */
#include "policy/limit.h"

#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "policy/policy_internal.h"
#include "superslab/ss.h"

static const uint64_t NONE = UINT64_MAX, MIB = (uint64_t)1 << 20, MS = 1000000;

enum {
    SOFT_PERCENT = 90,  /* of the cgroup's limit, */
    HARD_PERCENT = 95,  /* which counts page tables, stacks and the kernel's batches as well */
    CALM_SHARE = 16,    /* calm is so much of soft below it; soft, of a hard limit */
    SQUEEZE_SHARE = 64, /* of soft may be free under pressure, in all places together */
    FIRST_LOOK = 16,    /* MiB */
};

static struct {
    _Atomic unsigned speed;
    _Atomic uint64_t pressures; /* of ss_held_stats, answered */
    _Atomic uint64_t next_ns;   /* of the next look at a tick */
    struct os_lock lock;        /* only ever tried */
    struct os_cgroup cgroup;    /* [lock] */
    bool sought;                /* [lock] */
    struct os_pressure stall;   /* [lock] at the last look */
    uint64_t looked_ns;         /* [lock] 0: never */
} limit = {.speed = 1};

/* ---- Arithmetic. ---- */

uint64_t limit_room(const struct os_cgroup_level *level, unsigned n, uint64_t held, bool soft)
{
    uint64_t least = NONE;
    for (unsigned i = 0; i < n; i++) {
        uint64_t most = soft ? HAK_MIN(level[i].max, level[i].high) : level[i].max;
        if (most == NONE)
            continue;
        uint64_t others = level[i].used - HAK_MIN(level[i].used, held);
        most = most / 100 * (soft ? SOFT_PERCENT : HARD_PERCENT);
        least = HAK_MIN(least, most - HAK_MIN(most, others));
    }
    return least;
}

/* Up at once, down where the share is below half of what the speed asks for. */
unsigned limit_speed(unsigned old, unsigned share)
{
    static const unsigned least[] = {0, 100, 1000, 4000}; /* of 1, 2, 4, 8; in 1/100 % */
    unsigned speed = 3, was = hak_log2(old);
    while (share < least[speed])
        speed--;
    while (was > speed && share < least[was] / 2)
        was--;
    return 1u << HAK_MAX(speed, was);
}

unsigned limit_share(const struct os_pressure *now, const struct os_pressure *before,
                     uint64_t ns)
{
    enum { LEAST_MS = 100 }; /* of less time the total tells nothing */
    uint64_t share = now->avg10;
    if (ns >= LEAST_MS * MS && now->total_us > before->total_us)
        share = HAK_MAX(share, (now->total_us - before->total_us) * 10000 / (ns / 1000));
    return (unsigned)HAK_MIN(share, (uint64_t)10000);
}

/* ---- Looks. ---- */

static bool soft_is_auto(void)
{
    return hak_opt.limit_soft == HAK_OPT_AUTO;
}

static bool hard_is_auto(void)
{
    return hak_opt.limit_hard == HAK_OPT_AUTO;
}

static uint64_t option(uint64_t value)
{
    return value != 0 ? value : NONE;
}

static void look_bytes_set(uint64_t bytes)
{
    atomic_store_explicit(&ss_limits.look_bytes, bytes, memory_order_relaxed);
}

/* Near a hard limit, too, what is free shall go back before something is refused. */
static void limits_set(uint64_t soft, uint64_t hard)
{
    soft = HAK_MIN(soft, hard != NONE ? hard - hard / CALM_SHARE : NONE);
    uint64_t squeeze = soft / SQUEEZE_SHARE / (ss_nheaps() + os_nnodes());
    atomic_store_explicit(&ss_limits.squeeze_bytes, HAK_MAX(squeeze, (uint64_t)SS_UNIT),
                          memory_order_relaxed);
    ss_limits_set(hard, soft, soft != NONE ? soft - soft / CALM_SHARE : NONE);
}

void limit_init(void)
{
    bool looks = soft_is_auto() || hard_is_auto();
    /* What "auto" stands for is not known before the first look, which a refusal brings about. */
    limits_set(soft_is_auto() ? NONE : option(hak_opt.limit_soft),
               hard_is_auto() ? FIRST_LOOK * MIB : option(hak_opt.limit_hard));
    look_bytes_set(looks ? FIRST_LOOK * MIB : NONE);
    atomic_store_explicit(&limit.next_ns, looks ? 0 : NONE, memory_order_relaxed);
}

static void cgroup_find_locked(void)
{
    const char *why = os_cgroup_find("", &limit.cgroup);
    if (!limit.sought && why != NULL)
        hak_log(HAK_LOG_INFO, "limit: no memory cgroup: %s; no limit", why);
    limit.sought = true;
}

static void speed_set_locked(uint64_t now)
{
    struct os_pressure stall;
    unsigned speed = 1;
    if (os_pressure_read("", &limit.cgroup, &stall)) {
        uint64_t ns = limit.looked_ns != 0 ? now - limit.looked_ns : 0;
        speed = limit_speed(policy_limit_speed(), limit_share(&stall, &limit.stall, ns));
        limit.stall = stall;
    }
    atomic_store_explicit(&limit.speed, speed, memory_order_relaxed);
}

/* When to look again: the nearer the limit, the sooner, in bytes and in time. */
static void next_set_locked(uint64_t now, unsigned levels, uint64_t held)
{
    uint64_t soft = atomic_load_explicit(&ss_limits.soft_bytes, memory_order_relaxed);
    uint64_t room = soft - HAK_MIN(soft, held), wait = 10000;
    uint64_t step = HAK_MAX(held, 64 * MIB);
    if (levels > 0) {
        step = HAK_MIN(HAK_MAX(room / 4, 4 * MIB), 64 * MIB);
        wait = room < soft / 4 ? 250 : 1000;
    }
    look_bytes_set(held + step);
    atomic_store_explicit(&limit.next_ns, now + wait * MS, memory_order_relaxed);
}

static void look(void)
{
    struct os_cgroup_level level[OS_CGROUP_LEVELS];
    if (!os_lock_try(&limit.lock))
        return; /* somebody is at it */
    uint64_t now = os_now_ns(), held = ss_held_bytes();
    bool first = limit.looked_ns == 0;
    if (limit.cgroup.version == 0)
        cgroup_find_locked();
    unsigned n = os_cgroup_read(&limit.cgroup, level);
    uint64_t soft =
        soft_is_auto() ? limit_room(level, n, held, true) : option(hak_opt.limit_soft);
    uint64_t hard =
        hard_is_auto() ? limit_room(level, n, held, false) : option(hak_opt.limit_hard);
    limits_set(soft, hard);
    speed_set_locked(now);
    next_set_locked(now, n, held);
    limit.looked_ns = now;
    if (n == 0)
        limit.cgroup.version = 0; /* it may have been moved: find it again */
    os_unlock(&limit.lock);
    if (first)
        hak_log(HAK_LOG_INFO, "limit: %u cgroups with a limit; soft %S, hard %S (0: none)", n,
                (size_t)(soft != NONE ? soft : 0), (size_t)(hard != NONE ? hard : 0));
}

/* When pressure sets in, all that is free anywhere; while it lasts, what has come free since. */
static void give_up(void)
{
    struct ss_held_stats s;
    if (!ss_pressure())
        return;
    ss_held_stats(&s);
    if (atomic_exchange_explicit(&limit.pressures, s.pressures, memory_order_relaxed) !=
        s.pressures)
        (void)policy_reclaim();
    else
        (void)ss_purge();
}

void policy_limit_tick(void)
{
    if (os_now_ns() >= atomic_load_explicit(&limit.next_ns, memory_order_relaxed))
        look();
}

void policy_limit_due(void)
{
    give_up(); /* before anything of what was just handed out is touched */
    if (ss_held_bytes() >= atomic_load_explicit(&ss_limits.look_bytes, memory_order_relaxed)) {
        look();
        give_up();
    }
}

void policy_limit_refused(void)
{
    if (hard_is_auto())
        look();
}

unsigned policy_limit_speed(void)
{
    return atomic_load_explicit(&limit.speed, memory_order_relaxed);
}

void limit_fork_child(void)
{
    atomic_store_explicit(&limit.lock.word, OS_LOCK_FREE, memory_order_relaxed);
}
