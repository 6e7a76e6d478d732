/* SPDX-License-Identifier: MIT
 *
 * glibc's management calls and old names: they must speak of our heap, not of an empty one.
 * Plain names only.
 */
#define HAK_TEST_PLAIN
#include "names.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/hak_test.h"

/* Not in any header: old programs carry their own declarations. */
void cfree(void *);
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);
void *__libc_memalign(size_t, size_t);
void *__libc_valloc(size_t);
void *__libc_pvalloc(size_t);
void __libc_cfree(void *);
int __posix_memalign(void **, size_t, size_t);
struct mallinfo __libc_mallinfo(void);
int __libc_mallopt(int, int);

static void mallinfo2_follows_the_heap(void **state)
{
    static const size_t sizes[] = {4 * KIB, 200 * KIB, 3 * MIB, 40 * MIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = 80 * MIB / sizes[i];
        void **p = t_calloc(n, sizeof(*p));
        struct mallinfo2 before = mallinfo2();
        for (size_t k = 0; k < n; k++)
            p[k] = t_malloc(sizes[i]);
        struct mallinfo2 during = mallinfo2();
        for (size_t k = 0; k < n; k++)
            t_free(p[k]);
        struct mallinfo2 after = mallinfo2();
        assert_true(during.uordblks + during.hblkhd >=
                    before.uordblks + before.hblkhd + n * sizes[i]);
        assert_true(after.uordblks + after.hblkhd + n * sizes[i] / 10 * 9 <=
                    during.uordblks + during.hblkhd);
        assert_true(during.arena + during.hblkhd >= n * sizes[i]);
        assert_true(during.uordblks <= during.arena);
        t_free(p);
    }
}

static void mallinfo_gives_the_same_in_ints(void **state)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    void *p = t_malloc(40 * MIB), *q = t_malloc(2 * MIB);
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    assert_int_equal(narrow.uordblks, (int)wide.uordblks);
    assert_int_equal(narrow.hblkhd, (int)wide.hblkhd);
    assert_int_equal(narrow.arena, (int)wide.arena);
    assert_int_equal(narrow.fordblks, (int)wide.fordblks);
    t_free(p);
    t_free(q);
}

static void malloc_trim_gives_memory_back_and_says_so(void **state)
{
    enum { N = 64 * 128 };
    static void *p[N];
    (void)malloc_trim(0);
    for (size_t i = 0; i < N; i++)
        memset(p[i] = t_malloc(8 * KIB), 1, 8 * KIB);
    size_t full = hak_test_resident_bytes();
    for (size_t i = 0; i < N; i++)
        t_free(p[i]);
    assert_int_equal(malloc_trim(0), 1);
    assert_true(hak_test_resident_bytes() + 55 * MIB <= full);
    assert_int_equal(malloc_trim(0), 0); /* nothing left to give */
}

/* 1 and an effect where there is a counterpart, 0 where there is none. Last: it lasts. */
static void mallopt_sets_what_has_a_counterpart(void **state)
{
    assert_int_equal(mallopt(M_ARENA_MAX, 4), 1);
    assert_int_equal(mallopt(M_TRIM_THRESHOLD, 1 << 20), 1);
    assert_int_equal(mallopt(M_MMAP_THRESHOLD, 1 << 21), 1);
    size_t before = mallinfo2().hblkhd;
    void *p = t_malloc(5 * MIB);
    assert_int_equal(mallinfo2().hblkhd, before + 5 * MIB);
    t_free(p);
    assert_int_equal(mallopt(M_MMAP_THRESHOLD, 100), 0); /* out of range: refused */
    assert_int_equal(mallopt(M_ARENA_MAX, -1), 0);
    assert_int_equal(mallopt(M_PERTURB, 1), 0);
    assert_int_equal(mallopt(12345, 1), 0);
}

static void malloc_info_writes_well_formed_xml(void **state)
{
    char path[] = "/tmp/hak_info_XXXXXX";
    void *live = t_malloc(100 * KIB);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    assert_int_equal(malloc_info(0, f), 0);
    assert_true(ftell(f) > 50);
    fclose(f);
    struct hak_run r;
    char script[] = "import sys, xml.dom.minidom as m;"
                    "d = m.parse(sys.argv[1]).documentElement;"
                    "assert d.tagName == 'malloc', d.tagName;"
                    "assert d.getAttribute('version'), 'no version'";
    char *argv[] = {"/usr/bin/env", "python3", "-c", script, path, NULL};
    char *envp[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    hak_run(&r, argv, envp);
    if (r.status != 0)
        print_error("%s\n", r.err);
    assert_int_equal(r.status, 0);
    remove(path);
    t_free(live);
}

static void malloc_info_refuses_unknown_options(void **state)
{
    assert_int_not_equal(malloc_info(1, stdout), 0);
}

static char stats[2][65536];

/* What malloc_stats or malloc_info writes now. */
static void capture(char *text, size_t size, bool info)
{
    memset(text, 0, size);
    FILE *f = tmpfile();
    assert_non_null(f);
    int keep = dup(STDERR_FILENO);
    dup2(fileno(f), STDERR_FILENO);
    if (info)
        (void)malloc_info(0, f);
    else
        malloc_stats();
    dup2(keep, STDERR_FILENO);
    close(keep);
    fflush(f);
    rewind(f);
    assert_true(fread(text, 1, size - 1, f) > 50);
    fclose(f);
}

static void malloc_stats_and_malloc_info_speak_of_what_is_allocated(void **state)
{
    for (int info = 0; info < 2; info++) {
        capture(stats[0], sizeof(stats[0]), info); /* tmpfile's own blocks are there now */
        capture(stats[0], sizeof(stats[0]), info);
        void *p = t_malloc(123 * MIB);
        capture(stats[1], sizeof(stats[1]), info);
        t_free(p);
        const char *mapped = info ? "128974848" : "123.0 MiB";
        assert_null(strstr(stats[0], mapped));
        assert_non_null(strstr(stats[1], mapped));
    }
}

/* hak_usable_size would abort on a block of another heap. */
static void the_libc_aliases_allocate_from_our_heap(void **state)
{
    void *p[] = {__libc_malloc(100),       __libc_calloc(10, 10), __libc_realloc(NULL, 100),
                 __libc_memalign(64, 100), __libc_valloc(100),    __libc_pvalloc(100)};
    for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++) {
        assert_true(hak_usable_size(p[i]) >= 100);
        if (i % 3 == 0)
            __libc_free(p[i]);
        else if (i % 3 == 1)
            __libc_cfree(p[i]);
        else
            cfree(p[i]);
    }
    void *q = NULL;
    assert_int_equal(__posix_memalign(&q, 64, 40 * MIB), 0);
    assert_true(hak_usable_size(q) >= 40 * MIB);
    assert_true(__libc_mallinfo().hblkhd >= (int)(40 * MIB));
    __libc_free(q);
    assert_int_equal(__libc_mallopt(12345, 1), 0);
}

static void blocks_of_the_c_library_are_ours(void **state)
{
    char *line = NULL, *copy = strdup("hakmem"), *text;
    size_t size = 0;
    assert_true(hak_usable_size(copy) >= 7);
    FILE *f = fopen("/proc/self/status", "r");
    assert_true(getline(&line, &size, f) > 0);
    assert_true(hak_usable_size(line) >= size);
    fclose(f);
    assert_true(asprintf(&text, "%d", 42) == 2);
    assert_true(hak_usable_size(text) >= 3);
    free(line);
    hak_free(copy); /* the names mix */
    free(text);
}

static void both_sets_of_names_share_one_heap(void **state)
{
    void *p = hak_realloc(t_malloc(10), 5000);
    t_free(p);
    p = t_realloc(hak_aligned_alloc(4096, 10), 5000);
    hak_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mallinfo2_follows_the_heap),
        cmocka_unit_test(mallinfo_gives_the_same_in_ints),
        cmocka_unit_test(malloc_trim_gives_memory_back_and_says_so),
        cmocka_unit_test(malloc_info_writes_well_formed_xml),
        cmocka_unit_test(malloc_info_refuses_unknown_options),
        cmocka_unit_test(malloc_stats_and_malloc_info_speak_of_what_is_allocated),
        cmocka_unit_test(the_libc_aliases_allocate_from_our_heap),
        cmocka_unit_test(blocks_of_the_c_library_are_ours),
        cmocka_unit_test(both_sets_of_names_share_one_heap),
        cmocka_unit_test(mallopt_sets_what_has_a_counterpart),
    };
    return cmocka_run_group_tests_name("management calls", tests, NULL, NULL);
}
