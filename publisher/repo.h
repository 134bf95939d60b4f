/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_REPO_H
#define PUBLISHER_REPO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "updater/release/manifest.h"

/* The repository as files: where things lie, its configuration, its lock, durable writes. */

enum { REPO_META_MAX = 5 << 20 };

/* proa-publish.json: what must stay the same from release to release. */
struct repo_config {
	char image[RELEASE_IMAGE_MAX];
	char arch[16];
	uint8_t salt[SHA256_BYTES];
	size_t salt_n;
	/* how long a signature is good for, days */
	uint64_t root_days, targets_days, channel_days, snapshot_days, timestamp_days;
};
#define REPO_CONFIG_DEFAULT                                                                        \
	{                                                                                          \
		.arch = "x86-64", .salt_n = SHA256_BYTES, .root_days = 365, .targets_days = 365,   \
		.channel_days = 90, .snapshot_days = 14, .timestamp_days = 7                       \
	}

struct repo {
	const char *path; /* as given, for people; borrowed */
	int dir, meta, targets, blobs, tmp;
	int lock;    /* -1 when only read */
	int64_t now; /* fixed once */
	struct repo_config config;
	/* what roles_load() goes by; set by the caller, borrowed */
	const char *
		pin; /* file of the root that is trusted; NULL: this repository's own 1.root.json */
	bool rebuild; /* snapshot and timestamp are not believed, see roles_load() */
};
#define REPO_INIT                                                                                  \
	{                                                                                          \
		.dir = -1, .meta = -1, .targets = -1, .blobs = -1, .tmp = -1, .lock = -1           \
	}
void repo_done(struct repo *r);
#define AUTO_REPO __attribute__((cleanup(repo_done))) struct repo

/*
 * Makes the empty folders and takes the lock; the configuration is written by repo_finish() when
 * all else is there. -ENOTEMPTY (ERR_INPUT) when the directory holds anything.
 */
int repo_create(const char *path, const struct repo_config *config, struct repo *ret, struct err *e)
	__attribute__((warn_unused_result));
int repo_finish(const struct repo *r, struct err *e) __attribute__((warn_unused_result));

/*
 * Opens one. write: takes the lock (-EBUSY, ERR_RETRY when another proa-publish holds it) and
 * empties the folder for temporary files, where a killed run may have left some.
 */
int repo_open(const char *path, bool write, struct repo *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The path of a temporary file, for programs that are started; out holds PATH_MAX bytes. */
int repo_tmp_path(const struct repo *r, const char *name, char *out, struct err *e)
	__attribute__((warn_unused_result));
/* Removes what is in the folder for temporary files. */
void repo_tmp_clear(const struct repo *r);

/*
 * Moves a finished temporary file to its place blobs/sha256/<hex>, durably; one that is there
 * already is kept and the temporary file removed.
 */
int repo_blob_adopt(const struct repo *r, const char *tmp, const uint8_t sha[SHA256_BYTES],
		    struct err *e) __attribute__((warn_unused_result));

/* Makes targets/<channel> if needed and opens it. */
int repo_channel_dir(const struct repo *r, const char *channel, bool make, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The highest N below `below` of the files metadata/N.<role>.json; 0 when there is none. Nobody
 * reaches REPO_VERSION_MAX by publishing (a version a second would take 136 years): a number beyond
 * it was pushed up by somebody with a stolen key, so that nothing newer could follow.
 */
#define REPO_VERSION_MAX ((uint64_t)1 << 32)
int repo_highest(const struct repo *r, const char *role, uint64_t below, uint64_t *ret,
		 struct err *e) __attribute__((warn_unused_result));

#endif
