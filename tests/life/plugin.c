/* SPDX-License-Identifier: MIT
 *
 * A plugin for plugins.c: allocates, frees, and exchanges blocks with the program.
 */
#include "life.h"

#include <malloc.h>

#include "plugin.h"

static void *gives(size_t n)
{
    return life_malloc(n);
}

static void takes(void *p, size_t n)
{
    life_free(p, n);
}

static void *grows(void *p, size_t n)
{
    return realloc(p, n);
}

static void works(void)
{
    life_exercise(77, 500, 4 << 20);
}

static size_t usable(void *p)
{
    return malloc_usable_size(p);
}

static char *copies(const char *text)
{
    return strdup(text); /* a block libc asks for in the plugin's name */
}

__attribute__((visibility("default"))) const struct plugin plugin = {
    gives, takes, grows, works, usable, copies,
};
