/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VERITY_TREE_H
#define VERITY_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "verity/super.h"

/* The Merkle tree, in memory only: where its blocks lie, their hashes, and a streaming builder. */

/* 512-byte hash blocks of eight sha512 digests: 8^21 = 2^63 data blocks. */
#define VERITY_LEVELS_MAX 22

struct verity_geometry {
	unsigned levels; /* 0 when there is one data block: its digest is the root */
	struct {
		uint64_t
			offset; /* bytes from the start of the hash area (the superblock is at 0) */
		uint64_t blocks;     /* hash blocks */
	} level[VERITY_LEVELS_MAX];  /* [0] holds the digests of data blocks, [levels - 1] one block
				      */
	uint64_t bytes;              /* the whole hash area, superblock included */
	unsigned digest_bytes, slot; /* a digest, and the bytes it takes in a hash block */
	unsigned per_block;          /* digests in a hash block, a power of two */
};

/*
 * Where the tree of s lies. s must have passed verity_super_check(). ERR_INPUT -EOVERFLOW when data
 * or hash area would not fit in 2^63 - 1 bytes.
 */
int verity_geometry(const struct verity_super *s, struct verity_geometry *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Hashes blocks as s says. Not for two threads at once. */
struct verity_hasher;
int verity_hasher_new(const struct verity_super *s, struct verity_hasher **ret, struct err *e)
	__attribute__((warn_unused_result));
void verity_hasher_free(struct verity_hasher *h);
static inline void verity_hasher_freep(struct verity_hasher **h)
{
	verity_hasher_free(*h);
}
#define AUTO_VERITY_HASHER __attribute__((cleanup(verity_hasher_freep))) struct verity_hasher

/* The digest (digest_size() bytes) of one block. */
void verity_hash_block(struct verity_hasher *h, const void *block, size_t n, uint8_t *out);
/* Of `count` blocks of block_n bytes that lie behind one another; digests unpadded behind one
 * another. */
void verity_hash_blocks(struct verity_hasher *h, const void *blocks, size_t block_n, size_t count,
			uint8_t *out);

/*
 * Receives the hash area piece by piece; offset in bytes from its start. Levels grow side by side,
 * so offsets jump, but each byte comes once. The superblock comes last: an unfinished tree never
 * looks whole. Returns 0, or a failure that ends the build.
 */
typedef int (*verity_write_fn)(void *arg, uint64_t offset, const void *p, size_t n, struct err *e);

/* Builds a tree from data blocks or their digests in order, holding one hash block per level. */
struct verity_tree;

/* fn may be NULL: only the root is wanted. s is copied. Errors of verity_geometry(); -ENOMEM. */
int verity_tree_new(const struct verity_super *s, verity_write_fn fn, void *arg,
		    struct verity_tree **ret, struct err *e) __attribute__((warn_unused_result));
void verity_tree_free(struct verity_tree *t);
static inline void verity_tree_freep(struct verity_tree **t)
{
	verity_tree_free(*t);
}
#define AUTO_VERITY_TREE __attribute__((cleanup(verity_tree_freep))) struct verity_tree

/* The next n bytes of data: whole data blocks. ERR_BUG -EINVAL for a part of a block or too many.
 */
int verity_tree_add(struct verity_tree *t, const void *data, size_t n, struct err *e)
	__attribute__((warn_unused_result));

/* The digests of the next `count` data blocks, unpadded behind one another. */
int verity_tree_add_digests(struct verity_tree *t, const uint8_t *digests, size_t count,
			    struct err *e) __attribute__((warn_unused_result));

/*
 * Once all s.data_blocks are in (else ERR_BUG -EINVAL): writes the unfinished blocks and then the
 * superblock, and gives the root hash, digest_size() bytes.
 */
int verity_tree_end(struct verity_tree *t, uint8_t ret_root[DIGEST_MAX], struct err *e)
	__attribute__((warn_unused_result));

#endif
