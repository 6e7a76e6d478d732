/* SPDX-License-Identifier: MIT
 *
 * superslab: where blocks come from. Classes, the region, slabs in superslabs, heaps that own
 * them, remote-free queues, and runs of whole units for the large tier.
 *
 * Sits on:   os, base.     Used by: tiny, mid, large, policy, api.
 *
 *   region (reserved addresses)      unit = 64 KiB
 *   +----+----+----+----+----+----+----+----+----+----+----+----+---- - - -
 *   | superslab: SS units, aligned  | run of units | free run | virgin ...
 *   +----+----+----+----+----+----+----+----+----+----+----+----+---- - - -
 *     |    \ slab: 1 or more units, blocks of one class from its first byte on
 *     |
 *   ss_map.words[unit]          one 32-bit word a unit, outside the region, zero = nothing here
 *      31      21 20  16 15     5 4   0
 *     +----------+------+--------+-----+   class << 5: the offset of a 32-byte bin (tiny.h);
 *     | heap id  | nth  | class  |  0  |   nth: which of its slab's units this is;
 *     +----------+------+--------+-----+   heap 0 is nobody: the low bits then hold a SS_WORD_*
 *   units[unit]                 64 bytes a unit: the slab's or the run's own record
 *
 * Invariants (cited by assertions and tests):
 *   S1  words[u] names heap h, class c and n exactly while unit u is the nth (from 0) of a slab of c
 *       owned by h.
 *   S2  slab: carved = nfree + ngone + nout, carved <= blocks; nout counts blocks outside the slab
 *       (held by the program, in a bin, or on their way home).
 *   S3  a slab is on its heap's list for the class exactly while nfree > 0, ngone > 0 or carved < blocks,
 *       and none of its pages are on their way to the system.
 *   S4  a superslab is on its heap's list exactly while it has a free unit; of those that have none
 *       some wait on another, to be looked at for a huge page (ss_huge.c).
 *   S5  two free runs never touch.
 *   S6  a heap's dirty units are the set bits of its superslabs' dirty words; those of a part
 *       of the region are the sum over its free runs and pooled superslabs.
 *   S7  units on their way to the system belong to nobody: neither free nor in a slab or run.
 *   S8  what is held is the sum of all units in slabs and runs, dirty units (S6), units on their way
 *       (S7), the tables as far as they are committed, records, and what large has mapped. Nothing
 *       else of hakmem's was ever touched, so no more than that is resident. Less the holes (S9).
 *   S9  a hole is a page of a slab that has gone back to the system. Blocks below carved that touch one
 *       are ngone in number and in no list; no block touches two holes with another page between.
 *   S10 a node has a part of the region. Its free runs, pool and frontier are there, and its heaps'
 *       superslabs, unless no addresses were left in it.
 *
 * Concurrency: a heap's lock guards its lists and all its slabs; ss_region.lock guards runs,
 * the frontier and the pools of empty superslabs. Order: heap before region. Remote-free queues
 * are lock-free. Words are written before the first block of a slab leaves it, so whoever holds
 * a block may read its word.
 */
#ifndef HAK_SS_H
#define HAK_SS_H

#include <stdatomic.h>

#include "base/hak_base.h"
#include "os/os.h"

enum {
    SS_UNIT_SHIFT = 16,
    SS_UNIT = 1 << SS_UNIT_SHIFT, /* bytes */
    SS_TINY_NCLASS = 57,          /* classes in slabs of one unit: 16 .. SS_TINY_MAX bytes */
    SS_NCLASS = 77,               /* and those in slabs of several */
    SS_STEP_MAX = 128,            /* bytes; up to here class c has blocks of 16 c bytes */
    SS_TINY_MAX = 8192,           /* bytes */
    SS_CLASS_SHIFT = 5,           /* class << SS_CLASS_SHIFT in a word */
    SS_NTH_SHIFT = SS_UNIT_SHIFT, /* nth << SS_NTH_SHIFT */
    SS_HEAP_SHIFT = 21,           /* heap id << SS_HEAP_SHIFT */
    SS_WORD_NTH = (1 << SS_HEAP_SHIFT) - (1 << SS_NTH_SHIFT),
    SS_HEAPS_MAX = 1 << (32 - SS_HEAP_SHIFT),
    SS_SUPERSLAB_MAX = 2 * 1024 * 1024, /* bytes */
    SS_NODES_MAX = OS_NODES_MAX,
    /* Words of heap 0. */
    SS_WORD_NONE = 0,
    SS_WORD_RUN = 1,      /* first unit of a run given out */
    SS_WORD_RUN_MORE = 2, /* its other units */
};

static_assert(SS_NCLASS << SS_CLASS_SHIFT <= 1 << SS_NTH_SHIFT, "a class fits its bits");
static_assert((uint64_t)(SS_HEAPS_MAX - 1) << SS_HEAP_SHIFT <= UINT32_MAX,
              "a heap id fits its bits");

enum ss_huge { SS_HUGE_OFF, SS_HUGE_AUTO, SS_HUGE_ON };

/* ---- Numbers handed down by policy before ss_init; constant afterwards but for the limits,
 * which are plain words read on slow paths. ---- */
struct ss_params {
    size_t superslab_bytes;     /* 256K, 512K, 1M or 2M */
    unsigned superslab_keep;    /* empty superslabs kept per node */
    _Atomic unsigned heaps_max; /* on a node, >= 1 */
    unsigned refill_count;      /* blocks carved at a time; 0: a page of them */
    size_t purge_min_bytes;     /* smallest piece worth a system call */
    bool purge_lazily;          /* the system takes pages back when it needs them (MADV_FREE) */
    enum ss_huge huge;          /* which superslabs and runs shall have huge pages */
    size_t interleave_bytes;    /* runs from here on are spread over all nodes; 0: none */
    _Atomic size_t
        due_bytes;        /* free memory in one place that raises ss_due; SIZE_MAX: none does */
    _Atomic bool due_ops; /* so do some tens of operations of a heap */
};
extern struct ss_params ss_params;

/* Raised by slow paths under the conditions in ss_params: policy should have a look. Policy lowers
 * it. */
enum { SS_DUE_BYTES = 1, SS_DUE_OPS = 2, SS_DUE_LIMIT = 4 };
extern _Atomic uint32_t ss_due;

/* ---- What is held from the system (S8), and its limits (ss_held.c). Lock-free. ---- */
struct ss_limits {
    _Atomic size_t hard_bytes; /* never more; SIZE_MAX: no limit */
    _Atomic size_t soft_bytes; /* beyond it pressure sets in, */
    _Atomic size_t calm_bytes; /* and lasts until less than this is held; <= soft */
    _Atomic bool pressure;
    _Atomic size_t look_bytes; /* from so much held on ss_due is raised */
    _Atomic size_t
        squeeze_bytes; /* and, under pressure, for so much free memory in one place */
};
extern struct ss_limits ss_limits;

/* Under pressure caches stay small, and what is free goes back at once. */
HAK_FAST bool ss_pressure(void)
{
    return HAK_UNLIKELY(atomic_load_explicit(&ss_limits.pressure, memory_order_relaxed));
}

/* Set the first three, and judge by them what is held now. */
void ss_limits_set(size_t hard_bytes, size_t soft_bytes, size_t calm_bytes);

/* Count memory before it is handed out; false: that would pass the hard limit. And take it off the
 * count once it has gone back. */
bool ss_held_take(size_t bytes);
void ss_held_give(size_t bytes);
size_t ss_held_bytes(void);

struct ss_held_stats {
    uint64_t refused;   /* takes beyond the hard limit */
    uint64_t pressures; /* how often pressure set in */
};
void ss_held_stats(struct ss_held_stats *out);
/* What S8 says it must be, but for what large has mapped, by a walk. Only while nothing else runs. */
size_t ss_held_walk(void);

/* Reserve the region and its tables. false: no address space to be had; may be called again. */
bool ss_init(void);

/* ---- Classes. ---- */
struct ss_class {
    /* ceil(2^64 / size): a multiple k of size, below 2^21, has k * magic mod 2^64 < 2^21, anything else
     * >= magic - 2^21 (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019). */
    _Alignas(1 << SS_CLASS_SHIFT) uint64_t magic;
    uint32_t behind; /* the first product that no block has */
    uint32_t size;   /* bytes of a block */
    uint16_t units;  /* of a slab */
    uint16_t blocks; /* of a slab */
};
static_assert(sizeof(struct ss_class) == 1 << SS_CLASS_SHIFT, "a word's class is its offset");
extern HAK_HIDDEN struct ss_class ss_classes[SS_NCLASS];

/* The class of 16 i bytes, as a word has it: 16-byte steps to SS_STEP_MAX, then 8 classes a doubling.
 * Constant, for malloc may be in it before anything has started. */
extern HAK_HIDDEN const uint16_t ss_class_bits[SS_TINY_MAX / 16 + 1];

/* The smallest class whose blocks hold n bytes, n <= SS_TINY_MAX (0 counts as 1). Class 0 has no
 * blocks: it is what malloc(0) looks into before the slow path makes it malloc(1). The classes above
 * are mid's (mid.h). */
HAK_FAST unsigned ss_class_of(size_t n)
{
    return (ss_class_bits[(n + 15) / 16] >> SS_CLASS_SHIFT) + (n == 0);
}

/* Define a class above the tiny ones: blocks of `size` bytes in slabs of `units`, which must fit
 * a superslab. Before the first refill of that class. */
void ss_class_define(unsigned class, uint32_t size, unsigned units);

/* ---- The map: address -> word. ---- */
struct ss_map {
    uintptr_t base;        /* first byte of the region */
    size_t units;          /* words[units] is zero, and stands for every foreign address */
    const uint32_t *words; /* readable over its whole length */
    bool many_nodes;
};
extern HAK_HIDDEN struct ss_map ss_map;

/* Slow paths of malloc and free ask this before anything that has to do with nodes. */
HAK_FAST bool ss_many_nodes(void)
{
    return HAK_UNLIKELY(ss_map.many_nodes);
}

/* Which unit of the region p is in; of a foreign address, ss_map.units or more. */
HAK_FAST size_t ss_unit(const void *p)
{
    return ((uintptr_t)p - ss_map.base) >> SS_UNIT_SHIFT;
}

/* The word of any address at all: one load, no test. */
HAK_FAST uint32_t ss_word(const void *p)
{
    size_t unit = HAK_MIN(ss_unit(p), ss_map.units);
    __asm__("" : "+r"(unit)); /* else gcc 12 scales both sides of the conditional move */
    return ss_map.words[unit];
}

HAK_FAST unsigned ss_word_heap(uint32_t word)
{
    return word >> SS_HEAP_SHIFT;
}

HAK_FAST unsigned ss_word_class(uint32_t word)
{
    return (word & ((1u << SS_NTH_SHIFT) - 1)) >> SS_CLASS_SHIFT;
}

/* Of a slab's word. */
HAK_FAST const struct ss_class *ss_class_at(uint32_t word)
{
    return (const void *)((const char *)ss_classes + (uint16_t)word);
}

/* What the words of all units of a slab have in common, and of all slabs of its heap and class. */
HAK_FAST uint32_t ss_word_slab(uint32_t word)
{
    return word & ~(uint32_t)SS_WORD_NTH;
}

/* Bytes from the start of p's slab; word = ss_word(p), of a heap > 0. */
HAK_FAST size_t ss_offset(const void *p, uint32_t word)
{
    return (uintptr_t)p % SS_UNIT + (word & SS_WORD_NTH); /* which is shifted as far */
}

/* Is p the first byte of a block of its slab? word = ss_word(p), of a heap > 0. Does not touch the
 * slab's record, which may be another CPU's cache line. */
HAK_FAST bool ss_block_starts(const void *p, uint32_t word)
{
    const struct ss_class *k = ss_class_at(word);
    return ss_offset(p, word) * k->magic < k->behind;
}

/* ---- Chains: blocks linked through their first word. ---- */
struct ss_chain {
    void *head;
    uint32_t count;
    bool zero; /* but for the links, the blocks' contents are known to be zero */
};

HAK_FAST void *ss_next(const void *block)
{
    return *(void *const *)block;
}

HAK_FAST void ss_link(void *block, void *next)
{
    *(void **)block = next;
}

/* ---- Lists: blocks of one class linked through their first words, NULL at the end, that travel and
 * wait as one. The second word of the first block is the list's note: where the next list is, and
 * how many blocks this one has.
 *
 *      63                          16 15        0
 *     +------------------------------+-----------+
 *     | address of the next list     | blocks    |
 *     +------------------------------+-----------+                                      ---- */
HAK_FAST uint64_t *ss_list_note(const void *list)
{
    return (uint64_t *)list + 1;
}

HAK_FAST uint32_t ss_list_count(const void *list)
{
    return *ss_list_note(list) & UINT16_MAX;
}

HAK_FAST void *ss_list_next(const void *list)
{
    return (void *)(uintptr_t)(*ss_list_note(list) >> 16);
}

/* count <= UINT16_MAX */
HAK_FAST void ss_list_note_set(void *list, const void *next, uint32_t count)
{
    *ss_list_note(list) = (uint64_t)(uintptr_t)next << 16 | count;
}

/* ---- Remote-free queue: a Treiber stack of lists, pushed by anyone, emptied whole by the owner.
 * Taking everything at once leaves no ABA. Pointer and size share one word, so both change
 * together.
 *
 *      63                          16 15            0
 *     +------------------------------+---------------+
 *     | address of the newest list   | bytes / 64    |   sticks at 65,535: 4 MiB
 *     +------------------------------+---------------+                                  ---- */
typedef _Atomic uint64_t ss_remote_t;

/* Push first..last, lists of `bytes` together. Returns the bytes now queued, each push rounded
 * up. */
size_t ss_remote_push(ss_remote_t *q, void *first, void *last, size_t bytes);
/* Take all, newest first. NULL: there was nothing. */
void *ss_remote_take(ss_remote_t *q);
/* Is there something to take? */
HAK_FAST bool ss_remote_waiting(const ss_remote_t *q)
{
    return atomic_load_explicit(q, memory_order_relaxed) != 0;
}

/* ---- Heaps. ---- */
struct ss_slab;
struct ss_superslab;

/* Free memory that may hold pages, in units, and how long it has been idle (ss_purge.c). */
enum { SS_DECAY_TICKS = 8 };
struct ss_ledger {
    size_t units;
    size_t low;                  /* the fewest since the last tick */
    size_t idle[SS_DECAY_TICKS]; /* [k]: how many were free all through the last k + 1 ticks */
};

struct ss_heap_stats {
    uint64_t refills;        /* slab refills */
    uint64_t flushes;        /* chains given back */
    uint64_t remote_takes;   /* queues emptied */
    uint64_t slabs;          /* owned now */
    uint64_t superslabs;     /* owned now */
    uint64_t dirty_bytes;    /* S6, filled in by ss_heap_stats */
    uint64_t hole_bytes;     /* S9, filled in by ss_heap_stats */
    uint64_t out[SS_NCLASS]; /* blocks outside their slabs, by class */
};

struct ss_heap {
    struct os_lock lock;
    uint32_t id;                      /* [const] > 0 */
    uint32_t node;                    /* [const] */
    struct ss_slab *slabs[SS_NCLASS]; /* [lock] S3; the head is the current slab */
    struct ss_superslab *superslabs;  /* [lock] S4; the head is the current superslab */
    struct ss_superslab *full;        /* [lock] those that wait, the oldest first */
    struct ss_ledger dirty;           /* [lock] S6 */
    size_t hole_pages;                /* [lock] S9 */
    uint32_t tick;                    /* [lock] ticks so far */
    uint32_t ops;                     /* [lock] refills, flushes and queues carried so far */
    uint32_t ops_ticked;              /* [lock] of them, before the last tick */
    struct ss_heap_stats stats;       /* [lock] */
    /* What other threads write, away from what the owner reads. */
    _Alignas(HAK_LINE) ss_remote_t remote; /* blocks of every class */
    _Atomic uint32_t nthreads;             /* caches in use that point here */
};

/* The heap of an id from a word (> 0), and how many there are: ids 1 .. ss_nheaps(). */
struct ss_heap *ss_heap_by_id(unsigned id);
unsigned ss_nheaps(void);
/* A heap for a new cache on node, and counts it: a new one below the bound, else the one with
 * fewest threads. NULL: no memory. */
struct ss_heap *ss_heap_get(unsigned node);
/* So many more of the heap's caches are in use, -1: one less. */
static inline void ss_heap_count(struct ss_heap *h, int more)
{
    atomic_fetch_add_explicit(&h->nthreads, (uint32_t)more, memory_order_relaxed);
}

/* A copy, under the heap's lock. */
void ss_heap_stats(struct ss_heap *h, struct ss_heap_stats *out);

/* superslab_refill: blocks of a class, at least one, into *out.
 * Four steps, in this order: (1) the current slab's free list,
 * whole, or virgin blocks, a page of them and at most `want`; (2) a free slab of the current
 * superslab; (3) an empty superslab of the node's pool; (4) a new superslab. *grew tells that (4)
 * was needed. false: no memory. Takes the heap's lock. */
bool ss_refill(struct ss_heap *h, unsigned class, uint32_t want, struct ss_chain *out,
               bool *grew);

/* Give blocks of any class, linked, NULL at the end, back to their slabs. Returns those that are
 * not this heap's, linked. Aborts on one that is already there. Takes the heap's lock. */
void *ss_flush(struct ss_heap *h, void *blocks);

/* Push lists of `bytes` to the heap that owns their blocks. Where that has let the queue grow to
 * 2 MiB, or to 64 KiB while it has no thread, also carries the queue to the slabs for it. */
void ss_send_home(unsigned heap, void *first, void *last, size_t bytes);

/* Empty one heap's remote-free queue into its slabs. */
void ss_heap_drain(struct ss_heap *h);
/* The same for one heap that has no thread, another at each call. */
void ss_drain_parked(void);

/* ---- Runs of whole units, for the large tier. ---- */

enum { SS_RUN_ALIGN_MAX = 2 * 1024 * 1024 };

/* units > 0, aligned to align bytes (a power of two up to SS_RUN_ALIGN_MAX). *zero: the memory
 * is known to be zero. NULL: no memory. Best fit among free runs, else from the frontier. */
void *ss_run_alloc(size_t units, size_t align, bool *zero);
/* p: what ss_run_alloc returned (word SS_WORD_RUN). */
void ss_run_free(void *p);
size_t ss_run_units(const void *p);
/* Resize in place to units > 0, using free units behind it. false: not possible. */
bool ss_run_resize(void *p, size_t units);

/* ---- Memory goes back. Any thread, no lock held; two do it one after the other, and malloc and
 * free do not wait for either. ---- */

/* A tick, SS_DECAY_TICKS of which make up the time in which idle memory decays, has passed. Returns what
 * the curve says to the system, for heaps and region alike. */
struct ss_tick {
    size_t returned; /* bytes */
    uint64_t ops;    /* a sum that stays the same while nothing is allocated or freed here */
    bool refused;    /* the system did not take something back */
};
void ss_tick(struct ss_tick *out);
/* Return all that is free, at once. Returns bytes. */
size_t ss_purge(void);
/* After a tick: idle pages of slabs in use go back, of some slabs each time, under pressure without
 * waiting for a decay; returns whether there will be more to do. And of all slabs, at once; returns bytes. */
bool ss_holes_tick(const struct ss_tick *t);
size_t ss_holes_purge(void);

/* Under SS_HUGE_AUTO, ask for huge pages in place of `most` superslabs, or a run, that have been full
 * for SS_DECAY_TICKS ticks: a millisecond each, or several. Returns how many it asked for; 0: there
 * are none. Any thread, no lock held. */
unsigned ss_huge_ask(unsigned most);
/* There is enough in use for that to be worth a thread. */
bool ss_huge_worth(void);

struct ss_region_stats {
    size_t reserved_bytes;
    size_t committed_bytes; /* readable and writable */
    size_t dirty_bytes;     /* S6, free runs and pooled superslabs */
    size_t pooled_superslabs;
    size_t run_bytes; /* in runs given out */
    uint64_t purges;  /* system calls that returned memory */
    uint64_t purged_bytes;
    uint64_t grown;    /* superslabs taken from the region */
    size_t huge_bytes; /* for which huge pages were asked one by one */
    size_t meta_bytes; /* caches, heaps and tables */
};
void ss_region_stats(struct ss_region_stats *out);

/* One node's part of it. `first` and `bytes`: the addresses handed out so far. SS_NODE_SPREAD: what is
 * spread over all nodes (ss_params.interleave_bytes). false: there is no such part. */
enum { SS_NODE_SPREAD = OS_NODES_ALL };
struct ss_node_stats {
    char *first;
    size_t bytes;
    uint64_t block_bytes, run_bytes; /* out of slabs, and in runs given out */
    uint64_t dirty_bytes;            /* S6, of its heaps too */
    unsigned heaps;
};
bool ss_node_stats(unsigned node, struct ss_node_stats *out);

/* Memory for hakmem's own records: zero, cache-line aligned, never freed. NULL: none. */
void *ss_meta_alloc(size_t bytes);

/* ---- Fork. prepare takes every lock here, in order; end lets go, in parent and child. Before it
 * the child empties the remote-free queues, which threads may have been writing meanwhile. */
void ss_fork_prepare(void);
void ss_fork_child(void);
void ss_fork_end(void);

/* Walk everything and abort on a broken invariant. Tests, and debug level 2. */
void ss_validate(void);

#endif /* HAK_SS_H */
