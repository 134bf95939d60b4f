/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_DELTA_H
#define PUBLISHER_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sys.h"
#include "publisher/repo.h"
#include "publisher/roles.h"
#include "updater/image/diff.h"
#include "updater/image/index.h"
#include "updater/release/manifest.h"

/* The deltas of a release: from which bases, and their blobs. */

enum { DELTA_BASES_MAX = 16, DELTA_BASES_DEFAULT = 3 };

/* What a person asked for. */
struct delta_wish {
	const char *from[DELTA_BASES_MAX]; /* versions, or "none" alone; n_from 0: the default */
	size_t n_from;
	const char *base_dir; /* where restored bases are kept; NULL: not kept */
	int level;            /* of zstd; 0: IMAGE_LEVEL */
};

/* Are no deltas wanted? */
bool delta_none(const struct delta_wish *w);

/* Manifests of the bases, newest first. */
struct delta_bases {
	struct release_manifest *m;
	size_t n;
};
void delta_bases_done(struct delta_bases *b);

/*
 * The releases to start from: those named, of this channel or of any; by default the newest
 * DELTA_BASES_DEFAULT of the channel that are older than `to` (image, version and architecture are
 * set). ERR_INPUT -ENOENT: a version that no channel has; -EINVAL: no version, or `to` itself.
 */
int delta_bases_find(const struct repo *r, const struct roles *m, const struct channel *c,
		     const struct delta_wish *w, const struct release_manifest *to,
		     struct delta_bases *ret, struct err *e) __attribute__((warn_unused_result));

/* What came of one base. */
enum delta_outcome {
	DELTA_MADE,
	DELTA_SAME,    /* nothing to make it from: base and target are the same */
	DELTA_USELESS, /* it would save less than 10 % of the full blob */
};
struct delta_report {
	char version[RELEASE_VERSION_MAX];
	enum delta_outcome usr, uki;
	uint64_t usr_bytes, uki_bytes; /* of the blobs */
	struct image_diff_stats stats; /* of /usr; zero when the blob was there already */
	bool uki_from_usr;             /* the UKI's delta copies from the new /usr too */
	uint64_t restored;             /* bytes of the base that had to be restored */
};

struct delta_job {
	const struct repo *r;
	const struct delta_wish *wish;
	int usr, uki; /* files of the new release */
	/* what is known of it, its full blobs included; delta blobs are added */
	struct release_manifest *manifest;
};

/*
 * Restores the base from its full blobs (into the repository's folder for temporary files, or kept
 * in base_dir under root hash and SHA-256, where it is looked for first), proves it, makes the
 * deltas of /usr and UKI and stores them. The UKI's copies from the new /usr only when the base's
 * UKI alone gives too much: a delta without that can be judged before the slot is written.
 * ERR_REFUSED: the base's blobs are not what was signed. -ECANCELED as pace_stopped().
 */
int delta_make(const struct delta_job *job, const struct release_manifest *base,
	       struct delta_report *ret, struct err *e) __attribute__((warn_unused_result));

/*
 * The UKI's delta from the release's own /usr alone, for hosts that run none of the bases: what
 * lies in both, as the kernel does, they fetch once. *ret: its bytes; 0 when there is none, since
 * it would save less than 10 %.
 */
int delta_make_own(const struct delta_job *job, uint64_t *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The /usr of a release, restored and proved as that of a base is. ERR_REFUSED: its blobs are not
 * what was signed.
 */
int delta_usr_open(const struct repo *r, const struct delta_wish *w,
		   const struct release_manifest *m, struct sys_fd *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
