/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_PLAN_H
#define UPDATER_IMAGE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/delta.h"
#include "updater/image/index.h"
#include "updater/image/leaves.h"
#include "updater/image/source.h"

/*
 * What to do with each group (IMAGE_GROUP bytes, the unit that is proved and written), and which
 * bytes of which blob that takes. Pure.
 */
enum image_way {
	IMAGE_KEEP,  /* the slot already proves it */
	IMAGE_FULL,  /* from frames of the full blob, and maybe blocks of the base */
	IMAGE_DELTA, /* from frames of the delta, and maybe blocks of the base */
	IMAGE_COPY,  /* from the base and zeros alone: nothing to fetch */
};

/* Where frames come from. `delta` gives their prefixes; NULL for the full blob. */
struct image_frames {
	size_t n;
	const uint64_t *packed; /* n + 1 offsets in the blob */
	const uint64_t *raw;    /* n + 1 offsets in what they hold; NULL: see most */
	size_t most;            /* raw bytes of the largest: all but the last, where raw is NULL */
	uint64_t raw_bytes;     /* of all */
	const struct image_delta *delta;
};

struct image_frames image_frames_delta(const struct image_delta *d);

/* The frame that holds raw byte off, below raw_bytes; where frame i, at most n, begins. */
size_t image_frames_find(const struct image_frames *f, uint64_t off);
uint64_t image_frames_start(const struct image_frames *f, size_t i);

struct image_plan {
	size_t groups;
	uint8_t *way;           /* enum image_way per group */
	struct image_run *runs; /* of the blob, rising, coalesced; none: nothing to fetch */
	size_t n_runs;
	uint64_t fetch_bytes; /* sum of the runs, gaps that are read over included */
	uint64_t write_bytes; /* data to be written; the tree is not counted */
	uint64_t keep_bytes;
	uint64_t copy_bytes, zero_bytes; /* of write_bytes: from the base, from nothing */
	uint64_t memory;                 /* bytes image_write() will take for it, all included */
	uint64_t gap;                    /* up to so many bytes were read over */
	struct image_frames frames;
	const struct image_piece *pieces; /* of the whole image, in blocks */
	size_t n_pieces;
	struct image_piece *own; /* `pieces`, unless they are the delta's */
};

/*
 * A gap between two runs is read over when it is short: up to IMAGE_GAP_MIN bytes, which is what
 * another request costs, and up to IMAGE_GAP when runs are more than IMAGE_RUNS and hold less than
 * IMAGE_RUN_MEAN bytes on average, since then the way to the server and back is what takes time.
 */
#define IMAGE_GAP_MIN  ((uint64_t)2 << 10)
#define IMAGE_GAP      ((uint64_t)64 << 10)
#define IMAGE_RUNS     16u
#define IMAGE_RUN_MEAN ((uint64_t)64 << 10)

void image_plan_free(struct image_plan *p);
static inline void image_plan_freep(struct image_plan **p)
{
	image_plan_free(*p);
}
#define AUTO_IMAGE_PLAN __attribute__((cleanup(image_plan_freep))) struct image_plan

/*
 * One plan is one way for all that is missing: the delta when there is one; else any base (with
 * `base` and the index's leaves: blocks that are equal are copied, the others come from the full
 * blob); else the full blob. Make those that are possible and compare fetch_bytes.
 */
struct image_choice {
	const struct image_index *index; /* for any base with its leaves */
	const uint8_t *kept;             /* a byte per group, non-zero when the slot proves it */
	const struct image_delta
		*delta; /* of this image (ERR_BUG otherwise); must outlive the plan */
	const struct image_leaves *base; /* of the running slot */
};

/* ERR_BUG -EINVAL: neither a delta nor the table of the full blob is there. */
int image_plan_make(const struct image_choice *c, struct image_plan **ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
