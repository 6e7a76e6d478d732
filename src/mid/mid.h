/* SPDX-License-Identifier: MIT
 *
 * mid: blocks too big for a slab of one unit, too small to be runs of their own: 8 to 256
 * KiB. Four classes a doubling, in slabs of several units; the same bins as tiny blocks,
 * with small capacities.
 *
 * Sits on:   superslab.     Used by: policy, api.
 *
 *   slab of a 20 KiB class: 2 units, 6 blocks
 *   |<---- unit ---->|<---- unit ---->|
 *   [b0 ][b1 ][b2 ][b3 ][b4 ][b5 ]....
 *
 * Blocks cross unit borders, so the low bits of an address do not tell a block's start: every
 * free adds the number of the unit within its slab, which stands in the unit's word.
 *
 * Concurrency: constant after mid_init.
 */
#ifndef HAK_MID_H
#define HAK_MID_H

#include "superslab/ss.h"

enum {
    MID_MIN = SS_TINY_MAX + 1, /* bytes */
    MID_LIMIT = 256 * 1024,    /* bytes; the largest class there can be */
};

/* Define the classes that fit superslabs of this size. Blocks of large_bytes and above are not
 * mid, whatever would fit. After ss_init, before the first refill. */
void mid_init(size_t superslab_bytes, size_t large_bytes);

/* The largest request that gets a mid block, bytes. */
extern HAK_HIDDEN size_t mid_max;

/* The smallest class whose blocks hold n bytes, MID_MIN <= n <= mid_max. */
HAK_FAST unsigned mid_class_of(size_t n)
{
    unsigned k = hak_log2(n - 1);
    return SS_TINY_NCLASS + (k - 13) * 4 + ((unsigned)((n - 1) >> (k - 2)) - 4);
}

#endif /* HAK_MID_H */
