/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_SCAN_H
#define UPDATER_IMAGE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/index.h"
#include "verity/image.h"

struct sys;

/* What a slot holds of an image, found by hashing all of it once. Nothing is written. */
struct image_scan {
	uint8_t *kept; /* enum image_held per group */
	/* what each block hashes to, cut to IMAGE_LEAF_CUT bytes; zero: was not looked at */
	uint8_t *cut;
	uint64_t right;  /* bytes of the groups that are there */
	uint64_t hashed; /* bytes of data */
};
enum image_held {
	IMAGE_HELD_NOT,
	IMAGE_HELD_DATA, /* its data, but a power cut took its leaf hash block */
	IMAGE_HELD_ALL,
};

void image_scan_free(struct image_scan *s);
static inline void image_scan_freep(struct image_scan **s)
{
	image_scan_free(*s);
}
#define AUTO_IMAGE_SCAN __attribute__((cleanup(image_scan_freep))) struct image_scan

struct image_scan_job {
	struct sys *sys;
	struct verity_area data, hash; /* the slot; large enough */
	const struct image_index *index;
	/* negative cancels (ERR_HOST -ECANCELED); once a group; may be NULL */
	int (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/*
 * Only what leads to the root hash of job->index is called right. 8 bytes of memory a block. Read
 * past the page cache where that works, else forgotten by it behind the reader.
 */
int image_scan(const struct image_scan_job *job, struct image_scan **ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
