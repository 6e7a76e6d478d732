/* SPDX-License-Identifier: MIT
 *
 * names: each API test is compiled twice, on the hak_ names and (HAK_TEST_PLAIN) on malloc and
 * its like, which the override library answers. The calls go through volatile pointers: a
 * compiler that knows what malloc does may otherwise remove a pair of calls.
 */
#ifndef NAMES_H
#define NAMES_H

#include <malloc.h>
#include <stdlib.h>

#include "hakmem.h"

#ifdef HAK_TEST_PLAIN
#    define NAME(x)          x
#    define NAME_USABLE      malloc_usable_size
#    define USABLE_ARG       void *
#    define API_TEST_NAME(s) s ", under the plain names"
void free_sized(void *, size_t); /* C23; the C library may not have them yet */
void free_aligned_sized(void *, size_t, size_t);
#else
#    define NAME(x)          hak_##x
#    define NAME_USABLE      hak_usable_size
#    define USABLE_ARG       const void *
#    define API_TEST_NAME(s) s ", under the hak_ names"
#endif

#define POINTER(type, name, ...)                                                               \
    __attribute__((unused)) static type (*volatile name)(__VA_ARGS__)

POINTER(void *, t_malloc, size_t) = NAME(malloc);
POINTER(void *, t_calloc, size_t, size_t) = NAME(calloc);
POINTER(void *, t_realloc, void *, size_t) = NAME(realloc);
POINTER(void *, t_reallocarray, void *, size_t, size_t) = NAME(reallocarray);
POINTER(void, t_free, void *) = NAME(free);
POINTER(void, t_free_sized, void *, size_t) = NAME(free_sized);
POINTER(void, t_free_aligned_sized, void *, size_t, size_t) = NAME(free_aligned_sized);
POINTER(void *, t_aligned_alloc, size_t, size_t) = NAME(aligned_alloc);
POINTER(void *, t_memalign, size_t, size_t) = NAME(memalign);
POINTER(int, t_posix_memalign, void **, size_t, size_t) = NAME(posix_memalign);
POINTER(void *, t_valloc, size_t) = NAME(valloc);
POINTER(void *, t_pvalloc, size_t) = NAME(pvalloc);
POINTER(size_t, t_usable_size, USABLE_ARG) = NAME_USABLE;

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* One size from each tier: tiny, mid, a large run, a mapping of its own. */
__attribute__((unused)) static const size_t tier_sizes[] = {
    1, 100, 8192, 50 * KIB, 900 * KIB, 3 * MIB, 40 * MIB};
#define N_TIER_SIZES (sizeof(tier_sizes) / sizeof(tier_sizes[0]))

#endif /* NAMES_H */
