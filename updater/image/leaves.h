/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_LEAVES_H
#define UPDATER_IMAGE_LEAVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/index.h"
#include "verity/image.h"

struct sys;

/*
 * What a slot says it holds: its leaf hashes, cut to IMAGE_LEAF_CUT bytes, read from its own hash
 * area instead of hashing its data. A guide, not a proof: whatever is made with it is proved.
 */
struct image_leaves {
	uint64_t blocks;
	uint8_t *cut;    /* blocks * IMAGE_LEAF_CUT bytes */
	size_t slots;    /* of `table`, a power of two */
	uint32_t *table; /* block + 1 by cut hash, 0: free */
};

void image_leaves_free(struct image_leaves *l);
static inline void image_leaves_freep(struct image_leaves **l)
{
	image_leaves_free(*l);
}
#define AUTO_IMAGE_LEAVES __attribute__((cleanup(image_leaves_freep))) struct image_leaves

/*
 * Leaf hashes compare only when they were made alike: the superblock in the hash area must be
 * sha256, type 1, 4096-byte blocks with the salt of `like` (ERR_HOST -ENODATA otherwise, also when
 * there is no tree at all). 24 bytes of memory for every block.
 */
int image_leaves_read(struct sys *sys, const struct verity_area *hash, const struct image_id *like,
		      struct image_leaves **ret, struct err *e) __attribute__((warn_unused_result));

/* True if image_leaves_read() would find leaf hashes there, as far as the superblock tells. */
bool image_leaves_compare(struct sys *sys, const struct verity_area *hash,
			  const struct image_id *like);

/* The leaf hashes of a slot, where they lie. As little of a proof. */
struct image_tree {
	struct sys *sys;
	struct verity_area hash;
	uint64_t at, blocks; /* of the first one in the area; how many, 0: there is no tree */
};

/* ERR_HOST -ENODATA as image_leaves_read(). */
int image_tree_open(struct sys *sys, const struct verity_area *hash, const struct image_id *like,
		    struct image_tree *ret, struct err *e) __attribute__((warn_unused_result));

/* The digests of blocks [first, first + n) behind one another; ERR_HOST -ENODATA beyond the end. */
int image_tree_digests(const struct image_tree *t, uint64_t first, size_t n, uint8_t *out,
		       struct err *e) __attribute__((warn_unused_result));

/* The first n of them (at most t->blocks), cut to IMAGE_LEAF_CUT bytes. */
int image_tree_cuts(const struct image_tree *t, uint64_t n, uint8_t *out, struct err *e)
	__attribute__((warn_unused_result));

/* From cut hashes in memory, which are copied; blocks 1 or more. Pure. */
int image_leaves_new(const uint8_t *cut, uint64_t blocks, struct image_leaves **ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * A block with that cut hash: `near` if it is one, else the lowest; UINT64_MAX when there is none.
 */
uint64_t image_leaves_find(const struct image_leaves *l, const uint8_t *cut, uint64_t near);

/*
 * Cut leaf hashes of image x that need not be fetched, since the tree in `hash` has the same group
 * at the same place, which the upper levels of x prove: into cut[IMAGE_LEAF_CUT * block], and 1
 * into have[group]; the rest of both stays as it is. Returns how many groups; ERR_HOST -ENODATA as
 * image_leaves_read().
 */
int image_leaves_lend(struct sys *sys, const struct verity_area *hash, const struct image_index *x,
		      uint8_t *cut, uint8_t *have, struct err *e)
	__attribute__((warn_unused_result));

#endif
