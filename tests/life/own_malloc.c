/* SPDX-License-Identifier: MIT
 *
 * Programs that bring a malloc of their own, with hakmem preloaded beside it.
 *
 * Built twice. OWN_MALLOC=1: the executable defines malloc, calloc, realloc and free, and
 * nothing else of the family, as programs with an embedded allocator of old do; the dynamic
 * linker then gives these four to every library too, hakmem must stay out of the way, and all
 * of libc's own blocks come from the program. OWN_MALLOC=0: malloc is hakmem's, and beside it
 * lives a private allocator on the program break.
 */
#include "life.h"

#include <sys/mman.h>

/* A first-fit allocator as they were: one arena, one lock, a header before each block. */
enum { ARENA = 256 << 20 };

struct header {
    size_t n; /* bytes of the block, multiple of 16 */
    struct header *next;
};

static char *arena, *arena_top, *arena_end;
static struct header *unused;
static atomic_flag arena_lock = ATOMIC_FLAG_INIT;
static atomic_ulong own_mallocs, own_frees;

static char *more_arena(void);

static void *own_alloc(size_t n)
{
    n = (n + 15) & ~(size_t)15;
    while (atomic_flag_test_and_set(&arena_lock))
        sched_yield();
    own_mallocs++;
    struct header *h = NULL;
    for (struct header **at = &unused; *at != NULL; at = &(*at)->next) {
        if ((*at)->n < n || (*at)->n > 2 * n + 64)
            continue;
        h = *at;
        *at = h->next;
        break;
    }
    if (h == NULL) {
        if (arena == NULL) {
            arena = arena_top = more_arena();
            arena_end = arena == NULL ? NULL : arena + ARENA;
        }
        if ((size_t)(arena_end - arena_top) >= sizeof *h + n) {
            h = (struct header *)arena_top;
            h->n = n;
            arena_top += sizeof *h + n;
        }
    }
    atomic_flag_clear(&arena_lock);
    if (h == NULL)
        errno = ENOMEM;
    return h == NULL ? NULL : h + 1;
}

static bool is_own(const void *p)
{
    return (const char *)p >= arena && (const char *)p < arena_end;
}

static void own_free(void *p)
{
    if (p == NULL)
        return;
    CHECK(is_own(p));
    struct header *h = (struct header *)p - 1;
    while (atomic_flag_test_and_set(&arena_lock))
        sched_yield();
    own_frees++;
    h->next = unused;
    unused = h;
    atomic_flag_clear(&arena_lock);
}

#if OWN_MALLOC

static char *more_arena(void)
{
    char *p = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

#    define EXPORT __attribute__((visibility("default"), used))

EXPORT void *malloc(size_t n)
{
    return own_alloc(n);
}

EXPORT void free(void *p)
{
    own_free(p);
}

EXPORT void *calloc(size_t count, size_t size)
{
    void *p = own_alloc(count * size);
    return p == NULL ? NULL : memset(p, 0, count * size);
}

EXPORT void *realloc(void *p, size_t n)
{
    void *q = own_alloc(n);
    if (p == NULL || q == NULL)
        return q;
    size_t old = ((struct header *)p - 1)->n;
    memcpy(q, p, old < n ? old : n);
    own_free(p);
    return q;
}

static void the_blocks_are_own(void)
{
    /* The program's, and those libc and the thread library ask for. */
    char *a = malloc(100), *b = strdup("abc"), *line = NULL;
    size_t n = 0;
    CHECK(is_own(a) && is_own(b));
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(is_own(f) && getline(&line, &n, f) > 0 && is_own(line));
    fclose(f);
    free(a);
    free(b);
    free(line);
    CHECK(own_mallocs >= 5 && own_frees >= 4);
}

#else

static char *more_arena(void)
{
    char *p = sbrk(ARENA);
    return p == (char *)-1 ? NULL : p;
}

static void the_blocks_are_own(void)
{
    char *a = own_alloc(100), *b = malloc(100);
    CHECK(is_own(a) && !is_own(b));
    life_exercise(1, 1000, 40 << 20);
    if (getenv("LIFE_LIBRARY") != NULL)
        CHECK(sbrk(0) == arena_end); /* the break is the program's: hakmem leaves it alone */
    own_free(a);
    free(b);
}

#endif

static void *works(void *arg)
{
    enum { KEPT = 16 };
    struct {
        void *p;
        size_t n;
    } kept[KEPT] = {{NULL, 0}};
    uint64_t state = life_seed((uintptr_t)arg);
    for (unsigned i = 0; i < 300; i++) {
        unsigned k = life_random(&state) % KEPT;
        CHECK(kept[k].p == NULL || life_intact(kept[k].p, kept[k].n));
        own_free(kept[k].p);
        kept[k].n = life_size(&state, 10000);
        kept[k].p = own_alloc(kept[k].n);
        CHECK(kept[k].p != NULL);
        life_stamp(kept[k].p, kept[k].n);
    }
    for (unsigned k = 0; k < KEPT; k++)
        own_free(kept[k].p);
    life_exercise((uintptr_t)arg, 300, 10000);
    return NULL;
}

static void at_exit(void)
{
    life_exercise(4, 100, 10000);
}

int main(void)
{
    alarm(60);
    CHECK(dlsym(RTLD_DEFAULT, "hak_malloc") != NULL || getenv("LIFE_LIBRARY") == NULL);
    the_blocks_are_own();
    pthread_t t[4];
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 4; i++)
            t[i] = life_thread(works, (void *)(uintptr_t)(i + round * 4));
        for (unsigned i = 0; i < 4; i++)
            life_join(t[i]);
    }
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        works((void *)99);
        exit(0);
    }
    life_reap(pid, 0);
    atexit(at_exit);
    return 0;
}
