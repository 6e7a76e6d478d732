/* SPDX-License-Identifier: MIT
 *
 * base: the option parser on environments made by hand. tests/api/options_test.c has every
 * option as a user meets it; here are the corners.
 */
#include "base/hak_opt.h"

#include <setjmp.h>
#include <string.h>

#include "base/hak_log.h"
#include "support/hak_test.h"

static char said[16384];
static unsigned lines;
static jmp_buf aborted;

void hak_write_err(const char *text, size_t length)
{
    lines++;
    strncat(said, text, length);
}

void hak_abort(void)
{
    longjmp(aborted, 1);
}

#define LOAD(...)                                                                              \
    do {                                                                                       \
        const char *const env[] = {__VA_ARGS__, NULL};                                         \
        said[0] = '\0';                                                                        \
        lines = 0;                                                                             \
        hak_opt_load(env);                                                                     \
    } while (0)

static void no_environment_gives_the_defaults(void **state)
{
    memset(&hak_opt, 0xff, sizeof(hak_opt));
    said[0] = '\0';
    hak_opt_load(NULL);
    assert_int_equal(hak_opt.mode, HAK_MODE_BALANCED);
    assert_int_equal(hak_opt.superslab, 1);
    assert_int_equal(hak_opt.superslab_size, 3);
    assert_int_equal(hak_opt.heaps, 0);
    assert_int_equal(hak_log_max, HAK_LOG_WARN);
    LOAD("PATH=/bin", "HOME=/", "HAKME_X=1", "XHAKMEM_HEAPS=1", "hakmem_heaps=1", "HAKMEM");
    assert_int_equal(hak_opt.heaps, 0);
    assert_string_equal(said, "");
}

static void a_second_load_forgets_the_first(void **state)
{
    LOAD("HAKMEM_HEAPS=7", "HAKMEM_MODE=lean");
    assert_int_equal(hak_opt.heaps, 7);
    LOAD("A=b");
    assert_int_equal(hak_opt.heaps, 0);
    assert_int_equal(hak_opt.mode, HAK_MODE_BALANCED);
}

static void of_a_name_given_twice_the_first_holds(void **state)
{
    LOAD("HAKMEM_HEAPS=3", "HAKMEM_HEAPS=4");
    assert_int_equal(hak_opt.heaps, 3);
    assert_string_equal(said, "");
}

static void sizes_parse_with_units_of_either_case_and_overflow_is_refused(void **state)
{
    LOAD("HAKMEM_BATCH_THRESHOLD=3M");
    assert_int_equal(hak_opt.batch_threshold, 3 << 20);
    LOAD("HAKMEM_BATCH_THRESHOLD=3m");
    assert_int_equal(hak_opt.batch_threshold, 3 << 20);
    LOAD("HAKMEM_BATCH_THRESHOLD=007K");
    assert_int_equal(hak_opt.batch_threshold, 7 << 10);
    static const char *const bad[] = {
        "HAKMEM_BATCH_THRESHOLD=18446744073709551617", /* 2^64 + 1 */
        "HAKMEM_BATCH_THRESHOLD=17179869184G",         /* 2^64 */
        "HAKMEM_BATCH_THRESHOLD=18014398509481985K",   /* 2^64 + 1024 */
        "HAKMEM_BATCH_THRESHOLD=1MM",
        "HAKMEM_BATCH_THRESHOLD=M",
        "HAKMEM_BATCH_THRESHOLD="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        LOAD(bad[i]);
        assert_int_equal(lines, 1);
        assert_int_equal(hak_opt.batch_threshold, 8 << 20);
    }
}

static void a_limit_is_a_size_or_none_or_left_to_the_machine(void **state)
{
    char line[256];
    LOAD("HAKMEM_LIMIT_SOFT=3G", "HAKMEM_LIMIT_HARD=auto");
    assert_int_equal(hak_opt.limit_soft, (uint64_t)3 << 30);
    assert_true(hak_opt.limit_hard == HAK_OPT_AUTO);
    struct hak_text t = {line, sizeof(line), 0};
    hak_opt_print(&t, HAK_OPT_limit_hard);
    assert_string_equal(line, "HAKMEM_LIMIT_HARD=auto (environment)");
    LOAD("HAKMEM_LIMIT_SOFT=0");
    assert_int_equal(hak_opt.limit_soft, 0);
    assert_int_equal(hak_opt.limit_hard, 0);
    assert_string_equal(said, "");
    LOAD("HAKMEM_LIMIT_SOFT=512"); /* the M was forgotten */
    assert_non_null(strstr(said, "HAKMEM_LIMIT_SOFT='512': expected auto, 0 or 8M..64T bytes, "
                                 "K M G T allowed; using auto"));
    LOAD("HAKMEM_LIMIT_SOFT=18446744073709551615"); /* what stands for auto is no number */
    assert_int_equal(lines, 1);
}

static void a_name_without_an_option_is_answered_with_the_nearest(void **state)
{
    LOAD("HAKMEM_TINY_CASH=1");
    assert_non_null(strstr(said, "HAKMEM_TINY_CASH"));
    assert_non_null(strstr(said, "HAKMEM_TINY_CACHE"));
    assert_int_equal(lines, 1);
    LOAD("HAKMEM_=1");
    assert_int_equal(lines, 1);
    LOAD("HAKMEM_THIS_NAME_IS_FAR_LONGER_THAN_ANY_OPTION_THERE_IS_AND_NEAR_TO_NONE=1");
    assert_int_equal(lines, 1);
    LOAD("HAKMEM_heaps=1"); /* the case is part of the name */
    assert_int_equal(lines, 1);
    assert_non_null(strstr(said, "HAKMEM_HEAPS"));
}

static void strict_ends_at_the_first_wrong_setting(void **state)
{
    if (setjmp(aborted) == 0) {
        LOAD("HAKMEM_HEAPS=no", "HAKMEM_NOPE=1", "HAKMEM_STRICT=1");
        fail();
    }
    assert_int_equal(lines, 1);
    assert_non_null(strstr(said, "HAKMEM_HEAPS"));
    if (setjmp(aborted) == 0) { /* also where only errors are printed */
        LOAD("HAKMEM_LOG=error", "HAKMEM_STRICT=1", "HAKMEM_NOPE=1");
        fail();
    }
    assert_int_equal(lines, 1);
}

static void a_wrong_strict_is_a_wrong_value_like_any_other(void **state)
{
    LOAD("HAKMEM_STRICT=yes");
    assert_int_equal(lines, 1);
    assert_int_equal(hak_opt.strict, 0);
}

static void print_names_value_and_source(void **state)
{
    char line[256];
    LOAD("HAKMEM_MODE=lean", "HAKMEM_REMOTE_BATCH=9", "HAKMEM_SUPERSLAB_SIZE=512K");
    static const struct {
        enum hak_opt_id id;
        const char *want;
    } rows[] = {{HAK_OPT_mode, "HAKMEM_MODE=lean (environment)"},
                {HAK_OPT_remote_batch, "HAKMEM_REMOTE_BATCH=9 (environment)"},
                {HAK_OPT_superslab_size, "HAKMEM_SUPERSLAB_SIZE=512K (environment)"},
                {HAK_OPT_superslab_keep, "HAKMEM_SUPERSLAB_KEEP=0 (HAKMEM_MODE)"},
                {HAK_OPT_heaps, "HAKMEM_HEAPS=0 (default)"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hak_text t = {line, sizeof(line), 0};
        hak_opt_print(&t, rows[i].id);
        assert_string_equal(line, rows[i].want);
    }
}

static void an_option_set_to_its_presets_own_value_came_from_the_environment(void **state)
{
    char line[256];
    struct hak_text t = {line, sizeof(line), 0};
    LOAD("HAKMEM_HEAPS=0");
    hak_opt_print(&t, HAK_OPT_heaps);
    assert_string_equal(line, "HAKMEM_HEAPS=0 (environment)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_environment_gives_the_defaults),
        cmocka_unit_test(a_second_load_forgets_the_first),
        cmocka_unit_test(of_a_name_given_twice_the_first_holds),
        cmocka_unit_test(sizes_parse_with_units_of_either_case_and_overflow_is_refused),
        cmocka_unit_test(a_limit_is_a_size_or_none_or_left_to_the_machine),
        cmocka_unit_test(a_name_without_an_option_is_answered_with_the_nearest),
        cmocka_unit_test(strict_ends_at_the_first_wrong_setting),
        cmocka_unit_test(a_wrong_strict_is_a_wrong_value_like_any_other),
        cmocka_unit_test(print_names_value_and_source),
        cmocka_unit_test(an_option_set_to_its_presets_own_value_came_from_the_environment),
    };
    return cmocka_run_group_tests_name("base: options", tests, NULL, NULL);
}
