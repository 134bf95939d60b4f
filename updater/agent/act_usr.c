/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "updater/agent/act_steps.h"
#include "updater/agent/spool.h"
#include "updater/image/leaves.h"
#include "updater/image/plan.h"

#define LENT_GAP ((uint64_t)2 << 10) /* bytes of the index that a request more costs */

void act_usr_done(struct act_usr *u)
{
	image_index_free(u->index);
	image_index_free(u->index_more);
	image_scan_free(u->scan);
	image_delta_free(u->delta);
	buf_done(&u->head);
	buf_done(&u->more);
}

static void image_id_of(const struct release_manifest *m, struct image_id *ret)
{
	*ret = (struct image_id){ .data_blocks = m->data_blocks,
				  .index_bytes =
					  release_blob_find(m, RELEASE_USR_INDEX, NULL)->bytes,
				  .salt_n = (uint16_t)m->salt_n };
	memcpy(ret->root, m->root, sizeof(ret->root));
	memcpy(ret->salt, m->salt, m->salt_n);
}

static int slot_progress(void *arg, enum image_phase phase, uint64_t done, uint64_t total)
{
	static const enum act_phase map[] = {
		[IMAGE_SCAN] = ACT_SCAN,
		[IMAGE_FETCH] = ACT_FETCH,
		[IMAGE_WRITE] = ACT_WRITE,
		[IMAGE_PROVE] = ACT_PROVE,
	};
	const struct act_usr *u = arg;

	return u->a->progress ? u->a->progress(u->a->arg, map[phase], done, total) : 0;
}

static int open_areas(struct act_usr *u, bool write, struct err *e)
{
	struct host *h = u->a->host;
	int r = slot_area(h->disk, u->res->slot, false, write, &u->data, e);

	if (r == 0)
		r = slot_area(h->disk, u->res->slot, true, write, &u->hash, e);
	if (r == 0 && h->has_slot)
		r = slot_area(h->disk, h->slot, false, false, &u->base_data, e);
	if (r == 0 && h->has_slot)
		r = slot_area(h->disk, h->slot, true, false, &u->base_hash, e);
	return r;
}

/* Goes on with *to (room is there) up to the end of that part. */
static int index_prefix(struct act_usr *u, struct act_blob *blob, enum image_index_part through,
			struct buf *to, struct image_index **ret, struct err *e)
{
	const struct release_blob *full = release_blob_find(u->m, RELEASE_USR_FULL, NULL);
	uint64_t end = image_index_bytes(&u->id, through);
	struct image_run run = { .off = to->n, .len = end - to->n };
	int r = blob->src.begin(blob->src.arg, &run, 1, e);

	if (r == 0)
		r = blob->src.read(blob->src.arg, to->p + to->n, run.len, e);
	if (r < 0)
		return r;
	to->n = (size_t)end;
	u->got += run.len;
	return image_index_parse((const uint8_t *)to->p, to->n, &u->id, full->bytes, ret, e);
}

/*
 * The runs of cut hashes that are not there. A group's are so few that smaller gaps than LENT_GAP
 * are read over.
 */
static size_t leaves_runs(const struct act_usr *u, const uint8_t *have, size_t groups,
			  struct image_run *runs)
{
	const uint64_t group = IMAGE_GROUP / IMAGE_BLOCK * IMAGE_LEAF_CUT;
	uint64_t from = image_index_bytes(&u->id, IMAGE_INDEX_FRAMES);
	uint64_t all = image_index_bytes(&u->id, IMAGE_INDEX_LEAVES);
	size_t n = 0;

	for (size_t i = 0; i < groups; i++) {
		uint64_t off = from + i * group, end = off + group < all ? off + group : all;

		if (have[i])
			continue;
		if (n > 0 && off - (runs[n - 1].off + runs[n - 1].len) < LENT_GAP)
			runs[n - 1].len = end - runs[n - 1].off;
		else
			runs[n++] = (struct image_run){ off, end - off };
	}
	return n;
}

/* Adds the cut hashes to *to, which holds what comes before: most of them the base can lend. */
static int index_leaves(struct act_usr *u, struct act_blob *blob, const struct image_index *x,
			struct buf *to, struct err *e)
{
	size_t groups = (size_t)verity_groups(&x->super, &x->geometry), n;
	AUTO_FREE struct image_run *runs = calloc(groups, sizeof(*runs));
	AUTO_FREE uint8_t *have = calloc(groups, 1);
	int r;

	if (!runs || !have)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory for the index");
	(void)!image_leaves_lend(u->a->host->sys, &u->base_hash, x, (uint8_t *)to->p + to->n, have,
				 NULL);
	n = leaves_runs(u, have, groups, runs);
	r = n ? blob->src.begin(blob->src.arg, runs, n, e) : 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = blob->src.read(blob->src.arg, to->p + runs[i].off, runs[i].len, e);
		u->got += r == 0 ? runs[i].len : 0;
	}
	to->n = (size_t)image_index_bytes(&u->id, IMAGE_INDEX_LEAVES);
	return r;
}

static int index_read(struct act_usr *u, struct act_blob *blob, enum image_index_part through,
		      struct buf *to, struct image_index **ret, struct err *e)
{
	const struct release_blob *full = release_blob_find(u->m, RELEASE_USR_FULL, NULL);
	AUTO_IMAGE_INDEX *x = NULL;
	int r;

	if (through != IMAGE_INDEX_LEAVES)
		return index_prefix(u, blob, through, to, ret, e);
	r = index_prefix(u, blob, IMAGE_INDEX_FRAMES, to, &x, e);
	r = r < 0 ? r : index_leaves(u, blob, x, to, e);
	if (r < 0)
		return r;
	return image_index_parse((const uint8_t *)to->p, to->n, &u->id, full->bytes, ret, e);
}

static int fetch_index_once(struct act_usr *u, enum image_index_part through,
			    const struct buf *have, struct buf *to, struct image_index **ret,
			    struct err *e)
{
	const struct release_manifest *m = u->m;
	uint64_t end = image_index_bytes(&u->id, through);
	struct act_blob blob;
	int r;

	act_blob_init(&blob, u->a, release_blob_find(m, RELEASE_USR_INDEX, NULL));
	if (end == 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "manifest of %s: an index of this image cannot be %llu bytes long",
			       m->version, (unsigned long long)blob.blob->bytes);
	to->max = (size_t)end + 1;
	r = buf_reserve(to, (size_t)end, e);
	if (r == 0 && have)
		r = buf_add(to, have->p, have->n, e);
	r = r < 0 ? r : index_read(u, &blob, through, to, ret, e);
	if (r < 0)
		return err_wrap(e, r, "index of %s (%s)", m->version,
				blob.src.name ? blob.src.name : "");
	u->got -= blob.here;
	return 0;
}

/*
 * The bytes of the index blob up to the end of that part into *to; what `have` holds of them is
 * not fetched again.
 */
static int fetch_index(struct act_usr *u, enum image_index_part through, const struct buf *have,
		       struct buf *to, struct image_index **ret, struct err *e)
{
	const struct release_blob *b = release_blob_find(u->m, RELEASE_USR_INDEX, NULL);
	struct act *a = u->a;
	struct err mine = ERR_INIT;
	int r = -EBADMSG;

	for (unsigned i = 0; r < 0 && i < ACT_MIRRORS_MAX; i++) {
		mine = (struct err)ERR_INIT;
		buf_done(to);
		*to = (struct buf)BUF_INIT;
		r = fetch_index_once(u, through, have, to, ret, &mine);
		if (r < 0 && (!act_try_another(&mine) || !act_elsewhere(a, b)))
			break;
	}
	return r < 0 ? err_set(e, mine.kind, mine.os, "%s", mine.text) : 0;
}

/* As much as it takes to do without a delta. */
static enum image_index_part part_without_delta(const struct act_usr *u)
{
	if (u->base_hash.bytes && image_leaves_compare(u->a->host->sys, &u->base_hash, &u->id))
		return IMAGE_INDEX_LEAVES;
	return IMAGE_INDEX_FRAMES;
}

static int scan_slot(struct act_usr *u, struct err *e)
{
	const struct image_job job = { .sys = u->a->host->sys,
				       .data = u->data,
				       .hash = u->hash,
				       .index = u->index,
				       .progress = slot_progress,
				       .arg = u };
	int r = image_write_scan(&job, &u->scan, e);

	if (r == -ECANCELED)
		return err_set(e, ERR_RETRY, ECANCELED, "cancelled");
	return r;
}

bool act_usr_there(const struct act_usr *u)
{
	return u->scan && u->scan->right == image_data_bytes(&u->id);
}

/* Fetches the recipe. What is wrong with it is no failure: there are other ways. */
static int fetch_delta(struct act_usr *u, const struct release_blob *b, struct err *e)
{
	struct image_delta_want want = { .unit = IMAGE_BLOCK,
					 .target = { .bytes = image_data_bytes(&u->id) },
					 .blob_bytes = b->bytes };
	struct act_part *part = &u->res->plan.usr;
	struct verity_super base;
	struct err mine = ERR_INIT;
	uint64_t fetched = 0;
	int r = verity_super_read(u->a->host->sys, &u->base_hash, &base, &mine);

	act_blob_init(&u->patch, u->a, b);
	memcpy(want.target.id, u->id.root, sizeof(want.target.id));
	memcpy(want.source[0].id, u->a->host->root, sizeof(want.source[0].id));
	if (r >= 0) {
		want.source[0].bytes = base.data_blocks * IMAGE_BLOCK;
		r = image_delta_fetch(&u->patch.src, &want, &u->delta, &fetched, &mine);
		u->got += fetched - u->patch.here;
	}
	if (r >= 0 || act_try_another(&mine)) {
		if (r < 0) {
			(void)snprintf(part->why, sizeof(part->why),
				       "the delta from %.64s cannot be used: %.200s",
				       u->a->host->version, mine.text);
			act_note(u->a, "%s: %s", u->m->version, part->why);
		}
		return 0;
	}
	return err_set(e, mine.kind, mine.os, "delta of %s: %s", u->m->version, mine.text);
}

static int plan_numbers(struct act_usr *u, struct err *e)
{
	AUTO_IMAGE_LEAVES *base = NULL;
	AUTO_IMAGE_PLAN *p = NULL;
	struct act_plan *to = &u->res->plan;
	struct image_choice c = { .index = u->index,
				  .kept = u->scan ? u->scan->kept : NULL,
				  .delta = u->delta };
	int r;

	if (!u->delta && u->index->leaves)
		(void)!image_leaves_read(u->a->host->sys, &u->base_hash, &u->id, &base, NULL);
	c.base = base;
	r = image_plan_make(&c, &p, e);
	if (r < 0)
		return r;
	to->usr.way = u->delta ? ACT_WAY_DELTA : p->copy_bytes ? ACT_WAY_ANY_BASE : ACT_WAY_FULL;
	to->usr.fetch = p->fetch_bytes;
	to->usr.requests = p->n_runs;
	to->copy = p->copy_bytes;
	to->zero = p->zero_bytes;
	to->keep = p->keep_bytes;
	to->write = p->write_bytes;
	to->memory = p->memory;
	return 0;
}

static const struct release_blob *find_delta(struct act_usr *u)
{
	const struct host *h = u->a->host;
	struct act_part *part = &u->res->plan.usr;
	const struct release_blob *b =
		h->has_slot ? release_blob_find(u->m, RELEASE_USR_DELTA, h->root) : NULL;

	if (!h->has_slot)
		(void)snprintf(part->why, sizeof(part->why), "nothing runs here yet");
	else if (!b)
		(void)snprintf(part->why, sizeof(part->why), "there is no delta from %.64s",
			       h->version);
	return b;
}

int act_usr_plan(struct act_usr *u, bool resume, struct err *e)
{
	const struct release_blob *b = find_delta(u);
	int r;

	image_id_of(u->m, &u->id);
	act_blob_init(&u->full, u->a, release_blob_find(u->m, RELEASE_USR_FULL, NULL));
	r = open_areas(u, false, e);
	if (r == 0)
		r = fetch_index(u, b || resume ? IMAGE_INDEX_UPPER : part_without_delta(u), NULL,
				&u->head, &u->index, e);
	if (r == 0 && resume)
		r = scan_slot(u, e);
	if (r < 0)
		return r;
	if (act_usr_there(u)) {
		u->res->plan.keep = u->scan->right;
		return 0;
	}
	if (b)
		r = fetch_delta(u, b, e);
	if (r == 0 && !u->delta && !u->index->table) {
		r = fetch_index(u, part_without_delta(u), &u->head, &u->more, &u->index_more, e);
		if (r < 0)
			return r;
		image_index_free(u->index);
		u->index = TAKE(u->index_more);
	}
	return r < 0 ? r : plan_numbers(u, e);
}

/* The delta did not make all of it. */
static int usr_more(void *arg, const struct image_index **ret, struct err *e)
{
	struct act_usr *u = arg;
	int r = fetch_index(u, part_without_delta(u), &u->head, &u->more, &u->index_more, e);

	if (r < 0)
		return r;
	*ret = u->index_more;
	if (!u->delta)
		return 0;
	if (u->a->spool)
		(void)spool_drop(u->a->spool);
	(void)snprintf(u->res->plan.usr.why, sizeof(u->res->plan.usr.why),
		       "the delta from %.64s did not make all of it: it, or what runs here, is "
		       "not as published",
		       u->a->host->version);
	act_note(u->a, "%s: %s", u->m->version, u->res->plan.usr.why);
	return 0;
}

static int usr_allow(void *arg, const struct image_plan *plan, uint64_t fetched, struct err *e)
{
	struct act_usr *u = arg;
	const struct act_plan *p = &u->res->plan;

	(void)fetched;
	return act_allow(u->a, plan->fetch_bytes + (p->uki_late ? p->uki.fetch : 0), p->usr.why,
			 u->res, e);
}

static int usr_elsewhere(void *arg)
{
	struct act_usr *u = arg;

	return act_elsewhere(u->a, u->full.blob);
}

int act_usr_write(struct act_usr *u, struct err *e)
{
	struct image_stats st = { .fetched = 0 };
	struct image_job job = { .sys = u->a->host->sys,
				 .index = u->index,
				 .full = &u->full.src,
				 .delta = u->delta,
				 .patch = &u->patch.src,
				 .scan = u->scan,
				 .more = usr_more,
				 .allow = usr_allow,
				 .elsewhere = usr_elsewhere,
				 .threads = u->a->threads,
				 .progress = slot_progress,
				 .arg = u };
	uint64_t here = u->patch.here + u->full.here;
	int r = open_areas(u, true, e);

	if (r < 0)
		return r;
	job.data = u->data;
	job.hash = u->hash;
	job.base_data = u->base_data;
	job.base_hash = u->base_hash;
	r = image_write(&job, &st, e);
	here = u->patch.here + u->full.here - here;
	u->res->fetched = u->got + st.fetched - here;
	u->res->written = st.written;
	u->res->kept = st.kept;
	u->res->copied = st.copied;
	u->res->spared = st.spared;
	u->res->hashed = st.hashed + (u->scan ? u->scan->hashed : 0);
	return r;
}
