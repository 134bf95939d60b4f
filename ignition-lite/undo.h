/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_UNDO_H
#define IGNITION_LITE_UNDO_H

#include <stdbool.h>

#include "base/err.h"
#include "ignition-lite/root.h"

/*
 * What makes provisioning all or nothing. Before the first step a log of everything that the steps
 * may touch lies durable in /etc/.ignition-lite.undo of the root; after a failure, or a power cut
 * at any instant, it leads back to the tree as it was:
 *
 *   new      the path (or the first missing directory above it) was not there: it is removed
 *   keep     a file was there: a hard link beside it holds it, and is renamed back
 *   link     a symbolic link was there: it is made again
 *   displace a directory was there that the config overwrites: it is renamed aside, and back
 *   meta     only mode and owner may change: they are set back
 *   move     a user's home directory may be moved: it is moved back
 *   mounts   file systems that are mounted meanwhile: what is on them is put back, then they go
 *
 * No file is copied, so contents, attributes and times come back exactly. Going back twice is the
 * same as once. The log names its run; the stamp of a finished run names it too, which tells a cut
 * before the end from one behind it.
 */
struct ign_undo;

#define IGN_UNDO_LOG "/etc/.ignition-lite.undo"
#define IGN_TMP                                                                                    \
	".ignition-lite-tmp" /* what is being written, in the directory where it will be           \
			      */
enum { IGN_RUN_TEXT = 33 };  /* 16 random bytes as hex digits, with NUL */

int ign_undo_new(const struct ign_root *root, struct ign_undo **ret, struct err *e)
	__attribute__((warn_unused_result));
void ign_undo_free(struct ign_undo *u);
static inline void ign_undo_freep(struct ign_undo **u)
{
	ign_undo_free(*u);
}
#define AUTO_IGN_UNDO __attribute__((cleanup(ign_undo_freep))) struct ign_undo

const char *ign_undo_run(const struct ign_undo *u);

/*
 * Does the log lie below path (as ign_root_find() resolved it), so that it would go with what is
 * there, or be covered by what is mounted there? 1 or 0. The stamp lies beside it.
 */
int ign_undo_below(const struct ign_root *root, const char *path, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The step will write, replace or remove what is at path. overwrite: a directory there as well,
 * which is refused of one that the log lies below.
 */
int ign_undo_add(struct ign_undo *u, const char *path, bool overwrite, struct err *e)
	__attribute__((warn_unused_result));
/* The step will change mode and owner of what is at path, or make it. */
int ign_undo_add_meta(struct ign_undo *u, const char *path, struct err *e)
	__attribute__((warn_unused_result));
/* The step may change owners of path and all below it, contents never (usermod(8) of a home). */
int ign_undo_add_tree(struct ign_undo *u, const char *path, struct err *e)
	__attribute__((warn_unused_result));
int ign_undo_add_move(struct ign_undo *u, const char *from, const char *to, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Mounts a file system (see mount.h) for the time until ign_undo_commit() or ign_undo_back(), which
 * unmount it. Begins (see below) first, so that what a cut leaves is found. Refused where the log
 * would be covered.
 */
int ign_undo_mount(struct ign_undo *u, const char *device, const char *path, const char *type,
		   const char *options, struct err *e) __attribute__((warn_unused_result));

/* What ign_undo_mount() refuses, found without touching anything. */
int ign_undo_check_mount(const struct ign_root *root, const char *device, const char *path,
			 struct err *e) __attribute__((warn_unused_result));

/*
 * The log is durable and the hard links are made when it returns. Makes /etc if it is missing. May
 * be called again when more was added.
 */
int ign_undo_begin(struct ign_undo *u, struct err *e) __attribute__((warn_unused_result));

/*
 * As ign_root_find(), behind ign_undo_begin(), for what is then changed: ERR_INPUT when the log
 * does not cover the place, because the config itself changed where the path leads.
 */
int ign_undo_find(struct ign_undo *u, const char *path, bool make, struct ign_spot *ret,
		  struct err *e) __attribute__((warn_unused_result));

/* Makes the place of s empty: what was there at the beginning goes aside, anything else away. */
int ign_undo_clear(struct ign_undo *u, const struct ign_spot *s, struct err *e)
	__attribute__((warn_unused_result));

/* All that was done is on the medium when it returns. */
int ign_undo_sync(const struct ign_undo *u, struct err *e) __attribute__((warn_unused_result));

/* Everything is done and durable: removes what was kept, then the log. */
int ign_undo_commit(struct ign_undo *u, struct err *e) __attribute__((warn_unused_result));

/* Back to the beginning; the log goes last. */
int ign_undo_back(struct ign_undo *u, struct err *e) __attribute__((warn_unused_result));

/* Reads a log that an earlier run left: 1 and *ret, or 0 if there is none. */
int ign_undo_found(const struct ign_root *root, struct ign_undo **ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
