/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "updater/image/write_core.h"

#define CACHE_MAX ((uint64_t)16 << 20) /* in the page cache before it is synced and forgotten */
#define SYNC_MAX  ((uint64_t)64 << 20) /* written past it before it is synced */
/*
 * Written past it, when it is so long. Each of those waits for the medium, so short and scattered
 * ones are left to the cache, which joins them.
 */
#define DIRECT_MIN ((size_t)64 << 10)
/* What a power cut may take of what was fetched: this part of it all, but not less than ... */
#define LOSS_PART 40u
#define LOSS_MIN  ((uint64_t)64 << 10)

static int say_write(const struct verity_area *a, uint64_t off, int r, struct err *e)
{
	return err_set(e, ERR_HOST, -r, "write the slot at byte %llu: %s",
		       (unsigned long long)(a->offset + off), strerror(-r));
}

/* Into the hash area. */
static int tree_write(struct image_writer *w, uint64_t off, const void *p, size_t n, struct err *e)
{
	const struct verity_area *a = &w->job->hash;
	int r = sys_write_full(w->job->sys, a->fd, p, n, a->offset + off);

	if (r < 0)
		return say_write(a, off, r, e);
	w->stats->written += n;
	w->dirty += n;
	w->unsynced += n;
	return 0;
}

int image_slot_write(struct image_writer *w, uint64_t at, const void *p, size_t n, struct err *e)
{
	const struct verity_area *a = &w->job->data;
	int r;

	if (n < DIRECT_MIN) {
		r = sys_write_full(w->job->sys, a->fd, p, n, a->offset + at);
		w->dirty += n;
	} else {
		r = image_direct_write(&w->data, at, p, n, &w->dirty);
	}
	if (r < 0)
		return say_write(a, at, r, e);
	w->stats->written += n;
	w->unsynced += n;
	return 0;
}

int image_area_sync(struct sys *sys, const struct verity_area *a, struct err *e)
{
	int r = sys->ops->sync(sys, a->fd);

	return r < 0 ? err_set(e, ERR_HOST, -r, "sync the slot: %s", strerror(-r)) : 0;
}

void image_area_forget(struct sys *sys, const struct verity_area *a, uint64_t off, uint64_t n)
{
	(void)sys->ops->forget(sys, a->fd, a->offset + off, n);
}

int image_areas_check(const struct image_job *job, const struct image_id *id, struct err *e)
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

void image_super_block(const struct verity_super *s, uint8_t block[IMAGE_BLOCK])
{
	memset(block, 0, IMAGE_BLOCK);
	verity_super_format(s, block);
}

int image_slot_open(struct image_writer *w, struct err *e)
{
	uint8_t block[IMAGE_BLOCK];
	int r;

	if (w->opened)
		return 0;
	memset(block, 0, sizeof(block));
	r = tree_write(w, 0, block, sizeof(block), e);
	if (r < 0)
		return r;
	r = image_area_sync(w->job->sys, &w->job->hash, e);
	if (r < 0)
		return r;
	w->opened = true;
	return 0;
}

int image_slot_leaf(struct image_writer *w, size_t g, struct err *e)
{
	if (w->x->geometry.levels == 0)
		return 0;
	return tree_write(w, w->x->geometry.level[0].offset + g * IMAGE_BLOCK, w->leaf,
			  sizeof(w->leaf), e);
}

int image_slot_flush(struct image_writer *w, uint64_t data_end, struct err *e)
{
	const struct image_job *job = w->job;
	int r = image_area_sync(job->sys, &job->data, e);

	if (r >= 0 && job->hash.fd != job->data.fd)
		r = image_area_sync(job->sys, &job->hash, e);
	if (r < 0)
		return r;
	image_area_forget(job->sys, &job->data, w->forgot, data_end - w->forgot);
	image_area_forget(job->sys, &job->hash, 0, image_hash_bytes(&w->x->id));
	if (w->feed.looked > w->looked)
		image_feed_forget(&w->feed);
	w->forgot = data_end;
	w->dirty = w->unsynced = 0;
	w->looked = w->feed.looked;
	w->fetched = w->feed.fetched;
	return 0;
}

int image_slot_flush_some(struct image_writer *w, uint64_t data_end, struct err *e)
{
	uint64_t loss = w->expected / LOSS_PART;

	loss = loss < LOSS_MIN ? LOSS_MIN : loss;
	if (w->dirty + w->feed.looked - w->looked < CACHE_MAX && w->unsynced < SYNC_MAX &&
	    w->feed.fetched - w->fetched < loss)
		return 0;
	return image_slot_flush(w, data_end, e);
}

/* True if the slot's hash area already begins as it must: superblock, then the upper levels. */
static bool tree_there(struct image_writer *w)
{
	const struct image_job *job = w->job;
	uint8_t block[IMAGE_BLOCK];

	image_super_block(&w->x->super, block);
	if (image_area_read(job->sys, &job->hash, 0, w->group, IMAGE_BLOCK, NULL) < 0 ||
	    memcmp(w->group, block, IMAGE_BLOCK) != 0)
		return false;
	for (size_t at = 0; at < w->x->upper_n; at += IMAGE_BLOCK)
		if (image_area_read(job->sys, &job->hash, IMAGE_BLOCK + at, w->group, IMAGE_BLOCK,
				    NULL) < 0 ||
		    memcmp(w->group, w->x->upper + at, IMAGE_BLOCK) != 0)
			return false;
	return true;
}

int image_slot_finish(struct image_writer *w, struct err *e)
{
	const struct image_job *job = w->job;
	uint8_t block[IMAGE_BLOCK];
	int r;

	if (!w->opened && tree_there(w))
		return image_area_sync(job->sys, &job->hash, e); /* whoever wrote it may not have */
	r = image_slot_open(w, e);
	if (r < 0)
		return r;
	if (w->x->upper_n) {
		r = tree_write(w, verity_upper_offset(&w->x->geometry), w->x->upper, w->x->upper_n,
			       e);
		if (r < 0)
			return r;
	}
	r = image_area_sync(job->sys, &job->hash, e);
	if (r < 0)
		return r;
	image_super_block(&w->x->super, block);
	r = tree_write(w, 0, block, sizeof(block), e);
	if (r < 0)
		return r;
	return image_area_sync(job->sys, &job->hash, e);
}
