/* SPDX-License-Identifier: MIT
 *
 * api: what there is of each NUMA node, and how much of it is truly there.
 */
#include "api/hak_slow.h"
#include "base/hak_log.h"
#include "hakmem.h"
#include "tiny/tiny.h"

/* One line of either format. */
struct node_counts {
    unsigned node; /* SS_NODE_SPREAD: what is spread over all */
    uint64_t live, cached;
    struct os_where pages;
    int error; /* of the call that looks for pages; else 0 */
    unsigned heaps;
};

/* Where hakmem knows of one node, it stands for all there are. */
static struct os_ids ids_of(unsigned node)
{
    struct os_ids ids = *os_node_ids(node);
    if (os_ids_count(&ids) == 0 && os_mempolicy_allowed(&ids) != 0)
        os_ids_add(&ids, 0);
    return ids;
}

static bool counts_get(unsigned node, struct node_counts *c)
{
    enum { PAGES_MAX = 65536 };
    struct ss_node_stats s;
    if (!ss_node_stats(node, &s))
        return false;
    size_t pages = s.bytes / os_page_size(), stride = (pages + PAGES_MAX - 1) / PAGES_MAX;
    uint64_t in_caches = node != SS_NODE_SPREAD ? tiny_cached_bytes(node) : 0;
    in_caches = HAK_MIN(in_caches, s.block_bytes);
    *c = (struct node_counts){.node = node,
                              .live = s.block_bytes - in_caches + s.run_bytes,
                              .cached = s.dirty_bytes + in_caches,
                              .heaps = s.heaps};
    struct os_ids ids = ids_of(node);
    if (pages > 0)
        c->error =
            os_pages_where(s.first, pages / stride, stride * os_page_size(), &ids, &c->pages);
    return true;
}

static void ids_add(struct hak_text *t, unsigned node, const char *between)
{
    struct os_ids ids = ids_of(node);
    const char *before = "";
    for (unsigned id = 0; id < OS_NODE_IDS; id++) {
        if (os_ids_has(&ids, id)) {
            hak_text_add(t, "%s%u", before, id);
            before = between;
        }
    }
}

static void distances_add(struct hak_text *t, unsigned node, const char *between)
{
    for (unsigned to = 0; node != SS_NODE_SPREAD && to < os_nnodes(); to++)
        hak_text_add(t, "%s%u", to > 0 ? between : "", os_node_distance("", node, to));
}

static void node_text(struct hak_text *t, const struct node_counts *c)
{
    hak_text_add(t, "  node ");
    if (c->node == SS_NODE_SPREAD)
        hak_text_add(t, "all");
    else
        ids_add(t, c->node, "+");
    uint64_t tenths = c->pages.present > 0 ? c->pages.there * 1000 / c->pages.present : 1000;
    hak_text_add(t, ": %lu KiB live, %lu KiB cached, ", c->live >> 10, c->cached >> 10);
    if (c->error != 0)
        hak_text_add(t, "pages not to be seen (error %d)", c->error);
    else
        hak_text_add(t, "%lu pages seen, %lu.%lu %% there", (uint64_t)c->pages.present,
                     tenths / 10, tenths % 10);
    hak_text_add(t, ", %u heaps", c->heaps);
    if (c->node != SS_NODE_SPREAD)
        hak_text_add(t, ", distances ");
    distances_add(t, c->node, " ");
    hak_text_add(t, "\n");
}

static void node_json(struct hak_text *t, const struct node_counts *c, bool first)
{
    hak_text_add(t, "%s{\"ids\": [", first ? "" : ", ");
    ids_add(t, c->node, ", ");
    hak_text_add(t, "], \"spread\": %s, \"live\": %lu, \"cached\": %lu, \"heaps\": %u",
                 c->node == SS_NODE_SPREAD ? "true" : "false", c->live, c->cached, c->heaps);
    hak_text_add(t, ", \"pages\": %lu, \"there\": %lu, \"error\": %d, \"distances\": [",
                 (uint64_t)c->pages.present, (uint64_t)c->pages.there, c->error);
    distances_add(t, c->node, ", ");
    hak_text_add(t, "]}");
}

size_t hak_numa_stats(char *buf, size_t size, enum hak_stats_format format)
{
    struct hak_text t = {buf, size, 0};
    struct node_counts c;
    struct tiny_far far;
    bool ready = hak_init(), json = format == HAK_STATS_JSON;
    unsigned nodes = os_nnodes();
    tiny_far(&far);
    hak_text_add(
        &t,
        json ? "{\"hakmem\": \"%s\", \"placed\": %s, \"far_pushes\": %lu, "
               "\"far_blocks\": %lu, \"nodes\": ["
             : "hakmem %s nodes; placed: %s; sent to other nodes: %lu times, %lu blocks\n",
        hak_version(), os_node_places() ? "true" : "false", far.pushes, far.blocks);
    for (unsigned i = 0; ready && i <= nodes; i++) {
        if (!counts_get(i < nodes ? i : SS_NODE_SPREAD, &c))
            continue;
        if (json)
            node_json(&t, &c, i == 0);
        else
            node_text(&t, &c);
    }
    if (json)
        hak_text_add(&t, "]}\n");
    return t.len;
}
