/* SPDX-License-Identifier: MIT
 *
 * policy: NUMA. Which nodes there are for the tiers, and what is said where there are fewer than the
 * machine has. doc/numa.md tells a user.
 */
#include "base/hak_list.h"
#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "policy/policy_internal.h"
#include "superslab/ss.h"

enum { AUTO, OFF, ON };
enum { LOCAL, INTERLEAVE };
enum { INTERLEAVE_BYTES = 2 * 1024 * 1024 }; /* a huge page */

static void nodes_tell(const char *why)
{
    bool wanting = hak_opt.numa == ON && !os_node_places();
    if (wanting && why == NULL)
        why = "there are no more that this process may use";
    if (why != NULL || os_nnodes() > 1)
        hak_log(wanting ? HAK_LOG_WARN : HAK_LOG_INFO, "numa: nodes: %u%s%s", os_nnodes(),
                why != NULL ? "; " : "", why != NULL ? why : "");
}

void numa_init(void)
{
    struct os_ids ids = {{0}};
    const char *list = hak_opt_list(hak_opt.numa_nodes);
    bool bad;
    if (hak_opt.numa == OFF)
        return;
    if (list != NULL)
        (void)hak_list_parse(list, ids.word, OS_NODE_IDS); /* hak_opt has seen that it is one */
    const char *why = os_numa_init("", list != NULL ? &ids : NULL, &bad);
    if (bad)
        hak_log(HAK_LOG_WARN,
                "option: HAKMEM_NUMA_NODES='%s': expected nodes with memory that this process "
                "may use; using all of those",
                list);
    nodes_tell(why);
    if (hak_opt.numa_large == INTERLEAVE && os_node_places())
        ss_params.interleave_bytes = INTERLEAVE_BYTES;
}

void numa_tick(void)
{
    static _Atomic bool said;
    if (!os_numa_follow(""))
        return;
    if (!atomic_exchange_explicit(&said, true, memory_order_relaxed))
        hak_log(
            HAK_LOG_INFO,
            "numa: this process may use other nodes now; threads on others use the nearest");
}
