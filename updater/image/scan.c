/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"

#define GROUP_BLOCKS (IMAGE_GROUP / IMAGE_BLOCK)
#define FORGET_STEP  ((uint64_t)8 << 20)

void image_scan_free(struct image_scan *s)
{
	if (!s)
		return;
	free(s->kept);
	free(s->cut);
	free(s);
}

struct scanner {
	const struct image_scan_job *job;
	const struct image_index *x;
	struct image_scan *to;
	struct verity_hasher *hasher;
	uint8_t *group;
	uint8_t leaf[IMAGE_BLOCK];
};

static void scanner_done(struct scanner *s)
{
	verity_hasher_free(s->hasher);
	free(s->group);
}

static int area_read(struct sys *sys, const struct verity_area *a, uint64_t off, void *p, size_t n,
		     struct err *e)
{
	int r = sys_read_full(sys, a->fd, p, n, a->offset + off);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "read the slot at byte %llu: %s",
			       (unsigned long long)(a->offset + off), strerror(-r));
	return 0;
}

/* 1: the slot's own leaf hash block of this group, now in s->leaf, leads to the root; 0: not. */
static int leaf_trusted(struct scanner *s, size_t g, size_t n, struct err *e)
{
	static const uint8_t zero[IMAGE_BLOCK];
	size_t used = n * SHA256_BYTES;
	int r;

	if (s->x->geometry.levels == 0)
		return 0;
	r = area_read(s->job->sys, &s->job->hash, s->x->geometry.level[0].offset + g * IMAGE_BLOCK,
		      s->leaf, sizeof(s->leaf), e);
	if (r < 0)
		return r;
	return memcmp(s->leaf + used, zero, sizeof(s->leaf) - used) == 0 &&
	       verity_proof_group(s->x->proof, g, s->leaf, n, NULL) == 0;
}

/* Does the data match the trusted digests in s->leaf? Stops at the first that fails. */
static bool group_matches(struct scanner *s, size_t n)
{
	uint8_t digest[SHA256_BYTES];

	for (size_t i = 0; i < n; i++) {
		verity_hash_block(s->hasher, s->group + i * IMAGE_BLOCK, IMAGE_BLOCK, digest);
		s->to->hashed += IMAGE_BLOCK;
		if (memcmp(digest, s->leaf + i * SHA256_BYTES, sizeof(digest)) != 0)
			return false;
	}
	return true;
}

static void group_note(struct scanner *s, size_t g, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(s->to->cut + (g * GROUP_BLOCKS + i) * IMAGE_LEAF_CUT,
		       s->leaf + i * SHA256_BYTES, IMAGE_LEAF_CUT);
}

static int group_scan(struct scanner *s, size_t g, size_t n, struct err *e)
{
	int trusted, r;

	r = area_read(s->job->sys, &s->job->data, g * IMAGE_GROUP, s->group, n * IMAGE_BLOCK, e);
	if (r < 0)
		return r;
	trusted = leaf_trusted(s, g, n, e);
	if (trusted < 0)
		return trusted;
	if (trusted && group_matches(s, n)) {
		s->to->kept[g] = IMAGE_HELD_ALL;
		return 0;
	}
	memset(s->leaf, 0, sizeof(s->leaf));
	verity_hash_blocks(s->hasher, s->group, IMAGE_BLOCK, n, s->leaf);
	s->to->hashed += n * IMAGE_BLOCK;
	if (!trusted && verity_proof_group(s->x->proof, g, s->leaf, n, NULL) == 0)
		s->to->kept[g] = s->x->geometry.levels > 0 ? IMAGE_HELD_DATA : IMAGE_HELD_ALL;
	else
		group_note(s, g, n);
	return 0;
}

static int scanner_new(struct scanner *s, size_t groups, struct err *e)
{
	int r = verity_hasher_new(&s->x->super, &s->hasher, e);

	if (r < 0)
		return r;
	s->group = aligned_alloc(IMAGE_BLOCK, IMAGE_GROUP);
	s->to->kept = calloc(groups, 1);
	s->to->cut = calloc(groups * GROUP_BLOCKS, IMAGE_LEAF_CUT);
	if (!s->group || !s->to->kept || !s->to->cut)
		return err_set(e, ERR_HOST, ENOMEM, "buffers to look at a slot");
	return 0;
}

int image_scan(const struct image_scan_job *job, struct image_scan **ret, struct err *e)
{
	AUTO_IMAGE_SCAN *to = calloc(1, sizeof(*to));
	CLEANUP(scanner_done) struct scanner s = { .job = job, .x = job->index, .to = to };
	size_t groups = (size_t)verity_groups(&s.x->super, &s.x->geometry);
	uint64_t total = s.x->id.data_blocks * IMAGE_BLOCK, done = 0, forgot = 0;
	int r;

	if (!to)
		return err_set(e, ERR_HOST, ENOMEM, "buffers to look at a slot");
	r = scanner_new(&s, groups, e);
	for (size_t g = 0; r >= 0 && g < groups; g++) {
		size_t n = verity_group_blocks(&s.x->super, &s.x->geometry, g);

		r = group_scan(&s, g, n, e);
		if (r < 0)
			return r;
		done += n * IMAGE_BLOCK;
		to->right += to->kept[g] ? n * IMAGE_BLOCK : 0;
		if (job->progress && job->progress(job->arg, done, total) < 0)
			return err_set(e, ERR_HOST, ECANCELED, "looking at the slot was cancelled");
		if (done - forgot >= FORGET_STEP || done == total) {
			(void)job->sys->ops->forget(job->sys, job->data.fd,
						    job->data.offset + forgot, done - forgot);
			forgot = done;
		}
	}
	if (r < 0)
		return r;
	*ret = TAKE(to);
	return 0;
}
