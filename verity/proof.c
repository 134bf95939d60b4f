/* SPDX-License-Identifier: Apache-2.0 */
#include "verity/proof.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct verity_proof {
	struct verity_super s;
	struct verity_geometry g;
	struct verity_hasher *h;
	uint8_t root[DIGEST_MAX];
	uint8_t *upper;
	uint8_t *digests; /* per_block of them, for verity_proof_data() */
};

uint64_t verity_upper_offset(const struct verity_geometry *g)
{
	return g->levels > 0 ? g->level[g->levels - 1].offset : g->bytes;
}

uint64_t verity_upper_bytes(const struct verity_geometry *g)
{
	return g->levels > 1 ? g->level[0].offset - verity_upper_offset(g) : 0;
}

uint64_t verity_groups(const struct verity_super *s, const struct verity_geometry *g)
{
	return s->data_blocks / g->per_block + (s->data_blocks % g->per_block != 0);
}

size_t verity_group_blocks(const struct verity_super *s, const struct verity_geometry *g,
			   uint64_t group)
{
	uint64_t left = s->data_blocks - group * g->per_block;

	assert(group < verity_groups(s, g));
	return left < g->per_block ? (size_t)left : g->per_block;
}

/* Where the digest of block `block` of level l is kept: in the level above, or it is the root. */
static const uint8_t *expected(const struct verity_proof *p, unsigned l, uint64_t block)
{
	uint64_t at;

	if (l + 1 >= p->g.levels)
		return p->root;
	at = p->g.level[l + 1].offset - verity_upper_offset(&p->g);
	at += block / p->g.per_block * p->s.hash_block + block % p->g.per_block * p->g.slot;
	return p->upper + at;
}

static int check_upper(const struct verity_proof *p, struct err *e)
{
	const uint8_t *at = p->upper;

	for (unsigned l = p->g.levels; l-- > 1;)
		for (uint64_t b = 0; b < p->g.level[l].blocks; b++, at += p->s.hash_block) {
			uint8_t digest[DIGEST_MAX];

			verity_hash_block(p->h, at, p->s.hash_block, digest);
			if (memcmp(digest, expected(p, l, b), p->g.digest_bytes) != 0)
				return err_set(
					e, ERR_REFUSED, EBADMSG,
					"verity: hash block %llu of level %u does not lead to "
					"the root hash",
					(unsigned long long)b, l);
		}
	return 0;
}

int verity_proof_new(const struct verity_super *s, const void *upper, size_t n, const uint8_t *root,
		     struct verity_proof **ret, struct err *e)
{
	AUTO_VERITY_PROOF *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "verity: out of memory");
	r = verity_geometry(s, &p->g, e);
	if (r < 0)
		return r;
	if (verity_upper_bytes(&p->g) > VERITY_UPPER_MAX)
		return err_set(e, ERR_INPUT, EFBIG,
			       "verity: %llu bytes of upper tree levels: at most %zu",
			       (unsigned long long)verity_upper_bytes(&p->g), VERITY_UPPER_MAX);
	if (n != verity_upper_bytes(&p->g))
		return err_set(e, ERR_INPUT, EMSGSIZE,
			       "verity: %zu bytes of upper tree levels, expected %llu", n,
			       (unsigned long long)verity_upper_bytes(&p->g));
	p->s = *s;
	r = verity_hasher_new(s, &p->h, e);
	if (r < 0)
		return r;
	p->upper = malloc(n > 0 ? n : 1);
	p->digests = calloc(p->g.per_block, p->g.digest_bytes);
	if (!p->upper || !p->digests)
		return err_set(e, ERR_HOST, ENOMEM, "verity: out of memory");
	if (n > 0)
		memcpy(p->upper, upper, n);
	memcpy(p->root, root, p->g.digest_bytes);
	r = check_upper(p, e);
	if (r < 0)
		return r;
	*ret = TAKE(p);
	return 0;
}

void verity_proof_free(struct verity_proof *p)
{
	if (!p)
		return;
	verity_hasher_free(p->h);
	free(p->upper);
	free(p->digests);
	free(p);
}

const struct verity_super *verity_proof_super(const struct verity_proof *p)
{
	return &p->s;
}

const struct verity_geometry *verity_proof_geometry(const struct verity_proof *p)
{
	return &p->g;
}

int verity_proof_group(struct verity_proof *p, uint64_t group, const uint8_t *digests, size_t count,
		       struct err *e)
{
	uint8_t leaf[VERITY_BLOCK_MAX] = { 0 }, digest[DIGEST_MAX];
	unsigned long long at;

	if (group >= verity_groups(&p->s, &p->g) ||
	    count != verity_group_blocks(&p->s, &p->g, group))
		return err_set(e, ERR_BUG, EINVAL, "verity: %zu digests for group %llu", count,
			       (unsigned long long)group);
	for (size_t i = 0; i < count; i++)
		memcpy(leaf + i * p->g.slot, digests + i * p->g.digest_bytes, p->g.digest_bytes);
	if (p->g.levels == 0) /* one data block: its digest is the root hash */
		memcpy(digest, leaf, p->g.digest_bytes);
	else
		verity_hash_block(p->h, leaf, p->s.hash_block, digest);
	if (memcmp(digest, expected(p, 0, group), p->g.digest_bytes) == 0)
		return 0;
	at = group * p->g.per_block * p->s.data_block;
	return err_set(e, ERR_REFUSED, EBADMSG,
		       "verity: group %llu (data byte %llu on) is not what the root hash says",
		       (unsigned long long)group, at);
}

int verity_proof_data(struct verity_proof *p, uint64_t group, const void *data, size_t n,
		      struct err *e)
{
	size_t count;

	if (group >= verity_groups(&p->s, &p->g))
		return err_set(e, ERR_BUG, EINVAL, "verity: no group %llu",
			       (unsigned long long)group);
	count = verity_group_blocks(&p->s, &p->g, group);
	if (n != count * p->s.data_block)
		return err_set(e, ERR_BUG, EINVAL, "verity: %zu bytes for group %llu", n,
			       (unsigned long long)group);
	verity_hash_blocks(p->h, data, p->s.data_block, count, p->digests);
	return verity_proof_group(p, group, p->digests, count, e);
}
