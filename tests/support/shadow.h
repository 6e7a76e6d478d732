/* SPDX-License-Identifier: MIT
 *
 * shadow: what an allocator may not do to a block, remembered outside of it: which bytes belong
 * to whom (no two blocks overlap) and what was written into them.
 *
 * Thread safety: the range functions take a lock; a block is touched by its holder only.
 */
#ifndef SHADOW_H
#define SHADOW_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* The addresses in use, sorted. All tests fail through REQUIRE. */
struct shadow {
    pthread_mutex_t lock;
    size_t n, max; /* [lock] */
    struct shadow_range {
        uintptr_t from, to;
    } * ranges; /* [lock] sorted, disjoint */
};

void shadow_init(struct shadow *s, size_t max_blocks);
/* The bytes must belong to nobody. Enter after allocating, leave before freeing. */
void shadow_enter(struct shadow *s, const void *p, size_t bytes);
void shadow_leave(struct shadow *s, const void *p);
size_t shadow_count(struct shadow *s);

/* A block and the pattern in it. Blocks above 64 KiB hold it at both ends and in one word of
 * every 4 KiB between, to be quick. */
struct shadow_block {
    unsigned char *p;
    size_t asked, usable;
    uint64_t seed;
};

/* Fill all of b->usable. */
void shadow_block_fill(const struct shadow_block *b);
/* Is what fill wrote still there, as far as `valid` bytes reach? at: where the block is now. */
void shadow_block_require(const struct shadow_block *b, const void *at, size_t valid);

#endif /* SHADOW_H */
