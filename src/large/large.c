/* SPDX-License-Identifier: MIT
 *
 * large: runs and mappings.
 */
#include "large/large_internal.h"

struct large_params large_params;

static size_t run_units(size_t n)
{
    return (n + SS_UNIT - 1) >> SS_UNIT_SHIFT;
}

static bool wants_mapping(size_t n)
{
    return n >= atomic_load_explicit(&large_params.threshold, memory_order_relaxed);
}

size_t large_map_bytes(size_t n)
{
    bool either = n >= LARGE_EITHER_MIN && n < LARGE_EITHER_MAX;
    return HAK_ALIGN_UP(n, either ? HAK_MAX((size_t)SS_UNIT, os_page_size()) : os_page_size());
}

/* Under SS_HUGE_AUTO huge pages are the system's affair; so is the node, which is that of who touches a
 * page first: programs that share out a big array among threads count on it. */
static void map_advise(void *p, size_t bytes)
{
    os_name(p, bytes, "hakmem: large block");
    if (HAK_UNLIKELY(ss_params.interleave_bytes != 0) && bytes >= ss_params.interleave_bytes)
        os_node_place(p, bytes, OS_NODES_ALL);
    if (ss_params.huge != SS_HUGE_AUTO && bytes >= os_huge_bytes())
        (void)os_huge_advise(p, bytes, ss_params.huge == SS_HUGE_ON);
}

void *large_map_alloc(size_t n, size_t align)
{
    size_t bytes = large_map_bytes(n);
    if (!ss_held_take(bytes))
        return NULL;
    void *p = os_map(bytes, HAK_MAX(align, os_page_size()));
    if (p != NULL && !map_table_add(p, bytes)) {
        os_unmap(p, bytes);
        p = NULL;
    }
    if (p != NULL)
        map_advise(p, bytes);
    else
        ss_held_give(bytes);
    return p;
}

void *large_alloc(size_t n, size_t align, bool *zero)
{
    void *p = NULL;
    if (!wants_mapping(n) && align <= SS_RUN_ALIGN_MAX)
        p = ss_run_alloc(run_units(n), align, zero);
    if (p == NULL) {
        p = large_map_alloc(n, align);
        *zero = true;
    }
    return p;
}

/* Not a block: say which kind of wrong it is. */
static _Noreturn HAK_SLOW void bad_pointer(const void *p, uint32_t word)
{
    if (word == SS_WORD_RUN_MORE || word == SS_WORD_RUN || map_table_contains(p))
        hak_fatal_pointer("large: pointer into the middle of a block", p);
    hak_fatal_pointer("large: not a hakmem block", p);
}

static bool is_run(const void *p, uint32_t word)
{
    return word == SS_WORD_RUN && ((uintptr_t)p & (SS_UNIT - 1)) == 0;
}

void large_free(void *p, uint32_t word)
{
    if (is_run(p, word)) {
        ss_run_free(p);
        return;
    }
    size_t bytes = map_table_remove(p);
    if (bytes == 0)
        bad_pointer(p, word);
    os_unmap(p, bytes);
    ss_held_give(bytes);
}

size_t large_usable(const void *p, uint32_t word)
{
    if (is_run(p, word))
        return ss_run_units(p) << SS_UNIT_SHIFT;
    size_t bytes = map_table_find(p);
    if (bytes == 0)
        bad_pointer(p, word);
    return bytes;
}

void *large_resize(void *p, uint32_t word, size_t n)
{
    if (is_run(p, word))
        return ss_run_resize(p, run_units(n)) ? p
                                              : NULL; /* also where it would now be a mapping */
    size_t old = map_table_find(p);
    if (old == 0)
        bad_pointer(p, word);
    size_t bytes = large_map_bytes(n);
    return bytes == old ? p : map_table_resize(p, bytes);
}

size_t large_good_size(size_t n)
{
    return wants_mapping(n) ? large_map_bytes(n) : run_units(n) << SS_UNIT_SHIFT;
}
