/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_ANCHOR_H
#define UPDATER_AUDIT_ANCHOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct evidence;

/* The history and its anchor in the TPM (tpm.h). */
struct anchor {
	size_t lines;    /* of the history */
	size_t anchored; /* how many of them the anchor holds */
	bool exists;
	uint8_t (*hash)[32]; /* of each line */
};
void anchor_done(struct anchor *a);
#define AUTO_ANCHOR __attribute__((cleanup(anchor_done))) struct anchor

/*
 * Reads both and compares. ERR_REFUSED -EBADMSG when the anchor holds no beginning of the history:
 * entries that were anchored are gone or others. -ENOENT (HOST) without a history.
 */
int anchor_read(const struct evidence *ev, const char *tcti, struct anchor *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Extends the anchor by the lines that it does not hold yet; returns how many. One at a time. */
int anchor_update(const struct evidence *ev, const char *tcti, struct err *e)
	__attribute__((warn_unused_result));

/* How many of the n hashes, folded, lead to value; n + 1 when no number of them does. Pure. */
size_t anchor_find(const uint8_t (*hash)[32], size_t n, const uint8_t value[32]);

#endif
