/* SPDX-License-Identifier: MIT
 *
 * policy: decides the numbers the tiers run by, from the options, the machine and what the program
 * turns out to do, and what to give up when memory runs out. It writes plain parameter structs; no tier
 * calls it. doc/policy.md has the models.
 *
 * Sits on:   tiny, mid, large, superslab, os, base.     Used by: api.
 */
#ifndef HAK_POLICY_H
#define HAK_POLICY_H

#include <stdatomic.h>

#include "base/hak_base.h"

/* A profile's settings, to hak_opt, which has been loaded. First of all. */
void policy_profile_load(void);
/* Write what was learned, where HAKMEM_PROFILE_SAVE says so. At the end. */
void policy_profile_save(void);

/* Fill ss_params, tiny_params and large_params from hak_opt. Once, before ss_init (classes need
 * the superslab size) and, for the bins, policy_init_bins after mid_init. */
void policy_init(void);
void policy_init_bins(void);

/* ss_due is raised: start or wake the background thread, or do its work (batch.c). caller: the code
 * that called malloc or free. No lock held. */
HAK_SLOW void policy_due(const void *caller);
/* The number that HAKMEM_BATCH_THRESHOLD set first; bytes. */
void policy_batch_threshold_set(size_t bytes);
/* In a fork's child: the background thread has stayed behind, and the page faults counted. alone: there
 * was no other thread. */
void policy_fork_child(bool alone);

/* Collect what is free everywhere but in the caches of running threads, and return it to the
 * system. Any thread, no lock held. Returns bytes. */
size_t policy_reclaim(void);

/* ---- ELO: work on large blocks is measured. ----
 *
 *   uint64_t t = policy_large_begin(n);      n: bytes asked for or freed; 0 is returned below 512 KiB, and
 *   ... malloc, free or realloc ...          where nothing is learned
 *   policy_large_end(t, freed, had);         bytes that have come free, and been had; 0: none
 */
enum { POLICY_LARGE = 512 * 1024 };
extern HAK_HIDDEN _Atomic bool policy_learns;
HAK_SLOW uint64_t policy_large_measure(void);
HAK_SLOW void policy_large_measured(uint64_t begun, size_t freed, size_t had);

HAK_FAST uint64_t policy_large_begin(size_t n)
{
    /* A run of 512 KiB may have been asked for as less. */
    bool on = n > POLICY_LARGE - (64 << 10) &&
              atomic_load_explicit(&policy_learns, memory_order_relaxed);
    return HAK_UNLIKELY(on) ? policy_large_measure() : 0;
}

HAK_FAST void policy_large_end(uint64_t begun, size_t freed, size_t had)
{
    if (HAK_UNLIKELY(begun != 0))
        policy_large_measured(begun, freed, had);
}

/* The program has set the threshold itself: nothing more is learned about it. */
void policy_threshold_set(size_t bytes);

#endif /* HAK_POLICY_H */
