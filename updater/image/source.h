/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_SOURCE_H
#define UPDATER_IMAGE_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes [off, off + len) of a blob; len > 0. */
struct image_run {
	uint64_t off, len;
};

/*
 * Where the bytes of one blob come from: the network, a file, memory. begin() names all runs that
 * will be read, in rising order and not touching, so that a source can keep several requests in
 * flight; read() then pulls their bytes one after another as if they were one stream. A source
 * that cannot jump (a server without ranges) reads from the start and throws the gaps away; nobody
 * above needs to know.
 *
 * Both return 0 or -errno with e filled in (the kind says whether trying again helps). Runs stay
 * valid until the next begin(), or until the function the source was given to returns. A reader
 * may stop early; the next begin() or the source's owner then gives up the rest.
 */
struct image_source {
	int (*begin)(void *arg, const struct image_run *runs, size_t n, struct err *e);
	/* exactly n bytes; fewer left is a failure */
	int (*read)(void *arg, void *p, size_t n, struct err *e);
	void *arg;
	const char *name; /* for people: URL or path; may be NULL */
};

#endif
