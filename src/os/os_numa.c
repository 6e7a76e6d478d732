/* SPDX-License-Identifier: MIT
 *
 * os: nodes, from the files the kernel shows of them, and what may be done with them.
 *
 *   get_mempolicy                          the nodes this process may have memory on (its cpuset's)
 *   /sys/devices/system/node/online        "0-1,4"; has_memory, has_cpu: the same of some of them
 *   /sys/devices/system/node/node4/distance    "10 21 31": to each that is online, in order
 */
#include "os/os.h"

#include <errno.h>
#include <string.h>

#include "base/hak_list.h"
#include "base/hak_log.h"

static struct nodes {
    unsigned n;                          /* [const] */
    struct os_ids online, has_cpu;       /* [const] */
    struct os_ids ids[OS_NODES_MAX + 1]; /* [const] of each node; the last: of all */
    struct os_ids allowed; /* when last looked at; its one reader is os_numa_follow */
    _Atomic uint8_t home[OS_NODE_IDS]; /* id -> node */
} * numa; /* [const] NULL where the machine has one node: such a start does not touch so much */

static bool placed_by_user;  /* [const] nothing is placed: so it is, */
static _Atomic bool refused; /* or the system would not have it */

unsigned os_nnodes(void)
{
    return numa != NULL && numa->n > 0 ? numa->n : 1;
}

unsigned os_node(void)
{
    unsigned id;
    if (os_nnodes() == 1 || !os_node_id(&id) || id >= OS_NODE_IDS)
        return 0;
    return atomic_load_explicit(&numa->home[id], memory_order_relaxed);
}

const struct os_ids *os_node_ids(unsigned node)
{
    static const struct os_ids none;
    return numa != NULL ? &numa->ids[node] : &none;
}

bool os_node_places(void)
{
    return numa != NULL && numa->n > 0 && !placed_by_user && !refused;
}

/* ---- Sets. ---- */

static void ids_and(struct os_ids *s, const struct os_ids *with)
{
    for (unsigned i = 0; i < OS_NODE_IDS / 64; i++)
        s->word[i] &= with->word[i];
}

static void ids_or(struct os_ids *s, const struct os_ids *with)
{
    for (unsigned i = 0; i < OS_NODE_IDS / 64; i++)
        s->word[i] |= with->word[i];
}

static bool ids_equal(const struct os_ids *a, const struct os_ids *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static bool ids_meet(const struct os_ids *a, const struct os_ids *b)
{
    struct os_ids both = *a;
    ids_and(&both, b);
    return os_ids_count(&both) > 0;
}

/* ---- Files. ---- */

static bool list_line(void *arg, char *line)
{
    struct os_ids *out = arg;
    if (!hak_list_parse(line, out->word, OS_NODE_IDS))
        *out = (struct os_ids){{0}};
    return false;
}

/* The set in a file; of no such file, or what is no list, the empty one. */
static struct os_ids file_ids(const char *root, const char *name)
{
    char path[128];
    struct hak_text t = {path, sizeof(path), 0};
    struct os_ids ids = {{0}};
    hak_text_add(&t, "%s/sys/devices/system/node/%s", root, name);
    if (t.len < t.size)
        (void)os_file_lines(path, list_line, &ids);
    return ids;
}

/* From one id to another. */
struct row {
    uint8_t to[OS_NODE_IDS]; /* 0: not known */
};

static bool row_line(void *arg, char *line)
{
    struct row *row = arg;
    const char *s = line;
    for (unsigned id = 0; id < OS_NODE_IDS; id++) {
        unsigned distance = 0;
        if (!os_ids_has(&numa->online, id))
            continue;
        while (*s == ' ')
            s++;
        for (; *s >= '0' && *s <= '9'; s++)
            distance = HAK_MIN(distance * 10 + (unsigned)(*s - '0'), 255u);
        row->to[id] = (uint8_t)distance;
    }
    return false;
}

static void row_read(const char *root, unsigned id, struct row *row)
{
    char path[128];
    struct hak_text t = {path, sizeof(path), 0};
    *row = (struct row){{0}};
    hak_text_add(&t, "%s/sys/devices/system/node/node%u/distance", root, id);
    if (t.len < t.size)
        (void)os_file_lines(path, row_line, row);
}

/* A node of several ids is as near as the nearest of them. */
static unsigned row_to_node(const struct row *row, unsigned node, const struct os_ids *within)
{
    unsigned least = 0;
    for (unsigned id = 0; id < OS_NODE_IDS; id++) {
        unsigned d = row->to[id];
        if (d != 0 && os_ids_has(&numa->ids[node], id) && os_ids_has(within, id) &&
            (least == 0 || d < least))
            least = d;
    }
    return least;
}

unsigned os_node_distance(const char *root, unsigned from, unsigned to)
{
    struct row row;
    for (unsigned id = 0; numa != NULL && id < OS_NODE_IDS; id++) {
        if (!os_ids_has(&numa->ids[from], id))
            continue;
        row_read(root, id, &row);
        return row_to_node(&row, to, &numa->ids[to]);
    }
    return from == to ? 10 : 0;
}

/* ---- Who belongs where. ---- */

/* Of the first n nodes that are in `allowed` those nearest to id: the first of them, and the ids of all.
 * n: there is none. */
static unsigned nearest(const char *root, unsigned id, unsigned n, const struct os_ids *allowed,
                        struct os_ids *all)
{
    struct row row;
    unsigned first = n, least = 256;
    row_read(root, id, &row);
    for (unsigned node = 0; node < n; node++) {
        if (!ids_meet(&numa->ids[node], allowed))
            continue;
        unsigned d = row_to_node(&row, node, allowed);
        d = d != 0 ? d : 255; /* not known: far */
        if (d < least) {
            least = d;
            first = node;
            *all = (struct os_ids){{0}};
        }
        if (d == least)
            ids_or(all, &numa->ids[node]);
    }
    return first;
}

static void home_set(unsigned id, unsigned node)
{
    atomic_store_explicit(&numa->home[id], (uint8_t)node, memory_order_relaxed);
}

/* The node that is all of these together, or is made so; or otherwise. */
static unsigned node_of_all(const struct os_ids *all, bool may_make, unsigned otherwise)
{
    for (unsigned node = 0; node < numa->n; node++) {
        if (ids_equal(&numa->ids[node], all))
            return node;
    }
    if (!may_make || numa->n == OS_NODES_MAX)
        return otherwise;
    numa->ids[numa->n] = *all;
    return numa->n++;
}

/* Returns whether there are threads that may run where they have no node of their own. */
static bool homes_set(const char *root, const struct os_ids *allowed, bool may_make)
{
    bool strangers = false;
    unsigned singles = numa->n;
    for (unsigned id = 0; id < OS_NODE_IDS; id++) {
        struct os_ids all = {{0}};
        unsigned home = singles;
        for (unsigned node = 0; node < singles && home == singles; node++) {
            if (os_ids_has(&numa->ids[node], id) && os_ids_count(&numa->ids[node]) == 1 &&
                os_ids_has(allowed, id))
                home = node;
        }
        if (home == singles && os_ids_has(&numa->online, id) &&
            os_ids_has(&numa->has_cpu, id)) {
            home = nearest(root, id, singles, allowed, &all);
            home = home < singles ? node_of_all(&all, may_make, home) : numa->n;
            strangers = true;
        }
        if (home < numa->n)
            home_set(id, home);
    }
    return strangers;
}

bool os_numa_follow(const char *root)
{
    struct os_ids now = {{0}};
    if (os_nnodes() == 1 || os_mempolicy_allowed(&now) != 0 || ids_equal(&now, &numa->allowed))
        return false;
    numa->allowed = now;
    (void)homes_set(root, &now, false);
    return true;
}

/* ---- Finding them. ---- */

/* What the process may use, as far as the kernel tells: a filter that answers EPERM knows of no
 * nodes, but /proc does. */
static bool allowed_line(void *arg, char *line)
{
    static const char key[] = "Mems_allowed_list:\t";
    struct os_ids *out = arg;
    if (strncmp(line, key, sizeof(key) - 1) != 0)
        return true;
    return list_line(out, line + sizeof(key) - 1);
}

static struct os_ids allowed_read(const char *root)
{
    char path[64];
    struct hak_text t = {path, sizeof(path), 0};
    struct os_ids ids = {{0}};
    hak_text_add(&t, "%s/proc/self/status", root);
    if (t.len < t.size)
        (void)os_file_lines(path, allowed_line, &ids);
    return ids;
}

/* Those of `usable` become nodes, as many as there is room for. Returns as homes_set does. */
static bool nodes_set(const char *root, const struct os_ids *usable)
{
    for (unsigned id = 0; id < OS_NODE_IDS && numa->n < OS_NODES_MAX; id++) {
        if (os_ids_has(usable, id))
            os_ids_add(&numa->ids[numa->n++], id);
    }
    numa->ids[OS_NODES_ALL] = *usable;
    return homes_set(root, usable, true);
}

/* Narrow what may be used to what is there and has memory. false: /sys does not tell. A process that
 * starts pays for each file. */
static bool usable_narrow(const char *root, struct os_ids *usable)
{
    numa->online = numa->has_cpu = file_ids(root, "online");
    struct os_ids memory = file_ids(root, "has_memory");
    if (os_ids_count(&memory) == 0)
        memory =
            file_ids(root, "has_normal_memory"); /* before 3.8, or where there is no other */
    ids_and(usable, &numa->online);
    ids_and(usable, &memory);
    if (!ids_equal(usable, &numa->online)) /* else all have a node of their own */
        numa->has_cpu = file_ids(root, "has_cpu");
    return os_ids_count(&memory) > 0;
}

/* A policy that somebody gave the process is respected: nothing is placed, and where it says where
 * memory shall be, there are no other nodes. */
static const char *policy_respect(struct os_ids *usable)
{
    enum os_mempolicy mode;
    struct os_ids of = {{0}};
    int e = os_mempolicy_get(&mode, &of);
    if (e != 0) {
        refused = true;
        return NULL;
    }
    placed_by_user = mode != OS_MEMPOLICY_NONE;
    if (mode == OS_MEMPOLICY_ELSEWHERE)
        return "the process has a memory policy of its own; nothing is placed";
    if (mode == OS_MEMPOLICY_NEAR)
        ids_and(usable, &of);
    return NULL;
}

/* Nothing is known of nodes yet, though a start may come again. */
static bool nodes_make(void)
{
    size_t bytes = HAK_ALIGN_UP(sizeof(*numa), os_page_size());
    if (numa == NULL)
        numa = os_map(bytes, os_page_size());
    else
        memset(numa, 0, sizeof(*numa));
    return numa != NULL;
}

const char *os_numa_init(const char *root, const struct os_ids *wanted, bool *wanted_bad)
{
    struct os_ids usable = {{0}};
    *wanted_bad = false;
    int e = os_mempolicy_allowed(&usable);
    if (e == EPERM || e == EACCES)
        usable = allowed_read(root);
    else if (e != 0)
        return NULL; /* a kernel without nodes */
    if (e != 0 && os_ids_count(&usable) == 0)
        return "the system does not tell of nodes; one is used";
    *wanted_bad = wanted != NULL && !ids_meet(&usable, wanted);
    if (os_ids_count(&usable) <= 1)
        return NULL;
    if (!nodes_make())
        return "no memory to tell nodes apart; one is used";
    numa->allowed = usable;
    refused = e != 0;
    const char *policy = policy_respect(&usable);
    if (policy != NULL)
        return policy;
    if (!usable_narrow(root, &usable))
        return "/sys/devices/system/node cannot be read; one node is used";
    *wanted_bad = wanted != NULL && !ids_meet(&usable, wanted);
    if (wanted != NULL && !*wanted_bad)
        ids_and(&usable, wanted);
    if (os_address_limit() != UINT64_MAX)
        return "addresses are rationed (RLIMIT_AS); one node is used";
    bool strangers = nodes_set(root, &usable);
    if (refused)
        return "the system refuses to place memory; it is where it is touched first";
    if (placed_by_user)
        return "the process has a memory policy of its own; nothing is placed";
    if (os_ids_count(&usable) > OS_NODES_MAX)
        return "more than it tells apart; threads on the others use the nearest";
    if (strangers)
        return "others have CPUs, but no memory to be used; their threads use the nearest";
    return NULL;
}

void os_node_place(void *addr, size_t bytes, unsigned node)
{
    if (!os_node_places())
        return;
    struct os_ids ids = numa->ids[node];
    bool all = node == OS_NODES_ALL;
    enum os_mempolicy mode = all ? OS_MEMPOLICY_ELSEWHERE : OS_MEMPOLICY_NEAR;
    int e = os_mempolicy_set(addr, bytes, mode, &ids);
    for (unsigned id = 0; e == EINVAL && !all && os_ids_count(&ids) > 1; id++) {
        if (!os_ids_has(&ids, id))
            continue; /* a kernel that cannot prefer several: the first of them */
        ids = (struct os_ids){{0}};
        os_ids_add(&ids, id);
        e = os_mempolicy_set(addr, bytes, mode, &ids);
    }
    if (e == 0)
        return;
    refused = true;
    hak_log(
        HAK_LOG_INFO,
        "numa: the system refuses to place memory (error %d); it is where it is touched first",
        e);
}
