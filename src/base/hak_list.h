/* SPDX-License-Identifier: MIT
 *
 * list: whole numbers as the kernel, numactl and people write them: "0-1,3".
 *
 * A set of numbers below nbits: number i is bit i % 64 of word i / 64.
 */
#ifndef HAK_LIST_H
#define HAK_LIST_H

#include "base/hak_base.h"

/* Add the numbers in s, which may end with a newline, to bits. An empty list is one. false: not a list,
 * or a number too large; then some of it was added. */
bool hak_list_parse(const char *s, uint64_t *bits, unsigned nbits);

#endif /* HAK_LIST_H */
