/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_RESULT_H
#define UPDATER_HEALTH_RESULT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/health/check.h"

struct sys;

/*
 * The result of one boot's checks, as JSON in the state directory: the last one in HEALTH_RESULT,
 * and the last that was not healthy in HEALTH_RESULT_BAD too, since the release that runs then is
 * another one. proad hands them out as they are (docs/interface.md, GetHealth).
 */
#define HEALTH_RESULT     "health.json"
#define HEALTH_RESULT_BAD "health-failed.json"

struct health_result {
	const char *version, *boot_id;
	const char *verdict; /* "healthy", "falls-back", "stays" */
	const char *reason;  /* first thing that is wrong; NULL when healthy */
	const char *stays;   /* why the host does not fall back, or NULL */
	int64_t when;
	uint64_t took_s, deadline_s;
	const struct health_check *check;
	const struct buf *output; /* one per check, of those that did not pass; or NULL */
	size_t n;
};

/* Bytes of output that are kept of all checks together; the first that did not pass come first. */
#define HEALTH_RESULT_OUTPUT_MAX ((size_t)64 << 10)

/* Pure. */
int health_result_format(const struct health_result *r, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));
/* To the directory `state`, durably. */
int health_result_store(struct sys *sys, const char *state, const struct health_result *r,
			struct err *e) __attribute__((warn_unused_result));

#endif
