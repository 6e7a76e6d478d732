/* SPDX-License-Identifier: MIT
 *
 * api: what is rare. Sizes beyond 8 KiB, empty and full bins, threads without a cache, other
 * heaps' blocks, large blocks, no memory, bad pointers.
 */
#include "api/hak_slow.h"

#include <errno.h>

#include "base/hak_opt.h"
#include "hakmem.h"
#include "mid/mid.h"
#include "tiny/tiny.h"

enum { NO_CLASS = SS_NCLASS };

/* ---- A cache to work with. ---- */

/* The thread's own; made now for a thread that has none yet; borrowed, until cache_leave, for
 * one whose exit hook has run. NULL: no memory. */
static struct tiny_cache *cache_enter(void)
{
    struct tiny_cache *tc = tiny_enter_own();
    if (HAK_LIKELY(tc->heap != NULL))
        return tc;
    if (tc == &tiny_cache_ended)
        return tiny_borrow();
    return hak_init() ? tiny_attach() : NULL;
}

static void cache_leave(struct tiny_cache *tc)
{
    tiny_leave();
    if (HAK_UNLIKELY(tc != tiny_tls.own && tc != NULL))
        tiny_park(tc);
}

/* ---- Allocation. ---- */

static unsigned class_of(size_t n)
{
    if (n <= SS_TINY_MAX)
        return ss_class_of(n);
    return n <= mid_max ? mid_class_of(n) : NO_CLASS;
}

/* The smallest class that holds n > 0 and whose blocks all start at multiples of align: classes
 * have 4 or more equal steps a doubling, so that a multiple of a power of two has a class of its
 * size, or falls between such steps, all multiples of more. */
static unsigned class_of_aligned(size_t n, size_t align)
{
    return align <= SS_UNIT ? class_of(HAK_ALIGN_UP(n, align))
                            : NO_CLASS; /* slabs start at units */
}

static void *alloc_class(unsigned class, bool *zero)
{
    struct tiny_cache *tc = cache_enter();
    void *p = tc != NULL ? tiny_pop(&tc->bin[class]) : NULL;
    if (tc != NULL && p == NULL && (p = tiny_refill(tc, class, zero)) != NULL && *zero)
        ss_link(p, NULL);
    cache_leave(tc);
    return p;
}

static void *alloc_once(size_t n, size_t align, bool *zero)
{
    *zero = false;
    if (!hak_init())
        return NULL;
    n = HAK_MAX(n, (size_t)1); /* an aligned block of 0 bytes may be a run or a mapping */
    if (HAK_UNLIKELY(!hak_opt.superslab)) {
        *zero = true;
        return large_map_alloc(n, align);
    }
    unsigned class = class_of_aligned(n, align);
    if (class != NO_CLASS)
        return alloc_class(class, zero);
    struct tiny_cache *tc = tiny_enter();
    if (tc->heap != NULL)
        tiny_tick(tc, n);
    tiny_leave();
    uint64_t t = policy_large_begin(n);
    void *p = large_alloc(n, align, zero);
    policy_large_end(t, 0, p != NULL ? n : 0);
    return p;
}

void *hak_alloc(size_t n, size_t align, bool *zero)
{
    bool unused;
    zero = zero != NULL ? zero : &unused;
    void *p = NULL;
    if (HAK_LIKELY(n <= PTRDIFF_MAX && align <= PTRDIFF_MAX)) {
        p = alloc_once(n, align, zero);
        if (HAK_UNLIKELY(p == NULL) && hak_init()) {
            (void)hak_purge();
            policy_limit_refused();
            p = alloc_once(n, align, zero);
        }
    }
    if (HAK_UNLIKELY(p == NULL))
        errno = ENOMEM;
    hak_limit_check();
    return p;
}

/* Has the thread moved, is there something for policy to do? At the end of a slow path that malloc or
 * free jumped to: who called them is who called this. */
#define DUE_CHECK()                                                                            \
    do {                                                                                       \
        if (ss_many_nodes())                                                                   \
            tiny_follow();                                                                     \
        if (HAK_UNLIKELY(atomic_load_explicit(&ss_due, memory_order_relaxed) != 0))            \
            policy_due(__builtin_return_address(0));                                           \
    } while (0)

void *hak_malloc_slow(size_t n)
{
    /* The common ways here: a bin that ran empty, a size above 8 KiB. A thread that has no heap yet may
     * be here while another is at the start: it looks at nothing that is set there. */
    struct tiny_cache *tc = tiny_enter();
    void *p = NULL;
    if (HAK_LIKELY(tc->heap != NULL && n <= mid_max)) {
        unsigned class = class_of(n);
        bool zero;
        p = tiny_pop(&tc->bin[class]);
        if (HAK_LIKELY(p != NULL)) {
            tiny_leave();
            return p;
        }
        p = tiny_refill(tc, class, &zero);
    }
    tiny_leave();
    if (HAK_UNLIKELY(p == NULL))
        p = hak_alloc(n, 1, NULL);
    DUE_CHECK();
    return p;
}

/* ---- Free. ---- */

HAK_FAST void block_check(const void *p, uint32_t word)
{
    HAK_CHECK_POINTER(ss_block_starts(p, word), "api: pointer into the middle of a block", p);
}

/* No cache can be had: straight to the slab, which needs no memory. */
static void free_uncached(void *p, uint32_t word)
{
    block_check(p, word);
    ss_link(p, NULL);
    (void)ss_flush(ss_heap_by_id(ss_word_heap(word)), p);
}

HAK_FAST void free_to(struct tiny_cache *tc, void *p, uint32_t word)
{
    block_check(p, word);
    unsigned class = ss_word_class(word);
    if (ss_word_heap(word) == ss_word_heap(tc->tag))
        tiny_give(tc, class, p);
    else
        tiny_give_remote(tc, class, p);
}

static HAK_SLOW void free_rare(void *p, uint32_t word)
{
    if (ss_word_heap(word) == 0) {
        size_t n = hak_large_had(p, word);
        uint64_t t = policy_large_begin(n);
        large_free(p, word);
        policy_large_end(t, n, 0);
        return;
    }
    struct tiny_cache *tc = cache_enter();
    if (tc != NULL)
        free_to(tc, p, word);
    cache_leave(tc);
    if (tc == NULL)
        free_uncached(p, word);
}

void hak_free_slow(void *p)
{
    /* The common ways here: no block at all, a full list. */
    if (p == NULL) {
        tiny_leave();
        return;
    }
    struct tiny_cache *tc = tiny_enter();
    uint32_t word = ss_word(p);
    if (HAK_LIKELY(ss_word_heap(word) != 0 && tc->heap != NULL)) {
        free_to(tc, p, word);
        tiny_leave();
    } else {
        tiny_leave();
        free_rare(p, word);
    }
    DUE_CHECK();
}

/* ---- Sizes. ---- */

size_t hak_block_size_slow(const void *p, uint32_t word)
{
    if (p == NULL)
        return 0;
    if (ss_word_heap(word) != 0)
        hak_fatal_pointer("api: pointer into the middle of a block", p);
    return large_usable(p, word);
}

size_t hak_usable_size(const void *p)
{
    return hak_block_size(p);
}

size_t hak_good_size(size_t n)
{
    if (n > PTRDIFF_MAX || !hak_init())
        return n;
    if (!hak_opt.superslab)
        return large_map_bytes(HAK_MAX(n, (size_t)1));
    unsigned class = class_of(n);
    return class != NO_CLASS ? ss_classes[class].size : large_good_size(n);
}
