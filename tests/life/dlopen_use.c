/* SPDX-License-Identifier: MIT
 *
 * The library opened with dlopen by a program that runs on libc's malloc: both heaps side by
 * side, hak_ names by dlsym, in threads born before and after, and after dlclose.
 *
 * usage: dlopen_use LIBRARY local|global
 */
#include "life.h"

static const char *path;
static int mode;

static struct {
    void *(*malloc)(size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    size_t (*usable)(const void *);
    size_t (*purge)(void);
    const char *(*version)(void);
} hak;

static void *symbol(void *library, const char *name)
{
    void *p = dlsym(library, name);
    CHECK(p != NULL);
    return p;
}

/* It starts when it is opened: were it at the first request, another thread could fork in the midst, and
 * the child would wait for ever for the start to end. */
static bool region_is_reserved(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, maps) != NULL) {
        size_t from, to;
        found = sscanf(line, "%zx-%zx ---p", &from, &to) == 2 && to - from >= (size_t)1 << 30;
    }
    CHECK(fclose(maps) == 0);
    return found;
}

static void *open_library(void)
{
    void *library = dlopen(path, RTLD_NOW | mode);
    if (library == NULL)
        dprintf(STDERR_FILENO, "%s\n", dlerror());
    CHECK(library != NULL);
    CHECK(region_is_reserved());
    hak.malloc = (void *(*)(size_t))symbol(library, "hak_malloc");
    hak.realloc = (void *(*)(void *, size_t))symbol(library, "hak_realloc");
    hak.free = (void (*)(void *))symbol(library, "hak_free");
    hak.usable = (size_t(*)(const void *))symbol(library, "hak_usable_size");
    hak.purge = (size_t(*)(void))symbol(library, "hak_purge");
    hak.version = (const char *(*)(void))symbol(library, "hak_version");
    return library;
}

/* Both heaps in turn. */
static void use(uint64_t seed)
{
    enum { KEPT = 64 };
    void *ours[KEPT] = {NULL}, *libcs[KEPT] = {NULL};
    size_t n[KEPT] = {0};
    uint64_t state = life_seed(seed);
    for (unsigned i = 0; i < 2000; i++) {
        unsigned k = life_random(&state) % KEPT;
        CHECK(ours[k] == NULL || (life_intact(ours[k], n[k]) && life_intact(libcs[k], n[k])));
        hak.free(ours[k]);
        free(libcs[k]);
        n[k] = life_size(&state, 4 << 20);
        ours[k] = hak.malloc(n[k]);
        libcs[k] = malloc(n[k]);
        CHECK(ours[k] != NULL && libcs[k] != NULL && hak.usable(ours[k]) >= n[k]);
        life_stamp(ours[k], n[k]);
        life_stamp(libcs[k], n[k]);
    }
    for (unsigned k = 0; k < KEPT; k++) {
        CHECK(ours[k] == NULL || (life_intact(ours[k], n[k]) && life_intact(libcs[k], n[k])));
        hak.free(ours[k]);
        free(libcs[k]);
    }
}

static pthread_barrier_t opened, closed;

static void *born_before(void *arg)
{
    pthread_barrier_wait(&opened);
    use((uintptr_t)arg);
    pthread_barrier_wait(&closed); /* ends after dlclose */
    life_exercise(1, 50, 1 << 20);
    return NULL;
}

static void *born_after(void *arg)
{
    use((uintptr_t)arg);
    return NULL;
}

static void *only_libc(void *arg)
{
    life_exercise(2, 50, 1 << 20);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    path = argv[1];
    mode = strcmp(argv[2], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL;
    CHECK(getenv("LD_PRELOAD") == NULL);
    CHECK(dlsym(RTLD_DEFAULT, "hak_malloc") == NULL);
    alarm(60);
    pthread_barrier_init(&opened, NULL, 3);
    pthread_barrier_init(&closed, NULL, 3);
    pthread_t before[2], after[4];
    for (unsigned i = 0; i < 2; i++)
        before[i] = life_thread(born_before, (void *)(uintptr_t)i);

    void *from_libc = life_malloc(5000);
    void *library = open_library();
    printf("hakmem %s\n", hak.version());
    life_free(from_libc, 5000); /* libc's malloc serves this program, as before */
    use(7);
    pthread_barrier_wait(&opened);
    for (unsigned i = 0; i < 4; i++)
        after[i] = life_thread(born_after, (void *)(uintptr_t)(10 + i));
    for (unsigned i = 0; i < 4; i++)
        life_join(after[i]);
    hak.purge();
    void *kept = hak.malloc(100000);
    life_stamp(kept, 100000);

    CHECK(dlclose(library) == 0);
    CHECK(life_intact(kept, 100000)); /* a heap with blocks in it does not go away */
    pthread_barrier_wait(&closed);
    for (unsigned i = 0; i < 2; i++)
        life_join(before[i]);
    life_join(life_thread(only_libc, NULL));
    return 0;
}
