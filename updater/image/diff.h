/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_DIFF_H
#define UPDATER_IMAGE_DIFF_H

#include <stdint.h>

#include "base/err.h"
#include "updater/image/delta.h"
#include "updater/image/encode.h"

struct sys;

/* For the publisher: the delta blob between two releases. */

struct image_diff_file {
	int fd;                   /* a regular file, which nobody changes meanwhile: it is mapped */
	struct image_whole whole; /* its length, and what the manifest calls it by */
};

struct image_diff_job {
	struct sys *sys;
	unsigned unit; /* IMAGE_BLOCK for images, 1 for files */
	struct image_diff_file target;
	unsigned sources; /* 1, or 2: the base UKI, then the new /usr */
	struct image_diff_file source[IMAGE_DELTA_SOURCES];
	int level;        /* of zstd, 1 to 22; 0: IMAGE_LEVEL */
	size_t frame;     /* raw bytes, as image_delta_frame_fits(); 0: by how much is new */
	unsigned threads; /* 0: one per core */
	image_put_fn put; /* receives the blob front to back, on the caller's thread, at the end */
	void *put_arg;
	image_encode_progress_fn progress; /* bytes compressed of bytes that are new; may be NULL */
	void *progress_arg;
};

/* Bytes. What the target consists of, and what that takes in the blob. */
struct image_diff_stats {
	uint64_t in_place, moved, zero, fresh; /* add up to the target; in place: in source 0 */
	uint64_t blob, head;                   /* head: header and recipe, of the blob */
	size_t pieces, frames;
};

/*
 * The same input, level and libzstd give the same bytes, whatever the number of threads. Memory:
 * the mapped files, 192 MiB of tables for a base of 1 GiB, 15 MiB a thread besides what zstd takes,
 * and the blob. ERR_INPUT: -EINVAL lengths that are no whole units or empty, -EFBIG too large or
 * too different. -ECANCELED as image_encode().
 */
int image_diff(const struct image_diff_job *job, struct image_diff_stats *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
