/* SPDX-License-Identifier: MIT
 *
 * large's own: the table of mappings.
 */
#ifndef HAK_LARGE_INTERNAL_H
#define HAK_LARGE_INTERNAL_H

#include "large/large.h"

/* All take the table's lock. bytes 0: not there. */
bool map_table_add(void *p, size_t bytes);
size_t map_table_find(const void *p);
size_t map_table_remove(void *p);
/* Resize the mapping at p, moving it if need be. The lock is held over the system call: else
 * another thread could be given, and enter, the addresses that p has just left. */
void *map_table_resize(void *p, size_t bytes);
/* Is p inside some mapping? Looks at all of them: for error messages. */
bool map_table_contains(const void *p);

#endif /* HAK_LARGE_INTERNAL_H */
