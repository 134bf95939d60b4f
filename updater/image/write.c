/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "updater/image/write_core.h"

#define MIRRORS_MAX 16u

static void writer_done(struct image_writer *w)
{
	verity_hasher_free(w->hasher);
	image_feed_done(&w->feed);
	image_plan_free(w->plan);
	image_direct_done(&w->data);
	free(w->group);
	free(w->kept);
	free(w->held);
}

static uint64_t data_bytes(const struct image_index *x)
{
	return x->id.data_blocks * IMAGE_BLOCK;
}

static int tell(const struct image_job *job, enum image_phase phase, uint64_t done, uint64_t total,
		struct err *e)
{
	if (job->progress && job->progress(job->arg, phase, done, total) < 0)
		return err_set(e, ERR_HOST, ECANCELED, "writing the image was cancelled");
	return 0;
}

static int scan_progress(void *arg, uint64_t done, uint64_t total)
{
	return tell(*(const struct image_job **)arg, IMAGE_SCAN, done, total, NULL);
}

int image_write_scan(const struct image_job *job, struct image_scan **ret, struct err *e)
{
	const struct image_scan_job scan = { .sys = job->sys,
					     .data = job->data,
					     .hash = job->hash,
					     .index = job->index,
					     .progress = scan_progress,
					     .arg = &job };
	int r = image_areas_check(job, &job->index->id, e);

	return r < 0 ? r : image_scan(&scan, ret, e);
}

/* Goes on with what the slot was found to hold. */
static int scan_take(struct image_writer *w, const struct image_scan *scan, struct err *e)
{
	size_t groups = (size_t)verity_groups(&w->x->super, &w->x->geometry);
	int r = 0;

	memcpy(w->kept, scan->kept, groups);
	memcpy(w->held, scan->cut, groups * GROUP_BLOCKS * IMAGE_LEAF_CUT);
	w->holds = true;
	w->right = scan->right;
	for (size_t g = 0; r >= 0 && g < groups; g++)
		if (w->kept[g] == IMAGE_HELD_DATA)
			r = image_group_restore(w, g, e);
	w->stats->kept = w->right;
	return r;
}

static int slot_scan(struct image_writer *w, struct err *e)
{
	AUTO_IMAGE_SCAN *scan = NULL;
	int r = image_write_scan(w->job, &scan, e);

	if (r < 0)
		return r;
	w->stats->hashed += scan->hashed;
	return scan_take(w, scan, e);
}

/* Before anything is changed: what the slot's own tree says it holds. */
static void held_load(struct image_writer *w)
{
	const uint64_t blocks = w->x->id.data_blocks;
	struct image_tree t;

	if (image_tree_open(w->job->sys, &w->job->hash, &w->x->id, &t, NULL) < 0)
		return;
	w->holds = image_tree_cuts(&t, t.blocks < blocks ? t.blocks : blocks, w->held, NULL) >= 0;
}

static int groups_do(struct image_writer *w, bool last, struct err *e)
{
	uint64_t total = data_bytes(w->x);

	for (size_t g = 0; g < w->plan->groups; g++) {
		int r;

		if (w->plan->way[g] == IMAGE_KEEP)
			continue;
		r = image_group_do(w, g, last, e);
		w->stats->fetched = w->feed.fetched;
		w->stats->copied = w->feed.copied + w->there_copied;
		if (r < 0)
			return r;
		r = tell(w->job, IMAGE_FETCH, w->feed.fetched, w->expected, e);
		if (r < 0)
			return r;
		r = tell(w->job, IMAGE_WRITE, w->right, total, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* One way for all that is missing. */
static int pass_plan(struct image_writer *w, const struct image_choice *c, struct err *e)
{
	const struct image_job *job = w->job;
	int r;

	image_plan_free(TAKE(w->plan));
	r = image_plan_make(c, &w->plan, e);
	if (r >= 0 && job->allow)
		r = job->allow(job->arg, w->plan, w->feed.fetched, e);
	return r < 0 ? r : 0;
}

/* last: what comes out wrong now is an error. */
static int pass_run(struct image_writer *w, const struct image_source *src, bool last,
		    struct err *e)
{
	struct err mine = ERR_INIT;
	int r;

	w->piece = 0;
	w->forgot = 0;
	w->expected = w->feed.fetched + w->plan->fetch_bytes;
	r = image_feed_begin(&w->feed, src, &w->plan->frames, w->plan->runs, w->plan->n_runs,
			     &mine);
	if (r < 0 && !last && !image_writer_final(w, &mine))
		return 0;
	if (r < 0)
		return err_set(e, mine.kind, mine.os, "%s", mine.text);
	return groups_do(w, last, e);
}

static bool slot_missing(const struct image_writer *w)
{
	return w->right < data_bytes(w->x);
}

/* The base's leaves, when they are there and of use; NULL otherwise. */
static struct image_leaves *base_load(const struct image_writer *w)
{
	const struct image_job *job = w->job;
	struct image_leaves *l = NULL;

	if (!w->x->leaves || job->base_hash.bytes == 0 ||
	    image_leaves_read(job->sys, &job->base_hash, &w->x->id, &l, NULL) < 0)
		return NULL;
	if (l->blocks * IMAGE_BLOCK > job->base_data.bytes) {
		image_leaves_free(l);
		return NULL;
	}
	return l;
}

static int pass_do(struct image_writer *w, const struct image_choice *c,
		   const struct image_source *src, bool last, struct err *e)
{
	int r = pass_plan(w, c, e);

	return r < 0 ? r : pass_run(w, src, last, e);
}

/* With blocks of any base and frames of the full blob. */
static int fill_any(struct image_writer *w, struct err *e)
{
	struct image_leaves *base = base_load(w);
	const struct image_choice c = { .index = w->x, .kept = w->kept, .base = base };
	int r;

	if (!base)
		return 0;
	r = pass_plan(w, &c, e);
	image_leaves_free(base); /* the plan knows: 24 bytes a block less while it is carried out */
	return r < 0 ? r : pass_run(w, w->job->full, false, e);
}

/* With frames of the full blob alone, from one mirror after the other. */
static int fill_full(struct image_writer *w, struct err *e)
{
	const struct image_job *job = w->job;
	const struct image_choice c = { .index = w->x, .kept = w->kept };
	int r = 0;

	for (unsigned i = 0; slot_missing(w) && i < MIRRORS_MAX; i++) {
		r = pass_do(w, &c, job->full, true, e);
		if (r != -EBADMSG || !job->elsewhere || job->elsewhere(job->arg) <= 0)
			return r;
		w->stats->again++;
		w->stats->bad_group = UINT64_MAX;
	}
	return r;
}

static bool has_full(const struct image_writer *w)
{
	return w->job->full && w->x->table;
}

static int slot_make_all(struct image_writer *w, struct err *e)
{
	const struct image_job *job = w->job;
	struct image_choice c = { .index = w->x, .kept = w->kept, .delta = job->delta };
	int r = 0;

	if (job->delta && slot_missing(w))
		r = pass_do(w, &c, job->patch, !has_full(w) && !job->more, e);
	if (r >= 0 && slot_missing(w) && !has_full(w) && job->more)
		r = job->more(job->arg, &w->x, e);
	if (r >= 0 && slot_missing(w) && !has_full(w))
		return err_set(e, ERR_BUG, EINVAL, "neither a delta nor the full image to write");
	if (r >= 0 && slot_missing(w))
		r = fill_any(w, e);
	if (r >= 0 && slot_missing(w))
		r = fill_full(w, e);
	return r;
}

static int slot_fill(struct image_writer *w, struct err *e)
{
	int r = slot_make_all(w, e);

	if (r >= 0)
		r = tell(w->job, IMAGE_WRITE, w->right, data_bytes(w->x), e);
	/* what was there before may be only in the cache */
	return r < 0 ? r : image_slot_flush(w, data_bytes(w->x), e);
}

static int writer_new(struct image_writer *w, struct err *e)
{
	static const uint8_t zero[IMAGE_BLOCK];
	const struct image_job *job = w->job;
	size_t groups = (size_t)verity_groups(&w->x->super, &w->x->geometry);
	int r = verity_hasher_new(&w->x->super, &w->hasher, e);

	if (r < 0)
		return r;
	verity_hash_block(w->hasher, zero, sizeof(zero), w->zero);
	w->feed.source[0] = job->base_data;
	r = image_feed_new(&w->feed, e);
	if (r < 0)
		return r;
	image_direct_open(&w->data, job->sys, &job->data, true);
	if (job->base_hash.bytes)
		(void)!image_tree_open(job->sys, &job->base_hash, &w->x->id, &w->base, NULL);
	w->group = aligned_alloc(IMAGE_DIRECT_ALIGN, IMAGE_GROUP);
	w->kept = calloc(groups, 1);
	w->held = calloc(groups * GROUP_BLOCKS, IMAGE_LEAF_CUT);
	if (!w->group || !w->kept || !w->held)
		return err_set(e, ERR_HOST, ENOMEM, "buffers to write an image");
	return 0;
}

static int slot_write(const struct image_job *job, bool resume, struct image_stats *stats,
		      struct err *e)
{
	CLEANUP(writer_done)
	struct image_writer w = { .job = job,
				  .x = job->index,
				  .stats = stats,
				  .feed = { .sys = job->sys },
				  .data = { .fd = -1 } };
	int r = writer_new(&w, e);

	if (r < 0)
		return r;
	if (resume)
		r = slot_scan(&w, e);
	else if (job->scan)
		r = scan_take(&w, job->scan, e);
	else
		held_load(&w);
	if (r >= 0)
		r = slot_fill(&w, e);
	return r < 0 ? r : image_slot_finish(&w, e);
}

static void stats_add(struct image_stats *to, const struct image_stats *more)
{
	to->fetched += more->fetched;
	to->written += more->written;
	to->copied += more->copied;
	to->spared += more->spared;
	to->again += more->again;
	to->hashed += more->hashed;
	to->bad_group = more->bad_group;
}

/* Writes and proves, and adds to *stats. *ret_proving: it was all written; what failed is reading
 * it back. */
static int slot_make(const struct image_job *job, bool resume, struct image_stats *stats,
		     bool *ret_proving, struct err *e)
{
	struct image_stats st = { .bad_group = UINT64_MAX }, proof = { 0 };
	int r = slot_write(job, resume, &st, e);

	*ret_proving = r >= 0;
	if (r >= 0) {
		r = image_prove(job, &job->index->id, &proof, e);
		st.hashed += proof.hashed;
	}
	stats->kept = st.kept;
	stats_add(stats, &st);
	return r;
}

int image_write(const struct image_job *job, struct image_stats *ret, struct err *e)
{
	struct image_stats stats = { .bad_group = UINT64_MAX };
	struct err first = ERR_INIT;
	bool proving = false;
	int r = image_areas_check(job, &job->index->id, e);

	if (r >= 0) {
		r = slot_make(job, job->resume, &stats, &proving, &first);
		/*
		 * Not all that is on the medium was written: blocks were left alone as the slot's
		 * old tree said they were right. If that was a lie, hashing the slot finds out.
		 */
		if (r == -EIO && proving && !job->resume && stats.spared > 0)
			r = slot_make(job, true, &stats, &proving, e);
		else if (r < 0 && e)
			*e = first;
	}
	if (ret)
		*ret = stats;
	return r;
}
