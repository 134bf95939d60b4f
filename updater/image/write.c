/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "updater/image/feed.h"
#include "updater/image/plan.h"
#include "updater/image/scan.h"

#define CACHE_MAX    ((uint64_t)16 << 20) /* in the page cache before it is synced and forgotten */
#define MIRRORS_MAX  16u
#define GROUP_BLOCKS (IMAGE_GROUP / IMAGE_BLOCK)
#define ALIGN        ((size_t)4096) /* suits direct I/O on every disk */

/* 128 digests of 32 bytes behind one another are a leaf hash block as it lies on disk. */
_Static_assert(GROUP_BLOCKS *SHA256_BYTES == IMAGE_BLOCK, "a group fills one leaf hash block");

struct writer {
	const struct image_job *job;
	const struct image_index *x;
	struct image_stats *stats;
	struct verity_hasher *hasher;
	struct image_feed feed;
	struct image_plan *plan;
	size_t piece;              /* of the plan: no earlier one reaches the next group */
	uint8_t *group;            /* IMAGE_GROUP bytes, aligned */
	uint8_t leaf[IMAGE_BLOCK]; /* the digests of `group` */
	uint8_t *kept;             /* a byte per group */
	/* what the slot's blocks hash to, cut; zero: not known */
	uint8_t *held;
	uint64_t expected; /* bytes to be fetched by this plan and those before */
	uint64_t right;    /* bytes of data in the slot that are proved */
	uint64_t dirty;    /* bytes written since the last sync */
	uint64_t looked;   /* feed.looked then */
	uint64_t forgot;   /* data below is clean and forgotten */
	bool opened;       /* the old superblock is gone */
};

static void writer_done(struct writer *w)
{
	verity_hasher_free(w->hasher);
	image_feed_done(&w->feed);
	image_plan_free(w->plan);
	free(w->group);
	free(w->kept);
	free(w->held);
}

static uint64_t data_bytes(const struct image_index *x)
{
	return x->id.data_blocks * IMAGE_BLOCK;
}

static size_t group_blocks(const struct writer *w, size_t g)
{
	return verity_group_blocks(&w->x->super, &w->x->geometry, g);
}

static int tell(const struct image_job *job, enum image_phase phase, uint64_t done, uint64_t total,
		struct err *e)
{
	if (job->progress && job->progress(job->arg, phase, done, total) < 0)
		return err_set(e, ERR_HOST, ECANCELED, "writing the image was cancelled");
	return 0;
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

static int area_write(struct writer *w, const struct verity_area *a, uint64_t off, const void *p,
		      size_t n, struct err *e)
{
	int r = sys_write_full(w->job->sys, a->fd, p, n, a->offset + off);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "write the slot at byte %llu: %s",
			       (unsigned long long)(a->offset + off), strerror(-r));
	w->stats->written += n;
	w->dirty += n;
	return 0;
}

static int area_sync(struct sys *sys, const struct verity_area *a, struct err *e)
{
	int r = sys->ops->sync(sys, a->fd);

	return r < 0 ? err_set(e, ERR_HOST, -r, "sync the slot: %s", strerror(-r)) : 0;
}

/* Advice only: where it does not work, the page cache stays larger. */
static void area_forget(struct sys *sys, const struct verity_area *a, uint64_t off, uint64_t n)
{
	(void)sys->ops->forget(sys, a->fd, a->offset + off, n);
}

static int areas_check(const struct image_job *job, const struct image_id *id, struct err *e)
{
	uint64_t data = image_data_bytes(id), hash = image_hash_bytes(id);

	if (job->data.bytes < data)
		return err_set(e, ERR_INPUT, ENOSPC,
			       "the slot's data partition holds %llu bytes, the image needs %llu",
			       (unsigned long long)job->data.bytes, (unsigned long long)data);
	if (job->hash.bytes < hash)
		return err_set(e, ERR_INPUT, ENOSPC,
			       "the slot's hash partition holds %llu bytes, the tree needs %llu",
			       (unsigned long long)job->hash.bytes, (unsigned long long)hash);
	return 0;
}

/*
 * Before the first change of the slot: its old superblock goes, durably, so that what is half one
 * tree and half another never looks whole.
 */
static int slot_open(struct writer *w, struct err *e)
{
	const struct verity_area *hash = &w->job->hash;
	uint8_t block[IMAGE_BLOCK];
	int r;

	if (w->opened)
		return 0;
	memset(block, 0, sizeof(block));
	r = area_write(w, hash, 0, block, sizeof(block), e);
	if (r < 0)
		return r;
	r = area_sync(w->job->sys, hash, e);
	if (r < 0)
		return r;
	w->opened = true;
	return 0;
}

/*
 * Keeps the page cache small: what was written becomes durable, then clean, then forgotten. The
 * tree goes with its data, so that after a power cut the two tell the same.
 */
static int slot_flush(struct writer *w, uint64_t data_end, struct err *e)
{
	const struct image_job *job = w->job;
	int r = area_sync(job->sys, &job->data, e);

	if (r >= 0 && job->hash.fd != job->data.fd)
		r = area_sync(job->sys, &job->hash, e);
	if (r < 0)
		return r;
	area_forget(job->sys, &job->data, w->forgot, data_end - w->forgot);
	area_forget(job->sys, &job->hash, 0, image_hash_bytes(&w->x->id));
	for (size_t i = 0; i < IMAGE_DELTA_SOURCES; i++)
		if (w->feed.source[i].bytes)
			area_forget(job->sys, &w->feed.source[i], 0, w->feed.source[i].bytes);
	w->forgot = data_end;
	w->dirty = 0;
	w->looked = w->feed.looked;
	return 0;
}

/* Hashes the n blocks in w->group into w->leaf. */
static void group_hash(struct writer *w, size_t n)
{
	memset(w->leaf, 0, sizeof(w->leaf));
	verity_hash_blocks(w->hasher, w->group, IMAGE_BLOCK, n, w->leaf);
	w->stats->hashed += n * IMAGE_BLOCK;
}

static bool has_leaves(const struct image_index *x)
{
	return x->geometry.levels > 0;
}

static int leaf_write(struct writer *w, size_t g, struct err *e)
{
	if (!has_leaves(w->x))
		return 0;
	return area_write(w, &w->job->hash, w->x->geometry.level[0].offset + g * IMAGE_BLOCK,
			  w->leaf, sizeof(w->leaf), e);
}

static uint8_t *held_of(const struct writer *w, size_t g, size_t i)
{
	return w->held + (g * GROUP_BLOCKS + i) * IMAGE_LEAF_CUT;
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
	int r = areas_check(job, &job->index->id, e);

	return r < 0 ? r : image_scan(&scan, ret, e);
}

/* A group whose data outlived its leaf hash block: so that nothing is fetched twice. */
static int leaf_restore(struct writer *w, size_t g, struct err *e)
{
	size_t n = group_blocks(w, g);
	int r = area_read(w->job->sys, &w->job->data, g * IMAGE_GROUP, w->group, n * IMAGE_BLOCK,
			  e);

	if (r < 0)
		return r;
	group_hash(w, n);
	if (verity_proof_group(w->x->proof, g, w->leaf, n, NULL) < 0) { /* not any more */
		w->kept[g] = IMAGE_HELD_NOT;
		w->right -= n * IMAGE_BLOCK;
		return 0;
	}
	r = slot_open(w, e);
	return r < 0 ? r : leaf_write(w, g, e);
}

/* Goes on with what the slot was found to hold. */
static int scan_take(struct writer *w, const struct image_scan *scan, struct err *e)
{
	size_t groups = (size_t)verity_groups(&w->x->super, &w->x->geometry);
	int r = 0;

	memcpy(w->kept, scan->kept, groups);
	memcpy(w->held, scan->cut, groups * GROUP_BLOCKS * IMAGE_LEAF_CUT);
	w->right = scan->right;
	for (size_t g = 0; r >= 0 && g < groups; g++)
		if (w->kept[g] == IMAGE_HELD_DATA)
			r = leaf_restore(w, g, e);
	w->stats->kept = w->right;
	return r;
}

static int slot_scan(struct writer *w, struct err *e)
{
	AUTO_IMAGE_SCAN *scan = NULL;
	int r = image_write_scan(w->job, &scan, e);

	if (r < 0)
		return r;
	w->stats->hashed += scan->hashed;
	return scan_take(w, scan, e);
}

/* Before anything is changed: what the slot's own tree says it holds. */
static void held_load(struct writer *w)
{
	AUTO_IMAGE_LEAVES *l = NULL;
	uint64_t n;

	if (image_leaves_read(w->job->sys, &w->job->hash, &w->x->id, &l, NULL) < 0)
		return;
	n = l->blocks < w->x->id.data_blocks ? l->blocks : w->x->id.data_blocks;
	memcpy(w->held, l->cut, (size_t)n * IMAGE_LEAF_CUT);
}

/* Brings the bytes of a group into w->group, as the plan says. */
static int group_make(struct writer *w, size_t g, struct err *e)
{
	uint64_t first = g * GROUP_BLOCKS, at = first, end = first + group_blocks(w, g);

	while (w->plan->pieces[w->piece].at + (uint64_t)w->plan->pieces[w->piece].len <= at)
		w->piece++;
	for (size_t i = w->piece; at < end; i++) {
		const struct image_piece *p = &w->plan->pieces[i];
		uint64_t stop = (uint64_t)p->at + p->len;
		struct image_part part = { p, IMAGE_BLOCK, at - p->at,
					   (stop < end ? stop : end) - at };
		int r = image_feed_part(&w->feed, &part, w->group + (at - first) * IMAGE_BLOCK, e);

		if (r < 0)
			return r;
		at += part.n;
	}
	return 0;
}

/* Writes the proved blocks in w->group, but for those that the slot holds. */
static int group_write(struct writer *w, size_t g, struct err *e)
{
	size_t n = group_blocks(w, g), i = 0;

	while (i < n) {
		size_t from = i;
		int r;

		while (i < n &&
		       memcmp(held_of(w, g, i), w->leaf + i * SHA256_BYTES, IMAGE_LEAF_CUT) != 0)
			i++;
		if (i == from) {
			w->stats->spared += IMAGE_BLOCK;
			i++;
			continue;
		}
		r = area_write(w, &w->job->data, g * IMAGE_GROUP + from * IMAGE_BLOCK,
			       w->group + from * IMAGE_BLOCK, (i - from) * IMAGE_BLOCK, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int group_store(struct writer *w, size_t g, struct err *e)
{
	int r = slot_open(w, e);

	if (r < 0)
		return r;
	r = group_write(w, g, e);
	if (r < 0)
		return r;
	r = leaf_write(w, g, e);
	if (r < 0)
		return r;
	w->kept[g] = 1;
	w->right += group_blocks(w, g) * IMAGE_BLOCK;
	if (w->dirty + w->feed.looked - w->looked < CACHE_MAX)
		return 0;
	return slot_flush(w, (uint64_t)(g + 1) * IMAGE_GROUP, e);
}

/*
 * Is another way of no use? A server that is busy or gone will have the bytes later; one that says
 * it has none, or gives others than were asked for, is like a blob that is wrong.
 */
static bool final_error(const struct writer *w, const struct err *e)
{
	if (e->kind == ERR_BUG || e->os == ENOMEM || e->os == ECANCELED)
		return true;
	return w->feed.lost && e->kind != ERR_REFUSED && e->kind != ERR_INPUT;
}

/*
 * One missing group, made, proved and stored. 0: it came out wrong, but another way is left; what
 * is not proved never gets past verity_proof_group().
 */
static int group_do(struct writer *w, size_t g, bool last, struct err *e)
{
	struct err mine = ERR_INIT;
	size_t n = group_blocks(w, g);
	int r = group_make(w, g, &mine);

	if (r >= 0) {
		group_hash(w, n);
		r = verity_proof_group(w->x->proof, g, w->leaf, n, &mine);
	}
	if (r < 0 && !last && !final_error(w, &mine)) {
		w->stats->again++;
		return 0;
	}
	if (r == -EBADMSG)
		w->stats->bad_group = g;
	if (r < 0)
		return err_set(e, mine.kind, mine.os,
			       "group %zu (byte %llu of the image) from %s: %s", g,
			       (unsigned long long)g * IMAGE_GROUP,
			       w->feed.src && w->feed.src->name ? w->feed.src->name : "its blob",
			       mine.text);
	r = group_store(w, g, e);
	return r < 0 ? r : 1;
}

static int groups_do(struct writer *w, bool last, struct err *e)
{
	uint64_t total = data_bytes(w->x);

	for (size_t g = 0; g < w->plan->groups; g++) {
		int r;

		if (w->plan->way[g] == IMAGE_KEEP)
			continue;
		r = group_do(w, g, last, e);
		w->stats->fetched = w->feed.fetched;
		w->stats->copied = w->feed.copied;
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
static int pass_plan(struct writer *w, const struct image_choice *c, struct err *e)
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
static int pass_run(struct writer *w, const struct image_source *src, bool last, struct err *e)
{
	struct err mine = ERR_INIT;
	int r;

	w->piece = 0;
	w->forgot = 0;
	w->expected = w->feed.fetched + w->plan->fetch_bytes;
	r = image_feed_begin(&w->feed, src, &w->plan->frames, w->plan->runs, w->plan->n_runs,
			     &mine);
	if (r < 0 && !last && !final_error(w, &mine))
		return 0;
	if (r < 0)
		return err_set(e, mine.kind, mine.os, "%s", mine.text);
	return groups_do(w, last, e);
}

static bool slot_missing(const struct writer *w)
{
	return w->right < data_bytes(w->x);
}

/* The base's leaves, when they are there and of use; NULL otherwise. */
static struct image_leaves *base_load(const struct writer *w)
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

static int pass_do(struct writer *w, const struct image_choice *c, const struct image_source *src,
		   bool last, struct err *e)
{
	int r = pass_plan(w, c, e);

	return r < 0 ? r : pass_run(w, src, last, e);
}

/* With blocks of any base and frames of the full blob. */
static int fill_any(struct writer *w, struct err *e)
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
static int fill_full(struct writer *w, struct err *e)
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

static bool has_full(const struct writer *w)
{
	return w->job->full && w->x->table;
}

static int slot_make_all(struct writer *w, struct err *e)
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

static int slot_fill(struct writer *w, struct err *e)
{
	int r = slot_make_all(w, e);

	if (r >= 0)
		r = tell(w->job, IMAGE_WRITE, w->right, data_bytes(w->x), e);
	/* what was there before may be only in the cache */
	return r < 0 ? r : slot_flush(w, data_bytes(w->x), e);
}

static void super_block(const struct verity_super *s, uint8_t block[IMAGE_BLOCK])
{
	memset(block, 0, IMAGE_BLOCK);
	verity_super_format(s, block);
}

/* True if the slot's hash area already begins as it must: superblock, then the upper levels. */
static bool tree_there(struct writer *w)
{
	const struct image_job *job = w->job;
	uint8_t block[IMAGE_BLOCK];

	super_block(&w->x->super, block);
	if (area_read(job->sys, &job->hash, 0, w->group, IMAGE_BLOCK, NULL) < 0 ||
	    memcmp(w->group, block, IMAGE_BLOCK) != 0)
		return false;
	for (size_t at = 0; at < w->x->upper_n; at += IMAGE_BLOCK)
		if (area_read(job->sys, &job->hash, IMAGE_BLOCK + at, w->group, IMAGE_BLOCK, NULL) <
			    0 ||
		    memcmp(w->group, w->x->upper + at, IMAGE_BLOCK) != 0)
			return false;
	return true;
}

/* The leaves lie there by now: the levels above, and when all is durable, the superblock. */
static int tree_finish(struct writer *w, struct err *e)
{
	const struct image_job *job = w->job;
	uint8_t block[IMAGE_BLOCK];
	int r;

	if (!w->opened && tree_there(w))
		return area_sync(job->sys, &job->hash, e); /* whoever wrote it may not have */
	r = slot_open(w, e);
	if (r < 0)
		return r;
	if (w->x->upper_n) {
		r = area_write(w, &job->hash, verity_upper_offset(&w->x->geometry), w->x->upper,
			       w->x->upper_n, e);
		if (r < 0)
			return r;
	}
	r = area_sync(job->sys, &job->hash, e);
	if (r < 0)
		return r;
	super_block(&w->x->super, block);
	r = area_write(w, &job->hash, 0, block, sizeof(block), e);
	if (r < 0)
		return r;
	return area_sync(job->sys, &job->hash, e);
}

static int writer_new(struct writer *w, struct err *e)
{
	size_t groups = (size_t)verity_groups(&w->x->super, &w->x->geometry);
	int r = verity_hasher_new(&w->x->super, &w->hasher, e);

	if (r < 0)
		return r;
	r = image_feed_new(&w->feed, e);
	if (r < 0)
		return r;
	w->feed.source[0] = w->job->base_data;
	w->group = aligned_alloc(ALIGN, IMAGE_GROUP);
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
	struct writer w = {
		.job = job, .x = job->index, .stats = stats, .feed = { .sys = job->sys }
	};
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
	return r < 0 ? r : tree_finish(&w, e);
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
	int r = areas_check(job, &job->index->id, e);

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

struct reading {
	const struct image_job *job;
	uint64_t done, forgot;
};

static int prove_progress(void *arg, uint64_t done, uint64_t total)
{
	struct reading *rd = arg;

	rd->done = done;
	if (done - rd->forgot >= CACHE_MAX) {
		area_forget(rd->job->sys, &rd->job->data, rd->forgot, done - rd->forgot);
		rd->forgot = done;
	}
	return tell(rd->job, IMAGE_PROVE, done, total, NULL);
}

/*
 * A second descriptor of the same file that bypasses the page cache, or fd -1. The detour through
 * /proc is what makes a new open file description out of a descriptor.
 */
static struct sys_fd direct_open(struct sys *sys, const struct verity_area *a)
{
	AUTO_FREE uint8_t *probe = aligned_alloc(ALIGN, IMAGE_BLOCK);
	struct sys_fd f = { .sys = sys, .fd = -1 };
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", a->fd);
	f.fd = probe ? sys->ops->open(sys, AT_FDCWD, path, O_RDONLY | O_DIRECT, 0) : -1;
	if (f.fd >= 0 && sys->ops->pread(sys, f.fd, probe, IMAGE_BLOCK, a->offset) < 0)
		sys_fd_done(&f);
	return f;
}

static int super_prove(const struct image_job *job, const struct verity_super *s, struct err *e)
{
	uint8_t want[IMAGE_BLOCK], got[IMAGE_BLOCK];
	int r = area_read(job->sys, &job->hash, 0, got, sizeof(got), e);

	if (r < 0)
		return r;
	super_block(s, want);
	if (memcmp(want, got, sizeof(got)) != 0)
		return err_set(e, ERR_HOST, EIO,
			       "read back from the medium: the verity superblock is not the one "
			       "that was written");
	return 0;
}

int image_prove(const struct image_job *job, const struct image_id *id, struct image_stats *ret,
		struct err *e)
{
	AUTO_SYS_FD direct = { .sys = job->sys, .fd = -1 };
	struct err mine = ERR_INIT;
	struct reading rd = { .job = job };
	char what[sizeof(e->text)];
	struct verity_work work = { job->threads, prove_progress, &rd };
	struct verity_super s;
	struct verity_check c = {
		.data = job->data, .hash = job->hash, .super = &s, .root = id->root
	};
	int r = image_super(id, &s, e);

	if (r < 0)
		return r;
	r = areas_check(job, id, e);
	if (r < 0)
		return r;
	area_forget(job->sys, &job->data, 0, image_data_bytes(id));
	area_forget(job->sys, &job->hash, 0, image_hash_bytes(id));
	r = super_prove(job, &s, e);
	if (r < 0)
		return r;
	direct = direct_open(job->sys, &job->data);
	if (direct.fd >= 0)
		c.data.fd = direct.fd;
	e = e ? e : &mine;
	r = verity_verify(job->sys, &c, &work, NULL, e);
	area_forget(job->sys, &job->data, rd.forgot, rd.done - rd.forgot);
	if (ret)
		*ret = (struct image_stats){ .hashed = rd.done, .bad_group = UINT64_MAX };
	if (r == -EBADMSG) { /* it was proved before it was written: so the medium is to blame */
		memcpy(what, e->text, sizeof(what));
		r = err_set(e, ERR_HOST, EIO, "read back from the medium: %s", what);
	}
	return r;
}
