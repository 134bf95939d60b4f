/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_LAYOUT_H
#define PUBLISHER_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* What became of an image that mkfs.erofs had made. */
struct layout_report {
	bool laid;      /* false: it is as mkfs.erofs made it, for it is not understood */
	bool like;      /* it lies like the earlier image */
	bool afresh;    /* it would have had too many holes; moves nearly all, this once */
	uint64_t holes; /* bytes, zero, behind the head */
	char why[200];  /* not laid: why not */
};

/*
 * Lays out the image in file `from` anew as file `to`, durably not yet, like the one in file
 * descriptor `like` (-1: like none). ERR_INPUT -ENOTSUP: `like` is not understood, and `name` says
 * which it is; one not understood in `from` is no failure: `to` holds the same then.
 * ERR_HOST: reading, writing, memory.
 */
int layout_apply(const char *from, int like, const char *name, const char *to,
		 struct layout_report *ret, struct err *e) __attribute__((warn_unused_result));

/* Prints a line about it, or a warning on stderr; like: the name of the earlier image. */
void layout_say(const struct layout_report *l, const char *like);

#endif
