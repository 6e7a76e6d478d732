/* SPDX-License-Identifier: MIT
 *
 * A preloaded library whose constructor makes one system call that nobody else makes.
 */
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((constructor)) static void mark(void)
{
    (void)syscall(SYS_getsid, 0);
}
