/* SPDX-License-Identifier: MIT
 *
 * policy: Batch, the clock of decay. A tick has the tiers return what has been idle, along a curve. Ticks
 * come from a background thread, which starts when it is worth it and sleeps while there is nothing
 * to do, or else from slow paths of malloc and free.
 *
 *   OFF --start--> AWAKE --quiet for a whole decay--> ASLEEP --ss_due--> AWAKE
 *    ^---- fork, in the child
 *
 * A process of one thread that holds little never has the thread: shells and small tools do not pay for
 * it, and unshare and setns work there. While it is asleep there is nothing that time alone would
 * return.
 */
#include "policy/policy_internal.h"

#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "policy/limit.h"
#include "superslab/ss.h"
#include "tiny/tiny.h"

enum { OFF, AWAKE, ASLEEP, REFUSED };

static struct {
    _Atomic uint32_t state;
    _Atomic uint32_t pokes;   /* how often there was something to do */
    _Atomic int process;      /* whose thread it is */
    _Atomic size_t threshold; /* bytes */
    uint64_t decay_ns;
    struct os_lock tick_lock; /* of ticks on slow paths; only ever tried */
    uint64_t ticked_ns;       /* [tick_lock] */
    _Atomic bool warned;      /* of what the system would not take back */
} batch;

static uint64_t tick_ns(void)
{
    return batch.decay_ns / SS_DECAY_TICKS / policy_limit_speed();
}

/* What raises ss_due from now on. */
static void due_set(size_t bytes, bool ops)
{
    atomic_store_explicit(&ss_params.due_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&ss_params.due_ops, ops, memory_order_relaxed);
}

static void due_set_off(void)
{
    due_set(atomic_load_explicit(&batch.threshold, memory_order_relaxed), batch.decay_ns > 0);
}

/* Returns whether there was something to ask for. It goes on for so long, at least once. */
static bool huge_ask(uint64_t ns)
{
    uint64_t start = os_now_ns();
    bool any = false;
    while (ss_huge_ask(1) > 0) {
        any = true;
        if (os_now_ns() - start >= ns)
            break;
    }
    return any;
}

/* Returns whether later ticks will find nothing that this one did not, if nobody works meanwhile.
 * huge_ns: time for huge pages. */
static bool tick(uint64_t huge_ns)
{
    static uint64_t ops; /* [the thread's, or tick_lock] */
    struct ss_tick t;
    policy_limit_tick();
    numa_tick();
    bool pressure = ss_pressure(); /* then nothing is waited for */
    tiny_flush_parked(pressure ? 0 : batch.decay_ns);
    bool pending = tiny_flush_idle(pressure ? 1 : SS_DECAY_TICKS);
    ss_tick(&t);
    if (pressure)
        (void)ss_purge();
    pending |= ss_holes_tick(&t);
    if (t.refused && !atomic_exchange_explicit(&batch.warned, true, memory_order_relaxed))
        hak_log(HAK_LOG_WARN, "purge: the system refuses to take memory back; it is kept");
    pending |= !pressure && huge_ask(huge_ns);
    bool quiet = !pending && t.ops == ops;
    ops = t.ops;
    return quiet;
}

/* ---- The thread. ---- */

/* Whoever works in the last moments before the sleep is noticed by the last tick, or pokes. */
static void sleep_until_due(void)
{
    uint32_t pokes = atomic_load(&batch.pokes);
    size_t threshold = atomic_load_explicit(&batch.threshold, memory_order_relaxed);
    due_set(HAK_MAX(threshold / 8, (size_t)SS_UNIT), true);
    if (tick(tick_ns() / 8)) {
        atomic_store(&batch.state, ASLEEP);
        while (atomic_load(&batch.state) == ASLEEP && atomic_load(&batch.pokes) == pokes)
            os_sleep(&batch.state, ASLEEP, UINT64_MAX);
        atomic_store(&batch.state, AWAKE);
    }
    due_set(SIZE_MAX, false);
}

/* A tick's time passes; ACE looks as often as it wants to. */
static void sleep_a_tick(void)
{
    uint64_t now = os_now_ns(), end = now + tick_ns(), step = caches_look_ns();
    for (; now < end; now = os_now_ns()) {
        os_sleep(&batch.state, AWAKE, HAK_MIN(end - now, step));
        caches_look();
    }
}

static void background(void)
{
    for (unsigned quiet = 0;;) {
        sleep_a_tick();
        quiet = tick(tick_ns() / 8) ? quiet + 1 : 0;
        if (quiet > SS_DECAY_TICKS) {
            sleep_until_due();
            quiet = 0;
        }
    }
}

static void start(void)
{
    uint32_t off = OFF;
    int none = 0, process = os_process();
    if (!atomic_compare_exchange_strong(&batch.process, &none, process) && none != process)
        return; /* a child of vfork */
    if (!atomic_compare_exchange_strong(&batch.state, &off, AWAKE))
        return;
    due_set(SIZE_MAX, false);
    if (os_thread_start(background))
        return;
    hak_log(HAK_LOG_WARN, "batch: no background thread to be had; slow paths return memory");
    due_set_off();
    atomic_store(&batch.state, REFUSED);
}

/* ---- Slow paths. ---- */

static void tick_if_time(void)
{
    if (!os_lock_try(&batch.tick_lock))
        return;
    uint64_t now = os_now_ns();
    if (now - batch.ticked_ns >= tick_ns()) {
        batch.ticked_ns = now;
        (void)tick(0);
    }
    os_unlock(&batch.tick_lock);
}

void policy_due(const void *caller)
{
    uint32_t why = atomic_exchange_explicit(&ss_due, 0, memory_order_relaxed);
    if ((why & SS_DUE_LIMIT) != 0)
        policy_limit_due();
    if ((why & ~(uint32_t)SS_DUE_LIMIT) == 0)
        return;
    atomic_fetch_add(&batch.pokes, 1);
    caches_look(); /* where no thread does it */
    uint32_t state = atomic_load(&batch.state);
    if (batch.decay_ns == 0) {
        (void)ss_purge();
    } else if (!hak_opt.batch_bg || state == REFUSED) {
        tick_if_time();
    } else if (state == ASLEEP) {
        if (atomic_compare_exchange_strong(&batch.state, &state, AWAKE))
            os_wake(&batch.state);
    } else if (state == OFF &&
               ((why & SS_DUE_BYTES) != 0 || !os_single_threaded() || ss_huge_worth()) &&
               !os_is_libc(caller)) {
        start();
    }
}

void policy_batch_threshold_set(size_t bytes)
{
    atomic_store_explicit(&batch.threshold, bytes, memory_order_relaxed);
    if (atomic_load_explicit(&batch.state, memory_order_relaxed) == OFF)
        due_set_off();
}

void batch_init(void)
{
    batch.decay_ns = hak_opt.decay_ms * 1000000u;
    ss_params.purge_min_bytes = hak_opt.batch_min_size;
    ss_params.purge_lazily = hak_opt.purge != 0;
    ss_params.huge = (enum ss_huge)hak_opt.thp;
    policy_batch_threshold_set(hak_opt.batch_threshold);
    char threshold[POLICY_SIZE_MAX], least[POLICY_SIZE_MAX];
    hak_log(HAK_LOG_INFO, "[Batch] Initialized (threshold=%s, min_size=%s, bg=%s)",
            policy_size(threshold, hak_opt.batch_threshold),
            policy_size(least, ss_params.purge_min_bytes), hak_opt.batch_bg ? "on" : "off");
}

void policy_fork_child(bool alone)
{
    threshold_fork_child(alone);
    if (alone)
        return;
    atomic_store(&batch.state, OFF);
    atomic_store(&batch.process, 0);
    limit_fork_child();
    caches_fork_child();
    atomic_store_explicit(&batch.tick_lock.word, OS_LOCK_FREE, memory_order_relaxed);
    atomic_store_explicit(&ss_due, 0, memory_order_relaxed);
    due_set_off();
}
