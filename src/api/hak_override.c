/* SPDX-License-Identifier: MIT
 *
 * api: the C library's names. malloc and free themselves are hak_malloc.c compiled once more under
 * those names (src/meson.build), so that they cost not even a jump; the rest jumps.
 *
 * glibc's management calls are here because programs that call them would otherwise ask and tune
 * a heap that is empty.
 */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/hak_counts.h"
#include "api/hak_slow.h"
#include "base/hak_log.h"
#include "hakmem.h"
#include "mid/mid.h"
#include "policy/policy.h"

#define EXPORT HAK_API

/* glibc's headers do not declare these. */
EXPORT void cfree(void *p);
EXPORT void free_sized(void *p, size_t size);
EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size);
EXPORT void *__libc_malloc(size_t n);
EXPORT void *__libc_calloc(size_t count, size_t size);
EXPORT void *__libc_realloc(void *p, size_t n);
EXPORT void __libc_free(void *p);
EXPORT void __libc_cfree(void *p);
EXPORT void *__libc_memalign(size_t alignment, size_t size);
EXPORT void *__libc_valloc(size_t size);
EXPORT void *__libc_pvalloc(size_t size);
EXPORT int __posix_memalign(void **out, size_t alignment, size_t size);
EXPORT struct mallinfo __libc_mallinfo(void);
EXPORT int __libc_mallopt(int param, int value);

EXPORT void *calloc(size_t count, size_t size)
{
    return hak_calloc(count, size);
}

EXPORT void *realloc(void *p, size_t n)
{
    return hak_realloc(p, n);
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    return hak_reallocarray(p, count, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return hak_aligned_alloc(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    return hak_posix_memalign(out, alignment, size);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return hak_memalign(alignment, size);
}

EXPORT void *valloc(size_t size)
{
    return hak_valloc(size);
}

EXPORT void *pvalloc(size_t size)
{
    return hak_pvalloc(size);
}

EXPORT size_t malloc_usable_size(void *p)
{
    return hak_usable_size(p);
}

EXPORT void cfree(void *p)
{
    hak_free(p);
}

EXPORT void free_sized(void *p, size_t size)
{
    hak_free_sized(p, size);
}

EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    hak_free_aligned_sized(p, alignment, size);
}

/* ---- glibc's management calls. ---- */

EXPORT int malloc_trim(size_t pad)
{
    (void)pad; /* nothing is kept back that a pad could be */
    return hak_purge() > 0;
}

/* The three that have a counterpart here; 0, as for an unknown one, where there is none. */
EXPORT int mallopt(int param, int value)
{
    if (value < 0 || !hak_init())
        return 0;
    switch (param) {
    case M_MMAP_THRESHOLD:
        if ((size_t)value <= mid_max || value > 1 << 25)
            return 0; /* blocks up to mid_max are cut from slabs; above, as the option's range */
        policy_threshold_set((size_t)value);
        return 1;
    case M_TRIM_THRESHOLD:
        policy_batch_threshold_set((size_t)value);
        return 1;
    case M_ARENA_MAX:
        if (value == 0)
            return 0;
        atomic_store_explicit(&ss_params.heaps_max, (unsigned)value, memory_order_relaxed);
        return 1;
    default:
        return 0;
    }
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    struct hak_counts c;
    hak_counts_get(&c);
    size_t used = c.used_bytes - c.large.mapped_bytes;
    size_t arena = HAK_MAX(c.held_bytes - c.large.mapped_bytes, used);
    return (struct mallinfo2){
        .arena = arena,
        .ordblks = c.superslabs + c.region.pooled_superslabs,
        .hblks = c.large.mappings,
        .hblkhd = c.large.mapped_bytes,
        .fsmblks = c.cached_bytes,
        .uordblks = used,
        .fordblks = arena - used,
        .keepcost = c.region.dirty_bytes + c.slab_dirty_bytes,
    };
}

static int to_int(size_t v)
{
    return v > INT32_MAX ? INT32_MAX : (int)v;
}

static struct mallinfo mallinfo_narrow(void)
{
    struct mallinfo2 m = mallinfo2();
    return (struct mallinfo){
        .arena = to_int(m.arena),
        .ordblks = to_int(m.ordblks),
        .hblks = to_int(m.hblks),
        .hblkhd = to_int(m.hblkhd),
        .fsmblks = to_int(m.fsmblks),
        .uordblks = to_int(m.uordblks),
        .fordblks = to_int(m.fordblks),
        .keepcost = to_int(m.keepcost),
    };
}

EXPORT struct mallinfo mallinfo(void)
{
    return mallinfo_narrow();
}

EXPORT int malloc_info(int options, FILE *out)
{
    if (options != 0)
        return EINVAL;
    struct mallinfo2 m = mallinfo2();
    struct hak_counts c;
    hak_counts_get(&c);
    char text[1024];
    struct hak_text t = {text, sizeof(text), 0};
    hak_text_add(&t, "<malloc version=\"1\" allocator=\"hakmem\" release=\"%s\">\n",
                 hak_version());
    hak_text_add(&t, "<heaps count=\"%lu\" caches=\"%lu\"/>\n", c.heaps, c.caches);
    hak_text_add(&t, "<total type=\"rest\" count=\"%lu\" size=\"%zu\"/>\n", c.blocks,
                 m.uordblks);
    hak_text_add(&t, "<total type=\"fast\" size=\"%zu\"/>\n", m.fsmblks);
    hak_text_add(&t, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", m.hblks, m.hblkhd);
    hak_text_add(&t, "<system type=\"current\" size=\"%lu\"/>\n", c.held_bytes);
    hak_text_add(&t, "<aspace type=\"total\" size=\"%zu\"/>\n", c.region.reserved_bytes);
    hak_text_add(&t, "<aspace type=\"mprotect\" size=\"%zu\"/>\n</malloc>\n",
                 c.region.committed_bytes);
    return fputs(text, out) < 0 ? -1 : 0;
}

EXPORT void malloc_stats(void)
{
    char text[4096];
    size_t n = hak_stats(text, sizeof(text), HAK_STATS_TEXT);
    hak_write_err(text, HAK_MIN(n, sizeof(text) - 1));
}

/* ---- glibc's inner names, which old programs and some libraries bind to. ---- */

EXPORT void *__libc_malloc(size_t n)
{
    return hak_malloc(n);
}

EXPORT void *__libc_calloc(size_t count, size_t size)
{
    return hak_calloc(count, size);
}

EXPORT void *__libc_realloc(void *p, size_t n)
{
    return hak_realloc(p, n);
}

EXPORT void __libc_free(void *p)
{
    hak_free(p);
}

EXPORT void __libc_cfree(void *p)
{
    hak_free(p);
}

EXPORT void *__libc_memalign(size_t alignment, size_t size)
{
    return hak_memalign(alignment, size);
}

EXPORT void *__libc_valloc(size_t size)
{
    return hak_valloc(size);
}

EXPORT void *__libc_pvalloc(size_t size)
{
    return hak_pvalloc(size);
}

EXPORT int __posix_memalign(void **out, size_t alignment, size_t size)
{
    return hak_posix_memalign(out, alignment, size);
}

EXPORT struct mallinfo __libc_mallinfo(void)
{
    return mallinfo_narrow();
}

EXPORT int __libc_mallopt(int param, int value)
{
    return mallopt(param, value);
}
