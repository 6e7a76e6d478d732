/* SPDX-License-Identifier: MIT
 *
 * Plugins under a preloaded hakmem. With RTLD_DEEPBIND a plugin looks names up in its own
 * libraries first and so finds libc's malloc: the first block that crosses over to the program
 * would end the process. hakmem takes the flag away, and dlopen must be none the worse for it.
 */
#include "life.h"

#include "plugin.h"

/* Found by name alone: in this program's RUNPATH. dlopen uses the RUNPATH of its caller, which
 * must still be this program after somebody put himself in between. */
#define PLUGIN "liblife_plugin.so"

static const struct plugin *load(const char *file, int flags, void **library)
{
    *library = dlopen(file, flags);
    if (*library == NULL)
        dprintf(STDERR_FILENO, "%s\n", dlerror());
    CHECK(*library != NULL);
    const struct plugin *p = dlsym(*library, "plugin");
    CHECK(p != NULL);
    return p;
}

static void exchange(const struct plugin *p)
{
    static const size_t sizes[] = {0, 8, 100, 3000, 40000, 700000, 40 << 20};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        p->takes(life_malloc(n), n);
        life_free(p->gives(n), n);
        void *b = p->gives(n);
        CHECK(p->usable(b) >= n);
        b = realloc(b, 2 * n + 1);
        b = p->grows(b, n + 1);
        b = realloc(b, n + 1);
        CHECK(b != NULL);
        free(b);
    }
    char *text = p->copies("text");
    CHECK(strcmp(text, "text") == 0);
    free(text);
    p->works();
}

static void *exchange_in_thread(void *arg)
{
    exchange(arg);
    return NULL;
}

static void with_flags(int flags)
{
    void *library;
    for (unsigned i = 0; i < 20; i++) {
        const struct plugin *p = load(PLUGIN, flags, &library);
        exchange(p);
        life_join(life_thread(exchange_in_thread, (void *)p));
        CHECK(dlclose(library) == 0);
    }
}

static void ordinary(void)
{
    with_flags(RTLD_NOW | RTLD_LOCAL);
}

static void deepbind(void)
{
    with_flags(RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    with_flags(RTLD_LAZY | RTLD_GLOBAL | RTLD_DEEPBIND);
}

/* dlopen in between passes everything else through: its other arguments, results and errors. */
static void dlopen_as_before(void)
{
    void *library;
    CHECK(dlopen(NULL, RTLD_NOW) != NULL);
    CHECK(dlopen("/nonexistent/library.so", RTLD_NOW | RTLD_DEEPBIND) == NULL);
    CHECK(strstr(dlerror(), "/nonexistent/library.so") != NULL);
    CHECK(dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD) == NULL); /* not loaded yet */
    load(PLUGIN, RTLD_NOW, &library);
    CHECK(dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD) == library);
}

/* A namespace of its own has a libc, and a malloc, of its own; nothing is exchanged with it. */
static void own_namespace(void)
{
    void *library = dlmopen(LM_ID_NEWLM, PLUGIN, RTLD_NOW);
    if (library == NULL)
        dprintf(STDERR_FILENO, "%s\n", dlerror());
    CHECK(library != NULL);
    const struct plugin *p = dlsym(library, "plugin");
    CHECK(p != NULL);
    for (unsigned i = 0; i < 20; i++) {
        p->works();
        p->takes(p->gives(i * 1000), i * 1000);
        life_exercise(i, 100, 1 << 20);
    }
    CHECK(dlclose(library) == 0);
    life_exercise(1, 100, 1 << 20);
}

LIFE_MAIN({"ordinary", ordinary}, {"deepbind", deepbind},
          {"dlopen_as_before", dlopen_as_before}, {"own_namespace", own_namespace})
