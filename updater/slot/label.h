/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_SLOT_LABEL_H
#define UPDATER_SLOT_LABEL_H

#include <stddef.h>

#include "base/err.h"

/* GPT holds 36 UTF-16 units; ours are ASCII: "<image>_<version>", or "_empty" (as sysupdate). */
#define SLOT_LABEL_CHARS 36
#define SLOT_LABEL_EMPTY "_empty"

enum slot_label_kind {
	SLOT_LABEL_FREE,    /* "" or "_empty": holds nothing that counts */
	SLOT_LABEL_PARTIAL, /* "PRT#" or "PND#" before a label of this image: another tool stopped
			     */
	SLOT_LABEL_OURS,    /* "<image>_<version>"; the hash partition may end in "_verity" */
	SLOT_LABEL_FOREIGN, /* anything else: not ours to overwrite */
};

/*
 * What a label says to a host of the given image id. ret_version (may be NULL) is set only for
 * SLOT_LABEL_OURS: at least 65 bytes.
 */
enum slot_label_kind slot_label_parse(const char *label, const char *image, char *ret_version);

/*
 * "<image>_<version>" into out[SLOT_LABEL_CHARS + 1]. -EINVAL (INPUT) for an id or version that
 * cannot be one, -ENAMETOOLONG (REFUSED) when the two do not fit into a GPT label.
 */
int slot_label_format(const char *image, const char *version, char out[SLOT_LABEL_CHARS + 1],
		      struct err *e) __attribute__((warn_unused_result));

#endif
