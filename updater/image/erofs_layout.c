/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/erofs_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BLOCK      4096u
#define LARGE      256u /* blocks of a file that is a neighbourhood of its own */
#define BLOCKS_MAX (UINT32_MAX / EROFS_BLOCK_SLOTS)
#define NOWHERE    UINT32_MAX

/* How much a try gives up to have fewer holes. */
enum effort { TOGETHER, COMPACT, AFRESH };

struct hole {
	uint32_t block, n;
};

/* The same path in the earlier image, of the same kind; or NULL. */
struct was {
	const struct erofs_item *x;
};

struct layer {
	const struct erofs_tree *now, *like; /* like NULL: afresh */
	const uint32_t *same;
	enum effort effort;
	struct was *was; /* of each item */
	struct erofs_place *place;
	uint32_t head, blocks, holes, cap;
	uint8_t *slot;                         /* a byte per slot of the head: taken */
	uint32_t first[EROFS_BLOCK_SLOTS + 1]; /* no room for that many slots before */
	uint8_t *taken;                        /* a byte per block */
	uint32_t *order;                       /* items with blocks, as they lie in `now` */
	size_t n_order;
	struct hole *hole;
	size_t n_hole;
	struct err *e;
};

void erofs_layout_free(struct erofs_layout *l)
{
	if (!l)
		return;
	free(l->place);
	free(l);
}

/* For the next try; what lasts stays. */
static void try_done(struct layer *w)
{
	free(w->slot);
	free(w->taken);
	free(w->hole);
	w->slot = w->taken = NULL;
	w->hole = NULL;
}

static void layer_done(struct layer *w)
{
	try_done(w);
	free(w->was);
	free(w->place);
	free(w->order);
}

/* ---- the head ---- */

static bool slots_free(const struct layer *w, uint64_t from, uint64_t n)
{
	if (from + n > (uint64_t)w->head * EROFS_BLOCK_SLOTS)
		return false;
	return !memchr(w->slot + from, 1, (size_t)n);
}

static void slots_take(struct layer *w, uint64_t from, uint64_t n)
{
	memset(w->slot + from, 1, (size_t)n);
}

/* The first room for an inode; it must not cross a block. NOWHERE: the head is full. */
static uint32_t slots_find(struct layer *w, uint32_t n)
{
	uint64_t end = (uint64_t)w->head * EROFS_BLOCK_SLOTS;

	for (uint64_t at = w->first[n]; at + n <= end;) {
		const uint8_t *hit;

		if (at / EROFS_BLOCK_SLOTS != (at + n - 1) / EROFS_BLOCK_SLOTS) {
			at = (at / EROFS_BLOCK_SLOTS + 1) * EROFS_BLOCK_SLOTS;
			continue;
		}
		hit = memchr(w->slot + at, 1, n);
		if (!hit) {
			w->first[n] = (uint32_t)at;
			return (uint32_t)at;
		}
		at = (uint64_t)(hit - w->slot) + 1;
	}
	return NOWHERE;
}

/* The first whole blocks of the head, for a directory's. */
static uint32_t head_blocks_find(const struct layer *w, uint32_t n)
{
	uint32_t run = 0;

	for (uint32_t b = 0; b < w->head; b++) {
		run = slots_free(w, (uint64_t)b * EROFS_BLOCK_SLOTS, EROFS_BLOCK_SLOTS) ? run + 1
											: 0;
		if (run == n)
			return b + 1 - n;
	}
	return NOWHERE;
}

static void head_keep(struct layer *w)
{
	for (size_t i = 0; i < w->now->n; i++) {
		const struct erofs_item *x = &w->now->item[i], *was = w->was[i].x;
		uint64_t from = was ? (uint64_t)was->block * EROFS_BLOCK_SLOTS : 0;
		uint64_t n = (uint64_t)x->blocks * EROFS_BLOCK_SLOTS;

		if (!was)
			continue;
		if (x->slots <= was->slots && slots_free(w, was->nid, x->slots)) {
			w->place[i].nid = was->nid;
			slots_take(w, was->nid, x->slots);
		}
		if (x->dir && x->blocks > 0 && x->blocks <= was->blocks && slots_free(w, from, n)) {
			w->place[i].block = was->block;
			slots_take(w, from, n);
		}
	}
}

/* False: the head is full. */
static bool head_fill(struct layer *w)
{
	for (size_t i = 0; i < w->now->n; i++) {
		const struct erofs_item *x = &w->now->item[i];
		struct erofs_place *p = &w->place[i];

		if (x->dir && x->blocks > 0 && p->block == NOWHERE) {
			p->block = head_blocks_find(w, x->blocks);
			if (p->block == NOWHERE)
				return false;
			slots_take(w, (uint64_t)p->block * EROFS_BLOCK_SLOTS,
				   (uint64_t)x->blocks * EROFS_BLOCK_SLOTS);
		}
	}
	for (size_t k = 0; k < w->now->n; k++) {
		uint32_t i = w->now->by_nid[k];
		struct erofs_place *p = &w->place[i];

		if (p->nid != NOWHERE)
			continue;
		p->nid = slots_find(w, w->now->item[i].slots);
		if (p->nid == NOWHERE)
			return false;
		slots_take(w, p->nid, w->now->item[i].slots);
	}
	return true;
}

/* Blocks of an earlier image before the first with data of a file. */
static uint32_t head_of(const struct erofs_tree *t)
{
	uint64_t head = t->blocks;

	for (size_t i = 0; i < t->n; i++)
		if (!t->item[i].dir && t->item[i].blocks > 0 && t->item[i].block < head)
			head = t->item[i].block;
	return (uint32_t)head;
}

static uint32_t head_more(uint32_t head)
{
	return head + head / 8 + 4;
}

/* What the head should hold at least, with room to grow. */
static uint32_t head_wish(const struct layer *w)
{
	const struct erofs_tree *t = w->now;
	uint64_t slots = EROFS_SUPER_SLOTS, blocks = 0;
	uint64_t fixed =
		((uint64_t)t->fixed + t->fixed_slots + EROFS_BLOCK_SLOTS - 1) / EROFS_BLOCK_SLOTS;

	for (size_t i = 0; i < t->n; i++) {
		slots += t->item[i].slots;
		blocks += t->item[i].dir ? t->item[i].blocks : 0;
	}
	blocks += slots / EROFS_BLOCK_SLOTS + 1;
	if (w->like && w->effort != AFRESH && head_of(w->like) >= blocks)
		return head_of(w->like) > fixed ? head_of(w->like) : (uint32_t)fixed;
	blocks = blocks > fixed ? blocks : fixed;
	return blocks < BLOCKS_MAX / 2 ? head_more((uint32_t)blocks) : BLOCKS_MAX;
}

static int no_memory(const struct layer *w)
{
	return err_set(w->e, ERR_HOST, ENOMEM, "out of memory to lay out an image");
}

static int too_large(const struct layer *w)
{
	return err_set(w->e, ERR_INPUT, EFBIG, "the image has too many files, or is too large");
}

/* 1: it is laid; 0: it needs to be larger. */
static int head_lay(struct layer *w)
{
	free(w->slot);
	w->slot = calloc((size_t)w->head * EROFS_BLOCK_SLOTS, 1);
	if (!w->slot)
		return no_memory(w);
	memset(w->first, 0, sizeof(w->first));
	for (size_t i = 0; i < w->now->n; i++)
		w->place[i].nid = w->place[i].block = NOWHERE;
	slots_take(w, 0, EROFS_SUPER_SLOTS);
	slots_take(w, w->now->fixed, w->now->fixed_slots);
	if (w->effort != AFRESH)
		head_keep(w);
	/* the superblock has but 16 bits for it */
	if (w->place[0].nid == NOWHERE) {
		w->place[0].nid = slots_find(w, w->now->item[0].slots);
		if (w->place[0].nid == NOWHERE)
			return 0;
		slots_take(w, w->place[0].nid, w->now->item[0].slots);
	}
	return head_fill(w);
}

/* ---- data ---- */

static bool blocks_free(const struct layer *w, uint64_t from, uint64_t n)
{
	return from >= w->head && from + n <= w->cap && !memchr(w->taken + from, 1, (size_t)n);
}

static void blocks_take(struct layer *w, size_t i, uint32_t from)
{
	memset(w->taken + from, 1, w->now->item[i].blocks);
	w->place[i].block = from;
}

/* Should it stay where it was, though it may have to change? */
static bool stays(const struct layer *w, uint32_t i)
{
	const struct erofs_item *x = &w->now->item[i];

	return w->effort == COMPACT || x->blocks >= LARGE || 2 * (uint64_t)w->same[i] >= x->blocks;
}

static void data_keep(struct layer *w)
{
	/* no longer than they were first: these cannot be in each other's way */
	for (unsigned longer = 0; longer < 2; longer++)
		for (size_t k = 0; k < w->n_order; k++) {
			uint32_t i = w->order[k];
			const struct erofs_item *x = &w->now->item[i], *was = w->was[i].x;

			if (!was || was->blocks == 0 || (x->blocks > was->blocks) != longer)
				continue;
			if (stays(w, i) && blocks_free(w, was->block, x->blocks))
				blocks_take(w, i, was->block);
		}
}

/* The holes of at least `least` blocks, and behind them all that is free. */
static bool holes_list(struct layer *w, uint32_t least)
{
	uint32_t end = w->cap, n = 0;

	while (end > w->head && !w->taken[end - 1])
		end--;
	w->n_hole = 0;
	free(w->hole);
	w->hole = calloc((size_t)(end - w->head) / 2 + 2, sizeof(*w->hole));
	if (!w->hole)
		return false;
	for (uint32_t b = w->head; b < end; b++) {
		n = w->taken[b] ? 0 : n + 1;
		if (n >= least && w->taken[b + 1])
			w->hole[w->n_hole++] = (struct hole){ b + 1 - n, n };
	}
	w->hole[w->n_hole++] = (struct hole){ end, w->cap - end };
	return true;
}

/* The first hole with room, the end at last. */
static bool data_fill(struct layer *w)
{
	if (!holes_list(w, w->effort == TOGETHER ? LARGE : 1))
		return false;
	for (size_t k = 0; k < w->n_order; k++) {
		uint32_t i = w->order[k], n = w->now->item[i].blocks;
		struct hole *h = w->hole;

		if (w->place[i].block != NOWHERE)
			continue;
		while (h->n < n && h < w->hole + w->n_hole - 1)
			h++;
		blocks_take(w, i, h->block);
		h->block += n;
		h->n -= n;
	}
	return true;
}

static void data_count(struct layer *w)
{
	w->blocks = w->cap;
	while (w->blocks > w->head && !w->taken[w->blocks - 1])
		w->blocks--;
	w->holes = 0;
	for (uint32_t b = w->head; b < w->blocks; b++)
		w->holes += !w->taken[b];
}

static int data_lay(struct layer *w)
{
	uint64_t cap = w->head + (w->effort != AFRESH ? w->like->blocks : 0);

	for (size_t k = 0; k < w->n_order; k++)
		cap += w->now->item[w->order[k]].blocks;
	if (cap > BLOCKS_MAX)
		return too_large(w);
	w->cap = (uint32_t)cap;
	w->taken = calloc((size_t)cap + 1, 1);
	if (!w->taken)
		return no_memory(w);
	if (w->effort != AFRESH)
		data_keep(w);
	if (!data_fill(w))
		return no_memory(w);
	data_count(w);
	return 0;
}

/* ---- numbers ---- */

/* Nobody but stat(2) of 32-bit hosts sees them, but what changes must be written. */
static int numbers_give(struct layer *w)
{
	AUTO_FREE uint8_t *used = calloc(w->now->n + 2, 1);
	uint32_t next = 1;

	if (!used)
		return no_memory(w);
	for (size_t i = 0; i < w->now->n; i++) {
		const struct erofs_item *was = w->effort == AFRESH ? NULL : w->was[i].x;

		w->place[i].ino = 0;
		if (!was || was->ino == 0 || was->ino > w->now->n || used[was->ino])
			continue;
		w->place[i].ino = was->ino;
		used[was->ino] = 1;
	}
	for (size_t k = 0; k < w->now->n; k++) {
		struct erofs_place *p = &w->place[w->now->by_nid[k]];

		if (p->ino)
			continue;
		while (used[next])
			next++;
		p->ino = next;
		used[next] = 1;
	}
	return 0;
}

/* ---- all of it ---- */

static int by_block(const void *a, const void *b, void *arg)
{
	const struct erofs_item *x = arg;
	uint32_t i = x[*(const uint32_t *)a].block, j = x[*(const uint32_t *)b].block;

	return (i > j) - (i < j);
}

static bool layer_new(struct layer *w)
{
	const struct erofs_tree *t = w->now;

	w->was = calloc(t->n, sizeof(*w->was));
	w->place = calloc(t->n, sizeof(*w->place));
	w->order = calloc(t->n, sizeof(*w->order));
	if (!w->was || !w->place || !w->order)
		return false;
	for (size_t i = 0; i < t->n; i++) {
		const struct erofs_item *x = &t->item[i], *was = NULL;

		if (w->like)
			was = erofs_tree_path(w->like, x->path);
		w->was[i].x = was && was->dir == x->dir ? was : NULL;
		if (!x->dir && x->blocks > 0)
			w->order[w->n_order++] = (uint32_t)i;
	}
	qsort_r(w->order, w->n_order, sizeof(*w->order), by_block, t->item);
	return true;
}

static int lay(struct layer *w)
{
	int q = 0;

	try_done(w);
	w->head = head_wish(w);
	for (unsigned i = 0; q == 0; i++) {
		w->head = i ? head_more(w->head) : w->head;
		q = w->head < BLOCKS_MAX ? head_lay(w) : too_large(w);
	}
	q = q < 0 ? q : data_lay(w);
	return q < 0 ? q : numbers_give(w);
}

static bool too_many_holes(const struct layer *w, unsigned most)
{
	return (uint64_t)w->holes * most > w->blocks;
}

static int lay_best(struct layer *w)
{
	int q;

	w->effort = w->like ? TOGETHER : AFRESH;
	q = lay(w);
	if (q >= 0 && w->effort == TOGETHER && too_many_holes(w, EROFS_HOLES_WISH)) {
		w->effort = COMPACT;
		q = lay(w);
	}
	if (q >= 0 && w->effort != AFRESH &&
	    (too_many_holes(w, EROFS_HOLES_MOST) || w->place[0].nid > EROFS_ROOT_MAX)) {
		w->effort = AFRESH;
		q = lay(w);
	}
	return q >= 0 && w->place[0].nid > EROFS_ROOT_MAX ? too_large(w) : q;
}

int erofs_layout_new(const struct erofs_tree *now, const struct erofs_tree *like,
		     const uint32_t *same, struct erofs_layout **ret, struct err *e)
{
	CLEANUP(layer_done)
	struct layer w = { .now = now, .like = like, .same = same, .e = e };
	AUTO_EROFS_LAYOUT *l = calloc(1, sizeof(*l));
	int q = l && layer_new(&w) ? lay_best(&w) : no_memory(&w);

	if (q < 0)
		return q;
	l->place = TAKE(w.place);
	l->n = now->n;
	l->blocks = w.blocks;
	l->head = w.head;
	l->holes = w.holes;
	l->afresh = like && w.effort == AFRESH;
	*ret = TAKE(l);
	return 0;
}

void erofs_layout_compare(const struct erofs_tree *now, const struct erofs_tree *like,
			  uint32_t *same)
{
	for (size_t i = 0; i < now->n; i++) {
		const struct erofs_item *x = &now->item[i];
		const struct erofs_item *was = erofs_tree_path(like, x->path);
		uint32_t n = was && was->blocks < x->blocks ? was->blocks : x->blocks;

		same[i] = 0;
		if (!was || was->dir || x->dir)
			continue;
		for (uint32_t b = 0; b < n; b++)
			same[i] += memcmp(now->p + ((uint64_t)x->block + b) * BLOCK,
					  like->p + ((uint64_t)was->block + b) * BLOCK, BLOCK) == 0;
	}
}
