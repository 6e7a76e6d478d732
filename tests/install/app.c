/* SPDX-License-Identifier: MIT
 *
 * A program that links with hakmem: its malloc is hakmem's, and both sets of names share a
 * heap. A foreign pointer would end it, so each free below is a check.
 */
#include <hakmem.h>

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *(*volatile do_malloc)(size_t) =
    malloc; /* volatile: the compiler may drop no pair */
static void (*volatile do_free)(void *) = free;

static void *worker(void *passed)
{
    do_free(passed);
    return do_malloc(300);
}

int main(void)
{
    hak_free(do_malloc(100));
    do_free(hak_malloc(100));
    if (hak_usable_size(do_malloc(5000)) < 5000 || mallinfo2().uordblks < 5000)
        return 1;
    char *text = strdup("allocated inside the C library");
    if (hak_usable_size(text) < strlen(text) + 1)
        return 2;
    do_free(text);

    pthread_t thread;
    void *from_thread;
    if (pthread_create(&thread, NULL, worker, do_malloc(200)) != 0)
        return 3;
    pthread_join(thread, &from_thread);
    hak_free(from_thread);

    pid_t child = fork();
    if (child == 0) {
        do_free(do_malloc(1 << 20));
        _exit(0);
    }
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0)
        return 4;
    printf("hakmem %s\n", hak_version());
    return 0;
}
