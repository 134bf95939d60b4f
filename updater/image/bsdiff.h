/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_BSDIFF_H
#define UPDATER_IMAGE_BSDIFF_H

#include <stddef.h>
#include <stdint.h>

/* For the publisher: what image_bspatch() takes. */
struct image_bsdiff;

/* For up to raw bytes and IMAGE_PREFIX_MAX of prefix: about 12 MiB. NULL: no memory. */
struct image_bsdiff *image_bsdiff_new(size_t raw);
void image_bsdiff_free(struct image_bsdiff *b);

/*
 * Tells p[0..n) by its differences from the prefix: control, differences and extra bytes into out,
 * room for n + IMAGE_CONTROL_MAX(n). Returns how many bytes of control; 0 when nothing of it is
 * like the prefix, or that would be too many. The same input gives the same output.
 */
size_t image_bsdiff(struct image_bsdiff *b, const uint8_t *p, size_t n, const uint8_t *prefix,
		    size_t prefix_n, uint8_t *out);

#endif
