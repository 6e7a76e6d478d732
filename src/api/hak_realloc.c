/* SPDX-License-Identifier: MIT
 *
 * api: calloc and realloc.
 */
#include <errno.h>
#include <string.h>

#include "api/hak_slow.h"
#include "base/hak_opt.h"
#include "hakmem.h"
#include "mid/mid.h"

void *hak_calloc(size_t count, size_t size)
{
    size_t n;
    if (HAK_UNLIKELY(__builtin_mul_overflow(count, size, &n))) {
        errno = ENOMEM;
        return NULL;
    }
    if (HAK_LIKELY(n <= SS_TINY_MAX)) { /* cheaper to clear than to ask whether it is clear */
        void *p = hak_malloc(n);
        return HAK_LIKELY(p != NULL) ? memset(p, 0, n) : NULL;
    }
    bool zero;
    void *p = hak_alloc(n, 1, &zero);
    if (p == NULL || zero)
        return p;
    uint64_t t = policy_large_begin(n);
    memset(p, 0, n);
    policy_large_end(t, 0, 0);
    return p;
}

/* Is a block of `have` bytes still the right one for n? Shrinking below half gives memory back. */
static bool fits(size_t have, size_t n)
{
    return n <= have && (n >= have / 2 || have <= 64);
}

static void *resize_large(void *p, size_t n)
{
    uint32_t word = ss_word(p);
    bool stays =
        ss_word_heap(word) == 0 && n <= PTRDIFF_MAX && n > (hak_opt.superslab ? mid_max : 0);
    if (!stays)
        return NULL;
    size_t had = hak_large_had(p, word);
    uint64_t t = policy_large_begin(HAK_MAX(n, had));
    void *q = large_resize(p, word, n);
    policy_large_end(t, q != NULL ? had : 0, q != NULL ? n : 0);
    hak_limit_check();
    return q;
}

void *hak_realloc(void *p, size_t n)
{
    if (p == NULL)
        return hak_malloc(n);
    size_t have = hak_block_size(p);
    if (n == 0) {
        hak_free(p);
        return NULL;
    }
    if (fits(have, n))
        return p;
    void *q = resize_large(p, n);
    if (q != NULL)
        return q;
    /* Whoever grows a block will do so again: each move is by an eighth at least, so that a string
     * which grows byte by byte is not copied at every 16th. Mid classes are further apart anyhow. */
    size_t more = have + have / 8;
    int saved = errno;
    q = hak_malloc(n > have && more <= SS_TINY_MAX ? HAK_MAX(n, more) : n);
    if (q == NULL) {
        /* Shrinking needs no memory to succeed; and what was given up meanwhile may do to grow. */
        q = n <= have ? p : resize_large(p, n);
        errno = q != NULL ? saved : errno;
        return q;
    }
    uint64_t t = policy_large_begin(n);
    memcpy(q, p, HAK_MIN(have, n));
    policy_large_end(t, 0, 0);
    hak_free(p);
    return q;
}

void *hak_reallocarray(void *p, size_t count, size_t size)
{
    size_t n;
    if (HAK_UNLIKELY(__builtin_mul_overflow(count, size, &n))) {
        errno = ENOMEM;
        return NULL;
    }
    return hak_realloc(p, n);
}
