/* SPDX-License-Identifier: MIT
 *
 * hakmem: a drop-in malloc for Linux servers. This is its only public header.
 *
 * A program needs none of it to run on hakmem: LD_PRELOAD=libhakmem.so.1 or -lhakmem replaces
 * malloc, free, operator new and the rest under their own names. The names here reach the same
 * heap, and add what the C library has no name for.
 *
 * Thread safety: every function may be called from any thread at any time, and none may be
 * called from a signal handler. Memory may be freed by another thread than the one that
 * allocated it. Sizes are bytes. Functions that fail set errno; the free functions never touch
 * it. A pointer that is not a live block of hakmem ends the process: one line
 * "hakmem: <module>: <cause> <pointer>" on stderr, then SIGABRT.
 */
#ifndef HAKMEM_H
#define HAKMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HAK_VERSION_MAJOR 0
#define HAK_VERSION_MINOR 1
#define HAK_VERSION_PATCH 0

#if defined(__GNUC__)
#    define HAK_API              __attribute__((visibility("default")))
#    define HAK_ALLOC_SIZE(...)  __attribute__((malloc, alloc_size(__VA_ARGS__)))
#    define HAK_ALLOC_ALIGN(arg) __attribute__((alloc_align(arg)))
#else
#    define HAK_API
#    define HAK_ALLOC_SIZE(...)
#    define HAK_ALLOC_ALIGN(arg)
#endif

/* ---- Allocation: C, C23 and POSIX, on hakmem's heap whatever malloc the program has. ----
 *
 * Every block is aligned to 16 bytes at least. NULL with errno = ENOMEM: no memory, or a size
 * above PTRDIFF_MAX. hak_malloc(0) returns a block of its own that must be freed. */

HAK_API void *hak_malloc(size_t size) HAK_ALLOC_SIZE(1);
/* Zero-filled. A product that overflows is ENOMEM. */
HAK_API void *hak_calloc(size_t count, size_t size) HAK_ALLOC_SIZE(1, 2);
/* On failure NULL, and the old block stays valid. hak_realloc(NULL, n) is hak_malloc(n);
 * hak_realloc(p, 0) frees p and returns NULL, as glibc does. */
HAK_API void *hak_realloc(void *block, size_t size);
HAK_API void *hak_reallocarray(void *block, size_t count, size_t size);
HAK_API void hak_free(void *block);
/* C23. `size` (and `alignment`) must be what the block was asked for with. */
HAK_API void hak_free_sized(void *block, size_t size);
HAK_API void hak_free_aligned_sized(void *block, size_t alignment, size_t size);

/* `alignment`: a power of two of any size; errno = EINVAL otherwise. */
HAK_API void *hak_aligned_alloc(size_t alignment, size_t size) HAK_ALLOC_ALIGN(1);
/* As glibc: an alignment that is no power of two is rounded up to one. */
HAK_API void *hak_memalign(size_t alignment, size_t size);
/* Returns 0, EINVAL (alignment no power of two, or no multiple of sizeof(void *)) or ENOMEM;
 * *out is written on success only; errno is left alone. */
HAK_API int hak_posix_memalign(void **out, size_t alignment, size_t size);
HAK_API void *hak_valloc(size_t size);  /* aligned to a page */
HAK_API void *hak_pvalloc(size_t size); /* aligned to a page, size rounded up to pages */

/* The bytes of a live block the caller may use: at least what was asked for. 0 for NULL. */
HAK_API size_t hak_usable_size(const void *block);

/* ---- What the C library has no name for. ---- */

/* The usable size that hak_malloc(size) would give: asking for it wastes nothing.
 * Returns `size` itself where no such block can exist (above PTRDIFF_MAX). */
HAK_API size_t hak_good_size(size_t size);

/* Return to the operating system, now, whatever is free: empties the calling thread's cache
 * and those left by ended threads, drains the remote-free queues, purges free pages.
 * Returns the bytes given back. The caches of other running threads stay: they are theirs. */
HAK_API size_t hak_purge(void);

enum hak_stats_format {
    HAK_STATS_TEXT,
    HAK_STATS_JSON,
};

/* Write statistics into buf as a NUL-terminated text, cut to `size` bytes if need be, and return
 * its whole length without the NUL, as snprintf does: call with (NULL, 0) for the length. */
HAK_API size_t hak_stats(char *buf, size_t size, enum hak_stats_format format);

/* The same of NUMA: for each node the bytes in use and the bytes kept free, how many of its pages are
 * truly there, and how far the others are. Looks at every page, or at 65,536 of a node's: some
 * milliseconds. */
HAK_API size_t hak_numa_stats(char *buf, size_t size, enum hak_stats_format format);

/* "0.1.0". Static storage. */
HAK_API const char *hak_version(void);

#ifdef __cplusplus
}
#endif
#endif /* HAKMEM_H */
