/* SPDX-License-Identifier: MIT
 *
 * base: compiler attributes and the assertion tiers. Depends on nothing in hakmem.
 */
#ifndef HAK_BASE_H
#define HAK_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef HAK_CFG_DEBUG
#    define HAK_CFG_DEBUG 0 /* 0: release, 1: assertions, 2: whole-structure validators too */
#endif

#ifndef HAK_CFG_TSAN
#    define HAK_CFG_TSAN 0 /* 1: run by the thread sanitizer */
#endif

#define HAK_LIKELY(x)   __builtin_expect(!!(x), 1)
#define HAK_UNLIKELY(x) __builtin_expect(!!(x), 0)
#if HAK_CFG_DEBUG
#    define HAK_FAST static inline /* so that a debugger can stop in it */
#else
#    define HAK_FAST static inline __attribute__((always_inline))
#endif
#define HAK_NOINLINE __attribute__((noinline)) /* a second way, hot all the same */
#define HAK_SLOW     __attribute__((noinline, cold))
/* on an extern variable of a fast path: reached without a detour through the GOT */
#define HAK_HIDDEN __attribute__((visibility("hidden")))
/* initial-exec: one load, no call, and no allocation when a thread first touches it */
#define HAK_TLS _Thread_local __attribute__((tls_model("initial-exec")))
/* A page written to costs a fault at every start, and two after every fork. So what all processes write to
 * lies together, and behind it (meson.build: sort-section) tables that most use the first entries of, */
#define HAK_TABLE __attribute__((section(".bss.table_")))
/* and, behind those, what most never touch. */
#define HAK_RARE __attribute__((section(".bss.table_rare")))
#define HAK_LINE 64 /* bytes; what keeps two writers from slowing each other */

#define HAK_MIN(a, b)        ((a) < (b) ? (a) : (b))
#define HAK_MAX(a, b)        ((a) > (b) ? (a) : (b))
#define HAK_ALIGN_UP(x, a)   (((x) + (a)-1) & ~((a)-1)) /* a: power of two */
#define HAK_ALIGN_DOWN(x, a) ((x) & ~((a)-1))
#define HAK_IS_POW2(x)       ((x) != 0 && ((x) & ((x)-1)) == 0)

/* One line "hakmem: <what>" (what: "module: cause"), then SIGABRT. Allocates nothing. */
_Noreturn HAK_SLOW void hak_fatal(const char *what);
/* The same for a pointer the program gave: "hakmem: <what> 0x7f0012345678". */
_Noreturn HAK_SLOW void hak_fatal_pointer(const char *what, const void *p);
_Noreturn HAK_SLOW void hak_assert_failed(const char *file, int line, const char *what);

/* Debug tier: always compiled, so that it cannot rot; free of cost in a release. */
#define HAK_ASSERT(c)                                                                          \
    do {                                                                                       \
        if (HAK_CFG_DEBUG >= 1 && HAK_UNLIKELY(!(c)))                                          \
            hak_assert_failed(__FILE__, __LINE__, #c);                                         \
    } while (0)

/* Always-on tier: the program, or memory it can reach, lied to us. Slow paths only. */
#define HAK_CHECK(c, what)                                                                     \
    do {                                                                                       \
        if (HAK_UNLIKELY(!(c)))                                                                \
            hak_fatal(what);                                                                   \
    } while (0)
#define HAK_CHECK_POINTER(c, what, p)                                                          \
    do {                                                                                       \
        if (HAK_UNLIKELY(!(c)))                                                                \
            hak_fatal_pointer(what, p);                                                        \
    } while (0)

/* floor(log2(x)), x > 0 */
HAK_FAST unsigned hak_log2(uint64_t x)
{
    return 63u - (unsigned)__builtin_clzll(x);
}

#endif /* HAK_BASE_H */
