/* SPDX-License-Identifier: MIT
 *
 * policy: ELO, the arithmetic. Elo, "The Rating of Chessplayers, Past and Present", 1978; the score
 * of a match is that of Bradley and Terry, "Rank Analysis of Incomplete Block Designs", 1952, with
 * strengths cost^-4, so that ratings settle where 400 * 4 * log10 of the costs' ratio parts them.
 */
#include "policy/elo.h"

/* 512 KiB * 64^(i / 11), to the nearest 64 KiB. */
const uint32_t elo_threshold[ELO_N] = {
    512 << 10,  768 << 10,  1088 << 10,  1600 << 10,  2304 << 10,  3392 << 10,
    4928 << 10, 7232 << 10, 10560 << 10, 15360 << 10, 22464 << 10, 32768 << 10,
};

static const double K_NEW = 64, K_OLD = 24; /* doc/policy.md: why */
enum { NEW_GAMES = 8 };

static const double MARGIN = 50, /* points ahead: 7.5 % cheaper */
    AHEAD = 20,                  /* points that another leader must be ahead, */
    CLEAR = 40,                  /* points that one match is enough for to lead */
    BONUS = 200,                 /* points of trust in one that has not played */
    RARE = 0.005,                /* share of sizes that does not count */
    SHIFT = 0.7,                 /* distance of mixes that is another load */
    HOPELESS = 3,                /* times the leader's cost */
    LOSS_TIME = 0.002,           /* challengers may lose this share of all time, */
    LOSS_OWN = 0.02,             /* this of what the leader takes, */
    TRIAL_NS = 20e6,             /* one epoch beyond that, and most that is saved up */
    WORST = 0.01; /* share of all time that a trial might lose before it is ended */
enum {
    LED = 8,         /* matches far ahead, then frozen */
    LEAST_GAMES = 2, /* of every rival before that, and of a leader */
    SHIFTED = 8,     /* epochs */
    DRIFTED = 8,
    HOPELESS_OPS = 4,
    LOSING_OPS = 2,
    WORST_OPS = 8, /* settling included */
    STABLE = 32,   /* matches without a new leader, then half the exploration; twice */
};

unsigned elo_bucket(size_t n)
{
    unsigned b = 0;
    while (b < ELO_N && n >= elo_threshold[b])
        b++;
    return b;
}

/* 10^x, |x| <= 38: 2^n by multiplication, the rest by Taylor's series. To 1e-9: malloc does not bring
 * the mathematical library into a process. */
static double power_of_10(double x)
{
    double y = x * 3.32192809488736234787, r = 1, term = 1;
    bool negative = y < 0;
    y = negative ? -y : y;
    unsigned n = (unsigned)y;
    double f = (y - n) * 0.69314718055994530942;
    for (unsigned i = 1; i < 14; i++) {
        term *= f / i;
        r += term;
    }
    for (; n > 0; n--)
        r *= 2;
    return negative ? 1 / r : r;
}

double elo_expected(double points)
{
    points = HAK_MIN(HAK_MAX(points, -4.0 * ELO_REACH), 4.0 * ELO_REACH);
    return 1 / (1 + power_of_10(-points / 400));
}

double elo_score(double own, double other)
{
    double r = own / other;
    r *= r;
    return 1 / (1 + r * r);
}

double elo_k(uint32_t games_a, uint32_t games_b)
{
    return HAK_MIN(games_a, games_b) < NEW_GAMES ? K_NEW : K_OLD;
}

/* Of the program's time: what is held free does not make it slower. */
static double work_ns(const struct elo_work *k, const struct elo_weights *w)
{
    return k->ns * w->ns + k->faults * w->fault;
}

double elo_cost(const struct elo_epoch *p, const struct elo_weights *w)
{
    double sum = work_ns(&p->work, w) + p->idle * w->idle;
    return HAK_MAX(sum, 1.0) / HAK_MAX(p->work.ops, 1u);
}

double elo_distance(const double *a, const double *b)
{
    double d = 0;
    for (unsigned i = 0; i < ELO_BUCKETS; i++)
        d += a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    return d;
}

static void shares(const struct elo_epoch *p, double *share)
{
    for (unsigned i = 0; i < ELO_BUCKETS; i++)
        share[i] = (double)p->bucket[i] / HAK_MAX(p->work.ops, 1u);
}

/* Of few operations the mix says little: the fewer, the more may two differ. */
static bool comparable(const struct elo_epoch *a, const struct elo_epoch *b)
{
    double x[ELO_BUCKETS], y[ELO_BUCKETS];
    uint32_t few = HAK_MIN(a->work.ops, b->work.ops);
    shares(a, x);
    shares(b, y);
    double most = few >= 400 ? 0.5 : few >= 100 ? 0.6 : few >= ELO_EPOCH_OPS ? 0.8 : 1.0;
    return elo_distance(x, y) <= most;
}

void elo_init(struct elo *e, unsigned first, double explore, struct elo_weights weights)
{
    *e = (struct elo){.weights = weights,
                      .explore = explore,
                      .leader = first,
                      .playing = first,
                      .epoch_ms = ELO_EPOCH_MS};
    for (unsigned i = 0; i < ELO_N; i++)
        e->rating[i] = ELO_START;
}

void elo_resume(struct elo *e, const double *rating, const uint32_t *games)
{
    double sum = 0;
    for (unsigned i = 0; i < ELO_N; i++)
        sum += rating[i];
    for (unsigned i = 0; i < ELO_N; i++) {
        e->rating[i] = rating[i] - (sum / ELO_N - ELO_START); /* E1 */
        e->games[i] = games[i];
        if (e->rating[i] > e->rating[e->leader] && games[i] > 0)
            e->leader = i;
    }
    double reach = 1; /* E3, without touching the sum */
    for (unsigned i = 0; i < ELO_N; i++) {
        double off =
            e->rating[i] > ELO_START ? e->rating[i] - ELO_START : ELO_START - e->rating[i];
        reach = HAK_MAX(reach, off / ELO_REACH);
    }
    for (unsigned i = 0; i < ELO_N; i++)
        e->rating[i] = ELO_START + (e->rating[i] - ELO_START) / reach;
    e->playing = e->leader;
}

/* ---- Who plays. ---- */

/* Lost by far, and again. */
static bool is_out(const struct elo *e, unsigned i)
{
    return e->routs[i] >= LEAST_GAMES;
}

/* Is there a request that i treats otherwise than j does? */
static bool differ(const struct elo *e, unsigned i, unsigned j)
{
    double between = 0;
    for (unsigned b = HAK_MIN(i, j) + 1; b <= HAK_MAX(i, j); b++)
        between += e->mix[b];
    return between >= RARE;
}

/* Does i stand for those it does not differ from? The leader does; else who has played most, of equals
 * the last. */
static bool stands(const struct elo *e, unsigned i)
{
    if (i == e->leader)
        return true;
    if (!differ(e, i, e->leader))
        return false;
    for (unsigned j = 0; j < ELO_N; j++) {
        if (j != i && !differ(e, i, j) &&
            (e->games[j] > e->games[i] || (e->games[j] == e->games[i] && j > i)))
            return false;
    }
    return true;
}

/* The rival with most promise: rating, and trust where it has hardly played. The leader: there is none. */
static unsigned challenger(const struct elo *e)
{
    unsigned best = e->leader;
    double most = 0;
    for (unsigned i = 0; i < ELO_N; i++) {
        double promise = e->rating[i] + BONUS / (1 + e->games[i]);
        if (i != e->leader && !is_out(e, i) && stands(e, i) &&
            (best == e->leader || promise > most)) {
            best = i;
            most = promise;
        }
    }
    return best;
}

/* ---- A load that changes. ---- */

static void mix_follow(struct elo *e, const struct elo_epoch *p)
{
    double share[ELO_BUCKETS];
    shares(p, share);
    for (unsigned i = 0; i < ELO_BUCKETS; i++) {
        e->mix[i] += (share[i] - e->mix[i]) / HAK_MIN(e->epochs, 16u);
        e->usual[i] += (share[i] - e->usual[i]) / HAK_MIN(e->epochs, 256u);
    }
    e->shifted = elo_distance(e->mix, e->usual) > SHIFT ? e->shifted + 1 : 0;
}

static void drift_follow(struct elo *e, const struct elo_epoch *p)
{
    double cost = elo_cost(p, &e->weights);
    bool other = e->frozen && (cost > 2 * e->cost || 2 * cost < e->cost);
    e->drifted = other ? e->drifted + 1 : 0;
}

/* Half of what was learned is forgotten; the sum stays (E1). */
static void reopen(struct elo *e)
{
    for (unsigned i = 0; i < ELO_N; i++) {
        e->rating[i] = ELO_START + (e->rating[i] - ELO_START) / 2;
        e->games[i] = HAK_MIN(e->games[i], 1u);
        e->usual[i] = e->mix[i];
        e->routs[i] = 0;
    }
    e->usual[ELO_N] = e->mix[ELO_N];
    e->frozen = e->waits = e->have_first = false;
    e->led = e->stable = e->shifted = e->drifted = 0;
    e->epoch_ms = ELO_EPOCH_MS;
    e->playing = e->leader;
}

/* ---- What trials cost. ---- */

/* ns beyond what the leader takes for as many requests. */
static double lost(const struct elo *e, const struct elo_work *k)
{
    const struct elo_work *usual = &e->first.work;
    double pace = work_ns(usual, &e->weights) / HAK_MAX(usual->ops, 1u);
    return work_ns(k, &e->weights) - pace * k->ops;
}

static void credit_follow(struct elo *e, const struct elo_epoch *done)
{
    if (done->strategy == e->leader)
        e->credit += LOSS_OWN * work_ns(&done->work, &e->weights);
    e->credit += LOSS_TIME * done->span_ns;
    if (e->have_first) {
        e->credit -= lost(e, &done->settling);
        if (done->strategy != e->leader)
            e->credit -= lost(e, &done->work);
    }
    e->credit = HAK_MIN(e->credit, TRIAL_NS);
    e->span_ns += done->span_ns;
}

/* The worst that a challenger may do before that is seen: every page of the blocks it treats otherwise comes
 * by a fault. A young process does not try that with large blocks. */
static bool can_afford(const struct elo *e, unsigned i)
{
    enum { PAGE = 4096 };
    double pages = 0;
    for (unsigned b = HAK_MIN(i, e->leader) + 1; b <= HAK_MAX(i, e->leader); b++)
        pages += e->mix[b] * elo_threshold[b] / PAGE; /* the upper end of the bucket */
    return WORST_OPS * pages * e->weights.fault <= WORST * e->span_ns;
}

/* ---- Matches. ---- */

static void epochs_longer(struct elo *e)
{
    e->epoch_ms = HAK_MIN(2 * e->epoch_ms, (unsigned)ELO_EPOCH_MS_MAX);
}

static void play(struct elo *e, unsigned a, unsigned b, double score)
{
    double points =
        elo_k(e->games[a], e->games[b]) * (score - elo_expected(e->rating[a] - e->rating[b]));
    double up =
        HAK_MIN(ELO_START + ELO_REACH - e->rating[a], e->rating[b] - ELO_START + ELO_REACH);
    double down =
        HAK_MIN(ELO_START + ELO_REACH - e->rating[b], e->rating[a] - ELO_START + ELO_REACH);
    points = HAK_MAX(HAK_MIN(points, up), -down); /* E3 */
    e->rating[a] += points;
    e->rating[b] -= points; /* E1 */
    e->games[a]++;
    e->games[b]++;
    e->match_leader = a;
    e->match_rival = b;
    e->match_points = points;
}

static bool is_far_ahead(const struct elo *e)
{
    for (unsigned i = 0; i < ELO_N; i++) {
        if (i != e->leader && !is_out(e, i) && stands(e, i) &&
            (e->games[i] == 0 || e->rating[i] + MARGIN > e->rating[e->leader]))
            return false;
    }
    return true;
}

static enum elo_event match(struct elo *e, const struct elo_epoch *last)
{
    unsigned a = e->leader, b = e->second.strategy;
    double own = (elo_cost(&e->first, &e->weights) + elo_cost(last, &e->weights)) / 2;
    double other = elo_cost(&e->second, &e->weights);
    if (!comparable(&e->first, &e->second) || !comparable(&e->second, last)) {
        if (!e->second.cut)
            epochs_longer(e);
        return ELO_NOTHING;
    }
    play(e, a, b, elo_score(own, other));
    e->routs[b] = (uint8_t)(other > HOPELESS * own ? e->routs[b] + 1 : 0);
    e->match_cost[0] = own;
    e->match_cost[1] = other;
    e->stable++;
    double ahead = e->rating[b] - e->rating[a];
    if (ahead > (e->games[b] >= LEAST_GAMES ? AHEAD : CLEAR)) {
        e->leader = b;
        e->led = e->stable = 0;
        e->have_first = false;
        return ELO_LEADER;
    }
    e->led = is_far_ahead(e) ? e->led + 1 : 0;
    if (e->led < LED && challenger(e) != a) /* else nobody is left to play with */
        return ELO_MATCH;
    e->frozen = true;
    e->cost = own;
    return ELO_FROZEN;
}

/* May the next epoch be a challenger's? E2 */
static bool may_explore(const struct elo *e)
{
    double share = e->explore / (1u << HAK_MIN(e->stable / STABLE, 2u));
    return !e->frozen && e->alike && e->credit >= 0 &&
           e->explored + 1 <= share * (e->epochs + 1);
}

enum elo_event elo_step(struct elo *e, const struct elo_epoch *done)
{
    enum elo_event event = ELO_NOTHING;
    e->epochs++;
    credit_follow(e, done);
    mix_follow(e, done);
    if (done->strategy != e->leader) {
        e->explored++;
        e->second = *done;
        e->waits = e->have_first;
        e->playing = e->leader;
    } else {
        drift_follow(e, done);
        e->alike = e->have_first && comparable(&e->first, done);
        if (e->waits)
            event = match(e, done);
        else if (e->have_first && !e->alike)
            epochs_longer(e);
        e->waits = false;
        e->first = *done;
        e->have_first = event != ELO_LEADER;
    }
    if (e->shifted >= SHIFTED || e->drifted >= DRIFTED) {
        reopen(e);
        return ELO_OPENED;
    }
    if (!e->waits) {
        unsigned next = e->have_first && may_explore(e) ? challenger(e) : e->leader;
        e->playing = can_afford(e, next) ? next : e->leader;
    }
    return event;
}

void elo_abandon(struct elo *e)
{
    e->playing = e->leader;
    e->waits = e->have_first = false;
}

bool elo_hopeless(const struct elo *e, const struct elo_epoch *so_far)
{
    if (so_far->strategy == e->leader || !e->have_first)
        return false;
    bool costly = so_far->work.ops >= HOPELESS_OPS && comparable(so_far, &e->first) &&
                  elo_cost(so_far, &e->weights) > HOPELESS * elo_cost(&e->first, &e->weights);
    bool losing = so_far->work.ops >= LOSING_OPS &&
                  lost(e, &so_far->work) > HAK_MAX(e->credit, 0.0) + TRIAL_NS;
    return costly || losing;
}
