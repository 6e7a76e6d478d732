/* SPDX-License-Identifier: MIT
 *
 * Names no allocation function itself: only the C library calls malloc here. It must run on
 * hakmem all the same; HAKMEM_SHOW=1 makes the library say that it is there.
 */
#include <stdio.h>

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    return getline(&line, &size, stdin) > 0 ? 0 : 1;
}
