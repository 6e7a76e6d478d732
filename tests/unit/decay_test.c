/* SPDX-License-Identifier: MIT
 *
 * superslab: the arithmetic of decay. Time is a loop here.
 */
#include "unit.h"

#include <math.h>

static void put(struct ss_ledger *l, size_t n)
{
    ss_ledger_add(l, n);
}

/* The system takes all that is due. Returns it. */
static size_t tick(struct ss_ledger *l)
{
    size_t units = l->units, due = ss_ledger_tick(l, 0);
    REQUIRE(due <= units);
    ss_ledger_sub(l, due);
    return due;
}

static double curve(double x)
{
    return 1 - x * x * x * (x * (6 * x - 15) + 10);
}

UNIT_TEST(what_is_freed_at_once_and_left_follows_the_curve)
{
    unit_params();
    static const size_t amounts[] = {1, 2, 7, 64, 1000, 32768, 1000003};
    for (unsigned i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
        struct ss_ledger l = {0};
        put(&l, amounts[i]);
        REQUIRE(tick(&l) == 0);
        for (unsigned k = 1; k <= SS_DECAY_TICKS; k++) {
            (void)tick(&l);
            double want = (double)amounts[i] * curve((double)k / SS_DECAY_TICKS);
            /* Each tick keeps whole units, and rounds down. */
            REQUIRE((double)l.units <= want + (double)amounts[i] / 1000 + 1);
            REQUIRE((double)l.units >= want - (double)amounts[i] / 1000 - 2 * k);
        }
        REQUIRE(l.units == 0);
    }
}

UNIT_TEST(what_is_taken_and_given_between_ticks_stays)
{
    unit_params();
    struct ss_ledger l = {0};
    put(&l, 1000);
    for (unsigned k = 0; k < 100; k++) {
        ss_ledger_sub(&l, 1000);
        put(&l, 1000);
        REQUIRE(tick(&l) == 0);
    }
    /* And of a load that needs a part of it, the other part goes. */
    for (unsigned k = 0; k <= SS_DECAY_TICKS; k++) {
        ss_ledger_sub(&l, 300);
        put(&l, 300);
        (void)tick(&l);
    }
    REQUIRE(l.units == 300);
}

/* Whatever comes and goes: never more is due than was idle all through the tick, and once nothing
 * comes any more, all of it has gone when the curve ends. */
UNIT_TEST(random_loads_lose_what_is_idle_and_no_more)
{
    unit_params();
    uint64_t random = hak_test_env("HAK_TEST_SEED", 20261125);
    for (unsigned round = 0; round < 300; round++) {
        struct ss_ledger l = {0};
        for (unsigned k = 0; k < 50; k++) {
            size_t low = l.units;
            for (unsigned i = hak_test_random(&random) % 20; i > 0; i--) {
                if (hak_test_random(&random) % 2 == 0) {
                    put(&l, hak_test_random(&random) % 100);
                } else {
                    ss_ledger_sub(&l, hak_test_random(&random) % (l.units + 1));
                    low = HAK_MIN(low, l.units);
                }
            }
            REQUIRE(tick(&l) <= low);
            size_t above = l.low;
            for (unsigned a = 0; a < SS_DECAY_TICKS; a++) {
                REQUIRE(l.idle[a] <= above); /* the longer, the fewer */
                above = l.idle[a];
            }
        }
        for (unsigned k = 0; k <= SS_DECAY_TICKS; k++)
            (void)tick(&l);
        REQUIRE(l.units == 0);
    }
}

/* What the system refuses is free as before, and due again. */
UNIT_TEST(what_is_refused_comes_up_again)
{
    unit_params();
    struct ss_ledger l = {0};
    put(&l, 500);
    size_t due = 0;
    for (unsigned k = 0; k < 4 * SS_DECAY_TICKS; k++)
        due += ss_ledger_tick(&l, 0);
    REQUIRE(due > 500 && l.units == 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_freed_at_once_and_left_follows_the_curve),
        cmocka_unit_test(what_is_taken_and_given_between_ticks_stays),
        cmocka_unit_test(random_loads_lose_what_is_idle_and_no_more),
        cmocka_unit_test(what_is_refused_comes_up_again),
    };
    return cmocka_run_group_tests_name("decay", tests, NULL, NULL);
}
