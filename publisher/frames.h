/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_FRAMES_H
#define PUBLISHER_FRAMES_H

#include "base/err.h"
#include "publisher/delta.h"
#include "publisher/repo.h"
#include "updater/image/split.h"

/*
 * Where the frames of the /usr in file descriptor usr end, which id describes, so that hosts with
 * other releases fetch little of it: those in *bases, newest first, as their index blobs tell. One
 * whose index cannot be read, or has another salt, does not count: its hosts fetch more, and no
 * less right. Reads usr. ERR_HOST; -ECANCELED as pace_stopped().
 */
int frames_choose(const struct repo *r, const struct delta_bases *bases, int usr,
		  const struct image_id *id, struct image_split *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
