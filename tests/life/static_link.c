/* SPDX-License-Identifier: MIT
 *
 * A program linked statically, with libhakmem.a in front of libc.a: malloc in the whole of it,
 * libc's own uses included, is ours. Threads, forks, destructors and a busy exit.
 */
#include "life.h"

#include <malloc.h>

#include "hakmem.h"

static pthread_key_t key;
static atomic_bool stop;

static void destroy(void *p)
{
    life_free(p, 100);
    life_exercise(1, 20, 64 << 10);
}

static void *works(void *arg)
{
    CHECK(pthread_setspecific(key, life_malloc(100)) == 0);
    life_exercise((uintptr_t)arg, 1000, 4 << 20);
    return NULL;
}

static void *busy(void *arg)
{
    for (uintptr_t seed = (uintptr_t)arg; !atomic_load(&stop); seed += 4)
        life_exercise(seed, 50, 64 << 10);
    return NULL;
}

static void at_exit(void)
{
    life_exercise(3, 100, 1 << 20);
}

int main(void)
{
    alarm(60);
    /* malloc is hakmem's: the hak_ functions know its blocks, also those libc asked for. */
    char *copy = strdup("a block libc asked for");
    CHECK(copy != NULL && hak_usable_size(copy) >= strlen(copy) + 1);
    CHECK(malloc_usable_size(copy) == hak_usable_size(copy));
    free(copy);

    CHECK(pthread_key_create(&key, destroy) == 0);
    pthread_t t[4];
    for (unsigned i = 0; i < 4; i++)
        t[i] = life_thread(works, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < 4; i++)
        life_join(t[i]);
    for (unsigned i = 0; i < 4; i++)
        life_thread(busy, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < 50; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(20);
            life_exercise(i, 200, 40 << 20);
            life_join(life_thread(works, (void *)(uintptr_t)i));
            exit(0);
        }
        life_reap(pid, 0);
    }
    atexit(at_exit);
    return 0; /* with four threads in malloc */
}
