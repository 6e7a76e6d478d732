/* SPDX-License-Identifier: MIT
 *
 * A preloaded library that allocates before main and frees after it, from a constructor and a
 * destructor of the first priority a program may use. Built twice: `early`, whose constructor
 * runs before or after hakmem's own by its place in LD_PRELOAD, and `first`, linked with
 * -z initfirst, which runs before the constructors of every library, libc's among them.
 */
#include "life.h"

static const size_t sizes[] = {0, 1, 24, 1000, 5000, 100000, 3 << 20, 50 << 20};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void *held[SIZES];

__attribute__((constructor(101))) static void before_main(void)
{
    for (unsigned i = 0; i < SIZES; i++)
        held[i] = life_malloc(sizes[i]);
    life_exercise(1, 200, 1 << 20);
}

__attribute__((destructor(101))) static void after_main(void)
{
    for (unsigned i = 0; i < SIZES; i++)
        life_free(held[i], sizes[i]);
    life_exercise(2, 200, 1 << 20);
    dprintf(STDOUT_FILENO, "library destructor\n");
}
