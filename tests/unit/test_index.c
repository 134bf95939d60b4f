/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "tests/image_make.h"
#include "updater/image/leaves.h"
#include "verity/image.h"

static int parse(const struct made *m, const void *p, size_t n, struct err *e)
{
	AUTO_IMAGE_INDEX *x = NULL;
	uint8_t *copy = malloc(n ? n : 1);
	int r;

	CHECK(copy, "memory");
	memcpy(copy, p, n);
	*e = (struct err)ERR_INIT;
	r = image_index_parse(copy, n, &m->id, m->full_bytes, &x, e);
	CHECK((r < 0) == (x == NULL) && (r < 0) == (e->kind != ERR_NONE), "r=%d", r);
	free(copy);
	return r;
}

/* The parts against what the verity room and the blob itself say. */
static void check_parts(const struct made *m, const struct image_index *x)
{
	struct err e = ERR_INIT;
	int data = mem_file(0), hash = mem_file(image_hash_bytes(&m->id));
	struct verity_area da = { data, 0, m->n }, ha = { hash, 0, image_hash_bytes(&m->id) };
	uint8_t root[DIGEST_MAX], *tree = malloc(ha.bytes);
	uint64_t upper = verity_upper_offset(&x->geometry);

	CHECK(tree && sys_write_full(sys_linux(), data, m->data, m->n, 0) == 0, "write");
	CHECK(verity_format(sys_linux(), &da, &ha, &x->super, NULL, root, &e) == 0, "%s", e.text);
	CHECK(memcmp(root, m->id.root, SHA256_BYTES) == 0, "root");
	CHECK(sys_read_full(sys_linux(), hash, tree, ha.bytes, 0) == 0, "read");
	CHECK(memcmp(tree + (x->upper_n ? upper : 0), x->upper, x->upper_n) == 0, "upper levels");
	for (size_t i = 0; i < m->id.data_blocks; i++) {
		const uint8_t *leaf =
			x->geometry.levels ? tree + x->geometry.level[0].offset + i * SHA256_BYTES
					   : root;

		CHECK(memcmp(leaf, x->leaves + i * IMAGE_LEAF_CUT, IMAGE_LEAF_CUT) == 0, "leaf %zu",
		      i);
	}
	(void)close(data);
	(void)close(hash);
	free(tree);
}

static void test_prefixes(const struct made *m)
{
	const uint8_t *p = (const uint8_t *)m->index.p;
	struct err e = ERR_INIT;
	size_t end[3];

	for (int i = 0; i < 3; i++)
		end[i] = (size_t)image_index_bytes(&m->id, (enum image_index_part)i);
	CHECK(end[2] == m->index.n, "%zu %zu", end[2], m->index.n);
	for (int i = 0; i < 3; i++) {
		AUTO_IMAGE_INDEX *x = NULL;

		CHECK(image_index_parse(p, end[i], &m->id, 0, &x, &e) == 0, "%s", e.text);
		CHECK(!x->table == (i < 1) && !x->leaves == (i < 2), "part %d", i);
		if (i == 2)
			check_parts(m, x);
	}
	for (unsigned k = 0; k < 200; k++) {
		size_t n = (size_t)image_rnd(m->index.n + 1);
		int r = parse(m, p, n, &e);

		if (n != end[0] && n != end[1] && n != end[2])
			CHECK(r == -EMSGSIZE && e.kind == ERR_INPUT, "prefix %zu: %d", n, r);
	}
}

/* A wrong bit anywhere but in the advisory parts is seen; there it is seen later. */
static void test_bits(struct made *m)
{
	uint8_t *p = (uint8_t *)m->index.p;
	size_t trusted = (size_t)image_index_bytes(&m->id, IMAGE_INDEX_UPPER);
	size_t sizes = (size_t)image_index_bytes(&m->id, IMAGE_INDEX_FRAMES);
	struct err e = ERR_INIT;

	for (unsigned k = 0; k < 1500; k++) {
		size_t at = (size_t)image_rnd(k < 700 ? IMAGE_INDEX_HEADER : m->index.n);
		uint8_t bit = (uint8_t)(1u << image_rnd(8));
		int r;

		p[at] ^= bit;
		r = parse(m, p, m->index.n, &e);
		p[at] ^= bit;
		if (at < sizes)
			CHECK(r < 0, "byte %zu accepted", at);
		else
			CHECK(r == 0, "byte %zu: %s", at, e.text);
		if (at >= IMAGE_INDEX_HEADER && at < trusted)
			CHECK(r == -EBADMSG && e.kind == ERR_REFUSED, "byte %zu: %s", at, e.text);
	}
}

static void test_identity(struct made *m)
{
	struct made other = *m;
	struct err e = ERR_INIT;

	other.id.root[3] ^= 1;
	if (m->id.data_blocks > IMAGE_GROUP / IMAGE_BLOCK) { /* else nothing here hangs on it */
		CHECK(parse(&other, m->index.p, m->index.n, &e) == -EBADMSG, "other root");
		CHECK(e.kind == ERR_REFUSED, "%s", e.text);
	}
	other = *m;
	other.full_bytes++;
	CHECK(parse(&other, m->index.p, m->index.n, &e) == -EBADMSG, "other full blob");
	other = *m;
	other.id.salt[0] ^= 1;
	other.id.salt_n = other.id.salt_n ? other.id.salt_n : 1;
	CHECK(parse(&other, m->index.p, m->index.n, &e) == -EBADMSG, "other salt: %s", e.text);
	other = *m;
	other.id.data_blocks = 0;
	CHECK(parse(&other, m->index.p, m->index.n, &e) == -ERANGE, "no blocks: %s", e.text);
	other.id.data_blocks = IMAGE_BLOCKS_MAX + 1;
	CHECK(parse(&other, m->index.p, m->index.n, &e) == -ERANGE, "too many: %s", e.text);
	CHECK(image_data_bytes(&other.id) == 0 && image_hash_bytes(&other.id) == 0 &&
		      image_index_bytes(&other.id, IMAGE_INDEX_UPPER) == 0,
	      "sizes of the impossible");
	other.id.data_blocks = IMAGE_BLOCKS_MAX;
	CHECK(image_data_bytes(&other.id) == (uint64_t)64 << 30, "largest");
	CHECK(parse(&other, m->index.p, m->index.n, &e) == -EMSGSIZE, "%s", e.text);
}

/* Another release in the slot, of which some groups are as they were. */
struct lender {
	struct verity_area hash;
	uint8_t changed[32], have[32];
	int same;
};

static void lender_new(const struct made *m, const struct image_index *x, struct lender *l)
{
	size_t groups = (size_t)(m->id.data_blocks + 127) / 128;
	struct verity_area data = { mem_file(0), 0, m->n };
	uint8_t root[DIGEST_MAX];
	struct err e = ERR_INIT;

	*l = (struct lender){ .hash = { mem_file(image_hash_bytes(&m->id)), 0,
					image_hash_bytes(&m->id) } };
	CHECK(groups <= sizeof(l->changed), "groups");
	CHECK(sys_write_full(sys_linux(), data.fd, m->data, m->n, 0) == 0, "write");
	for (size_t g = 0; g < groups; g++) {
		size_t at = g * IMAGE_GROUP + image_rnd(g + 1 < groups ? IMAGE_GROUP : 4096);
		uint8_t flip = m->data[at] ^ 1;

		l->changed[g] = image_rnd(2) == 0;
		l->same += !l->changed[g];
		if (l->changed[g])
			CHECK(sys_write_full(sys_linux(), data.fd, &flip, 1, at) == 0, "write");
	}
	CHECK(verity_format(sys_linux(), &data, &l->hash, &x->super, NULL, root, &e) == 0, "%s",
	      e.text);
	(void)close(data.fd);
}

/* What did not change is lent, and rightly. */
static void test_lend(const struct made *m)
{
	AUTO_IMAGE_INDEX *x = NULL;
	struct err e = ERR_INIT;
	size_t blocks = m->id.data_blocks;
	uint8_t *cut = calloc(blocks, IMAGE_LEAF_CUT);
	struct lender l;
	int n;

	CHECK(cut, "memory");
	CHECK(image_index_parse((const uint8_t *)m->index.p, m->index.n, &m->id, 0, &x, &e) == 0,
	      "%s", e.text);
	lender_new(m, x, &l);
	n = image_leaves_lend(sys_linux(), &l.hash, x, cut, l.have, &e);
	CHECK(n == (blocks == 1 ? -ENODATA : l.same), "%d groups: %s", n, e.text);
	for (size_t b = 0; n >= 0 && b < blocks; b++) {
		size_t at = b * IMAGE_LEAF_CUT;

		CHECK(l.have[b / 128] == !l.changed[b / 128], "group of block %zu", b);
		CHECK(!l.have[b / 128] || memcmp(cut + at, x->leaves + at, IMAGE_LEAF_CUT) == 0,
		      "block %zu", b);
	}
	(void)close(l.hash.fd);
	free(cut);
}

int main(void)
{
	static const size_t sizes[] = { 1, 2, 15, 16, 17, 127, 128, 129, 255, 256, 257, 2000 };

	dice_seed();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct made m;

		made_new(&m, sizes[i]);
		test_prefixes(&m);
		test_lend(&m);
		test_bits(&m);
		test_identity(&m);
		made_done(&m);
	}
	return 0;
}
