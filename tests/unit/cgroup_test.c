/* SPDX-License-Identifier: MIT
 *
 * os: the memory cgroup, in every shape that containers show it, from files the test has made.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/os.h"
#include "support/fake_root.h"
#include "unit.h"

static struct os_cgroup cg;
static struct os_cgroup_level levels[OS_CGROUP_LEVELS];
static const char *root;

/* The two files that say which cgroup and where. NULL: missing. */
static void given(const char *cgroup, const char *mountinfo)
{
    fake_os_reset();
    root = fake_root_make();
    if (cgroup != NULL)
        fake_root_put("/proc/self/cgroup", cgroup);
    if (mountinfo != NULL)
        fake_root_put("/proc/self/mountinfo", mountinfo);
    errno = 4321;
}

static void put_number(const char *dir, const char *name, const char *value)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fake_root_put(path, value);
}

static void v2_level(const char *dir, const char *max, const char *high, const char *current,
                     const char *stat)
{
    put_number(dir, "memory.max", max);
    put_number(dir, "memory.high", high);
    put_number(dir, "memory.current", current);
    put_number(dir, "memory.stat", stat);
}

/* How many limits the process has; the place where they start is `below` the root. */
static unsigned limits_at(const char *below)
{
    const char *why = os_cgroup_find(root, &cg);
    if (why != NULL)
        hak_require_failed(why, __FILE__, __LINE__);
    REQUIRE(strncmp(cg.path, root, strlen(root)) == 0);
    if (strcmp(cg.path + strlen(root), below) != 0)
        hak_require_failed(cg.path, __FILE__, __LINE__);
    unsigned n = os_cgroup_read(&cg, levels);
    REQUIRE(errno == 4321);
    return n;
}

static bool level_is(unsigned i, uint64_t max, uint64_t high, uint64_t used)
{
    return levels[i].max == max && levels[i].high == high && levels[i].used == used;
}

static const uint64_t NONE = UINT64_MAX;

/* Of this machine, of a container, and of one that has its own mounts above. */
#define MOUNTS                                                                                 \
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"                                          \
    "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755\n"

UNIT_TEST(v2_is_read_level_by_level_up_to_the_mount)
{
    given("0::/kubepods/pod1/c1\n",
          MOUNTS "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
    v2_level("/sys/fs/cgroup/kubepods/pod1/c1", "1000\n", "900\n", "100\n", "");
    v2_level("/sys/fs/cgroup/kubepods/pod1", "max\n", "max\n", "5000\n", "");
    v2_level("/sys/fs/cgroup/kubepods", "max\n", "8000\n", "1234\n", "");
    REQUIRE(limits_at("/sys/fs/cgroup/kubepods/pod1/c1") == 2);
    REQUIRE(level_is(0, 1000, 900, 100) && level_is(1, NONE, 8000, 1234));
    v2_level("/sys/fs/cgroup", "700\n", "max\n", "1\n",
             ""); /* a container's own root has one */
    REQUIRE(os_cgroup_read(&cg, levels) == 3 && level_is(2, 700, NONE, 1));
    v2_level("/sys/fs", "5\n", "5\n", "5\n", ""); /* above the mount is no cgroup */
    REQUIRE(os_cgroup_read(&cg, levels) == 3);
}

UNIT_TEST(page_cache_does_not_count_where_the_limit_is_near)
{
    given("0::/\n", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    static const char stat[] = "anon 300\nfile 700\ninactive_anon 9\ninactive_file 400\n"
                               "active_file 250\nworkingset_refault_file 77\n";
    v2_level("/sys/fs/cgroup", "1000\n", "max\n", "980\n", stat);
    REQUIRE(limits_at("/sys/fs/cgroup") == 1 && level_is(0, 1000, NONE, 330));
    v2_level("/sys/fs/cgroup", "max\n", "1000\n", "980\n", stat);
    REQUIRE(os_cgroup_read(&cg, levels) == 1 && level_is(0, NONE, 1000, 330));
    v2_level("/sys/fs/cgroup", "1000\n", "max\n", "500\n", stat); /* far: not asked */
    REQUIRE(os_cgroup_read(&cg, levels) == 1 && level_is(0, 1000, NONE, 500));
    v2_level("/sys/fs/cgroup", "1000\n", "max\n", "600\n", stat); /* moved between two reads */
    REQUIRE(os_cgroup_read(&cg, levels) == 1 && level_is(0, 1000, NONE, 0));
    fake_root_put("/sys/fs/cgroup/memory.stat", NULL);
    REQUIRE(os_cgroup_read(&cg, levels) == 1 && level_is(0, 1000, NONE, 600));
}

UNIT_TEST(v1_knows_of_limits_above_what_is_mounted)
{
    given("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n",
          MOUNTS "34 31 0:31 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                 "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    static const char dir[] = "/sys/fs/cgroup/memory";
    put_number(dir, "memory.limit_in_bytes", "9223372036854771712\n");
    put_number(dir, "memory.usage_in_bytes", "3000\n");
    put_number(dir, "memory.stat",
               "cache 1\ninactive_file 7\nhierarchical_memory_limit 4000\n"
               "hierarchical_memsw_limit 9223372036854771712\n"
               "total_cache 600\ntotal_inactive_file 400\ntotal_active_file 100\n");
    REQUIRE(limits_at("/sys/fs/cgroup/memory") == 1 && level_is(0, 4000, NONE, 2500));
    put_number(dir, "memory.limit_in_bytes", "3500\n");
    REQUIRE(os_cgroup_read(&cg, levels) == 1 && level_is(0, 3500, NONE, 2500));
    put_number(dir, "memory.limit_in_bytes", "9223372036854771712\n");
    put_number(dir, "memory.stat", "hierarchical_memory_limit 9223372036854771712\n");
    REQUIRE(os_cgroup_read(&cg, levels) == 0);
}

UNIT_TEST(a_v1_level_that_does_not_count_those_below_it_is_left_out)
{
    given("4:memory:/a/b\n", "35 31 0:32 / /mem rw - cgroup cgroup rw,memory\n");
    put_number("/mem/a/b", "memory.limit_in_bytes", "5000\n");
    put_number("/mem/a/b", "memory.usage_in_bytes", "10\n");
    put_number("/mem/a", "memory.limit_in_bytes", "4000\n");
    put_number("/mem/a", "memory.usage_in_bytes", "20\n");
    put_number("/mem/a", "memory.use_hierarchy", "1\n");
    put_number("/mem", "memory.limit_in_bytes", "1\n");
    put_number("/mem", "memory.use_hierarchy", "0\n");
    REQUIRE(limits_at("/mem/a/b") == 2 && level_is(0, 5000, NONE, 10));
    REQUIRE(level_is(1, 4000, NONE, 20));
}

/* As on this machine: v1 has the memory controller, v2 is there without it. */
UNIT_TEST(of_a_hybrid_the_hierarchy_with_the_memory_controller_counts)
{
    static const char mounts[] =
        MOUNTS "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
               "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    static const char *const orders[] = {"4:memory:/x\n3:cpuset:/\n0::/y\n",
                                         "0::/y\n4:hugetlb,memory:/x\n"};
    for (unsigned i = 0; i < 2; i++) {
        given(orders[i], mounts);
        put_number("/sys/fs/cgroup/memory/x", "memory.limit_in_bytes", "77\n");
        v2_level("/sys/fs/cgroup/unified/y", "5\n", "5\n", "5\n", "");
        REQUIRE(limits_at("/sys/fs/cgroup/memory/x") == 1 && level_is(0, 77, NONE, 0));
    }
    given("3:cpuset:/\n0::/y\n", mounts); /* v1 without it */
    v2_level("/sys/fs/cgroup/unified/y", "5\n", "max\n", "1\n", "");
    REQUIRE(limits_at("/sys/fs/cgroup/unified/y") == 1 && level_is(0, 5, NONE, 1));
}

UNIT_TEST(in_a_namespace_the_mount_is_the_cgroup_or_above_it)
{
    given("0::/\n", "41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    v2_level("/sys/fs/cgroup", "10\n", "max\n", "1\n", "");
    REQUIRE(limits_at("/sys/fs/cgroup") == 1);
    /* Mounted before the namespace was made: what is on the way down has no name here. */
    given("0::/\n", "41 31 0:38 /../.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    v2_level("/sys/fs/cgroup", "10\n", "max\n", "1\n", "");
    REQUIRE(limits_at("/sys/fs/cgroup") == 1);
    /* Both: the exact one, whichever comes first. */
    static const char *const both[] = {"41 31 0:38 /.. /above ro - cgroup2 cgroup rw\n"
                                       "42 31 0:38 / /own ro - cgroup2 cgroup rw\n",
                                       "42 31 0:38 / /own ro - cgroup2 cgroup rw\n"
                                       "41 31 0:38 /.. /above ro - cgroup2 cgroup rw\n"};
    for (unsigned i = 0; i < 2; i++) {
        given("0::/in\n", both[i]);
        v2_level("/own/in", "10\n", "max\n", "1\n", "");
        REQUIRE(limits_at("/own/in") == 1);
    }
    /* A sibling of the namespace's root is below a mount of its parent, and of nothing else. */
    given("0::/../b\n", "41 31 0:38 /.. /up ro - cgroup2 cgroup rw\n");
    v2_level("/up/b", "10\n", "max\n", "1\n", "");
    REQUIRE(limits_at("/up/b") == 1);
    given("0::/../b\n", "41 31 0:38 / /up ro - cgroup2 cgroup rw\n");
    REQUIRE(os_cgroup_find(root, &cg) != NULL && cg.version == 0);
    REQUIRE(os_cgroup_read(&cg, levels) == 0);
    given("0::/abc\n", "41 31 0:38 /ab /up ro - cgroup2 cgroup rw\n"); /* another's */
    REQUIRE(os_cgroup_find(root, &cg) != NULL);
}

UNIT_TEST(names_may_hold_blanks_and_the_last_mount_covers_the_others)
{
    given("0::/a b\n", "40 31 0:38 / /old rw - cgroup2 cgroup2 rw\n"
                       "41 31 0:38 / /c\\040g rw master:1 shared:2 - cgroup2 cgroup2 rw");
    v2_level("/c g/a b", "64\n", "max\n", "3\n", "");
    REQUIRE(limits_at("/c g/a b") == 1 && level_is(0, 64, NONE, 3));
}

UNIT_TEST(no_more_levels_are_told_than_there_is_room_for)
{
    given("0::/1/2/3/4/5/6/7/8/9/10\n", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
    char dir[64] = "/cg";
    for (unsigned i = 1; i <= 10; i++) {
        char max[16];
        snprintf(dir + strlen(dir), sizeof(dir) - strlen(dir), "/%u", i);
        snprintf(max, sizeof(max), "%u00\n", i);
        v2_level(dir, max, "max\n", "0\n", "");
    }
    REQUIRE(limits_at("/cg/1/2/3/4/5/6/7/8/9/10") == OS_CGROUP_LEVELS);
    REQUIRE(level_is(0, 1000, NONE, 0) && level_is(7, 300, NONE, 0));
}

UNIT_TEST(garbage_and_huge_numbers_are_no_limit)
{
    given("0::/\n", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
    static const char *const none[] = {"max\n",
                                       "",
                                       "\n",
                                       "-1\n",
                                       "12x\n",
                                       "0x100\n",
                                       " 5\n",
                                       "18446744073709551616\n",
                                       "99999999999999999999999999\n",
                                       "9223372036854771712\n"};
    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        v2_level("/cg", none[i], none[i], none[i], none[i]);
        REQUIRE(limits_at("/cg") == 0);
        v2_level("/cg", "1000", "max", none[i], none[i]); /* and no use, or use without end */
        REQUIRE(os_cgroup_read(&cg, levels) == 1 && levels[0].max == 1000);
        REQUIRE(levels[0].used == 0 || levels[0].used == UINT64_MAX);
    }
    v2_level("/cg", "0\n", "max\n", "1\n",
             "inactive_file\nactive_file 99999999999999999999999\n");
    REQUIRE(os_cgroup_read(&cg, levels) == 1 && level_is(0, 0, NONE, 0));
}

UNIT_TEST(nothing_found_says_why)
{
    static const struct {
        const char *cgroup, *mountinfo, *why;
    } cases[] = {
        {NULL, NULL, "/proc/self/cgroup cannot be read"},
        {"", NULL, "names no memory cgroup"},
        {"garbage\n::\n4:memory\n0:x:/\n", NULL, "names no memory cgroup"},
        {"0::/\n", NULL, "/proc/self/mountinfo cannot be read"},
        {"0::/\n", "", "not mounted"},
        {"0::/\n", "41 31 0:38 / /cg rw - cgroup2\n - cgroup2 a b\n1 2 3 - cgroup2 a b\n",
         "not mounted"},
        {"0::/\n", "41 31 0:38 / /cg rw - cgroup cgroup rw,memory\n", "not mounted"},
        {"4:memory:/\n", "41 31 0:38 / /cg rw - cgroup cgroup rw,cpu\n", "not mounted"},
        {"4:memory:/x\n", "41 31 0:38 /y /cg rw - cgroup cgroup rw,memory\n", "not mounted"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        given(cases[i].cgroup, cases[i].mountinfo);
        const char *why = os_cgroup_find(root, &cg);
        if (why == NULL || strstr(why, cases[i].why) == NULL)
            hak_require_failed(cases[i].why, __FILE__, __LINE__);
        REQUIRE(cg.version == 0 && os_cgroup_read(&cg, levels) == 0 && errno == 4321);
    }
}

UNIT_TEST(long_names_and_long_lines_are_refused_or_passed_over)
{
    static char path[3000], line[7000], text[8000];
    memset(path, 'p', sizeof(path) - 1);
    snprintf(text, sizeof(text), "0::/%s\n", path);
    given(text, "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
    REQUIRE(strstr(os_cgroup_find(root, &cg), "too long") != NULL);
    /* It fits, but not behind the mount point; a place that has room is used. */
    path[400] = '\0';
    char point[256];
    memset(point, 'm', sizeof(point) - 1);
    point[255] = '\0';
    snprintf(text, sizeof(text), "0::/%s\n", path);
    snprintf(line, sizeof(line), "41 31 0:38 / /%s rw - cgroup2 cgroup2 rw\n", point);
    given(text, line);
    REQUIRE(os_cgroup_find(root, &cg) != NULL && cg.version == 0);
    snprintf(
        line, sizeof(line),
        "42 31 0:38 / /c rw - cgroup2 cgroup2 rw\n41 31 0:38 / /%s rw - cgroup2 cgroup2 rw\n",
        point);
    given(text, line);
    REQUIRE(os_cgroup_find(root, &cg) == NULL && strstr(cg.path, "/c/ppp") != NULL);
    /* An overlay's line may be longer than any buffer. */
    path[400] = 'p';
    snprintf(text, sizeof(text), "0::/\n");
    snprintf(line, sizeof(line),
             "40 1 0:7 / / rw - overlay overlay rw,lowerdir=%s:%s\n"
             "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n",
             path, path);
    given(text, line);
    v2_level("/cg", "5\n", "max\n", "1\n", "");
    REQUIRE(limits_at("/cg") == 1);
}

UNIT_TEST(pressure_is_the_cgroups_and_else_the_machines)
{
    struct os_pressure p;
    given("0::/a\n", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
    REQUIRE(os_cgroup_find(root, &cg) == NULL);
    REQUIRE(!os_pressure_read(root, &cg, &p));
    fake_root_put("/proc/pressure/memory",
                  "some avg10=1.05 avg60=0.00 avg300=0.00 total=7\nfull avg10=9.99 avg60=0.00 "
                  "avg300=0.00 total=3\n");
    REQUIRE(os_pressure_read(root, &cg, &p) && p.avg10 == 105 && p.total_us == 7);
    fake_root_put("/cg/a/memory.pressure",
                  "some avg10=100.00 avg60=2.00 avg300=3.00 total=123456789012\n");
    REQUIRE(os_pressure_read(root, &cg, &p) && p.avg10 == 10000 && p.total_us == 123456789012);
    static const char *const bad[] = {"",
                                      "full avg10=1.00 total=1\n",
                                      "some\n",
                                      "some avg10=1 total=2\n",
                                      "some avg10=x.00 total=2\n",
                                      "some avg10=1.00 total=\n",
                                      "some avg60=1.00 total=2\n"};
    fake_root_put("/proc/pressure/memory", NULL);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fake_root_put("/cg/a/memory.pressure", bad[i]);
        REQUIRE(!os_pressure_read(root, &cg, &p));
    }
    fake_root_put("/cg/a/memory.pressure", "some avg10=99999999999999999999.00 total=1\n");
    REQUIRE(os_pressure_read(root, &cg, &p) && p.avg10 == 10000);
    REQUIRE(errno == 4321);
}

/* Each call in turn is refused, or ends after a line: never more is found than is there. */
static void fault_walk(enum fake_os_kind kind)
{
    uint64_t nth = 0;
    do {
        fake_os_reset();
        fake_os_fail(kind, ++nth, 1);
        const char *why = os_cgroup_find(root, &cg);
        REQUIRE((why == NULL) == (cg.version == 2));
        unsigned n = os_cgroup_read(&cg, levels);
        REQUIRE(n <= 2);
        for (unsigned i = 0; i < n; i++) {
            REQUIRE(levels[i].max == NONE || levels[i].max == 1000 || levels[i].max == 2000);
            REQUIRE(levels[i].used <= 1900);
        }
        struct os_pressure p;
        if (os_pressure_read(root, &cg, &p))
            REQUIRE(p.avg10 == 100 && p.total_us == 5);
        REQUIRE(errno == 4321);
    } while (fake_os_failed(kind) > 0);
    REQUIRE(nth > 8); /* that many there are */
}

UNIT_TEST(every_read_may_fail)
{
    given("0::/a\n", MOUNTS "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
    v2_level("/cg/a", "1000\n", "max\n", "900\n", "inactive_file 100\nactive_file 100\n");
    v2_level("/cg", "2000\n", "max\n", "1900\n", "inactive_file 100\nactive_file 100\n");
    fake_root_put("/cg/a/memory.pressure", "some avg10=1.00 total=5\n");
    fake_root_put("/proc/pressure/memory", "some avg10=1.00 total=5\n");
    fault_walk(FAKE_OS_FILE);
    fault_walk(FAKE_OS_FILE_END);
}

UNIT_TEST(no_descriptor_stays_open)
{
    given("0::/a\n", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
    v2_level("/cg/a", "1000\n", "max\n", "900\n", "");
    int before = open("/dev/null", O_RDONLY);
    close(before);
    for (unsigned i = 0; i < 100; i++)
        (void)limits_at("/cg/a");
    int after = open("/dev/null", O_RDONLY);
    REQUIRE(after == before);
    close(after);
}

UNIT_TEST(this_machine_is_read_without_harm)
{
    fake_os_reset();
    struct os_pressure p;
    errno = 4321;
    if (os_cgroup_find("", &cg) == NULL)
        REQUIRE(cg.version == 1 || cg.version == 2);
    REQUIRE(os_cgroup_read(&cg, levels) <= OS_CGROUP_LEVELS);
    if (os_pressure_read("", &cg, &p))
        REQUIRE(p.avg10 <= 10000);
    REQUIRE(errno == 4321);
}

/* ---- Lines. ---- */

static char seen[8][2000];
static unsigned nseen, stop_at;

static bool line_seen(void *arg, char *line)
{
    REQUIRE(arg == seen && strlen(line) < OS_LINE_MAX);
    strcpy(seen[nseen++], line);
    return nseen != stop_at;
}

static bool lines_of(const char *text)
{
    char path[128];
    fake_root_put("/f", text);
    snprintf(path, sizeof(path), "%s/f", root);
    nseen = 0;
    return os_file_lines(path, line_seen, seen);
}

UNIT_TEST(files_are_read_line_by_line)
{
    fake_os_reset();
    root = fake_root_make();
    errno = 4321;
    REQUIRE(lines_of("") && nseen == 0 && errno == 4321);
    REQUIRE(lines_of("a\n\nb") && nseen == 3 && strcmp(seen[1], "") == 0);
    REQUIRE(strcmp(seen[0], "a") == 0 && strcmp(seen[2], "b") == 0);
    stop_at = 2;
    REQUIRE(lines_of("a\nb\nc\n") && nseen == 2);
    stop_at = 0;
    static char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    strcpy(text + 3000, "\nend\n");
    REQUIRE(lines_of(text) && nseen == 2 && strlen(seen[0]) == OS_LINE_MAX - 1);
    REQUIRE(strcmp(seen[1], "end") == 0);
    REQUIRE(!os_file_lines("/nowhere", line_seen, seen) && nseen == 2);
    REQUIRE(!os_file_lines("/", line_seen, seen) &&
            nseen == 2); /* a folder opens; reads fail */
    REQUIRE(errno == 4321);
}

static int make(void **state)
{
    return fake_root_make() == NULL;
}

static int clean(void **state)
{
    fake_root_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v2_is_read_level_by_level_up_to_the_mount),
        cmocka_unit_test(page_cache_does_not_count_where_the_limit_is_near),
        cmocka_unit_test(v1_knows_of_limits_above_what_is_mounted),
        cmocka_unit_test(a_v1_level_that_does_not_count_those_below_it_is_left_out),
        cmocka_unit_test(of_a_hybrid_the_hierarchy_with_the_memory_controller_counts),
        cmocka_unit_test(in_a_namespace_the_mount_is_the_cgroup_or_above_it),
        cmocka_unit_test(names_may_hold_blanks_and_the_last_mount_covers_the_others),
        cmocka_unit_test(no_more_levels_are_told_than_there_is_room_for),
        cmocka_unit_test(garbage_and_huge_numbers_are_no_limit),
        cmocka_unit_test(nothing_found_says_why),
        cmocka_unit_test(long_names_and_long_lines_are_refused_or_passed_over),
        cmocka_unit_test(pressure_is_the_cgroups_and_else_the_machines),
        cmocka_unit_test(every_read_may_fail),
        cmocka_unit_test(no_descriptor_stays_open),
        cmocka_unit_test(this_machine_is_read_without_harm),
        cmocka_unit_test(files_are_read_line_by_line),
    };
    return cmocka_run_group_tests_name("os: the memory cgroup", tests, make, clean);
}
