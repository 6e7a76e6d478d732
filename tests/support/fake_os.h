/* SPDX-License-Identifier: MIT
 *
 * fake_os: src/os with a hand on it. Every call goes on to the real one unless it was told to
 * fail; all are counted, and their arguments are held to the contracts in os/os.h.
 *
 * How: the test is linked with ld's --wrap for each os_ function (fake_os_dep in meson.build), so
 * that the tiers reach the functions here and these reach the real ones. All thread-safe.
 *
 * Until the first fake_os_reset() every call fails, so that hakmem's own start, which runs before
 * main, comes to nothing and each test begins with an allocator that has never had memory.
 */
#ifndef FAKE_OS_H
#define FAKE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fake_os_kind {
    FAKE_OS_RESERVE,
    FAKE_OS_RESERVE_READABLE,
    FAKE_OS_COMMIT,
    FAKE_OS_MAP,
    FAKE_OS_REMAP,
    FAKE_OS_PURGE,
    FAKE_OS_POPULATE,
    FAKE_OS_HUGE_ADVISE,
    FAKE_OS_HUGE_MAKE,
    FAKE_OS_THREAD_EXIT,
    FAKE_OS_THREAD_START,
    FAKE_OS_FORK_HOOKS,
    FAKE_OS_FILE,     /* cannot be opened */
    FAKE_OS_FILE_END, /* cannot be read beyond its first line */
    FAKE_OS_UNMAP,    /* is counted, cannot fail */
    FAKE_OS_PLACE,    /* is counted; fails as fake_os_set_place_error says */
    FAKE_OS_ANY,      /* the calls of all kinds above but UNMAP and PLACE, in one sequence */
    FAKE_OS_N_KINDS
};

#define FAKE_OS_FOREVER UINT64_MAX

/* Counts to 0, no failures, everything reported as it is. Mappings made before stay. */
void fake_os_reset(void);
/* The nth call (1: the next one) of that kind and the how_many - 1 after it fail. 0: none. */
void fake_os_fail(enum fake_os_kind kind, uint64_t nth, uint64_t how_many);
/* Each call of any kind fails with this probability; the same ones for the same seed and order. */
void fake_os_fail_at_random(uint64_t seed, unsigned percent);
uint64_t fake_os_calls(enum fake_os_kind kind);  /* since the last reset */
uint64_t fake_os_failed(enum fake_os_kind kind); /* of them, failed on our order */

/* The last call of a kind that got through to the system. */
struct fake_os_call {
    void *addr;   /* the result for RESERVE, MAP and REMAP */
    size_t bytes; /* the new size for REMAP */
    size_t align; /* MAP only */
    bool lazily;  /* PURGE only */
};
struct fake_os_call fake_os_last(enum fake_os_kind kind);
/* What was last said of an address. */
struct fake_os_said {
    int huge;         /* 1: wanted, 0: not wanted, -1: nothing was said */
    bool made;        /* a huge page of it since */
    const char *name; /* NULL: none */
    bool records;     /* left out of core dumps */
    int node;         /* where its pages shall be; -1: nothing was said */
};
struct fake_os_said fake_os_said(const void *addr);
/* Bytes of address space reserved or mapped now. */
size_t fake_os_held_bytes(void);

/* What the machine claims to be. 0 (for pages, CPUs, RAM, nodes): the truth.
 * A page may only be larger than the real one: reservations are then aligned to it. */
void fake_os_set_page_size(size_t bytes);
void fake_os_set_ncpus(unsigned n);
void fake_os_set_cpu(unsigned cpu); /* that every thread runs on from now */
void fake_os_set_ram(uint64_t bytes);
void fake_os_set_address_limit(uint64_t bytes);
void fake_os_set_huge_bytes(size_t bytes);           /* 0: the truth */
void fake_os_set_huge_allowed(bool yes);             /* else the truth */
void fake_os_set_resident_percent(unsigned percent); /* of any memory; else the truth */
void fake_os_set_commit_counts(bool yes);            /* else the truth */
void fake_os_set_nnodes(unsigned n);
void fake_os_set_node(unsigned node);
void fake_os_set_own_node(unsigned node); /* the calling thread's, whatever others' is */
/* What the kernel says of nodes, beside files: the ids this process may use, or an error to each question;
 * its memory policy (enum os_mempolicy, none at first) with ids; the id of the node that threads run
 * on, 0 at first; the error that placing meets. */
void fake_os_set_numa(const char *allowed, int error);
void fake_os_set_mempolicy(int policy, const char *ids);
void fake_os_set_node_id(unsigned id);
void fake_os_set_place_error(int error);
void fake_os_set_environ(const char *const *env); /* NULL: the real one */

/* Where the allocator looks for /proc and /sys when it asks for its cgroup. NULL: the truth. */
void fake_os_set_root(const char *path);

#endif /* FAKE_OS_H */
