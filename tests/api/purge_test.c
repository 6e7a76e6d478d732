/* SPDX-License-Identifier: MIT
 *
 * hak_purge and hak_stats: memory really goes back, the numbers move with the heap, and the text
 * is cut as snprintf would.
 */
#include "names.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "support/hak_test.h"

enum { N_BLOCKS = 20000 };
static void *blocks[N_BLOCKS];

/* 64 MiB in blocks of n, all touched. Returns their count. */
static size_t fill_64_mib(size_t n)
{
    size_t count = 64 * MIB / n;
    assert_true(count <= N_BLOCKS);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = t_malloc(n);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, n);
    }
    return count;
}

static void free_all(size_t count)
{
    for (size_t i = 0; i < count; i++)
        t_free(blocks[i]);
}

static void purge_gives_freed_memory_of_every_tier_back(void **state)
{
    static const size_t sizes[] = {4 * KIB, 8 * KIB, 100 * KIB, MIB, 5 * MIB, 32 * MIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        hak_purge();
        size_t before = hak_test_resident_bytes();
        size_t count = fill_64_mib(sizes[i]);
        assert_true(hak_test_resident_bytes() >= before + 60 * MIB);
        free_all(count);
        hak_purge();
        assert_true(hak_test_resident_bytes() <= before + 2 * MIB);
    }
}

static void purge_returns_what_it_gave_back(void **state)
{
    hak_purge();
    size_t count = fill_64_mib(8 * KIB);
    size_t before = hak_test_resident_bytes();
    free_all(count);
    size_t kept = hak_test_resident_bytes();
    assert_true(kept <= before);
    size_t returned = hak_purge();
    size_t fell = kept - hak_test_resident_bytes();
    assert_true(returned + 256 * KIB >= fell);
    assert_true(returned <= fell + 4 * MIB); /* units may hold pages that were never touched */
    assert_true(hak_purge() <= 64 * KIB);    /* nothing was left */
}

/* Blocks spread so that no slab is empty: nothing to give, and nothing may be damaged. */
static void purge_leaves_live_blocks_alone(void **state)
{
    size_t count = fill_64_mib(16 * KIB);
    for (size_t i = 0; i < count; i += 3)
        t_free(blocks[i]);
    hak_purge();
    for (size_t i = 0; i < count; i++) {
        if (i % 3 == 0)
            continue;
        const unsigned char *p = blocks[i];
        for (size_t k = 0; k < 16 * KIB; k += 512)
            assert_int_equal(p[k], 1);
        t_free(blocks[i]);
    }
}

/* Threads that worked and sleep: a purge takes what they keep, and they go on with what it left. */
enum { SLEEPERS = 20 };
static pthread_barrier_t born, worked, wake;

static void work(void)
{
    void *p[200];
    for (size_t n = 16; n <= 128 * KIB; n += n / 4) {
        for (unsigned i = 0; i < 200 && i * n < MIB; i++)
            memset(p[i] = t_malloc(n), 1, n);
        for (unsigned i = 0; i < 200 && i * n < MIB; i++)
            t_free(p[i]);
    }
}

static void *sleeper(void *arg)
{
    pthread_barrier_wait(&born);
    pthread_barrier_wait(&born);
    work();
    pthread_barrier_wait(&worked);
    pthread_barrier_wait(&wake);
    work();
    return NULL;
}

static void purge_empties_the_caches_of_threads_that_sleep(void **state)
{
    pthread_t t[SLEEPERS];
    assert_int_equal(pthread_barrier_init(&born, NULL, SLEEPERS + 1), 0);
    assert_int_equal(pthread_barrier_init(&worked, NULL, SLEEPERS + 1), 0);
    assert_int_equal(pthread_barrier_init(&wake, NULL, SLEEPERS + 1), 0);
    for (unsigned i = 0; i < SLEEPERS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, sleeper, NULL), 0);
    pthread_barrier_wait(&born);
    hak_purge();
    size_t before = hak_test_resident_bytes(); /* with their stacks, and what sanitizers add */
    pthread_barrier_wait(&born);
    pthread_barrier_wait(&worked);
    assert_true(hak_purge() > 0);
    assert_true(hak_test_resident_bytes() <= before + SLEEPERS * 64 * KIB);
    pthread_barrier_wait(&wake);
    for (unsigned i = 0; i < SLEEPERS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
}

static void freed_memory_goes_back_unasked_under_a_steady_load(void **state)
{
    size_t before = hak_test_resident_bytes(), peak = 0;
    for (unsigned round = 0; round < 20; round++) {
        size_t count = fill_64_mib(round % 2 == 0 ? 8 * KIB : 3 * MIB);
        size_t now = hak_test_resident_bytes();
        peak = now > peak ? now : peak;
        free_all(count);
    }
    assert_true(peak <= before + 160 * MIB); /* 64 in use, and the other size's not all kept */
}

/* ---- Statistics. ---- */

static char text[256 * 1024], again[256 * 1024];

static void stats_are_as_long_as_they_say(void **state)
{
    for (int f = HAK_STATS_TEXT; f <= HAK_STATS_JSON; f++) {
        size_t n = hak_stats(NULL, 0, f);
        assert_in_range(n, 20, sizeof(text) - 1);
        memset(text, '#', sizeof(text));
        size_t got = hak_stats(text, sizeof(text), f);
        assert_int_equal(strlen(text), got);
        assert_true(text[got + 1] == '#');
    }
}

static void stats_are_cut_as_snprintf_cuts(void **state)
{
    for (int f = HAK_STATS_TEXT; f <= HAK_STATS_JSON; f++) {
        static const size_t sizes[] = {1, 2, 3, 17, 18, 19, 100, 333};
        hak_stats(text, sizeof(text), f);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            memset(again, '#', sizes[i] + 1);
            size_t whole = hak_stats(again, sizes[i], f);
            assert_true(whole >= sizes[i]);
            assert_int_equal(strlen(again), sizes[i] - 1);
            assert_int_equal(again[sizes[i]], '#');              /* not a byte beyond */
            size_t same = sizes[i] - 1 < 16 ? sizes[i] - 1 : 16; /* before any number */
            assert_memory_equal(again, text, same);
        }
    }
}

static void json_stats_are_valid_json(void **state)
{
    char path[] = "/tmp/hak_stats_XXXXXX";
    void *live[3] = {t_malloc(100), t_malloc(100 * KIB), t_malloc(40 * MIB)};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    assert_non_null(f);
    size_t n = hak_stats(text, sizeof(text), HAK_STATS_JSON);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
    struct hak_run r;
    char script[] = "import json,sys; d=json.load(open(sys.argv[1])); assert type(d) is dict";
    char *argv[] = {"/usr/bin/env", "python3", "-c", script, path, NULL};
    char *envp[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    hak_run(&r, argv, envp);
    if (r.status != 0)
        print_error("%s\n%s\n", r.err, text);
    assert_int_equal(r.status, 0);
    remove(path);
    for (int i = 0; i < 3; i++)
        t_free(live[i]);
}

static void text_stats_end_in_a_newline_and_hold_no_control_characters(void **state)
{
    size_t n = hak_stats(text, sizeof(text), HAK_STATS_TEXT);
    assert_int_equal(text[n - 1], '\n');
    for (size_t i = 0; i < n; i++)
        assert_true(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
}

/* A number of the JSON form. */
static uint64_t number(const char *key)
{
    char quoted[64];
    hak_stats(text, sizeof(text), HAK_STATS_JSON);
    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    const char *at = strstr(text, quoted);
    if (at == NULL)
        fail_msg("no %s in %s", quoted, text);
    return strtoull(at + strlen(quoted), NULL, 10);
}

static void stats_follow_what_is_allocated(void **state)
{
    hak_purge(); /* no blocks in this thread's cache */
    uint64_t used = number("used"), mapped = number("mapped_bytes"), runs = number("run_bytes");
    uint64_t out = number("blocks"), maps = number("maps_made");
    void *tiny = t_malloc(100), *run = t_malloc(3 * MIB), *mapping = t_malloc(40 * MIB);
    size_t count = fill_64_mib(100 * KIB);
    assert_int_equal(number("mapped_bytes"), mapped + 40 * MIB);
    assert_int_equal(number("run_bytes"), runs + 3 * MIB);
    assert_int_equal(number("maps_made"), maps + 1);
    assert_true(number("blocks") >= out + count);
    assert_true(number("used") >= used + 107 * MIB && number("used") <= used + 130 * MIB);
    assert_true(number("held") >= number("used"));
    t_free(tiny);
    t_free(run);
    t_free(mapping);
    free_all(count);
    assert_int_equal(number("mapped_bytes"), mapped);
    assert_int_equal(number("run_bytes"), runs);
    assert_true(number("used") <= used + MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(purge_gives_freed_memory_of_every_tier_back),
        cmocka_unit_test(purge_returns_what_it_gave_back),
        cmocka_unit_test(purge_leaves_live_blocks_alone),
        cmocka_unit_test(purge_empties_the_caches_of_threads_that_sleep),
        cmocka_unit_test(freed_memory_goes_back_unasked_under_a_steady_load),
        cmocka_unit_test(stats_are_as_long_as_they_say),
        cmocka_unit_test(stats_are_cut_as_snprintf_cuts),
        cmocka_unit_test(json_stats_are_valid_json),
        cmocka_unit_test(text_stats_end_in_a_newline_and_hold_no_control_characters),
        cmocka_unit_test(stats_follow_what_is_allocated),
    };
    return cmocka_run_group_tests_name("purge and statistics", tests, NULL, NULL);
}
