/* SPDX-License-Identifier: MIT */
#include "counted.h"

void counted_fetch_add(_Atomic int64_t *n)
{
    atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

void counted_add(int64_t *n)
{
    ++*n;
}

int64_t counted_read(const int64_t *n)
{
    return *n;
}

void counted_write(struct pair *to, const struct pair *from)
{
    *to = *from;
}

void counted_acquire_release(_Atomic int64_t *n)
{
    int64_t v = atomic_load_explicit(n, memory_order_relaxed);
    v += atomic_load_explicit(n, memory_order_acquire);
    atomic_store_explicit(n, v, memory_order_relaxed);
    atomic_store_explicit(n, v, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
}

void counted_locked_add(struct os_lock *lock, int64_t *n, void (*inside)(void))
{
    os_lock(lock);
    int64_t v = *n;
    inside();
    *n = v + 1;
    os_unlock(lock);
}

int64_t counted_on_the_stack(int64_t seed)
{
    volatile int64_t numbers[32];
    int64_t sum = 0;
    for (int i = 0; i < 32; i++)
        numbers[i] = seed + i;
    for (int i = 0; i < 32; i++)
        sum += numbers[i];
    return sum;
}

void counted_swap(_Atomic int64_t *n, int64_t from, int64_t to)
{
    int64_t expected = from;
    while (!atomic_compare_exchange_strong_explicit(n, &expected, to, memory_order_acq_rel,
                                                    memory_order_relaxed))
        expected = from;
}
