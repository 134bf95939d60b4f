/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/leaves.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"

#define CHUNK ((size_t)64 << 10)

void image_leaves_free(struct image_leaves *l)
{
	if (!l)
		return;
	free(l->cut);
	free(l->table);
	free(l);
}

static struct image_leaves *leaves_alloc(uint64_t blocks)
{
	AUTO_IMAGE_LEAVES *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->blocks = blocks;
	l->cut = calloc((size_t)blocks, IMAGE_LEAF_CUT);
	for (l->slots = 16; l->slots < 2 * blocks;)
		l->slots *= 2;
	l->table = calloc(l->slots, sizeof(*l->table));
	return l->cut && l->table ? TAKE(l) : NULL;
}

static const uint8_t *cut_of(const struct image_leaves *l, uint64_t block)
{
	return l->cut + block * IMAGE_LEAF_CUT;
}

/* Cut hashes are as good as random, so they are their own place in the table. */
static size_t slot_find(const struct image_leaves *l, const uint8_t *cut)
{
	size_t at = (size_t)le64_get(cut) & (l->slots - 1);

	while (l->table[at] && memcmp(cut_of(l, l->table[at] - 1), cut, IMAGE_LEAF_CUT) != 0)
		at = (at + 1) & (l->slots - 1);
	return at;
}

static void table_fill(struct image_leaves *l)
{
	for (uint64_t b = 0; b < l->blocks; b++) {
		size_t at = slot_find(l, cut_of(l, b));

		if (!l->table[at])
			l->table[at] = (uint32_t)b + 1;
	}
}

uint64_t image_leaves_find(const struct image_leaves *l, const uint8_t *cut, uint64_t near)
{
	uint32_t found;

	if (near < l->blocks && memcmp(cut_of(l, near), cut, IMAGE_LEAF_CUT) == 0)
		return near;
	found = l->table[slot_find(l, cut)];
	return found ? found - 1 : UINT64_MAX;
}

int image_leaves_new(const uint8_t *cut, uint64_t blocks, struct image_leaves **ret, struct err *e)
{
	struct image_leaves *l;

	if (blocks == 0 || blocks > IMAGE_BLOCKS_MAX)
		return err_set(e, ERR_BUG, EINVAL, "leaf hashes of an impossible image");
	l = leaves_alloc(blocks);
	if (!l)
		return err_set(e, ERR_HOST, ENOMEM, "leaf hashes");
	memcpy(l->cut, cut, (size_t)blocks * IMAGE_LEAF_CUT);
	table_fill(l);
	*ret = l;
	return 0;
}

static bool alike(const struct verity_super *s, const struct image_id *like)
{
	return s->hash_type == 1 && s->algorithm == DIGEST_SHA256 && s->data_block == IMAGE_BLOCK &&
	       s->hash_block == IMAGE_BLOCK && s->data_blocks >= 1 &&
	       s->data_blocks <= IMAGE_BLOCKS_MAX && s->salt_n == like->salt_n &&
	       memcmp(s->salt, like->salt, like->salt_n) == 0;
}

static int tree_find(struct sys *sys, const struct verity_area *hash, const struct image_id *like,
		     struct verity_super *s, struct verity_geometry *g, struct err *e)
{
	int r = verity_super_read(sys, hash, s, e);

	if (r >= 0)
		r = verity_geometry(s, g, e);
	if (r < 0 || !alike(s, like) || g->levels == 0 || g->bytes > hash->bytes)
		return err_set(e, ERR_HOST, ENODATA, "the slot has no tree that compares");
	return 0;
}

bool image_leaves_compare(struct sys *sys, const struct verity_area *hash,
			  const struct image_id *like)
{
	struct verity_geometry g = { .levels = 0 };
	struct verity_super s;

	return tree_find(sys, hash, like, &s, &g, NULL) == 0;
}

int image_tree_open(struct sys *sys, const struct verity_area *hash, const struct image_id *like,
		    struct image_tree *ret, struct err *e)
{
	struct verity_super s;
	struct verity_geometry g = { .levels = 0 };
	int r = tree_find(sys, hash, like, &s, &g, e);

	if (r < 0)
		return r;
	*ret = (struct image_tree){
		.sys = sys, .hash = *hash, .at = g.level[0].offset, .blocks = s.data_blocks
	};
	return 0;
}

int image_tree_digests(const struct image_tree *t, uint64_t first, size_t n, uint8_t *out,
		       struct err *e)
{
	int r;

	if (n > t->blocks || first > t->blocks - n)
		return err_set(e, ERR_HOST, ENODATA, "the slot has fewer blocks");
	r = sys_read_full(t->sys, t->hash.fd, out, n * SHA256_BYTES,
			  t->hash.offset + t->at + first * SHA256_BYTES);
	return r < 0 ? err_set(e, ERR_HOST, -r, "read the leaf hashes of a slot: %s", strerror(-r))
		     : 0;
}

int image_tree_cuts(const struct image_tree *t, uint64_t n, uint8_t *out, struct err *e)
{
	AUTO_FREE uint8_t *p = malloc(CHUNK);
	int r = 0;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "leaf hashes");
	for (uint64_t b = 0; r >= 0 && b < n;) {
		size_t k = n - b < CHUNK / SHA256_BYTES ? (size_t)(n - b) : CHUNK / SHA256_BYTES;

		r = image_tree_digests(t, b, k, p, e);
		for (size_t i = 0; r >= 0 && i < k; i++)
			memcpy(out + IMAGE_LEAF_CUT * b++, p + i * SHA256_BYTES, IMAGE_LEAF_CUT);
	}
	(void)t->sys->ops->forget(t->sys, t->hash.fd, t->hash.offset + t->at, n * SHA256_BYTES);
	return r;
}

int image_leaves_read(struct sys *sys, const struct verity_area *hash, const struct image_id *like,
		      struct image_leaves **ret, struct err *e)
{
	AUTO_IMAGE_LEAVES *l = NULL;
	struct image_tree t;
	int r = image_tree_open(sys, hash, like, &t, e);

	if (r < 0)
		return r;
	l = leaves_alloc(t.blocks);
	if (!l)
		return err_set(e, ERR_HOST, ENOMEM, "leaf hashes");
	r = image_tree_cuts(&t, t.blocks, l->cut, e);
	if (r < 0)
		return r;
	table_fill(l);
	*ret = TAKE(l);
	return 0;
}

static void group_lend(const struct image_index *x, uint64_t group, const uint8_t *digests,
		       uint8_t *cut)
{
	size_t n = verity_group_blocks(&x->super, &x->geometry, group);
	uint8_t *to = cut + group * (IMAGE_GROUP / IMAGE_BLOCK) * IMAGE_LEAF_CUT;

	for (size_t i = 0; i < n; i++)
		memcpy(to + i * IMAGE_LEAF_CUT, digests + i * SHA256_BYTES, IMAGE_LEAF_CUT);
}

int image_leaves_lend(struct sys *sys, const struct verity_area *hash, const struct image_index *x,
		      uint8_t *cut, uint8_t *have, struct err *e)
{
	uint8_t digests[IMAGE_BLOCK]; /* one hash block: those of a group */
	uint64_t groups = verity_groups(&x->super, &x->geometry);
	struct verity_geometry g = { .levels = 0 };
	struct verity_super s;
	int r = tree_find(sys, hash, &x->id, &s, &g, e), n = 0;

	if (r < 0)
		return r;
	for (uint64_t i = 0; i < groups && i < verity_groups(&s, &g); i++) {
		size_t blocks = verity_group_blocks(&x->super, &x->geometry, i);

		if (blocks != verity_group_blocks(&s, &g, i))
			continue;
		r = sys_read_full(sys, hash->fd, digests, blocks * SHA256_BYTES,
				  hash->offset + g.level[0].offset + i * IMAGE_BLOCK);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "read the leaf hashes of a slot: %s",
				       strerror(-r));
		if (verity_proof_group(x->proof, i, digests, blocks, NULL) < 0)
			continue;
		group_lend(x, i, digests, cut);
		have[i] = 1;
		n++;
	}
	(void)sys->ops->forget(sys, hash->fd, hash->offset + g.level[0].offset,
			       s.data_blocks * SHA256_BYTES);
	return n;
}
