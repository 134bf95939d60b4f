/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_INDEX_H
#define UPDATER_IMAGE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/image/seekable.h"
#include "verity/proof.h"
#include "verity/super.h"
#include "verity/tree.h"

/* What a signed manifest says about an image: with it, nothing else needs trust. */
struct image_id {
	uint8_t root[SHA256_BYTES];
	uint64_t data_blocks; /* of IMAGE_BLOCK bytes, 1 to IMAGE_BLOCKS_MAX */
	uint64_t index_bytes; /* of the index blob; 0 where that is not looked at */
	uint16_t salt_n;
	uint8_t salt[VERITY_SALT_MAX];
};
#define IMAGE_BLOCK      SEEKABLE_UNIT
#define IMAGE_BLOCKS_MAX ((uint64_t)1 << 24) /* 64 GiB */
#define IMAGE_GROUP      ((size_t)512 << 10) /* data under one leaf hash block: proved at once */

/*
 * The superblock of every Proa image: sha256, 4096-byte blocks, type 1, and as UUID the first 16
 * bytes of the root hash, so that host and publisher write the same bytes. ERR_INPUT when id is
 * out of bounds.
 */
int image_super(const struct image_id *id, struct verity_super *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Bytes the image takes in the data area and in the hash area (0 when id is out of bounds). */
uint64_t image_data_bytes(const struct image_id *id);
uint64_t image_hash_bytes(const struct image_id *id);

/*
 * The index blob, little-endian (docs/format.md):
 *
 *      0  u8[8]  magic "proa-idx"
 *      8  u32    version 2
 *     12  u32    hash type 1
 *     16  u32    data block size 4096
 *     20  u32    hash block size 4096
 *     24  u32    most raw bytes of a frame 2097152
 *     28  u32    bytes of a cut leaf hash 8
 *     32  u64    data blocks
 *     40  u64    length of the full blob, seek table included
 *     48  u64    offset of the upper levels (512)      56  u64  bytes
 *     64  u64    offset of the frames                  72  u64  bytes (4 * frames)
 *     80  u64    offset of the cut leaf hashes         88  u64  bytes (8 * data blocks)
 *     96  u32    salt length, 0 to 256
 *    100  u8[32] "sha256", zero-padded
 *    132  u8[256] salt, zero-padded
 *    388  zero up to 512
 *    512  the levels of the tree above the leaves, top first, exactly as in the hash area
 *      .  every frame of the full blob, u32: see seekable_table_from_entries()
 *      .  the first 8 bytes of every leaf hash
 *
 * The three parts follow one another without gaps, so the length of the blob says how many frames
 * there are. A host that knows the id reads only the prefix it needs: up to the upper levels to
 * prove groups, up to the frames to fetch from the full blob (so it needs no seek table, which a
 * server without ranges would give last), all to plan from any base. Nothing here is trusted: upper
 * levels must lead to the root hash, a wrong size makes a frame that does not decode or a group
 * that is not proved, cut hashes only guide the plan.
 */
#define IMAGE_INDEX_HEADER 512u

enum image_index_part { IMAGE_INDEX_UPPER, IMAGE_INDEX_FRAMES, IMAGE_INDEX_LEAVES };
/*
 * Length of the blob up to the end of that part: known from the id alone. 0: id out of bounds, or
 * index_bytes is not what an index of this image can have.
 */
uint64_t image_index_bytes(const struct image_id *id, enum image_index_part through);

/* index_bytes with so many frames; 0: id out of bounds. */
uint64_t image_index_length(const struct image_id *id, size_t frames);

/*
 * A checked index. upper and leaves point into the bytes given to image_index_parse(), which
 * must outlive it.
 */
struct image_index {
	struct image_id id;
	struct verity_super super;
	struct verity_geometry geometry;
	struct verity_proof *proof; /* the upper levels, already proved */
	const uint8_t *upper;
	size_t upper_n;
	uint64_t full_bytes;          /* length of the full blob */
	struct seekable_table *table; /* its frames, or NULL when the prefix ended before */
	const uint8_t *leaves;        /* cut leaf hashes, or NULL likewise */
};
#define IMAGE_LEAF_CUT 8u

void image_index_free(struct image_index *x);
static inline void image_index_freep(struct image_index **x)
{
	image_index_free(*x);
}
#define AUTO_IMAGE_INDEX __attribute__((cleanup(image_index_freep))) struct image_index

/*
 * p[0..n): the blob, or exactly one of its prefixes (image_index_bytes()). It must describe the
 * image `id`, and a full blob of full_bytes when that is not 0. Pure. ERR_INPUT: malformed or of
 * another length; ERR_REFUSED: well-formed, but not of this image (-EBADMSG).
 */
int image_index_parse(const uint8_t *p, size_t n, const struct image_id *id, uint64_t full_bytes,
		      struct image_index **ret, struct err *e) __attribute__((warn_unused_result));

/*
 * For the publisher: the blob from its parts, appended to out. leaves: cut hashes behind one
 * another; frames: seekable_entry() of each, little-endian. Lengths must fit the id (ERR_BUG).
 */
struct image_index_parts {
	const struct image_id *id; /* index_bytes included */
	uint64_t full_bytes;
	const void *upper, *frames, *leaves;
	size_t upper_n, frames_n, leaves_n;
};
int image_index_format(const struct image_index_parts *parts, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

#endif
