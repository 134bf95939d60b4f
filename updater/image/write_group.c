/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "updater/image/write_core.h"

static uint8_t *held_of(const struct image_writer *w, size_t g, size_t i)
{
	return w->held + (g * GROUP_BLOCKS + i) * IMAGE_LEAF_CUT;
}

static bool is_held(const struct image_writer *w, size_t g, size_t i)
{
	return memcmp(held_of(w, g, i), w->leaf + i * SHA256_BYTES, IMAGE_LEAF_CUT) == 0;
}

/* A part of a group: blocks of one piece, from block `at` of the group on. */
struct part {
	const struct image_piece *piece;
	size_t at, n;
	uint64_t skip; /* blocks of the piece that lie before */
};

/* Calls fn for every part of a group, as the plan says. */
static int parts_each(struct image_writer *w, size_t g,
		      int (*fn)(struct image_writer *w, size_t g, const struct part *part,
				struct err *e),
		      struct err *e)
{
	uint64_t first = g * GROUP_BLOCKS, at = first, end = first + image_writer_blocks(w, g);

	while (w->plan->pieces[w->piece].at + (uint64_t)w->plan->pieces[w->piece].len <= at)
		w->piece++;
	for (size_t i = w->piece; at < end; i++) {
		const struct image_piece *p = &w->plan->pieces[i];
		uint64_t stop = (uint64_t)p->at + p->len;
		struct part part = { p, (size_t)(at - first),
				     (size_t)((stop < end ? stop : end) - at), at - p->at };
		int r = fn(w, g, &part, e);

		if (r < 0)
			return r;
		at += part.n;
	}
	return image_feed_settle(&w->feed, e);
}

/* Their bytes, into w->group. */
static int part_make(struct image_writer *w, const struct part *part, struct err *e)
{
	const struct image_part from = { part->piece, IMAGE_BLOCK, part->skip, part->n };

	return image_feed_part(&w->feed, &from, w->group + part->at * IMAGE_BLOCK, e);
}

/* Makes the runs of blocks of a part for which w->there is `there`. */
static int part_make_some(struct image_writer *w, const struct part *part, bool there,
			  struct err *e)
{
	for (size_t i = 0; i < part->n;) {
		struct part run = { part->piece, part->at + i, 0, part->skip + i };
		int r;

		if (w->there[run.at] != there) {
			i++;
			continue;
		}
		while (i < part->n && w->there[part->at + i] == there)
			i++;
		run.n = part->at + i - run.at;
		r = part_make(w, &run, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The digests that the blocks of a part should have, into w->leaf; false when nobody says. */
static bool part_foretell(struct image_writer *w, const struct part *part)
{
	uint8_t *to = w->leaf + part->at * SHA256_BYTES;

	switch (part->piece->kind) {
	case IMAGE_PIECE_COPY:
		return w->base.blocks > 0 &&
		       image_tree_digests(&w->base, part->piece->from + part->skip, part->n, to,
					  NULL) >= 0;
	case IMAGE_PIECE_ZERO:
		for (size_t i = 0; i < part->n; i++)
			memcpy(to + i * SHA256_BYTES, w->zero, SHA256_BYTES);
		return true;
	case IMAGE_PIECE_FRAME:
	case IMAGE_PIECE_COPY_SECOND:
		break;
	}
	return false;
}

/* Notes what the slot holds of a part, and makes the rest. */
static int part_do(struct image_writer *w, size_t g, const struct part *part, struct err *e)
{
	bool told = w->holds && part_foretell(w, part);

	for (size_t i = part->at; i < part->at + part->n; i++) {
		w->there[i] = told && is_held(w, g, i);
		if (w->there[i] && part->piece->kind == IMAGE_PIECE_COPY)
			w->there_copied += IMAGE_BLOCK;
	}
	return part_make_some(w, part, false, e);
}

/* Hashes the blocks of w->group for which w->there is `there`, into w->leaf. */
static size_t group_hash(struct image_writer *w, size_t n, bool there)
{
	size_t hashed = 0;

	for (size_t i = 0; i < n;) {
		size_t from = i;

		if (w->there[i] != there) {
			i++;
			continue;
		}
		while (i < n && w->there[i] == there)
			i++;
		verity_hash_blocks(w->hasher, w->group + from * IMAGE_BLOCK, IMAGE_BLOCK, i - from,
				   w->leaf + from * SHA256_BYTES);
		hashed += i - from;
	}
	w->stats->hashed += hashed * IMAGE_BLOCK;
	return hashed;
}

/* What was there is made after all. */
static int part_do_there(struct image_writer *w, size_t g, const struct part *part, struct err *e)
{
	(void)g;
	return part_make_some(w, part, true, e);
}

static int group_prove(struct image_writer *w, size_t g, struct err *e)
{
	size_t n = image_writer_blocks(w, g);
	struct err doubt = ERR_INIT;
	int r;

	memset(w->leaf + n * SHA256_BYTES, 0, sizeof(w->leaf) - n * SHA256_BYTES);
	if (group_hash(w, n, false) == n)
		return verity_proof_group(w->x->proof, g, w->leaf, n, e);
	r = verity_proof_group(w->x->proof, g, w->leaf, n, &doubt);
	if (r != -EBADMSG)
		return r < 0 ? err_set(e, doubt.kind, doubt.os, "%s", doubt.text) : 0;
	/* the digests that were taken on trust may be what is wrong */
	r = parts_each(w, g, part_do_there, e);
	if (r < 0)
		return r;
	(void)group_hash(w, n, true);
	memset(w->there, 0, sizeof(w->there));
	return verity_proof_group(w->x->proof, g, w->leaf, n, e);
}

/* Writes the proved blocks in w->group, but for those that the slot holds. */
static int group_write(struct image_writer *w, size_t g, struct err *e)
{
	size_t n = image_writer_blocks(w, g), i = 0;

	while (i < n) {
		size_t from = i;
		int r;

		while (i < n && !is_held(w, g, i))
			i++;
		if (i == from) {
			w->stats->spared += IMAGE_BLOCK;
			i++;
			continue;
		}
		r = image_slot_write(w, g * IMAGE_GROUP + from * IMAGE_BLOCK,
				     w->group + from * IMAGE_BLOCK, (i - from) * IMAGE_BLOCK, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int group_store(struct image_writer *w, size_t g, struct err *e)
{
	int r = image_slot_open(w, e);

	if (r < 0)
		return r;
	r = group_write(w, g, e);
	if (r < 0)
		return r;
	r = image_slot_leaf(w, g, e);
	if (r < 0)
		return r;
	w->kept[g] = 1;
	w->right += image_writer_blocks(w, g) * IMAGE_BLOCK;
	return image_slot_flush_some(w, (uint64_t)(g + 1) * IMAGE_GROUP, e);
}

bool image_writer_final(const struct image_writer *w, const struct err *e)
{
	if (e->kind == ERR_BUG || e->os == ENOMEM || e->os == ECANCELED)
		return true;
	return w->feed.lost && e->kind != ERR_REFUSED && e->kind != ERR_INPUT;
}

int image_group_do(struct image_writer *w, size_t g, bool last, struct err *e)
{
	struct err mine = ERR_INIT;
	int r = parts_each(w, g, part_do, &mine);

	if (r >= 0)
		r = group_prove(w, g, &mine);
	if (r < 0 && !last && !image_writer_final(w, &mine)) {
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

int image_group_restore(struct image_writer *w, size_t g, struct err *e)
{
	size_t n = image_writer_blocks(w, g);
	int r = image_area_read(w->job->sys, &w->job->data, g * IMAGE_GROUP, w->group,
				n * IMAGE_BLOCK, e);

	if (r < 0)
		return r;
	memset(w->leaf, 0, sizeof(w->leaf));
	memset(w->there, 0, sizeof(w->there));
	(void)group_hash(w, n, false);
	if (verity_proof_group(w->x->proof, g, w->leaf, n, NULL) < 0) { /* not any more */
		w->kept[g] = IMAGE_HELD_NOT;
		w->right -= n * IMAGE_BLOCK;
		return 0;
	}
	r = image_slot_open(w, e);
	return r < 0 ? r : image_slot_leaf(w, g, e);
}
