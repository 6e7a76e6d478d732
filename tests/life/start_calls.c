/* SPDX-License-Identifier: MIT
 *
 * What a start costs: hakmem's constructor runs between those of two libraries that mark the
 * place (mark.c), and the system calls made there are counted. A short process pays for each. Without
 * an option in the environment there is no start before something is allocated.
 *
 * Usage: start_calls LD_PRELOAD
 */
#include "life.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>

enum {
    MOST =
        9, /* memory, CPUs, nodes, RLIMIT_AS; window and tables reserved; no huge pages there, or the first
                 block would bring in 2 MiB where all have them; both ends of the tables */
    LEAST = 3,
};

static int calls_with(const char *library, char *option)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        char *args[] = {"true", NULL}, preload[4096];
        snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
        char *env[] = {preload, option, NULL};
        execve("/bin/true", args, env);
        _exit(127);
    }
    int status, marks = 0, calls = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        life_skip("ptrace is not allowed here");
    CHECK(WIFSTOPPED(status));
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) == 0);
    while (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
           WIFSTOPPED(status)) {
        struct __ptrace_syscall_info info;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) < 0) {
            kill(pid, SIGKILL);
            life_skip("the kernel does not tell a tracer's system calls");
        }
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        if (info.entry.nr == SYS_getsid)
            marks++;
        else if (marks == 1)
            calls++;
    }
    printf("%d calls between %d marks\n", calls, marks);
    CHECK(marks == 2 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return calls;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    int calls = calls_with(argv[1], "HAKMEM_LOG=warn");
    CHECK(calls >= LEAST && calls <= MOST);
    CHECK(calls_with(argv[1], NULL) == 0);
    return 0;
}
