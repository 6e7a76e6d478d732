/* SPDX-License-Identifier: MIT
 *
 * os: Linux. Thin: one function, one or two system calls, contracts in os.h.
 *
 * The C library's wrappers are used where they exist, and errno is put back after each: free()
 * must not change it, and any of these may run inside free().
 */
#include "os/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/hak_log.h"

static struct {
    size_t page_size;
    uint64_t ram_bytes;
    _Atomic unsigned ncpus; /* is looked at by who waits for the start to end */
} os;

static pthread_key_t exit_key;
static bool exit_key_made; /* else its number is somebody else's key */

/* Files by bare system calls: the C library's functions are cancellation points, which malloc and
 * free may not be, and other libraries put their own in place of them. */
static int fd_open(const char *path)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

/* Returns the bytes read, 0 at the end, -1 on failure. */
static ssize_t fd_read(int fd, char *buf, size_t size)
{
    ssize_t got;
    do
        got = syscall(SYS_read, fd, buf, size);
    while (got < 0 && errno == EINTR);
    return got;
}

static void fd_close(int fd)
{
    (void)syscall(SYS_close, fd);
}

/* Read a whole small file into buf, NUL-terminated. Returns its length, 0 on failure. */
static size_t file_read(const char *path, char *buf, size_t size)
{
    int fd = fd_open(path);
    if (fd < 0)
        return 0;
    size_t have = 0;
    ssize_t got;
    while (have < size - 1 && (got = fd_read(fd, buf + have, size - 1 - have)) > 0)
        have += (size_t)got;
    fd_close(fd);
    buf[have] = '\0';
    return have;
}

static bool fd_write(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = syscall(SYS_write, fd, text, length);
        if (n <= 0 && errno != EINTR)
            return false;
        if (n > 0) {
            text += n;
            length -= (size_t)n;
        }
    }
    return true;
}

static bool file_write(const char *path, int flags, const char *text, size_t length)
{
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
    if (fd < 0)
        return false;
    bool ok = fd_write(fd, text, length);
    fd_close(fd);
    return ok;
}

bool os_file_append(const char *path, const char *text, size_t length)
{
    int saved = errno;
    bool ok = file_write(path, O_APPEND, text, length);
    errno = saved;
    return ok;
}

bool os_file_replace(const char *path, const char *text, size_t length)
{
    char new[OS_LINE_MAX];
    struct hak_text t = {new, sizeof(new), 0};
    int saved = errno;
    hak_text_add(&t, "%s.%d", path, os_process()); /* two processes may write the same one */
    bool ok = t.len < sizeof(new) && file_write(new, O_TRUNC, text, length);
    if (ok && syscall(SYS_renameat2, AT_FDCWD, new, AT_FDCWD, path, 0) != 0)
        ok = false;
    if (!ok && t.len < sizeof(new))
        (void)syscall(SYS_unlinkat, AT_FDCWD, new, 0);
    errno = saved;
    return ok;
}

bool os_path_absolute(const char *path, char *out, size_t size)
{
    struct hak_text t = {out, size, 0};
    char folder[OS_LINE_MAX];
    int saved = errno;
    if (path[0] != '/' && syscall(SYS_getcwd, folder, sizeof(folder)) > 0)
        hak_text_add(&t, "%s/", folder);
    hak_text_add(&t, "%s", path);
    errno = saved;
    return t.len < size;
}

/* The part of a file that is in hand. */
struct reader {
    int fd;
    size_t at, have;
    char buf[OS_LINE_MAX];
};

/* The next byte; 0 at the end (the files read have no such byte), -1 on failure. */
static int reader_next(struct reader *r)
{
    if (r->at == r->have) {
        ssize_t got = fd_read(r->fd, r->buf, sizeof(r->buf));
        if (got <= 0)
            return (int)got;
        r->at = 0;
        r->have = (size_t)got;
    }
    return (unsigned char)r->buf[r->at++];
}

bool os_file_lines(const char *path, bool (*fn)(void *arg, char *line), void *arg)
{
    int saved = errno;
    struct reader r = {.fd = fd_open(path)};
    char line[OS_LINE_MAX];
    size_t len = 0;
    bool more = r.fd >= 0;
    int c = more ? 1 : -1;
    while (more && (c = reader_next(&r)) > 0) {
        if (c != '\n') {
            if (len < sizeof(line) - 1)
                line[len++] = (char)c;
            continue;
        }
        line[len] = '\0';
        more = fn(arg, line);
        len = 0;
    }
    line[len] = '\0';
    if (c == 0 && len > 0) /* the last one without a newline */
        (void)fn(arg, line);
    if (r.fd >= 0)
        fd_close(r.fd);
    errno = saved;
    return c >= 0;
}

void os_init(void)
{
    if (os.page_size != 0)
        return;
    int saved = errno;
    struct sysinfo info;
    os.ram_bytes = sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : 1ull << 32;
    cpu_set_t cpus; /* now: later a thread, or this one, may be bound to one of them */
    int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 0;
    unsigned ncpus = n > 0 ? (unsigned)n : 64; /* refused: more than the set has room for */
    atomic_store_explicit(&os.ncpus, ncpus, memory_order_relaxed);
    os.page_size = getauxval(AT_PAGESZ);
    errno = saved;
}

size_t os_page_size(void)
{
    return os.page_size;
}

unsigned os_ncpus(void)
{
    return atomic_load_explicit(&os.ncpus, memory_order_relaxed);
}

uint64_t os_ram_bytes(void)
{
    return os.ram_bytes;
}

static uint64_t limit_of(int resource)
{
    struct rlimit limit;
    bool bounded = getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return bounded ? limit.rlim_cur : UINT64_MAX;
}

uint64_t os_address_limit(void)
{
    int saved = errno;
    uint64_t limit = limit_of(RLIMIT_AS);
    errno = saved;
    return limit;
}

bool os_commit_counts(void)
{
    int saved = errno;
    bool counts = limit_of(RLIMIT_AS) != UINT64_MAX || limit_of(RLIMIT_DATA) != UINT64_MAX;
    char mode[4];
    if (!counts && file_read("/proc/sys/vm/overcommit_memory", mode, sizeof(mode)) > 0)
        counts = mode[0] == '2';
    errno = saved;
    return counts;
}

unsigned os_cpu(void)
{
    int saved = errno;
    int cpu = sched_getcpu();
    errno = saved;
    return cpu >= 0 ? (unsigned)cpu : 0;
}

/* ---- NUMA. The C library has no wrappers for these, and libnuma's constructor calls malloc. ---- */

enum { PREFERRED_MANY = 5 }; /* MPOL_; Linux 5.15 */

static int call_result(long result, int saved)
{
    int e = result >= 0 ? 0 : errno;
    errno = saved;
    return e;
}

int os_mempolicy_allowed(struct os_ids *out)
{
    int saved = errno;
    return call_result(syscall(SYS_get_mempolicy, NULL, out->word, (unsigned long)OS_NODE_IDS,
                               NULL, (unsigned long)MPOL_F_MEMS_ALLOWED),
                       saved);
}

int os_mempolicy_get(enum os_mempolicy *mode, struct os_ids *out)
{
    static const enum os_mempolicy known[] = {
        [MPOL_DEFAULT] = OS_MEMPOLICY_NONE, [MPOL_PREFERRED] = OS_MEMPOLICY_ELSEWHERE,
        [MPOL_BIND] = OS_MEMPOLICY_NEAR,    [MPOL_INTERLEAVE] = OS_MEMPOLICY_ELSEWHERE,
        [MPOL_LOCAL] = OS_MEMPOLICY_LOCAL,  [PREFERRED_MANY] = OS_MEMPOLICY_NEAR,
    };
    int saved = errno, raw = 0;
    int e = call_result(
        syscall(SYS_get_mempolicy, &raw, out->word, (unsigned long)OS_NODE_IDS, NULL, 0ul),
        saved);
    unsigned plain = (unsigned)raw & ~(unsigned)MPOL_MODE_FLAGS;
    *mode = plain < sizeof(known) / sizeof(known[0]) ? known[plain] : OS_MEMPOLICY_ELSEWHERE;
    if (plain == MPOL_PREFERRED && os_ids_count(out) == 0)
        *mode = OS_MEMPOLICY_LOCAL; /* its name before Linux 3.8, and its look until 5.14 */
    return e;
}

int os_mempolicy_set(void *addr, size_t bytes, enum os_mempolicy mode, const struct os_ids *ids)
{
    int saved = errno, raw = MPOL_INTERLEAVE;
    if (mode == OS_MEMPOLICY_NEAR)
        raw = os_ids_count(ids) == 1 ? MPOL_PREFERRED : PREFERRED_MANY;
    return call_result(syscall(SYS_mbind, addr, bytes, (long)raw, ids->word,
                               (unsigned long)OS_NODE_IDS + 1, 0ul), /* it takes one off */
                       saved);
}

bool os_node_id(unsigned *id)
{
    unsigned cpu;
    int saved = errno;
    return call_result(getcpu(&cpu, id), saved) == 0;
}

int os_pages_where(char *addr, size_t n, size_t step, const struct os_ids *ids,
                   struct os_where *out)
{
    enum { SOME = 256 };
    void *page[SOME];
    int status[SOME], e = 0, saved = errno;
    *out = (struct os_where){0, 0};
    for (size_t done = 0; done < n && e == 0;) {
        unsigned long some = 0;
        for (; some < SOME && done < n; some++, done++)
            page[some] = addr + done * step;
        e = call_result(syscall(SYS_move_pages, 0, some, page, NULL, status, 0), saved);
        for (unsigned long i = 0; i < some && e == 0; i++) {
            out->present += status[i] >= 0;
            out->there += status[i] >= 0 && os_ids_has(ids, (unsigned)status[i]);
        }
    }
    return e;
}

uint64_t os_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t os_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t v;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
    return os_now_ns();
#endif
}

uint64_t os_faults(void)
{
    struct rusage use;
    int saved = errno;
    bool ok = getrusage(RUSAGE_SELF, &use) == 0;
    errno = saved;
    return ok ? (uint64_t)use.ru_minflt : 0;
}

uint64_t os_random(void)
{
    /* 16 bytes of the kernel's. The C library makes its stack guard of one half and its pointer
     * guard of the other: together they tell of neither. */
    const void *bytes = (const void *)getauxval(AT_RANDOM);
    uint64_t v[2] = {0, 0};
    if (bytes != NULL)
        memcpy(v, bytes, sizeof(v));
    return bytes != NULL ? v[0] ^ v[1] : os_now_ns();
}

static void *map(void *hint, size_t bytes, int prot, int flags)
{
    int saved = errno;
    void *p = mmap(hint, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    errno = saved;
    return p != MAP_FAILED ? p : NULL;
}

void *os_reserve(void *hint, size_t bytes, bool fixed)
{
    void *p = map(hint, bytes, PROT_NONE, MAP_NORESERVE | (fixed ? MAP_FIXED_NOREPLACE : 0));
    if (p != NULL && fixed && p != hint) { /* a kernel before 4.17 takes it for a hint */
        os_unmap(p, bytes);
        p = NULL;
    }
    return p;
}

void *os_reserve_readable(size_t bytes)
{
    return map(NULL, bytes, PROT_READ, MAP_NORESERVE);
}

bool os_commit(void *addr, size_t bytes)
{
    int saved = errno;
    bool ok = mprotect(addr, bytes, PROT_READ | PROT_WRITE) == 0;
    errno = saved;
    return ok;
}

void *os_map(size_t bytes, size_t align)
{
    char *p = map(NULL, bytes, PROT_READ | PROT_WRITE, 0);
    if (p == NULL || ((uintptr_t)p & (align - 1)) == 0)
        return p;
    /* Not aligned by luck: take enough that an aligned piece is inside, and give back the rest. */
    os_unmap(p, bytes);
    size_t whole;
    if (__builtin_add_overflow(bytes, align, &whole))
        return NULL;
    p = map(NULL, whole, PROT_NONE, MAP_NORESERVE);
    if (p == NULL)
        return NULL;
    char *start = (char *)HAK_ALIGN_UP((uintptr_t)p, align);
    if (start > p)
        os_unmap(p, (size_t)(start - p));
    if (start + bytes < p + whole)
        os_unmap(start + bytes, (size_t)(p + whole - (start + bytes)));
    if (!os_commit(start, bytes)) {
        os_unmap(start, bytes);
        return NULL;
    }
    return start;
}

void os_unmap(void *addr, size_t bytes)
{
    int saved = errno;
    /* The kernel refuses where cutting a mapping in two would pass vm.max_map_count. The pages
     * at least go back; the addresses stay taken. */
    if (munmap(addr, bytes) != 0)
        (void)madvise(addr, bytes, MADV_DONTNEED);
    errno = saved;
}

void *os_remap(void *addr, size_t old_bytes, size_t new_bytes)
{
    int saved = errno;
    void *p = mremap(addr, old_bytes, new_bytes, MREMAP_MAYMOVE);
    errno = saved;
    return p != MAP_FAILED ? p : NULL;
}

/* One call for all spans: from Linux 6.13 on a process may so advise itself. Returns bytes, in order.
 * 0: not here, and it need not be tried again. */
static size_t advise_all(const struct os_span *span, unsigned n, int advice)
{
    enum { SELF = -10000 }; /* PIDFD_SELF; Linux 6.14 */
    static _Atomic bool absent;
    static_assert(sizeof(*span) == sizeof(struct iovec), "a span is an iovec");
    if (n < 2 || atomic_load_explicit(&absent, memory_order_relaxed))
        return 0;
    long got = syscall(SYS_process_madvise, SELF, span, (unsigned long)n, advice, 0);
    if (got < 0 && errno != EAGAIN && errno != ENOMEM)
        atomic_store_explicit(&absent, true, memory_order_relaxed);
    return got > 0 ? (size_t)got : 0;
}

unsigned os_purge(const struct os_span *span, unsigned n, bool lazily)
{
    int saved = errno;
    int advice = lazily ? MADV_FREE : MADV_DONTNEED;
    size_t all = advise_all(span, n, advice);
    unsigned done = 0;
    while (done < n && all >= span[done].bytes)
        all -= span[done++].bytes;
    while (done < n && madvise(span[done].addr, span[done].bytes, advice) == 0)
        done++;
    errno = saved;
    return done;
}

bool os_populate(void *addr, size_t bytes)
{
#ifndef MADV_POPULATE_WRITE
    enum { MADV_POPULATE_WRITE = 23 };
#endif
    int saved = errno;
    bool ok = madvise(addr, bytes, MADV_POPULATE_WRITE) == 0;
    errno = saved;
    return ok;
}

size_t os_huge_bytes(void)
{
    return os.page_size * (os.page_size / sizeof(uint64_t)); /* what one page of entries maps */
}

bool os_huge_allowed(void)
{
    char text[64];
    int saved = errno;
    size_t n = file_read("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text));
    bool disabled = prctl(PR_GET_THP_DISABLE, 0L, 0L, 0L, 0L) > 0; /* by the process */
    errno = saved;
    return !disabled && n > 0 && strstr(text, "[never]") == NULL;
}

bool os_huge_advise(void *addr, size_t bytes, bool wanted)
{
    int saved = errno;
    bool ok = madvise(addr, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0;
    errno = saved;
    return ok;
}

bool os_huge_make(void *addr)
{
#ifndef MADV_COLLAPSE
    enum { MADV_COLLAPSE = 25 }; /* Linux 6.1 */
#endif
    int saved = errno;
    bool ok = madvise(addr, os_huge_bytes(), MADV_COLLAPSE) == 0 || errno == EINVAL;
    errno = saved;
    return ok;
}

size_t os_resident(void *addr, size_t bytes)
{
    unsigned char page[512];
    size_t resident = 0, step = sizeof(page) * os.page_size;
    int saved = errno;
    for (char *at = addr, *end = at + bytes; at < end; at += step) {
        size_t length = HAK_MIN(step, (size_t)(end - at));
        if (mincore(at, length, page) != 0)
            break;
        for (size_t i = 0; i < length / os.page_size; i++)
            resident += page[i] & 1;
    }
    errno = saved;
    return resident * os.page_size;
}

void os_name(void *addr, size_t bytes, const char *name)
{
    enum {
        SET_VMA = 0x53564d41,
        SET_VMA_ANON_NAME = 0
    }; /* PR_; Linux 5.17, where configured */
    static _Atomic bool absent;
    if (atomic_load_explicit(&absent, memory_order_relaxed))
        return;
    int saved = errno;
    if (prctl(SET_VMA, (unsigned long)SET_VMA_ANON_NAME, addr, bytes, name) != 0 &&
        errno != ENOMEM)
        atomic_store_explicit(&absent, true, memory_order_relaxed);
    errno = saved;
}

void os_name_records(void *addr, size_t bytes)
{
    int saved = errno;
    (void)madvise(addr, bytes, MADV_DONTDUMP);
    errno = saved;
    os_name(addr, bytes, "hakmem: records");
}

bool os_thread_exit_init(void (*fn)(void *arg))
{
    exit_key_made = pthread_key_create(&exit_key, fn) == 0;
    return exit_key_made;
}

bool os_thread_exit_arm(void *arg)
{
    int saved = errno;
    bool ok = exit_key_made && pthread_setspecific(exit_key, arg) == 0;
    errno = saved;
    return ok;
}

bool os_fork_hooks(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return pthread_atfork(prepare, parent, child) == 0;
}

/* Before the C library has set environ, the kernel's copy: HAKMEM_* only. What does not fit is
 * not seen, and an entry cut by the end is not taken for a whole one. The mapping stays. */
static const char *const *environ_early(void)
{
    enum { BYTES_MAX = 1 << 18, NAMES_MAX = 64 };
    struct {
        const char *entries[NAMES_MAX + 1];
        char text[BYTES_MAX];
    } *copy = map(NULL, sizeof(*copy), PROT_READ | PROT_WRITE, 0);
    if (copy == NULL)
        return NULL;
    size_t n = file_read("/proc/self/environ", copy->text, BYTES_MAX);
    unsigned count = 0;
    for (size_t i = 0; i < n && count < NAMES_MAX; i += strlen(copy->text + i) + 1) {
        bool whole = i + strlen(copy->text + i) < BYTES_MAX - 1;
        if (whole && strncmp(copy->text + i, "HAKMEM_", 7) == 0)
            copy->entries[count++] = copy->text + i;
    }
    return copy->entries;
}

const char *const *os_environ(void)
{
    int saved = errno;
    const char *const *env = NULL;
    if (getauxval(AT_SECURE) == 0)
        env = environ != NULL ? (const char *const *)environ : environ_early();
    errno = saved;
    return env;
}

bool os_thread_start(void (*fn)(void))
{
    enum { STACK = 128 * 1024 }; /* with the thread-local variables of all libraries */
    int saved = errno;
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    bool ok = false;
    sigfillset(&all);
    if (pthread_attr_init(&attr) == 0 && pthread_sigmask(SIG_SETMASK, &all, &old) == 0) {
        (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        (void)pthread_attr_setstacksize(&attr, STACK);
        ok = pthread_create(&thread, &attr, (void *(*)(void *))(void (*)(void))fn, NULL) == 0;
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    errno = saved;
    return ok;
}

bool os_single_threaded(void)
{
    return __libc_single_threaded;
}

static const void *object_of(const void *code)
{
    struct dl_find_object object;
    return _dl_find_object((void *)(uintptr_t)code, &object) == 0 ? object.dlfo_map_start
                                                                  : NULL;
}

bool os_is_libc(const void *code)
{
    const void *object = object_of(code);
    return object == object_of((const void *)(uintptr_t)gnu_get_libc_version) ||
           object == object_of((const void *)getauxval(AT_BASE)); /* the loader */
}

int os_process(void)
{
    return getpid();
}

bool os_barrier(void)
{
    int saved = errno;
    /* EPERM: not registered yet, or no more, in the child of a fork. */
    bool ok = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0 ||
              (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
               syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
    errno = saved;
    return ok;
}

static void futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *most)
{
    int saved = errno;
    (void)syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, most, NULL, 0);
    errno = saved;
}

void os_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t ns)
{
    struct timespec most = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    futex(word, FUTEX_WAIT, value, ns != UINT64_MAX ? &most : NULL);
}

void os_wake(_Atomic uint32_t *word)
{
    futex(word, FUTEX_WAKE, INT_MAX, NULL);
}

static void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static _Atomic(void *) fork_thread; /* the thread pointer of the one that forks; else NULL */

static bool inside_own_fork(void)
{
    return atomic_load_explicit(&fork_thread, memory_order_relaxed) ==
           __builtin_thread_pointer();
}

void os_lock_wait(struct os_lock *l)
{
    /* Held for tens of nanoseconds as a rule: look again before asking the kernel. Not on one
     * CPU, where nobody can let go while we look. */
    for (unsigned i = 0; i < 100 && os_ncpus() > 1; i++) {
        spin_pause();
        if (atomic_load_explicit(&l->word, memory_order_relaxed) == OS_LOCK_FREE &&
            os_lock_try(l))
            return;
    }
    for (;;) {
        uint32_t word = atomic_load_explicit(&l->word, memory_order_relaxed);
        if (word == OS_LOCK_FREE && os_lock_change(l, OS_LOCK_FREE, OS_LOCK_AWAITED))
            return;
        if (word == OS_LOCK_FORK && inside_own_fork())
            return;
        if (word == OS_LOCK_HELD && os_lock_change(l, OS_LOCK_HELD, OS_LOCK_AWAITED))
            word = OS_LOCK_AWAITED;
        if (word == OS_LOCK_AWAITED || word == OS_LOCK_FORK)
            os_sleep(&l->word, word, UINT64_MAX);
    }
}

void os_lock_wake(struct os_lock *l)
{
    if (os_lock_change(l, OS_LOCK_AWAITED, OS_LOCK_FREE))
        futex(&l->word, FUTEX_WAKE, 1, NULL);
    else /* the fork goes on holding it */
        HAK_ASSERT(inside_own_fork());
}

void os_lock_fork(struct os_lock *l)
{
    os_lock(l);
    atomic_store_explicit(&l->word, OS_LOCK_FORK, memory_order_relaxed);
}

void os_fork_begin(void)
{
    atomic_store_explicit(&fork_thread, __builtin_thread_pointer(), memory_order_relaxed);
}

void os_fork_end(void)
{
    atomic_store_explicit(&fork_thread, NULL, memory_order_relaxed);
}

void os_lock_fork_end(struct os_lock *l)
{
    atomic_store_explicit(&l->word, OS_LOCK_FREE, memory_order_release);
    os_wake(&l->word); /* those that slept before the fork as well */
}

/* What base needs from the system. */

static int error_fd = STDERR_FILENO;

void os_keep_stderr(void)
{
    int saved = errno;
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100); /* above what programs count on */
    if (fd >= 0)
        error_fd = fd;
    errno = saved;
}

void hak_write_err(const char *text, size_t length)
{
    int saved = errno;
    (void)fd_write(error_fd, text, length);
    errno = saved;
}

void hak_abort(void)
{
    abort();
}
