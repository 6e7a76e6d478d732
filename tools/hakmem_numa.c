/* SPDX-License-Identifier: MIT
 *
 * hakmem-numa PID
 * hakmem-numa --preload LIBRARY COMMAND [ARGUMENT]...
 *
 * What `hakmem numa` shows: how much of a process's memory is meant for each NUMA node, and how much of
 * it is there. It reads hakmem's records in that process, which does not notice, and asks the kernel
 * for the pages through libnuma (move_pages). A command is looked at when it ends, its memory still
 * there (PTRACE_O_TRACEEXIT). Its status is this program's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <numa.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "superslab/ss_internal.h"

static const char *subject; /* PID or command, for messages */

static int fault(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "hakmem: numa %s: ", subject);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return 2;
}

/* ---- The other process's memory. ---- */

static bool peek(pid_t pid, const void *from, void *to, size_t bytes)
{
    struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)from, bytes};
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)bytes;
}

/* Where the process has its libhakmem.so, and which file that is. false: it has none. */
static bool library_find(pid_t pid, uintptr_t *base, char *path, size_t size)
{
    char name[64], line[4200];
    snprintf(name, sizeof(name), "/proc/%d/maps", pid);
    FILE *maps = fopen(name, "r");
    bool found = false;
    while (maps != NULL && !found && fgets(line, sizeof(line), maps) != NULL) {
        char *file = strchr(line, '/');
        unsigned long start, offset;
        if (file == NULL || strstr(file, "/libhakmem.so") == NULL ||
            sscanf(line, "%lx-%*x %*s %lx", &start, &offset) != 2 || offset != 0)
            continue;
        *base = start;
        file[strcspn(file, "\n")] = '\0';
        snprintf(path, size, "/proc/%d/root%s", pid, file);
        found = true;
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}

/* How far behind its base a library has its hak_view; 0: it has none. */
static size_t view_offset(const char *path)
{
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    char *view = library != NULL ? dlsym(library, "hak_view") : NULL;
    Dl_info info;
    return view != NULL && dladdr(view, &info) != 0 ? (size_t)(view - (char *)info.dli_fbase)
                                                    : 0;
}

/* ---- What is to be seen. ---- */

static struct ss_region region;
static struct ss_part parts[SS_PARTS_MAX];
static struct ss_class classes[SS_NCLASS];
static struct os_ids ids[OS_NODES_MAX + 1];
static struct heap {
    uint64_t block_bytes, dirty_bytes;
    unsigned heaps;
} of_node[SS_PARTS_MAX];

static bool heap_read(pid_t pid, const struct ss_heap *at)
{
    static struct ss_heap h;
    if (!peek(pid, at, &h, sizeof(h)) || h.node >= SS_PARTS_MAX)
        return false;
    struct heap *n = &of_node[h.node];
    n->heaps++;
    n->dirty_bytes += h.dirty.units << SS_UNIT_SHIFT;
    for (unsigned c = 0; c < SS_NCLASS; c++)
        n->block_bytes += h.stats.out[c] * classes[c].size;
    return true;
}

static bool records_read(pid_t pid, const struct ss_view *v)
{
    unsigned nheaps;
    static struct ss_heap *heaps[SS_HEAPS_MAX];
    if (!peek(pid, v->region, &region, sizeof(region)) || region.nparts > SS_PARTS_MAX ||
        region.nnodes > region.nparts ||
        !peek(pid, region.part, parts, region.nparts * sizeof(parts[0])) ||
        !peek(pid, region.node_ids, ids, region.nnodes * sizeof(ids[0])) ||
        !peek(pid, v->classes, classes, sizeof(classes)) ||
        !peek(pid, (const void *)(uintptr_t)v->nheaps, &nheaps, sizeof(nheaps)) ||
        nheaps >= SS_HEAPS_MAX || !peek(pid, v->heaps, heaps, (nheaps + 1) * sizeof(heaps[0])))
        return false;
    for (unsigned id = 1; id <= nheaps; id++)
        if (!heap_read(pid, heaps[id]))
            return false;
    return true;
}

/* Pages of a part that are there, and of them those on its node: all, or 65,536 evenly spread. */
static bool pages_look(pid_t pid, unsigned part, struct os_where *out)
{
    enum { MOST = 65536 };
    static void *page[MOST];
    static int status[MOST];
    const struct ss_part *p = &parts[part];
    size_t bytes = (p->frontier - p->first) << SS_UNIT_SHIFT, size = (size_t)getpagesize();
    size_t stride = (bytes / size + MOST - 1) / MOST, n = 0;
    bool any = os_ids_count(&ids[part]) == 0 || part == region.nnodes;
    *out = (struct os_where){0, 0};
    for (size_t at = 0; stride > 0 && at < bytes; at += stride * size)
        page[n++] = region.base + (p->first << SS_UNIT_SHIFT) + at;
    if (n > 0 && numa_move_pages(pid, n, page, NULL, status, 0) != 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        out->present += status[i] >= 0;
        out->there += status[i] >= 0 && (any || os_ids_has(&ids[part], (unsigned)status[i]));
    }
    return true;
}

static int first_id(unsigned node)
{
    int id = 0;
    while (id < OS_NODE_IDS && !os_ids_has(&ids[node], (unsigned)id))
        id++;
    return id < OS_NODE_IDS ? id : 0;
}

static void name_write(char *out, size_t size, unsigned part)
{
    size_t n = 0;
    snprintf(out, size, "%s",
             part < region.nnodes && os_ids_count(&ids[part]) > 0 ? "" : "all");
    for (unsigned id = 0; id < OS_NODE_IDS && part < region.nnodes && n < size; id++)
        if (os_ids_has(&ids[part], id))
            n += (size_t)snprintf(out + n, size - n, "%s%u", n > 0 ? "+" : "", id);
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static int part_show(pid_t pid, unsigned part)
{
    char name[64];
    struct os_where pages;
    const struct ss_part *p = &parts[part];
    name_write(name, sizeof(name), part);
    fprintf(stderr, "%-8s %10.1f %12.1f", name, mib(of_node[part].block_bytes + p->run_bytes),
            mib(of_node[part].dirty_bytes + (p->dirty.units << SS_UNIT_SHIFT)));
    if (!pages_look(pid, part, &pages)) {
        fputc('\n', stderr);
        return fault("its pages cannot be seen: %s", strerror(errno));
    }
    double share =
        pages.present > 0 ? 100.0 * (double)pages.there / (double)pages.present : 100;
    fprintf(stderr, " %10zu %8.1f %6u ", pages.present, share, of_node[part].heaps);
    for (unsigned to = 0; part < region.nnodes && to < region.nnodes; to++)
        fprintf(stderr, " %d", numa_distance(first_id(part), first_id(to)));
    fputc('\n', stderr);
    return 0;
}

static int show(pid_t pid)
{
    char path[4300];
    uintptr_t base;
    struct ss_view v;
    if (!library_find(pid, &base, path, sizeof(path)))
        return fault("expected a process that has libhakmem.so loaded, and may be looked into");
    size_t offset = view_offset(path);
    if (offset == 0)
        return fault("its library has nothing to look at: %s", path);
    if (!peek(pid, (const void *)(base + offset), &v, sizeof(v)))
        return fault("it may not be looked into: %s", strerror(errno));
    if (v.view_bytes != sizeof(v) || v.region_bytes != sizeof(region) ||
        v.heap_bytes != sizeof(struct ss_heap) || v.class_bytes != sizeof(struct ss_class))
        return fault("its library is of another build than this program");
    if (!records_read(pid, &v))
        return fault("its records cannot be read");
    if (region.nnodes == 0) {
        fprintf(stderr, "%s: has asked hakmem for nothing yet\n", subject);
        return 0;
    }
    fprintf(stderr, "%s: %u node%s\n%-8s %10s %12s %10s %8s %6s  %s\n", subject, region.nnodes,
            region.nnodes == 1 ? "" : "s", "node", "live MiB", "cached MiB", "pages", "there %",
            "heaps", "distances");
    int status = 0;
    for (unsigned part = 0; part < region.nparts && status == 0; part++)
        status = part_show(pid, part);
    return status;
}

/* ---- A command. ---- */

static _Noreturn void command_exec(const char *preload, char **argv, int go)
{
    char byte, value[8192];
    const char *old = getenv("LD_PRELOAD");
    if (read(go, &byte, 1) != 1)
        _exit(126);
    close(go);
    snprintf(value, sizeof(value), "%s%s%s", preload, old != NULL && *old != '\0' ? ":" : "",
             old != NULL ? old : "");
    setenv("LD_PRELOAD", value, 1);
    execvp(argv[0], argv);
    fault("%s", strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Until it ends; then it is shown. Returns its status as a shell has it. */
static int command_follow(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) == pid) {
        if (WIFEXITED(status))
            return WEXITSTATUS(status);
        if (WIFSIGNALED(status))
            return 128 + WTERMSIG(status);
        int event = status >> 16, signal = WSTOPSIG(status);
        if (event == PTRACE_EVENT_EXIT)
            (void)show(pid);
        if (event == PTRACE_EVENT_STOP && signal != SIGTRAP)
            ptrace(PTRACE_LISTEN, pid, NULL, NULL); /* stopped, as any job may be */
        else
            ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)(event == 0 ? signal : 0));
    }
    return fault("lost: %s", strerror(errno));
}

static int command_run(const char *preload, char **argv)
{
    int go[2];
    if (pipe(go) != 0)
        return fault("%s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        command_exec(preload, argv, go[0]);
    }
    signal(SIGINT, SIG_IGN); /* for the command */
    signal(SIGQUIT, SIG_IGN);
    if (pid < 0 || ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACEEXIT) != 0) {
        int status = fault("it may not be looked into: %s", strerror(errno));
        close(go[1]); /* and so it is not run */
        return status;
    }
    if (write(go[1], "", 1) != 1)
        return fault("%s", strerror(errno));
    close(go[0]);
    close(go[1]);
    return command_follow(pid);
}

int main(int argc, char **argv)
{
    bool command = argc >= 4 && strcmp(argv[1], "--preload") == 0;
    char *end = NULL;
    long pid = argc == 2 ? strtol(argv[1], &end, 10) : 0;
    subject = command ? argv[3] : argc > 1 ? argv[1] : "";
    if (!command && (pid <= 0 || *end != '\0' || pid > INT32_MAX))
        return fault("expected a process's number, or -- and a command");
    if (numa_available() < 0)
        return fault("the kernel does not tell of nodes");
    return command ? command_run(argv[2], argv + 3) : show((pid_t)pid);
}
