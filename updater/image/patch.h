/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_PATCH_H
#define UPDATER_IMAGE_PATCH_H

#include <stdint.h>

#include "base/err.h"
#include "updater/image/delta.h"
#include "updater/image/unpack.h"
#include "verity/image.h"

struct sys;

/*
 * Makes a file (a UKI) from a delta and gives it to `put` front to back, pieces of at most 64 KiB.
 * Holds one frame and one prefix. The caller checks the hash of what it got, which is the proof,
 * and takes the full blob when it is not right.
 */
struct image_patch_job {
	struct sys *sys;
	const struct image_delta *delta;
	const struct image_source *src; /* the delta blob */
	struct verity_area source[IMAGE_DELTA_SOURCES];
	image_put_fn put;
	void *put_arg;
};

/*
 * *ret_fetched (may be NULL): bytes pulled from src, on failure too. ERR_REFUSED -EBADMSG: a frame
 * does not decode behind what the sources hold. ERR_HOST: reading a source. Others as src and put.
 */
int image_patch(const struct image_patch_job *job, uint64_t *ret_fetched, struct err *e)
	__attribute__((warn_unused_result));

#endif
