/* SPDX-License-Identifier: MIT
 *
 * hak_test: what every test file includes.
 *
 * cmocka's asserts longjmp, so they belong to the main thread of the test process. Children and
 * worker threads use REQUIRE, which ends the whole process with a line that says where.
 */
#ifndef HAK_TEST_H
#define HAK_TEST_H

#ifdef UNIT_TESTING
#    error "UNIT_TESTING redefines malloc; it has no place in an allocator's tests"
#endif
/* cmocka.h before 2.0 needs these first, in this order. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <stdbool.h>

/* Usable in any thread and any child: on failure one line on stderr, then _exit(99). */
#define REQUIRE(c) ((c) ? (void)0 : hak_require_failed(#c, __FILE__, __LINE__))
_Noreturn void hak_require_failed(const char *what, const char *file, int line);
/* Printed by a failed REQUIRE, so that a random test can say how to repeat it. */
extern char hak_test_context[256];

/* Run fn in a child. Pass when it dies by SIGABRT with `want` in its stderr. */
#define EXPECT_ABORT(fn, want) hak_expect_abort(fn, want, __FILE__, __LINE__)
void hak_expect_abort(void (*fn)(void), const char *want, const char *file, int line);

/* Run fn(arg) in a child, which may call hak_victim(p). Pass when it dies by SIGABRT and its
 * stderr is exactly one line: "hakmem: <want> <p in hex>". */
#define EXPECT_POINTER_ABORT(fn, arg, want)                                                    \
    hak_expect_pointer_abort(fn, (void *)(uintptr_t)(arg), want, __FILE__, __LINE__)
void hak_expect_pointer_abort(void (*fn)(void *), void *arg, const char *want, const char *file,
                              int line);
void *hak_victim(const void *p); /* remembers p for the parent, and returns it */

/* Run fn(arg) in a child of its own, so that each gets an allocator nobody has used yet.
 * Pass when fn returns. */
#define EXPECT_CHILD_PASS(fn, arg)                                                             \
    hak_expect_child_pass(fn, (void *)(uintptr_t)(arg), __FILE__, __LINE__)
void hak_expect_child_pass(void (*fn)(void *), void *arg, const char *file, int line);

/* Run a program and keep what it said. Text beyond the buffers is dropped. */
struct hak_run {
    int status; /* as waitpid gives it */
    char out[16384];
    char err[16384];
};
void hak_run(struct hak_run *r, char *const argv[], char *const envp[]);

/* xorshift64*: the same numbers on every machine. *state must not be 0. */
uint64_t hak_test_random(uint64_t *state);
/* A number from the environment, or `otherwise`. */
uint64_t hak_test_env(const char *name, uint64_t otherwise);

/* A pattern that depends on the seed and the place, so that neither a shifted nor a foreign
 * content passes. check returns the first wrong offset, or n. */
void hak_test_fill(void *p, size_t n, uint64_t seed);
size_t hak_test_check(const void *p, size_t n, uint64_t seed);
bool hak_test_is_zero(const void *p, size_t n);

size_t hak_test_resident_bytes(void); /* of this process, from /proc/self/statm */
size_t hak_test_n_mappings(void);     /* lines of /proc/self/maps */

#endif /* HAK_TEST_H */
