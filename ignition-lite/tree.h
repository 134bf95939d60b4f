/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_TREE_H
#define IGNITION_LITE_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "ignition-lite/report.h"

/*
 * A config as JSON between reading and the struct, walked by the schema (schema.h). For config.c,
 * check.c and merge.c only; others see config.h.
 */

/* Where the walk is: a chain on the stack, innermost first; key NULL: element `index`. */
struct ign_at {
	const struct ign_at *up; /* NULL at the root */
	const char *key;
	size_t index;
};

enum { IGN_DEPTH_MAX = 24 }; /* of a chain; the schema's is less */

/* What one reading has in hand. */
struct ign_read {
	const char *what;
	const char *text; /* NULL: a merged config, which has no lines */
	size_t n;
	unsigned minor; /* of spec 3.minor.0 */
	struct ign_report *report;
};

/*
 * Adds a finding at `at`, or at its member `key` when that is not NULL. Returns 0, so that a check
 * goes on to the next; -ENOMEM.
 */
int ign_say(struct ign_read *r, enum ign_issue_kind kind, const struct ign_at *at, const char *key,
	    struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 6, 7), warn_unused_result));

/* ---- members of a walked object: types were checked, null is absent ---- */

const char *ign_str(const json_t *o, const char *key); /* NULL: absent */
/* The same, NULL when empty too. */
const char *ign_str_set(const json_t *o, const char *key);
bool ign_int(const json_t *o, const char *key, json_int_t *ret); /* false: absent */
bool ign_true(const json_t *o, const char *key);
bool ign_false(const json_t *o, const char *key);
size_t ign_len(const json_t *o, const char *key); /* of a list; 0: absent */

#endif
