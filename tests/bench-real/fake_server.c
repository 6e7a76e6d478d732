/* SPDX-License-Identifier: MIT
 *
 * A server that goes wrong, for the tests of bench/real/serve.py: it stands in for redis-server
 * and answers "+PONG" on its socket. HOW in the environment:
 *   start   exits with 3 before it opens its socket
 *   crash   kills itself at the first other command
 *   leave   exits with 0 there
 *   hang    writes its process number into the file PID_FILE there, and never answers
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static _Noreturn void misbehave(const char *how)
{
    if (strcmp(how, "crash") == 0)
        raise(SIGKILL);
    if (strcmp(how, "hang") == 0) {
        FILE *f = fopen(getenv("PID_FILE"), "w");
        fprintf(f, "%d\n", (int)getpid());
        fclose(f);
        for (;;)
            pause();
    }
    exit(0);
}

int main(int argc, char **argv)
{
    const char *how = getenv("HOW"), *path = NULL;
    free(malloc(100)); /* what is looked for in the linker's record */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--version") == 0)
            return 0;
        if (strcmp(argv[i], "--unixsocket") == 0 && i + 1 < argc)
            path = argv[i + 1];
    }
    if (how == NULL || path == NULL || strcmp(how, "start") == 0) {
        fprintf(stderr, "no room for the socket\n");
        return 3;
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 8) != 0)
        return 4;
    for (;;) {
        char text[4096] = {0};
        int client = accept(listener, NULL, NULL);
        if (read(client, text, sizeof text - 1) > 0 && strstr(text, "PING") == NULL)
            misbehave(how);
        if (write(client, "+PONG\r\n", 7) != 7)
            return 5;
        close(client);
    }
}
