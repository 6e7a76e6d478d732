/* SPDX-License-Identifier: MIT
 *
 * model: operations. Which functions an operation entered is its signature; operations of one
 * kind and signature are counted together. What such a path is called is model.py's to say.
 */
#include "model.h"

#include <stdio.h>
#include <string.h>

enum { PATHS_MAX = 1 << 12 };

const char *const model_count_names[N_COUNTS] = {
    "reads",   "writes",     "atomic_reads", "atomic_writes", "acquires", "releases",
    "rmw",     "rmw_failed", "fences",       "locks",         "waits",    "system_calls",
    "records", "blocks",     "shares",       "program",       "cycles",
};

struct path {
    int kind;
    uint64_t functions[MODEL_FUNCTIONS / 64];
    uint64_t operations;
    uint64_t n[N_COUNTS];
};
static struct path paths[PATHS_MAX]; /* hash table */
static unsigned npaths;

static const void *functions[MODEL_FUNCTIONS]; /* in the order of their first call */
static uint16_t function_slot[4 * MODEL_FUNCTIONS];
static unsigned nfunctions;

static unsigned function_id(const void *pc)
{
    uint32_t i = (uint32_t)((uintptr_t)pc * 0x9E3779B97F4A7C15u >> 40);
    for (;; i++) {
        uint16_t *s = &function_slot[i % (4 * MODEL_FUNCTIONS)];
        if (*s == 0) {
            if (nfunctions == MODEL_FUNCTIONS)
                model_fail("functions", "more than the model has room for");
            functions[nfunctions++] = pc;
            *s = (uint16_t)nfunctions;
        }
        if (functions[*s - 1] == pc)
            return *s - 1u;
    }
}

void model_entered(const void *pc)
{
    struct model_thread *t = model_self;
    t->clock += CYCLES_CALL;
    if (t->kind < 0)
        return;
    unsigned id = function_id(pc);
    t->functions[id / 64] |= (uint64_t)1 << (id % 64);
}

void model_op(int kind)
{
    struct model_thread *t = model_self;
    t->kind = kind;
    t->began = t->clock;
    memset(t->functions, 0, sizeof(t->functions));
}

static struct path *path_of(const struct model_thread *t)
{
    uint64_t hash = (uint64_t)t->kind;
    for (unsigned i = 0; i < MODEL_FUNCTIONS / 64; i++)
        hash = (hash ^ t->functions[i]) * 0x9E3779B97F4A7C15u;
    for (uint32_t i = (uint32_t)(hash >> 40);; i++) {
        struct path *p = &paths[i % PATHS_MAX];
        if (p->operations == 0) {
            if (++npaths > PATHS_MAX / 2)
                model_fail("paths", "more than the model has room for");
            p->kind = t->kind;
            memcpy(p->functions, t->functions, sizeof(p->functions));
        }
        if (p->kind == t->kind && memcmp(p->functions, t->functions, sizeof(p->functions)) == 0)
            return p;
    }
}

void model_op_end(void)
{
    struct model_thread *t = model_self;
    t->n[N_CYCLES] = t->clock - t->began;
    if (t->measure) {
        struct path *p = path_of(t);
        p->operations++;
        for (unsigned i = 0; i < N_COUNTS; i++)
            p->n[i] += t->n[i];
    }
    t->kind = -1;
    memset(t->n, 0, sizeof(t->n));
}

uint64_t model_total(int kind, enum model_count what)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < PATHS_MAX; i++)
        sum += paths[i].kind == kind ? paths[i].n[what] : 0;
    return sum;
}

uint64_t model_operations(int kind)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < PATHS_MAX; i++)
        sum += paths[i].kind == kind ? paths[i].operations : 0;
    return sum;
}

static void path_report(const struct path *p, const char *kind)
{
    printf("path %s %lu", kind, (unsigned long)p->operations);
    for (unsigned i = 0; i < N_COUNTS; i++)
        printf(" %lu", (unsigned long)p->n[i]);
    for (unsigned id = 0; id < nfunctions; id++) {
        if ((p->functions[id / 64] >> (id % 64) & 1) != 0)
            printf(" %#lx", (unsigned long)(uintptr_t)functions[id]);
    }
    printf("\n");
}

void model_report(const char *const *kinds, const char *const *places)
{
    printf("counts");
    for (unsigned i = 0; i < N_COUNTS; i++)
        printf(" %s", model_count_names[i]);
    printf("\n");
    for (unsigned i = 0; i < PATHS_MAX; i++) {
        if (paths[i].operations > 0)
            path_report(&paths[i], kinds[paths[i].kind]);
    }
    model_lines_report(places);
}
