/* SPDX-License-Identifier: MIT
 *
 * Out of memory, everywhere: a scripted load over all tiers is repeated with the first, the
 * second, the third ... system call refused, until none was. Each time a request either succeeds
 * or is NULL with ENOMEM, what was allocated before keeps its contents, and once the system
 * gives again everything works.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "hakmem.h"
#include "large/large.h"
#include "support/shadow.h"
#include "tiny/tiny.h"
#include "unit.h"

enum { HELD = 64 };

static struct shadow shadow;
static struct shadow_block held[HELD];
static unsigned nheld;
static unsigned refused; /* requests that got NULL */
static bool must_succeed;

static void check_refusal(const void *p)
{
    if (p != NULL)
        return;
    REQUIRE(errno == ENOMEM);
    REQUIRE(!must_succeed);
    refused++;
}

static void keep(void *p, size_t n)
{
    check_refusal(p);
    if (p == NULL)
        return;
    struct shadow_block b = {p, n, hak_usable_size(p), n * 31 + nheld};
    REQUIRE(nheld < HELD && b.usable >= n && ((uintptr_t)p & 15) == 0);
    shadow_enter(&shadow, p, b.usable);
    shadow_block_fill(&b);
    held[nheld++] = b;
}

static void resize(unsigned i, size_t n)
{
    struct shadow_block old = held[i], *b = &held[i];
    errno = 0;
    shadow_leave(&shadow, old.p);
    void *q = hak_realloc(old.p, n);
    check_refusal(q);
    if (q == NULL) { /* the old block is as it was */
        shadow_enter(&shadow, old.p, old.usable);
        shadow_block_require(&old, old.p, old.usable);
        REQUIRE(hak_usable_size(old.p) == old.usable);
        return;
    }
    shadow_block_require(&old, q, HAK_MIN(old.usable, n));
    *b = (struct shadow_block){q, n, hak_usable_size(q), old.seed + 1};
    shadow_enter(&shadow, q, b->usable);
    shadow_block_fill(b);
}

static void drop(unsigned i)
{
    struct shadow_block b = held[i];
    held[i] = held[--nheld];
    shadow_block_require(&b, b.p, b.usable);
    shadow_leave(&shadow, b.p);
    errno = 77;
    hak_free(b.p);
    REQUIRE(errno == 77);
}

static void *thread_load(void *unused)
{
    errno = 0;
    keep(hak_malloc(200), 200);
    errno = 0;
    keep(hak_malloc(30000), 30000);
    if (nheld > 0)
        drop(0); /* another thread's block, perhaps by a thread that could get no cache */
    if (nheld > 0)
        drop(nheld - 1);
    return NULL;
}

/* A bit of everything. Frees all it allocated. */
static void load(void)
{
    /* Under HAKMEM_LARGE_THRESHOLD=2M (meson.build): mappings of their own need not be huge. */
    static const size_t sizes[] = {1,         100, 1024,    5000,    8192, 20000,   100 * KIB,
                                   500 * KIB, MIB, MIB + 1, 3 * MIB, 64,   24 * KIB};
    enum { N = sizeof(sizes) / sizeof(sizes[0]) };
    pthread_t t;
    for (unsigned i = 0; i < N; i++) {
        errno = 0;
        keep(i % 2 == 0 ? hak_malloc(sizes[i]) : hak_calloc(1, sizes[i]), sizes[i]);
    }
    for (unsigned i = 0; i < 6; i++) {
        size_t align = (size_t)64 << (4 * i);
        void *p = NULL;
        errno = 0;
        keep(hak_aligned_alloc(align, 1000 * (i + 1)), 1000 * (i + 1));
        int error = hak_posix_memalign(&p, align, 3000);
        REQUIRE(error == 0 || (error == ENOMEM && p == NULL));
        errno = error;
        keep(p, 3000);
    }
    if (pthread_create(&t, NULL, thread_load, NULL) == 0)
        REQUIRE(pthread_join(t, NULL) == 0);
    for (unsigned i = 0; i < nheld; i++)
        resize(i, held[i].usable * 3 / 2);
    for (unsigned i = 0; i < nheld; i += 2)
        resize(i, held[i].usable / 3 + 1);
    (void)hak_purge();
    for (unsigned i = 0; i < 3; i++) { /* a superslab and more of one class */
        errno = 0;
        keep(hak_malloc(900 * KIB), 900 * KIB);
    }
    while (nheld > 0)
        drop(nheld / 2);
    (void)hak_purge();
}

/* Shared with the children: did the order to fail reach a call? */
static _Atomic uint64_t *reached;

struct order {
    enum fake_os_kind kind;
    uint64_t nth, how_many;
};

static void one_walk(void *arg)
{
    const struct order *o = arg;
    fake_os_reset();
    shadow_init(&shadow, 2 * HELD);
    fake_os_fail(o->kind, o->nth, o->how_many);
    snprintf(hak_test_context, sizeof(hak_test_context), "kind %d call %llu of %llu", o->kind,
             (unsigned long long)o->nth, (unsigned long long)o->how_many);
    must_succeed = false;
    load();
    *reached = fake_os_failed(o->kind);
    fake_os_reset();
    must_succeed = true; /* memory is back */
    load();
    load();
    REQUIRE(shadow_count(&shadow) == 0);
    if (tiny_tls.self->heap != NULL)
        tiny_validate(tiny_tls.self);
    ss_validate();
    struct large_stats s;
    large_stats(&s);
    REQUIRE(s.mappings == 0);
}

/* nth = 1, 2, 3 ... until the load makes fewer calls than that. Returns how many it makes. */
static uint64_t walk(enum fake_os_kind kind, uint64_t how_many)
{
    struct order o = {kind, 0, how_many};
    do {
        o.nth++;
        *reached = 0;
        EXPECT_CHILD_PASS(one_walk, &o);
    } while (*reached > 0 && o.nth < 2000);
    return o.nth - 1;
}

static void each_single_call_may_fail(void **state)
{
    uint64_t n = walk(FAKE_OS_ANY, 1);
    print_message("%llu calls\n", (unsigned long long)n);
    assert_in_range(n, 20, 1999); /* the load does reach the system */
}

static void from_each_call_on_all_may_fail(void **state)
{
    assert_in_range(walk(FAKE_OS_ANY, FAKE_OS_FOREVER), 20, 1999);
}

static void each_kind_of_call_may_fail_from_any_point_on(void **state)
{
    static const enum fake_os_kind kinds[] = {FAKE_OS_RESERVE,     FAKE_OS_RESERVE_READABLE,
                                              FAKE_OS_COMMIT,      FAKE_OS_MAP,
                                              FAKE_OS_REMAP,       FAKE_OS_PURGE,
                                              FAKE_OS_THREAD_EXIT, FAKE_OS_FORK_HOOKS};
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        n += walk(kinds[i], FAKE_OS_FOREVER);
    assert_true(n >= 20);
}

static void pairs_of_calls_may_fail(void **state)
{
    assert_in_range(walk(FAKE_OS_ANY, 2), 20, 1999);
}

static void random_failures_body(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    snprintf(hak_test_context, sizeof(hak_test_context), "seed %llu", (unsigned long long)seed);
    fake_os_reset();
    shadow_init(&shadow, 2 * HELD);
    must_succeed = false;
    for (unsigned i = 0; i < 4; i++) {
        fake_os_fail_at_random(seed + i, 10 + 20 * i);
        load();
    }
    fake_os_reset();
    must_succeed = true;
    load();
    ss_validate();
    REQUIRE(shadow_count(&shadow) == 0);
}

static void any_mixture_of_calls_may_fail(void **state)
{
    for (uintptr_t seed = 1; seed <= 20; seed++)
        EXPECT_CHILD_PASS(random_failures_body, seed);
}

static void under_64_kib_pages_body(void *arg)
{
    fake_os_reset();
    fake_os_set_page_size(64 * KIB);
    shadow_init(&shadow, 2 * HELD);
    must_succeed = true;
    for (unsigned i = 0; i < 20; i++)
        load();
    ss_validate();
}

static void the_load_runs_on_64_kib_pages(void **state)
{
    EXPECT_CHILD_PASS(under_64_kib_pages_body, NULL);
}

static void four_nodes_body(void *arg)
{
    fake_os_reset();
    fake_os_set_nnodes(4);
    shadow_init(&shadow, 2 * HELD);
    must_succeed = true;
    for (unsigned i = 0; i < 20; i++) {
        fake_os_set_node(i % 4);
        load();
    }
    ss_validate();
}

static void the_load_runs_on_four_nodes(void **state)
{
    EXPECT_CHILD_PASS(four_nodes_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_single_call_may_fail),
        cmocka_unit_test(from_each_call_on_all_may_fail),
        cmocka_unit_test(each_kind_of_call_may_fail_from_any_point_on),
        cmocka_unit_test(pairs_of_calls_may_fail),
        cmocka_unit_test(any_mixture_of_calls_may_fail),
        cmocka_unit_test(the_load_runs_on_64_kib_pages),
        cmocka_unit_test(the_load_runs_on_four_nodes),
    };
    reached = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reached == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests_name("out of memory", tests, NULL, NULL);
}
