/* SPDX-License-Identifier: MIT
 *
 * Small pieces of work of known cost, compiled with the calls that the model counts.
 */
#ifndef COUNTED_H
#define COUNTED_H

#include <stdatomic.h>
#include <stdint.h>

#include "os/os.h"

struct pair {
    int64_t a, b;
};

void counted_fetch_add(_Atomic int64_t *n);
void counted_add(int64_t *n);
int64_t counted_read(const int64_t *n);
void counted_write(struct pair *to, const struct pair *from);
void counted_acquire_release(_Atomic int64_t *n);
/* Under the lock: *n read, inside() called, *n written. */
void counted_locked_add(struct os_lock *lock, int64_t *n, void (*inside)(void));
/* Sums an array of its own. */
int64_t counted_on_the_stack(int64_t seed);
/* Stays in a compare-and-swap loop until `to` is where `from` was. */
void counted_swap(_Atomic int64_t *n, int64_t from, int64_t to);

#endif /* COUNTED_H */
