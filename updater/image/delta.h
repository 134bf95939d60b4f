/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_DELTA_H
#define UPDATER_IMAGE_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/image/source.h"

/*
 * The delta blob: how to make a target (an image, a UKI) out of sources that are there and of new
 * bytes (docs/format.md). Everything is counted in units: 4096 bytes for images, whose blocks are
 * what is compared; 1 byte for UKIs, whose sections are aligned to 512 bytes or less and move
 * against each other.
 *
 *      0  u8[8]   magic "proa-dlt"
 *      8  u32     version 2
 *     12  u32     bytes of a unit, 1 or 4096
 *     16  u32     raw bytes of a frame, 65536, 131072, 262144 or 524288
 *     20  u32     number of sources, 1 or 2
 *     24  u32     pieces
 *     28  u32     frames
 *     32  u8[32]  target: root hash of an image, SHA-256 of a UKI
 *     64  u64     its length in bytes
 *     72  u64     raw bytes in all frames
 *     80  u32     raw bytes of the recipe     84  u32  packed
 *     88  u64     packed bytes of all frames
 *     96  u8[32]  source 0 (the base): root hash or SHA-256    128  u64  its length
 *    136  u8[32]  source 1: likewise, or zero                  168  u64  its length
 *    176  zero up to 256
 *    256  the recipe, one zstd frame; behind it the frames of the new bytes
 */
#define IMAGE_DELTA_HEADER     256u
#define IMAGE_DELTA_SOURCES    2u
#define IMAGE_DELTA_PIECES_MAX ((size_t)1 << 20)
#define IMAGE_DELTA_RECIPE_MAX ((size_t)16 << 20) /* raw */
#define IMAGE_DELTA_FILE_MAX   ((uint64_t)2 << 30)
#define IMAGE_DELTA_FRAME_MIN  ((size_t)64 << 10) /* raw bytes of a frame, a power of two */
#define IMAGE_DELTA_FRAME_MAX  ((size_t)512 << 10)
#define IMAGE_PREFIX_MAX       ((size_t)2 << 20)
#define IMAGE_EXTENTS_MAX      64u /* of one prefix */
/* Prefixes of neighbouring frames overlap: a host keeps so many, and reads what they share once. */
#define IMAGE_PREFIXES 4u

/* The end of the way: a whole image or file. */
struct image_whole {
	uint8_t id[32];
	uint64_t bytes;
};

/* A piece of the target: units [at, at + len). Pieces follow one another without gaps. */
struct image_piece {
	enum image_piece_kind {
		IMAGE_PIECE_FRAME, /* raw unit `from` of the frames, counted through */
		IMAGE_PIECE_ZERO,
		IMAGE_PIECE_COPY,       /* unit `from` of source 0 */
		IMAGE_PIECE_COPY_SECOND /* of source 1 */
	} kind;
	uint32_t at, len;
	uint64_t from;
};

/* A part of a frame's prefix: units [off, off + len) of a source. */
struct image_extent {
	uint64_t off;
	uint32_t len;
	uint32_t source;
};

struct image_delta {
	unsigned unit;
	unsigned sources;
	struct image_whole target, source[IMAGE_DELTA_SOURCES];
	size_t n_pieces;
	struct image_piece *pieces;
	size_t frame;       /* raw bytes of each but the last */
	size_t frames;      /* 0 when nothing is new */
	uint64_t raw_bytes; /* in all frames */
	uint64_t *packed;   /* frames + 1 offsets in the blob */
	uint32_t *control;  /* of each frame: bytes of control (bspatch.h); 0: it is plain */
	uint32_t *first;    /* frames + 1: the extents of frame i are extents[first[i]] up to */
	struct image_extent *extents; /* ... extents[first[i + 1]] */
	size_t prefix_max;            /* bytes of the longest prefix */
	size_t mixed_max; /* of the longest content of a frame that is not plain, control included
			   */
	uint64_t blob_bytes;
};

void image_delta_free(struct image_delta *d);
static inline void image_delta_freep(struct image_delta **d)
{
	image_delta_free(*d);
}
#define AUTO_IMAGE_DELTA __attribute__((cleanup(image_delta_freep))) struct image_delta

/* What the signed manifest says about it. */
struct image_delta_want {
	unsigned unit;
	struct image_whole target;
	struct image_whole source[IMAGE_DELTA_SOURCES]; /* [1]: bytes 0 when there is none */
	uint64_t blob_bytes;
};

/*
 * How long header and recipe are, from the first IMAGE_DELTA_HEADER bytes: that much is to be
 * given to image_delta_parse(). ERR_REFUSED -EBADMSG when that is no such header.
 */
int image_delta_head_bytes(const uint8_t p[IMAGE_DELTA_HEADER], uint64_t *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * p[0..n): header and recipe. Pure; memory is asked for only as the bytes that are there justify.
 * What passes: pieces cover the target exactly, copies and prefixes lie in their sources, prefixes
 * keep to IMAGE_PREFIX_MAX and IMAGE_EXTENTS_MAX, control to IMAGE_CONTROL_MAX(), frames fill the
 * blob exactly and hold exactly what the pieces take, in order. ERR_REFUSED: -EBADMSG malformed, or
 * of another target or source than wanted; -EOPNOTSUPP a newer version.
 */
int image_delta_parse(const uint8_t *p, size_t n, const struct image_delta_want *want,
		      struct image_delta **ret, struct err *e) __attribute__((warn_unused_result));

/* Reads header and recipe from src (two requests) and parses them; *ret_fetched: bytes pulled. */
int image_delta_fetch(const struct image_source *src, const struct image_delta_want *want,
		      struct image_delta **ret, uint64_t *ret_fetched, struct err *e)
	__attribute__((warn_unused_result));

/*
 * For the publisher: header and recipe of d, appended to out. d->packed counts from 0 here: only
 * differences are looked at.
 */
int image_delta_format(const struct image_delta *d, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/* May a frame be so long? */
bool image_delta_frame_fits(uint64_t bytes);

/* Raw bytes of frame i. */
size_t image_delta_frame_bytes(const struct image_delta *d, size_t i);

#endif
