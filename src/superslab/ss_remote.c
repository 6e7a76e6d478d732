/* SPDX-License-Identifier: MIT
 *
 * superslab: remote-free queues. Treiber, "Systems Programming: Coping with Parallelism", 1986.
 *
 * A push is one compare-and-swap, retried while others push; a take is one exchange.
 */
#include "superslab/ss.h"

enum { GRAINS_BITS = 16, GRAINS_MAX = (1 << GRAINS_BITS) - 1, GRAIN = 64 };

static_assert(sizeof(void *) == 8, "an address below 2^48 and its bytes share a word");

size_t ss_remote_push(ss_remote_t *q, void *first, void *last, size_t bytes)
{
    HAK_ASSERT((uintptr_t)first >> 48 == 0);
    uint64_t old = atomic_load_explicit(q, memory_order_relaxed);
    uint64_t more = (bytes + GRAIN - 1) / GRAIN;
    uint32_t count = ss_list_count(last);
    uint64_t grains;
    uint64_t new;
    do {
        /* Sent home alone and freed again at once: linked to itself it would be handed out for
         * ever. */
        HAK_CHECK_POINTER((uintptr_t)last != old >> GRAINS_BITS, "superslab: block freed twice",
                          last);
        ss_list_note_set(last, (void *)(uintptr_t)(old >> GRAINS_BITS), count);
        grains = HAK_MIN((old & GRAINS_MAX) + more, (uint64_t)GRAINS_MAX);
        new = (uint64_t)(uintptr_t)first << GRAINS_BITS | grains;
        /* Release: whoever takes the lists sees the links, and all the freeing thread did. */
    } while (!atomic_compare_exchange_weak_explicit(q, &old, new, memory_order_release,
                                                    memory_order_relaxed));
    return grains * GRAIN;
}

void *ss_remote_take(ss_remote_t *q)
{
    if (!ss_remote_waiting(q))
        return NULL; /* the common case costs no locked instruction */
    uint64_t old = atomic_exchange_explicit(q, 0, memory_order_acquire);
    return (void *)(uintptr_t)(old >> GRAINS_BITS);
}
