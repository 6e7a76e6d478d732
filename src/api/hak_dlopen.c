/* SPDX-License-Identifier: MIT
 *
 * api: dlopen without RTLD_DEEPBIND. That flag makes a plugin look up malloc in its own
 * dependencies first, so it finds the C library's: the process then has two heaps, and the first
 * block that crosses over (strdup in the C library, free in the plugin) ends it.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "api/hak_slow.h"
#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "hakmem.h"

typedef void *(*dlopen_t)(const char *file, int mode);

static HAK_SLOW dlopen_t dlopen_find(void)
{
    static _Atomic(dlopen_t) found;
    dlopen_t f = found;
    if (f == NULL) {
        *(void **)&f = dlsym(RTLD_NEXT, "dlopen");
        HAK_CHECK(f != NULL, "dlopen: the C library's own is not to be found");
        found = f;
    }
    return f;
}

static HAK_SLOW int mode_without_deepbind(const char *file, int mode)
{
    if (hak_opt.deepbind)
        return mode;
    hak_log(HAK_LOG_INFO, "dlopen: RTLD_DEEPBIND dropped for %s", file != NULL ? file : "NULL");
    return mode & ~RTLD_DEEPBIND;
}

/* A tail call: the C library finds the caller's namespace and search path by return address. */
HAK_API void *dlopen(const char *file, int mode)
{
    dlopen_t next = dlopen_find();
    if (HAK_UNLIKELY((mode & RTLD_DEEPBIND) != 0))
        mode = mode_without_deepbind(file, mode);
    return next(file, mode);
}

/* A program that runs on another malloc, and opened us itself, may have threads before it first asks us
 * for memory; a fork in the midst of a start would leave the child half a start. So it is now. */
__attribute__((constructor(102))) static void start_beside(void)
{
    if (dlsym(RTLD_DEFAULT, "malloc") != (void *)(uintptr_t)malloc)
        (void)hak_init();
}
