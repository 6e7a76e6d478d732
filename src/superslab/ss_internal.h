/* SPDX-License-Identifier: MIT
 *
 * superslab's own: the records behind units, and the calls between its files.
 */
#ifndef HAK_SS_INTERNAL_H
#define HAK_SS_INTERNAL_H

#include "superslab/ss.h"

/* What a unit's record is. Stands first in both records, so that a neighbour can be asked. */
enum ss_kind {
    SS_KIND_USED = 0, /* part of a run given out, or of a superslab */
    SS_KIND_FREE_RUN, /* first or last unit of a free run */
};

/* A slab, in the record of its first unit. The other units' records hold kind and back only. */
struct ss_slab {
    uint8_t kind;
    uint8_t class;
    uint8_t back;    /* units before this one in the slab: 0 in the first */
    bool zero;       /* its pages were zero when it was taken, so virgin blocks still are */
    uint32_t heap;   /* id */
    void *free;      /* [heap lock] blocks given back */
    uint32_t nfree;  /* [heap lock] S2 */
    uint32_t nout;   /* [heap lock] S2 */
    uint32_t carved; /* [heap lock] S2 */
    uint16_t blocks; /* [const] */
    uint16_t ngone;  /* [heap lock] S9 */
    struct ss_slab *next, *prev; /* [heap lock] S3, circular */
    uint32_t tick;   /* [heap lock] the heap's, when blocks or idle pages were last taken */
    uint16_t nholes; /* [heap lock] pages */
    uint16_t holes;  /* [heap lock] in each unit's record: those of its pages that are holes */
    bool looked;     /* [heap lock] no block has come home since idle pages were taken */
    bool away;       /* [heap lock] pages of it are on their way to the system */
};

/* A run: in the record of its first unit, and, while free, of its last. */
struct ss_run {
    uint8_t kind;
    bool waits; /* given out, and on ss_region.full */
    uint32_t units;
    uint32_t dirty;             /* units that may hold pages; 0: all zero */
    uint32_t clean;             /* units from the first on that hold none */
    uint32_t tick;              /* during which most of them became so, or it was given out */
    struct ss_run *next, *prev; /* [region lock] free runs of like size, circular */
};

union ss_unit {
    struct ss_slab slab;
    struct ss_run run;
    char line[HAK_LINE];
};
static_assert(sizeof(union ss_unit) == HAK_LINE, "one cache line a unit");

/* A superslab: SS_UNITS aligned units. Bit i speaks of unit i. */
struct ss_superslab {
    uint32_t free;  /* [heap lock] units in no slab */
    uint32_t dirty; /* [heap lock] free units that may hold pages; subset of free */
    uint32_t old;   /* [heap lock] of them, those dirty since before `tick` */
    uint32_t tick;  /* [heap lock] the heap's, when units last became dirty, or it full; [region
                       lock] the region's, when it came to a pool */
    struct ss_heap *heap; /* [to write: heap lock and region lock] NULL: the region */
    struct ss_superslab *next, *prev; /* [heap lock] S4, circular; [region lock] in a pool */
    bool waits;                       /* [heap lock] S4 */
    _Atomic bool
        huge; /* [to write: way] a huge page was asked for; of these addresses, whoever has
                          them */
};

/* A node's part of the region: what is cut here is placed there, and comes free here. All of it, but
 * for the constants: [region lock]. */
enum { SS_RUN_BINS = 128, SS_PARTS_MAX = SS_NODES_MAX + 1 };

/* A committed piece of the tables, offsets from their base. */
struct ss_extent {
    size_t low, high;
};

struct ss_part {
    size_t first, end; /* [const] units */
    size_t committed;  /* units before it, from first on, are readable and writable */
    size_t frontier;   /* were ever handed out; beyond it virgin */
    struct {
        struct ss_superslab *head; /* stack, by next */
        unsigned count;
    } pool; /* empty superslabs */
    size_t run_bytes;
    size_t free_units;       /* in free runs */
    _Atomic unsigned nheaps; /* of the node */
    struct ss_ledger dirty;  /* S6 */
    /* Of the tables, what speaks of these units, up to `recorded`. Of the first part superslabs and
     * words are one extent. */
    struct ss_extent superslabs, words, records;
    size_t recorded;
    uint64_t bins_used[SS_RUN_BINS / 64];
    struct ss_run *bins[SS_RUN_BINS]; /* free runs */
};

struct ss_region {
    struct os_lock lock;
    char *base;
    size_t units;    /* of the window: what the tables cover */
    size_t reserved; /* units whose addresses are ours, from base */
    uint32_t *words;
    union ss_unit *unit;
    struct ss_superslab *superslab; /* [-1 - i]: units i * ss_units and on */
    unsigned ss_units;              /* units of a superslab */
    uint32_t ss_mask;               /* that many ones */
    _Atomic uint64_t purges, purged_bytes;
    _Atomic size_t huge;   /* how many superslabs are `huge` */
    struct ss_run *full;   /* [lock] runs that may have a huge page inside, the oldest first */
    uint64_t grown;        /* [lock] */
    uint32_t tick;         /* [lock] ticks so far */
    uint64_t ops;          /* [lock] runs and superslabs given and taken so far */
    char *meta, *meta_end; /* [lock] */
    size_t meta_bytes;     /* [lock] */
    unsigned part_shift;   /* unit >> part_shift: the part it is in */
    unsigned nparts;       /* one a node, and one for what is spread over all (ss_params) */
    unsigned nnodes;
    const struct os_ids *node_ids; /* by node */
    struct ss_part *part;          /* [const] */
};
extern struct ss_region ss_region;

/* Where another process finds all this: `hakmem numa PID` (tools/hakmem_numa.c), which is of the same build
 * or says so. */
struct ss_view {
    uint32_t view_bytes, region_bytes, heap_bytes, class_bytes; /* sizeof */
    const struct ss_region *region;
    struct ss_heap *const *heaps; /* by id */
    const _Atomic unsigned *nheaps;
    const struct ss_class *classes;
};
extern __attribute__((visibility("default"))) const struct ss_view hak_view;

static inline struct ss_part *ss_part_of(size_t unit)
{
    return &ss_region.part[unit >> ss_region.part_shift];
}

/* The part to ask after p where that has no addresses for `units` units more, and goes on until it comes
 * to the first one again. NULL: none; memory that is wanting is wanting everywhere. */
static inline struct ss_part *ss_part_after(const struct ss_part *p, size_t units,
                                            unsigned first)
{
    unsigned next = (unsigned)(p - ss_region.part) + 1;
    next = next < ss_region.nparts ? next : 0;
    bool full = p->end - p->frontier < units;
    return HAK_UNLIKELY(full) && next != first ? &ss_region.part[next] : NULL;
}

static inline void ss_due_raise(uint32_t why)
{
    if ((atomic_load_explicit(&ss_due, memory_order_relaxed) & why) ==
        0) /* all read its line */
        atomic_fetch_or_explicit(&ss_due, why, memory_order_relaxed);
}

static inline size_t ss_unit_of(const void *p)
{
    return (size_t)((const char *)p - ss_region.base) >> SS_UNIT_SHIFT;
}

static inline char *ss_unit_address(size_t unit)
{
    return ss_region.base + (unit << SS_UNIT_SHIFT);
}

static inline struct ss_slab *ss_slab_of(const void *p)
{
    size_t unit = ss_unit_of(p);
    return &ss_region.unit[unit - ss_region.unit[unit].slab.back].slab;
}

static inline size_t ss_slab_unit(const struct ss_slab *s)
{
    return (size_t)((const union ss_unit *)(const void *)s - ss_region.unit);
}

/* The table of superslabs grows downwards (ss_region.c). */
static inline struct ss_superslab *ss_superslab_at(size_t index)
{
    return ss_region.superslab - 1 - index;
}

static inline size_t ss_superslab_index(const struct ss_superslab *ss)
{
    return (size_t)(ss_region.superslab - 1 - ss);
}

/* n more units are free and may hold pages. */
static inline void ss_ledger_add(struct ss_ledger *l, size_t n)
{
    l->units += n;
    if (ss_pressure() &&
        l->units << SS_UNIT_SHIFT >=
            atomic_load_explicit(&ss_limits.squeeze_bytes, memory_order_relaxed))
        ss_due_raise(SS_DUE_LIMIT);
    if (HAK_UNLIKELY(l->units << SS_UNIT_SHIFT >=
                     atomic_load_explicit(&ss_params.due_bytes, memory_order_relaxed)))
        ss_due_raise(SS_DUE_BYTES);
}

static inline void ss_ledger_sub(struct ss_ledger *l, size_t n)
{
    l->units -= n;
    l->low = HAK_MIN(l->low, l->units);
}

/* A tick has passed: how many units are to go back now. They are left out of `idle` at once. So are the
 * `kept` ones, which huge pages keep. */
size_t ss_ledger_tick(struct ss_ledger *l, size_t kept);

/* Units on their way to the system (S7). */
struct ss_piece {
    size_t first;
    uint32_t units, dirty; /* 0: pages of a slab in use, which lie in its unit `first` */
    uint16_t page, pages;
};
enum { SS_BATCH_PIECES = 256 };
struct ss_batch {
    struct ss_piece piece[SS_BATCH_PIECES];
    unsigned n;
    size_t want;  /* units still to be taken */
    size_t least; /* units of the smallest piece */
    bool all;     /* young ones too, and parts of huge pages */
};
static inline bool ss_batch_full(const struct ss_batch *b)
{
    return b->want == 0 || b->n == SS_BATCH_PIECES;
}
/* Take pieces out, and give them back, the first `done` of them clean: so many bytes have gone. Lock of
 * heap or region held. */
void ss_heap_claim_locked(struct ss_heap *h, struct ss_batch *b);
size_t ss_heap_return_locked(struct ss_heap *h, const struct ss_batch *b, unsigned done);
void ss_runs_claim_locked(struct ss_part *p, struct ss_batch *b);
/* How many dirty units they leave where they are for the sake of huge pages. */
size_t ss_heap_kept_locked(struct ss_heap *h);
size_t ss_runs_kept_locked(struct ss_part *p);
size_t ss_runs_return_locked(const struct ss_batch *b, unsigned done);
/* The way to the system is one's own until ss_way_leave: taken by who returns memory of a heap, or of a
 * part of the region, and by who asks for huge pages (both NULL). No lock held. */
void ss_way_enter(struct ss_heap *h, struct ss_part *p);
void ss_way_leave(void);
/* After a fork, in the child: units that another thread had on their way. */
void ss_purge_fork_child(void);

/* ---- Holes (ss_hole.c). Heap lock held. ---- */

enum ss_holes {
    SS_HOLES_NONE,  /* there are no more to be made */
    SS_HOLES_LATER, /* when slabs have been idle for longer */
    SS_HOLES_MORE,  /* the batch is full */
};
/* Take idle pages of the slabs of a superslab out, if it is this heap's; and give them back, as above. */
enum ss_holes ss_holes_claim_locked(struct ss_heap *h, size_t index, struct ss_batch *b);
size_t ss_holes_return_locked(struct ss_heap *h, const struct ss_batch *b, unsigned done);
/* The next n virgin blocks shall be cut. false: beyond the hard limit. */
bool ss_holes_carve_locked(struct ss_heap *h, struct ss_slab *s, uint32_t n);
/* About `want` blocks of a slab with ngone > 0. false: beyond the hard limit. */
bool ss_holes_fill_locked(struct ss_heap *h, struct ss_slab *s, uint32_t want,
                          struct ss_chain *out);
/* The slab becomes free units; *clean: those of them that hold no page at all, as bits. Others are dirty as
 * a whole, holes or not. false: that would be beyond the hard limit. */
bool ss_holes_drop_locked(struct ss_heap *h, struct ss_slab *s, uint32_t *clean);
uint32_t ss_holes_count(struct ss_slab *s);
/* Can blocks be taken from it? */
static inline bool ss_slab_has(const struct ss_slab *s)
{
    return !s->away && (s->nfree > 0 || s->ngone > 0 || s->carved < s->blocks);
}

/* Of the tables, committed. */
size_t ss_tables_bytes(void);
/* ---- Huge pages (ss_huge.c). ---- */

/* Addresses that were reserved just now. */
void ss_huge_reserved(char *addr, size_t bytes);
/* A frontier has moved. Region lock held. */
void ss_huge_note_locked(void);
/* Is this superslab one huge page, or shall it be? */
bool ss_huge_is(const struct ss_superslab *ss);
bool ss_huge_any(void);
/* Of units [*start, *end), leave out at either end what is less than half of a huge page. */
void ss_huge_trim(size_t *start, size_t *end);
/* Units that are about to go back: huge pages there are broken, and shall stay so. The way entered. */
void ss_huge_break(size_t first, size_t units);
/* The longest full of the heap, if it has been so for SS_DECAY_TICKS ticks, waits no more. NULL: none.
 * And one waits again, if it still is this heap's, and full. */
struct ss_superslab *ss_full_take(struct ss_heap *h);
void ss_full_again(struct ss_heap *h, struct ss_superslab *ss);
/* The same for runs given out. Returns units, 0: none. */
size_t ss_run_full_take(size_t *first);
void ss_run_full_again(size_t first);

void ss_classes_init(void);
bool ss_region_init(void);
/* Make units [p->first, upto) usable, with their records. Lock held. */
bool ss_region_commit_locked(struct ss_part *p, size_t upto);
/* The run allocator under the lock already held; see ss_run_alloc. From one part and no other. */
size_t ss_run_take_locked(struct ss_part *p, size_t units, size_t align_units,
                          bool as_superslab, uint32_t *dirty);
void ss_run_give_locked(size_t first, size_t units, uint32_t dirty);
#define SS_UNIT_NONE SIZE_MAX

/* A slab of class c for h, linked as current; steps 2, 3 and 4. Heap lock held. NULL: no memory. */
struct ss_slab *ss_slab_take_locked(struct ss_heap *h, unsigned class, bool *grew);
/* An emptied slab leaves its lists and becomes free units; but, at the hard limit, not one with holes,
 * which stays until the rest of it has gone back. Heap lock held. */
void ss_slab_give_locked(struct ss_heap *h, struct ss_slab *s);
void ss_slab_link(struct ss_heap *h, struct ss_slab *s);
void ss_slab_unlink(struct ss_heap *h, struct ss_slab *s);
/* What came home goes to its slabs, and empty slabs become free units. Heap lock held. */
void ss_heap_tidy_locked(struct ss_heap *h);
void ss_slabs_validate(struct ss_heap *h);
void ss_runs_validate(void);

#endif /* HAK_SS_INTERNAL_H */
