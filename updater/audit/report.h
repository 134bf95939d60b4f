/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_REPORT_H
#define UPDATER_AUDIT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/*
 * What an audit found, as the JSON document that docs/audit-report.schema.json describes. Each
 * check has an id "<area>.<what>", a verdict, a sentence and its evidence.
 */
enum report_verdict {
	REPORT_PASS,
	REPORT_WARN,       /* not wrong, but weaker than it could be */
	REPORT_FAIL,       /* evidence contradicts what should be */
	REPORT_UNREADABLE, /* evidence is there and cannot be read */
	REPORT_ABSENT,     /* this machine has nothing to check there */
};
#define REPORT_FORMAT         1
#define REPORT_PREDICATE_TYPE "https://proa.org/attestation/audit/v1"
#define REPORT_BYTES_MAX      ((size_t)16 << 20)

/* "pass", "warn", "fail", "unreadable", "absent" */
const char *report_verdict_name(enum report_verdict v);
int report_verdict_by_name(const char *name, enum report_verdict *ret, struct err *e)
	__attribute__((warn_unused_result));

struct report {
	json_t *doc;    /* the whole document */
	json_t *checks; /* borrowed from doc */
};

int report_new(struct report *ret, struct err *e) __attribute__((warn_unused_result));
void report_done(struct report *r);
#define AUTO_REPORT __attribute__((cleanup(report_done))) struct report

/* Adds a check. evidence (an object, may be NULL) is stolen in any case. The text is cleaned. */
int report_add(struct report *r, const char *id, enum report_verdict v, json_t *evidence,
	       struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 6, 7), warn_unused_result));

/* The check could not read what it needs: why says so. */
int report_unreadable(struct report *r, const char *id, const struct err *why, struct err *e)
	__attribute__((warn_unused_result));

/* The worst verdict of all checks: fail, unreadable, warn, pass; absent counts as pass. */
enum report_verdict report_verdict(const struct report *r);

/* Sorts checks: problems first, then by area; writes the verdict and the counts into doc. */
int report_finish(struct report *r, struct err *e) __attribute__((warn_unused_result));

/* A report read back, checked for what the functions here rely on. ERR_INPUT. */
int report_read(const void *p, size_t n, const char *what, struct report *ret, struct err *e)
	__attribute__((warn_unused_result));

/* For a person, 80 columns; evidence only of what is not a pass unless all. */
int report_draw(const struct report *r, bool all, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/* What differs between two reports, in words, one line each; 0 when nothing does, else 1. */
int report_diff(const struct report *a, const struct report *b, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

#endif
