/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_RELEASE_OFFER_H
#define UPDATER_RELEASE_OFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "updater/release/manifest.h"

/*
 * What a channel's signed metadata says of one release, in the `custom` object of the manifest's
 * target entry: enough to decide without fetching the manifest.
 */
#define RELEASE_PATH_MAX    (64 + RELEASE_NAME_MAX + 8)
#define RELEASE_MESSAGE_MAX 241
#define RELEASE_ROLLOUT_MAX ((uint64_t)366 * 24 * 3600) /* seconds */

struct release_offer {
	char path[RELEASE_PATH_MAX]; /* TUF target path "<channel>/<image>_<version>.json" */
	char image[RELEASE_IMAGE_MAX];
	char version[RELEASE_VERSION_MAX];
	char arch[16];
	int64_t published;
	int64_t rollout_start;
	uint64_t rollout_seconds; /* the last host's turn comes this long after start */
	bool rollout;             /* the two are set */
	bool rollout_slow_start;  /* "curve": "slow-start": the share grows with the square of time
				   */
	bool paused;
	bool critical;                          /* severity */
	char minimum_from[RELEASE_VERSION_MAX]; /* a barrier; empty: none */
	char floor[RELEASE_VERSION_MAX];        /* nothing older is safe any more; empty: none */
	char dead_end[RELEASE_MESSAGE_MAX];     /* the message; empty: none */
};

/*
 * custom (may be NULL: refused) of the target at path. ERR_INPUT; unknown members are ignored, a
 * path that does not agree with image and version is refused.
 */
int release_offer_parse(const char *path, const json_t *custom, struct release_offer *ret,
			struct err *e) __attribute__((warn_unused_result));

/* A fresh `custom` object. */
int release_offer_format(const struct release_offer *o, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
