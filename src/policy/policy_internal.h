/* SPDX-License-Identifier: MIT
 *
 * policy's own.
 */
#ifndef HAK_POLICY_INTERNAL_H
#define HAK_POLICY_INTERNAL_H

#include "policy/policy.h"

/* From hak_opt to ss_params. */
void batch_init(void);
/* Find the nodes, unless hak_opt says that there is one. */
void numa_init(void);
/* A tick: the process may have been given other nodes. */
void numa_tick(void);

#endif /* HAK_POLICY_INTERNAL_H */
