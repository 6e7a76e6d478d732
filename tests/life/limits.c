/* SPDX-License-Identifier: MIT
 *
 * Memory that runs out: RLIMIT_AS, RLIMIT_DATA, vm.overcommit_memory=2, vm.max_map_count, and
 * system calls that are refused from some moment on. Each time the same is wanted: NULL with
 * errno ENOMEM, every live block as it was, and all of it usable again when memory is back.
 */
#include "life.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define MIB ((size_t)1 << 20)

/* ---- Live blocks, chained through themselves: no table that would need memory too. ---- */

struct node {
    struct node *next;
    size_t n; /* bytes after the node, stamped */
};

static size_t chain_add(struct node **chain, size_t n)
{
    errno = 0;
    struct node *b = malloc(sizeof *b + n);
    if (b == NULL) {
        CHECK(errno == ENOMEM);
        return 0;
    }
    *b = (struct node){*chain, n};
    life_stamp(b + 1, n);
    *chain = b;
    return sizeof *b + n;
}

static void chain_check(const struct node *b)
{
    for (; b != NULL; b = b->next)
        CHECK(life_intact(b + 1, b->n));
}

/* Free every block, or every other one. */
static void chain_free(struct node **chain, bool all)
{
    struct node **at = chain;
    while (*at != NULL) {
        struct node *b = *at;
        CHECK(life_intact(b + 1, b->n));
        *at = b->next;
        free(b);
        if (!all && *at != NULL)
            at = &(*at)->next;
    }
}

/* Allocate until there is no more, first in big blocks, then in ever smaller ones, and at most
 * `cap` bytes. Returns the bytes. */
static size_t fill(struct node **chain, size_t cap)
{
    static const size_t sizes[] = {8 << 20, 900000, 300000, 50000, 8000, 1000, 100, 0};
    size_t bytes = 0;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t got = 1; got != 0 && bytes < cap; bytes += got)
            got = chain_add(chain, sizes[i]);
    return bytes;
}

/* ---- What holds whenever memory has run out. ---- */

static void refuses(size_t n)
{
    errno = 0;
    CHECK(malloc(n) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(n, 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(aligned_alloc(4096, n & ~(size_t)4095) == NULL && errno == ENOMEM);
    void *untouched = &errno;
    errno = 0;
    CHECK(posix_memalign(&untouched, 256, n) == ENOMEM && untouched == &errno && errno == 0);
    void *p = malloc(1);
    if (p != NULL) {
        *(char *)p = 42;
        errno = 0;
        CHECK(realloc(p, n) == NULL && errno == ENOMEM && *(char *)p == 42);
        free(p);
    }
}

/* A thread that is alive already but has not allocated yet. */
static pthread_barrier_t exhausted;

static void *first_malloc_when_exhausted(void *arg)
{
    pthread_barrier_wait(&exhausted);
    errno = 0;
    void *p = malloc(40);
    CHECK(p != NULL || errno == ENOMEM);
    free(p);
    p = malloc(100000);
    free(p);
    pthread_barrier_wait(&exhausted);
    life_exercise(5, 50, 64 << 10); /* memory is back */
    return NULL;
}

/* Use all memory there is, see that running out is harmless, give all back, and see that it
 * can be had again. `useful`: how much must be had at least. */
static void exhaust_and_recover(size_t useful, size_t cap)
{
    struct node *chain = NULL;
    CHECK(pthread_barrier_init(&exhausted, NULL, 2) == 0);
    pthread_t t = life_thread(first_malloc_when_exhausted, NULL);
    size_t first = fill(&chain, cap);
    printf("%zu KiB in blocks\n", first >> 10);
    CHECK(first >= useful);
    pthread_barrier_wait(&exhausted);
    if (first < cap)
        refuses(64 * MIB);
    refuses((size_t)1 << 46); /* more than an address space holds */
    chain_check(chain);

    chain_free(&chain, false);
    size_t again = fill(&chain, cap);
    printf("half of them freed: %zu KiB again\n", again >> 10);
    CHECK(again >= first / 4);
    chain_check(chain);

    chain_free(&chain, true);
    pthread_barrier_wait(&exhausted);
    life_join(t);
    again = fill(&chain, cap);
    printf("all of them freed: %zu KiB again\n", again >> 10);
    CHECK(again >= first / 4 * 3);
    chain_free(&chain, true);
    life_exercise(6, 200, 4 << 20);
}

/* ---- Limits from the start: the program runs itself again under the limit. ---- */

static void restart_under(int which, size_t limit, const char *name)
{
    struct rlimit r = {limit, limit};
    CHECK(setrlimit(which, &r) == 0);
    execl("/proc/self/exe", "limits", name, (char *)NULL);
    CHECK(!"exec worked");
}

static void address_space_at_start(void)
{
    restart_under(RLIMIT_AS, 256 * MIB, "half_of_256M");
}

static void small_address_space_at_start(void)
{
    restart_under(RLIMIT_AS, 64 * MIB, "third_of_64M");
}

static void data_at_start(void)
{
    restart_under(RLIMIT_DATA, 64 * MIB, "third_of_64M");
}

static void half_of_256M(void)
{
    exhaust_and_recover(128 * MIB, 256 * MIB);
}

static void third_of_64M(void)
{
    exhaust_and_recover(64 * MIB / 3, 64 * MIB);
}

/* ---- Limits while running. ---- */

static void limited(int which, const char *now, size_t more, size_t useful, size_t cap)
{
    life_exercise(1, 500, 4 << 20);
    struct rlimit r;
    CHECK(getrlimit(which, &r) == 0);
    rlim_t unlimited = r.rlim_cur;
    r.rlim_cur = (size_t)life_status_kib(now) * 1024 + more;
    CHECK(setrlimit(which, &r) == 0);
    exhaust_and_recover(useful, cap);
    r.rlim_cur = unlimited;
    CHECK(setrlimit(which, &r) == 0);
    struct node *chain = NULL;
    CHECK(fill(&chain, more + 200 * MIB) >= more + 200 * MIB);
    chain_free(&chain, true);
}

/* Address space that is reserved already may still be used: the limit says nothing about that.
 * So there may be no end of memory here, and only the cap ends the filling. */
static void address_space_while_running(void)
{
    limited(RLIMIT_AS, "VmSize:", 64 * MIB, 32 * MIB, 512 * MIB);
}

static void data_while_running(void)
{
    limited(RLIMIT_DATA, "VmData:", 64 * MIB, 32 * MIB, 512 * MIB);
}

/* ---- No mapping left: vm.max_map_count. ---- */

static void mappings_used_up(void)
{
    enum { MOST = 200000 };
    static void *page[MOST];
    struct node *chain = NULL;
    size_t bytes = fill(&chain, 40 * MIB);
    CHECK(bytes >= 40 * MIB);
    int n = 0;
    /* Neighbours of different protection do not merge. */
    for (; n < MOST; n++) {
        page[n] =
            mmap(NULL, 4096, n % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page[n] == MAP_FAILED)
            break;
    }
    if (n == MOST)
        life_skip("vm.max_map_count is above 200,000");
    printf("%ld mappings\n", life_mappings());
    chain_check(chain);
    chain_free(&chain, false); /* where a hole cannot be made in a mapping, it stays */
    fill(&chain, 40 * MIB);
    chain_check(chain);
    chain_free(&chain, true);
    fill(&chain, 40 * MIB);
    chain_check(chain);
    while (n > 0)
        munmap(page[--n], 4096);
    chain_free(&chain, true);
    CHECK(fill(&chain, 200 * MIB) >= 200 * MIB);
    chain_free(&chain, true);
    life_exercise(2, 500, 40 << 20);
}

/* ---- System calls refused: a seccomp filter, which holds for the thread that sets it. ---- */

enum { MMAP = 1, MUNMAP = 2, MREMAP = 4, MPROTECT = 8, MADVISE = 16, ALL = 31 };

static const struct {
    unsigned bit;
    unsigned nr;
} calls[] = {{MMAP, __NR_mmap},
             {MUNMAP, __NR_munmap},
             {MREMAP, __NR_mremap},
             {MPROTECT, __NR_mprotect},
             {MADVISE, __NR_madvise}};

static void refuse(unsigned set)
{
    struct sock_filter code[2 + 2 * sizeof calls / sizeof calls[0]];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if ((set & calls[i].bit) == 0)
            continue;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].nr, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        life_skip("no seccomp filters here");
}

struct refusal {
    unsigned set;
    struct node *chain; /* from before */
};

/* A random load that takes NULL for an answer; realloc too. */
static void try_everything(uint64_t seed, unsigned rounds)
{
    enum { KEPT = 32 };
    struct node *kept[KEPT] = {NULL};
    uint64_t state = life_seed(seed);
    for (unsigned i = 0; i < rounds; i++) {
        struct node **k = &kept[life_random(&state) % KEPT];
        size_t n = life_size(&state, 40 << 20);
        if (*k != NULL && life_random(&state) % 4 == 0) {
            CHECK(life_intact(*k + 1, (*k)->n));
            struct node *moved = realloc(*k, sizeof **k + n);
            if (moved == NULL) {
                CHECK(errno == ENOMEM && life_intact(*k + 1, (*k)->n));
                continue;
            }
            moved->n = n;
            life_stamp(moved + 1, n);
            *k = moved;
            continue;
        }
        if (*k != NULL)
            chain_free(k, true);
        chain_add(k, n);
    }
    for (unsigned i = 0; i < KEPT; i++)
        if (kept[i] != NULL)
            chain_free(&kept[i], true);
}

static void *under_refusal(void *arg)
{
    struct refusal *r = arg;
    try_everything(1, 500);
    refuse(r->set);
    try_everything(2, 3000);
    fill(&r->chain, 300 * MIB);
    chain_check(r->chain);
    chain_free(&r->chain, false);
    try_everything(3, 3000);
    chain_check(r->chain);
    return NULL; /* and a thread ends while nothing works */
}

static void refused(unsigned set)
{
    struct refusal r = {set, NULL};
    life_exercise(1, 500, 4 << 20);
    fill(&r.chain, 20 * MIB);
    life_join(life_thread(under_refusal, &r));
    chain_check(r.chain); /* this thread may do everything: memory is back */
    chain_free(&r.chain, true);
    CHECK(fill(&r.chain, 300 * MIB) >= 300 * MIB);
    chain_free(&r.chain, true);
    try_everything(4, 3000);
    life_exercise(5, 500, 40 << 20);
}

static void mmap_refused(void)
{
    refused(MMAP);
}

static void munmap_refused(void)
{
    refused(MUNMAP);
}

static void mremap_refused(void)
{
    refused(MREMAP);
}

static void mprotect_refused(void)
{
    refused(MPROTECT);
}

static void madvise_refused(void)
{
    refused(MADVISE);
}

static void all_refused(void)
{
    refused(ALL);
}

/* ---- vm.overcommit_memory=2: what is mapped writable is charged, touched or not. ---- */

static const char overcommit_file[] = "/proc/sys/vm/overcommit_memory";
static char overcommit_before = '0';

static bool overcommit_set(char value)
{
    int fd = open(overcommit_file, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = write(fd, &value, 1) == 1;
    close(fd);
    return done;
}

static void overcommit_restore(int sig)
{
    overcommit_set(overcommit_before);
    _exit(128 + sig);
}

static size_t meminfo(const char *name)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtoul(line + strlen(name), NULL, 10);
    fclose(f);
    return kib << 10;
}

/* Under the setting, in a process that started under it. */
static void no_overcommit(void)
{
    life_exercise(1, 2000, 40 << 20);
    size_t limit = meminfo("CommitLimit:");
    refuses(limit);
    /* A reserve of address space must not have been charged: the rest is still there. */
    size_t half = (limit - meminfo("Committed_AS:")) / 2;
    void *p = malloc(half);
    CHECK(p != NULL);
    free(p);
    life_exercise(2, 2000, 40 << 20);
}

static void overcommit_2(void)
{
    int fd = open(overcommit_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &overcommit_before, 1) != 1 || !overcommit_set(overcommit_before))
        life_skip(
            "vm.overcommit_memory cannot be set here (it takes root, outside containers)");
    close(fd);
    if (meminfo("CommitLimit:") < meminfo("Committed_AS:") + 1024 * MIB)
        life_skip("less than 1 GiB could be committed: other processes would starve");
    for (int sig = 1; sig < 32; sig++)
        if (sig != SIGCHLD && sig != SIGCONT && sig != SIGWINCH && sig != SIGURG)
            signal(sig, overcommit_restore);
    CHECK(overcommit_set('2'));
    pid_t pid = fork();
    if (pid == 0) {
        for (int sig = 1; sig < 32; sig++)
            signal(sig, SIG_DFL);
        alarm(10);
        execl("/proc/self/exe", "limits", "no_overcommit", (char *)NULL);
        _exit(127);
    }
    int status = -1;
    if (pid > 0)
        waitpid(pid, &status, 0);
    overcommit_set(overcommit_before);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

LIFE_MAIN({"address_space_at_start", address_space_at_start},
          {"small_address_space_at_start", small_address_space_at_start},
          {"data_at_start", data_at_start}, {"half_of_256M", half_of_256M},
          {"third_of_64M", third_of_64M},
          {"address_space_while_running", address_space_while_running},
          {"data_while_running", data_while_running}, {"mappings_used_up", mappings_used_up},
          {"mmap_refused", mmap_refused}, {"munmap_refused", munmap_refused},
          {"mremap_refused", mremap_refused}, {"mprotect_refused", mprotect_refused},
          {"madvise_refused", madvise_refused}, {"all_refused", all_refused},
          {"no_overcommit", no_overcommit}, {"overcommit_2", overcommit_2})
