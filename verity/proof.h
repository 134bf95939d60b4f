/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VERITY_PROOF_H
#define VERITY_PROOF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "verity/super.h"
#include "verity/tree.h"

/*
 * Proves data group by group before the whole is there. A group is what one leaf hash block covers:
 * geometry.per_block data blocks (128 * 4096 bytes with the usual sizes), the last one maybe fewer.
 * "Upper" are the levels above the leaves, top first, as they lie in the hash area.
 */

/* Where the upper levels lie in the hash area and how long they are: 0 with one level or none. */
uint64_t verity_upper_offset(const struct verity_geometry *g);
uint64_t verity_upper_bytes(const struct verity_geometry *g);

/* Groups (1 or more), and the data blocks of one of them; group < verity_groups(). */
uint64_t verity_groups(const struct verity_super *s, const struct verity_geometry *g);
size_t verity_group_blocks(const struct verity_super *s, const struct verity_geometry *g,
			   uint64_t group);

struct verity_proof;

/*
 * Checks upper[0..n) block by block up to the root hash (digest_size() bytes) and keeps a copy. n
 * must be verity_upper_bytes() (ERR_INPUT -EMSGSIZE), at most VERITY_UPPER_MAX (-EFBIG); a block
 * that does not lead to the root is ERR_REFUSED -EBADMSG.
 */
#define VERITY_UPPER_MAX ((size_t)64 << 20)
int verity_proof_new(const struct verity_super *s, const void *upper, size_t n, const uint8_t *root,
		     struct verity_proof **ret, struct err *e) __attribute__((warn_unused_result));
void verity_proof_free(struct verity_proof *p);
static inline void verity_proof_freep(struct verity_proof **p)
{
	verity_proof_free(*p);
}
#define AUTO_VERITY_PROOF __attribute__((cleanup(verity_proof_freep))) struct verity_proof

const struct verity_super *verity_proof_super(const struct verity_proof *p);
const struct verity_geometry *verity_proof_geometry(const struct verity_proof *p);

/*
 * Are these the digests of the data blocks of this group? digests: verity_group_blocks() of them,
 * unpadded behind one another (verity_hash_blocks()). ERR_REFUSED -EBADMSG when they are not. Not
 * for two threads at once.
 */
int verity_proof_group(struct verity_proof *p, uint64_t group, const uint8_t *digests, size_t count,
		       struct err *e) __attribute__((warn_unused_result));

/* The same from the data itself: n = the group's blocks * data_block bytes. */
int verity_proof_data(struct verity_proof *p, uint64_t group, const void *data, size_t n,
		      struct err *e) __attribute__((warn_unused_result));

#endif
