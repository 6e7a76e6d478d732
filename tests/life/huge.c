/* SPDX-License-Identifier: MIT
 *
 * Huge pages, names and core dumps, as the kernel tells of them in /proc/self/smaps. Where a test waits,
 * it waits for something to come true, and has patience.
 */
#include "life.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

enum { MIB = 1 << 20, HUGE_BYTES = 2 * MIB, BLOCK = 200, PATIENCE = 60 /* seconds */ };
enum { BLOCKS = 100 * MIB / BLOCK };

static const char enabled_file[] = "/sys/kernel/mm/transparent_hugepage/enabled";
static void *block[BLOCKS];

static void nap(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

/* ---- /proc/self/smaps, of mappings that hold or follow an address; no malloc. ---- */

struct smaps {
    long rss, huge, lazy; /* KiB, of the whole process */
    char flags[256];      /* of the mapping that holds the address */
    char name[128];       /* the last word of its first line */
};

static void smaps_line(struct smaps *s, char *line, uintptr_t address, bool *inside)
{
    unsigned long from, to;
    long kib;
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
        *inside = address >= from && address < to;
        const char *name = strchr(line, '[');
        if (*inside)
            snprintf(s->name, sizeof(s->name), "%s", name != NULL ? name : "");
    } else if (sscanf(line, "Rss: %ld", &kib) == 1) {
        s->rss += kib;
    } else if (sscanf(line, "AnonHugePages: %ld", &kib) == 1) {
        s->huge += kib;
    } else if (sscanf(line, "LazyFree: %ld", &kib) == 1) {
        s->lazy += kib;
    } else if (*inside && strncmp(line, "VmFlags:", 8) == 0) {
        snprintf(s->flags, sizeof(s->flags), "%s ", line + 8);
    }
}

static struct smaps smaps(const void *address)
{
    static char text[1 << 16];
    struct smaps s = {0};
    bool inside = false;
    size_t have = 0;
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    for (ssize_t n; (n = read(fd, text + have, sizeof(text) - 1 - have)) > 0;) {
        have += (size_t)n;
        text[have] = '\0';
        char *line = text;
        for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            smaps_line(&s, line, (uintptr_t)address, &inside);
        }
        have -= (size_t)(line - text);
        memmove(text, line, have);
    }
    close(fd);
    return s;
}

static bool flagged(const void *address, const char *flag)
{
    char word[8];
    struct smaps s = smaps(address);
    snprintf(word, sizeof(word), " %s ", flag);
    return strstr(s.flags, word) != NULL;
}

/* ---- What this machine can do. ---- */

static bool setting_is(const char *word)
{
    char text[64] = "";
    int fd = open(enabled_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        life_skip("the kernel has no huge pages");
    close(fd);
    return strstr(text, word) != NULL;
}

static void need_huge_pages(void)
{
    if (setting_is("[never]"))
        life_skip("huge pages are forbidden here");
    char *p =
        mmap(NULL, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    char *at = (char *)(((uintptr_t)p + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
    memset(at, 1, HUGE_BYTES);
    bool works = madvise(at, HUGE_BYTES, 25 /* MADV_COLLAPSE */) == 0 && smaps(at).huge > 0;
    munmap(p, 2 * HUGE_BYTES);
    if (!works)
        life_skip("the kernel makes no huge pages of 2 MiB on demand");
}

/* ---- Blocks. ---- */

static void fill(void)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        block[i] = life_malloc(BLOCK);
}

static void empty(unsigned from, unsigned step)
{
    for (unsigned i = from; i < BLOCKS; i += step) {
        if (block[i] != NULL)
            life_free(block[i], BLOCK);
        block[i] = NULL;
    }
}

static void wait_for(bool (*come)(void), const char *what)
{
    for (unsigned i = 0; !come(); i++) {
        struct smaps s = smaps(NULL);
        if (i == PATIENCE * 10) {
            dprintf(STDERR_FILENO, "waited for %s; %ld KiB are huge of %ld, %ld lazily free\n",
                    what, s.huge, s.rss, s.lazy);
            CHECK(!"it came");
        }
        nap(100);
    }
}

static bool most_is_huge(void)
{
    struct smaps s = smaps(NULL);
    return s.huge > s.rss / 4 * 3;
}

static bool nothing_is_huge(void)
{
    return smaps(NULL).huge <= 8 * 1024;
}

static bool little_is_left(void)
{
    return smaps(NULL).rss <= 32 * 1024;
}

/* ---- auto ---- */

static void automatic(void)
{
    need_huge_pages();
    fill();
    long before = smaps(NULL).rss;
    CHECK(flagged(block[BLOCKS / 2], "nh") || flagged(block[BLOCKS / 2], "hg"));
    wait_for(most_is_huge, "a heap that stays full to be huge");
    struct smaps s = smaps(NULL);
    printf("%ld KiB, then %ld, of them %ld huge\n", before, s.rss, s.huge);
    CHECK(s.rss <= before + before / 8);

    /* Holes everywhere, and none of them half a superslab: nothing is broken. */
    empty(0, 4);
    nap(3000);
    CHECK(smaps(NULL).huge >= s.huge - 4 * 1024);

    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(PATIENCE);
        empty(1, 4);
        life_exercise(3, 2000, MIB);
        empty(0, 1);
        malloc_trim(0);
        CHECK(little_is_left());
        _exit(0);
    }
    life_reap(pid, 0);

    empty(0, 1);
    wait_for(little_is_left, "memory to go back");
    wait_for(nothing_is_huge, "huge pages to be broken");
    CHECK(malloc(1) != NULL);
}

/* A program may do without, as redis-server does; then nothing is kept for the sake of huge pages. */
static long rss_full;

static bool a_sixth_is_gone(void)
{
    return smaps(NULL).rss < rss_full - rss_full / 6;
}

static void disabled(void)
{
    enum { IN_A_ROW = 4 * 65536 / BLOCK }; /* some slabs */
    CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    fill();
    nap(3000);
    struct smaps s = smaps(NULL);
    CHECK(s.huge == 0);
    rss_full = s.rss;
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (i / IN_A_ROW % 4 == 0) {
            life_free(block[i], BLOCK);
            block[i] = NULL;
        }
    }
    wait_for(a_sixth_is_gone, "what is free to go back");
    empty(0, 1);
}

/* Large blocks below the threshold of own mappings; the ends of each stay small pages. */
static void large(void)
{
    enum { N = 6, EACH = 20 * MIB };
    need_huge_pages();
    char *p[N];
    for (unsigned i = 0; i < N; i++)
        memset(p[i] = malloc(EACH), (int)i + 1, EACH);
    wait_for(most_is_huge, "large blocks that stay to be huge");
    for (unsigned i = 0; i < N; i++) {
        for (size_t k = 0; k < EACH; k += 512)
            CHECK(p[i][k] == (char)(i + 1));
        free(p[i]);
    }
    wait_for(little_is_left, "memory to go back");
    p[0] = calloc(1, EACH);
    for (size_t k = 0; k < EACH; k += 512)
        CHECK(p[0][k] == 0);
    free(p[0]);
}

/* ---- on and off: HAKMEM_THP from meson.build ---- */

static void on(void)
{
    need_huge_pages();
    fill();
    CHECK(flagged(block[0], "hg") && flagged(block[BLOCKS / 2], "hg"));
    CHECK(most_is_huge());
    char *p = malloc(64 * MIB); /* a mapping of its own */
    CHECK(flagged(p + 32 * MIB, "hg"));
    free(p);
    empty(0, 1);
    malloc_trim(0);
    CHECK(little_is_left());
}

static void off(void)
{
    (void)setting_is("");
    fill();
    char *p = malloc(64 * MIB);
    memset(p, 1, 64 * MIB);
    CHECK(flagged(block[0], "nh") && flagged(block[BLOCKS / 2], "nh") && flagged(p, "nh"));
    nap(3000);
    CHECK(smaps(NULL).huge == 0);
    free(p);
    empty(0, 1);
}

/* ---- A small program where the administrator gives huge pages to everybody. ---- */

static void small_program_main(void)
{
    enum { FEW = 4000 };
    void **few = calloc(FEW, sizeof(void *)); /* not `block`: that may get a huge page itself */
    for (unsigned i = 0; i < FEW; i++)
        few[i] = life_malloc(BLOCK);
    for (unsigned i = 0; i < FEW; i++)
        life_free(few[i], BLOCK);
    free(few);
    struct smaps s = smaps(NULL);
    dprintf(STDOUT_FILENO, "%ld %ld\n", s.rss, s.huge);
}

struct small {
    long rss, huge; /* KiB; -1: the program failed */
};

/* thp: HAKMEM_THP. */
static struct small small_program_run(const char *thp)
{
    int fds[2];
    CHECK(pipe(fds) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(10);
        setenv("HAKMEM_THP", thp, 1);
        dup2(fds[1], STDOUT_FILENO);
        execl("/proc/self/exe", "huge", "small_program", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    char text[32] = "";
    ssize_t n = read(fds[0], text, sizeof(text) - 1);
    close(fds[0]);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    struct small small = {-1, -1};
    if (n <= 0 || status != 0 || sscanf(text, "%ld %ld", &small.rss, &small.huge) != 2)
        return (struct small){-1, -1};
    return small;
}

/* The smallest of a few: what of its libraries is resident differs from run to run. */
static struct small small_program(const char *thp)
{
    struct small least = small_program_run(thp);
    for (unsigned i = 0; i < 4; i++) {
        struct small s = small_program_run(thp);
        if (s.rss < least.rss)
            least = s;
    }
    return least;
}

static const char *setting_before;

static bool setting_write(const char *word)
{
    int fd = open(enabled_file, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, word, strlen(word)) == (ssize_t)strlen(word);
    if (fd >= 0)
        close(fd);
    return ok;
}

static void setting_restore(int sig)
{
    setting_write(setting_before);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void small_under_always(void)
{
    setting_before = setting_is("[always]")    ? "always"
                     : setting_is("[madvise]") ? "madvise"
                                               : "never";
    if (!setting_write(setting_before))
        life_skip("the system's huge pages cannot be set here (it takes root)");
    for (int sig = 1; sig < 32; sig++)
        if (sig != SIGCHLD && sig != SIGCONT && sig != SIGWINCH && sig != SIGURG)
            signal(sig, setting_restore);
    bool set = setting_write("always");
    struct small with_auto = small_program("auto"), with_off = small_program("off");
    struct small with_on = small_program("on");
    setting_write("never");
    struct small without = small_program("on");
    setting_write(setting_before);
    printf("KiB (of them huge): %ld without huge pages; auto %ld (%ld), off %ld (%ld), on %ld "
           "(%ld)\n",
           without.rss, with_auto.rss, with_auto.huge, with_off.rss, with_off.huge, with_on.rss,
           with_on.huge);
    CHECK(set && without.rss > 0 && with_auto.rss > 0 && with_off.rss > 0);
    CHECK(with_auto.rss <= without.rss + 128 && with_off.rss <= without.rss + 128);
    if (with_on.huge <= 0)
        life_skip("the kernel had no huge page to give");
    CHECK(with_on.rss >= without.rss + 256); /* so it is the advice that keeps it small */
}

/* ---- Core dumps. ---- */

/* hakmem's own memory is reserved in a mapping of several MiB that is mostly not writable; of that the
 * writable parts are the records. */
static void core_dumps(void)
{
    fill();
    unsigned records = 0, others = 0;
    static char text[1 << 16];
    FILE *f = fopen("/proc/self/smaps", "r");
    CHECK(f != NULL);
    unsigned long from = 0, to = 0, base = (uintptr_t)block[0] & ~((1ul << 40) - 1);
    while (fgets(text, sizeof(text), f) != NULL) {
        unsigned long a, b;
        if (sscanf(text, "%lx-%lx ", &a, &b) == 2) {
            from = a;
            to = b;
        } else if (strncmp(text, "VmFlags:", 8) == 0) {
            bool dumped = strstr(text, " dd") == NULL;
            records += !dumped && strstr(text, " wr") != NULL;
            if (from >= base && to <= base + (1ul << 40)) /* the region */
                CHECK(dumped);
            others += dumped;
        }
    }
    fclose(f);
    CHECK(records >= 2 && others > 5);
    for (unsigned i = 0; i < BLOCKS; i += BLOCKS / 10)
        CHECK(!flagged(block[i], "dd"));
}

/* ---- Names. ---- */

static void names(void)
{
    char *probe = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(probe != MAP_FAILED);
    if (prctl(0x53564d41 /* PR_SET_VMA */, 0UL, probe, 4096UL, "x") != 0)
        life_skip("the kernel does not name mappings");
    fill();
    CHECK(strcmp(smaps(block[BLOCKS / 2]).name, "[anon:hakmem]") == 0);
    char *p = malloc(64 * MIB);
    CHECK(strcmp(smaps(p).name, "[anon:hakmem: large block]") == 0);
    free(p);
}

/* The same on kernels that do not: the calls are caught, and answered in their place. */
#if defined __x86_64__
#    define ARGUMENT(context, i)                                                               \
        ((unsigned long)(context)->uc_mcontext.gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX,  \
                                                                   REG_R10, REG_R8}[i]])
#    define ANSWER(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined __aarch64__
#    define ARGUMENT(context, i) ((unsigned long)(context)->uc_mcontext.regs[i])
#    define ANSWER(context)      ((context)->uc_mcontext.regs[0])
#endif

static struct {
    int answer;
    unsigned calls, window, records, blocks, strange;
} caught;

#ifdef ANSWER
static void catch_name(int sig, siginfo_t *info, void *p)
{
    ucontext_t *context = p;
    const char *name = (const char *)ARGUMENT(context, 4);
    caught.calls++;
    if (ARGUMENT(context, 1) != 0 || ARGUMENT(context, 2) % 4096 != 0 ||
        ARGUMENT(context, 3) == 0 || ARGUMENT(context, 3) % 4096 != 0)
        caught.strange++;
    else if (strcmp(name, "hakmem") == 0)
        caught.window++;
    else if (strcmp(name, "hakmem: records") == 0)
        caught.records++;
    else if (strcmp(name, "hakmem: large block") == 0)
        caught.blocks++;
    else
        caught.strange++;
    ANSWER(context) = caught.answer;
}
#endif

static void catch_names(int answer)
{
#ifdef ANSWER
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x53564d41, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = catch_name;
    caught.answer = answer;
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        life_skip("no seccomp filters here");
#else
    life_skip("no answer to a caught call is known for this machine");
#endif
}

static void large_blocks(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        block[i] = malloc(64 * MIB);
    for (unsigned i = 0; i < n; i++)
        free(block[i]);
}

static void names_caught(void)
{
    catch_names(0);
    free(malloc(100));
    CHECK(caught.calls == 0); /* a short process does not pay */
    fill();
    empty(0, 1);
    CHECK(caught.window == 1 && caught.records >= 1);
    large_blocks(10);
    CHECK(caught.blocks == 10 && caught.strange == 0);
}

static void names_refused(void)
{
    catch_names(-EINVAL);
    errno = 4321;
    fill();
    empty(0, 1);
    large_blocks(10);
    CHECK(errno == 4321 && caught.calls == 1);
}

/* ---- HAKMEM_PURGE=free: what went back counts as resident until the system needs it. ---- */

static bool much_is_lazily_free(void)
{
    return smaps(NULL).lazy > 80 * 1024;
}

static void lazily(void)
{
    fill();
    empty(0, 1);
    wait_for(much_is_lazily_free, "memory to be given to the system");
    CHECK(smaps(NULL).rss > 80 * 1024);
    for (unsigned i = 0; i < BLOCKS; i++) { /* old contents may be there still, or not */
        size_t n = i % 100 == 0 ? 20 * 1024 : BLOCK;
        const char *p = block[i] = calloc(1, n);
        for (size_t k = 0; k < n; k++)
            CHECK(p[k] == 0);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t n = malloc_usable_size(block[i]);
        life_stamp(block[i], n);
    }
    nap(2000);
    for (unsigned i = 0; i < BLOCKS; i++)
        life_free(block[i], malloc_usable_size(block[i]));
}

LIFE_MAIN({"auto", automatic}, {"disabled", disabled}, {"large", large}, {"on", on},
          {"off", off}, {"small_program", small_program_main},
          {"small_under_always", small_under_always}, {"core_dumps", core_dumps},
          {"names", names}, {"names_caught", names_caught}, {"names_refused", names_refused},
          {"lazily", lazily})
