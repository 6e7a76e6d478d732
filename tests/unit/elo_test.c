/* SPDX-License-Identifier: MIT
 *
 * policy: ELO's arithmetic, on made-up costs: no clock, no thread.
 */
#include "policy/elo.h"

#include "unit.h"

static const struct elo_weights weights = {1, 700, 250};

static const double PLENTY = 1e15; /* ns an epoch: nothing that is lost matters beside it */

static double absolute(double x)
{
    return x < 0 ? -x : x;
}

static bool near(double a, double b)
{
    return absolute(a - b) < 1e-6;
}

/* A load: requests spread over all sizes, and what one costs under each strategy, with noise. */
struct world {
    double cost[ELO_N];
    double noise; /* 0.2: from 0.8 to 1.2 times the cost */
    bool one_bucket;
    double span_ns; /* of an epoch */
    uint64_t random;
};

static double uniform(struct world *w)
{
    return (double)(hak_test_random(&w->random) >> 11) / (double)((uint64_t)1 << 53);
}

static struct elo_epoch played(struct world *w, unsigned strategy)
{
    struct elo_epoch p = {.strategy = strategy, .work.ops = 1300, .span_ns = w->span_ns};
    for (unsigned b = 0; b < ELO_BUCKETS; b++)
        p.bucket[b] = w->one_bucket ? (b == 6 ? 1300 : 0) : 100;
    p.work.ns = 1300 * w->cost[strategy] * (1 - w->noise + 2 * w->noise * uniform(w));
    return p;
}

/* The best is `best`; each strategy away from it costs a fifth more. */
static struct world world_with(unsigned best, double noise, uint64_t seed)
{
    struct world w = {.noise = noise, .span_ns = PLENTY, .random = seed * 2654435761u + 1};
    for (unsigned i = 0; i < ELO_N; i++) {
        w.cost[i] = 1000;
        for (unsigned d = i > best ? i - best : best - i; d > 0; d--)
            w.cost[i] *= 1.2;
    }
    return w;
}

static void holds(const struct elo *e, double explore)
{
    double sum = 0;
    for (unsigned i = 0; i < ELO_N; i++) {
        sum += e->rating[i];
        REQUIRE(absolute(e->rating[i] - ELO_START) <= ELO_REACH + 1e-6); /* E3 */
    }
    REQUIRE(absolute(sum - ELO_N * (double)ELO_START) < 1e-6); /* E1 */
    REQUIRE(e->explored <= explore * e->epochs + 1e-9);        /* E2 */
    REQUIRE(e->leader < ELO_N && e->playing < ELO_N);
}

static unsigned run(struct elo *e, struct world *w, unsigned epochs)
{
    unsigned leaders = 0;
    for (unsigned i = 0; i < epochs; i++) {
        struct elo_epoch p = played(w, e->playing);
        leaders += elo_step(e, &p) == ELO_LEADER;
        holds(e, e->explore);
    }
    return leaders;
}

/* Until a challenger plays, in 1,000 epochs at most. How many it took. */
static unsigned run_to_challenger(struct elo *e, struct world *w)
{
    unsigned epochs = 0;
    for (; e->playing == e->leader && epochs < 1000; epochs++)
        (void)run(e, w, 1);
    REQUIRE(e->playing != e->leader);
    return epochs;
}

UNIT_TEST(thresholds_are_geometric_from_512_KiB_to_32_MiB)
{
    REQUIRE(elo_threshold[0] == 512 * KIB && elo_threshold[ELO_N - 1] == 32 * MIB);
    for (unsigned i = 0; i + 1 < ELO_N; i++) {
        double ratio = (double)elo_threshold[i + 1] / elo_threshold[i];
        REQUIRE(ratio > 1.459479 * 0.97 &&
                ratio < 1.459479 * 1.03); /* 64^(1/11), in whole units */
        REQUIRE(elo_threshold[i] % (64 * KIB) == 0);
        REQUIRE(elo_bucket(elo_threshold[i]) == i + 1 && elo_bucket(elo_threshold[i] - 1) == i);
    }
    REQUIRE(elo_bucket(0) == 0 && elo_bucket(SIZE_MAX) == ELO_N);
}

UNIT_TEST(expected_scores_are_elos)
{
    REQUIRE(near(elo_expected(0), 0.5));
    REQUIRE(near(elo_expected(400), 10.0 / 11) && near(elo_expected(-400), 1.0 / 11));
    REQUIRE(near(elo_expected(800), 100.0 / 101));
    for (int d = -3000; d <= 3000; d += 7) {
        REQUIRE(near(elo_expected(d) + elo_expected(-d), 1));
        REQUIRE(elo_expected(d) < elo_expected(d + 7));
    }
}

UNIT_TEST(scores_are_those_of_costs)
{
    REQUIRE(near(elo_score(5, 5), 0.5) && near(elo_score(1, 2), 16.0 / 17));
    REQUIRE(near(elo_score(1, 2) + elo_score(2, 1), 1));
    struct elo_epoch p = {.work = {10, 1000, 2}, .idle = 4};
    REQUIRE(near(elo_cost(&p, &weights), (1000 + 1400 + 1000) / 10.0));
    REQUIRE(elo_k(0, 100) > elo_k(100, 100));
}

/* Whatever costs there are: E1 to E3 hold (run). */
UNIT_TEST(points_are_conserved_and_bounds_hold_under_wild_costs)
{
    for (uint64_t seed = 1; seed < 60; seed++) {
        struct world w = {.noise = 0.99, .span_ns = PLENTY, .random = seed};
        struct elo e;
        elo_init(&e, (unsigned)(seed % ELO_N), (double)(seed % 50 + 1) / 100, weights);
        for (unsigned round = 0; round < 40; round++) {
            for (unsigned i = 0; i < ELO_N; i++)
                w.cost[i] = 1 + uniform(&w) * (round % 2 ? 1e9 : 10);
            w.one_bucket = uniform(&w) < 0.5;
            (void)run(&e, &w, 50);
        }
    }
}

UNIT_TEST(the_best_leads_in_spite_of_noise_wherever_it_is_and_play_begins)
{
    unsigned wrong = 0, all = 0;
    for (unsigned best = 0; best < ELO_N; best++) {
        for (uint64_t seed = 1; seed <= 8; seed++, all++) {
            struct world w = world_with(best, 0.2, seed);
            struct elo e;
            elo_init(&e, (unsigned)(seed * 5 % ELO_N), 0.2, weights);
            (void)run(&e, &w, 2000);
            wrong +=
                w.cost[e.leader] > 1.2 * 1000 + 1; /* the best or a neighbour: within 20 % */
            REQUIRE(w.cost[e.leader] <= 1.45 * 1000);
        }
    }
    REQUIRE(wrong * 20 <= all);
}

UNIT_TEST(without_noise_the_best_leads_and_is_frozen)
{
    for (unsigned best = 0; best < ELO_N; best++) {
        struct world w = world_with(best, 0, 1);
        struct elo e;
        elo_init(&e, ELO_N - 1, 0.2, weights);
        (void)run(&e, &w, 3000);
        REQUIRE(e.leader == best);
        REQUIRE(e.frozen && e.playing == best);
        uint32_t explored = e.explored;
        (void)run(&e, &w, 100);
        REQUIRE(e.explored == explored); /* frozen: nobody is tried any more */
    }
}

UNIT_TEST(it_recovers_after_the_optimum_has_moved)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w = world_with(2, 0.1, seed);
        struct elo e;
        elo_init(&e, ELO_N - 1, 0.2, weights);
        (void)run(&e, &w, 3000);
        REQUIRE(w.cost[e.leader] <= 1.21 * 1000);
        w = world_with(9, 0.1, seed); /* what led costs more than twice as much: drift */
        (void)run(&e, &w, 4000);
        REQUIRE(w.cost[e.leader] <= 1.45 * 1000);
    }
}

/* Frozen on one mix of sizes; with another all may play again. */
UNIT_TEST(another_mix_of_sizes_opens_what_was_frozen)
{
    struct world w = world_with(11, 0, 3);
    struct elo e;
    elo_init(&e, ELO_N - 1, 0.2, weights);
    (void)run(&e, &w, 3000);
    REQUIRE(e.frozen);
    w.one_bucket = true;
    bool opened = false;
    for (unsigned i = 0; i < 100; i++) {
        struct elo_epoch p = played(&w, e.playing);
        opened |= elo_step(&e, &p) == ELO_OPENED;
        holds(&e, 0.2);
    }
    REQUIRE(opened);
}

UNIT_TEST(the_leader_does_not_change_for_ever_among_equals)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w = {.noise = 0.1, .span_ns = PLENTY, .random = seed};
        struct elo e;
        for (unsigned i = 0; i < ELO_N; i++)
            w.cost[i] = 1000;
        elo_init(&e, ELO_N - 1, 0.2, weights);
        (void)run(&e, &w, 1000);
        REQUIRE(run(&e, &w, 4000) <= 40); /* of 800 matches at most */
    }
}

/* Requests of one bucket only: those below it are one strategy, those above it another. */
UNIT_TEST(strategies_that_do_not_differ_are_not_played_against_each_other)
{
    struct world w = world_with(11, 0, 5);
    w.one_bucket = true;
    for (unsigned i = 0; i < ELO_N; i++)
        w.cost[i] = i >= 6 ? 1000 : 1500;
    struct elo e;
    elo_init(&e, 11, 0.2, weights);
    for (unsigned i = 0; i < 500; i++) {
        struct elo_epoch p = played(&w, e.playing);
        (void)elo_step(&e, &p);
        REQUIRE(e.playing == 11 || e.playing < 6);
    }
    REQUIRE(e.frozen && e.leader == 11);
}

UNIT_TEST(epochs_of_different_loads_are_no_match)
{
    struct elo e;
    elo_init(&e, 11, 0.5, weights);
    for (unsigned i = 0; i < 200; i++) {
        struct elo_epoch p = {.strategy = e.playing, .work = {1000, 1e6, 0}};
        p.bucket[i % ELO_BUCKETS] = 1000;
        (void)elo_step(&e, &p);
    }
    for (unsigned i = 0; i < ELO_N; i++)
        REQUIRE(e.games[i] == 0);
    REQUIRE(e.epoch_ms == ELO_EPOCH_MS_MAX || e.epoch_ms == ELO_EPOCH_MS);
}

UNIT_TEST(a_challenger_that_costs_three_times_as_much_is_ended_early)
{
    struct elo e;
    elo_init(&e, 11, 0.5, weights);
    struct world w = world_with(11, 0, 1);
    (void)run_to_challenger(&e, &w);
    struct elo_epoch p = played(&w, e.playing);
    p.work.ns = 1300 * 2900.0;
    REQUIRE(!elo_hopeless(&e, &p));
    p.work.ns = 1300 * 3100.0;
    REQUIRE(elo_hopeless(&e, &p));
    p.strategy = e.leader;
    REQUIRE(!elo_hopeless(&e, &p));
}

/* Epochs of 10 ms, of which the leader takes 3. All others take half as much again, so that none is
 * hopeless, and noise keeps the game open. */
UNIT_TEST(what_challengers_lose_stays_within_a_share_of_the_time)
{
    struct world w = {.noise = 0.3, .span_ns = 10e6, .random = 7};
    for (unsigned i = 0; i < ELO_N; i++)
        w.cost[i] = i == ELO_N - 1 ? 3e6 / 1300 : 4.5e6 / 1300;
    struct elo e;
    double lost = 0, time = 0;
    elo_init(&e, ELO_N - 1, 0.5, weights);
    for (unsigned i = 0; i < 20000; i++) {
        struct elo_epoch p = played(&w, e.playing);
        if (i % 10 == 9)
            e.frozen = false; /* for good measure */
        lost += e.playing != ELO_N - 1 ? 1.5e6 : 0;
        time += p.span_ns;
        (void)elo_step(&e, &p);
        holds(&e, 0.5);
        REQUIRE(e.leader == ELO_N - 1);
        REQUIRE(lost <= 0.01 * time + 2 * 20e6);
    }
    REQUIRE(e.explored > 100); /* it is a bound, not a stop */
}

UNIT_TEST(what_a_change_of_strategy_takes_counts_as_lost)
{
    struct world w = world_with(ELO_N - 1, 0, 1);
    w.span_ns = 10e6;
    for (unsigned i = 0; i < ELO_N; i++)
        w.cost[i] = 1000;
    struct elo e;
    uint32_t explored[2];
    for (unsigned settles = 0; settles < 2; settles++) {
        elo_init(&e, ELO_N - 1, 0.5, weights);
        for (unsigned i = 0, before = ELO_N - 1; i < 300; i++) {
            struct elo_epoch p = played(&w, e.playing);
            p.settling.ns = settles && e.playing != before ? 1e6 : 0;
            before = e.playing;
            (void)elo_step(&e, &p);
        }
        explored[settles] = e.explored;
    }
    REQUIRE(explored[0] > 50);
    REQUIRE(explored[1] < 20); /* each costs 2 ms, of 3 s */
}

UNIT_TEST(who_gains_is_not_held_back)
{
    struct world w = world_with(0, 0, 1); /* 7.4 times as cheap as the last, which leads */
    w.span_ns = 10e6;
    struct elo e;
    elo_init(&e, ELO_N - 1, 0.5, weights);
    unsigned epochs = 0;
    for (; e.leader != 0 && epochs < 1000; epochs++)
        (void)run(&e, &w, 1);
    REQUIRE(epochs <= 150); /* the first 1.3 s it cannot afford: blocks of up to 32 MiB */
}

/* Requests of up to 4.8 MiB, a fault a page: 8 of them would take 6.9 ms, 1 % of 0.7 s. */
UNIT_TEST(a_young_process_does_not_try_what_might_cost_much_of_its_life)
{
    struct world w = world_with(ELO_N - 1, 0, 1);
    struct elo e;
    w.span_ns = 10e6;
    w.one_bucket = true;
    elo_init(&e, ELO_N - 1, 0.5, weights);
    unsigned epochs = run_to_challenger(&e, &w);
    double worst = 8.0 * elo_threshold[6] / 4096 * 700;
    REQUIRE(epochs >= worst / 0.01 / 10e6 && epochs < worst / 0.01 / 10e6 + 3);
}

UNIT_TEST(a_challenger_that_loses_much_is_ended_early_even_if_it_is_not_hopeless)
{
    struct elo e;
    elo_init(&e, 11, 0.5, weights);
    struct world w = world_with(11, 0, 1);
    w.span_ns = 10e6;
    (void)run_to_challenger(&e, &w);
    e.credit = 0;
    struct elo_epoch p = {.strategy = e.playing, .work = {2, 19e6, 0}};
    REQUIRE(!elo_hopeless(&e, &p)); /* it has a trial of 20 ms */
    p.work.ns = 21e6;
    REQUIRE(elo_hopeless(&e, &p));
    p.work.ns = 19e6;
    p.settling =
        (struct elo_work){1, 100e6, 0}; /* spent: to end it now would not bring it back */
    REQUIRE(!elo_hopeless(&e, &p));
    p.work.ns = 21e6;
    p.strategy = e.leader;
    REQUIRE(!elo_hopeless(&e, &p));
}

UNIT_TEST(an_epoch_that_is_abandoned_gives_the_lead_back_and_is_no_match)
{
    struct elo e;
    elo_init(&e, 11, 0.5, weights);
    struct world w = world_with(3, 0, 1);
    (void)run_to_challenger(&e, &w);
    elo_abandon(&e);
    REQUIRE(e.playing == 11 && e.leader == 11);
    struct elo_epoch p = played(&w, e.playing);
    REQUIRE(elo_step(&e, &p) == ELO_NOTHING);
    for (unsigned i = 0; i < ELO_N; i++)
        REQUIRE(e.games[i] == 0);
    REQUIRE(run(&e, &w, 2000) > 0); /* and play goes on */
}

UNIT_TEST(nobody_is_tried_before_two_epochs_of_the_leader_were_alike)
{
    struct elo e;
    elo_init(&e, 11, 0.5, weights);
    for (unsigned i = 0; i < 50; i++) {
        struct elo_epoch p = {.strategy = e.playing, .work = {1000, 1e6, 0}, .span_ns = PLENTY};
        p.bucket[i % 2 ? 3 : 9] = 1000;
        (void)elo_step(&e, &p);
        REQUIRE(e.playing == e.leader);
    }
    REQUIRE(e.epoch_ms == ELO_EPOCH_MS_MAX && e.explored == 0);
}

UNIT_TEST(what_a_profile_says_is_brought_back_to_its_sum_and_reach)
{
    for (uint64_t seed = 1; seed < 50; seed++) {
        uint64_t random = seed;
        double rating[ELO_N];
        uint32_t games[ELO_N];
        for (unsigned i = 0; i < ELO_N; i++) {
            rating[i] = 700 + (double)(hak_test_random(&random) % 1601);
            games[i] = 5;
        }
        struct elo e;
        elo_init(&e, 11, 0.2, weights);
        elo_resume(&e, rating, games);
        holds(&e, 1);
        for (unsigned i = 0; i < ELO_N; i++)
            REQUIRE(e.rating[i] <= e.rating[e.leader]);
        REQUIRE(e.playing == e.leader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_are_geometric_from_512_KiB_to_32_MiB),
        cmocka_unit_test(expected_scores_are_elos),
        cmocka_unit_test(scores_are_those_of_costs),
        cmocka_unit_test(points_are_conserved_and_bounds_hold_under_wild_costs),
        cmocka_unit_test(the_best_leads_in_spite_of_noise_wherever_it_is_and_play_begins),
        cmocka_unit_test(without_noise_the_best_leads_and_is_frozen),
        cmocka_unit_test(it_recovers_after_the_optimum_has_moved),
        cmocka_unit_test(another_mix_of_sizes_opens_what_was_frozen),
        cmocka_unit_test(the_leader_does_not_change_for_ever_among_equals),
        cmocka_unit_test(strategies_that_do_not_differ_are_not_played_against_each_other),
        cmocka_unit_test(epochs_of_different_loads_are_no_match),
        cmocka_unit_test(a_challenger_that_costs_three_times_as_much_is_ended_early),
        cmocka_unit_test(what_challengers_lose_stays_within_a_share_of_the_time),
        cmocka_unit_test(what_a_change_of_strategy_takes_counts_as_lost),
        cmocka_unit_test(who_gains_is_not_held_back),
        cmocka_unit_test(a_young_process_does_not_try_what_might_cost_much_of_its_life),
        cmocka_unit_test(
            a_challenger_that_loses_much_is_ended_early_even_if_it_is_not_hopeless),
        cmocka_unit_test(an_epoch_that_is_abandoned_gives_the_lead_back_and_is_no_match),
        cmocka_unit_test(nobody_is_tried_before_two_epochs_of_the_leader_were_alike),
        cmocka_unit_test(what_a_profile_says_is_brought_back_to_its_sum_and_reach),
    };
    return cmocka_run_group_tests_name("elo", tests, NULL, NULL);
}
