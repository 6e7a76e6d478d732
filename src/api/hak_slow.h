/* SPDX-License-Identifier: MIT
 *
 * api's own: where the fast paths go on a miss, and what the other api files share.
 */
#ifndef HAK_SLOW_H
#define HAK_SLOW_H

#include "base/hak_base.h"
#include "large/large.h"
#include "policy/limit.h"
#include "policy/policy.h"
#include "superslab/ss.h"

/* What hak_malloc does when its bin is empty or the size is above 8 KiB. */
HAK_NOINLINE void *hak_malloc_slow(size_t n);
/* What hak_free does with a full bin, a large block, NULL, or a bad pointer. Preserves errno. */
HAK_NOINLINE void hak_free_slow(void *p);

/* Ready to serve: options read, region reserved. Any allocation path may call it first; frees
 * never need it. false: no address space; the next call tries again. */
bool hak_init(void);

/* Policy wants a look at what is held: after it has grown, before the program touches it. */
HAK_FAST void hak_limit_check(void)
{
    if (HAK_UNLIKELY((atomic_load_explicit(&ss_due, memory_order_relaxed) & SS_DUE_LIMIT) !=
                     0)) {
        atomic_fetch_and_explicit(&ss_due, ~(uint32_t)SS_DUE_LIMIT, memory_order_relaxed);
        policy_limit_due();
    }
}

/* A block of at least n bytes at a multiple of align (a power of two). *zero (NULL: not asked)
 * tells whether its contents are known to be zero. NULL with errno set. */
void *hak_alloc(size_t n, size_t align, bool *zero);

size_t hak_block_size_slow(const void *p, uint32_t word);

/* Bytes of a live block, 0 of NULL. Ends the process on anything else. Programs that count what they
 * hold ask at each malloc and free, as redis-server does. */
HAK_FAST size_t hak_block_size(const void *p)
{
    uint32_t word = ss_word(p);
    if (HAK_LIKELY(ss_word_heap(word) != 0 && ss_block_starts(p, word)))
        return ss_class_at(word)->size;
    return hak_block_size_slow(p, word); /* large, or the end of the process */
}

/* Bytes of a large block before it goes or changes, for policy_large_begin and _end; 0: nobody wants to
 * know. word = ss_word(p). */
HAK_FAST size_t hak_large_had(const void *p, uint32_t word)
{
    return atomic_load_explicit(&policy_learns, memory_order_relaxed) ? large_usable(p, word)
                                                                      : 0;
}

#endif /* HAK_SLOW_H */
