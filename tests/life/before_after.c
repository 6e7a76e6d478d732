/* SPDX-License-Identifier: MIT
 *
 * Before main and after it: every phase of a process allocates, and frees blocks of each phase
 * before it. The phases in order: preinit, constructor(101), constructor, main, atexit
 * handlers, destructor, destructor(101), and around them the constructor and destructor of a
 * preloaded library. A thread keeps allocating through the whole exit.
 *
 * usage: before_after PRELOAD            (the value of LD_PRELOAD for the run)
 */
#include "life.h"

enum { PHASES = 8, SIZES = 6 };

static const size_t sizes[SIZES] = {16, 300, 9000, 70000, 900000, 40 << 20};

/* block[a][b]: allocated in phase a, to be freed in phase b > a. */
static struct {
    void *p;
    size_t n;
} block[PHASES][PHASES];

static void phase(unsigned now, const char *name)
{
    static unsigned reached;
    CHECK(reached == now);
    reached = now + 1;
    for (unsigned a = 0; a < now; a++)
        life_free(block[a][now].p, block[a][now].n);
    for (unsigned b = now + 1; b < PHASES; b++) {
        block[now][b].n = sizes[(now + b) % SIZES];
        block[now][b].p = life_malloc(block[now][b].n);
    }
    life_exercise(now, 100, 1 << 20);
    dprintf(STDOUT_FILENO, "%s\n", name);
}

static void *busy(void *stop)
{
    for (unsigned seed = 0; !atomic_load((atomic_bool *)stop); seed++)
        life_exercise(seed, 50, 64 << 10);
    return NULL;
}

static void preinit(int argc, char **argv)
{
    if (argc == 1)
        phase(0, "preinit");
}

LIFE_PREINIT(preinit);

static bool child; /* set by the constructor: only it and preinit are given argc */

__attribute__((constructor(101))) static void constructor_101(int argc, char **argv)
{
    child = argc == 1;
    if (child)
        phase(1, "constructor 101");
}

__attribute__((constructor)) static void constructor(void)
{
    if (child)
        phase(2, "constructor");
}

static void at_exit_first(void)
{
    phase(5, "atexit, registered first");
}

static void at_exit_last(void)
{
    phase(4, "atexit, registered last");
}

__attribute__((destructor)) static void destructor(void)
{
    if (child)
        phase(6, "destructor");
}

__attribute__((destructor(101))) static void destructor_101(void)
{
    if (child)
        phase(7, "destructor 101");
}

static const char expected[] = "preinit\nconstructor 101\nconstructor\nmain\n"
                               "atexit, registered last\natexit, registered first\n"
                               "destructor\ndestructor 101\nlibrary destructor\n";

static int run_and_compare(const char *self, const char *preload)
{
    int out[2];
    CHECK(pipe(out) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        setenv("LD_PRELOAD", preload, 1);
        alarm(30);
        execl(self, self, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    char text[1024];
    size_t length = 0;
    for (ssize_t n; length < sizeof text - 1; length += (size_t)n) {
        n = read(out[0], text + length, sizeof text - 1 - length);
        if (n <= 0)
            break;
    }
    text[length] = '\0';
    life_reap(pid, 0);
    if (strcmp(text, expected) == 0)
        return 0;
    dprintf(STDERR_FILENO, "expected:\n%sgot:\n%s", expected, text);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return run_and_compare(argv[0], argv[1]);
    static atomic_bool never;
    life_need_hakmem();
    life_thread(busy, &never);
    phase(3, "main");
    atexit(at_exit_first);
    atexit(at_exit_last);
    return 0;
}
