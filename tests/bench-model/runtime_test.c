/* SPDX-License-Identifier: MIT
 *
 * The model's runtime: what it counts of pieces of work whose cost is known.
 */
#include <pthread.h>

#include "counted.h"
#include "model.h"
#include "support/hak_test.h"

enum { ROUNDS = 100, STEP = 10000 /* cycles: more than any round, so that rounds alternate */ };

/* Each test counts under a kind of its own. */
static int kind;
static void (*work)(int thread);

static void rounds(void *thread)
{
    model_work((uint64_t)(intptr_t)thread * STEP / 64);
    for (int i = 0; i < ROUNDS; i++) {
        model_op(kind);
        work((int)(intptr_t)thread);
        model_op_end();
        model_work(STEP);
    }
}

/* Thread i on core i. */
static void run(int threads, void (*what)(int thread))
{
    kind++;
    work = what;
    model_self->measure = true; /* inherited */
    for (intptr_t i = 0; i < threads; i++)
        model_spawn(rounds, (void *)i, (int)i);
    model_run();
    assert_int_equal(model_operations(kind), threads * ROUNDS);
}

static uint64_t counted(enum model_count what)
{
    return model_total(kind, what);
}

static _Alignas(64) _Atomic int64_t shared;

static void add_shared(int thread)
{
    counted_fetch_add(&shared);
}

static void a_shared_counter_costs_one_rmw_and_one_line_an_operation(void **state)
{
    run(2, add_shared);
    assert_int_equal(shared, 2 * ROUNDS);
    assert_int_equal(counted(N_RMW), 2 * ROUNDS);
    assert_int_equal(counted(N_RMW_FAILED), 0);
    assert_int_equal(counted(N_RECORD_MOVES),
                     2 * ROUNDS - 1); /* the first found it unwritten */
    assert_int_equal(counted(N_SHARES), 0);
    assert_int_equal(counted(N_READS) + counted(N_WRITES) + counted(N_LOCKS), 0);
}

static _Alignas(64) struct {
    _Alignas(64) int64_t n;
} apart[64];

static void add_apart(int thread)
{
    counted_add(&apart[thread].n);
}

static void private_counters_move_no_line_at_any_number_of_threads(void **state)
{
    for (int threads = 1; threads <= 64; threads *= 8) {
        run(threads, add_apart);
        assert_int_equal(counted(N_READS), threads * ROUNDS);
        assert_int_equal(counted(N_WRITES), threads * ROUNDS);
        assert_int_equal(counted(N_RECORD_MOVES) + counted(N_SHARES) + counted(N_RMW), 0);
    }
}

static _Alignas(64) int64_t together[8];

static void add_together(int thread)
{
    counted_add(&together[thread]);
}

static void counters_in_one_line_move_it_though_nothing_is_shared(void **state)
{
    run(2, add_together);
    assert_int_equal(together[0] + together[1], 2 * ROUNDS);
    assert_int_equal(counted(N_RECORD_MOVES), 2 * ROUNDS - 1);
}

static _Alignas(64) int64_t news;

static void tell_or_listen(int thread)
{
    if (thread == 0)
        counted_add(&news);
    else
        (void)counted_read(&news);
}

static void a_write_takes_the_line_from_all_readers_at_once(void **state)
{
    run(8, tell_or_listen);
    assert_int_equal(counted(N_RECORD_MOVES), 7 * ROUNDS);
    assert_int_equal(counted(N_SHARES), ROUNDS - 1); /* before the first there was no reader */
}

static void listen(int thread)
{
    (void)counted_read(&news);
}

static void a_line_that_is_only_read_moves_once_to_each_core(void **state)
{
    run(8, listen);
    assert_int_equal(counted(N_READS), 8 * ROUNDS);
    assert_int_equal(counted(N_RECORD_MOVES) + counted(N_SHARES), 0); /* all have it already */
}

static _Alignas(64) char across[128];

static void write_across(int thread)
{
    static const struct pair from = {1, 2};
    counted_write((struct pair *)(void *)(across + 56), &from);
}

static void an_access_across_two_lines_moves_both(void **state)
{
    run(2, write_across);
    assert_int_equal(counted(N_RECORD_MOVES), 2 * (2 * ROUNDS - 1));
}

static void look_at_the_stack(int thread)
{
    (void)counted_on_the_stack(thread);
}

static void what_a_thread_does_on_its_stack_is_not_counted(void **state) /* M2 */
{
    run(2, look_at_the_stack);
    assert_int_equal(counted(N_READS) + counted(N_WRITES) + counted(N_RECORD_MOVES), 0);
}

static void order(int thread)
{
    static _Alignas(64) _Atomic int64_t n;
    counted_acquire_release(&n);
}

static void orders_are_told_apart(void **state)
{
    run(1, order);
    assert_int_equal(counted(N_ATOMIC_READS), ROUNDS);
    assert_int_equal(counted(N_ACQUIRES), ROUNDS);
    assert_int_equal(counted(N_ATOMIC_WRITES), ROUNDS);
    assert_int_equal(counted(N_RELEASES), ROUNDS);
    assert_int_equal(counted(N_FENCES), ROUNDS);
    assert_int_equal(counted(N_RMW), 0);
}

static struct {
    _Alignas(64) struct os_lock lock;
    _Alignas(64) int64_t n;
} guarded;

static void nothing(void)
{
}

static void add_guarded(int thread)
{
    counted_locked_add(&guarded.lock, &guarded.n, nothing);
}

static void a_free_lock_is_two_rmw_and_no_wait(void **state)
{
    guarded.n = 0;
    run(2, add_guarded);
    assert_int_equal(guarded.n, 2 * ROUNDS);
    assert_int_equal(counted(N_LOCKS), 2 * ROUNDS);
    assert_int_equal(counted(N_RMW), 4 * ROUNDS);
    assert_int_equal(counted(N_WAITS) + counted(N_SYSTEM_CALLS), 0);
    assert_int_equal(counted(N_RECORD_MOVES),
                     2 * (2 * ROUNDS - 1)); /* lock, and what it guards */
}

static void dawdle(void)
{
    model_work(20 * STEP);
}

static void add_guarded_slowly(int thread)
{
    counted_locked_add(&guarded.lock, &guarded.n, dawdle);
}

static void a_lock_held_for_long_is_waited_for_and_still_excludes(void **state)
{
    guarded.n = 0;
    run(4, add_guarded_slowly);
    assert_int_equal(guarded.n, 4 * ROUNDS);
    assert_int_equal(counted(N_LOCKS), 4 * ROUNDS);
    assert_true(counted(N_WAITS) > ROUNDS);
    assert_true(counted(N_CYCLES) > UINT64_C(4) * ROUNDS * 20 * STEP); /* waiting takes time */
}

static void ping_pong(int thread)
{
    static _Alignas(64) _Atomic int64_t ball;
    counted_swap(&ball, thread, 1 - thread);
}

static void
a_failed_compare_and_swap_is_counted_and_others_get_their_turn(void **state) /* M3 */
{
    run(2, ping_pong); /* would never end if the one that waits kept the turn */
    assert_int_equal(counted(N_RMW) - counted(N_RMW_FAILED), 2 * ROUNDS);
    assert_int_equal(counted(N_LOCKS), 0); /* eight bytes are no lock */
}

static _Atomic int64_t left; /* by hooks of threads' ends */
static pthread_key_t hook;

static void at_the_end(void *n)
{
    counted_fetch_add(n);
}

static void end_with_hook(void *unused)
{
    pthread_setspecific(hook, &left);
    model_op(kind);
}

static void hooks_of_a_threads_end_belong_to_its_last_operation(void **state)
{
    kind++;
    for (int i = 0; i < 10; i++)
        model_spawn(end_with_hook, NULL, i);
    model_run();
    assert_int_equal(left, 10);
    assert_int_equal(model_operations(kind), 10);
    assert_int_equal(counted(N_RMW), 10);
    assert_int_equal(counted(N_RECORD_MOVES), 9);
}

static void touch_after_each_other(int thread)
{
    static _Alignas(64) char block[64];
    model_touch(block, true);
}

static void what_the_program_moves_is_not_the_allocators(void **state)
{
    run(2, touch_after_each_other);
    assert_int_equal(counted(N_PROGRAM_MOVES), 2 * ROUNDS - 1);
    assert_int_equal(counted(N_RECORD_MOVES) + counted(N_WRITES), 0);
}

int main(void)
{
    /* Before the machine makes its own: hooks run in the order of their keys. */
    if (pthread_key_create(&hook, at_the_end) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shared_counter_costs_one_rmw_and_one_line_an_operation),
        cmocka_unit_test(private_counters_move_no_line_at_any_number_of_threads),
        cmocka_unit_test(counters_in_one_line_move_it_though_nothing_is_shared),
        cmocka_unit_test(a_write_takes_the_line_from_all_readers_at_once),
        cmocka_unit_test(a_line_that_is_only_read_moves_once_to_each_core),
        cmocka_unit_test(an_access_across_two_lines_moves_both),
        cmocka_unit_test(what_a_thread_does_on_its_stack_is_not_counted),
        cmocka_unit_test(orders_are_told_apart),
        cmocka_unit_test(a_free_lock_is_two_rmw_and_no_wait),
        cmocka_unit_test(a_lock_held_for_long_is_waited_for_and_still_excludes),
        cmocka_unit_test(a_failed_compare_and_swap_is_counted_and_others_get_their_turn),
        cmocka_unit_test(hooks_of_a_threads_end_belong_to_its_last_operation),
        cmocka_unit_test(what_the_program_moves_is_not_the_allocators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
