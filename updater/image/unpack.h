/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_UNPACK_H
#define UPDATER_IMAGE_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/source.h"

/* Receives bytes one after another. 0, or a failure that ends it. */
typedef int (*image_put_fn)(void *arg, const void *p, size_t n, struct err *e);

/*
 * Restores a whole zstd blob of packed bytes front to back (a UKI), without its table: at most
 * SEEKABLE_WINDOW_MAX of window, no dictionary, exactly raw bytes, ERR_REFUSED -EBADMSG otherwise
 * and as soon as it would become more. The caller checks the hash of what it got.
 */
int image_unpack(const struct image_source *src, uint64_t packed, uint64_t raw, image_put_fn put,
		 void *arg, struct err *e) __attribute__((warn_unused_result));

#endif
