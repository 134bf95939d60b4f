/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_FEED_H
#define UPDATER_IMAGE_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/direct.h"
#include "updater/image/plan.h"
#include "updater/image/seekable.h"
#include "updater/image/source.h"
#include "verity/image.h"

struct sys;

/* A buffer of prefix_cap bytes, aligned for direct reads, and the frame whose prefix it holds. */
struct image_feed_prefix {
	uint8_t *p;
	size_t frame; /* SIZE_MAX: none */
};

/*
 * For image_write() and image_patch(): gives pieces of a target their bytes, from the frames of a
 * blob (full or delta) and from sources on this machine. Holds one frame, once more what it decodes
 * to where that tells differences, and a few prefixes.
 */
struct image_feed {
	struct sys *sys;
	struct verity_area
		source[IMAGE_DELTA_SOURCES]; /* what copies and prefixes are taken from */
	struct image_direct direct[IMAGE_DELTA_SOURCES]; /* the same */
	struct seekable_decoder *decoder;
	uint8_t *packed, *raw;
	uint8_t *mixed; /* the content of a frame that tells differences */
	size_t raw_cap, prefix_cap, mixed_cap;
	struct image_feed_prefix prefix[IMAGE_PREFIXES];
	unsigned oldest;          /* of them, the next to be filled */
	uint64_t fetched, copied; /* bytes, over all blobs */
	uint64_t looked;          /* read from the sources through the page cache */

	struct sys_read wanted[SYS_READS_MAX]; /* of source wanted_from: not read yet */
	size_t n_wanted;
	unsigned wanted_from;

	const struct image_source *src;
	struct image_frames frames;
	const struct image_run *runs;
	size_t n_runs, run; /* the source delivers the bytes of runs[run] ... */
	uint64_t at;        /* ... and the next one is that of the blob at `at` */
	size_t frame;       /* that is in raw; SIZE_MAX: none */
	bool bad;           /* `frame` was read and cannot be decoded */
	bool lost;          /* the source itself failed */
};

/* With sys and source set. */
int image_feed_new(struct image_feed *f, struct err *e) __attribute__((warn_unused_result));
void image_feed_done(struct image_feed *f);

/* What was looked at need not stay in the page cache. */
void image_feed_forget(struct image_feed *f);

/* Another blob; no runs: its source is not touched. */
int image_feed_begin(struct image_feed *f, const struct image_source *src,
		     const struct image_frames *frames, const struct image_run *runs, size_t n_runs,
		     struct err *e) __attribute__((warn_unused_result));

/* Units [skip, skip + n) of a piece. */
struct image_part {
	const struct image_piece *piece;
	unsigned unit; /* bytes */
	uint64_t skip, n;
};

/*
 * The bytes of a part into p, some of them not before image_feed_settle(). Frames must be asked for
 * in rising order and lie in the runs.
 */
int image_feed_part(struct image_feed *f, const struct image_part *part, uint8_t *p, struct err *e)
	__attribute__((warn_unused_result));
/* Ends what image_feed_part() began; after a failure of either nothing is left to come. */
int image_feed_settle(struct image_feed *f, struct err *e) __attribute__((warn_unused_result));

#endif
