/* SPDX-License-Identifier: MIT
 *
 * refill: what superslab_refill (ss_refill) costs on its common way, step 1: the current slab's
 * free list, spliced whole. The ancestor's took about 1,000 cycles and some 30 branches here.
 *
 * Times single calls, with the cost of reading the counter taken off, and prints quartiles.
 * Cycles are the time-stamp counter's on x86-64, nanoseconds elsewhere.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/hak_slow.h"
#include "superslab/ss.h"

enum { ROUNDS = 100000, CLASS = 4 /* 64 bytes */, WANT = 64 };

static uint64_t now(void)
{
#if defined(__x86_64__)
    unsigned aux;
    return __builtin_ia32_rdtscp(&aux);
#else
    return os_now_ns();
#endif
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, uint64_t *t)
{
    qsort(t, ROUNDS, sizeof(*t), by_value);
    printf("%-22s %6lu %6lu %6lu %6lu\n", what, t[0], t[ROUNDS / 4], t[ROUNDS / 2],
           t[3 * (ROUNDS / 4)]);
}

int main(void)
{
    static uint64_t empty[ROUNDS], refill[ROUNDS];
    struct ss_heap *h = hak_init() ? ss_heap_get(0) : NULL;
    if (h == NULL)
        return EXIT_FAILURE;
    uint64_t blocks = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct ss_chain chain;
        bool grew;
        uint64_t t0 = now();
        uint64_t t1 = now();
        bool ok = ss_refill(h, CLASS, WANT, &chain, &grew);
        uint64_t t2 = now();
        if (!ok)
            return EXIT_FAILURE;
        empty[i] = t1 - t0;
        refill[i] = t2 - t1;
        blocks += chain.count;
        ss_flush(h, chain.head);
    }
    printf("%lu blocks a refill\n", blocks / ROUNDS);
    printf("%-22s %6s %6s %6s %6s\n", "cycles", "min", "25 %", "50 %", "75 %");
    report("reading the counter", empty);
    report("that and one refill", refill);
    return EXIT_SUCCESS;
}
