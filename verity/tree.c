/* SPDX-License-Identifier: Apache-2.0 */
#include "verity/tree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/num.h"

static int too_big(struct err *e)
{
	return err_set(e, ERR_INPUT, EOVERFLOW, "verity: the hash tree is larger than a device");
}

int verity_geometry(const struct verity_super *s, struct verity_geometry *ret, struct err *e)
{
	struct verity_geometry g = { .digest_bytes = (unsigned)digest_size(s->algorithm) };
	uint64_t n = s->data_blocks, at;
	int r = verity_super_check(s, e);

	if (r < 0)
		return r;
	g.slot = g.digest_bytes;
	g.per_block = 1;
	while (g.per_block * 2 * g.digest_bytes <= s->hash_block)
		g.per_block *= 2;
	if (s->hash_type == 1) /* padded to a power of two, so that a slot is found by shifting */
		for (g.slot = 1; g.slot < g.digest_bytes;)
			g.slot *= 2;

	while (n > 1) {
		assert(g.levels < VERITY_LEVELS_MAX);
		n = n / g.per_block + (n % g.per_block != 0);
		g.level[g.levels++].blocks = n;
	}
	at = s->hash_block; /* the superblock takes one whole hash block */
	for (unsigned l = g.levels; l-- > 0;) {
		uint64_t bytes;

		g.level[l].offset = at;
		if (!num_mul(g.level[l].blocks, s->hash_block, &bytes) ||
		    !num_add(at, bytes, &at) || at > INT64_MAX)
			return too_big(e);
	}
	g.bytes = at;
	*ret = g;
	return 0;
}

struct verity_hasher {
	struct digest *d;
	size_t digest_bytes, suffix_n;
	uint8_t suffix[VERITY_SALT_MAX]; /* the salt of hash type 0 */
};

int verity_hasher_new(const struct verity_super *s, struct verity_hasher **ret, struct err *e)
{
	AUTO_VERITY_HASHER *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return err_set(e, ERR_HOST, ENOMEM, "verity: out of memory");
	h->digest_bytes = digest_size(s->algorithm);
	if (s->hash_type == 0) {
		h->suffix_n = s->salt_n;
		memcpy(h->suffix, s->salt, s->salt_n);
	}
	r = digest_new(s->algorithm, s->salt, s->hash_type == 0 ? 0 : s->salt_n, &h->d, e);
	if (r < 0)
		return r;
	*ret = TAKE(h);
	return 0;
}

void verity_hasher_free(struct verity_hasher *h)
{
	if (!h)
		return;
	digest_free(h->d);
	free(h);
}

void verity_hash_block(struct verity_hasher *h, const void *block, size_t n, uint8_t *out)
{
	digest_add(h->d, block, n);
	if (h->suffix_n > 0)
		digest_add(h->d, h->suffix, h->suffix_n);
	digest_end(h->d, out);
}

void verity_hash_blocks(struct verity_hasher *h, const void *blocks, size_t block_n, size_t count,
			uint8_t *out)
{
	const uint8_t *p = blocks;

	if (h->suffix_n == 0) {
		digest_each(h->d, blocks, block_n, count, out);
		return;
	}
	for (size_t i = 0; i < count; i++)
		verity_hash_block(h, p + i * block_n, block_n, out + i * h->digest_bytes);
}

struct verity_tree {
	struct verity_super s;
	struct verity_geometry g;
	struct verity_hasher *h;
	verity_write_fn fn;
	void *arg;
	uint64_t added;           /* data blocks so far */
	uint8_t root[DIGEST_MAX]; /* once the top block, or the only data block, is in */
	struct {
		uint64_t block; /* the one being filled */
		unsigned n;     /* digests in it */
		uint8_t *p;     /* hash_block bytes, zero behind the digests */
	} level[VERITY_LEVELS_MAX];
};

static int tree_init(struct verity_tree *t, const struct verity_super *s, struct err *e)
{
	int r = verity_geometry(s, &t->g, e);

	if (r < 0)
		return r;
	t->s = *s;
	r = verity_hasher_new(s, &t->h, e);
	if (r < 0)
		return r;
	for (unsigned l = 0; l < t->g.levels; l++) {
		t->level[l].p = calloc(1, s->hash_block);
		if (!t->level[l].p)
			return err_set(e, ERR_HOST, ENOMEM, "verity: out of memory");
	}
	return 0;
}

int verity_tree_new(const struct verity_super *s, verity_write_fn fn, void *arg,
		    struct verity_tree **ret, struct err *e)
{
	struct verity_tree *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(e, ERR_HOST, ENOMEM, "verity: out of memory");
	t->fn = fn;
	t->arg = arg;
	r = tree_init(t, s, e);
	if (r < 0) {
		verity_tree_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void verity_tree_free(struct verity_tree *t)
{
	if (!t)
		return;
	for (unsigned l = 0; l < VERITY_LEVELS_MAX; l++)
		free(t->level[l].p);
	verity_hasher_free(t->h);
	free(t);
}

/* Writes out the block being filled on level l; its digest is the next of the level above. */
static int flush_level(struct verity_tree *t, unsigned l, uint8_t *ret_digest, struct err *e)
{
	uint64_t at = t->g.level[l].offset + t->level[l].block * t->s.hash_block;
	int r = t->fn ? t->fn(t->arg, at, t->level[l].p, t->s.hash_block, e) : 0;

	if (r < 0)
		return r;
	verity_hash_block(t->h, t->level[l].p, t->s.hash_block, ret_digest);
	memset(t->level[l].p, 0, t->s.hash_block);
	t->level[l].n = 0;
	t->level[l].block++;
	return 0;
}

/* Puts one digest on level l and carries full blocks upwards. */
static int put(struct verity_tree *t, unsigned l, const uint8_t *digest, struct err *e)
{
	uint8_t up[DIGEST_MAX];

	memcpy(up, digest, t->g.digest_bytes);
	for (; l < t->g.levels; l++) {
		memcpy(t->level[l].p + (size_t)t->level[l].n * t->g.slot, up, t->g.digest_bytes);
		if (++t->level[l].n < t->g.per_block)
			return 0;
		int r = flush_level(t, l, up, e);

		if (r < 0)
			return r;
	}
	memcpy(t->root, up, t->g.digest_bytes);
	return 0;
}

static int check_room(const struct verity_tree *t, uint64_t count, struct err *e)
{
	if (count > t->s.data_blocks - t->added)
		return err_set(e, ERR_BUG, EINVAL, "verity: more than %llu data blocks",
			       (unsigned long long)t->s.data_blocks);
	return 0;
}

int verity_tree_add_digests(struct verity_tree *t, const uint8_t *digests, size_t count,
			    struct err *e)
{
	int r = check_room(t, count, e);

	for (size_t i = 0; r >= 0 && i < count; i++) {
		r = put(t, 0, digests + i * t->g.digest_bytes, e);
		t->added++;
	}
	return r;
}

int verity_tree_add(struct verity_tree *t, const void *data, size_t n, struct err *e)
{
	const uint8_t *p = data;
	int r;

	if (n % t->s.data_block != 0)
		return err_set(e, ERR_BUG, EINVAL, "verity: %zu bytes are not whole data blocks",
			       n);
	r = check_room(t, n / t->s.data_block, e);
	for (size_t at = 0; r >= 0 && at < n; at += t->s.data_block) {
		uint8_t digest[DIGEST_MAX];

		verity_hash_block(t->h, p + at, t->s.data_block, digest);
		r = put(t, 0, digest, e);
		t->added++;
	}
	return r;
}

int verity_tree_end(struct verity_tree *t, uint8_t ret_root[DIGEST_MAX], struct err *e)
{
	uint8_t block[VERITY_BLOCK_MAX] = { 0 };
	int r = 0;

	if (t->added != t->s.data_blocks)
		return err_set(e, ERR_BUG, EINVAL, "verity: %llu of %llu data blocks",
			       (unsigned long long)t->added, (unsigned long long)t->s.data_blocks);
	for (unsigned l = 0; r >= 0 && l < t->g.levels; l++) {
		uint8_t digest[DIGEST_MAX];

		if (t->level[l].n == 0) /* the last block of this level was full */
			continue;
		r = flush_level(t, l, digest, e);
		if (r >= 0)
			r = put(t, l + 1, digest, e);
	}
	if (r < 0)
		return r;
	verity_super_format(&t->s, block);
	r = t->fn ? t->fn(t->arg, 0, block, t->s.hash_block, e) : 0;
	if (r < 0)
		return r;
	memcpy(ret_root, t->root, t->g.digest_bytes);
	return 0;
}
