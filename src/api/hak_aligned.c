/* SPDX-License-Identifier: MIT
 *
 * api: aligned allocation, and the sized frees of C23.
 */
#include <errno.h>

#include "api/hak_slow.h"
#include "hakmem.h"
#include "mid/mid.h"
#include "os/os.h"
#include "tiny/tiny.h"

static void *alloc(size_t n, size_t align)
{
    size_t multiple = HAK_ALIGN_UP(HAK_MAX(n, (size_t)1), align);
    if (HAK_LIKELY(atomic_load_explicit(&tiny_tls.self, memory_order_relaxed)->heap != NULL &&
                   n <= SS_TINY_MAX && multiple <= mid_max && align <= SS_UNIT))
        return hak_malloc(multiple); /* such a class has no other blocks (class_of_aligned) */
    return hak_alloc(n, align, NULL);
}

void *hak_aligned_alloc(size_t alignment, size_t size)
{
    if (HAK_UNLIKELY(!HAK_IS_POW2(alignment))) {
        errno = EINVAL;
        return NULL;
    }
    return alloc(size, alignment);
}

void *hak_memalign(size_t alignment, size_t size)
{
    size_t power = 16;
    while (power < alignment && power <= PTRDIFF_MAX / 2)
        power *= 2;
    if (HAK_UNLIKELY(power < alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return alloc(size, power);
}

int hak_posix_memalign(void **out, size_t alignment, size_t size)
{
    if (HAK_UNLIKELY(!HAK_IS_POW2(alignment) || alignment % sizeof(void *) != 0))
        return EINVAL;
    int saved = errno;
    void *p = alloc(size, alignment);
    errno = saved;
    if (HAK_UNLIKELY(p == NULL))
        return ENOMEM;
    *out = p;
    return 0;
}

static size_t page_size(void)
{
    return hak_init() ? os_page_size() : 4096;
}

void *hak_valloc(size_t size)
{
    return hak_alloc(size, page_size(), NULL);
}

void *hak_pvalloc(size_t size)
{
    size_t page = page_size();
    if (HAK_UNLIKELY(size > PTRDIFF_MAX)) {
        errno = ENOMEM;
        return NULL;
    }
    return hak_alloc(HAK_MAX(HAK_ALIGN_UP(size, page), page), page, NULL);
}

/* The size is the program's claim; the block knows its own. */
void hak_free_sized(void *block, size_t size)
{
    (void)size;
    hak_free(block);
}

void hak_free_aligned_sized(void *block, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    hak_free(block);
}
