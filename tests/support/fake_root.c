/* SPDX-License-Identifier: MIT
 *
 * fake_root: see fake_root.h.
 */
#include "support/fake_root.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/hak_test.h"

static char root[64];

const char *fake_root_path(void)
{
    return root;
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void fake_root_remove(void)
{
    if (root[0] != '\0')
        REQUIRE(nftw(root, entry_remove, 16, FTW_DEPTH | FTW_PHYS) == 0);
    root[0] = '\0';
}

const char *fake_root_make(void)
{
    if (root[0] == '\0') {
        strcpy(root, "/tmp/hak_root_XXXXXX");
        REQUIRE(mkdtemp(root) != NULL);
        return root;
    }
    int saved = errno;
    REQUIRE(nftw(root, entry_remove, 16, FTW_DEPTH | FTW_PHYS) == 0);
    REQUIRE(mkdir(root, 0700) == 0);
    errno = saved;
    return root;
}

void fake_root_put(const char *path, const char *text)
{
    char file[4096];
    int saved = errno;
    int n = snprintf(file, sizeof(file), "%s%s", root, path);
    REQUIRE(n > 0 && (size_t)n < sizeof(file) && path[0] == '/');
    if (text == NULL) {
        REQUIRE(unlink(file) == 0);
        return;
    }
    for (char *c = file + strlen(root) + 1; (c = strchr(c, '/')) != NULL; c++) {
        *c = '\0';
        (void)mkdir(file, 0700); /* it may be there */
        *c = '/';
    }
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    errno = saved;
}
