/* SPDX-License-Identifier: MIT
 *
 * policy: ELO at work. Requests of 512 KiB and more are counted, some of them timed, and at the end of an
 * epoch elo.c says under which threshold the next one runs. Blocks that are out keep what they are.
 *
 * What a strategy holds free cannot be seen while it plays: free runs stay for a whole decay, challengers
 * for some milliseconds. It follows from what the program has live. Blocks below a strategy's threshold would be
 * runs, and the room of those that were live at most, of late, would still be there:
 *
 *   idle(s) = peak(s) - live(s)       live(s): bytes of live blocks below the threshold of s
 *                                     peak(s): its highest, which sinks to it within a decay
 */
#include "policy/policy_internal.h"

#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "large/large.h"
#include "policy/elo.h"

enum {
    SETTLE_SHARE = 8, /* of an epoch, and */
    SETTLE_OPS = 2,   /* after a change: blocks of the strategy before are still coming back */
    VOID_MS = 2000,   /* an epoch of fewer operations than ELO_EPOCH_OPS tells nothing */
    /* One operation in so many is timed: under a challenger each, under the leader fewer, */
    ONE_IN_LEAST = 4,
    ONE_IN_MOST = 64,
    TIMED = 64, /* but about so many an epoch */
};

static const double NS_PER_MS = 1e6, MIB = 1 << 20;

static_assert((uint32_t)POLICY_LARGE == LARGE_EITHER_MIN,
              "the first threshold: below it all are alike");

_Atomic bool policy_learns;

static struct {
    /* By all threads. Those that are only counted may lose one now and then. */
    _Alignas(HAK_LINE) _Atomic uint32_t calls;
    _Atomic uint32_t one_in; /* a power of two */
    _Atomic uint64_t ticks;  /* in timed operations */
    _Atomic uint32_t timed, ops;
    _Atomic uint32_t bucket[ELO_BUCKETS];
    _Atomic int64_t live[ELO_BUCKETS];      /* bytes; exact */
    _Alignas(HAK_LINE) struct os_lock lock; /* only ever tried */
    struct elo elo;                         /* [lock] and all below */
    bool settling;
    struct elo_work settled; /* what that took */
    uint64_t changed_ns;     /* when it, or else the epoch, began */
    uint64_t begun_ns, begun_ticks, begun_faults, sampled_ns;
    double ticks_per_ns;
    double idle;
    double peak[ELO_N];
    double decay_ns;
} elo = {.one_in = 1};

static uint32_t count(_Atomic uint32_t *counter, uint32_t more)
{
    uint32_t v = atomic_load_explicit(counter, memory_order_relaxed) + more;
    atomic_store_explicit(counter, v, memory_order_relaxed);
    return v;
}

static void live_add(size_t bytes, int sign)
{
    if (bytes == 0)
        return;
    bytes = HAK_ALIGN_UP(bytes, (size_t)1 << 16); /* as run and mapping alike have it */
    atomic_fetch_add_explicit(&elo.live[elo_bucket(bytes)], sign * (int64_t)bytes,
                              memory_order_relaxed);
}

/* ---- Epochs. ---- */

static void strategy_set_locked(unsigned strategy)
{
    if (!atomic_load_explicit(&policy_learns, memory_order_relaxed))
        return; /* the program has set the threshold since this operation began */
    atomic_store_explicit(&large_params.threshold, elo_threshold[strategy],
                          memory_order_relaxed);
}

static void counters_clear(uint64_t now)
{
    atomic_store_explicit(&elo.ticks, 0, memory_order_relaxed);
    atomic_store_explicit(&elo.timed, 0, memory_order_relaxed);
    atomic_store_explicit(&elo.ops, 0, memory_order_relaxed);
    for (unsigned i = 0; i < ELO_BUCKETS; i++)
        atomic_store_explicit(&elo.bucket[i], 0, memory_order_relaxed);
    elo.idle = 0;
    elo.begun_ns = now;
    elo.begun_ticks = os_ticks();
    elo.begun_faults = os_faults();
}

static void epoch_begin(uint64_t now)
{
    counters_clear(now);
    elo.settled = (struct elo_work){0};
    elo.changed_ns = now;
}

/* Account for the time since the last sample. */
static void idle_sample(uint64_t now)
{
    double live = 0, past = (double)(now - elo.sampled_ns);
    double sinks = elo.decay_ns > 0 ? HAK_MIN(past / elo.decay_ns, 1.0) : 1;
    for (unsigned s = 0; s < ELO_N; s++) {
        if (s > 0)
            live += (double)atomic_load_explicit(&elo.live[s], memory_order_relaxed);
        elo.peak[s] = HAK_MAX(elo.peak[s] - (elo.peak[s] - live) * sinks, live);
        if (s == elo.elo.playing)
            elo.idle += (elo.peak[s] - live) / MIB * (past / NS_PER_MS);
    }
    elo.sampled_ns = now;
}

static struct elo_epoch epoch_so_far(uint64_t now)
{
    struct elo_epoch p = {.strategy = elo.elo.playing,
                          .settling = elo.settled,
                          .span_ns = (double)(now - elo.changed_ns),
                          .idle = elo.idle};
    for (unsigned i = 0; i < ELO_BUCKETS; i++) {
        p.bucket[i] = atomic_load_explicit(&elo.bucket[i], memory_order_relaxed);
        p.work.ops += p.bucket[i];
    }
    uint32_t timed = atomic_load_explicit(&elo.timed, memory_order_relaxed);
    uint32_t calls = atomic_load_explicit(&elo.ops, memory_order_relaxed);
    double ticks = (double)atomic_load_explicit(&elo.ticks, memory_order_relaxed);
    if (timed > 0 && elo.ticks_per_ns > 0)
        p.work.ns = ticks / elo.ticks_per_ns * calls / timed;
    p.work.faults = (double)(os_faults() - elo.begun_faults);
    return p;
}

static const char *event_rule(enum elo_event event)
{
    static const char *const rule[] = {[ELO_MATCH] = "points by Elo",
                                       [ELO_LEADER] = "best rating leads",
                                       [ELO_FROZEN] = "far ahead for long, or alone",
                                       [ELO_OPENED] = "sizes or costs are others now"};
    return rule[event];
}

static void event_explain(enum elo_event event, unsigned before)
{
    const struct elo *e = &elo.elo;
    char line[400], from[POLICY_SIZE_MAX], to[POLICY_SIZE_MAX], rival[POLICY_SIZE_MAX];
    struct hak_text t = {line, sizeof(line), 0};
    if (event == ELO_NOTHING || !explain_wanted())
        return;
    hak_text_add(&t, "ELO, large threshold from %s to %s",
                 policy_size(from, elo_threshold[before]),
                 policy_size(to, elo_threshold[e->leader]));
    if (event != ELO_OPENED)
        hak_text_add(
            &t, ", match %u with %s: %lu and %lu ns an operation, %d points, ratings %d and %d",
            e->games[e->match_leader], policy_size(rival, elo_threshold[e->match_rival]),
            (unsigned long)e->match_cost[0], (unsigned long)e->match_cost[1],
            (int)e->match_points, (int)e->rating[e->match_leader],
            (int)e->rating[e->match_rival]);
    hak_text_add(&t, "%s, rule: %s", event == ELO_FROZEN ? ", frozen" : "", event_rule(event));
    explain(line);
}

static uint32_t one_in_next(const struct elo_epoch *done)
{
    if (elo.elo.playing != elo.elo.leader)
        return 1;
    uint32_t n = ONE_IN_LEAST;
    while (n < ONE_IN_MOST && 2 * n * TIMED <= done->work.ops)
        n *= 2;
    return n;
}

static void epoch_end(const struct elo_epoch *p, uint64_t now)
{
    unsigned before = elo.elo.leader;
    enum elo_event event = elo_step(&elo.elo, p);
    elo.settling = elo.elo.playing != p->strategy;
    strategy_set_locked(elo.elo.playing);
    atomic_store_explicit(&elo.one_in, one_in_next(p), memory_order_relaxed);
    event_explain(event, before);
    epoch_begin(now);
}

static void look_locked(void)
{
    uint64_t now = os_now_ns(), past = now - elo.begun_ns;
    if (elo.begun_ns == 0 || past > VOID_MS * (uint64_t)NS_PER_MS) {
        elo.sampled_ns = elo.begun_ns == 0 ? now : elo.sampled_ns;
        idle_sample(now);
        elo_abandon(&elo.elo); /* a challenger does not stay where nothing is measured */
        strategy_set_locked(elo.elo.leader);
        elo.settling = false;
        epoch_begin(now);
        return;
    }
    if (elo.ticks_per_ns == 0 && past > NS_PER_MS)
        elo.ticks_per_ns = (double)(os_ticks() - elo.begun_ticks) / (double)past;
    idle_sample(now);
    bool leads = elo.elo.playing == elo.elo.leader && !elo.settling;
    uint64_t epoch = elo.elo.epoch_ms * (uint64_t)NS_PER_MS;
    if (leads && past < epoch)
        return;
    struct elo_epoch p = epoch_so_far(now);
    if (elo.settling) {
        if (p.work.ops >= SETTLE_OPS && past >= epoch / SETTLE_SHARE) {
            elo.settling = false;
            elo.settled = p.work;
            counters_clear(now);
        }
        return;
    }
    p.cut = elo_hopeless(&elo.elo, &p);
    if (p.cut || (past >= epoch && p.work.ops >= ELO_EPOCH_OPS && elo.ticks_per_ns > 0))
        epoch_end(&p, now);
}

/* Every half millisecond is often enough, or for a challenger every operation. */
static void look(uint64_t ticks)
{
    if (!os_lock_try(&elo.lock))
        return;
    double since = (double)(ticks - elo.begun_ticks);
    static uint64_t looked; /* [lock] */
    if (elo.ticks_per_ns == 0 || elo.elo.playing != elo.elo.leader || elo.settling ||
        (double)(ticks - looked) >= NS_PER_MS / 2 * elo.ticks_per_ns || since < 0) {
        looked = ticks;
        look_locked();
    }
    os_unlock(&elo.lock);
}

/* ---- Slow paths. 1 stands for "is counted, but not timed". ---- */

uint64_t policy_large_measure(void)
{
    uint32_t one_in = atomic_load_explicit(&elo.one_in, memory_order_relaxed);
    /* Not every fourth: malloc and free come in turn. Knuth's multiplicative hash, TAOCP vol. 3, 6.4. */
    uint32_t hash = count(&elo.calls, 1) * 2654435761u >> 16;
    return hash % one_in == 0 ? os_ticks() | 2 : 1;
}

void policy_large_measured(uint64_t begun, size_t freed, size_t had)
{
    uint64_t ticks = begun != 1 ? os_ticks() : 0;
    (void)count(&elo.ops, 1);
    if (had >= POLICY_LARGE)
        (void)count(&elo.bucket[elo_bucket(had)], 1);
    live_add(had, 1);
    live_add(freed, -1);
    if (begun == 1)
        return;
    (void)count(&elo.timed, 1);
    atomic_fetch_add_explicit(&elo.ticks, ticks - HAK_MIN(begun, ticks), memory_order_relaxed);
    look(ticks);
}

void policy_threshold_set(size_t bytes)
{
    atomic_store_explicit(&policy_learns, false, memory_order_relaxed);
    os_lock(&elo.lock); /* an epoch may be ending */
    atomic_store_explicit(&large_params.threshold, bytes, memory_order_relaxed);
    os_unlock(&elo.lock);
}

/* ---- Start, fork, profile. ---- */

static unsigned nearest(size_t bytes)
{
    unsigned b = elo_bucket(bytes);
    return b > 0 ? b - 1 : 0;
}

static bool resumed; /* a profile had ratings */

static void elo_begin(void)
{
    struct elo_weights w = {hak_opt_part(hak_opt.elo_weights, 0),
                            hak_opt_part(hak_opt.elo_weights, 1),
                            hak_opt_part(hak_opt.elo_weights, 2)};
    elo_init(&elo.elo, nearest(hak_opt.large_threshold), (double)hak_opt.elo_explore / 100, w);
}

void threshold_init(void)
{
    char size[POLICY_SIZE_MAX];
    size_t bytes = hak_opt.elo_strategy != 0 ? elo_threshold[hak_opt.elo_strategy - 1]
                                             : hak_opt.large_threshold;
    bool learns = hak_opt.elo_enabled && hak_opt.superslab && hak_opt.elo_strategy == 0 &&
                  !hak_opt_is_set(HAK_OPT_large_threshold);
    elo.decay_ns = (double)hak_opt.decay_ms * NS_PER_MS;
    if (!resumed)
        elo_begin();
    if (learns)
        bytes = elo_threshold[elo.elo.playing];
    atomic_store_explicit(&large_params.threshold, bytes, memory_order_relaxed);
    atomic_store_explicit(&policy_learns, learns, memory_order_relaxed);
    if (learns)
        hak_log(HAK_LOG_INFO, "[ELO] Initialized 12 strategies (thresholds: 512KB-32MB)");
    else
        hak_log(HAK_LOG_INFO, "[ELO] ELO disabled (%s), threshold=%s",
                !hak_opt.superslab                        ? "HAKMEM_SUPERSLAB=0"
                : hak_opt.elo_strategy > 0                ? "HAKMEM_ELO_STRATEGY"
                : hak_opt_is_set(HAK_OPT_large_threshold) ? "HAKMEM_LARGE_THRESHOLD"
                                                          : "HAKMEM_ELO_ENABLED=0",
                policy_size(size, bytes));
}

/* An epoch that another thread was ending stays behind half ended: begin anew. Page faults are counted
 * from the fork on. */
void threshold_fork_child(bool alone)
{
    if (!alone) {
        if (atomic_load_explicit(&elo.lock.word, memory_order_relaxed) != OS_LOCK_FREE)
            elo_begin();
        atomic_store_explicit(&elo.lock.word, OS_LOCK_FREE, memory_order_relaxed);
    }
    if (elo.begun_ns != 0)
        elo.begun_ns = 0;
}

/* "elo STRATEGY RATING GAMES" for each; ratings in hundredths of a point. */
void threshold_profile_save(struct hak_text *t)
{
    uint32_t games = 0;
    if (!os_lock_try(&elo.lock))
        return;
    for (unsigned i = 0; i < ELO_N; i++)
        games += elo.elo.games[i];
    for (unsigned i = 0; games > 0 && i < ELO_N; i++)
        hak_text_add(t, "elo %u %lu %u\n", i + 1,
                     (unsigned long)(elo.elo.rating[i] * 100 + 0.5), elo.elo.games[i]);
    os_unlock(&elo.lock);
}

bool threshold_profile_line(const char *line, bool try)
{
    static double rating[ELO_N];
    static uint32_t games[ELO_N];
    static unsigned nexts[2];
    unsigned next = nexts[try];
    uint64_t v[3];
    if (!profile_numbers(line, "elo", v, 3) || v[0] != next + 1 || next >= ELO_N ||
        v[1] < 100 * (ELO_START - ELO_REACH) || v[1] > 100 * (ELO_START + ELO_REACH) ||
        v[2] > UINT32_MAX)
        return false;
    nexts[try]++;
    rating[next] = (double)v[1] / 100;
    games[next] = (uint32_t)v[2];
    if (!try && next + 1 == ELO_N) {
        elo_begin();
        elo_resume(&elo.elo, rating, games);
        resumed = true;
    }
    return true;
}
