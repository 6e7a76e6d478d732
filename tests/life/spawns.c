/* SPDX-License-Identifier: MIT
 *
 * Other programs started from a process whose threads are busy in malloc, in each way libc has.
 * posix_spawn, system and popen are a vfork inside: their child runs in the parent's memory
 * until it execs, and no fork handler is called.
 */
#include "life.h"

#include <spawn.h>

extern char **environ;

enum { THREADS = 4, SPAWNS = 60 };

static atomic_bool stop;

static void *busy(void *arg)
{
    for (uintptr_t seed = (uintptr_t)arg; !atomic_load(&stop); seed += THREADS)
        life_exercise(seed, 50, 1 << 20);
    return NULL;
}

static char *const true_argv[] = {(char *)"/bin/true", NULL};

static void by_posix_spawn(void)
{
    pid_t pid;
    posix_spawn_file_actions_t actions; /* its list is malloc's */
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) == 0);
    CHECK(posix_spawnp(&pid, "true", &actions, NULL, true_argv, environ) == 0);
    CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
    life_reap(pid, 0);
}

static void by_vfork(void)
{
    pid_t pid = vfork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execve(true_argv[0], true_argv, environ);
        _exit(127);
    }
    life_reap(pid, 0);
}

static void by_system(void)
{
    CHECK(system("exit 5") == 5 << 8);
}

static void by_popen(void)
{
    char line[16] = "";
    FILE *f = popen("echo abc", "r");
    CHECK(f != NULL && fgets(line, sizeof line, f) != NULL && pclose(f) == 0);
    CHECK(strcmp(line, "abc\n") == 0);
}

static void repeat(void (*spawn)(void))
{
    pthread_t t[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        t[i] = life_thread(busy, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < SPAWNS; i++) {
        spawn();
        life_exercise(i, 20, 1 << 20);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        life_join(t[i]);
}

static void posix_spawns(void)
{
    repeat(by_posix_spawn);
}

static void vforks(void)
{
    repeat(by_vfork);
}

static void systems(void)
{
    repeat(by_system);
}

static void popens(void)
{
    repeat(by_popen);
}

LIFE_MAIN({"posix_spawn", posix_spawns}, {"vfork", vforks}, {"system", systems},
          {"popen", popens})
