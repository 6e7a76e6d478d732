/* SPDX-License-Identifier: MIT
 *
 * policy: decides the numbers the tiers run by, from the options and the machine, and what to
 * give up when memory runs out. It writes plain parameter structs; no tier calls it.
 *
 * Sits on:   tiny, mid, large, superslab, os, base.     Used by: api.
 */
#ifndef HAK_POLICY_H
#define HAK_POLICY_H

#include "base/hak_base.h"

/* Fill ss_params, tiny_params and large_params from hak_opt. Once, before ss_init (classes need
 * the superslab size) and, for the bins, policy_init_bins after mid_init. */
void policy_init(void);
void policy_init_bins(void);

/* ss_due is raised: start or wake the background thread, or do its work (batch.c). caller: the code
 * that called malloc or free. No lock held. */
HAK_SLOW void policy_due(const void *caller);
/* The number that HAKMEM_BATCH_THRESHOLD set first; bytes. */
void policy_batch_threshold_set(size_t bytes);
/* In a fork's child: the background thread has stayed behind. */
void policy_fork_child(void);

/* Collect what is free everywhere but in the caches of running threads, and return it to the
 * system. Any thread, no lock held. Returns bytes. */
size_t policy_reclaim(void);

#endif /* HAK_POLICY_H */
