/* SPDX-License-Identifier: MIT
 *
 * fake_root: a directory that a test fills with files as /proc and /sys would hold.
 *
 * Failures are REQUIREs. Made first by the parent, it is the same one in its children, so that the
 * parent can remove what they leave.
 */
#ifndef FAKE_ROOT_H
#define FAKE_ROOT_H

/* Make it, or empty it. Returns its path. */
const char *fake_root_make(void);
const char *fake_root_path(void);
/* Write a file, with the folders on the way. path starts with "/"; text NULL: remove it.
 * errno is kept. */
void fake_root_put(const char *path, const char *text);
/* Delete all of it. */
void fake_root_remove(void);

#endif /* FAKE_ROOT_H */
