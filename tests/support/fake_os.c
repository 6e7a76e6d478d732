/* SPDX-License-Identifier: MIT
 *
 * fake_os: see fake_os.h. WRAP(type, name, parameters) opens the function that ld puts in the
 * place of `name`; __real_##name is the one it replaced.
 */
#include "support/fake_os.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hak_list.h"
#include "os/os.h"
#include "support/hak_test.h"

#define WRAP(type, name, ...)                                                                  \
    type __real_##name(__VA_ARGS__);                                                           \
    type __wrap_##name(__VA_ARGS__);                                                           \
    type __wrap_##name(__VA_ARGS__)

static struct {
    _Atomic uint64_t calls, failed;
    _Atomic uint64_t fail_from, fail_until; /* of `calls`, counted from 1; until is exclusive */
} counts[FAKE_OS_N_KINDS] = {[FAKE_OS_ANY] = {.fail_from = 1, .fail_until = UINT64_MAX}};

static _Atomic uint64_t random_seed;
static _Atomic unsigned random_percent;

static struct os_lock last_lock;
static struct fake_os_call last[FAKE_OS_N_KINDS]; /* [lock: last_lock] */
static _Atomic size_t held_bytes;

static struct {
    size_t page_size;
    unsigned ncpus, nnodes, node;
    int numa_error, place_error; /* of all calls that ask, and that place */
    bool numa_faked;
    struct os_ids allowed, policy_ids;
    enum os_mempolicy policy;
    unsigned node_id;
    unsigned cpu_next; /* the CPU + 1 */
    uint64_t ram, address_limit;
    int commit_counts;
    size_t huge_bytes;
    int huge_allowed, resident_percent;
    const char *const *env;
    const char *root;
} claim = {.address_limit = UINT64_MAX,
           .commit_counts = -1,
           .huge_allowed = -1,
           .resident_percent = -1};

/* What was said of memory, in order. */
static struct said {
    char *addr;
    size_t bytes;
    int huge, made;
    const char *name;
    bool records;
    int node;    /* + 1 */
} said[1 << 16]; /* [lock: last_lock] */
static size_t nsaid;

/* ---- The test's side. ---- */

void fake_os_reset(void)
{
    for (int k = 0; k < FAKE_OS_N_KINDS; k++) {
        counts[k].calls = 0;
        counts[k].failed = 0;
        counts[k].fail_from = 0;
        counts[k].fail_until = 0;
    }
    random_percent = 0;
    claim.page_size = 0;
    claim.ncpus = 0;
    claim.nnodes = 0;
    claim.node = 0;
    claim.numa_faked = false;
    claim.numa_error = claim.place_error = 0;
    claim.ram = 0;
    claim.address_limit = UINT64_MAX;
    claim.commit_counts = -1;
    claim.huge_bytes = 0;
    claim.huge_allowed = -1;
    claim.resident_percent = -1;
    claim.env = NULL;
    claim.root = NULL;
}

void fake_os_fail(enum fake_os_kind kind, uint64_t nth, uint64_t how_many)
{
    uint64_t from = counts[kind].calls + nth;
    counts[kind].fail_from = from;
    counts[kind].fail_until = how_many > UINT64_MAX - from ? UINT64_MAX : from + how_many;
}

void fake_os_fail_at_random(uint64_t seed, unsigned percent)
{
    random_seed = seed * 0x9e3779b97f4a7c15ull | 1;
    random_percent = percent;
}

uint64_t fake_os_calls(enum fake_os_kind kind)
{
    return counts[kind].calls;
}

uint64_t fake_os_failed(enum fake_os_kind kind)
{
    return counts[kind].failed;
}

struct fake_os_call fake_os_last(enum fake_os_kind kind)
{
    os_lock(&last_lock);
    struct fake_os_call c = last[kind];
    os_unlock(&last_lock);
    return c;
}

struct fake_os_said fake_os_said(const void *addr)
{
    struct fake_os_said s = {.huge = -1, .node = -1};
    os_lock(&last_lock);
    for (size_t i = 0; i < nsaid; i++) {
        if ((uintptr_t)addr - (uintptr_t)said[i].addr >= said[i].bytes)
            continue;
        if (said[i].huge >= 0)
            s.huge = said[i].huge;
        if (said[i].made >= 0)
            s.made = said[i].made != 0;
        if (said[i].name != NULL)
            s.name = said[i].name;
        s.records |= said[i].records;
        if (said[i].node != 0)
            s.node = said[i].node - 1;
    }
    os_unlock(&last_lock);
    return s;
}

static void say(struct said what)
{
    enum { MOST = sizeof(said) / sizeof(said[0]) };
    os_lock(&last_lock);
    if (nsaid == MOST) { /* the older half is forgotten */
        nsaid = MOST / 2;
        memmove(said, said + MOST / 2, nsaid * sizeof(said[0]));
    }
    said[nsaid++] = what;
    os_unlock(&last_lock);
}

size_t fake_os_held_bytes(void)
{
    return held_bytes;
}

void fake_os_set_page_size(size_t bytes)
{
    claim.page_size = bytes;
}

void fake_os_set_cpu(unsigned cpu)
{
    claim.cpu_next = cpu + 1;
}

void fake_os_set_ncpus(unsigned n)
{
    claim.ncpus = n;
}

void fake_os_set_ram(uint64_t bytes)
{
    claim.ram = bytes;
}

void fake_os_set_address_limit(uint64_t bytes)
{
    claim.address_limit = bytes;
}

void fake_os_set_huge_bytes(size_t bytes)
{
    claim.huge_bytes = bytes;
}

void fake_os_set_huge_allowed(bool yes)
{
    claim.huge_allowed = yes;
}

void fake_os_set_resident_percent(unsigned percent)
{
    claim.resident_percent = (int)percent;
}

void fake_os_set_commit_counts(bool yes)
{
    claim.commit_counts = yes;
}

void fake_os_set_nnodes(unsigned n)
{
    claim.nnodes = n;
}

void fake_os_set_node(unsigned node)
{
    claim.node = node;
}

void fake_os_set_numa(const char *allowed, int error)
{
    claim.numa_faked = true;
    claim.numa_error = error;
    claim.allowed = claim.policy_ids = (struct os_ids){{0}};
    claim.policy = OS_MEMPOLICY_NONE;
    claim.node_id = 0;
    REQUIRE(hak_list_parse(allowed, claim.allowed.word, OS_NODE_IDS));
}

void fake_os_set_mempolicy(int policy, const char *ids)
{
    claim.policy = (enum os_mempolicy)policy;
    claim.policy_ids = (struct os_ids){{0}};
    REQUIRE(hak_list_parse(ids, claim.policy_ids.word, OS_NODE_IDS));
}

void fake_os_set_node_id(unsigned id)
{
    claim.node_id = id;
}

void fake_os_set_place_error(int error)
{
    claim.place_error = error;
}

static _Thread_local unsigned own_node; /* + 1 */

void fake_os_set_own_node(unsigned node)
{
    own_node = node + 1;
}

void fake_os_set_environ(const char *const *env)
{
    claim.env = env;
}

void fake_os_set_root(const char *path)
{
    claim.root = path;
}

/* ---- The allocator's side. ---- */

static bool count_one(enum fake_os_kind kind)
{
    uint64_t n = ++counts[kind].calls;
    bool fail = n >= counts[kind].fail_from && n < counts[kind].fail_until;
    counts[kind].failed += fail;
    return fail;
}

static bool unlucky(void)
{
    if (random_percent == 0)
        return false;
    uint64_t x = random_seed; /* two threads may draw the same: no harm */
    uint64_t drawn = hak_test_random(&x);
    random_seed = x;
    return drawn % 100 < random_percent;
}

/* Count a call; true: it has to fail. */
static bool must_fail(enum fake_os_kind kind)
{
    bool any = count_one(FAKE_OS_ANY);
    return (int)count_one(kind) | (int)any | (int)unlucky();
}

static void remember(enum fake_os_kind kind, void *addr, size_t bytes, size_t align)
{
    os_lock(&last_lock);
    last[kind] = (struct fake_os_call){.addr = addr, .bytes = bytes, .align = align};
    os_unlock(&last_lock);
}

static void require_pages(const void *addr, size_t bytes)
{
    size_t mask = os_page_size() - 1;
    REQUIRE(((uintptr_t)addr & mask) == 0);
    REQUIRE(bytes != 0 && (bytes & mask) == 0);
}

WRAP(size_t, os_page_size, void)
{
    return claim.page_size != 0 ? claim.page_size : __real_os_page_size();
}

WRAP(unsigned, os_cpu, void)
{
    return claim.cpu_next != 0 ? claim.cpu_next - 1 : __real_os_cpu();
}

WRAP(unsigned, os_ncpus, void)
{
    return claim.ncpus != 0 ? claim.ncpus : __real_os_ncpus();
}

WRAP(uint64_t, os_ram_bytes, void)
{
    return claim.ram != 0 ? claim.ram : __real_os_ram_bytes();
}

WRAP(uint64_t, os_address_limit, void)
{
    return claim.address_limit != UINT64_MAX ? claim.address_limit : __real_os_address_limit();
}

WRAP(bool, os_commit_counts, void)
{
    return claim.commit_counts >= 0 ? claim.commit_counts : __real_os_commit_counts();
}

WRAP(unsigned, os_nnodes, void)
{
    return claim.nnodes != 0 ? claim.nnodes : __real_os_nnodes();
}

WRAP(unsigned, os_node, void)
{
    if (own_node != 0)
        return own_node - 1;
    return claim.nnodes != 0 ? claim.node : __real_os_node();
}

WRAP(int, os_mempolicy_allowed, struct os_ids *out)
{
    if (!claim.numa_faked)
        return __real_os_mempolicy_allowed(out);
    if (claim.numa_error == 0)
        *out = claim.allowed;
    return claim.numa_error;
}

WRAP(int, os_mempolicy_get, enum os_mempolicy *mode, struct os_ids *out)
{
    if (!claim.numa_faked)
        return __real_os_mempolicy_get(mode, out);
    if (claim.numa_error == 0) {
        *mode = claim.policy;
        *out = claim.policy_ids;
    }
    return claim.numa_error;
}

static void say(struct said what);

/* The real one would refuse nodes that are not here. A kernel before 5.15 cannot prefer several. */
WRAP(int, os_mempolicy_set, void *addr, size_t bytes, enum os_mempolicy mode,
     const struct os_ids *ids)
{
    require_pages(addr, bytes);
    count_one(FAKE_OS_PLACE);
    if (claim.place_error == EINVAL && mode == OS_MEMPOLICY_NEAR && os_ids_count(ids) == 1)
        return 0;
    return claim.place_error;
}

WRAP(bool, os_node_id, unsigned *id)
{
    *id = claim.node_id;
    return claim.numa_faked || __real_os_node_id(id);
}

WRAP(void, os_node_place, void *addr, size_t bytes, unsigned node)
{
    require_pages(addr, bytes);
    say((struct said){
        .addr = addr, .bytes = bytes, .huge = -1, .made = -1, .node = (int)node + 1});
    __real_os_node_place(addr, bytes, node);
}

/* Nodes that are only claimed are said to be placed on. */
WRAP(bool, os_node_places, void)
{
    return claim.nnodes > 1 || __real_os_node_places();
}

WRAP(const char *, os_numa_init, const char *root, const struct os_ids *wanted, bool *bad)
{
    return __real_os_numa_init(claim.root != NULL ? claim.root : root, wanted, bad);
}

WRAP(const char *const *, os_environ, void)
{
    return claim.env != NULL ? claim.env : __real_os_environ();
}

void *__real_os_map(size_t bytes, size_t align);
void __real_os_unmap(void *addr, size_t bytes);

static void *trimmed(char *p, size_t bytes, size_t page)
{
    size_t before = p == NULL ? 0 : -(uintptr_t)p & (page - 1);
    if (before != 0)
        __real_os_unmap(p, before);
    if (p != NULL)
        __real_os_unmap(p + before + bytes, page - before);
    return p == NULL ? NULL : p + before;
}

WRAP(void *, os_reserve, void *hint, size_t bytes, bool fixed)
{
    require_pages(hint, bytes);
    if (must_fail(FAKE_OS_RESERVE))
        return NULL;
    size_t page = os_page_size();
    char *p = fixed || page == __real_os_page_size()
                  ? __real_os_reserve(hint, bytes, fixed)
                  : trimmed(__real_os_reserve(hint, bytes + page, false), bytes, page);
    if (p != NULL) {
        held_bytes += bytes;
        remember(FAKE_OS_RESERVE, p, bytes, 0);
    }
    return p;
}

WRAP(void *, os_reserve_readable, size_t bytes)
{
    require_pages(NULL, bytes);
    if (must_fail(FAKE_OS_RESERVE_READABLE))
        return NULL;
    size_t page = os_page_size();
    void *p = page == __real_os_page_size()
                  ? __real_os_reserve_readable(bytes)
                  : trimmed(__real_os_reserve_readable(bytes + page), bytes, page);
    if (p != NULL) {
        held_bytes += bytes;
        remember(FAKE_OS_RESERVE_READABLE, p, bytes, 0);
    }
    return p;
}

WRAP(bool, os_commit, void *addr, size_t bytes)
{
    require_pages(addr, bytes);
    if (must_fail(FAKE_OS_COMMIT) || !__real_os_commit(addr, bytes))
        return false;
    remember(FAKE_OS_COMMIT, addr, bytes, 0);
    return true;
}

WRAP(void *, os_map, size_t bytes, size_t align)
{
    require_pages(NULL, bytes);
    REQUIRE(HAK_IS_POW2(align));
    if (must_fail(FAKE_OS_MAP))
        return NULL;
    void *p = __real_os_map(bytes, HAK_MAX(align, os_page_size()));
    if (p != NULL) {
        REQUIRE(((uintptr_t)p & (align - 1)) == 0);
        held_bytes += bytes;
        remember(FAKE_OS_MAP, p, bytes, align);
    }
    return p;
}

WRAP(void, os_unmap, void *addr, size_t bytes)
{
    require_pages(addr, bytes);
    count_one(FAKE_OS_UNMAP);
    held_bytes -= bytes;
    remember(FAKE_OS_UNMAP, addr, bytes, 0);
    __real_os_unmap(addr, bytes);
}

WRAP(void *, os_remap, void *addr, size_t old_bytes, size_t new_bytes)
{
    require_pages(addr, old_bytes);
    require_pages(addr, new_bytes);
    if (must_fail(FAKE_OS_REMAP))
        return NULL;
    /* A move by the real one may land between two pages of the claimed size. */
    if (os_page_size() != __real_os_page_size() && new_bytes > old_bytes)
        return NULL;
    void *p = __real_os_remap(addr, old_bytes, new_bytes);
    if (p != NULL) {
        held_bytes += new_bytes - old_bytes;
        remember(FAKE_OS_REMAP, p, new_bytes, 0);
    }
    return p;
}

/* Each span counts as a call. */
WRAP(unsigned, os_purge, const struct os_span *span, unsigned n, bool lazily)
{
    unsigned done = 0;
    while (done < n) {
        require_pages(span[done].addr, span[done].bytes);
        if (must_fail(FAKE_OS_PURGE) || __real_os_purge(&span[done], 1, lazily) != 1)
            break;
        remember(FAKE_OS_PURGE, span[done].addr, span[done].bytes, 0);
        last[FAKE_OS_PURGE].lazily = lazily;
        done++;
    }
    return done;
}

WRAP(bool, os_populate, void *addr, size_t bytes)
{
    require_pages(addr, bytes);
    if (must_fail(FAKE_OS_POPULATE))
        return false;
    remember(FAKE_OS_POPULATE, addr, bytes, 0);
    return __real_os_populate(addr, bytes);
}

WRAP(size_t, os_huge_bytes, void)
{
    return claim.huge_bytes != 0 ? claim.huge_bytes : __real_os_huge_bytes();
}

WRAP(bool, os_huge_allowed, void)
{
    return claim.huge_allowed >= 0 ? claim.huge_allowed : __real_os_huge_allowed();
}

/* A kernel without huge pages shall not decide the test. */
WRAP(bool, os_huge_advise, void *addr, size_t bytes, bool wanted)
{
    require_pages(addr, bytes);
    if (must_fail(FAKE_OS_HUGE_ADVISE))
        return false;
    (void)__real_os_huge_advise(addr, bytes, wanted);
    say((struct said){.addr = addr, .bytes = bytes, .huge = wanted, .made = 0});
    return true;
}

WRAP(bool, os_huge_make, void *addr)
{
    REQUIRE(((uintptr_t)addr & (os_huge_bytes() - 1)) == 0);
    REQUIRE(fake_os_said(addr).huge == 1);
    if (must_fail(FAKE_OS_HUGE_MAKE))
        return false;
    (void)__real_os_huge_make(addr);
    say((struct said){.addr = addr, .bytes = os_huge_bytes(), .huge = -1, .made = 1});
    return true;
}

WRAP(size_t, os_resident, void *addr, size_t bytes)
{
    require_pages(addr, bytes);
    return claim.resident_percent >= 0 ? bytes * (unsigned)claim.resident_percent / 100
                                       : __real_os_resident(addr, bytes);
}

WRAP(void, os_name, void *addr, size_t bytes, const char *name)
{
    require_pages(addr, bytes);
    say((struct said){.addr = addr, .bytes = bytes, .huge = -1, .made = -1, .name = name});
    __real_os_name(addr, bytes, name);
}

WRAP(void, os_name_records, void *addr, size_t bytes)
{
    require_pages(addr, bytes);
    say((struct said){.addr = addr, .bytes = bytes, .huge = -1, .made = -1, .records = true});
    __real_os_name_records(addr, bytes);
}

WRAP(bool, os_thread_start, void (*fn)(void))
{
    return !must_fail(FAKE_OS_THREAD_START) && __real_os_thread_start(fn);
}

WRAP(bool, os_thread_exit_init, void (*fn)(void *))
{
    return !must_fail(FAKE_OS_THREAD_EXIT) && __real_os_thread_exit_init(fn);
}

WRAP(bool, os_thread_exit_arm, void *arg)
{
    return !must_fail(FAKE_OS_THREAD_EXIT) && __real_os_thread_exit_arm(arg);
}

WRAP(bool, os_fork_hooks, void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return !must_fail(FAKE_OS_FORK_HOOKS) && __real_os_fork_hooks(prepare, parent, child);
}

/* A reader of lines that is sent home after the first one. */
struct one_line {
    bool (*fn)(void *, char *);
    void *arg;
};

static bool first_line(void *arg, char *line)
{
    const struct one_line *l = arg;
    (void)l->fn(l->arg, line);
    return false;
}

WRAP(bool, os_file_lines, const char *path, bool (*fn)(void *, char *), void *arg)
{
    struct one_line l = {fn, arg};
    if (must_fail(FAKE_OS_FILE))
        return false;
    if (!count_one(FAKE_OS_FILE_END))
        return __real_os_file_lines(path, fn, arg);
    (void)__real_os_file_lines(path, first_line, &l);
    return false;
}

WRAP(const char *, os_cgroup_find, const char *root, struct os_cgroup *out)
{
    return __real_os_cgroup_find(claim.root != NULL ? claim.root : root, out);
}

WRAP(bool, os_pressure_read, const char *root, const struct os_cgroup *cg,
     struct os_pressure *out)
{
    return __real_os_pressure_read(claim.root != NULL ? claim.root : root, cg, out);
}
