/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define GROUP_BLOCKS (IMAGE_GROUP / IMAGE_BLOCK)

void image_plan_free(struct image_plan *p)
{
	if (!p)
		return;
	free(p->way);
	free(p->runs);
	free(p->own);
	free(p);
}

static uint64_t group_bytes(const struct image_index *x, size_t group)
{
	return verity_group_blocks(&x->super, &x->geometry, group) * (uint64_t)IMAGE_BLOCK;
}

struct image_frames image_frames_delta(const struct image_delta *d)
{
	return (struct image_frames){ .n = d->frames,
				      .packed = d->packed,
				      .most = d->frame,
				      .raw_bytes = d->raw_bytes,
				      .delta = d };
}

static struct image_frames frames_full(const struct seekable_table *t)
{
	return (struct image_frames){ .n = t->frames,
				      .packed = t->packed,
				      .raw = t->raw,
				      .most = t->raw_max,
				      .raw_bytes = t->raw[t->frames] };
}

size_t image_frames_find(const struct image_frames *f, uint64_t off)
{
	return f->raw ? seekable_find(f->raw, f->n, off) : (size_t)(off / f->most);
}

uint64_t image_frames_start(const struct image_frames *f, size_t i)
{
	uint64_t at = f->raw ? f->raw[i] : (uint64_t)i * f->most;

	return at < f->raw_bytes ? at : f->raw_bytes;
}

/* Adds packed bytes [off, end) behind the last run, or to it when the gap is cheap to read over. */
static void run_add(struct image_plan *p, uint64_t off, uint64_t end)
{
	struct image_run *last = p->n_runs ? &p->runs[p->n_runs - 1] : NULL;

	if (last && off - (last->off + last->len) <= p->gap)
		last->len = end - last->off;
	else
		p->runs[p->n_runs++] = (struct image_run){ .off = off, .len = end - off };
}

/* Takes len blocks of a piece for a group. *next: no frame below it is still to be named. */
static void piece_take(struct image_plan *p, const struct image_piece *piece, uint64_t from,
		       uint64_t len, size_t *next)
{
	size_t f, end;

	if (piece->kind == IMAGE_PIECE_ZERO)
		p->zero_bytes += len * IMAGE_BLOCK;
	else if (piece->kind != IMAGE_PIECE_FRAME)
		p->copy_bytes += len * IMAGE_BLOCK;
	if (piece->kind != IMAGE_PIECE_FRAME)
		return;
	f = image_frames_find(&p->frames, from * IMAGE_BLOCK);
	end = image_frames_find(&p->frames, (from + len) * IMAGE_BLOCK - 1) + 1;
	for (f = f < *next ? *next : f; f < end; f++)
		run_add(p, p->frames.packed[f], p->frames.packed[f + 1]);
	*next = end > *next ? end : *next;
}

/* Where the walk over the pieces stands. */
struct walk {
	const struct image_piece *piece;
	size_t next; /* no frame below it is still to be named */
};

/* Walks on over blocks [at, end), one group; true when frames are among them. */
static bool group_walk(struct image_plan *p, struct walk *w, uint64_t at, uint64_t end, bool kept)
{
	bool fetch = false;

	while (at < end) {
		const struct image_piece *c = w->piece;
		uint64_t stop = (uint64_t)c->at + c->len, len = (stop < end ? stop : end) - at;

		fetch |= c->kind == IMAGE_PIECE_FRAME;
		if (!kept)
			piece_take(p, c, c->from + (at - c->at), len, &w->next);
		at += len;
		w->piece += at == stop;
	}
	return fetch;
}

/* Frames rise with the image in every plan: so one walk over the pieces names runs that rise. */
static void groups_plan(struct image_plan *p, const struct image_index *x, const uint8_t *kept)
{
	struct walk w = { .piece = p->pieces };

	for (size_t g = 0; g < p->groups; g++) {
		uint64_t at = g * GROUP_BLOCKS, bytes = group_bytes(x, g);
		bool keep = kept && kept[g];
		bool fetch = group_walk(p, &w, at, at + bytes / IMAGE_BLOCK, keep);

		if (keep) {
			p->way[g] = IMAGE_KEEP;
			p->keep_bytes += bytes;
			continue;
		}
		p->write_bytes += bytes;
		p->way[g] = IMAGE_COPY;
		if (fetch)
			p->way[g] = p->frames.delta ? IMAGE_DELTA : IMAGE_FULL;
	}
	for (size_t i = 0; i < p->n_runs; i++)
		p->fetch_bytes += p->runs[i].len;
}

/* Joins runs over larger gaps while they are many and short. */
static void runs_join(struct image_plan *p)
{
	while (p->gap < IMAGE_GAP && p->n_runs > IMAGE_RUNS &&
	       p->fetch_bytes < p->n_runs * IMAGE_RUN_MEAN) {
		size_t n = p->n_runs;

		p->gap *= 2;
		p->n_runs = 0;
		p->fetch_bytes = 0;
		for (size_t i = 0; i < n; i++) /* never more than were there */
			run_add(p, p->runs[i].off, p->runs[i].off + p->runs[i].len);
		for (size_t i = 0; i < p->n_runs; i++)
			p->fetch_bytes += p->runs[i].len;
	}
}

static int pieces_full(struct image_plan *p, const struct image_index *x, struct err *e)
{
	p->own = calloc(1, sizeof(*p->own));
	if (!p->own)
		return err_set(e, ERR_HOST, ENOMEM, "image plan");
	p->own[0] = (struct image_piece){ .kind = IMAGE_PIECE_FRAME,
					  .len = (uint32_t)x->id.data_blocks };
	p->n_pieces = 1;
	return 0;
}

/* The cut hash of a block of zeros. */
static int zero_cut(const struct image_index *x, uint8_t cut[IMAGE_LEAF_CUT], struct err *e)
{
	static const uint8_t zero[IMAGE_BLOCK];
	AUTO_VERITY_HASHER *h = NULL;
	uint8_t digest[DIGEST_MAX];
	int r = verity_hasher_new(&x->super, &h, e);

	if (r < 0)
		return r;
	verity_hash_block(h, zero, sizeof(zero), digest);
	memcpy(cut, digest, IMAGE_LEAF_CUT);
	return 0;
}

/* Appends a block, to the last piece when it goes on there. */
static void block_add(struct image_plan *p, uint64_t at, enum image_piece_kind kind, uint64_t from)
{
	struct image_piece *last = p->n_pieces ? &p->own[p->n_pieces - 1] : NULL;

	if (last && last->kind == kind &&
	    (kind == IMAGE_PIECE_ZERO || last->from + last->len == from))
		last->len++;
	else
		p->own[p->n_pieces++] = (struct image_piece){
			.kind = kind, .at = (uint32_t)at, .len = 1, .from = from
		};
}

/* The frames of the full blob hold the image as it is: a block lies where it lies there. */
static void pieces_match(struct image_plan *p, const struct image_index *x,
			 const struct image_leaves *base, const uint8_t *zero)
{
	uint64_t distance = 0; /* of the last copy: files move as a whole */

	for (uint64_t b = 0; b < x->id.data_blocks; b++) {
		const uint8_t *cut = x->leaves + b * IMAGE_LEAF_CUT;
		uint64_t from;

		if (memcmp(cut, zero, IMAGE_LEAF_CUT) == 0) {
			block_add(p, b, IMAGE_PIECE_ZERO, 0);
			continue;
		}
		from = image_leaves_find(base, cut, b + distance);
		if (from == UINT64_MAX) {
			block_add(p, b, IMAGE_PIECE_FRAME, b);
			continue;
		}
		distance = from - b;
		block_add(p, b, IMAGE_PIECE_COPY, from);
	}
}

static int pieces_any(struct image_plan *p, const struct image_index *x,
		      const struct image_leaves *base, struct err *e)
{
	uint8_t zero[IMAGE_LEAF_CUT];
	struct image_piece *less;
	int r = zero_cut(x, zero, e);

	if (r < 0)
		return r;
	p->own = calloc((size_t)x->id.data_blocks, sizeof(*p->own));
	if (!p->own)
		return err_set(e, ERR_HOST, ENOMEM, "image plan");
	pieces_match(p, x, base, zero);
	less = realloc(p->own, p->n_pieces * sizeof(*p->own));
	p->own = less ? less : p->own;
	return 0;
}

static int pieces_make(struct image_plan *p, const struct image_choice *c, struct err *e)
{
	const struct image_index *x = c->index;
	const struct image_delta *d = c->delta;
	int r = 0;

	if (d) {
		if (d->unit != IMAGE_BLOCK || d->target.bytes != x->id.data_blocks * IMAGE_BLOCK)
			return err_set(e, ERR_BUG, EINVAL, "plan with the delta of another image");
		p->frames = image_frames_delta(d);
		p->pieces = d->pieces;
		p->n_pieces = d->n_pieces;
		return 0;
	}
	if (!x->table)
		return err_set(e, ERR_BUG, EINVAL, "plan without the frames of the full image");
	p->frames = frames_full(x->table);
	r = c->base && x->leaves ? pieces_any(p, x, c->base, e) : pieces_full(p, x, e);
	p->pieces = p->own;
	return r;
}

/* A group, a frame packed and raw, the prefixes, and what the index and tables take. */
static uint64_t memory_of(const struct image_plan *p, const struct image_choice *c)
{
	const struct image_delta *d = p->frames.delta;
	uint64_t n = IMAGE_GROUP + 3 * p->frames.most + (256u << 10);

	n += 2 * c->index->upper_n + p->groups * 2 + p->n_runs * sizeof(*p->runs);
	n += p->n_pieces * sizeof(*p->pieces) + (p->frames.n + 1) * 2 * sizeof(uint64_t);
	n += c->index->id.data_blocks * IMAGE_LEAF_CUT;
	if (d)
		n += IMAGE_PREFIXES * d->prefix_max + d->mixed_max +
		     d->first[d->frames] * sizeof(*d->extents);
	else if (c->base)
		n += c->base->blocks * IMAGE_LEAF_CUT + c->base->slots * sizeof(uint32_t);
	return n;
}

int image_plan_make(const struct image_choice *c, struct image_plan **ret, struct err *e)
{
	AUTO_IMAGE_PLAN *p = calloc(1, sizeof(*p));
	const struct image_index *x = c->index;
	int r;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "image plan");
	r = pieces_make(p, c, e);
	if (r < 0)
		return r;
	p->groups = (size_t)verity_groups(&x->super, &x->geometry);
	p->way = calloc(p->groups, sizeof(*p->way));
	p->runs = calloc(p->frames.n + 1, sizeof(*p->runs)); /* at most one for each */
	if (!p->way || !p->runs)
		return err_set(e, ERR_HOST, ENOMEM, "image plan of %zu groups", p->groups);
	p->gap = IMAGE_GAP_MIN;
	groups_plan(p, x, c->kept);
	runs_join(p);
	p->memory = memory_of(p, c);
	*ret = TAKE(p);
	return 0;
}
