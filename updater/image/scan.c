/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "updater/image/direct.h"

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
	struct image_direct data;
	uint8_t *group;
	uint8_t leaf[IMAGE_BLOCK];
};

static void scanner_done(struct scanner *s)
{
	verity_hasher_free(s->hasher);
	image_direct_done(&s->data);
	free(s->group);
}

/* The slot's own leaf hash block of this group is the one in s->leaf. */
static int leaf_there(struct scanner *s, size_t g, bool *ret, struct err *e)
{
	uint8_t own[IMAGE_BLOCK];
	int r;

	*ret = true;
	if (s->x->geometry.levels == 0)
		return 0;
	r = image_area_read(s->job->sys, &s->job->hash,
			    s->x->geometry.level[0].offset + g * IMAGE_BLOCK, own, sizeof(own), e);
	*ret = r >= 0 && memcmp(own, s->leaf, sizeof(own)) == 0;
	return r;
}

static void group_note(struct scanner *s, size_t g, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(s->to->cut + (g * GROUP_BLOCKS + i) * IMAGE_LEAF_CUT,
		       s->leaf + i * SHA256_BYTES, IMAGE_LEAF_CUT);
}

static int group_scan(struct scanner *s, size_t g, size_t n, struct err *e)
{
	bool leaf;
	int r = image_direct_read(&s->data, g * IMAGE_GROUP, s->group, n * IMAGE_BLOCK, NULL);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "read the slot at byte %llu: %s",
			       (unsigned long long)(s->job->data.offset + g * IMAGE_GROUP),
			       strerror(-r));
	memset(s->leaf, 0, sizeof(s->leaf));
	verity_hash_blocks(s->hasher, s->group, IMAGE_BLOCK, n, s->leaf);
	s->to->hashed += n * IMAGE_BLOCK;
	if (verity_proof_group(s->x->proof, g, s->leaf, n, NULL) < 0) {
		group_note(s, g, n);
		return 0;
	}
	r = leaf_there(s, g, &leaf, e);
	s->to->kept[g] = leaf ? IMAGE_HELD_ALL : IMAGE_HELD_DATA;
	return r;
}

static int scanner_new(struct scanner *s, size_t groups, struct err *e)
{
	int r = verity_hasher_new(&s->x->super, &s->hasher, e);

	if (r < 0)
		return r;
	image_direct_open(&s->data, s->job->sys, &s->job->data, false);
	s->group = aligned_alloc(IMAGE_DIRECT_ALIGN, IMAGE_GROUP);
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
