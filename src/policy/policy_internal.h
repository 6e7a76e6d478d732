/* SPDX-License-Identifier: MIT
 *
 * policy's own.
 */
#ifndef HAK_POLICY_INTERNAL_H
#define HAK_POLICY_INTERNAL_H

#include "policy/policy.h"

/* From hak_opt to ss_params. */
void batch_init(void);

#endif /* HAK_POLICY_INTERNAL_H */
