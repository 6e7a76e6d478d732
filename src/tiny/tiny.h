/* SPDX-License-Identifier: MIT
 *
 * tiny: the thread's cache. One bin a size class: a singly linked list (SLL) of free blocks.
 *
 * Sits on:   superslab (blocks come from ss_refill and go to ss_flush or ss_send_home).
 * Used by:   policy, api.
 *
 *   tiny_tls.self --> tiny_cache
 *                       +-----------------------------+
 *                       | tag: heap id << 12          |
 *                       +-----------------------------+      block    block
 *             bin[c]    | head -----------------------|--->  +----+   +----+
 *             32 bytes  | room << 17                  |      |next|-->|NULL|
 *                       | magic: ceil(2^64 / size)    |      +----+   +----+
 *                       | spare: full lists, a stack --|--->  ...
 *                       +-----------------------------+
 *             remote[c] | the same, for blocks of other heaps that this thread has freed
 *             parcel[]  | lists of them that go home together, by owner
 *                       +-----------------------------+
 *
 * free(p) refuses what is outside the region, and computes x = word(p) ^ tag. Its class bits are the offset of p's bin among its kind;
 * the heap bits are zero for a block of this thread's heap, and choose the kind without a branch:
 * whose a block is, is as good as random where threads exchange them. Then one comparison asks
 * both "has the bin room?" and "is p the first byte of a block?": the offset in the slab times
 * magic, modulo 2^64, is below 2^21 for a multiple of the size and at least 2^46 otherwise, and
 * room is kept in units of 2^22. Whatever is no block has class 0, whose bins have no room.
 *
 * Other heaps' blocks do not become this thread's at once: of a few, the neighbours on the same
 * cache lines may be in use elsewhere. A list of them is used where this thread runs out of its
 * own, or has use for more; else it goes home.
 *
 * Invariants:
 *   T1  bin[c].head, spare: NULL, or blocks of class c that no program holds. remote[c].head: those
 *       of other heaps.
 *   T2  room: how many more blocks tiny_push may add, times TINY_ROOM_ONE. What one refill brings
 *       may be longer than the capacity (a slab's whole free list): it is kept, and as many may
 *       come back until the bin runs empty; then the capacity holds again.
 *   T3  tiny_tls.self is never NULL. A thread not set up, or ended, or whose cache is lent, points to
 *       a cache of zeros: every list is empty, no bin has room.
 *   T4  parcel[i]: lists of one heap's blocks, not this cache's heap's; open: count blocks of the
 *       heap and class in word.
 *   T5  spares: blocks in the lists on the stack at spare. What is on stacks beyond one full list a
 *       class stays within what all caches together may borrow.
 *
 *   T6  between tiny_enter and tiny_leave a thread is busy; outside it holds nothing of a cache in
 *       registers.
 *
 * Concurrency: a cache is touched by its thread alone; or, while parked, under its list's lock or by
 * the one who took it off the list; or, while lent, by whoever holds its lock. To borrow the cache of a
 * thread that may be asleep: take the lock, point the thread's `self` elsewhere, have every CPU pass a
 * barrier, and look whether the thread is busy. If not, its next operation will see the new `self`,
 * and wait for the lock. The thread itself pays for this with two plain stores (the asymmetric form of
 * Dekker's algorithm: Dice, Huang, Yang, "Asymmetric Dekker Synchronization", 2001).
 */
#ifndef HAK_TINY_H
#define HAK_TINY_H

#include "superslab/ss.h"

enum {
    TINY_ROOM_SHIFT = 22,
    TINY_NBINS = 128, /* a power of two, at least SS_NCLASS */
    TINY_OFFSET_MASK = (TINY_NBINS - 1) << SS_CLASS_SHIFT,
    TINY_NPARCELS = 256,
    TINY_PARCEL_BYTES = 32 * 1024, /* is sent home */
};
#define TINY_ROOM_ONE ((uint64_t)1 << TINY_ROOM_SHIFT)

struct tiny_bin {
    void *head;     /* [owner] T1 */
    uint64_t room;  /* [owner] T2 */
    uint64_t magic; /* [const] of the class */
    void *spare;    /* [owner] T1 */
};
static_assert(sizeof(struct tiny_bin) == 1 << SS_CLASS_SHIFT,
              "a word's class is a bin's offset");

struct tiny_parcel { /* T4 */
    uint32_t word;
    uint32_t count;
    void *open;      /* the list that blocks are added to */
    uint32_t blocks; /* in all lists */
    uint32_t bytes;
    void *first, *last; /* the lists before it */
};

/* What policy wants of a class, in blocks; 0: the built-in rule. Heeded at the next slow operation, and
 * not while squeezed. */
struct tiny_steer {
    _Atomic uint16_t cap;    /* a list may grow to */
    _Atomic uint16_t refill; /* wanted at a time */
    _Atomic uint16_t remote; /* in the list of the remote bin */
};

/* What a class did, for policy: written by the cache's thread alone. */
struct tiny_seen {
    _Atomic uint32_t misses;  /* refills from the heap */
    _Atomic uint32_t flushes; /* lists given back to it */
    _Atomic uint32_t sent;    /* remote lists sent home */
    _Atomic uint32_t miss_ns; /* what a refill costs, of late */
};

struct tiny_cache {
    uint32_t tag;         /* [const] T3 */
    uint32_t ticks;       /* slow operations so far, those of many bytes counted as several */
    bool squeezed;        /* as it was under pressure, at the last slow operation */
    uint64_t swept_ns;    /* when it was swept last, */
    uint64_t halved_ns;   /* and with halving; 0: never swept */
    struct ss_heap *heap; /* [const] */
    void *inbox;          /* lists that came home and are not in their bins yet */
    _Alignas(HAK_LINE) struct tiny_bin bin[SS_NCLASS];
    struct tiny_bin remote[SS_NCLASS]; /* spare is not used */
    /* Slow paths only. */
    uint32_t cap[SS_NCLASS];          /* blocks a list may hold */
    uint32_t full[SS_NCLASS];         /* blocks in the list when its room is 0 */
    uint32_t mark[SS_NCLASS];         /* of the bin, at the last sweep */
    bool moved[SS_NCLASS];            /* ran full or empty since then */
    bool missed[SS_NCLASS];           /* had to ask the heap since then, */
    bool starved[SS_NCLASS];          /* and since the last halving */
    uint32_t spares[SS_NCLASS];       /* T5 */
    uint32_t spares_low[SS_NCLASS];   /* fewest since the last sweep */
    uint16_t spares_max[SS_NCLASS];   /* full lists the stack may hold */
    size_t spare_bytes;               /* in all stacks */
    size_t quota;                     /* bytes borrowed for them beyond one list a class */
    struct tiny_cache *all;           /* [const] every cache there is */
    struct os_lock lock;              /* held by who has borrowed it */
    _Atomic(struct tiny_tls *) owner; /* NULL: no thread's; cleared under the lock only */
    uint32_t idle_mark;               /* of all bins, when last looked at */
    uint32_t idle_ticks;              /* since it changed */
    bool idle_flushed;                /* emptied since then */
    uint32_t remote_full[SS_NCLASS];  /* blocks in the remote list when its room is 0 */
    struct tiny_steer steer[SS_NCLASS];
    /* [its list's lock] Away from what the thread writes: neighbours on the list do too. */
    _Alignas(HAK_LINE) struct tiny_cache *next, *prev; /* parked list, circular */
    uint64_t parked_ns;                                /* since when; 0: not on a list */
    uint32_t node;                                     /* [const] of the heap */
    bool parked_empty;                                 /* emptied while parked */
    /* Only where somebody wants to know, or has blocks of other heaps: pages that few threads touch. */
    _Alignas(HAK_LINE) struct tiny_seen seen[SS_NCLASS];
    void *record;                /* policy's own */
    uint32_t away;               /* how often in a row its thread was seen on another node */
    uint64_t away_ns;            /* since when */
    _Atomic uint64_t far_pushes; /* to heaps of other nodes, */
    _Atomic uint64_t far_blocks; /* of so many blocks */
    _Alignas(HAK_LINE) struct tiny_parcel parcel[TINY_NPARCELS]; /* by heap id, modulo */
};

/* Numbers handed down by policy before the first cache; constant afterwards. */
struct tiny_params {
    uint32_t cap_max[SS_NCLASS];    /* blocks in one list; a bin has one, and spare ones */
    uint32_t remote_max[SS_NCLASS]; /* in the list of a remote bin, >= 1; 0: no such class */
    uint32_t parcel_max;            /* collected for an owner, then sent home, >= 1 */
    bool adapt;                     /* capacities start small and grow with misses */
    bool count;                     /* tiny_seen is wanted */
    struct tiny_steer steer[SS_NCLASS]; /* a new cache begins with */
    uint64_t sweep_ns;                  /* at least this between two sweeps of a cache, */
    uint64_t halve_ns;                  /* and between two that halve what had enough */
    uint64_t park_decay_ns;             /* a cache parked longer is emptied */
};
extern struct tiny_params tiny_params;

/* Bytes of spare lists, beyond one a class and thread, that caches may still borrow. Set by
 * policy with the parameters. */
extern _Alignas(HAK_LINE) _Atomic int64_t tiny_quota;

struct tiny_tls {
    _Atomic(struct tiny_cache *) self; /* T3 */
    _Atomic uint32_t busy;             /* T6 */
    struct tiny_cache *own;            /* what self is, unless it is lent */
};
extern HAK_HIDDEN HAK_TLS struct tiny_tls tiny_tls;

extern const struct tiny_cache tiny_cache_none;  /* T3: not set up */
extern const struct tiny_cache tiny_cache_ended; /* T3: the thread's exit hook has run */
extern const struct tiny_cache tiny_cache_lent;  /* T3: somebody else is at work in it */

/* os_barrier gives the order between busy and self; but the thread sanitizer does not know it. */
#if HAK_CFG_TSAN
#    define TINY_ACQUIRE memory_order_acquire
#    define TINY_RELEASE memory_order_release
#else
#    define TINY_ACQUIRE memory_order_relaxed
#    define TINY_RELEASE memory_order_relaxed
#endif

/* Begin and end an operation of the calling thread's (T6). Nothing in between may fork. */
HAK_FAST struct tiny_cache *tiny_enter(void)
{
    atomic_store_explicit(&tiny_tls.busy, 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&tiny_tls.self, TINY_ACQUIRE);
}

HAK_FAST void tiny_leave(void)
{
    atomic_signal_fence(memory_order_release);
    atomic_store_explicit(&tiny_tls.busy, 0, TINY_RELEASE);
}

/* Register the thread-exit hook. Once, before the first attach. */
void tiny_init(void);

/* ---- Slow paths. tc is a cache of the caller's own: its thread's, or one it borrowed. ---- */

/* The bin of `class` is empty: take a spare list, sort in what came home, or refill from the heap,
 * and return one block. *zero: its contents, but for the first word, are known to be zero. NULL:
 * no memory. */
HAK_NOINLINE void *tiny_refill(struct tiny_cache *tc, unsigned class, bool *zero);
/* Put back p, a checked block, whether or not its bin has room: of tc's own heap, or another's. */
HAK_NOINLINE void tiny_give(struct tiny_cache *tc, unsigned class, void *p);
HAK_NOINLINE void tiny_give_remote(struct tiny_cache *tc, unsigned class, void *p);
/* A slow operation is about to move so many bytes, in tc's bins or past them: sweep tc first, if that
 * is due. */
void tiny_tick(struct tiny_cache *tc, size_t bytes);
/* Empty every list of tc. */
void tiny_flush(struct tiny_cache *tc);
/* A number that changes when tc's lists do. */
uint32_t tiny_mark(const struct tiny_cache *tc);

/* ---- Life of caches. ---- */

/* Give the calling thread a cache and return it, entered. NULL: no memory. Parked ones first, filled as they
 * are; of those the one that was parked last on this CPU, which has their blocks at hand. Never one of
 * another node, unless no other is to be had. */
struct tiny_cache *tiny_attach(void);
/* Take a cache without making it the thread's, for a thread that has none any more; and put one
 * back, filled, in O(1). */
struct tiny_cache *tiny_borrow(void);
void tiny_park(struct tiny_cache *tc);
/* Enter, wherever the thread's cache is: if it is lent, wait for it. */
struct tiny_cache *tiny_enter_own(void);
/* Where there are several nodes: has the calling thread moved to another for good? Then it takes a cache
 * there, and its old one is parked, filled. For the end of slow paths; no lock held. */
HAK_SLOW void tiny_follow(void);
/* Empty the caches that have been parked for older_ns. */
void tiny_flush_parked(uint64_t older_ns);
/* A tick has passed: empty the caches of threads that have been idle for `ticks` of them; 0: of all
 * threads that are not in malloc or free right now. Not the calling thread's own. Returns whether
 * there are caches that a later tick may empty. */
bool tiny_flush_idle(unsigned ticks);
unsigned tiny_ncaches(void);
/* The newest of all caches; ->all is the next. None ever goes. */
struct tiny_cache *tiny_caches(void);
/* Bytes in the calling thread's cache and in the parked ones: those that may be looked at. Of one node,
 * or of all (TINY_NODES_ALL). */
enum { TINY_NODES_ALL = OS_NODES_ALL };
size_t tiny_cached_bytes(unsigned node);
/* What went to heaps of other nodes so far: compare-and-swaps, and blocks. */
struct tiny_far {
    uint64_t pushes, blocks;
};
void tiny_far(struct tiny_far *out);

void tiny_fork_prepare(void);
/* Only the forking thread lives on: the lists of the others, caught in mid-write, are given up
 * and their caches parked empty. */
void tiny_fork_child(void);
void tiny_fork_end(void);

/* Walk one cache and abort on a broken invariant. Tests, and debug level 2. */
void tiny_validate(const struct tiny_cache *tc);

/* ---- Fast paths. ---- */

HAK_FAST struct tiny_bin *tiny_bin_at(struct tiny_cache *tc, size_t offset)
{
    return (struct tiny_bin *)(void *)((char *)tc->bin + offset);
}

/* The bin of n bytes, n <= SS_TINY_MAX. */
HAK_FAST struct tiny_bin *tiny_bin_of(struct tiny_cache *tc, size_t n)
{
    return tiny_bin_at(tc, ss_class_bits[(n + 15) / 16]);
}

HAK_FAST void *tiny_pop(struct tiny_bin *bin)
{
    void *p = bin->head;
    if (HAK_LIKELY(p != NULL)) {
        bin->head = ss_next(p);
        bin->room += TINY_ROOM_ONE;
    }
    return p;
}

/* p: a block of any heap, if the bin of its class has room. Everything else is refused. */
HAK_FAST bool tiny_push(struct tiny_cache *tc, void *p)
{
    size_t unit = ss_unit(p);
    if (HAK_UNLIKELY(unit >= ss_map.units)) /* no load has to wait for this, as in ss_word */
        return false;
    uint32_t x = ss_map.words[unit] ^ tc->tag;
    struct tiny_bin *bin = tiny_bin_at(tc, (x & TINY_OFFSET_MASK) +
                                               (x >= 1u << SS_HEAP_SHIFT ? sizeof tc->bin : 0));
    if (HAK_UNLIKELY(ss_offset(p, x) * bin->magic >= bin->room))
        return false;
    void *head = bin->head;
    if (HAK_UNLIKELY(p == head)) /* freed twice */
        return false;
    __asm__("" : "+m"(bin->room)); /* subtract in memory: gcc 12 would keep the copy compared */
    bin->room -= TINY_ROOM_ONE;
    ss_link(p, head);
    bin->head = p;
    return true;
}

#endif /* HAK_TINY_H */
