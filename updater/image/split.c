/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"

#define READ_BLOCKS 256u

void image_split_done(struct image_split *s)
{
	free(s->blocks);
	*s = (struct image_split){ NULL, 0 };
}

/* Where the stretch of equal numbers that begins at block `at` ends. */
static uint64_t stretch_end(const uint8_t *lack, uint64_t blocks, uint64_t at)
{
	uint64_t end = at + 1;

	while (end < blocks && lack[end] == lack[at])
		end++;
	return end;
}

/* The same, with short gaps that fewer bases lack, each at the price of a frame, taken along. */
static uint64_t stretch_take(const uint8_t *lack, uint64_t blocks, uint64_t at)
{
	uint64_t end = stretch_end(lack, blocks, at);

	while (end < blocks && lack[end] < lack[at]) {
		uint64_t gap = stretch_end(lack, blocks, end);

		if (gap - end >= IMAGE_SPLIT_MIN || gap == blocks || lack[gap] != lack[at])
			break;
		end = stretch_end(lack, blocks, gap);
	}
	return end;
}

/* Of what hosts need whole: as few frames as there must be, of about the same length. */
static void cut_new(struct image_split *s, uint64_t n)
{
	uint64_t frames = (n + IMAGE_SPLIT_NEW - 1) / IMAGE_SPLIT_NEW;

	for (uint64_t i = 0; i < frames; i++)
		s->blocks[s->n++] = (uint32_t)(n * (i + 1) / frames - n * i / frames);
}

/* Of the rest: in step with the groups, each of which is written by itself. */
static void cut_old(struct image_split *s, uint64_t at, uint64_t end)
{
	while (at < end) {
		uint64_t next = (at / IMAGE_SPLIT_OLD + 1) * IMAGE_SPLIT_OLD;

		next = next < end ? next : end;
		s->blocks[s->n++] = (uint32_t)(next - at);
		at = next;
	}
}

static void split_all(struct image_split *s, const uint8_t *lack, uint64_t blocks)
{
	for (uint64_t at = 0, end; at < blocks; at = end) {
		end = stretch_take(lack, blocks, at);
		if (lack[at])
			cut_new(s, end - at);
		else
			cut_old(s, at, end);
	}
}

int image_split_make(const uint8_t *lack, uint64_t blocks, struct image_split *ret, struct err *e)
{
	struct image_split s = { calloc((size_t)blocks, sizeof(*s.blocks)), 0 };
	uint32_t *less;

	if (!s.blocks)
		return err_set(e, ERR_HOST, ENOMEM, "frames of an image");
	split_all(&s, lack, blocks);
	if (s.n > SEEKABLE_FRAMES_MAX) { /* more would be refused */
		s.n = 0;
		cut_old(&s, 0, blocks);
	}
	less = realloc(s.blocks, s.n * sizeof(*s.blocks));
	s.blocks = less ? less : s.blocks;
	*ret = s;
	return 0;
}

struct finder {
	const struct image_split_job *job;
	struct verity_hasher *hasher;
	uint8_t *read;
	uint8_t *lack;
	uint8_t zero[DIGEST_MAX];
	uint8_t digest[READ_BLOCKS * SHA256_BYTES];
};

static void finder_done(struct finder *f)
{
	verity_hasher_free(f->hasher);
	free(f->read);
	free(f->lack);
}

static int finder_new(struct finder *f, struct err *e)
{
	const struct image_id *id = f->job->id;
	struct verity_super super;
	int r = image_super(id, &super, e);

	if (r >= 0)
		r = verity_hasher_new(&super, &f->hasher, e);
	if (r < 0)
		return r;
	f->read = calloc(READ_BLOCKS, IMAGE_BLOCK);
	f->lack = calloc((size_t)id->data_blocks, 1);
	if (!f->read || !f->lack)
		return err_set(e, ERR_HOST, ENOMEM, "frames of an image");
	verity_hash_block(f->hasher, f->read, IMAGE_BLOCK, f->zero);
	return 0;
}

static uint8_t lack_count(const struct finder *f, const uint8_t *digest)
{
	unsigned n = 0;

	if (memcmp(digest, f->zero, IMAGE_LEAF_CUT) == 0) /* needs no base */
		return 0;
	for (size_t i = 0; i < f->job->bases; i++)
		n += image_leaves_find(f->job->base[i], digest, 0) == UINT64_MAX;
	return (uint8_t)n;
}

static int blocks_look(struct finder *f, uint64_t at, size_t n, struct err *e)
{
	const struct image_split_job *job = f->job;
	int r = sys_read_full(job->sys, job->fd, f->read, n * IMAGE_BLOCK, at * IMAGE_BLOCK);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "read the image at byte %llu: %s",
			       (unsigned long long)at * IMAGE_BLOCK, strerror(-r));
	verity_hash_blocks(f->hasher, f->read, IMAGE_BLOCK, n, f->digest);
	for (size_t i = 0; i < n; i++)
		f->lack[at + i] = lack_count(f, f->digest + i * SHA256_BYTES);
	return 0;
}

int image_split_find(const struct image_split_job *job, struct image_split *ret, struct err *e)
{
	CLEANUP(finder_done) struct finder f = { .job = job };
	const uint64_t blocks = job->id->data_blocks;
	int r = finder_new(&f, e);

	for (uint64_t at = 0; r >= 0 && job->bases > 0 && at < blocks; at += READ_BLOCKS) {
		uint64_t left = blocks - at;

		r = blocks_look(&f, at, (size_t)(left < READ_BLOCKS ? left : READ_BLOCKS), e);
		if (r >= 0 && job->progress &&
		    job->progress(job->progress_arg, at * IMAGE_BLOCK, blocks * IMAGE_BLOCK) < 0)
			r = err_set(e, ERR_HOST, ECANCELED, "looking at the image was cancelled");
	}
	return r < 0 ? r : image_split_make(f.lack, blocks, ret, e);
}
