/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_MATCH_H
#define UPDATER_IMAGE_MATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/delta.h"

/* For the publisher: which parts of a target lie in its sources. All in memory (mapped files). */
struct image_span {
	const uint8_t *p;
	uint64_t n;
};

struct image_match {
	unsigned unit; /* IMAGE_BLOCK: whole blocks; 1: any bytes, but nothing below MATCH_MIN */
	struct image_span target;
	unsigned sources;
	struct image_span source[IMAGE_DELTA_SOURCES];
};
#define IMAGE_MATCH_MIN 256u

/*
 * Pieces that cover the target; the caller frees *ret. Pure: the same bytes give the same pieces.
 * ERR_INPUT -EFBIG: more than IMAGE_DELTA_PIECES_MAX.
 */
int image_match(const struct image_match *m, struct image_piece **ret, size_t *ret_n, struct err *e)
	__attribute__((warn_unused_result));

#endif
