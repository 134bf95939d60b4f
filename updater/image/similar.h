/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_SIMILAR_H
#define UPDATER_IMAGE_SIMILAR_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/match.h"

/*
 * For the publisher: which parts of the sources are most like some new bytes, and so make the best
 * prefix for their frame. Windows of 16 bytes are sampled by their content, so that the same
 * windows are sampled wherever they lie; where most of a frame's samples come from is where its
 * like is, however far it moved and whatever the file is called now.
 */
struct image_similar;

int image_similar_new(const struct image_match *m, struct image_similar **ret, struct err *e)
	__attribute__((warn_unused_result));
void image_similar_free(struct image_similar *s);
static inline void image_similar_freep(struct image_similar **s)
{
	image_similar_free(*s);
}
#define AUTO_IMAGE_SIMILAR __attribute__((cleanup(image_similar_freep))) struct image_similar

/*
 * A guess from elsewhere (the same file's place, the copies around): bytes of a source. weight:
 * what a sample found at one place only counts as is 4.
 */
struct image_hint {
	unsigned source;
	unsigned weight;
	uint64_t off, len;
};

/*
 * The extents for p[0..n), n at most IMAGE_DELTA_FRAME_MAX: rising, apart, in units, at most
 * IMAGE_EXTENTS_MAX; returns how many. Several threads may ask at once.
 */
size_t image_similar_find(const struct image_similar *s, const uint8_t *p, size_t n,
			  const struct image_hint *hints, size_t n_hints,
			  struct image_extent out[IMAGE_EXTENTS_MAX]);

#endif
