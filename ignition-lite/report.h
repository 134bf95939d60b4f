/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_REPORT_H
#define IGNITION_LITE_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* What is to be said about a config: every finding with its place. */

enum ign_issue_kind {
	IGN_WARNING, /* ignored, as Ignition ignores it: an unknown key, a useless field */
	IGN_ERROR,   /* not a valid config */
	IGN_REFUSED, /* a valid config that asks for what ignition-lite does not do */
};

enum { IGN_ISSUE_PATH_MAX = 160, IGN_ISSUE_TEXT_MAX = 320, IGN_ISSUES_MAX = 64 };

struct ign_issue {
	enum ign_issue_kind kind;
	unsigned line, column;         /* from 1; 0 when the place is in no single file */
	char path[IGN_ISSUE_PATH_MAX]; /* "$.storage.files.0.path" */
	char text[IGN_ISSUE_TEXT_MAX]; /* what is wrong and what to do; holds no secrets */
};

/* Zero is an empty report. Beyond IGN_ISSUES_MAX of a kind they are only counted. */
struct ign_report {
	struct ign_issue *issue;
	size_t n;
	size_t count[3]; /* by kind, those beyond the limit too */
};

void ign_report_done(struct ign_report *r);
#define AUTO_IGN_REPORT __attribute__((cleanup(ign_report_done))) struct ign_report

/* Appends one; -ENOMEM (ERR_HOST). */
int ign_report_add(struct ign_report *r, const struct ign_issue *issue, struct err *e)
	__attribute__((warn_unused_result));

/* The first issue of that kind, NULL if there is none. */
const struct ign_issue *ign_report_first(const struct ign_report *r, enum ign_issue_kind kind);

/*
 * "WHAT:12:7: $.storage.files.0.path: TEXT" into out[0..cap); without line and column where they
 * are not known. Returns out.
 */
char *ign_issue_format(const struct ign_issue *i, const char *what, char *out, size_t cap);

#endif
