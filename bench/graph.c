/* SPDX-License-Identifier: MIT
 *
 * graph: trees that migrate between threads and generations of threads.
 *
 * After the pattern of mstress in mimalloc-bench, by D. Leijen: threads allocate blocks that
 * are mostly small, a few of them a hundred times larger, and exchange them at random with an
 * array that all threads share; then all threads end, half of what lies in the array is freed,
 * and a new generation of threads goes on with the rest. Here the blocks are nodes of trees: a
 * thread that gets a tree in exchange replaces a branch of it, so that in time the nodes of one
 * tree are of many threads, and whoever frees it in the end frees blocks of all of them.
 *
 * It stresses frees by other threads, in small numbers and in no order, frees of blocks whose
 * thread has ended, and large blocks among small ones.
 */
#include "bench.h"

enum { CHILDREN = 3, DEPTH = 3, SHARED = 400, ROOTS = 100 };

struct node {
    uint64_t stamp;
    struct node *child[CHILDREN];
};

static struct {
    unsigned long threads, generations, steps, seed;
} arg = {.threads = 2, .generations = 50, .steps = 12000, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("generations", &arg.generations, 1, 1 << 24, "of threads"),
    BENCH_NUMBER("steps", &arg.steps, 1, 1 << 30, "of a generation, all its threads together"),
    BENCH_SEED(&arg.seed),
};

static _Atomic(struct node *) shared[SHARED];

static struct worker {
    _Alignas(64) unsigned long steps;
    uint64_t random;
} workers[BENCH_THREADS_MAX];

/* Of 8 to 511 bytes beside the node; of 100, one is a hundred times as large. */
static size_t pick_size(uint64_t *random)
{
    size_t size = bench_log_size(random, 3, 9);
    return sizeof(struct node) + (bench_below(random, 100) == 0 ? 100 * size : size);
}

static struct node *plant(unsigned depth, uint64_t *random)
{
    struct node *n = bench_block(pick_size(random));
    for (size_t i = 0; i < CHILDREN; i++)
        n->child[i] = depth > 0 && bench_percent(random, 60) ? plant(depth - 1, random) : NULL;
    return n;
}

/* The node before its branches: a node met twice is found by its stamp. */
static void fell(struct node *n)
{
    if (n == NULL)
        return;
    struct node *child[CHILDREN];
    memcpy(child, n->child, sizeof child);
    bench_free(n);
    for (size_t i = 0; i < CHILDREN; i++)
        fell(child[i]);
}

/* Replaces one branch of the tree. */
static void graft(struct node *n, uint64_t *random)
{
    struct node **branch = &n->child[bench_below(random, CHILDREN)];
    fell(*branch);
    *branch = plant(DEPTH - 1, random);
}

static void step(struct node **root, uint64_t *random)
{
    if (*root == NULL || bench_percent(random, 40)) {
        fell(*root);
        *root = plant(DEPTH, random);
    }
    size_t slot = bench_below(random, SHARED);
    *root = atomic_exchange_explicit(&shared[slot], *root, memory_order_acq_rel);
    if (*root != NULL)
        graft(*root, random);
}

static void *run(void *p)
{
    struct worker *w = p;
    uint64_t random = w->random;
    struct node **roots = bench_table(ROOTS, sizeof(*roots));
    for (unsigned long i = 0; i < w->steps; i++)
        step(&roots[bench_below(&random, ROOTS)], &random);
    for (size_t i = 0; i < ROOTS; i++)
        fell(roots[i]);
    free(roots);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Trees that migrate between threads and generations of them.",
                options);
    uint64_t random = bench_seed(arg.seed, 0);
    for (unsigned long g = 0; g < arg.generations; g++) {
        for (unsigned long i = 0; i < arg.threads; i++)
            workers[i] = (struct worker){.steps = bench_share(arg.steps, arg.threads, i),
                                         .random = bench_seed(arg.seed + g, i + 1)};
        bench_threads(arg.threads, run, workers, sizeof *workers);
        for (size_t i = 0; i < SHARED; i++)
            if (bench_percent(&random, 50) || g + 1 == arg.generations)
                fell(atomic_exchange(&shared[i], NULL));
    }
    return 0;
}
