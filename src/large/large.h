/* SPDX-License-Identifier: MIT
 *
 * large: what is too big for a slab. Below the threshold a run of whole units of the region,
 * kept and coalesced when freed; at the threshold and above, or where the region cannot serve, a
 * mapping of its own, returned when freed.
 *
 * Sits on:   superslab (runs), os (mappings).     Used by: policy, api.
 *
 *   word SS_WORD_RUN             the block is a run; its length is in the unit record
 *   word SS_WORD_NONE            look in the table of mappings: address -> bytes
 *                                (open addressing, linear probing, at most half full)
 *
 * Invariants:
 *   L1  the table holds exactly the mappings given out, by first byte.
 *
 * Concurrency: every function may be called by any thread; the table has a lock of its own,
 * taken last in the lock order.
 */
#ifndef HAK_LARGE_H
#define HAK_LARGE_H

#include "superslab/ss.h"

/* In between, a run and a mapping have the same size: which of them a block becomes may change while the
 * program runs (policy's ELO), and what it may use shall not. */
enum { LARGE_EITHER_MIN = 512 << 10, LARGE_EITHER_MAX = 32 << 20 };

/* Numbers handed down by policy. */
struct large_params {
    _Atomic size_t threshold; /* bytes; may change while running */
};
extern struct large_params large_params;

/* n > 0 bytes at a multiple of align (a power of two). *zero: known to be zero. NULL: no memory. */
void *large_alloc(size_t n, size_t align, bool *zero);
/* A mapping of its own, whatever the size. */
void *large_map_alloc(size_t n, size_t align);
/* Bytes that it would have. */
size_t large_map_bytes(size_t n);

/* For the following, word = ss_word(p), of heap 0. Where p is no large block they end the
 * process: "not a hakmem block", or "pointer into the middle of a block". */
void large_free(void *p, uint32_t word);
size_t large_usable(const void *p, uint32_t word);
/* Resize in place, or by moving pages. Returns the block, moved or not, or NULL where only a copy
 * will do; then nothing has changed. */
void *large_resize(void *p, uint32_t word, size_t n);
/* Bytes large_alloc would make usable for n. */
size_t large_good_size(size_t n);

struct large_stats {
    size_t mappings;
    size_t mapped_bytes;
    size_t table_bytes;
    uint64_t maps; /* ever made */
};
void large_stats(struct large_stats *out);

void large_fork_prepare(void);
void large_fork_end(void);

#endif /* HAK_LARGE_H */
