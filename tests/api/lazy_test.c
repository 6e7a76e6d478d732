/* SPDX-License-Identifier: MIT
 *
 * HAKMEM_PURGE=free, from the environment: what goes back is the system's to take whenever it likes.
 * Whether it has taken it, in part or not at all, no program can tell from its blocks.
 */
#include "names.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "support/hak_test.h"

enum { N = 64 };

static size_t number(const char *key)
{
    static char text[1 << 16];
    char quoted[64];
    hak_stats(text, sizeof(text), HAK_STATS_JSON);
    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    const char *at = strstr(text, quoted);
    assert_non_null(at);
    return strtoull(at + strlen(quoted), NULL, 10);
}

/* What the system does when it runs short, to the pages of one freed block. */
static void take(const char *block, size_t n)
{
    uintptr_t from = ((uintptr_t)block + 4095) & ~(uintptr_t)4095;
    uintptr_t to = ((uintptr_t)block + n) & ~(uintptr_t)4095;
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

static void calloc_is_zero_whatever_the_system_took(void **state)
{
    for (size_t i = 0; i < N_TIER_SIZES; i++) {
        size_t n = tier_sizes[i];
        size_t blocks = n <= 2 * MIB ? N : 4; /* some systems make pages that are only read */
        char *block[N];
        for (unsigned round = 0; round < 6; round++) {
            for (size_t k = 0; k < blocks; k++) {
                block[k] = t_calloc(1, n);
                assert_non_null(block[k]);
                assert_true(hak_test_is_zero(block[k], n));
                if (n < 32 * MIB || k < 2) /* of mappings, two are enough */
                    memset(block[k], 0xa5, n);
            }
            for (size_t k = 0; k < blocks; k++)
                t_free(block[k]);
            hak_purge();
            for (size_t k = round % 3;
                 k < blocks && round % 3 < 2 && n >= 4 * KIB && n < 32 * MIB; k += 1 + round)
                take(block[k], n);
        }
    }
}

static void blocks_keep_what_is_written_after_a_purge(void **state)
{
    static char *block[2000];
    for (unsigned round = 0; round < 5; round++) {
        for (size_t k = 0; k < 2000; k++) {
            size_t n = 16 + k * 37 % 50000;
            block[k] = t_malloc(n);
            hak_test_fill(block[k], n, k);
        }
        for (size_t k = round % 2; k < 2000; k += 2)
            t_free(block[k]);
        hak_purge();
        for (size_t k = 1 - round % 2; k < 2000; k += 2) {
            size_t n = 16 + k * 37 % 50000;
            block[k] = t_realloc(block[k], n * 2);
            assert_int_equal(hak_test_check(block[k], n, k), n);
            t_free(block[k]);
        }
    }
}

/* Resident as before, and yet no longer held: `used` and `held` speak of what is ours. */
static void statistics_count_it_as_returned(void **state)
{
    hak_purge();
    size_t before = number("held"), purged = number("purged");
    char *p = t_malloc(24 * MIB);
    memset(p, 1, 24 * MIB);
    size_t full = hak_test_resident_bytes();
    assert_true(number("held") >= before + 24 * MIB);
    t_free(p);
    assert_true(hak_purge() >= 24 * MIB);
    assert_true(number("held") <= before + MIB && number("purged") >= purged + 24 * MIB);
    assert_true(hak_test_resident_bytes() + MIB >= full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calloc_is_zero_whatever_the_system_took),
        cmocka_unit_test(blocks_keep_what_is_written_after_a_purge),
        cmocka_unit_test(statistics_count_it_as_returned),
    };
    return cmocka_run_group_tests_name("memory that goes back lazily", tests, NULL, NULL);
}
