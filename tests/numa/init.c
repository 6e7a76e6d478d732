/* SPDX-License-Identifier: MIT
 *
 * numa: the first and only program of the machine that boot.py boots. Runs the lines of /list, one after
 * another: settings NAME=VALUE, a program, arguments, parted by blanks. What they print goes to the
 * second serial port; "case N: status S" goes to the console.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* On the first CPU, so that what runs before main is of node 0. */
static int run(char *line, int number)
{
    enum { MOST = 32 };
    char *argv[MOST + 1] = {NULL}, *save;
    int n = 0;
    pid_t pid = fork();
    if (pid == 0) {
        cpu_set_t first;
        CPU_ZERO(&first);
        CPU_SET(0, &first);
        sched_setaffinity(0, sizeof(first), &first);
        for (char *w = strtok_r(line, " \n", &save); w != NULL && n < MOST;
             w = strtok_r(NULL, " \n", &save)) {
            if (n == 0 && strchr(w, '=') != NULL)
                putenv(w);
            else
                argv[n++] = w;
        }
        int fd = open("/dev/ttyS1", O_WRONLY);
        if (n == 0 || fd < 0 || dup2(fd, 1) != 1 || dup2(fd, 2) != 2)
            _exit(126);
        printf("-- case %d\n", number);
        fflush(stdout);
        execv(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    int status = -1;
    if (pid > 0)
        waitpid(pid, &status, 0);
    return status;
}

int main(void)
{
    char line[512];
    mount("none", "/proc", "proc", 0, NULL);
    mount("none", "/sys", "sysfs", 0, NULL);
    mount("none", "/dev", "devtmpfs", 0, NULL);
    FILE *f = fopen("/list", "r");
    printf("cases: start\n");
    fflush(stdout);
    for (int n = 0; f != NULL && fgets(line, sizeof(line), f) != NULL; n++) {
        int status = run(line, n);
        printf("case %d: status %d\n", n, status);
        fflush(stdout);
    }
    printf("cases: done\n");
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
