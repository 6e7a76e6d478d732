/* SPDX-License-Identifier: MIT
 *
 * shadow: a sorted array is enough for the few thousand blocks a test holds.
 */
#include "support/shadow.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/hak_test.h"

#define WHOLE (64 * 1024) /* up to here every byte is written and read */
#define EDGE  (8 * 1024)
#define STEP  4096

void shadow_init(struct shadow *s, size_t max_blocks)
{
    size_t bytes = max_blocks * sizeof(*s->ranges);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    pthread_mutex_init(&s->lock, NULL);
    s->n = 0;
    s->max = max_blocks;
    s->ranges = p;
}

/* The first range that ends above `from`. */
static size_t range_find(const struct shadow *s, uintptr_t from)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->ranges[mid].to > from)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

void shadow_enter(struct shadow *s, const void *p, size_t bytes)
{
    uintptr_t from = (uintptr_t)p, to = from + bytes;
    REQUIRE(p != NULL && bytes > 0 && to > from);
    pthread_mutex_lock(&s->lock);
    size_t i = range_find(s, from);
    REQUIRE(i == s->n || s->ranges[i].from >= to); /* else: two blocks overlap */
    REQUIRE(s->n < s->max);
    memmove(&s->ranges[i + 1], &s->ranges[i], (s->n - i) * sizeof(s->ranges[0]));
    s->ranges[i] = (struct shadow_range){from, to};
    s->n++;
    pthread_mutex_unlock(&s->lock);
}

void shadow_leave(struct shadow *s, const void *p)
{
    pthread_mutex_lock(&s->lock);
    size_t i = range_find(s, (uintptr_t)p);
    REQUIRE(i < s->n && s->ranges[i].from == (uintptr_t)p);
    s->n--;
    memmove(&s->ranges[i], &s->ranges[i + 1], (s->n - i) * sizeof(s->ranges[0]));
    pthread_mutex_unlock(&s->lock);
}

size_t shadow_count(struct shadow *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->n;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void shadow_block_fill(const struct shadow_block *b)
{
    if (b->usable <= WHOLE) {
        hak_test_fill(b->p, b->usable, b->seed);
        return;
    }
    hak_test_fill(b->p, EDGE, b->seed);
    for (size_t i = EDGE; i + 8 <= b->usable - EDGE; i += STEP)
        hak_test_fill(b->p + i, 8, b->seed + i);
    size_t tail = b->usable - EDGE;
    hak_test_fill(b->p + tail, EDGE, b->seed + tail);
}

static void piece_require(const struct shadow_block *b, const unsigned char *at, size_t from,
                          size_t bytes, size_t valid)
{
    if (from >= valid)
        return;
    size_t n = bytes < valid - from ? bytes : valid - from;
    size_t bad = hak_test_check(at + from, n, b->seed + from);
    if (bad == n)
        return;
    char line[160];
    int len =
        snprintf(line, sizeof(line), "block %p asked %zu usable %zu now at %p: byte %zu\n",
                 (void *)b->p, b->asked, b->usable, (const void *)at, from + bad);
    if (write(STDERR_FILENO, line, (size_t)len) > 0)
        REQUIRE(!"contents of a block changed");
}

void shadow_block_require(const struct shadow_block *b, const void *at, size_t valid)
{
    if (b->usable <= WHOLE) {
        piece_require(b, at, 0, b->usable, valid);
        return;
    }
    piece_require(b, at, 0, EDGE, valid);
    for (size_t i = EDGE; i + 8 <= b->usable - EDGE; i += STEP)
        piece_require(b, at, i, 8, valid);
    size_t tail = b->usable - EDGE;
    piece_require(b, at, tail, EDGE, valid);
}
