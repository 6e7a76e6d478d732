/* SPDX-License-Identifier: MIT
 *
 * What plugin.c offers, in one symbol, "plugin".
 */
#ifndef LIFE_PLUGIN_H
#define LIFE_PLUGIN_H

#include <stddef.h>

struct plugin {
    void *(*gives)(size_t n);          /* malloc, stamped */
    void (*takes)(void *p, size_t n);  /* check the stamp and free */
    void *(*grows)(void *p, size_t n); /* realloc */
    void (*works)(void);               /* malloc and free on its own */
    size_t (*usable)(void *p);         /* malloc_usable_size */
    char *(*copies)(const char *text); /* strdup */
};

extern const struct plugin plugin;

#endif /* LIFE_PLUGIN_H */
