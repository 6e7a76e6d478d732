/* SPDX-License-Identifier: MIT
 *
 * grow: blocks that grow by realloc.
 *
 * No paper stands behind it; every program does it.
 *   vectors  256 vectors, each of a size to come between 4 and 32,767 words, get words at
 *            random; a full one grows by a half. Most of its life a block is small; most
 *            bytes are copied when it is large.
 *   strings  256 strings, each of a length to come between 16 and 8,191 bytes, get pieces of 1
 *            to 40 bytes at random, and are reallocated to the exact length every time, as
 *            simple programs do. Most calls leave the block where it is, if the allocator sees
 *            that there is room in its class.
 * One that has reached its size is checked, freed and begun anew.
 */
#include "bench.h"

enum what { VECTOR, STRING };
enum { VECTORS = 256, STRINGS = 256 };

static struct {
    unsigned long threads, what, steps, seed;
} arg = {.threads = 2, .steps = 1000000, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_CHOICE("what", &arg.what, "vectors|strings", "what grows"),
    BENCH_NUMBER("steps", &arg.steps, 1, 1UL << 40, "in all"),
    BENCH_SEED(&arg.seed),
};

struct vector {
    uint64_t *words;
    size_t n, room, full;
};

struct string {
    char *text;
    size_t n, full;
};

static void *grown(void *p, size_t size)
{
    return bench_checked(realloc(p, size), "realloc", size);
}

static void check(bool good, const void *p)
{
    if (!good)
        bench_fail("block %p: it does not hold what was written there", p);
}

static void push(struct vector *v, uint64_t word)
{
    if (v->n == v->room) {
        v->room = v->room < 4 ? 4 : v->room + v->room / 2;
        v->words = grown(v->words, v->room * sizeof *v->words);
    }
    v->words[v->n++] = word;
}

static void end_vector(struct vector *v)
{
    for (size_t i = v->n; i > 0; i /= 2)
        check(v->words[i - 1] == i - 1, v->words);
    free(v->words);
    *v = (struct vector){0};
}

static void step_vector(struct vector *v, uint64_t *random)
{
    if (v->full == 0)
        v->full = bench_log_size(random, 2, 15);
    for (size_t more = bench_between(random, 1, 16); more > 0 && v->n < v->full; more--)
        push(v, v->n);
    if (v->n == v->full)
        end_vector(v);
}

static char letter(size_t i)
{
    return (char)('a' + i % 26);
}

static void end_string(struct string *s)
{
    for (size_t i = 0; i < s->n; i++)
        check(s->text[i] == letter(i), s->text);
    free(s->text);
    *s = (struct string){0};
}

static void step_string(struct string *s, uint64_t *random)
{
    if (s->full == 0)
        s->full = bench_log_size(random, 4, 13);
    size_t more = bench_between(random, 1, 40), left = s->full - s->n;
    more = more < left ? more : left;
    s->text = grown(s->text, s->n + more + 1);
    for (size_t i = 0; i < more; i++)
        s->text[s->n + i] = letter(s->n + i);
    s->n += more;
    s->text[s->n] = '\0';
    if (s->n == s->full)
        end_string(s);
}

static void *run(void *p)
{
    unsigned long index = *(unsigned long *)p;
    uint64_t random = bench_seed(arg.seed, index);
    struct vector vectors[VECTORS] = {{0}};
    struct string strings[STRINGS] = {{0}};
    for (unsigned long n = bench_share(arg.steps, arg.threads, index); n > 0; n--)
        if (arg.what == VECTOR)
            step_vector(&vectors[bench_below(&random, VECTORS)], &random);
        else
            step_string(&strings[bench_below(&random, STRINGS)], &random);
    for (size_t i = 0; i < VECTORS; i++)
        end_vector(&vectors[i]);
    for (size_t i = 0; i < STRINGS; i++)
        end_string(&strings[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    bench_parse(argc, argv, "Vectors or strings that grow by realloc.", options);
    bench_numbered(arg.threads, run);
    return 0;
}
