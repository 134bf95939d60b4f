/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_BLOB_H
#define PUBLISHER_BLOB_H

#include <stdint.h>

#include "base/err.h"
#include "base/sys.h"
#include "publisher/repo.h"
#include "updater/image/index.h"
#include "updater/image/unpack.h"
#include "updater/release/manifest.h"

/* The blobs of a repository: made, read, restored. */

/* Gives the bytes of a new blob to put(). */
typedef int (*blob_fill_fn)(void *arg, image_put_fn put, void *put_arg, struct err *e);

/*
 * Makes a blob and puts it in its place, durably; its SHA-256 and length are filled into *b. One of
 * more than `most` bytes is thrown away. 1: stored; 0: thrown away. -ECANCELED as pace_stopped(),
 * ERR_HOST: writing failed; others as fill.
 */
int blob_store(const struct repo *r, uint64_t most, blob_fill_fn fill, void *arg,
	       struct release_blob *b, struct err *e) __attribute__((warn_unused_result));

/*
 * Opens the blob of a repository (dir) and proves that its length and SHA-256 are what the manifest
 * says; ERR_REFUSED otherwise.
 */
int blob_open(int dir, const struct release_blob *b, struct sys_fd *ret, struct err *e)
	__attribute__((warn_unused_result));

/* image_source over a whole file; keep f and *ret as long as it is read. */
struct blob_file {
	int fd;
	uint64_t at;
};
struct image_source blob_source(struct blob_file *f, int fd);

/* Opens a full blob and gives its content, `raw` bytes, to put() front to back. */
int blob_restore(int dir, const struct release_blob *b, uint64_t raw, image_put_fn put, void *arg,
		 struct err *e) __attribute__((warn_unused_result));

/* A file that is written front to back: put_arg of blob_file_put(). */
struct blob_out {
	int fd;
	uint64_t n;
};
int blob_out_put(void *arg, const void *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));

/* What the manifest says of its /usr. */
void blob_image_id(const struct release_manifest *m, struct image_id *ret);

/*
 * The index blob of a release, read from the repository (dir) and checked; *ret points into
 * *ret_bytes, to be freed after it. ERR_REFUSED as blob_open(), others as image_index_parse().
 */
int blob_index(int dir, const struct release_manifest *m, uint8_t **ret_bytes,
	       struct image_index **ret, struct err *e) __attribute__((warn_unused_result));

/*
 * Does fd hold the /usr (verity tree rebuilt, on all cores) or the UKI of that release, and nothing
 * else? ERR_REFUSED -EBADMSG when not.
 */
int blob_check_usr(int fd, const struct release_manifest *m, struct err *e)
	__attribute__((warn_unused_result));
int blob_check_uki(int fd, const struct release_manifest *m, struct err *e)
	__attribute__((warn_unused_result));

#endif
