/* SPDX-License-Identifier: MIT
 *
 * A malloc with a fault, for the workloads to find; preloaded, on the system's malloc. After a
 * hundred calls of one kind in one thread
 *   malloc   hands out a block again that is in use;
 *   calloc   leaves the last word of a block as it was;
 *   realloc  loses what is in the second half of the block.
 */
#include <malloc.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { GOOD_CALLS = 100, EVERY = 16 };

static _Thread_local unsigned nmalloc, ncalloc, nrealloc;
static _Thread_local void *previous;
static _Thread_local size_t previous_size;

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

EXPORT void *malloc(size_t n)
{
    if (++nmalloc > GOOD_CALLS && nmalloc % EVERY == 0 && previous_size >= n)
        return previous;
    previous = __libc_malloc(n);
    previous_size = n;
    return previous;
}

EXPORT void *calloc(size_t n, size_t size)
{
    char *p = __libc_calloc(n, size);
    size_t all = n * size;
    if (p != NULL && ++ncalloc > GOOD_CALLS && all >= 8)
        memset(p + all - 8, 0x5A, 8);
    return p;
}

EXPORT void *realloc(void *old, size_t n)
{
    size_t half = old == NULL ? 0 : malloc_usable_size(old) / 2;
    char *p = __libc_realloc(old, n);
    if (p != NULL && ++nrealloc > GOOD_CALLS && n > half)
        memset(p + half, 0x5A, n < 2 * half ? n - half : half);
    return p;
}
