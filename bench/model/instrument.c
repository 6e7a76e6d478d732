/* SPDX-License-Identifier: MIT
 *
 * model: the functions that code compiled with -fsanitize=thread calls, by the names and with
 * the arguments the compiler gives them (gcc: sanitizer.def).
 */
#include "model.h"

#define CALLER        __builtin_return_address(0)
#define EXPORT        __attribute__((visibility("default")))
#define ORDER_RELAXED 0 /* memory orders as the compiler passes them */

static void plain(const void *a, size_t bytes, bool write, const void *pc)
{
    struct model_thread *t = model_self;
    uintptr_t at = (uintptr_t)a;
    t->spun_on = 0;
    if (at >= t->own && at < t->own_end) /* M2 */
        return;
    if (model_access_noticed(at, bytes, write))
        model_sync();
    t->n[write ? N_WRITES : N_READS]++;
    model_access(at, bytes, write ? A_WRITE : A_READ, pc);
}

static void atomic_read(const volatile void *a, size_t bytes, int order, const void *pc)
{
    struct model_thread *t = model_self;
    uintptr_t at = (uintptr_t)a;
    if (t->spun_on == at) {
        t->clock += CYCLES_SPIN;
        model_sync();
    }
    t->spun_on = at;
    if (model_access_noticed(at, bytes, false))
        model_sync();
    t->n[order == ORDER_RELAXED ? N_ATOMIC_READS : N_ACQUIRES]++;
    model_access(at, bytes, A_READ, pc);
}

static void atomic_write(volatile void *a, size_t bytes, int order, const void *pc)
{
    struct model_thread *t = model_self;
    t->spun_on = 0;
    if (model_access_noticed((uintptr_t)a, bytes, true))
        model_sync();
    t->n[order == ORDER_RELAXED ? N_ATOMIC_WRITES : N_RELEASES]++;
    model_access((uintptr_t)a, bytes, A_WRITE, pc);
}

/* A failed compare-and-swap takes the line for itself too. */
static void rmw(volatile void *a, size_t bytes, const void *pc)
{
    struct model_thread *t = model_self;
    t->spun_on = 0;
    model_sync();
    t->clock += CYCLES_RMW;
    t->n[N_RMW]++;
    model_access((uintptr_t)a, bytes, A_WRITE, pc);
}

/* A lock is a 4-byte word that goes from 0 (OS_LOCK_FREE) to something else by a
 * compare-and-swap; model.py checks that only os_lock_change does that. */
static void swapped(size_t bytes, bool done, uint64_t from, uint64_t to)
{
    struct model_thread *t = model_self;
    t->n[N_RMW_FAILED] += !done;
    t->n[N_LOCKS] += done && bytes == 4 && from == 0 && to != 0;
}

/* ---- Plain accesses. ---- */

#define PLAIN(name, bytes, write)                                                              \
    EXPORT void name(void *a);                                                                 \
    void name(void *a)                                                                         \
    {                                                                                          \
        plain(a, bytes, write, CALLER);                                                        \
    }
PLAIN(__tsan_read1, 1, false)
PLAIN(__tsan_read2, 2, false)
PLAIN(__tsan_read4, 4, false)
PLAIN(__tsan_read8, 8, false)
PLAIN(__tsan_read16, 16, false)
PLAIN(__tsan_write1, 1, true)
PLAIN(__tsan_write2, 2, true)
PLAIN(__tsan_write4, 4, true)
PLAIN(__tsan_write8, 8, true)
PLAIN(__tsan_write16, 16, true)
PLAIN(__tsan_unaligned_read2, 2, false)
PLAIN(__tsan_unaligned_read4, 4, false)
PLAIN(__tsan_unaligned_read8, 8, false)
PLAIN(__tsan_unaligned_read16, 16, false)
PLAIN(__tsan_unaligned_write2, 2, true)
PLAIN(__tsan_unaligned_write4, 4, true)
PLAIN(__tsan_unaligned_write8, 8, true)
PLAIN(__tsan_unaligned_write16, 16, true)
PLAIN(__tsan_vptr_read, sizeof(void *), false)

#define SPECIAL(name, parameters, what)                                                        \
    EXPORT void name parameters;                                                               \
    void name parameters                                                                       \
    {                                                                                          \
        what;                                                                                  \
    }
SPECIAL(__tsan_vptr_update, (void *a, void *value), plain(a, sizeof(void *), true, CALLER))
SPECIAL(__tsan_read_range, (void *a, size_t bytes), plain(a, bytes, false, CALLER))
SPECIAL(__tsan_write_range, (void *a, size_t bytes), plain(a, bytes, true, CALLER))
SPECIAL(__tsan_init, (void), (void)0)
SPECIAL(__tsan_func_entry, (void *caller), model_entered(CALLER))
SPECIAL(__tsan_func_exit, (void), (void)0)
SPECIAL(__tsan_atomic_signal_fence, (int order), (void)order)
SPECIAL(__tsan_atomic_thread_fence, (int order), {
    model_self->n[N_FENCES]++;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
})

/* ---- Atomic ones. ---- */

#define FETCH(bits, type, op)                                                                  \
    EXPORT type __tsan_atomic##bits##_fetch_##op(volatile type *a, type v, int order);         \
    type __tsan_atomic##bits##_fetch_##op(volatile type *a, type v, int order)                 \
    {                                                                                          \
        rmw(a, sizeof(type), CALLER);                                                          \
        return __atomic_fetch_##op(a, v, __ATOMIC_SEQ_CST);                                    \
    }

#define SWAP(bits, type, strength)                                                             \
    EXPORT int __tsan_atomic##bits##_compare_exchange_##strength(                              \
        volatile type *a, type *expected, type v, int order, int failure);                     \
    int __tsan_atomic##bits##_compare_exchange_##strength(volatile type *a, type *expected,    \
                                                          type v, int order, int failure)      \
    {                                                                                          \
        rmw(a, sizeof(type), CALLER);                                                          \
        uint64_t from = *expected;                                                             \
        bool done = __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST,       \
                                                __ATOMIC_SEQ_CST);                             \
        swapped(sizeof(type), done, from, v);                                                  \
        return done;                                                                           \
    }

#define ATOMIC(bits, type)                                                                     \
    EXPORT type __tsan_atomic##bits##_load(const volatile type *a, int order);                 \
    type __tsan_atomic##bits##_load(const volatile type *a, int order)                         \
    {                                                                                          \
        atomic_read(a, sizeof(type), order, CALLER);                                           \
        return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                           \
    }                                                                                          \
    EXPORT void __tsan_atomic##bits##_store(volatile type *a, type v, int order);              \
    void __tsan_atomic##bits##_store(volatile type *a, type v, int order)                      \
    {                                                                                          \
        atomic_write(a, sizeof(type), order, CALLER);                                          \
        __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                              \
    }                                                                                          \
    EXPORT type __tsan_atomic##bits##_exchange(volatile type *a, type v, int order);           \
    type __tsan_atomic##bits##_exchange(volatile type *a, type v, int order)                   \
    {                                                                                          \
        rmw(a, sizeof(type), CALLER);                                                          \
        return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                                    \
    }                                                                                          \
    FETCH(bits, type, add)                                                                     \
    FETCH(bits, type, sub)                                                                     \
    FETCH(bits, type, and)                                                                     \
    FETCH(bits, type, or)                                                                      \
    FETCH(bits, type, xor)                                                                     \
    FETCH(bits, type, nand)                                                                    \
    SWAP(bits, type, strong)                                                                   \
    SWAP(bits, type, weak)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
