/* SPDX-License-Identifier: Apache-2.0 */
/* Where frames end, against the rules by brute force. */
#include <errno.h>

#include "base/cleanup.h"
#include "tests/image_make.h"
#include "updater/image/leaves.h"
#include "verity/image.h"

enum { BLOCKS_MAX = 3000, BASES_MAX = 4 };

/* Stretches of all lengths, gaps of every length between them. */
static void lack_fill(uint8_t *lack, uint64_t blocks)
{
	const uint64_t kinds = 1 + image_rnd(4), longest = 1 + image_rnd(image_rnd(2) ? 4 : 1500);

	for (uint64_t at = 0, n; at < blocks; at += n) {
		n = 1 + image_rnd(longest);
		n = n < blocks - at ? n : blocks - at;
		memset(lack + at, (int)image_rnd(kinds), n);
	}
}

/* Blocks [at, end) are one frame: what they hold besides the commonest are gaps that are short. */
static void check_alike(const uint8_t *lack, uint64_t at, uint64_t end)
{
	const uint8_t most = lack[at];

	CHECK(lack[end - 1] == most, "a frame that ends in a gap");
	for (uint64_t b = at, gap = 0; b < end; b++) {
		CHECK(lack[b] <= most, "a frame with newer blocks");
		gap = lack[b] == most ? 0 : gap + 1;
		CHECK(gap < IMAGE_SPLIT_MIN, "a frame with a gap of %llu", (unsigned long long)gap);
	}
}

/* Two frames that follow each other could not be one. */
static void check_apart(const uint8_t *lack, uint64_t at, uint64_t mid, uint64_t end)
{
	if (lack[mid - 1] != lack[mid])
		return;
	if (lack[mid] == 0)
		CHECK(mid % IMAGE_SPLIT_OLD == 0, "cut at %llu", (unsigned long long)mid);
	else /* a long stretch in even parts */
		CHECK(end - at > IMAGE_SPLIT_NEW, "%llu and %llu blocks apart",
		      (unsigned long long)(mid - at), (unsigned long long)(end - mid));
}

static void try_make(void)
{
	AUTO_IMAGE_SPLIT s = { NULL, 0 };
	const uint64_t blocks = 1 + image_rnd(BLOCKS_MAX);
	AUTO_FREE uint8_t *lack = calloc(blocks, 1);
	struct err e = ERR_INIT;
	uint64_t at = 0, before = 0;

	CHECK(lack, "memory");
	lack_fill(lack, blocks);
	CHECK(image_split_make(lack, blocks, &s, &e) == 0, "%s", e.text);
	for (size_t i = 0; i < s.n; i++) {
		uint64_t end = at + s.blocks[i];

		CHECK(end > at && end <= blocks, "frame %zu", i);
		check_alike(lack, at, end);
		CHECK(end - at <= (lack[at] ? IMAGE_SPLIT_NEW : IMAGE_SPLIT_OLD), "long");
		if (i > 0)
			check_apart(lack, before, at, end);
		before = at;
		at = end;
	}
	CHECK(at == blocks, "%llu of %llu blocks", (unsigned long long)at,
	      (unsigned long long)blocks);
}

/* More frames than a table may have: as if nothing were known. */
static void test_too_many(void)
{
	AUTO_IMAGE_SPLIT s = { NULL, 0 };
	const uint64_t blocks = 2 * SEEKABLE_FRAMES_MAX;
	AUTO_FREE uint8_t *lack = calloc(blocks, 1);
	struct err e = ERR_INIT;

	CHECK(lack, "memory");
	for (uint64_t b = 0; b < blocks; b += 3)
		lack[b] = 1;
	CHECK(image_split_make(lack, blocks, &s, &e) == 0, "%s", e.text);
	CHECK(s.n == blocks / IMAGE_SPLIT_OLD, "%zu frames", s.n);
}

static void leaves_of(const uint8_t *data, uint64_t blocks, struct verity_hasher *h, uint8_t *cut)
{
	for (uint64_t b = 0; b < blocks; b++) {
		uint8_t digest[DIGEST_MAX];

		verity_hash_block(h, data + b * IMAGE_BLOCK, IMAGE_BLOCK, digest);
		memcpy(cut + b * IMAGE_LEAF_CUT, digest, IMAGE_LEAF_CUT);
	}
}

/* A base with some of the blocks, somewhere, and some of its own. */
static struct image_leaves *base_some(const uint8_t *cut, uint64_t blocks)
{
	struct image_leaves *l = NULL;
	uint64_t n = 1 + image_rnd(2 * blocks);
	AUTO_FREE uint8_t *has = malloc(n * IMAGE_LEAF_CUT);
	struct err e = ERR_INIT;

	CHECK(has, "memory");
	image_noise(has, n * IMAGE_LEAF_CUT);
	for (uint64_t b = 0; b < n; b++)
		if (image_rnd(3))
			memcpy(has + b * IMAGE_LEAF_CUT, cut + image_rnd(blocks) * IMAGE_LEAF_CUT,
			       IMAGE_LEAF_CUT);
	CHECK(image_leaves_new(has, n, &l, &e) == 0, "%s", e.text);
	return l;
}

static bool block_there(const struct image_leaves *l, const uint8_t *cut)
{
	for (uint64_t b = 0; b < l->blocks; b++)
		if (memcmp(l->cut + b * IMAGE_LEAF_CUT, cut, IMAGE_LEAF_CUT) == 0)
			return true;
	return false;
}

static void try_find(void)
{
	static const uint8_t zero[IMAGE_BLOCK];
	AUTO_IMAGE_SPLIT s = { NULL, 0 };
	AUTO_IMAGE_SPLIT want = { NULL, 0 };
	AUTO_VERITY_HASHER *h = NULL;
	struct image_leaves *base[BASES_MAX];
	struct image_id id = { .data_blocks = 1 + image_rnd(600), .salt_n = 32 };
	struct image_split_job job = {
		.sys = sys_linux(), .fd = mem_file(0), .id = &id, .base = base
	};
	const uint64_t blocks = id.data_blocks;
	AUTO_FREE uint8_t *data = malloc(blocks * IMAGE_BLOCK);
	AUTO_FREE uint8_t *cut = malloc(blocks * IMAGE_LEAF_CUT);
	AUTO_FREE uint8_t *lack = calloc(blocks, 1);
	struct verity_super super;
	struct err e = ERR_INIT;

	CHECK(data && cut && lack, "memory");
	image_noise(id.salt, 32);
	image_fill(data, blocks * IMAGE_BLOCK);
	CHECK(image_super(&id, &super, &e) == 0 && verity_hasher_new(&super, &h, &e) == 0, "%s",
	      e.text);
	CHECK(sys_write_full(sys_linux(), job.fd, data, blocks * IMAGE_BLOCK, 0) == 0, "write");
	leaves_of(data, blocks, h, cut);
	for (job.bases = 0; job.bases < image_rnd(BASES_MAX + 1); job.bases++)
		base[job.bases] = base_some(cut, blocks);
	for (uint64_t b = 0; b < blocks; b++)
		for (size_t i = 0; i < job.bases; i++)
			if (memcmp(data + b * IMAGE_BLOCK, zero, IMAGE_BLOCK) != 0 &&
			    !block_there(base[i], cut + b * IMAGE_LEAF_CUT))
				lack[b]++;
	CHECK(image_split_find(&job, &s, &e) == 0, "%s", e.text);
	CHECK(image_split_make(lack, blocks, &want, &e) == 0, "%s", e.text);
	CHECK(s.n == want.n && memcmp(s.blocks, want.blocks, s.n * sizeof(*s.blocks)) == 0,
	      "%zu frames, not %zu", s.n, want.n);
	for (size_t i = 0; i < job.bases; i++)
		image_leaves_free(base[i]);
	(void)close(job.fd);
}

static void test_short_file(void)
{
	AUTO_IMAGE_SPLIT s = { NULL, 0 };
	struct image_id id = { .data_blocks = 100 };
	uint8_t one[IMAGE_LEAF_CUT] = { 1 };
	struct image_leaves *base = NULL;
	struct err e = ERR_INIT;
	struct image_split_job job = { .sys = sys_linux(),
				       .fd = mem_file(UINT64_C(99) * IMAGE_BLOCK),
				       .id = &id,
				       .base = &base,
				       .bases = 1 };

	CHECK(image_leaves_new(one, 1, &base, &e) == 0, "%s", e.text);
	CHECK(image_split_find(&job, &s, &e) < 0 && e.kind == ERR_HOST && !s.blocks, "%s", e.text);
	image_leaves_free(base);
	(void)close(job.fd);
}

int main(void)
{
	dice_seed();
	for (unsigned k = 0; k < 4000; k++)
		try_make();
	for (unsigned k = 0; k < 60; k++)
		try_find();
	test_too_many();
	test_short_file();
	return 0;
}
