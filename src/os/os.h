/* SPDX-License-Identifier: MIT
 *
 * os: the only folder that makes system calls. One .c per system, chosen by meson.build.
 *
 * Sits on:   base.     Used by: everything above.
 *
 * Contracts shared by all: no function allocates, none touches errno (failures are returned),
 * all may be called from any thread at any time after os_init. Addresses and lengths given to
 * the memory functions are multiples of os_page_size(). Tests link tests/support/fake_os.c,
 * which counts the calls and fails the n-th.
 */
#ifndef HAK_OS_H
#define HAK_OS_H

#include <stdatomic.h>

#include "base/hak_base.h"

/* Read page size, CPU count and memory once. A short process pays for each system call here.
 * Idempotent. */
void os_init(void);

size_t os_page_size(void);       /* bytes; a power of two, read from the kernel */
unsigned os_ncpus(void);         /* CPUs this process may run on, >= 1 */
uint64_t os_ram_bytes(void);     /* physical memory */
uint64_t os_address_limit(void); /* RLIMIT_AS in bytes; UINT64_MAX: none */
bool os_commit_counts(void);     /* untouched writable memory counts against a limit: RLIMIT_AS,
                                    RLIMIT_DATA, vm.overcommit_memory=2. Reads /proc. */
unsigned os_cpu(void);           /* CPU of the calling thread now; any number if not known */
uint64_t os_now_ns(void);        /* monotonic */
uint64_t os_ticks(void);         /* a clock that costs less, of unknown speed */
uint64_t os_faults(void);        /* of pages, by all threads so far */
uint64_t os_random(void);        /* for address hints; not for secrets */

/* Reserve address space without memory behind it (no access, no commit charge).
 * With fixed, exactly at hint or not at all. NULL when refused. */
void *os_reserve(void *hint, size_t bytes, bool fixed);
/* The same anywhere, but readable: zero until committed. For tables looked up everywhere. */
void *os_reserve_readable(size_t bytes);
/* Give reserved pages memory: readable, writable, zero. false when refused, nothing changed. */
bool os_commit(void *addr, size_t bytes);
/* A fresh mapping of its own, zero, at a multiple of align (a power of two). NULL: refused. */
void *os_map(size_t bytes, size_t align);
void os_unmap(void *addr, size_t bytes);
/* Resize a mapping made by os_map, moving it if it must (to page alignment only).
 * NULL: refused, the old one is untouched. New pages are zero. */
void *os_remap(void *addr, size_t old_bytes, size_t new_bytes);
struct os_span {
    void *addr;
    size_t bytes;
};
/* Drop the contents of spans: resident memory falls, the pages read zero when next touched. Lazily:
 * only when the system needs them, and until then they may still read as before. Returns how many
 * spans, from the first on, that was done to; the others' contents are unchanged. */
unsigned os_purge(const struct os_span *span, unsigned n, bool lazily);

/* Bring in pages of committed memory that are about to be written, in one call and not by a fault each
 * (MADV_POPULATE_WRITE, Linux 5.14). false: the system cannot, and they come by faults. */
bool os_populate(void *addr, size_t bytes);

/* Huge pages: one entry of the page table for this many bytes, a power of two. */
size_t os_huge_bytes(void);
/* Neither the administrator nor the process itself has forbidden them. Reads /sys; for a background
 * thread. */
bool os_huge_allowed(void);
/* From now on pages of these addresses shall be huge ones where possible, or shall not; what is there
 * stays as it is. Costs a mapping where the neighbours are told otherwise. false: refused. */
bool os_huge_advise(void *addr, size_t bytes, bool wanted);
/* Make a huge page of the pages at addr, aligned to os_huge_bytes, which was so advised. false: not now.
 * Where the system cannot do so on demand, it does in time. */
bool os_huge_make(void *addr);
/* How many of these bytes have pages. */
size_t os_resident(void *addr, size_t bytes);

/* What /proc/PID/maps shows for these addresses. name: a string constant. */
void os_name(void *addr, size_t bytes, const char *name);
/* The same for memory of our own, and it stays out of core dumps: records, not a program's data. */
void os_name_records(void *addr, size_t bytes);

/* Run fn(arg) in the calling thread when it ends; a second call replaces arg. fn must have been
 * given to os_thread_exit_init once. May allocate through malloc on some systems, so the caller
 * must be able to serve malloc already. false: no hook, the thread will end unnoticed. So it is
 * where os_thread_exit_init failed. */
bool os_thread_exit_init(void (*fn)(void *arg));
bool os_thread_exit_arm(void *arg);
/* pthread_atfork, in this order: prepare in the parent, then parent or child. */
bool os_fork_hooks(void (*prepare)(void), void (*parent)(void), void (*child)(void));

/* Run fn in a thread of its own: detached, all signals blocked, a small stack, which ends with the
 * process. Not on behalf of a free by the C library (os_is_libc). false: refused. */
bool os_thread_start(void (*fn)(void));
/* The process has had no second thread. */
bool os_single_threaded(void);
/* Is this code the C library's, or its loader's? They may hold locks that a thread's start wants.
 * Where all is one program, statically linked: yes. */
bool os_is_libc(const void *code);
/* Another one in a child of fork and in one of vfork, which uses our memory. */
int os_process(void);

/* Have every CPU that runs a thread of this process pass a full barrier: what they stored before is
 * seen after, and the other way round. false: the system has no such thing, ever. */
bool os_barrier(void);

/* Sleep while *word is value, ns at most (UINT64_MAX: as long as it takes), or shorter; wake all. */
void os_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t ns);
void os_wake(_Atomic uint32_t *word);

/* Write errors to a duplicate of today's stderr from now on: some programs close theirs before
 * they end, and the last words would be lost. */
void os_keep_stderr(void);

/* Value of an environment variable; NULL: unset, or the process runs with raised rights
 * (AT_SECURE), where the environment belongs to somebody else. */
const char *const *os_environ(void);

/* Call fn(arg, line) for each line of a text file, without its newline and cut to OS_LINE_MAX - 1
 * bytes; fn may write to it, and returns false to stop. false: the file cannot be opened, or not
 * be read to its end or to where fn stopped; lines before that were seen. Opens the file
 * anew and leaves nothing open; 2 KiB of stack. */
enum { OS_LINE_MAX = 1024 };
bool os_file_lines(const char *path, bool (*fn)(void *arg, char *line), void *arg);
/* Write text to a file: at its end, or all anew, so that whoever reads it meanwhile sees the old
 * contents or the new. false: refused; what was there stays, but for an append cut short. */
bool os_file_append(const char *path, const char *text, size_t length);
bool os_file_replace(const char *path, const char *text, size_t length);
/* The same path from any working directory. false: it does not fit. */
bool os_path_absolute(const char *path, char *out, size_t size);

/* ---- The memory cgroup: what a container may use. os_cgroup.c. ----
 *
 * root: what /proc and /sys are looked up under, "" but in tests. */
enum {
    OS_CGROUP_PATH_MAX = 512, /* bytes with the closing NUL; of longer paths nothing is known */
    OS_CGROUP_LEVELS = 8,
};

struct os_cgroup {
    unsigned version; /* 1 or 2; 0: none was found */
    size_t top;       /* bytes of path that are the mount point: no level is above it */
    char path[OS_CGROUP_PATH_MAX];
};

/* A cgroup with a limit: the process's own or one above it. Bytes; UINT64_MAX: none. */
struct os_cgroup_level {
    uint64_t max;  /* beyond it the kernel kills */
    uint64_t high; /* beyond it the kernel slows down (v2) */
    uint64_t used; /* by all its processes; above half a limit without the page cache, which the
                      kernel drops first: to know that costs */
};

/* Share of time in which a task waited for memory. */
struct os_pressure {
    unsigned avg10;    /* of the last 10 seconds, in 1/100 % */
    uint64_t total_us; /* ever */
};

/* Find the process's memory cgroup: that of v1 where v1 has the memory controller, else that of v2.
 * Returns NULL, or the reason why there is none, for the log. */
const char *os_cgroup_find(const char *root, struct os_cgroup *out);
/* The levels with a limit, innermost first, at most OS_CGROUP_LEVELS. Returns how many. What cannot be
 * read is no limit. */
unsigned os_cgroup_read(const struct os_cgroup *cg, struct os_cgroup_level *levels);
/* The cgroup's (v2), else the machine's. false: the kernel does not tell. */
bool os_pressure_read(const char *root, const struct os_cgroup *cg, struct os_pressure *out);

/* ---- NUMA. os_numa.c, but for the bare calls. ----
 *
 * The kernel numbers nodes by ids, which may have gaps. A node here is a place to ask for memory on: one
 * of the kernel's that has memory and that this process may use, numbered from 0 without gaps. A thread
 * that runs on any other belongs to the nearest; where several are nearest, to a node that stands for
 * all of those. */
enum {
    OS_NODES_MAX = 64, /* of more than these the others' threads belong to the nearest */
    OS_NODE_IDS = 1024,
    OS_NODES_ALL = OS_NODES_MAX, /* to os_node_place: spread over all nodes */
};

/* Ids as a set: id i is bit i % 64 of word i / 64. */
struct os_ids {
    uint64_t word[OS_NODE_IDS / 64];
};

static inline bool os_ids_has(const struct os_ids *s, unsigned id)
{
    return id < OS_NODE_IDS && (s->word[id / 64] >> (id % 64) & 1) != 0;
}

static inline void os_ids_add(struct os_ids *s, unsigned id)
{
    s->word[id / 64] |= (uint64_t)1 << (id % 64);
}

static inline unsigned os_ids_count(const struct os_ids *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < OS_NODE_IDS / 64; i++)
        n += (unsigned)__builtin_popcountll(s->word[i]);
    return n;
}

unsigned os_nnodes(void); /* >= 1; constant after os_numa_init */
unsigned os_node(void);   /* the calling thread's now, < os_nnodes() */

/* Find the nodes; until then there is one. wanted: ids to do with, NULL: all; *wanted_bad: none of them may
 * be used, and all are. root: as above. Returns NULL, or what stands in the way, for the log. A machine
 * with one node costs one system call. */
const char *os_numa_init(const char *root, const struct os_ids *wanted, bool *wanted_bad);
/* The process may use other nodes now than it might before (cpusets): threads on the others belong to the
 * nearest of those. Returns whether that is so. One system call where it is not. */
bool os_numa_follow(const char *root);
/* Pages of these addresses, touched by whomever, shall be on the node, and elsewhere where it is full.
 * What is there stays where it is. Does nothing where the process has a memory policy that somebody gave
 * it. The first refusal is one line in the log, and the last call. */
void os_node_place(void *addr, size_t bytes, unsigned node);
/* Is that what it does? */
bool os_node_places(void);
/* The ids a node stands for; OS_NODES_ALL: of all nodes. Where the machine has one: none. */
const struct os_ids *os_node_ids(unsigned node);
/* How far it is from one node to another, as the firmware has it: 10 is near, 0 is not known. Reads
 * /sys. */
unsigned os_node_distance(const char *root, unsigned from, unsigned to);

/* The bare calls. An errno value, or 0. */
int os_mempolicy_allowed(struct os_ids *out); /* the cpuset's */
enum os_mempolicy {
    OS_MEMPOLICY_NONE,      /* where a thread touches it */
    OS_MEMPOLICY_LOCAL,     /* the same, because somebody said so */
    OS_MEMPOLICY_NEAR,      /* near, but on the nodes in *out */
    OS_MEMPOLICY_ELSEWHERE, /* all on one, or spread; to set: spread */
};
int os_mempolicy_get(enum os_mempolicy *mode, struct os_ids *out);
int os_mempolicy_set(void *addr, size_t bytes, enum os_mempolicy mode,
                     const struct os_ids *ids);
/* The id of the node that the calling thread runs on. false: the kernel does not tell. */
bool os_node_id(unsigned *id);
/* How many of n pages, `step` bytes apart from addr on, are there, and how many of those on one of ids.
 * An errno value, or 0. */
struct os_where {
    size_t present, there;
};
int os_pages_where(char *addr, size_t n, size_t step, const struct os_ids *ids,
                   struct os_where *out);

/* ---- Lock: a futex word, 4 bytes, no allocation (Drepper, "Futexes Are Tricky", 2011). ----
 *
 * A fork takes all locks with os_lock_fork and keeps them until os_lock_fork_end. Meanwhile the
 * forking thread passes through each as if it were free: handlers of the program that run between
 * ours may allocate, on both sides. */
enum os_lock_word {
    OS_LOCK_FREE,
    OS_LOCK_HELD,
    OS_LOCK_AWAITED, /* held, and somebody sleeps */
    OS_LOCK_FORK,    /* held by a fork */
};

struct os_lock {
    _Atomic uint32_t word;
};

HAK_SLOW void os_lock_wait(struct os_lock *l); /* contended acquire */
HAK_SLOW void os_lock_wake(struct os_lock *l); /* release with sleepers, or inside a fork */

static inline bool os_lock_change(struct os_lock *l, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong_explicit(&l->word, &from, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static inline bool os_lock_try(struct os_lock *l)
{
    return os_lock_change(l, OS_LOCK_FREE, OS_LOCK_HELD);
}

static inline void os_lock(struct os_lock *l)
{
    if (HAK_UNLIKELY(!os_lock_try(l)))
        os_lock_wait(l);
}

static inline void os_unlock(struct os_lock *l)
{
    if (HAK_UNLIKELY(!os_lock_change(l, OS_LOCK_HELD, OS_LOCK_FREE)))
        os_lock_wake(l);
}

static inline void os_lock_assert_held(struct os_lock *l)
{
    HAK_ASSERT(atomic_load_explicit(&l->word, memory_order_relaxed) != OS_LOCK_FREE);
}

/* Acquire for a fork; after the last one os_fork_begin makes the calling thread the one that
 * passes. In the parent and in the child os_fork_end, then os_lock_fork_end on each. */
void os_lock_fork(struct os_lock *l);
void os_fork_begin(void);
void os_fork_end(void);
void os_lock_fork_end(struct os_lock *l);

/* Ask for a cache line to write to. Never faults. */
static inline void os_prefetch_write(const void *p)
{
#if defined __x86_64__
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p)); /* gcc wants -mprfchw for it */
#else
    __builtin_prefetch(p, 1);
#endif
}

#endif /* HAK_OS_H */
