/* SPDX-License-Identifier: MIT
 *
 * policy: ACE's arithmetic, on made-up loads: no clock, no thread.
 */
#include "policy/ace.h"

#include <stdio.h>

#include "unit.h"

static const double PRICE = 250e3 / (1 << 20), LOOK = 0.25;
static const struct ace_base base = {64, 512, 256};

/* A load that swings by so many blocks so often a second: lists that hold it miss nothing; of shorter
 * ones every swing costs (swing / cap) refills and flushes. */
static struct ace_seen seen_of(uint32_t cap, double swing, double rate, uint64_t *random,
                               double noise)
{
    double u = (double)(hak_test_random(random) >> 11) / (double)((uint64_t)1 << 53);
    double n = 2.0 * cap >= swing ? 0 : swing / cap * rate * LOOK;
    n *= 1 - noise + 2 * noise * u;
    return (struct ace_seen){(uint32_t)n, (uint32_t)n, 0, 400};
}

static void holds(const struct ace_class *k, const struct ace_base *b)
{
    REQUIRE(k->cap == 0 ||
            (k->cap >= HAK_MIN((uint32_t)ACE_CAP_MIN, b->cap) && k->cap <= ACE_CAP_MAX));
    REQUIRE(k->refill <= ACE_CAP_MAX && k->remote <= ACE_REMOTE_MAX && k->wait <= ACE_WAIT_MAX);
}

static unsigned run(struct ace_class *k, double swing, double rate, double noise,
                    unsigned looks, uint64_t *random)
{
    unsigned moves = 0;
    for (unsigned i = 0; i < looks; i++) {
        uint32_t cap = k->cap != 0 ? k->cap : base.cap;
        struct ace_seen seen = seen_of(cap, swing, rate, random, noise);
        moves += ace_look(k, &base, &seen, LOOK, PRICE) != ACE_STAYS;
        holds(k, &base);
        if (i % 64 == 63)
            (void)ace_slow(k);
    }
    return moves;
}

UNIT_TEST(a_load_that_swings_gets_lists_that_hold_it)
{
    uint64_t random = 1;
    struct ace_class k = {0};
    (void)run(&k, 6000, 1000, 0.2, 60, &random);
    REQUIRE(2 * k.cap >= 6000);
}

UNIT_TEST(what_is_hardly_used_keeps_short_lists)
{
    uint64_t random = 2;
    struct ace_class k = {0};
    (void)run(&k, 1e6, 0.0001, 0.2, 400, &random);
    REQUIRE(k.cap == 0 || k.cap <= base.cap);
}

UNIT_TEST(what_is_idle_goes_back_to_the_built_in_rule)
{
    uint64_t random = 3;
    struct ace_class k = {0};
    (void)run(&k, 6000, 1000, 0, 60, &random);
    REQUIRE(k.cap > base.cap);
    for (unsigned i = 0; i < 200; i++) {
        struct ace_seen none = {0, 0, 0, 400};
        (void)ace_look(&k, &base, &none, LOOK, PRICE);
        if (i % 64 == 63)
            (void)ace_slow(&k);
    }
    REQUIRE(k.cap == 0 && k.refill == 0 && k.remote == 0);
}

UNIT_TEST(it_recovers_when_the_optimum_moves)
{
    uint64_t random = 4;
    struct ace_class k = {0};
    (void)run(&k, 600, 1000, 0.1, 200, &random);
    uint32_t small = k.cap != 0 ? k.cap : base.cap;
    (void)run(&k, 8000, 1000, 0.1, 60, &random);
    REQUIRE(k.cap > small && 2 * k.cap >= 8000);
    (void)run(&k, 8000, 0.001, 0.1, 1000, &random);
    REQUIRE(k.cap < 4000);
}

/* Constant loads of every strength, noisy: after a while hardly anything moves. Without the waits of A3 those
 * where growing pays only just, and shrinking too, would go up and down for ever. */
UNIT_TEST(a_constant_load_does_not_make_it_oscillate)
{
    uint64_t random = 5;
    for (double swing = 100; swing < 20000; swing *= 1.3) {
        for (double rate = 0.01; rate < 10000; rate *= 3) {
            struct ace_class k = {0};
            (void)run(&k, swing, rate, 0.5, 200, &random);
            unsigned moves = run(&k, swing, rate, 0.5, 400, &random); /* 100 s */
            if (moves > 20) {
                fprintf(stderr, "swing %f rate %f: %u moves\n", swing, rate, moves);
                REQUIRE(moves <= 20);
            }
        }
    }
}

/* The worst there is: what is wanted turns round at every look. */
UNIT_TEST(who_turns_round_waits_longer)
{
    struct ace_class k = {0};
    unsigned early = 0, late = 0;
    for (unsigned i = 0; i < 2000; i++) {
        struct ace_seen seen = {i / 12 % 2 ? 100000 : 0, 1, 0, 400};
        bool moved = ace_look(&k, &base, &seen, LOOK, PRICE) != ACE_STAYS;
        early += moved && i < 200;
        late += moved && i >= 1800;
        holds(&k, &base);
    }
    REQUIRE(early > 0 && late <= early / 2);
}

UNIT_TEST(remote_lists_follow_what_is_sent)
{
    struct ace_class k = {0};
    struct ace_seen seen = {0, 0, 100000, 400};
    for (unsigned i = 0; i < 10; i++)
        (void)ace_look(&k, &base, &seen, LOOK, PRICE);
    REQUIRE(k.remote == 4 * base.remote);
    seen.sent = 0;
    for (unsigned i = 0; i < 10; i++)
        (void)ace_look(&k, &base, &seen, LOOK, PRICE);
    REQUIRE(k.remote == 0);
}

UNIT_TEST(refills_are_long_where_nothing_comes_back)
{
    struct ace_class k = {.cap = 1024};
    struct ace_seen takes = {1000, 0, 0, 400}, gives = {10, 1000, 0, 400},
                    both = {1000, 1000, 0, 400};
    (void)ace_look(&k, &base, &takes, LOOK, 20);
    REQUIRE(k.refill == 1024);
    (void)ace_look(&k, &base, &both, LOOK, 20);
    REQUIRE(k.refill == 512);
    (void)ace_look(&k, &base, &gives, LOOK, 20);
    REQUIRE(k.refill == 256);
}

/* A2 */
UNIT_TEST(one_thread_keeps_to_its_budget)
{
    enum { N = 60 };
    uint64_t random = 6;
    for (unsigned round = 0; round < 200; round++) {
        struct ace_class k[N];
        struct ace_base b[N];
        uint64_t least = 0, budget = 64 * KIB + hak_test_random(&random) % (16 * MIB);
        for (unsigned i = 0; i < N; i++) {
            b[i] = (struct ace_base){16 * (i + 1), 32 * 1024 / (16 * (i + 1)), 16};
            k[i] = (struct ace_class){.cap = (uint16_t)(2 + hak_test_random(&random) % 4095),
                                      .remote = (uint16_t)(hak_test_random(&random) % 64)};
            least += (2 * (uint64_t)b[i].cap + 16) * b[i].size;
        }
        uint64_t sum = ace_fit(k, b, N, budget), again = 0;
        for (unsigned i = 0; i < N; i++) {
            holds(&k[i], &b[i]);
            again += ace_bytes(&k[i], &b[i]);
        }
        REQUIRE(sum == again && (sum <= budget || sum <= least));
    }
}

/* A budget that is too small for what would pay: up, cut, up, cut would be oscillation too. */
UNIT_TEST(what_the_budget_cuts_does_not_come_back_at_every_look)
{
    struct ace_class k = {0};
    unsigned moves = 0;
    for (unsigned i = 0; i < 1000; i++) {
        struct ace_seen seen = {100000, 100000, 0, 400};
        bool moved = ace_look(&k, &base, &seen, LOOK, PRICE) != ACE_STAYS;
        (void)ace_fit(&k, &base, 1, 100 * KIB);
        REQUIRE(ace_bytes(&k, &base) <= 100 * KIB);
        moves += moved && i >= 500;
        if (i % 64 == 63)
            (void)ace_slow(&k);
    }
    REQUIRE(moves <= 40);
}

UNIT_TEST(bytes_are_dearer_beyond_the_budget_and_never_cheaper_than_usual)
{
    double p = 1;
    for (unsigned i = 0; i < 100; i++) {
        p = ace_price(p, 1, 200, 100);
        REQUIRE(p >= 1 && p <= 1024);
    }
    REQUIRE(p == 1024);
    REQUIRE(ace_price(p, 1, 70, 100) == p); /* a dead band */
    for (unsigned i = 0; i < 100; i++)
        p = ace_price(p, 1, 10, 100);
    REQUIRE(p == 1);
}

UNIT_TEST(classes_without_a_cache_stay_so)
{
    struct ace_class k = {0};
    struct ace_base none = {1024, 0, 0};
    struct ace_seen seen = {1000000, 1000000, 1000000, 1000};
    for (unsigned i = 0; i < 20; i++)
        REQUIRE(ace_look(&k, &none, &seen, LOOK, PRICE) == ACE_STAYS);
    REQUIRE(k.cap == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_that_swings_gets_lists_that_hold_it),
        cmocka_unit_test(what_is_hardly_used_keeps_short_lists),
        cmocka_unit_test(what_is_idle_goes_back_to_the_built_in_rule),
        cmocka_unit_test(it_recovers_when_the_optimum_moves),
        cmocka_unit_test(a_constant_load_does_not_make_it_oscillate),
        cmocka_unit_test(who_turns_round_waits_longer),
        cmocka_unit_test(remote_lists_follow_what_is_sent),
        cmocka_unit_test(refills_are_long_where_nothing_comes_back),
        cmocka_unit_test(what_the_budget_cuts_does_not_come_back_at_every_look),
        cmocka_unit_test(one_thread_keeps_to_its_budget),
        cmocka_unit_test(bytes_are_dearer_beyond_the_budget_and_never_cheaper_than_usual),
        cmocka_unit_test(classes_without_a_cache_stay_so),
    };
    return cmocka_run_group_tests_name("ace", tests, NULL, NULL);
}
