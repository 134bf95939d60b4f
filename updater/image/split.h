/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_SPLIT_H
#define UPDATER_IMAGE_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/encode.h"
#include "updater/image/index.h"
#include "updater/image/leaves.h"

struct sys;

/*
 * For the publisher: where the frames of an image's full blob end. A host that updates from any
 * base fetches whole every frame that holds a block it lacks. What releases lack lies in stretches
 * (a changed file), and what one lacks, older ones lack too: so a frame ends where the number of
 * earlier releases that have its blocks changes; where all have them, or none is known, every
 * IMAGE_SPLIT_OLD blocks of the image.
 */
struct image_split {
	uint32_t *blocks; /* of each frame, 1 to IMAGE_SPLIT_NEW; they come to the whole image */
	size_t n;
};
#define IMAGE_SPLIT_OLD 64u  /* most blocks of a frame that every base has: 256 KiB */
#define IMAGE_SPLIT_NEW 512u /* of one that a host which needs it needs whole: 2 MiB */
#define IMAGE_SPLIT_MIN 2u   /* fewer blocks between two such stretches are taken along */

void image_split_done(struct image_split *s);
#define AUTO_IMAGE_SPLIT __attribute__((cleanup(image_split_done))) struct image_split

/*
 * lack[b]: how many of the bases have no block equal to block b. 1 to IMAGE_BLOCKS_MAX blocks.
 * Pure. ERR_HOST -ENOMEM.
 */
int image_split_make(const uint8_t *lack, uint64_t blocks, struct image_split *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The same for the image in fd, of id->data_blocks blocks, and what up to 255 bases hold, made with
 * the salt of id. Reads the image once, and without bases not at all. ERR_HOST: reading, memory;
 * -ECANCELED by progress (may be NULL).
 */
struct image_split_job {
	struct sys *sys;
	int fd;
	const struct image_id *id;
	struct image_leaves *const *base;
	size_t bases;
	image_encode_progress_fn progress;
	void *progress_arg;
};
int image_split_find(const struct image_split_job *job, struct image_split *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
