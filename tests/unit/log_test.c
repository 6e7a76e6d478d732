/* SPDX-License-Identifier: MIT
 *
 * base: the formatter, lines on stderr, and the fatal ones. The test stands in for the system.
 */
#include "base/hak_log.h"

#include <limits.h>
#include <setjmp.h>
#include <string.h>

#include "support/hak_test.h"

static char said[4096];
static unsigned writes;
static jmp_buf aborted;

void hak_write_err(const char *text, size_t length)
{
    writes++;
    strncat(said, text, length);
}

void hak_abort(void)
{
    longjmp(aborted, 1);
}

static int reset(void **state)
{
    said[0] = '\0';
    writes = 0;
    hak_log_max = HAK_LOG_WARN;
    return 0;
}

static char buf[256];

#define ASSERT_TEXT(want, ...)                                                                 \
    do {                                                                                       \
        struct hak_text t = {buf, sizeof(buf), 0};                                             \
        hak_text_add(&t, __VA_ARGS__);                                                         \
        assert_string_equal(buf, want);                                                        \
        assert_int_equal(t.len, strlen(want));                                                 \
    } while (0)

static void every_conversion_prints_as_printf_does(void **state)
{
    ASSERT_TEXT("plain", "plain");
    ASSERT_TEXT("a-b-c", "%s-%c-%s", "a", 'b', "c");
    ASSERT_TEXT("0 7 -7 2147483647 -2147483648", "%d %d %d %d %d", 0, 7, -7, INT_MAX, INT_MIN);
    ASSERT_TEXT("-9223372036854775808", "%ld", LONG_MIN);
    ASSERT_TEXT("4294967295 18446744073709551615", "%u %lu", UINT_MAX, ULONG_MAX);
    ASSERT_TEXT("18446744073709551615 18446744073709551615", "%llu %zu", ULLONG_MAX, SIZE_MAX);
    ASSERT_TEXT("0 ff deadbeef ffffffffffffffff", "%x %x %x %lx", 0, 255, 0xdeadbeef,
                ULONG_MAX);
    ASSERT_TEXT("0x7f0012345678 0x0", "%p %p", (void *)0x7f0012345678, (void *)0);
    ASSERT_TEXT("100%", "100%%");
}

static void sizes_print_in_the_largest_whole_unit(void **state)
{
    ASSERT_TEXT("0 1 1023 1K 1025 64K 2M 3G 1T", "%S %S %S %S %S %S %S %S %S", (size_t)0,
                (size_t)1, (size_t)1023, (size_t)1024, (size_t)1025, (size_t)65536,
                (size_t)2 << 20, (size_t)3 << 30, (size_t)1 << 40);
    ASSERT_TEXT("1536K", "%S", (size_t)1536 << 10);
    ASSERT_TEXT("2048T", "%S", (size_t)2048 << 40); /* there is no larger unit */
}

static void text_is_cut_and_counted_as_snprintf_does(void **state)
{
    for (size_t size = 0; size <= 12; size++) {
        struct hak_text t = {buf, size, 0};
        memset(buf, '#', sizeof(buf));
        hak_text_add(&t, "%s", "0123");
        hak_text_add(&t, "%u", 456789);
        assert_int_equal(t.len, 10);
        assert_int_equal(buf[size], '#');
        if (size > 0)
            assert_int_equal(strlen(buf), size - 1 < 10 ? size - 1 : 10);
    }
    struct hak_text none = {NULL, 0, 0};
    hak_text_add(&none, "%p %S", (void *)buf, (size_t)12345);
    assert_true(none.len > 5);
}

static void a_line_is_one_write_with_prefix_and_newline(void **state)
{
    hak_log(HAK_LOG_WARN, "module: %s %u", "cause", 7u);
    assert_string_equal(said, "hakmem: module: cause 7\n");
    assert_int_equal(writes, 1);
}

static void levels_above_the_chosen_one_are_silent(void **state)
{
    static const enum hak_log_level all[] = {HAK_LOG_ERROR, HAK_LOG_WARN, HAK_LOG_INFO,
                                             HAK_LOG_DEBUG};
    for (int chosen = 0; chosen < 4; chosen++) {
        hak_log_max = all[chosen];
        writes = 0;
        for (int i = 0; i < 4; i++)
            hak_log(all[i], "x");
        assert_int_equal(writes, chosen + 1);
    }
}

static void a_line_too_long_ends_in_dots_and_a_newline(void **state)
{
    char longer[1000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    hak_log(HAK_LOG_WARN, "%s", longer);
    size_t n = strlen(said);
    assert_in_range(n, 100, 999);
    assert_string_equal(said + n - 5, "x...\n");
}

static void fatal_lines_name_cause_and_pointer_and_abort(void **state)
{
    hak_log_max = HAK_LOG_ERROR; /* the quietest there is */
    if (setjmp(aborted) == 0)
        hak_fatal_pointer("tiny: block freed twice", (void *)0x1234);
    else
        assert_string_equal(said, "hakmem: tiny: block freed twice 0x1234\n");
    said[0] = '\0';
    if (setjmp(aborted) == 0)
        hak_fatal("base: cause");
    else
        assert_string_equal(said, "hakmem: base: cause\n");
    said[0] = '\0';
    if (setjmp(aborted) == 0)
        HAK_CHECK_POINTER(1 + 1 == 3, "m: c", (void *)16);
    else
        assert_string_equal(said, "hakmem: m: c 0x10\n");
    said[0] = '\0';
    HAK_CHECK(1 + 1 == 2, "m: c");
    assert_string_equal(said, "");
}

static void helpers_compute_what_they_say(void **state)
{
    for (unsigned k = 0; k < 64; k++) {
        assert_int_equal(hak_log2((uint64_t)1 << k), k);
        assert_int_equal(hak_log2(UINT64_MAX >> (63 - k)), k);
        assert_true(HAK_IS_POW2((uint64_t)1 << k));
    }
    assert_false(HAK_IS_POW2(0));
    assert_false(HAK_IS_POW2(12));
    assert_int_equal(HAK_ALIGN_UP(17, 16), 32);
    assert_int_equal(HAK_ALIGN_UP(32, 16), 32);
    assert_int_equal(HAK_ALIGN_DOWN(31, 16), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_conversion_prints_as_printf_does, reset),
        cmocka_unit_test_setup(sizes_print_in_the_largest_whole_unit, reset),
        cmocka_unit_test_setup(text_is_cut_and_counted_as_snprintf_does, reset),
        cmocka_unit_test_setup(a_line_is_one_write_with_prefix_and_newline, reset),
        cmocka_unit_test_setup(levels_above_the_chosen_one_are_silent, reset),
        cmocka_unit_test_setup(a_line_too_long_ends_in_dots_and_a_newline, reset),
        cmocka_unit_test_setup(fatal_lines_name_cause_and_pointer_and_abort, reset),
        cmocka_unit_test_setup(helpers_compute_what_they_say, reset),
    };
    return cmocka_run_group_tests_name("base: log", tests, NULL, NULL);
}
