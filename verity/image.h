/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VERITY_IMAGE_H
#define VERITY_IMAGE_H

#include <stdint.h>

#include "base/err.h"
#include "verity/super.h"

struct sys;

/*
 * Whole images, on several cores, in constant memory (under 1 MiB a thread). Data and tree may be
 * files, partitions, or spans of an image file.
 */
struct verity_area {
	int fd;
	uint64_t offset, bytes; /* bytes: room there; never touched beyond */
};

/* Called now and then with bytes of data done, never by two threads at once. Non-zero cancels. */
typedef int (*verity_progress_fn)(void *arg, uint64_t done, uint64_t total);

struct verity_work {
	unsigned
		threads; /* 0: one per core, at most VERITY_THREADS_MAX; 1: none but the caller's */
	verity_progress_fn progress; /* may be NULL */
	void *arg;
};
#define VERITY_THREADS_MAX 16

/* Where a check failed first, counted from the top of the tree down and from the front. */
struct verity_bad {
	enum verity_bad_kind {
		VERITY_BAD_NONE,
		VERITY_BAD_SUPER, /* the superblock in the hash area is another one */
		VERITY_BAD_HASH,
		VERITY_BAD_DATA,
	} kind;
	unsigned level; /* of a hash block, as in struct verity_geometry */
	uint64_t block; /* data block, or hash block in its level */
	uint64_t at;    /* byte in the data area or the hash area */
};

/* Reads and checks the superblock at the start of the area. */
int verity_super_read(struct sys *sys, const struct verity_area *hash, struct verity_super *ret,
		      struct err *e) __attribute__((warn_unused_result));

/*
 * Builds the hash area of data as s says (data_blocks included) and gives its root, digest_size()
 * bytes. A superblock that is there is wiped first and the new one written last, so that what is
 * half done never looks whole; nothing is synced. w may be NULL. Errors: ERR_INPUT
 * -ENOSPC when data or hash area is too small; ERR_HOST for I/O; -ECANCELED (kind HOST) when
 * progress says so.
 */
int verity_format(struct sys *sys, const struct verity_area *data, const struct verity_area *hash,
		  const struct verity_super *s, const struct verity_work *w,
		  uint8_t ret_root[DIGEST_MAX], struct err *e) __attribute__((warn_unused_result));

/* The root only: nothing is written. */
int verity_root(struct sys *sys, const struct verity_area *data, const struct verity_super *s,
		const struct verity_work *w, uint8_t ret_root[DIGEST_MAX], struct err *e)
	__attribute__((warn_unused_result));

/*
 * Checks the whole tree of `hash` down from the root hash, then all data against it. s is the
 * superblock to go by (verity_super_read(), or the one a signed manifest describes); the one in the
 * hash area must say the same, but for the UUID, since the kernel goes by that. What does not match
 * is ERR_REFUSED -EBADMSG, and the first such block is in *ret_bad (may be NULL; set to
 * VERITY_BAD_NONE otherwise). Other errors as verity_format().
 */
struct verity_check {
	struct verity_area data, hash;
	const struct verity_super *super;
	const uint8_t *root;
};
int verity_verify(struct sys *sys, const struct verity_check *c, const struct verity_work *w,
		  struct verity_bad *ret_bad, struct err *e) __attribute__((warn_unused_result));

#endif
