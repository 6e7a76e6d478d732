/* SPDX-License-Identifier: MIT
 *
 * policy: ACE at work. The fast loop looks at what every cache has counted since its last look, and writes
 * down how long the lists of each class may be (struct tiny_steer); the cache's thread heeds it at its
 * next slow operation. The slow loop has what is idle forgotten, and the price of a byte follow what all
 * caches together may hold.
 */
#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "policy/ace.h"
#include "policy/policy_internal.h"
#include "tiny/tiny.h"

static const uint64_t FAST_NS = 250000000u, SLOW_NS = 16000000000u;

/* ACE's own record of a cache. */
struct caches_record {
    uint32_t misses[SS_NCLASS], flushes[SS_NCLASS],
        sent[SS_NCLASS]; /* as counted at the last look */
    struct ace_class class[SS_NCLASS];
};

static struct {
    struct os_lock lock; /* only ever tried */
    _Atomic bool on;
    uint64_t fast_ns, slow_ns; /* [lock] of the last looks */
    double usual, price;       /* [lock] ns for a byte and second */
    struct ace_base base[SS_NCLASS];
} ace;

static uint32_t load(const _Atomic uint32_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint32_t since(const _Atomic uint32_t *counter, uint32_t *last)
{
    uint32_t now = load(counter), more = now - *last;
    *last = now;
    return more;
}

static void steer(struct tiny_steer *s, const struct ace_class *k)
{
    atomic_store_explicit(&s->cap, k->cap, memory_order_relaxed);
    atomic_store_explicit(&s->refill, k->refill, memory_order_relaxed);
    atomic_store_explicit(&s->remote, k->remote, memory_order_relaxed);
}

/* What a cache was last told. */
static struct ace_class last_told(const struct tiny_cache *tc, unsigned c)
{
    const struct tiny_steer *s = &tc->steer[c];
    return (struct ace_class){.cap = atomic_load_explicit(&s->cap, memory_order_relaxed),
                              .refill = atomic_load_explicit(&s->refill, memory_order_relaxed),
                              .remote = atomic_load_explicit(&s->remote, memory_order_relaxed)};
}

static void move_explain(const struct tiny_cache *tc, unsigned c, const struct ace_seen *seen,
                         uint32_t from, const struct ace_class *k, const char *rule)
{
    char line[400];
    struct hak_text t = {line, sizeof(line), 0};
    if (!explain_wanted())
        return;
    hak_text_add(&t,
                 "ACE, capacity of class %u (heap %u) from %u to %u blocks, refill %u, remote "
                 "%u: %u misses, "
                 "%u flushes, %u sent, %u ns a refill, rule: %s",
                 ss_classes[c].size, tc->heap->id, from, (unsigned)k->cap, (unsigned)k->refill,
                 (unsigned)k->remote, seen->misses, seen->flushes, seen->sent, seen->miss_ns,
                 rule);
    explain(line);
}

static struct caches_record *record_of(struct tiny_cache *tc)
{
    struct caches_record *r = tc->record;
    if (r != NULL || (r = ss_meta_alloc(sizeof(*r))) == NULL)
        return r;
    for (unsigned c = 0; c < SS_NCLASS; c++) /* a profile may have said something */
        r->class[c] = last_told(tc, c);
    tc->record = r;
    return r;
}

/* Returns the bytes that its lists may hold. */
static uint64_t cache_look(struct tiny_cache *tc, double seconds, bool slow, uint64_t budget)
{
    static const char *const rule[] = {[ACE_GROWS] = "misses cost more than twice the bytes",
                                       [ACE_SHRINKS] =
                                           "bytes cost more than four times the misses"};
    struct caches_record *r = record_of(tc);
    if (r == NULL)
        return 0;
    for (unsigned c = 1; c < SS_NCLASS; c++) {
        struct ace_seen seen = {since(&tc->seen[c].misses, &r->misses[c]),
                                since(&tc->seen[c].flushes, &r->flushes[c]),
                                since(&tc->seen[c].sent, &r->sent[c]),
                                HAK_MAX(load(&tc->seen[c].miss_ns), 100u)};
        struct ace_class *k = &r->class[c];
        uint32_t from = k->cap != 0 ? k->cap : ace.base[c].cap;
        enum ace_move move = ace_look(k, &ace.base[c], &seen, seconds, ace.price);
        if (move != ACE_STAYS)
            move_explain(tc, c, &seen, from, k, rule[move]);
        if (slow && ace_slow(k))
            move_explain(tc, c, &seen, from, k,
                         "idle for a slow look: the built-in rule again");
    }
    uint64_t bytes = ace_fit(r->class + 1, ace.base + 1, SS_NCLASS - 1, budget);
    for (unsigned c = 1; c < SS_NCLASS; c++)
        steer(&tc->steer[c], &r->class[c]);
    return bytes;
}

static void price_follow(uint64_t bytes)
{
    double before = ace.price;
    ace.price = ace_price(ace.price, ace.usual, bytes, hak_opt.cache_total);
    char line[200], held[POLICY_SIZE_MAX], budget[POLICY_SIZE_MAX];
    struct hak_text t = {line, sizeof(line), 0};
    if (ace.price == before || !explain_wanted())
        return;
    hak_text_add(
        &t, "ACE, price of a MiB and s from %lu to %lu ns: lists may hold %s of %s, rule: %s",
        (unsigned long)(before * 1048576), (unsigned long)(ace.price * 1048576),
        policy_size(held, bytes), policy_size(budget, hak_opt.cache_total),
        ace.price > before ? "dearer beyond the budget" : "cheaper below half of it");
    explain(line);
}

static void look_locked(uint64_t now)
{
    double seconds = (double)(now - ace.fast_ns) / 1e9;
    bool slow = now - ace.slow_ns >= SLOW_NS;
    uint64_t bytes = 0;
    unsigned n = HAK_MAX(tiny_ncaches(), 1u);
    /* The process's budget in equal parts, a thread's own at most. */
    uint64_t budget =
        HAK_MIN(hak_opt.ace_thread, HAK_MAX(hak_opt.cache_total / n, (uint64_t)SS_UNIT));
    ace.fast_ns = now;
    for (struct tiny_cache *tc = tiny_caches(); tc != NULL; tc = tc->all)
        bytes += cache_look(tc, seconds, slow, budget);
    if (slow) {
        ace.slow_ns = now;
        price_follow(bytes);
    }
}

/* Under pressure what misses cost says nothing: caches are squeezed. Then it begins anew. */
void caches_look(void)
{
    if (!atomic_load_explicit(&ace.on, memory_order_relaxed) || !os_lock_try(&ace.lock))
        return;
    uint64_t now = os_now_ns();
    if (ss_pressure())
        ace.fast_ns = now;
    else if (now - ace.fast_ns >= FAST_NS)
        look_locked(now);
    os_unlock(&ace.lock);
}

uint64_t caches_look_ns(void)
{
    return atomic_load_explicit(&ace.on, memory_order_relaxed) ? FAST_NS : UINT64_MAX;
}

/* ---- Start, fork, profile. ---- */

/* What a profile said, which is read before there are classes. */
static HAK_RARE struct {
    uint64_t size; /* of a class; with smaller superslabs there may be none */
    struct ace_class class;
} said[SS_NCLASS];
static unsigned nsaid[2]; /* lines read; [true] tried */

static void said_tell(void)
{
    for (unsigned i = 0; i < nsaid[false]; i++) {
        for (unsigned c = 1; c < SS_NCLASS; c++) {
            if (ss_classes[c].size == said[i].size)
                steer(&tiny_params.steer[c], &said[i].class);
        }
    }
}

void caches_init(void)
{
    for (unsigned c = 0; c < SS_NCLASS; c++)
        ace.base[c] =
            (struct ace_base){ss_classes[c].size, tiny_params.cap_max[c],
                              ss_classes[c].size != 0 ? tiny_params.remote_max[c] : 0};
    /* ns a MiB and ms, as ELO weighs it. */
    ace.usual = hak_opt_part(hak_opt.elo_weights, 2) * 1000.0 / (1 << 20);
    ace.price = ace.usual;
    tiny_params.count = hak_opt.ace_enabled;
    atomic_store_explicit(&ace.on, hak_opt.ace_enabled, memory_order_relaxed);
    if (hak_opt.ace_enabled) {
        ace.fast_ns = ace.slow_ns = os_now_ns();
        said_tell();
    }
}

void caches_fork_child(void)
{
    atomic_store_explicit(&ace.lock.word, OS_LOCK_FREE, memory_order_relaxed);
}

/* "ace SIZE CAP REFILL REMOTE": the most that any cache has of a class. */
void caches_profile_save(struct hak_text *t)
{
    if (!atomic_load_explicit(&ace.on, memory_order_relaxed))
        return;
    for (unsigned c = 1; c < SS_NCLASS; c++) {
        unsigned cap = 0, refill = 0, remote = 0;
        for (const struct tiny_cache *tc = tiny_caches(); tc != NULL; tc = tc->all) {
            struct ace_class k = last_told(tc, c);
            cap = HAK_MAX(cap, k.cap);
            refill = HAK_MAX(refill, k.refill);
            remote = HAK_MAX(remote, k.remote);
        }
        if (cap != 0 || remote != 0)
            hak_text_add(t, "ace %u %u %u %u\n", ss_classes[c].size, cap, refill, remote);
    }
}

bool caches_profile_line(const char *line, bool try)
{
    uint64_t v[4];
    unsigned next = nsaid[try];
    if (next == SS_NCLASS || !profile_numbers(line, "ace", v, 4) || v[0] == 0 ||
        v[0] > UINT32_MAX || v[1] > ACE_CAP_MAX || v[2] > ACE_CAP_MAX || v[3] > ACE_REMOTE_MAX)
        return false;
    nsaid[try]++;
    said[next].size = v[0];
    said[next].class = (struct ace_class){
        .cap = (uint16_t)v[1], .refill = (uint16_t)v[2], .remote = (uint16_t)v[3]};
    return true;
}
