/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_BSPATCH_H
#define UPDATER_IMAGE_BSPATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Bytes told by how they differ from others, as in bsdiff (C. Percival, Naive Differences of
 * Executable Code, 2003): where code moved, the addresses in it differ by little and alike, and
 * such differences are compressed far better than the addresses. docs/format.md.
 *
 *   control   triples of varints: zigzag of how far the place in the prefix moves (it begins at
 *             0); bytes to be made by adding a difference to that of the prefix, which the place
 *             moves over; and extra bytes behind those
 *   differences, then extra bytes: of all triples, together as many as are to be made
 */

/* Control bytes are never more, for so many bytes to be made. */
#define IMAGE_CONTROL_MAX(raw) ((size_t)(raw) / 4)

struct image_bspatch {
	const uint8_t *p; /* control, differences and extra bytes: control + raw bytes */
	size_t control;
	const uint8_t *prefix; /* NULL: none */
	size_t prefix_n;
};

/*
 * Makes out[0..raw). Nothing outside of the prefix is read. ERR_REFUSED -EBADMSG when control does
 * not end where its last triple does, or makes more or fewer bytes; out is then undefined.
 */
int image_bspatch(const struct image_bspatch *b, uint8_t *out, size_t raw, struct err *e)
	__attribute__((warn_unused_result));

#endif
