/* SPDX-License-Identifier: MIT
 *
 * policy: limits on what is held: those of the options, and of the cgroup where an option says
 * "auto". doc/limits.md tells a user.
 *
 *   hard    no request may pass it                    soft    pressure sets in beyond it
 *   calm    a sixteenth below soft: pressure ends     speed   how much faster free memory decays
 *
 * With "auto" a look at the cgroup's files turns its limit into these: what is held by others is taken
 * off. Looks come when what is held has grown, when the hard limit refused something, and at ticks; no
 * file is opened before FIRST_LOOK bytes are held.
 *
 * Any thread; no lock may be held.
 */
#ifndef HAK_LIMIT_H
#define HAK_LIMIT_H

#include "base/hak_base.h"
#include "os/os.h"

/* From hak_opt to ss_limits. */
void limit_init(void);
/* A tick of the clock: look if it is time. */
void policy_limit_tick(void);
/* SS_DUE_LIMIT is raised: look if enough is held, and give up what is free under pressure. */
HAK_SLOW void policy_limit_due(void);
/* The hard limit may have refused something: look whether it is still the same. */
HAK_SLOW void policy_limit_refused(void);
/* How much faster than usual idle memory shall go back: 1, 2, 4 or 8. */
unsigned policy_limit_speed(void);
void limit_fork_child(void);

/* ---- The arithmetic, for tests. ---- */

/* How much may be held, so that none of n levels comes nearer to its limit than 95 % of it, or
 * (soft) 90 %. What of a level's use is more than `held` is others'. UINT64_MAX: no limit. */
uint64_t limit_room(const struct os_cgroup_level *level, unsigned n, uint64_t held, bool soft);
/* The speed that follows `old` where tasks waited for memory for `share` (1/100 %) of the time. */
unsigned limit_speed(unsigned old, unsigned share);
/* That share: the last 10 seconds', or that since `before`, ns ago, if it is more. */
unsigned limit_share(const struct os_pressure *now, const struct os_pressure *before,
                     uint64_t ns);

#endif /* HAK_LIMIT_H */
