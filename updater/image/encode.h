/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_ENCODE_H
#define UPDATER_IMAGE_ENCODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/image/index.h"
#include "updater/image/unpack.h"

struct sys;
struct image_split;

/* For the publisher: from an image to its blobs. */

/* Bytes of the input done; negative cancels (-ECANCELED). */
typedef int (*image_encode_progress_fn)(void *arg, uint64_t done, uint64_t total);

struct image_encode_job {
	struct sys *sys;
	int fd;           /* input, from its start */
	uint64_t bytes;   /* its length, 1 or more; for image_encode() a multiple of IMAGE_BLOCK */
	int level;        /* of zstd, 1 to 22; 0: IMAGE_LEVEL */
	unsigned threads; /* 0: one per core */
	const struct image_split
		*split;   /* image_encode(): where its frames end; they must fill it */
	image_put_fn put; /* receives the seekable blob front to back, on the caller's thread */
	void *put_arg;
	image_encode_progress_fn progress; /* may be NULL */
	void *progress_arg;
};
#define IMAGE_LEVEL 19

/*
 * Compresses a file (a UKI) to a seekable blob; *ret_bytes is the blob's length. The same input,
 * level and libzstd give the same bytes, whatever the number of threads.
 */
int image_pack(const struct image_encode_job *job, uint64_t *ret_bytes, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The same for an image, building its tree on the way: root hash and data_blocks are filled into
 * *id with index_bytes, and the caller has set its salt; the index blob is appended to
 * index_out, whose `max` is raised to its length. ERR_INPUT -EINVAL: length not a multiple of
 * IMAGE_BLOCK, -EFBIG: beyond IMAGE_BLOCKS_MAX.
 */
int image_encode(const struct image_encode_job *job, struct image_id *id, struct buf *index_out,
		 uint64_t *ret_bytes, struct err *e) __attribute__((warn_unused_result));

/* What kind of image it is, for warnings before it is published. */
struct image_facts {
	enum image_kind { IMAGE_UNKNOWN, IMAGE_EROFS, IMAGE_SQUASHFS, IMAGE_EXT4 } kind;
	bool compressed;     /* erofs: with any compression feature */
	bool inline_data;    /* erofs: a regular file ends beside its inode */
	bool packed_modules; /* erofs: there are files *.ko.xz, *.ko.zst or *.ko.gz */
	uint64_t fs_bytes;   /* erofs: what its superblock says it is long; 0 when unknown */
};
int image_inspect(struct sys *sys, int fd, struct image_facts *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The i-th sentence (from 0) about what makes updates of such an image larger than they need to
 * be and how to build it better; NULL behind the last. Static text.
 */
const char *image_advice(const struct image_facts *f, unsigned i);

#endif
