/* SPDX-License-Identifier: MIT
 *
 * What the constants of ELO and ACE are good for: made-up programs, played with the arithmetic of src/policy as
 * it is compiled in. bench/runner/constants.py compiles it with one constant after another changed.
 */
#include <stdio.h>

#include "policy/ace.h"
#include "policy/elo.h"

static uint64_t state;

static double uniform(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (double)((state * 2685821657736338717u) >> 11) / (double)((uint64_t)1 << 53);
}

/* ---- ELO. ---- */

/* A hundredth of an epoch's requests, or all; the best strategy takes an eighth of the time. */
static struct elo_epoch played(uint32_t each, unsigned strategy, double cost)
{
    struct elo_epoch p = {.strategy = strategy, .span_ns = each * 1e5};
    p.work = (struct elo_work){.ops = each * ELO_BUCKETS, .ns = each * ELO_BUCKETS * cost};
    for (unsigned b = 0; b < ELO_BUCKETS; b++)
        p.bucket[b] = each;
    return p;
}

/* Epochs under `cost`; returns what they cost in all, beside the best, and counts new leaders. */
static double run(struct elo *e, const double *cost, double noise, unsigned epochs,
                  double *changes)
{
    double sum = 0, ops = 0;
    for (unsigned i = 0; i < epochs; i++) {
        double now = cost[e->playing] * (1 - noise + 2 * noise * uniform());
        struct elo_epoch p = played(1, e->playing, now);
        p.cut = elo_hopeless(e, &p);
        if (!p.cut)
            p = played(100, e->playing, now);
        sum += cost[e->playing] * p.work.ops;
        ops += p.work.ops;
        *changes += elo_step(e, &p) == ELO_LEADER;
    }
    return sum / ops / 1000 - 1;
}

static void elo_row(double noise)
{
    enum { SEEDS = 20 };
    struct elo_weights w = {1, 700, 250};
    double near_best = 0, above = 0, changes = 0, unused = 0;
    struct elo e;
    double cost[ELO_N];
    for (unsigned best = 0; best < ELO_N; best++) {
        for (unsigned seed = 1; seed <= SEEDS; seed++) {
            state = seed * 2654435761u + best + 1;
            for (unsigned i = 0; i < ELO_N; i++) {
                cost[i] = 1000;
                for (unsigned d = i > best ? i - best : best - i; d > 0; d--)
                    cost[i] *= 1.2;
            }
            elo_init(&e, seed * 5 % ELO_N, 0.5, w);
            above += run(&e, cost, noise, 2000, &unused);
            near_best += cost[e.leader] < 1201;
        }
    }
    for (unsigned i = 0; i < ELO_N; i++)
        cost[i] = 1000;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        state = seed * 77777;
        elo_init(&e, ELO_N - 1, 0.5, w);
        (void)run(&e, cost, noise, 4000, &changes);
    }
    printf(" %.1f %.1f %.1f", 100 * near_best / (ELO_N * SEEDS), 100 * above / (ELO_N * SEEDS),
           changes / SEEDS);
}

/* ---- ACE: loads that swing by so many blocks so often a second (tests/unit/ace_test.c). ---- */

static const struct ace_base base = {64, 512, 256};
static const double PRICE = 250e3 / (1 << 20), LOOK = 0.25, MISS_NS = 400;

static double misses(double cap, double swing, double rate)
{
    return 2 * cap >= swing ? 0 : swing / cap * rate; /* a second; as many flushes */
}

/* ns a second: what misses and flushes cost, and the bytes */
static double ace_cost(double cap, double swing, double rate)
{
    return 2 * misses(cap, swing, rate) * MISS_NS + 2 * cap * base.size * PRICE;
}

static void ace_row(double noise)
{
    double above = 0, moves = 0, worst = 0, n = 0;
    for (double swing = 100; swing < 20000; swing *= 1.3) {
        for (double rate = 0.01; rate < 10000; rate *= 3, n++) {
            struct ace_class k = {0};
            double best = 1e30, sum = 0, moved = 0;
            state = (uint64_t)(swing * 1000 + rate * 100) + 1;
            for (double cap = ACE_CAP_MIN; cap <= ACE_CAP_MAX; cap *= 2)
                best = ace_cost(cap, swing, rate) < best ? ace_cost(cap, swing, rate) : best;
            for (unsigned i = 0; i < 1200; i++) { /* 5 minutes */
                double cap = k.cap != 0 ? k.cap : base.cap;
                uint32_t m = (uint32_t)(misses(cap, swing, rate) * LOOK *
                                        (1 - noise + 2 * noise * uniform()));
                struct ace_seen seen = {m, m, 0, (uint32_t)MISS_NS};
                bool move = ace_look(&k, &base, &seen, LOOK, PRICE) != ACE_STAYS;
                moved += move && i >= 200;
                sum += ace_cost(cap, swing, rate);
                if (i % 64 == 63)
                    (void)ace_slow(&k);
            }
            above +=
                sum / 1200 - best; /* ns a second: a ratio of nearly nothing says nothing */
            moves += moved;
            worst = moved > worst ? moved : worst;
        }
    }
    printf(" %.0f %.1f %.0f", above / n / 1000, moves / n, worst);
}

int main(void)
{
    for (unsigned i = 0; i < 3; i++)
        elo_row((double[]){0.05, 0.2, 0.4}[i]);
    ace_row(0.5);
    putchar('\n');
    return 0;
}
