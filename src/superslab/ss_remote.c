/* SPDX-License-Identifier: MIT
 *
 * superslab: remote-free queues. Treiber, "Systems Programming: Coping with Parallelism", 1986.
 *
 * A push is one compare-and-swap, retried while others push; a take is one exchange.
 */
#include "superslab/ss.h"

enum { COUNT_BITS = 16, COUNT_MAX = (1 << COUNT_BITS) - 1 };

static_assert(sizeof(void *) == 8, "an address below 2^48 and a count share a word");

uint32_t ss_remote_push(ss_remote_t *q, const struct ss_chain *c)
{
    HAK_ASSERT((uintptr_t)c->head >> 48 == 0);
    uint64_t old = atomic_load_explicit(q, memory_order_relaxed);
    uint32_t count;
    uint64_t new;
    do {
        /* Sent home alone and freed again at once: linked to itself it would be handed out for
         * ever. */
        HAK_CHECK_POINTER((uintptr_t)c->tail != old >> COUNT_BITS,
                          "superslab: block freed twice", c->tail);
        ss_link(c->tail, (void *)(uintptr_t)(old >> COUNT_BITS));
        count = HAK_MIN((uint32_t)(old & COUNT_MAX) + c->count, (uint32_t)COUNT_MAX);
        new = (uint64_t)(uintptr_t)c->head << COUNT_BITS | count;
        /* Release: whoever takes the chain sees the links, and all the freeing thread did. */
    } while (!atomic_compare_exchange_weak_explicit(q, &old, new, memory_order_release,
                                                    memory_order_relaxed));
    return count;
}

struct ss_chain ss_remote_take(ss_remote_t *q)
{
    struct ss_chain c = {NULL, NULL, 0, false};
    if (atomic_load_explicit(q, memory_order_relaxed) == 0)
        return c; /* the common case costs no locked instruction */
    uint64_t old = atomic_exchange_explicit(q, 0, memory_order_acquire);
    c.head = (void *)(uintptr_t)(old >> COUNT_BITS);
    c.count = (uint32_t)(old & COUNT_MAX);
    return c;
}
