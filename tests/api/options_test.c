/* SPDX-License-Identifier: MIT
 *
 * Every option of options.def, as a user meets it: in the environment of a process. The program
 * runs itself with --probe; the probe allocates and prints the value of every option.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hak_opt.h"
#include "hakmem.h"
#include "support/hak_test.h"

enum type { FLAG, COUNT, SIZE, LIMIT, CHOICE, TRIPLE, TEXT, LIST };

static const struct row {
    const char *name;
    enum type type;
    const char *def[3]; /* by enum hak_opt_mode */
    const char *min, *max;
    const char *words;
} rows[] = {
#define HAK_OPT(name, type, fast, balanced, lean, min, max, unit, help)                        \
    {#name, type, {#fast, #balanced, #lean}, #min, #max, unit},
#define HAK_OPT_CHOICE(name, def, choices, help)                                               \
    {#name, CHOICE, {#def, #def, #def}, "0", "0", choices},
#define HAK_OPT_TRIPLE(name, def, min, max, unit, help)                                        \
    {#name, TRIPLE, {#def, #def, #def}, #min, #max, unit},
#define HAK_OPT_TEXT(name, what, help)        {#name, TEXT, {"", "", ""}, "0", "0", what},
#define HAK_OPT_LIST(name, limit, unit, help) {#name, LIST, {"0", "0", "0"}, "0", #limit, unit},
#include "base/options.def"
#undef HAK_OPT
#undef HAK_OPT_CHOICE
#undef HAK_OPT_TRIPLE
#undef HAK_OPT_TEXT
#undef HAK_OPT_LIST
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static char self[4096];

static int probe(void)
{
    puts("main reached");
    if (getenv("CLOSE_STDERR") != NULL)
        close(STDERR_FILENO); /* as coreutils do before they end */
    void *p = hak_malloc(100), *q = hak_malloc(5000000);
    if (p == NULL || q == NULL)
        return 1;
    hak_free(p);
    hak_free(q);
#define HAK_OPT(name, type, fast, balanced, lean, min, max, unit, help)                        \
    printf("%s=%llu\n", #name, (unsigned long long)hak_opt.name);
#define HAK_OPT_CHOICE(name, def, choices, help)                                               \
    printf("%s=%llu\n", #name, (unsigned long long)hak_opt.name);
#define HAK_OPT_TRIPLE(name, def, min, max, unit, help)                                        \
    printf("%s=%llu\n", #name, (unsigned long long)hak_opt.name);
#define HAK_OPT_TEXT(name, what, help) /* an address: paths_* below look at them */
#define HAK_OPT_LIST(name, limit, unit, help)                                                  \
    printf("%s=%llu %s\n", #name, (unsigned long long)(hak_opt.name != 0),                     \
           hak_opt.name != 0 ? hak_opt_list(hak_opt.name) : "all");
#include "base/options.def"
#undef HAK_OPT
#undef HAK_OPT_CHOICE
#undef HAK_OPT_TRIPLE
#undef HAK_OPT_TEXT
#undef HAK_OPT_LIST
    return 0;
}

/* Run the probe with these settings (NULL: none). */
static void run(struct hak_run *r, const char *a, const char *b, const char *c)
{
    char *argv[] = {self, "--probe", NULL};
    char *envp[] = {(char *)a, (char *)(a ? b : NULL), (char *)(b ? c : NULL), NULL};
    hak_run(r, argv, envp);
}

static void variable(char *out, size_t size, const char *name, const char *value)
{
    int n = snprintf(out, size, "HAKMEM_%s%s%s", name, value != NULL ? "=" : "",
                     value != NULL ? value : "");
    assert_true(n > 0 && (size_t)n < size);
    for (char *c = out; *c != '\0' && *c != '='; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
}

static unsigned long long number(const char *s)
{
    char *end;
    if (strcmp(s, "auto") == 0)
        return HAK_OPT_AUTO;
    unsigned long long v = strtoull(s, &end, 10);
    for (unsigned shift = 16; *end == ':'; shift += 16) /* a triple */
        v += strtoull(end + 1, &end, 10) << shift;
    const char *unit = *end != '\0' ? strchr("KMGT", *end) : NULL;
    return unit != NULL ? v << (10 * (unit - "KMGT" + 1)) : v;
}

/* What the probe says an option is. */
static unsigned long long probed(const struct hak_run *r, const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "\n%s=", name);
    const char *at = strstr(r->out, key);
    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 10);
}

static unsigned lines(const char *s)
{
    unsigned n = 0;
    for (; *s != '\0'; s++)
        n += *s == '\n';
    return n;
}

#define ASSERT_TEXT(text, want)                                                                \
    do {                                                                                       \
        if (strstr(text, want) == NULL)                                                        \
            fail_msg("no \"%s\" in \"%s\"", want, text);                                       \
    } while (0)

static void require_good(const struct row *o, const char *value, unsigned long long want)
{
    char setting[128];
    struct hak_run r;
    variable(setting, sizeof(setting), o->name, value);
    run(&r, setting, NULL, NULL);
    if (r.status != 0 || probed(&r, o->name) != want)
        fail_msg("%s: status 0x%x, %s%s", setting, (unsigned)r.status, r.out, r.err);
    bool speaks = strcmp(o->name, "show") == 0 || strcmp(o->name, "stats") == 0 ||
                  strcmp(o->name, "log") == 0 || strcmp(o->name, "numa") == 0;
    if (!speaks)
        assert_string_equal(r.err, "");
}

static void every_option_takes_its_good_values(void **state)
{
    for (const struct row *o = rows; o < rows + N_ROWS; o++) {
        if (o->type == TEXT)
            continue;
        if (o->type == TRIPLE) {
            require_good(o, "1:2:3", 1 + (2ull << 16) + (3ull << 32));
            require_good(o, o->def[HAK_MODE_BALANCED], number(o->def[HAK_MODE_BALANCED]));
            continue;
        }
        if (o->type == LIST) {
            require_good(o, "all", 0);
            require_good(o, "0", 1);
            require_good(o, "0-0,0,7-1023", 1);
            continue;
        }
        if (o->type != CHOICE) {
            require_good(o, o->min, number(o->min));
            require_good(o, o->max, number(o->max));
            for (int mode = 0; mode < 3; mode++)
                require_good(o, o->def[mode], number(o->def[mode]));
            if (o->type == LIMIT) {
                require_good(o, "auto", HAK_OPT_AUTO);
                require_good(o, "0", 0);
            }
            continue;
        }
        char words[128], *save;
        unsigned long long i = 0;
        snprintf(words, sizeof(words), "%s", o->words);
        for (char *w = strtok_r(words, "|", &save); w != NULL; w = strtok_r(NULL, "|", &save))
            require_good(o, w, i++);
    }
}

static void sizes_take_units(void **state)
{
    static const struct {
        const char *setting;
        unsigned long long want;
    } cases[] = {{"HAKMEM_TINY_CACHE=65536", 65536},
                 {"HAKMEM_TINY_CACHE=64K", 65536},
                 {"HAKMEM_TINY_CACHE=1M", 1 << 20},
                 {"HAKMEM_BATCH_THRESHOLD=1G", 1 << 30},
                 {"HAKMEM_BATCH_THRESHOLD=1T", 1ull << 40}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hak_run r;
        run(&r, cases[i].setting, NULL, NULL);
        assert_int_equal(r.status, 0);
        assert_int_equal(probed(&r, i < 3 ? "tiny_cache" : "batch_threshold"), cases[i].want);
        assert_string_equal(r.err, "");
    }
}

/* One line that names variable, value and what is accepted; and the default is used. */
static void require_bad(const struct row *o, const char *value)
{
    char setting[1200], name[64], quoted[64];
    struct hak_run r;
    variable(setting, sizeof(setting), o->name, value);
    variable(name, sizeof(name), o->name, NULL);
    run(&r, setting, NULL, NULL);
    if (r.status != 0 || lines(r.err) != 1)
        fail_msg("%s: status 0x%x, \"%s\"", setting, (unsigned)r.status, r.err);
    assert_int_equal(probed(&r, o->name), number(o->def[HAK_MODE_BALANCED]));
    assert_int_equal(strncmp(r.err, "hakmem: ", 8), 0);
    ASSERT_TEXT(r.err, name);
    snprintf(quoted, sizeof(quoted), "%.40s", value);
    ASSERT_TEXT(r.err, quoted);
    if (o->type == CHOICE) {
        ASSERT_TEXT(r.err, o->words);
        return;
    }
    if (o->type == LIST) {
        snprintf(quoted, sizeof(quoted), "all, or %s below %s", o->words, o->max);
        ASSERT_TEXT(r.err, quoted);
        return;
    }
    if (o->type == LIMIT)
        ASSERT_TEXT(r.err, "auto, 0 or ");
    if (o->type == TRIPLE)
        ASSERT_TEXT(r.err, "a:b:c, each ");
    snprintf(quoted, sizeof(quoted), "%s..%s", o->min, o->max);
    ASSERT_TEXT(r.err, quoted);
}

static void every_option_refuses_bad_values_in_one_line(void **state)
{
    static const char *const always_bad[] = {"",
                                             " ",
                                             "x",
                                             "1x",
                                             "-1",
                                             "1 ",
                                             " 1",
                                             "0x1",
                                             "1.5",
                                             "1KB",
                                             "K",
                                             "+1",
                                             "yes",
                                             "18446744073709551616",
                                             "99999999999999T"};
    for (const struct row *o = rows; o < rows + N_ROWS; o++) {
        if (o->type == TEXT)
            continue; /* any path is one */
        for (size_t i = 0; i < sizeof(always_bad) / sizeof(always_bad[0]); i++)
            require_bad(o, always_bad[i]);
        if (o->type == CHOICE) {
            require_bad(o, o->words);
            continue;
        }
        if (o->type == TRIPLE) {
            static const char *const bad[] = {
                "1",    "1:2",   "1:2:3:4",   "1::3",   ":2:3",
                "1:2:", "1,2,3", "1:2:60001", "1:2:3x", "1:2:99999999999"};
            for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                require_bad(o, bad[i]);
            continue;
        }
        if (o->type == LIST) {
            require_bad(o, o->max);
            require_bad(o, "0,");
            require_bad(o, ",0");
            require_bad(o, "1-0");
            require_bad(o, "0-");
            require_bad(o, "0 1");
            continue;
        }
        char beyond[32];
        snprintf(beyond, sizeof(beyond), "%llu", number(o->max) + 1);
        require_bad(o, beyond);
        snprintf(beyond, sizeof(beyond), "%llu", number(o->min) - 1);
        if (number(o->min) > 0)
            require_bad(o, beyond);
        if (o->type == COUNT)
            require_bad(o, "1K"); /* units are for sizes */
        if (o->type != LIMIT)
            require_bad(o, "auto");
        require_bad(o, "AUTO");
        require_bad(o, "auto ");
    }
}

static void a_very_long_bad_value_still_gets_its_whole_line(void **state)
{
    char value[1000];
    memset(value, '9', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (const struct row *o = rows; o < rows + N_ROWS; o++)
        if (o->type != TEXT)
            require_bad(o, value);
}

static void a_bad_value_of_two_lines_gets_one_line(void **state)
{
    struct hak_run r;
    run(&r, "HAKMEM_HEAPS=3\n4\x1b[31m", NULL, NULL);
    assert_int_equal(lines(r.err), 1);
    ASSERT_TEXT(r.err, "HAKMEM_HEAPS='3?4?[31m'");
}

/* A letter too few, one too many, two swapped: the nearest name is the one that was meant. */
static void a_misspelt_name_gets_one_line_with_the_nearest(void **state)
{
    for (const struct row *o = rows; o < rows + N_ROWS; o++) {
        for (int how = 0; how < 3; how++) {
            char wrong[64], setting[128], meant[64];
            struct hak_run r;
            variable(wrong, sizeof(wrong), o->name, NULL);
            variable(meant, sizeof(meant), o->name, NULL);
            size_t n = strlen(wrong);
            if (how == 0)
                wrong[n - 1] = '\0';
            else if (how == 1)
                strcpy(wrong + n, "X");
            else
                wrong[n - 2] = meant[n - 1], wrong[n - 1] = meant[n - 2];
            snprintf(setting, sizeof(setting), "%s=1", wrong);
            run(&r, setting, NULL, NULL);
            assert_int_equal(r.status, 0);
            if (lines(r.err) != 1)
                fail_msg("%s: \"%s\"", setting, r.err);
            ASSERT_TEXT(r.err, wrong);
            ASSERT_TEXT(strstr(r.err, wrong) + strlen(wrong), meant);
        }
    }
}

static void strict_aborts_before_main(void **state)
{
    static const char *const wrong[] = {"HAKMEM_TINY_CACHE=much", "HAKMEM_TINY_CASH=64K",
                                        "HAKMEM_=1", "HAKMEM_MODE=slow"};
    for (size_t i = 0; i < 4; i++) {
        for (int order = 0; order < 2; order++) {
            struct hak_run r;
            run(&r, order == 0 ? "HAKMEM_STRICT=1" : wrong[i],
                order == 0 ? wrong[i] : "HAKMEM_STRICT=1", NULL);
            assert_true(WIFSIGNALED(r.status));
            assert_int_equal(WTERMSIG(r.status), SIGABRT);
            assert_string_equal(r.out, "");
            assert_int_equal(lines(r.err), 1);
            ASSERT_TEXT(r.err, "hakmem: ");
        }
    }
    struct hak_run r;
    run(&r, "HAKMEM_STRICT=1", "HAKMEM_TINY_CACHE=64K", "HAKME_OTHER=1");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
}

static void without_strict_wrong_settings_are_survived(void **state)
{
    struct hak_run r;
    run(&r, "HAKMEM_TINY_CACHE=much", "HAKMEM_NONSENSE=1", "HAKMEM_HEAPS=2");
    assert_int_equal(r.status, 0);
    assert_int_equal(lines(r.err), 2);
    assert_int_equal(probed(&r, "heaps"), 2);
    ASSERT_TEXT(r.out, "main reached");
}

static void log_level_error_silences_warnings(void **state)
{
    struct hak_run r;
    run(&r, "HAKMEM_TINY_CACHE=much", "HAKMEM_LOG=error", NULL);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
}

static void show_prints_every_option_and_where_it_came_from(void **state)
{
    struct hak_run r;
    run(&r, "HAKMEM_SHOW=1", "HAKMEM_MODE=lean", "HAKMEM_HEAPS=3");
    assert_int_equal(r.status, 0);
    assert_int_equal(lines(r.err), N_ROWS);
    for (const struct row *o = rows; o < rows + N_ROWS; o++) {
        char name[64];
        variable(name, sizeof(name), o->name, "");
        ASSERT_TEXT(r.err, name);
    }
    ASSERT_TEXT(r.err, "HAKMEM_HEAPS=3 (environment)");
    ASSERT_TEXT(r.err, "HAKMEM_MODE=lean (environment)");
    ASSERT_TEXT(r.err, "HAKMEM_TINY_CACHE=16K (HAKMEM_MODE)");
    ASSERT_TEXT(r.err, "HAKMEM_SUPERSLAB_SIZE=2M (default)");
}

static void a_mode_sets_its_presets_and_single_options_win(void **state)
{
    static const char *const modes[] = {"HAKMEM_MODE=fast", "HAKMEM_MODE=balanced",
                                        "HAKMEM_MODE=lean"};
    struct hak_run r;
    for (int m = 0; m < 3; m++) {
        run(&r, modes[m], NULL, NULL);
        assert_int_equal(r.status, 0);
        for (const struct row *o = rows; o < rows + N_ROWS; o++)
            if (o->type != TEXT)
                assert_int_equal(probed(&r, o->name), strcmp(o->name, "mode") == 0
                                                          ? (unsigned long long)m
                                                          : number(o->def[m]));
    }
    run(&r, "HAKMEM_TINY_CACHE=128K", "HAKMEM_MODE=lean", NULL);
    assert_int_equal(probed(&r, "tiny_cache"), 128 << 10);
    assert_int_equal(probed(&r, "superslab_keep"), 0);
}

static void stats_are_printed_at_exit(void **state)
{
    struct hak_run with, without;
    run(&with, "HAKMEM_STATS=1", NULL, NULL);
    run(&without, NULL, NULL, NULL);
    assert_int_equal(with.status, 0);
    assert_true(lines(with.err) > 3);
    assert_string_equal(without.err, "");
    run(&with, "HAKMEM_STATS=1", "CLOSE_STDERR=1", NULL);
    assert_true(lines(with.err) > 3);
}

static void copy_file(const char *from, const char *to, mode_t mode)
{
    char buf[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0700);
    assert_true(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, buf, sizeof(buf))) > 0;)
        assert_int_equal(write(out, buf, (size_t)n), n);
    assert_int_equal(fchmod(out, mode), 0);
    close(in);
    close(out);
}

/* The environment of a set-user-id process belongs to somebody else. */
static void a_setuid_process_ignores_the_environment(void **state)
{
    if (geteuid() != 0) {
        print_message("needs root to make a set-user-id copy; skipped\n");
        skip();
    }
#ifdef HAK_TEST_SANITIZED
    print_message("a sanitizer's runtime does not start set-user-id; skipped\n");
    skip();
#endif
    char dir[] = "/var/tmp/hak_setuid_XXXXXX", copy[64], keep[4096];
    struct hak_run r;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(copy, sizeof(copy), "%s/probe", dir);
    copy_file(self, copy, 04755);
    memcpy(keep, self, sizeof(keep));
    memcpy(self, copy, sizeof(copy));
    /* Root's own run of it has equal ids and is not secure: the setting holds. */
    run(&r, "HAKMEM_HEAPS=3", "HAKMEM_STRICT=1", NULL);
    unsigned long long as_root = probed(&r, "heaps");
    pid_t pid = fork();
    if (pid == 0) { /* real and effective user become nobody, then the copy raises them */
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(3);
        run(&r, "HAKMEM_HEAPS=3", "HAKMEM_STRICT=1", "HAKMEM_NONSENSE=1");
        bool secure = r.status == 0 && strstr(r.out, "\nheaps=0\n") != NULL && r.err[0] == '\0';
        bool not_suid = strstr(r.err, "HAKMEM_NONSENSE") != NULL; /* mounted nosuid */
        _exit(secure ? 0 : not_suid ? 2 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    memcpy(self, keep, sizeof(keep));
    unlink(copy);
    rmdir(dir);
    assert_int_equal(as_root, 3);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) {
        print_message("%s is mounted nosuid; skipped\n", dir);
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--probe") == 0)
        return probe();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_takes_its_good_values),
        cmocka_unit_test(sizes_take_units),
        cmocka_unit_test(every_option_refuses_bad_values_in_one_line),
        cmocka_unit_test(a_very_long_bad_value_still_gets_its_whole_line),
        cmocka_unit_test(a_bad_value_of_two_lines_gets_one_line),
        cmocka_unit_test(a_misspelt_name_gets_one_line_with_the_nearest),
        cmocka_unit_test(strict_aborts_before_main),
        cmocka_unit_test(without_strict_wrong_settings_are_survived),
        cmocka_unit_test(log_level_error_silences_warnings),
        cmocka_unit_test(show_prints_every_option_and_where_it_came_from),
        cmocka_unit_test(a_mode_sets_its_presets_and_single_options_win),
        cmocka_unit_test(stats_are_printed_at_exit),
        cmocka_unit_test(a_setuid_process_ignores_the_environment),
    };
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return 1;
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
