/* SPDX-License-Identifier: MIT
 *
 * os: the contracts of os.h, held by the real system calls; and by the fake, that it fails on
 * order.
 */
#include "os/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/fake_os.h"
#include "support/hak_test.h"

#define MIB ((size_t)1 << 20)

static int start(void **state)
{
    os_init();
    fake_os_reset();
    errno = 4321;
    return 0;
}

static int errno_is_untouched(void **state)
{
    return errno == 4321 ? 0 : -1;
}

static void write_byte(void *p)
{
    *(volatile char *)p = 1;
}

static bool dies(void (*fn)(void *), void *arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        fn(arg);
        _exit(0);
    }
    int status, saved = errno;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    errno = saved;
    return status != 0;
}

static void the_machine_is_described_sensibly(void **state)
{
    assert_int_equal(os_page_size(), sysconf(_SC_PAGESIZE));
    assert_true(HAK_IS_POW2(os_page_size()));
    assert_in_range(os_ncpus(), 1, 1 << 16);
    assert_true(os_ram_bytes() >= 16 * MIB);
    assert_true(os_nnodes() >= 1 && os_node() < os_nnodes());
    uint64_t before = os_now_ns();
    usleep(2000);
    assert_true(os_now_ns() >= before + 2000000);
}

static void the_cpu_is_the_one_the_thread_runs_on(void **state)
{
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        assert_int_equal(os_cpu(), cpu);
    }
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

static void the_address_limit_is_the_one_that_is_set(void **state)
{
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)1 << 46;
    assert_int_equal(setrlimit(RLIMIT_AS, &low), 0);
    assert_int_equal(os_address_limit(), (uint64_t)1 << 46);
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
    if (old.rlim_cur == RLIM_INFINITY)
        assert_int_equal(os_address_limit(), UINT64_MAX);
}

static void memory_counts_before_it_is_touched_under_a_limit(void **state)
{
    static const int kinds[] = {RLIMIT_AS, RLIMIT_DATA};
    for (size_t i = 0; i < 2; i++) {
        struct rlimit old, low;
        assert_int_equal(getrlimit(kinds[i], &old), 0);
        low = old;
        low.rlim_cur = (rlim_t)1 << 46;
        assert_int_equal(setrlimit(kinds[i], &low), 0);
        assert_true(os_commit_counts());
        assert_int_equal(setrlimit(kinds[i], &old), 0);
    }
    struct rlimit as, data;
    assert_int_equal(getrlimit(RLIMIT_AS, &as), 0);
    assert_int_equal(getrlimit(RLIMIT_DATA, &data), 0);
    FILE *f = fopen("/proc/sys/vm/overcommit_memory", "r");
    if (f == NULL)
        skip();
    int mode = fgetc(f);
    (void)fclose(f);
    assert_int_equal(os_commit_counts(), mode == '2' || as.rlim_cur != RLIM_INFINITY ||
                                             data.rlim_cur != RLIM_INFINITY);
}

static void reserved_is_untouchable_until_committed_and_then_zero(void **state)
{
    char *p = os_reserve(NULL, 8 * MIB, false);
    assert_non_null(p);
    assert_true(dies(write_byte, p));
    assert_true(os_commit(p, 2 * MIB));
    assert_true(hak_test_is_zero(p, 2 * MIB));
    memset(p, 1, 2 * MIB);
    assert_true(dies(write_byte, p + 2 * MIB));
    os_unmap(p, 8 * MIB);
    unsigned char resident[2048];
    assert_int_equal(mincore(p, 8 * MIB, resident), -1); /* the addresses are free */
    assert_int_equal(errno, ENOMEM);
    errno = 4321;
}

static void a_readable_reservation_is_zero_until_committed_and_costs_no_memory(void **state)
{
    /* Some systems count, or make, pages that are only read: no more than they do anywhere. */
    size_t before = hak_test_resident_bytes();
    void *plain = mmap(NULL, 64 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(hak_test_is_zero(plain, 64 * MIB));
    size_t reading = hak_test_resident_bytes() - before;
    munmap(plain, 64 * MIB);
    before = hak_test_resident_bytes();
    char *p = os_reserve_readable(64 * MIB);
    assert_non_null(p);
    assert_true(hak_test_is_zero(p, 64 * MIB));
    assert_true(dies(write_byte, p));
    assert_true(hak_test_resident_bytes() < before + reading + MIB);
    assert_true(os_commit(p, MIB));
    memset(p, 1, MIB);
    assert_true(dies(write_byte, p + MIB));
    os_unmap(p, 64 * MIB);
}

static void a_fixed_reservation_takes_free_addresses_and_no_others(void **state)
{
    char *p = os_reserve(NULL, 4 * MIB, false);
    os_unmap(p + 2 * MIB, 2 * MIB);
    assert_null(os_reserve(p, MIB, true));
    assert_null(os_reserve(p + MIB, 2 * MIB, true)); /* half of it taken */
    assert_ptr_equal(os_reserve(p + 2 * MIB, 2 * MIB, true), p + 2 * MIB);
    os_unmap(p, 4 * MIB);
}

static void purged_pages_read_zero_and_are_not_resident(void **state)
{
    char *p = os_map(32 * MIB, os_page_size());
    memset(p, 1, 32 * MIB);
    size_t full = hak_test_resident_bytes();
    struct os_span span[3] = {
        {p + MIB, 10 * MIB}, {p + 11 * MIB, 5 * MIB}, {p + 17 * MIB, 14 * MIB}};
    assert_int_equal(os_purge(span, 3, false), 3);
    assert_true(hak_test_resident_bytes() + 28 * MIB <= full);
    assert_true(hak_test_is_zero(p + MIB, 15 * MIB) &&
                hak_test_is_zero(p + 17 * MIB, 14 * MIB));
    assert_int_equal(p[16 * MIB], 1);
    assert_int_equal(p[MIB - 1], 1);
    assert_int_equal(p[31 * MIB], 1);
    os_unmap(p, 32 * MIB);
}

/* What the system refuses ends the call, in both ways of asking. */
static void a_refused_span_and_those_behind_it_are_told(void **state)
{
    char *p = os_map(32 * MIB, os_page_size());
    memset(p, 1, 32 * MIB);
    os_unmap(p + 16 * MIB, MIB);
    struct os_span span[3] = {{p, MIB}, {p + 16 * MIB, MIB}, {p + 20 * MIB, MIB}};
    assert_int_equal(os_purge(span, 3, false), 1);
    assert_true(p[0] == 0 && p[20 * MIB] == 1);
    span[1].addr = p + 18 * MIB;
    assert_int_equal(os_purge(span, 3, true), 3); /* lazily */
    os_unmap(p, 16 * MIB);
    os_unmap(p + 17 * MIB, 15 * MIB);
}

/* Whatever the kernel is able to: contents stay, and what it refuses is told. */
static void huge_pages_are_asked_for_and_contents_stay(void **state)
{
    size_t huge = os_huge_bytes();
    assert_true(HAK_IS_POW2(huge) && huge > os_page_size());
    if (huge > 64 * MIB)
        skip();
    (void)os_huge_allowed();
    char *p = os_map(4 * huge, huge);
    hak_test_fill(p, 4 * huge, 3);
    if (os_huge_advise(p, 3 * huge, true)) {
        for (size_t i = 0; i < 3; i++)
            (void)os_huge_make(p + i * huge);
        assert_true(os_huge_advise(p + huge, huge, false));
    }
    assert_int_equal(hak_test_check(p, 4 * huge, 3), 4 * huge);
    assert_int_equal(os_resident(p, 4 * huge), 4 * huge);
    os_unmap(p, 4 * huge);
    assert_int_equal(os_resident(p, huge), 0);
}

static void resident_pages_are_counted(void **state)
{
    size_t page = os_page_size(), bytes = 1000 * page;
    char *p = os_map(bytes, page);
    (void)os_huge_advise(p, bytes, false);
    assert_int_equal(os_resident(p, bytes), 0);
    for (size_t i = 0; i < 1000; i += 10)
        p[i * page] = 1;
    assert_int_equal(os_resident(p, bytes), 100 * page);
    assert_int_equal(os_resident(p + 505 * page, 10 * page), page);
    os_unmap(p, bytes);
}

static void pages_are_brought_in_one_call(void **state)
{
    size_t page = os_page_size(), bytes = 100 * page;
    char *p = os_map(bytes, page);
    (void)os_huge_advise(p, bytes, false);
    if (os_populate(p + 10 * page, 20 * page)) /* Linux 5.14 */
        assert_int_equal(os_resident(p, bytes), 20 * page);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(p[i], 0);
    os_unmap(p, bytes);
    assert_false(os_populate(p, bytes));
}

static void names_change_nothing_else(void **state)
{
    char *p = os_map(8 * MIB, os_page_size());
    hak_test_fill(p, 8 * MIB, 4);
    os_name(p, 4 * MIB, "hakmem: test");
    os_name_records(p + 4 * MIB, 4 * MIB);
    assert_int_equal(hak_test_check(p, 8 * MIB, 4), 8 * MIB);
    os_unmap(p, 8 * MIB);
    os_name(p, 4 * MIB, "hakmem: test"); /* nothing is there: no harm */
    os_name_records(p, 4 * MIB);
}

static void mappings_are_zero_and_aligned(void **state)
{
    size_t held = fake_os_held_bytes();
    for (size_t align = os_page_size(); align <= ((size_t)1 << 30); align *= 4) {
        char *p = os_map(MIB, align);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p & (align - 1), 0);
        assert_true(hak_test_is_zero(p, MIB));
        memset(p, 1, MIB);
        os_unmap(p, MIB);
    }
    assert_int_equal(fake_os_held_bytes(), held);
    assert_null(os_map((size_t)1 << 62, os_page_size()));
    assert_null(os_map(MIB, (size_t)1 << 62));
}

static void remap_keeps_contents_and_new_pages_are_zero(void **state)
{
    char *p = os_map(MIB, os_page_size());
    hak_test_fill(p, MIB, 5);
    p = os_remap(p, MIB, 64 * MIB);
    assert_non_null(p);
    assert_int_equal(hak_test_check(p, MIB, 5), MIB);
    assert_true(hak_test_is_zero(p + MIB, 63 * MIB));
    p = os_remap(p, 64 * MIB, MIB / 2);
    assert_non_null(p);
    assert_int_equal(hak_test_check(p, MIB / 2, 5), MIB / 2);
    assert_null(os_remap(p, MIB / 2, (size_t)1 << 62));
    assert_int_equal(hak_test_check(p, MIB / 2, 5), MIB / 2);
    os_unmap(p, MIB / 2);
}

static struct os_lock lock;
static unsigned long counter;

static void *count_up(void *unused)
{
    for (unsigned i = 0; i < 50000; i++) {
        os_lock(&lock);
        counter++;
        os_unlock(&lock);
    }
    return NULL;
}

static void the_lock_excludes(void **state)
{
    pthread_t t[4];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count_up, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(counter, 200000);
    assert_true(os_lock_try(&lock));
    assert_false(os_lock_try(&lock));
    os_unlock(&lock);
    os_lock_fork(&lock);
    os_fork_begin();
    os_lock(&lock); /* the forking thread passes */
    os_unlock(&lock);
    assert_false(os_lock_try(&lock)); /* and it is held still */
    os_fork_end();
    os_lock_fork_end(&lock);
    assert_true(os_lock_try(&lock));
    os_unlock(&lock);
    errno = 4321; /* pthread_create sets it */
}

static _Thread_local bool marked;
static void *exit_arg;

static void exit_hook(void *arg)
{
    exit_arg = marked ? arg : NULL;
}

static void *arm_and_end(void *arg)
{
    marked = true;
    REQUIRE(os_thread_exit_arm((char *)arg + 1));
    REQUIRE(os_thread_exit_arm(arg)); /* replaces */
    return NULL;
}

static void the_exit_hook_runs_in_its_thread_with_the_last_argument(void **state)
{
    static char here[2];
    pthread_t t;
    assert_false(os_thread_exit_arm(here)); /* before: it is nobody's key, or another's */
    assert_true(os_thread_exit_init(exit_hook));
    assert_int_equal(pthread_create(&t, NULL, arm_and_end, here), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_ptr_equal(exit_arg, here);
    errno = 4321;
}

static void the_environment_is_the_process_own(void **state)
{
    setenv("HAKMEM_TEST_OF_ENVIRON", "1", 1);
    bool found = false;
    for (const char *const *e = os_environ(); *e != NULL; e++)
        found |= strcmp(*e, "HAKMEM_TEST_OF_ENVIRON=1") == 0;
    assert_true(found);
    unsetenv("HAKMEM_TEST_OF_ENVIRON");
}

/* ---- The fake. ---- */

static void the_fake_fails_the_nth_call_and_as_many_as_told(void **state)
{
    size_t page = os_page_size();
    fake_os_fail(FAKE_OS_MAP, 2, 2);
    void *p[5];
    for (unsigned i = 0; i < 5; i++)
        p[i] = os_map(page, page);
    assert_true(p[0] != NULL && p[1] == NULL && p[2] == NULL && p[3] != NULL && p[4] != NULL);
    assert_int_equal(fake_os_calls(FAKE_OS_MAP), 5);
    assert_int_equal(fake_os_failed(FAKE_OS_MAP), 2);
    assert_ptr_equal(fake_os_last(FAKE_OS_MAP).addr, p[4]);
    fake_os_fail(FAKE_OS_ANY, 1, FAKE_OS_FOREVER);
    assert_null(os_map(page, page));
    assert_int_equal(os_purge(&(struct os_span){p[0], page}, 1, false), 0);
    assert_null(os_reserve(NULL, page, false));
    fake_os_reset();
    assert_int_equal(os_purge(&(struct os_span){p[0], page}, 1, false), 1);
    os_unmap(p[0], page);
    os_unmap(p[3], page);
    os_unmap(p[4], page);
    assert_int_equal(fake_os_calls(FAKE_OS_UNMAP), 3);
}

static void code_of_the_c_library_and_of_its_loader_is_known(void **state)
{
    const void *libc =
        dlsym(RTLD_DEFAULT, "get_nprocs"); /* sanitizers have their own of most others */
    const void *loader = dlsym(RTLD_DEFAULT, "_dl_deallocate_tls"); /* frees, under a lock */
    errno = 4321;
    assert_non_null(libc);
    assert_true(os_is_libc(libc));
    if (loader != NULL)
        assert_true(os_is_libc(loader));
    assert_false(os_is_libc((const void *)(uintptr_t)write_byte));
    assert_false(os_is_libc(NULL));
}

static void the_fake_claims_what_it_was_told(void **state)
{
    fake_os_set_page_size(65536);
    fake_os_set_ncpus(128);
    fake_os_set_nnodes(4);
    fake_os_set_node(3);
    fake_os_set_ram(1 << 20);
    assert_int_equal(os_page_size(), 65536);
    assert_int_equal(os_ncpus(), 128);
    assert_int_equal(os_nnodes(), 4);
    assert_int_equal(os_node(), 3);
    assert_int_equal(os_ram_bytes(), 1 << 20);
    for (unsigned i = 0; i < 20; i++) {
        char *p = os_reserve(NULL, 65536 * (i + 1), false), *q = os_map(65536, 65536);
        assert_int_equal((uintptr_t)p % 65536, 0);
        assert_int_equal((uintptr_t)q % 65536, 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, errno_is_untouched)
    const struct CMUnitTest tests[] = {
        TEST(the_machine_is_described_sensibly),
        TEST(the_cpu_is_the_one_the_thread_runs_on),
        TEST(the_address_limit_is_the_one_that_is_set),
        TEST(memory_counts_before_it_is_touched_under_a_limit),
        TEST(reserved_is_untouchable_until_committed_and_then_zero),
        TEST(a_readable_reservation_is_zero_until_committed_and_costs_no_memory),
        TEST(a_fixed_reservation_takes_free_addresses_and_no_others),
        TEST(purged_pages_read_zero_and_are_not_resident),
        TEST(a_refused_span_and_those_behind_it_are_told),
        TEST(huge_pages_are_asked_for_and_contents_stay),
        TEST(resident_pages_are_counted),
        TEST(pages_are_brought_in_one_call),
        TEST(names_change_nothing_else),
        TEST(mappings_are_zero_and_aligned),
        TEST(remap_keeps_contents_and_new_pages_are_zero),
        TEST(the_lock_excludes),
        TEST(the_exit_hook_runs_in_its_thread_with_the_last_argument),
        TEST(the_environment_is_the_process_own),
        TEST(the_fake_fails_the_nth_call_and_as_many_as_told),
        TEST(code_of_the_c_library_and_of_its_loader_is_known),
        TEST(the_fake_claims_what_it_was_told),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
