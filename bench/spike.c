/* SPDX-License-Identifier: MIT
 *
 * spike: much memory for a moment, and then nothing.
 *
 * A program takes --mib of blocks, 16 bytes to 256 KiB, frees them request by request, and rests:
 * it sleeps, and calls neither malloc nor free again. That is what a report, an import or a burst
 * of requests does to a service. With --survivors N every Nth of the blocks stays, as what a cache
 * or a session kept of the burst would.
 *
 * It stresses how memory goes back to the system: how much of it, how soon, and whether an
 * allocator needs the program's next call for it. Survivors hold pages, slabs and superslabs
 * with them: how little, tells what else is packed there.
 */
#include "rest.h"

static struct {
    unsigned long threads, mib, survivors, seed;
} arg = {.threads = 1, .mib = 2048, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("mib", &arg.mib, 1, 1 << 20, "MiB of blocks, of all threads"),
    BENCH_NUMBER("survivors", &arg.survivors, 0, 1 << 30, "every Nth block stays; 0: none"),
    BENCH_SEED(&arg.seed),
    REST_OPTIONS,
};

static struct rest_set sets[BENCH_THREADS_MAX];

static void work(unsigned long index)
{
    uint64_t random = bench_seed(arg.seed, index);
    rest_fill(&sets[index], bench_share(arg.mib << 20, arg.threads, index), &random);
    rest_empty(&sets[index], arg.survivors);
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Much memory for a moment, and then rest.", options);
    rest_run(arg.threads, work);
    for (unsigned long i = 0; i < arg.threads; i++)
        bench_free_all(sets[i].blocks, sets[i].n);
    return 0;
}
