/* SPDX-License-Identifier: MIT
 *
 * numa: one case, in a process of its own, on a machine with nodes. Usage: cases NAME [ARGUMENT...].
 * The witness of where pages are is libnuma, which asks the kernel (move_pages). Prints one line of
 * figures; exit status 0: it holds. boot.py has the machines and what is run on which.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <numa.h>
#include <numaif.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MIB      ((size_t)1 << 20)
#define CHECK(c) ((c) ? (void)0 : failed(#c, __LINE__))

static _Noreturn void failed(const char *what, int line)
{
    printf("cases.c:%d: %s\n", line, what);
    exit(1);
}

/* ---- Where pages are. ---- */

enum { PAGE = 4096, PAGES_MAX = 1 << 17 };
static char *page[PAGES_MAX];
static int status[PAGES_MAX];
static size_t npages;

static int page_cmp(const void *a, const void *b)
{
    const char *p = *(char *const *)a, *q = *(char *const *)b;
    return (p > q) - (p < q);
}

static void pages_add(void *block, size_t bytes)
{
    char *first = (char *)((uintptr_t)block & ~(uintptr_t)(PAGE - 1));
    for (char *p = first; p < (char *)block + bytes && npages < PAGES_MAX; p += PAGE)
        page[npages++] = p;
}

/* Of the pages added since the last time, how many per 1,000 that are there are on the node. */
static unsigned pages_on(int node, size_t *seen)
{
    size_t n = 0, there = 0, present = 0;
    qsort(page, npages, sizeof(page[0]), page_cmp);
    for (size_t i = 0; i < npages; i++)
        if (i == 0 || page[i] != page[n - 1])
            page[n++] = page[i];
    npages = 0;
    CHECK(numa_move_pages(0, n, (void **)page, NULL, status, 0) == 0);
    for (size_t i = 0; i < n; i++) {
        present += status[i] >= 0;
        there += status[i] == node;
    }
    if (seen != NULL)
        *seen = present;
    return present > 0 ? (unsigned)(there * 1000 / present) : 0;
}

static void require_on(int node, const char *what)
{
    size_t seen;
    unsigned share = pages_on(node, &seen);
    printf("%s: %u.%u %% of %zu pages on node %d\n", what, share / 10, share % 10, seen, node);
    CHECK(seen > 0 && share >= 990);
}

/* ---- Threads on nodes. ---- */

static cpu_set_t cpus_of(int node)
{
    struct bitmask *cpus = numa_allocate_cpumask();
    cpu_set_t set;
    CHECK(numa_node_to_cpus(node, cpus) == 0);
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (numa_bitmask_isbitset(cpus, (unsigned)cpu))
            CPU_SET(cpu, &set);
    numa_free_cpumask(cpus);
    CHECK(CPU_COUNT(&set) > 0);
    return set;
}

static void run_on(int node)
{
    cpu_set_t set = cpus_of(node);
    CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

struct job {
    void (*fn)(void *);
    void *arg;
    int node;
};

static void *job_run(void *arg)
{
    struct job *j = arg;
    j->fn(j->arg);
    return NULL;
}

/* On its node from its first instruction on. */
static pthread_t job_start(struct job *j)
{
    pthread_attr_t attr;
    pthread_t t;
    cpu_set_t set = cpus_of(j->node);
    CHECK(pthread_attr_init(&attr) == 0);
    CHECK(pthread_attr_setaffinity_np(&attr, sizeof(set), &set) == 0);
    CHECK(pthread_create(&t, &attr, job_run, j) == 0);
    pthread_attr_destroy(&attr);
    return t;
}

static void on_node(int node, void (*fn)(void *), void *arg)
{
    struct job j = {fn, arg, node};
    CHECK(pthread_join(job_start(&j), NULL) == 0);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- What hakmem says. ---- */

static char *stats(void)
{
    static char text[65536];
    size_t (*fn)(char *, size_t, int) =
        (size_t(*)(char *, size_t, int))dlsym(RTLD_DEFAULT, "hak_numa_stats");
    CHECK(fn != NULL && fn(text, sizeof(text), 1) < sizeof(text));
    return text;
}

static unsigned long counted(const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    char *at = strstr(stats(), quoted);
    CHECK(at != NULL);
    return strtoul(at + strlen(quoted), NULL, 10);
}

static int policy_at(void *p)
{
    int mode = -1;
    unsigned long mask[16];
    CHECK(get_mempolicy(&mode, mask, 1024, p, MPOL_F_ADDR) == 0);
    return mode;
}

/* ---- Blocks. ---- */

struct blocks {
    void **p;
    size_t *bytes;
    size_t n;
};

static size_t size_of(size_t i)
{
    static const size_t sizes[] = {16, 100, 700, 3000, 9000, 20000, 70000, 300000, 1500000};
    return sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
}

/* So many bytes of all sizes. */
static void blocks_get(struct blocks *b, size_t bytes, bool touch)
{
    enum { MOST = 1 << 16 };
    /* The arrays are not hakmem's. */
    b->p = mmap(NULL, MOST * sizeof(void *), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b->bytes = mmap(NULL, MOST * sizeof(size_t), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(b->p != MAP_FAILED && b->bytes != MAP_FAILED);
    b->n = 0;
    for (size_t sum = 0; sum < bytes && b->n < MOST; sum += b->bytes[b->n++]) {
        b->bytes[b->n] = size_of(b->n);
        b->p[b->n] = malloc(b->bytes[b->n]);
        CHECK(b->p[b->n] != NULL);
        if (touch)
            memset(b->p[b->n], 1, b->bytes[b->n]);
    }
}

static void blocks_touch(void *arg)
{
    struct blocks *b = arg;
    for (size_t i = 0; i < b->n; i++)
        memset(b->p[i], 2, b->bytes[i]);
}

static void blocks_count(const struct blocks *b)
{
    for (size_t i = 0; i < b->n; i++)
        pages_add(b->p[i], b->bytes[i]);
}

static void blocks_free(void *arg)
{
    struct blocks *b = arg;
    for (size_t i = 0; i < b->n; i++)
        free(b->p[i]);
    b->n = 0;
}

static void get_touched(void *b)
{
    blocks_get(b, 24 * MIB, true);
}

static void get_untouched(void *b)
{
    blocks_get(b, 24 * MIB, false);
}

/* ---- The cases. ---- */

static void each_node(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        struct blocks b;
        int cpus = atoi(argv[i]),
            memory = strchr(argv[i], ':') ? atoi(strchr(argv[i], ':') + 1) : cpus;
        char what[64];
        snprintf(what, sizeof(what), "threads of node %d", cpus);
        on_node(cpus, get_touched, &b);
        blocks_count(&b);
        require_on(memory, what);
    }
}

/* first_touch NODE: allocated on node 0, touched on node 1. Small blocks are linked by who gets them. */
static void first_touch(int argc, char **argv)
{
    struct blocks b;
    on_node(0, get_untouched, &b);
    on_node(1, blocks_touch, &b);
    for (size_t i = 0; i < b.n; i++)
        if (b.bytes[i] > PAGE)
            pages_add((char *)b.p[i] + PAGE, b.bytes[i] - PAGE);
    require_on(atoi(argv[0]), "allocated on 0, touched on 1");
}

enum { RING = 1024 };
static _Atomic(void *) ring[RING];
static _Atomic unsigned long consumed;
static _Atomic bool produced;
enum { MESSAGES = 200000 };
static size_t message_bytes(size_t i)
{
    return 64 + i * 37 % 2000;
}

static void produce(void *unused)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        char *p = malloc(message_bytes(i));
        memset(p, 3, message_bytes(i));
        if (i % 16 == 0)
            pages_add(p, 1);
        while (atomic_load(&ring[i % RING]) != NULL)
            sched_yield();
        atomic_store(&ring[i % RING], p);
    }
    atomic_store(&produced, true);
}

static struct blocks consumers;
static void consume(void *unused)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        void *p;
        while ((p = atomic_exchange(&ring[i % RING], NULL)) == NULL)
            sched_yield();
        free(p);
        atomic_fetch_add(&consumed, 1);
    }
    blocks_get(&consumers, 8 * MIB, true); /* of the sizes just freed, too */
}

static void producer_consumer(int argc, char **argv)
{
    struct job p = {produce, NULL, 0}, c = {consume, NULL, 1};
    pthread_t t[2] = {job_start(&p), job_start(&c)};
    CHECK(pthread_join(t[0], NULL) == 0 && pthread_join(t[1], NULL) == 0);
    unsigned long pushes = counted("far_pushes"), blocks = counted("far_blocks");
    printf("%lu cross-node pushes of %lu blocks: %lu.%02lu per 1,000 frees\n", pushes, blocks,
           pushes * 1000 / MESSAGES, pushes * 100000 / MESSAGES % 100);
    /* The rest waits in lists that are not full. */
    CHECK(blocks >= MESSAGES * 95 / 100 && pushes * 1000 / MESSAGES <= 50);
    require_on(0, "the producer's");
    blocks_count(&consumers);
    require_on(1, "the consumer's own");
}

static void work(uint64_t ms)
{
    void *p[64] = {NULL};
    for (uint64_t end = now_ms() + ms, i = 0; now_ms() < end; i++) {
        free(p[i % 64]);
        p[i % 64] = malloc(size_of(i) % 100000);
        if (i % 8 == 0)
            free(malloc(200000)); /* bins of few blocks: slow paths */
    }
    for (unsigned i = 0; i < 64; i++)
        free(p[i]);
}

static struct blocks before, after;
static void migrate(void *unused)
{
    blocks_get(&before, 8 * MIB, true);
    run_on(1);
    work(300);
    blocks_get(&after, 24 * MIB, true);
}

static void migrated_thread(int argc, char **argv)
{
    on_node(0, migrate, NULL);
    blocks_count(&before);
    require_on(0, "before it moved");
    blocks_count(&after);
    require_on(1, "after it moved");
}

/* Away for less than it takes to have moved for good; a machine that is busy may make it more. */
static uint64_t longest_ms;
static void bounce(void *unused)
{
    longest_ms = 0;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t begun = now_ms();
        run_on(i % 2);
        work(5);
        run_on(0);
        longest_ms = now_ms() - begun > longest_ms ? now_ms() - begun : longest_ms;
        work(1);
    }
    blocks_get(&after, 4 * MIB, true);
    for (size_t i = 0; i < after.n;
         i++) /* runs follow the thread at once; small blocks its heap */
        if (after.bytes[i] > 256 * 1024)
            after.bytes[i] = 0;
}

static void bouncing_thread(int argc, char **argv)
{
    for (unsigned i = 0; i < 20 && (i == 0 || longest_ms >= 40); i++)
        on_node(0, bounce, NULL);
    if (longest_ms >= 40) {
        printf("left out: the machine is too busy\n");
        return;
    }
    blocks_count(&after);
    require_on(0, "of a thread moved to and fro");
}

static unsigned long meminfo_mib(int node, const char *key)
{
    char path[64], line[128];
    unsigned long kib = 0;
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL)
        if (strstr(line, key) != NULL)
            sscanf(strchr(line, ':') + 1, "%lu", &kib);
    fclose(f);
    return kib >> 10;
}

static struct blocks full;
static void fill(void *node)
{
    blocks_get(&full, (meminfo_mib(*(int *)node, "MemFree") + 48) * MIB, true);
}

/* More than the node has: the rest is elsewhere, and nobody is killed. */
static void full_node(int argc, char **argv)
{
    int node = atoi(argv[0]);
    unsigned long had = meminfo_mib(node, "MemFree"), total = 0;
    on_node(node, fill, &node);
    blocks_count(&full);
    for (size_t i = 0; i < full.n; i++)
        total += full.bytes[i];
    size_t seen;
    unsigned share = pages_on(node, &seen);
    printf("%lu MiB asked of a node with %lu MiB free: %u.%u %% of %zu pages there, the rest "
           "elsewhere\n",
           total >> 20, had, share / 10, share % 10, seen);
    CHECK(share < 1000 && share >= 500);
    struct blocks near;
    on_node(0, get_touched, &near); /* where there is room all is in its place */
    blocks_count(&near);
    require_on(0, "meanwhile on node 0");
    on_node(node, blocks_free, &full);
}

/* policy [NODE]: under numactl hakmem adds none of its own. Without NODE numactl spreads over two. */
static void policy(int argc, char **argv)
{
    struct blocks b;
    int node = argc > 0 ? atoi(argv[0]) : -1;
    on_node(0, get_touched, &b);
    for (size_t i = 0; i < b.n; i++)
        CHECK(policy_at(b.p[i]) == MPOL_DEFAULT);
    CHECK(strstr(stats(), "\"placed\": false") != NULL);
    blocks_count(&b);
    if (node >= 0) {
        require_on(node, "where numactl says");
        return;
    }
    size_t seen;
    unsigned share = pages_on(1, &seen);
    printf("spread by numactl: %u.%u %% of %zu pages on node 1\n", share / 10, share % 10,
           seen);
    CHECK(share > 450 && share < 550);
}

/* large local|interleave: a run, and a mapping of its own. */
static void large(int argc, char **argv)
{
    static const size_t sizes[] = {3 * MIB, 20 * MIB, 40 * MIB};
    bool local = strcmp(argv[0], "local") == 0;
    run_on(1);
    for (int i = 0; i < 3; i++) {
        char *p = malloc(sizes[i]), what[64];
        memset(p, 4, sizes[i]);
        pages_add(p, sizes[i]);
        snprintf(what, sizeof(what), "%zu MiB", sizes[i] / MIB);
        if (local) {
            require_on(1, what);
        } else {
            unsigned share = pages_on(1, NULL);
            printf("%s: %u.%u %% on node 1\n", what, share / 10, share % 10);
            CHECK(share > 480 && share < 520);
        }
        char *q = i == 0 ? malloc(1 * MIB) : NULL; /* less than what is spread */
        if (q != NULL) {
            memset(q, 5, 1 * MIB);
            pages_add(q, 1 * MIB);
            require_on(1, "1 MiB");
        }
    }
}

static void get_some(void *b)
{
    blocks_get(b, 3 * MIB, true);
}

/* park_and_reuse NODE...: threads are born and end there in turn; a heap is never one of another node. */
static void park_and_reuse(int argc, char **argv)
{
    enum { ROUNDS = 12 };
    for (int i = 0; i < ROUNDS * argc; i++) {
        struct blocks b;
        int node = atoi(argv[i % argc]);
        size_t seen;
        on_node(node, get_some, &b);
        blocks_count(&b);
        CHECK(pages_on(node, &seen) >= 990 && seen > 0);
        on_node(atoi(argv[(i + 1) % argc]), blocks_free, &b); /* and are freed elsewhere */
    }
    int heaps = 0;
    for (char *at = stats(); (at = strstr(at, "\"heaps\": ")) != NULL; at++)
        heaps += atoi(at + strlen("\"heaps\": "));
    printf("%d heaps for %d threads, one after another, on %d nodes\n", heaps,
           2 * ROUNDS * argc + 1, argc);
    CHECK(heaps == argc);
}

/* between NODE A B: it has no memory, and both are nearest. */
static void between(int argc, char **argv)
{
    struct blocks b;
    int a = atoi(argv[1]), c = atoi(argv[2]);
    on_node(atoi(argv[0]), get_touched, &b);
    CHECK(policy_at(b.p[0]) == 5); /* MPOL_PREFERRED_MANY */
    blocks_count(&b);
    unsigned share = pages_on(a, NULL);
    blocks_count(&b);
    share += pages_on(c, NULL);
    printf("between two nodes: %u.%u %% of the pages on these\n", share / 10, share % 10);
    CHECK(share >= 990);
}

/* What is done while this process may use other nodes than at its start. */
static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fputs(text, f) >= 0);
    CHECK(fclose(f) == 0);
}

/* At the next tick, which may be late, it is on `node` what threads of node 1 get. */
static void wait_until_on(int node, const char *what)
{
    for (unsigned i = 0; i < 30; i++) {
        struct blocks b;
        work(200);
        on_node(1, get_some, &b);
        blocks_count(&b);
        if (pages_on(node, NULL) >= 990)
            break;
    }
    struct blocks b;
    on_node(1, get_touched, &b);
    blocks_count(&b);
    require_on(node, what);
}

static void cpuset_changes(int argc, char **argv)
{
    CHECK(mount("none", "/cg", "cgroup2", 0, NULL) == 0);
    put("/cg/cgroup.subtree_control", "+cpuset");
    CHECK(mkdir("/cg/a", 0755) == 0);
    put("/cg/a/cpuset.mems", "0-1");
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", getpid());
    put("/cg/a/cgroup.procs", pid);
    wait_until_on(1, "while it may use both");
    put("/cg/a/cpuset.mems", "0");
    wait_until_on(0, "while it may use node 0 only");
    put("/cg/a/cpuset.mems", "0-1");
    wait_until_on(1, "when it may use both again");
}

/* As in a container: a filter refuses what has to do with nodes, from exec on. */
static void refused(int argc, char **argv)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mbind, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_get_mempolicy, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    setenv("LD_PRELOAD", getenv("CASES_PRELOAD"), 1);
    execl("/cases", "cases", "each_node", "0", "1", NULL);
}

static void get_huge(void *b)
{
    blocks_get(b, 64 * MIB, true);
}

/* Huge pages are of the node as well. */
static void huge(int argc, char **argv)
{
    struct blocks b;
    char line[128];
    unsigned long kib = 0, sum = 0;
    put("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"); /* off on a small machine */
    on_node(1, get_huge, &b);
    FILE *f = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "AnonHugePages: %lu", &kib) == 1)
            sum += kib;
    fclose(f);
    printf("%lu MiB of huge pages\n", sum >> 10);
    CHECK(sum >= 16 << 10);
    blocks_count(&b);
    require_on(1, "in huge pages");
}

static const struct {
    const char *name;
    void (*fn)(int argc, char **argv);
} cases[] = {
    {"each_node", each_node},
    {"first_touch", first_touch},
    {"producer_consumer", producer_consumer},
    {"migrated_thread", migrated_thread},
    {"bouncing_thread", bouncing_thread},
    {"full_node", full_node},
    {"policy", policy},
    {"large", large},
    {"park_and_reuse", park_and_reuse},
    {"between", between},
    {"cpuset_changes", cpuset_changes},
    {"refused", refused},
    {"huge", huge},
};

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(argc > 1 && numa_available() == 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].fn(argc - 2, argv + 2);
            return 0;
        }
    }
    failed("no such case", __LINE__);
}
