/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_WRITE_H
#define UPDATER_IMAGE_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/delta.h"
#include "updater/image/index.h"
#include "updater/image/plan.h"
#include "updater/image/scan.h"
#include "updater/image/source.h"
#include "verity/image.h"

struct sys;

enum image_phase {
	IMAGE_SCAN,  /* bytes of the slot looked at for what is already right */
	IMAGE_FETCH, /* bytes of the blob received */
	IMAGE_WRITE, /* bytes of data in the slot that are right, those found right included */
	IMAGE_PROVE, /* bytes read back from the medium */
};

/* Negative cancels. Called at least once per group (512 KiB), and at the end of each phase. */
typedef int (*image_progress_fn)(void *arg, enum image_phase phase, uint64_t done, uint64_t total);

struct image_job {
	struct sys *sys;
	struct verity_area data, hash; /* the slot */
	/*
	 * With its table (IMAGE_INDEX_FRAMES or more) to use the full blob, with its leaves as well
	 * to copy what any base holds; a delta needs no more than IMAGE_INDEX_UPPER.
	 */
	const struct image_index *index;
	const struct image_source *full;  /* the full blob; NULL: the delta must do */
	const struct image_delta *delta;  /* of this image, or NULL */
	const struct image_source *patch; /* the delta's blob */
	/*
	 * The running slot, only read; bytes 0: none. It needs no trust: whatever is made of it is
	 * proved, and what is rotten is fetched instead.
	 */
	struct verity_area base_data, base_hash;
	bool resume; /* hash the slot first and keep the groups that are right */
	/* of image_write_scan(), when that was done just now; then `resume` is not needed */
	const struct image_scan *scan;
	/*
	 * The delta did not make everything: the same index with its table (and leaves), which
	 * outlives the call. Without it, and without a table in `index`, the delta must do.
	 */
	int (*more)(void *arg, const struct image_index **ret, struct err *e);
	/* What is about to be fetched, after `fetched` bytes before it; negative ends it there. */
	int (*allow)(void *arg, const struct image_plan *plan, uint64_t fetched, struct err *e);
	/* The full blob's bytes were wrong. Positive: it comes from elsewhere now, try once more.
	 */
	int (*elsewhere)(void *arg);
	unsigned threads; /* for reading back, as in struct verity_work; the simulator needs 1 */
	image_progress_fn progress; /* may be NULL, as the three above */
	void *arg;
};

/*
 * What the slot of the job holds of its image already, progress as IMAGE_SCAN. Changes nothing.
 * ERR_INPUT -ENOSPC as image_write().
 */
int image_write_scan(const struct image_job *job, struct image_scan **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Bytes; on failure what was done until then. */
struct image_stats {
	uint64_t fetched; /* pulled from the sources */
	uint64_t written; /* data and tree */
	uint64_t kept;    /* data found right in the slot */
	uint64_t copied;  /* read from the base for the image (prefixes are not counted) */
	uint64_t spared;  /* data made, but not written: the slot held the very blocks */
	uint64_t again;   /* groups that came out wrong one way and were made another way */
	uint64_t
		hashed; /* data, while scanning, writing and proving; tree blocks are not counted */
	uint64_t bad_group; /* when a group was refused: which; else UINT64_MAX */
};

/*
 * Makes the slot hold exactly the image of job->index and proves it: every group is proved against
 * the tree before it is written, the tree is written behind it (superblock last), both are synced,
 * then everything is read back from the medium and checked down from the root hash. What lies
 * behind the image in the areas is left alone. About 1.2 MiB of memory, the index, 8 bytes a block
 * and what the plan says (plan.h). Calling it again with resume set goes on where it stopped,
 * whatever stopped it: only what the slot proves is kept.
 *
 * Groups are made with the delta first; those that come out wrong, and all when there is none, with
 * blocks of any base and frames of the full blob; those that still come out wrong with the full
 * blob alone, from one mirror after the other. A blob that a server does not have counts as wrong;
 * one that cannot be reached ends it (ERR_RETRY). Blocks that the slot holds already, as its old
 * tree says, are not written; where the old tree was wrong about that, reading back tells and they
 * are written after all.
 *
 * ERR_INPUT -ENOSPC: an area is too small (nothing was written). ERR_REFUSED -EBADMSG: the sources'
 * bytes are not the image (names group and offset; the slot holds only proved groups). ERR_HOST:
 * I/O, or the medium gave back other bytes than were written (-EIO). -ECANCELED (ERR_HOST): the
 * progress callback said so. What the source says is passed on.
 */
int image_write(const struct image_job *job, struct image_stats *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The last step alone: reads data and tree back from the medium (past the page cache where the file
 * allows it) and checks everything down from id's root hash, and the superblock byte for byte.
 * ERR_HOST -EIO names the first block that differs. Only sys, data, hash, threads and progress of
 * the job are used.
 */
int image_prove(const struct image_job *job, const struct image_id *id, struct image_stats *ret,
		struct err *e) __attribute__((warn_unused_result));

#endif
