/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_PROVE_H
#define PUBLISHER_PROVE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "updater/release/manifest.h"

/* For `verify`: the deltas of a release, applied. */

/* An unnamed file in $TMPDIR, /var/tmp when that is not set; -errno (ERR_HOST). */
int prove_tmp(struct err *e) __attribute__((warn_unused_result));
const char *prove_tmp_dir(void);

struct prove_job {
	int dir; /* of the repository */
	const struct release_manifest *m;
	int usr; /* its /usr, restored and proved */
	/* releases that are published: bases are looked for among them */
	const struct release_manifest *known;
	size_t n_known;
};

/* Does the release have deltas? */
bool prove_needed(const struct release_manifest *m);

/*
 * Restores the base of each delta from its full blob, applies the delta as a host does and proves
 * the result: root hash or SHA-256, so byte for byte. A delta whose base is not published any more
 * is compared with its SHA-256 only. *ret_proved, *ret_left: how many of both. ERR_REFUSED: a delta
 * that is damaged, or makes something else.
 */
int prove_deltas(const struct prove_job *job, size_t *ret_proved, size_t *ret_left, struct err *e)
	__attribute__((warn_unused_result));

#endif
