/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_ROOT_H
#define IGNITION_LITE_ROOT_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"

/*
 * The tree that is provisioned. Every path is resolved below it, as chroot(2) would: "/" in a path
 * or in the target of a symbolic link is the root, ".." cannot leave it. Directories are opened one
 * component at a time with openat2(2), so nothing that an image or a config holds leads outside.
 */
struct ign_root {
	int fd;
	char path[PATH_MAX]; /* absolute, for programs that take --root; not ending in '/' but for
				"/" */
};

static inline void ign_fd_done(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
#define AUTO_IGN_FD __attribute__((cleanup(ign_fd_done))) int

/* path must be an existing directory. */
int ign_root_open(const char *path, struct ign_root *ret, struct err *e)
	__attribute__((warn_unused_result));
void ign_root_done(struct ign_root *root);
#define AUTO_IGN_ROOT __attribute__((cleanup(ign_root_done))) struct ign_root

/* Where a node is, or would be. */
struct ign_spot {
	int dir;                 /* its directory, -1 if that is missing */
	char name[NAME_MAX + 1]; /* in dir; "." for the root itself */
	char path[PATH_MAX]; /* below the root, absolute, without symbolic links above the name */
	char missing[PATH_MAX]; /* the first of its directories that is missing, "" if none is */
};
#define IGN_SPOT_INIT                                                                              \
	{                                                                                          \
		.dir = -1                                                                          \
	}

void ign_spot_done(struct ign_spot *s);
#define AUTO_IGN_SPOT __attribute__((cleanup(ign_spot_done))) struct ign_spot

/*
 * Finds the node at path (absolute). Symbolic links are followed in all but the last component, at
 * most 40 of them. make: missing directories are made (0755, root's); else dir is -1 then. Slashes
 * at the end of path say nothing, "." and ".." there are refused (ERR_INPUT), and so is ".." behind
 * a directory that is missing. path may be below a file (-ENOTDIR) or too long (-ENAMETOOLONG):
 * ERR_HOST with a sentence.
 */
int ign_root_find(const struct ign_root *root, const char *path, bool make, struct ign_spot *ret,
		  struct err *e) __attribute__((warn_unused_result));

/* lstat(2) of a spot: 1 and *ret, 0 when there is nothing. */
int ign_spot_stat(const struct ign_spot *s, struct stat *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Opens path for reading, all links followed inside the root. 0 and *ret -1 when there is none.
 * Only regular files.
 */
int ign_root_read_open(const struct ign_root *root, const char *path, int *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Removes name in dir and all below it; 0 when there is nothing. A mount point below is left and
 * is an error (-EBUSY, -EXDEV): what is on it may be anybody's. path is for the sentence.
 */
int ign_root_remove(int dir, const char *name, const char *path, struct err *e)
	__attribute__((warn_unused_result));

#endif
