/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>

#include "base/err.h"

struct sys;

/*
 * Makes `name` in `dir` hold exactly data[0..n). After a power cut at any instant the name holds
 * the whole old or the whole new content; after success it holds the new content for good.
 * The temporary name is ".<name>.new"; mode is that of a newly made file (as open(2)).
 */
int file_replace(struct sys *sys, int dir, const char *name, const void *data, size_t n,
		 struct err *e) __attribute__((warn_unused_result));

/*
 * Reads a whole file of at most max bytes into fresh memory; *ret is NUL-terminated behind its
 * *ret_n bytes (the NUL is not counted) and freed by the caller. -ENOENT (kind HOST) when absent,
 * -EFBIG (kind INPUT) when larger. Works on files whose size is unknown (procfs, sysfs) too.
 */
int file_read(struct sys *sys, int dir, const char *name, size_t max, char **ret, size_t *ret_n,
	      struct err *e) __attribute__((warn_unused_result));

/* Makes directory `name` in `dir` if it is not there; its parent is synced. */
int file_mkdir(struct sys *sys, int dir, const char *name, struct err *e)
	__attribute__((warn_unused_result));

/* Unlinks `name` if it is there, then syncs `dir`. */
int file_remove(struct sys *sys, int dir, const char *name, struct err *e)
	__attribute__((warn_unused_result));

#endif
