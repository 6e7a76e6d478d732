/* SPDX-License-Identifier: MIT
 *
 * api: operator new and delete, all twenty, in C: the names are the Itanium ABI's. What only C++
 * can do (the new_handler, throwing std::bad_alloc, catching what a handler throws) is asked of
 * the C++ library if the process has one; hakmem itself needs none.
 */
#include <dlfcn.h>
#include <stdint.h>

#include "api/hak_slow.h"
#include "hakmem.h"

#define EXPORT HAK_API
#if UINTPTR_MAX == 0xffffffffffffffffu
#    define SIZE_LETTER "m"
#else
#    define SIZE_LETTER "j"
#endif

/* Of libstdc++ or libc++; NULL where the process has neither. */
typedef void (*new_handler_t)(void);
extern new_handler_t cxx_get_new_handler(void) __asm__("_ZSt15get_new_handlerv")
    __attribute__((weak));
extern _Noreturn void cxx_throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
    __attribute__((weak));

/* Weak too: a static program has no use for it, and should not carry it. */
extern __typeof(dlsym) dlsym __attribute__((weak));

static void *symbol_find(void *where, const char *name)
{
    return dlsym != NULL ? dlsym(where, name) : NULL;
}

/* Weak references are bound when the program starts; a C++ library that a plugin brought later
 * is found by name. */
static new_handler_t new_handler_get(void)
{
    new_handler_t (*get)(void) = cxx_get_new_handler;
    if (get == NULL)
        *(void **)&get = symbol_find(RTLD_DEFAULT, "_ZSt15get_new_handlerv");
    return get != NULL ? get() : NULL;
}

static _Noreturn void bad_alloc_throw(void)
{
    void (*throw_it)(void) = cxx_throw_bad_alloc;
    if (throw_it == NULL)
        *(void **)&throw_it = symbol_find(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
    if (throw_it != NULL)
        throw_it();
    hak_fatal("cxx: out of memory in operator new, and no C++ library to throw std::bad_alloc");
}

/* C++ [new.delete.single]: try, let the handler make room, try again; no handler: throw. */
static HAK_SLOW void *new_slow(size_t n, size_t align)
{
    for (;;) {
        void *p = hak_alloc(n, align, NULL);
        if (p != NULL)
            return p;
        new_handler_t handler = new_handler_get();
        if (handler == NULL)
            bad_alloc_throw();
        handler();
    }
}

/* The nothrow forms must also catch what the handler throws, which C cannot. The C++ library's
 * own nothrow forms call the throwing operator new, ours, inside a catch. */
static HAK_SLOW void *new_nothrow_slow(size_t n, size_t align, const void *nothrow)
{
    if (new_handler_get() == NULL)
        return NULL;
    if (align == 1) {
        void *(*next)(size_t, const void *);
        *(void **)&next = symbol_find(RTLD_NEXT, "_Znw" SIZE_LETTER "RKSt9nothrow_t");
        return next != NULL ? next(n, nothrow) : NULL;
    }
    void *(*next)(size_t, size_t, const void *);
    *(void **)&next =
        symbol_find(RTLD_NEXT, "_Znw" SIZE_LETTER "St11align_val_tRKSt9nothrow_t");
    return next != NULL ? next(n, align, nothrow) : NULL;
}

#define NEW(c_name, mangled)                                                                   \
    EXPORT void *c_name(size_t n) __asm__(mangled);                                            \
    void *c_name(size_t n)                                                                     \
    {                                                                                          \
        void *p = hak_malloc(n);                                                               \
        return HAK_LIKELY(p != NULL) ? p : new_slow(n, 1);                                     \
    }
#define NEW_NOTHROW(c_name, mangled)                                                           \
    EXPORT void *c_name(size_t n, const void *nothrow) __asm__(mangled);                       \
    void *c_name(size_t n, const void *nothrow)                                                \
    {                                                                                          \
        void *p = hak_malloc(n);                                                               \
        return HAK_LIKELY(p != NULL) ? p : new_nothrow_slow(n, 1, nothrow);                    \
    }
#define NEW_ALIGNED(c_name, mangled)                                                           \
    EXPORT void *c_name(size_t n, size_t align) __asm__(mangled);                              \
    void *c_name(size_t n, size_t align)                                                       \
    {                                                                                          \
        void *p = hak_alloc(n, align, NULL);                                                   \
        return HAK_LIKELY(p != NULL) ? p : new_slow(n, align);                                 \
    }
#define NEW_ALIGNED_NOTHROW(c_name, mangled)                                                   \
    EXPORT void *c_name(size_t n, size_t align, const void *nothrow) __asm__(mangled);         \
    void *c_name(size_t n, size_t align, const void *nothrow)                                  \
    {                                                                                          \
        void *p = hak_alloc(n, align, NULL);                                                   \
        return HAK_LIKELY(p != NULL) ? p : new_nothrow_slow(n, align, nothrow);                \
    }
/* Sizes, alignments and nothrow tags after the pointer tell us nothing we do not know. */
#define DELETE(c_name, mangled)                                                                \
    EXPORT void c_name(void *p) __asm__(mangled);                                              \
    void c_name(void *p)                                                                       \
    {                                                                                          \
        hak_free(p);                                                                           \
    }

NEW(cxx_new, "_Znw" SIZE_LETTER)
NEW(cxx_new_array, "_Zna" SIZE_LETTER)
NEW_NOTHROW(cxx_new_nothrow, "_Znw" SIZE_LETTER "RKSt9nothrow_t")
NEW_NOTHROW(cxx_new_array_nothrow, "_Zna" SIZE_LETTER "RKSt9nothrow_t")
NEW_ALIGNED(cxx_new_aligned, "_Znw" SIZE_LETTER "St11align_val_t")
NEW_ALIGNED(cxx_new_array_aligned, "_Zna" SIZE_LETTER "St11align_val_t")
NEW_ALIGNED_NOTHROW(cxx_new_aligned_nothrow, "_Znw" SIZE_LETTER "St11align_val_tRKSt9nothrow_t")
NEW_ALIGNED_NOTHROW(cxx_new_array_aligned_nothrow,
                    "_Zna" SIZE_LETTER "St11align_val_tRKSt9nothrow_t")
DELETE(cxx_delete, "_ZdlPv")
DELETE(cxx_delete_array, "_ZdaPv")
DELETE(cxx_delete_sized, "_ZdlPv" SIZE_LETTER)
DELETE(cxx_delete_array_sized, "_ZdaPv" SIZE_LETTER)
DELETE(cxx_delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(cxx_delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE(cxx_delete_aligned, "_ZdlPvSt11align_val_t")
DELETE(cxx_delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE(cxx_delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE(cxx_delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t")
DELETE(cxx_delete_aligned_sized, "_ZdlPv" SIZE_LETTER "St11align_val_t")
DELETE(cxx_delete_array_aligned_sized, "_ZdaPv" SIZE_LETTER "St11align_val_t")
