/* SPDX-License-Identifier: MIT
 *
 * launch: run one command and write down what it took.
 *
 *   launch -o REPORT [-i STDIN] [-e NAME=VALUE]... COMMAND [ARGUMENT]...
 *
 * A small program, because the kernel counts what a process was before exec towards its peak
 * memory: measured from here that is 1 or 2 MB, from Python it would be Python's 10. What -e
 * sets, LD_PRELOAD above all, the command alone gets.
 *
 * REPORT gets lines "name value". Of the command and those of its children that it waited for:
 *   wall user sys     seconds
 *   peak              KiB; of the process among them that had most
 *   minor major       page faults
 *   switched          times the processor was taken away from it
 *   status signal     how it ended; the other one of the two is 0
 * and of the machine:
 *   other             seconds of processor time that others took meanwhile, and the host
 *                     (steal)
 *   before after      seconds that a fixed loop took, directly before and after the command
 * The exit status is 0 whenever there is a report.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static _Noreturn void fail(const char *what, int error)
{
    fprintf(stderr, "launch: %s: %s\n", what, strerror(error));
    exit(125);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* The fixed loop: some 10 ms of arithmetic that touches no memory. The best of three, so that
 * one interrupt does not count, but a slower or shared core does. */
static double calibrate(void)
{
    double best = 1e9;
    for (int try = 0; try < 3; try++) {
        double start = now();
        uint64_t x = 1;
        for (int i = 0; i < 3000000; i++)
            x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
        __asm__ volatile("" : : "r"(x));
        double took = now() - start;
        best = took < best ? took : best;
    }
    return best;
}

/* Processor time that all processes and the host took since boot, in seconds. */
static double machine_busy(void)
{
    FILE *f = fopen("/proc/stat", "r");
    double t[8] = {0};
    if (f == NULL)
        return 0;
    int n = fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &t[0], &t[1], &t[2], &t[3], &t[4],
                   &t[5], &t[6], &t[7]);
    fclose(f);
    double sum = t[0] + t[1] + t[2] + t[5] + t[6] + t[7]; /* without idle and waiting */
    return n == 8 ? sum / (double)sysconf(_SC_CLK_TCK) : 0;
}

int main(int argc, char **argv)
{
    const char *report = NULL, *input = "/dev/null";
    for (int c; (c = getopt(argc, argv, "+o:i:e:")) != -1;) {
        if (c == 'o')
            report = optarg;
        else if (c == 'i')
            input = optarg;
        else if (c != 'e' || putenv(optarg) != 0)
            return 125;
    }
    if (report == NULL || optind == argc) {
        fputs("usage: launch -o REPORT [-i STDIN] [-e NAME=VALUE]... COMMAND [ARGUMENT]...\n",
              stderr);
        return 125;
    }
    FILE *out = fopen(report, "we");
    if (out == NULL)
        fail(report, errno);
    if (access(input, R_OK) != 0)
        fail(input, errno);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, input, O_RDONLY, 0);

    double before = calibrate(), busy = machine_busy(), start = now();
    pid_t pid;
    int error = posix_spawnp(&pid, argv[optind], &files, NULL, argv + optind, environ);
    if (error != 0)
        fail(argv[optind], error);
    int status;
    struct rusage u;
    while (wait4(pid, &status, 0, &u) != pid)
        if (errno != EINTR)
            fail("wait4", errno);
    double wall = now() - start;
    double cpu = seconds(u.ru_utime) + seconds(u.ru_stime);
    double other = machine_busy() - busy - cpu;
    double after = calibrate();

    fprintf(out,
            "wall %.6f\nuser %.6f\nsys %.6f\npeak %ld\nminor %ld\nmajor %ld\nswitched %ld\n",
            wall, seconds(u.ru_utime), seconds(u.ru_stime), u.ru_maxrss, u.ru_minflt,
            u.ru_majflt, u.ru_nivcsw);
    fprintf(out, "status %d\nsignal %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 0,
            WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    fprintf(out, "other %.3f\nbefore %.6f\nafter %.6f\n", other > 0 ? other : 0, before, after);
    if (fclose(out) != 0)
        fail(report, errno);
    return 0;
}
