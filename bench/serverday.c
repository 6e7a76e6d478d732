/* SPDX-License-Identifier: MIT
 *
 * serverday: a day in the life of a server, and the memory it holds over that day.
 *
 * No paper stands behind it, but the observation that most objects live shortly and some for
 * ever, and that a long-running server suffers from the few: M. Johnstone and P. Wilson, "The
 * Memory Fragmentation Problem: Solved?" (ISMM 1998) look at what is held against what is live.
 *
 * The day has --ticks ticks. Connections come and go: as many are open as the time of day says,
 * few in the morning, --connections at the peak, few again in the evening, and then comes a
 * night of a fifth of the day. One lives for x ticks or longer with the odds 1/x, so half of
 * them are closed after one tick, and some stay all day. Each keeps a few blocks. Each tick a
 * quarter of the open ones have a request: blocks that are gone when it is answered, and often
 * one of the blocks that stay is replaced. All sizes grow slowly, by a half until the end of
 * the day, so that what was freed in the morning does not quite fit what is wanted later. The
 * work is split among --threads; a tenth of the connections is closed by another thread.
 *
 * 240 times a day the threads wait for each other, and the bytes live (asked for by connections
 * and by the tables that hold them) and resident (of the whole process) are looked at. What is
 * printed: their peaks, and the ratio of resident to live, its mean over the day and its value
 * at the end. --report FILE writes all of them: lines of time,live,rss, the time in ticks.
 * With --tick-us a tick lasts that long at least, for allocators that return memory in time: a
 * day of an hour has 3,600 ticks of a second, and --tick-us 16667 makes it a minute. After the
 * night, with its connections open, it rests for --idle-ms (bench/rest.h).
 */
#include "rest.h"

enum { KEPT = 4, SAMPLES = 240, HANDED = 64 };

static struct {
    unsigned long threads, connections, ticks, tick_us, seed;
    const char *report;
} arg = {.threads = 2, .connections = 20000, .ticks = 960, .seed = 1};

static const struct bench_option options[] = {
    BENCH_THREADS(&arg.threads, 1),
    BENCH_NUMBER("connections", &arg.connections, BENCH_THREADS_MAX, 1 << 28, "at the peak"),
    BENCH_NUMBER("ticks", &arg.ticks, SAMPLES, 1 << 24, "of the day"),
    BENCH_NUMBER("tick-us", &arg.tick_us, 0, 1000000, "microseconds of a tick, at least"),
    BENCH_TEXT("report", &arg.report, "lines of time,live,rss go there"),
    BENCH_SEED(&arg.seed),
    REST_OPTIONS,
};

struct connection {
    uint64_t stamp;
    struct connection *next; /* of those that end in the same tick */
    size_t place;            /* in server.open */
    void *kept[KEPT];
};

static struct server {
    _Alignas(64) unsigned long index;
    uint64_t random;
    struct connection **open; /* the first nopen */
    struct connection **ends; /* for each tick, those that end then */
    size_t nopen, most;
    double scale; /* of the sizes, this tick */
    long live;    /* bytes; looked at by others between the barriers alone */
    long told;    /* of them, on the board */
} servers[BENCH_THREADS_MAX];

static _Atomic(struct connection *) handed[HANDED];
static pthread_barrier_t all_wait;

static struct {
    FILE *file;
    size_t peak_live, peak_rss, n;
    double ratios, last;
} sampled;

/* ---- Blocks, counted ---- */

static void *keep(struct server *s, size_t size)
{
    s->live += (long)size;
    return bench_block(size);
}

static void release(struct server *s, void *p)
{
    if (p != NULL)
        s->live -= (long)bench_size(p);
    bench_free(p);
}

static void *keep_scaled(struct server *s, unsigned low, unsigned high)
{
    return keep(s, (size_t)((double)bench_log_size(&s->random, low, high) * s->scale));
}

/* ---- Connections ---- */

static void open_connection(struct server *s, unsigned long tick)
{
    /* Beyond the struct: its last bytes hold the mark. */
    struct connection *c = keep(s, sizeof *c + bench_between(&s->random, 8, 256));
    for (size_t i = 0; i < KEPT; i++)
        c->kept[i] = keep_scaled(s, 4, 12);
    unsigned long left = arg.ticks - 1 - tick;
    size_t life = ((size_t)1 << 31) / (bench_random(&s->random) % ((size_t)1 << 31) + 1);
    struct connection **end = &s->ends[tick + (life < left ? life : left)];
    c->next = *end;
    *end = c;
    c->place = s->nopen;
    s->open[s->nopen++] = c;
}

static void free_connection(struct server *s, struct connection *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < KEPT; i++)
        release(s, c->kept[i]);
    release(s, c);
}

static void close_connection(struct server *s, struct connection *c)
{
    s->open[c->place] = s->open[--s->nopen];
    s->open[c->place]->place = c->place;
    if (bench_percent(&s->random, 10)) {
        size_t slot = bench_below(&s->random, HANDED);
        c = atomic_exchange_explicit(&handed[slot], c, memory_order_acq_rel);
    }
    free_connection(s, c);
}

static void serve(struct server *s, struct connection *c)
{
    enum { HEADERS = 6 };
    void *request = keep_scaled(s, 8, 13), *header[HEADERS];
    for (size_t i = 0; i < HEADERS; i++)
        header[i] = keep_scaled(s, 3, 8);
    void *answer = keep_scaled(s, 6, 15);
    if (bench_percent(&s->random, 30)) {
        void **kept = &c->kept[bench_below(&s->random, KEPT)];
        release(s, *kept);
        *kept = keep_scaled(s, 4, 12);
    }
    for (size_t i = 0; i < HEADERS; i++)
        release(s, header[i]);
    release(s, request);
    release(s, answer);
}

static void tell(struct server *s)
{
    rest_live(s->live - s->told);
    rest_settle();
    s->told = s->live;
}

/* ---- The day ---- */

/* The part of the connections that is open: a parabola over the day, then the night. */
static double load(unsigned long tick)
{
    double x = (double)tick / (double)arg.ticks / 0.8;
    return x < 1 ? 0.15 + 0.85 * 4 * x * (1 - x) : 0.15;
}

static void pass_tick(struct server *s, unsigned long tick)
{
    s->scale = 1 + 0.5 * (double)tick / (double)arg.ticks;
    for (struct connection *c = s->ends[tick], *next; c != NULL; c = next) {
        next = c->next;
        close_connection(s, c);
    }
    size_t wanted = (size_t)((double)s->most * load(tick));
    while (tick + 1 < arg.ticks && s->nopen < wanted)
        open_connection(s, tick);
    for (size_t n = s->nopen / 4; n > 0; n--)
        serve(s, s->open[bench_below(&s->random, s->nopen)]);
}

static void sample(unsigned long tick)
{
    size_t rss = bench_rss();
    long live = 0;
    for (unsigned long i = 0; i < arg.threads; i++)
        live += servers[i].live;
    sampled.last = (double)rss / (double)live;
    sampled.ratios += sampled.last;
    sampled.n++;
    sampled.peak_live = (size_t)live > sampled.peak_live ? (size_t)live : sampled.peak_live;
    sampled.peak_rss = rss > sampled.peak_rss ? rss : sampled.peak_rss;
    if (sampled.file != NULL)
        fprintf(sampled.file, "%lu,%ld,%zu\n", tick, live, rss);
}

static void *run(void *p)
{
    struct server *s = p;
    s->random = bench_seed(arg.seed, s->index);
    s->open = bench_table(s->most, sizeof *s->open);
    s->ends = bench_table(arg.ticks, sizeof *s->ends);
    s->live = (long)(s->most * sizeof *s->open + arg.ticks * sizeof *s->ends);
    for (unsigned long tick = 0; tick < arg.ticks; tick++) {
        double until = bench_now() + (double)arg.tick_us / 1e6;
        /* In the last tick everything is closed: what is looked at is the end of the night. */
        if (tick * SAMPLES / arg.ticks != (tick + 1) * SAMPLES / arg.ticks) {
            tell(s);
            pthread_barrier_wait(&all_wait);
            if (s->index == 0)
                sample(tick);
            if (s->index == 0 && tick + 1 == arg.ticks)
                rest_idle();
            pthread_barrier_wait(&all_wait);
        }
        pass_tick(s, tick);
        tell(s);
        double now = arg.tick_us > 0 ? bench_now() : until;
        if (now < until)
            usleep((useconds_t)((until - now) * 1e6));
    }
    free(s->open);
    free(s->ends);
    return NULL;
}

int main(int argc, char **argv)
{
    static char buffer[65536];
    bench_parse(argc, argv, "A day of a server: memory held against memory live.", options);
    if (arg.report != NULL) {
        sampled.file = fopen(arg.report, "w");
        if (sampled.file == NULL)
            bench_usage("--report %s: %s", arg.report, strerror(errno));
        setvbuf(sampled.file, buffer, _IOFBF, sizeof buffer);
        fputs("time,live,rss\n", sampled.file);
    }
    pthread_barrier_init(&all_wait, NULL, (unsigned)arg.threads);
    rest_begin();
    for (unsigned long i = 0; i < arg.threads; i++) {
        servers[i].index = i;
        servers[i].most = bench_share(arg.connections, arg.threads, i);
    }
    bench_threads(arg.threads, run, servers, sizeof *servers);
    for (size_t i = 0; i < HANDED; i++)
        free_connection(&servers[0], handed[i]);
    for (unsigned long i = 1; i < arg.threads; i++)
        servers[0].live += servers[i].live;
    long tables =
        (long)(arg.connections * sizeof(void *) + arg.threads * arg.ticks * sizeof(void *));
    if (servers[0].live != tables)
        bench_fail("%ld bytes live at the end instead of %ld", servers[0].live, tables);
    if (sampled.file != NULL && (ferror(sampled.file) || fclose(sampled.file) != 0))
        bench_fail("%s: %s", arg.report, strerror(errno));
    printf("peak live     %.1f MiB\n", (double)sampled.peak_live / (1 << 20));
    printf("peak rss      %.1f MiB\n", (double)sampled.peak_rss / (1 << 20));
    printf("mean rss/live %.3f\n", sampled.ratios / (double)sampled.n);
    printf("end rss/live  %.3f\n", sampled.last);
    return 0;
}
