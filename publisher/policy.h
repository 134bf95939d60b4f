/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_POLICY_H
#define PUBLISHER_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/release/offer.h"

/* Who takes a release when: what of struct release_offer a person chooses. */

/*
 * As given on the command line. NULL: not given, so it stays as it is; "none" takes away what was
 * there.
 */
struct policy_wish {
	const char *rollout; /* how long, as 2d */
	const char *start;   /* of the rollout: "2026-11-20T19:37:00Z" or +6h from now */
	const char *curve;   /* "straight" or "slow-start" */
	const char *minimum_from, *floor, *dead_end;
	bool critical, normal; /* the severity */
};

/* Whether anything was given; NULL, or the first option that was. */
const char *policy_given(const struct policy_wish *w);

/*
 * Applies w to the offer of a release, whose version is set; now: seconds since 1970. A rollout
 * without a start begins now, or when the one that was there began. ERR_INPUT names the option; *o
 * is as it was then. What a host could not read, or could never take (a barrier at or above the
 * release itself), is refused.
 */
int policy_apply(const struct policy_wish *w, int64_t now, struct release_offer *o, struct err *e)
	__attribute__((warn_unused_result));

#endif
