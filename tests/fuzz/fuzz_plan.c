/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "updater/image/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 4, CUTS = 64, BASE_MAX = 512 };

/* What is left of the input, zeros behind it. */
struct input {
	const uint8_t *p;
	size_t n;
};

static uint8_t take(struct input *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

/* Leaf hashes of so few kinds that blocks are found often. */
static void cuts_fill(struct input *in, uint8_t *cut, size_t blocks)
{
	for (size_t b = 0; b < blocks; b++) {
		memset(cut + b * IMAGE_LEAF_CUT, 0, IMAGE_LEAF_CUT);
		cut[b * IMAGE_LEAF_CUT] = (uint8_t)(take(in) % CUTS);
	}
}

/* Every frame that a missing group needs is in a run, and the sums are those of the parts. */
static void check(const struct image_plan *p, const struct image_index *x, const uint8_t *kept)
{
	uint64_t fetch = 0, end = 0, at = 0, missing = 0;
	const uint64_t *packed = x->table->packed;

	for (size_t i = 0; i < p->n_runs; i++) {
		if (p->runs[i].len == 0 || (i > 0 && p->runs[i].off <= end))
			abort();
		end = p->runs[i].off + p->runs[i].len;
		fetch += p->runs[i].len;
	}
	if (fetch != p->fetch_bytes || end > packed[x->table->frames])
		abort();
	for (size_t g = 0; g < p->groups; g++)
		if ((p->way[g] == IMAGE_KEEP) != (kept[g] != 0))
			abort();
	for (size_t i = 0; i < p->n_pieces; at += p->pieces[i++].len) {
		const struct image_piece *c = &p->pieces[i];

		if (c->at != at || c->len == 0 || (c->kind == IMAGE_PIECE_FRAME && c->from != at))
			abort();
		for (uint64_t b = at; b < at + c->len; b++) {
			size_t f = image_frames_find(&p->frames, b * IMAGE_BLOCK), k = 0;

			missing += kept[b * IMAGE_BLOCK / IMAGE_GROUP] ? 0 : IMAGE_BLOCK;
			if (c->kind != IMAGE_PIECE_FRAME || kept[b * IMAGE_BLOCK / IMAGE_GROUP])
				continue;
			while (k < p->n_runs && p->runs[k].off + p->runs[k].len < packed[f + 1])
				k++;
			if (k == p->n_runs || p->runs[k].off > packed[f])
				abort();
		}
	}
	if (at != x->id.data_blocks || missing != p->write_bytes ||
	    p->keep_bytes + missing != at * IMAGE_BLOCK || p->copy_bytes + p->zero_bytes > missing)
		abort();
}

/* Frames of any lengths that fill the image; their number. */
static size_t entries_fill(struct input *in, uint8_t *entries, uint64_t blocks)
{
	size_t n = 0;

	while (blocks > 0) {
		uint64_t len = 1 + take(in) * 2u;

		len = len < blocks ? len : blocks;
		/* never so long that a table refuses it */
		le32_put(entries + 4 * n++,
			 seekable_entry(1 + take(in) * 20u, (size_t)len * IMAGE_BLOCK));
		blocks -= len;
	}
	return n;
}

static void plan(struct input *in, struct image_index *x, size_t base_n)
{
	const size_t groups = (size_t)verity_groups(&x->super, &x->geometry);
	uint8_t *entries = malloc(4 * (size_t)x->id.data_blocks), *kept = calloc(groups, 1);
	uint8_t *leaves = malloc((size_t)x->id.data_blocks * IMAGE_LEAF_CUT);
	uint8_t *cut = malloc((base_n + 1) * IMAGE_LEAF_CUT);
	AUTO_IMAGE_LEAVES *base = NULL;
	AUTO_IMAGE_PLAN *p = NULL;
	struct image_choice c = { .index = x, .kept = kept };
	size_t frames;

	if (!entries || !kept || !leaves || !cut)
		abort();
	frames = entries_fill(in, entries, x->id.data_blocks);
	for (size_t i = 0; i < groups; i++)
		kept[i] = take(in) % 4 == 0;
	cuts_fill(in, leaves, (size_t)x->id.data_blocks);
	cuts_fill(in, cut, base_n);
	if (base_n > 0 && image_leaves_new(cut, base_n, &base, NULL) < 0)
		abort();
	x->leaves = base ? leaves : NULL;
	c.base = base;
	if (seekable_table_from_entries(entries, frames, x->id.data_blocks * IMAGE_BLOCK, &x->table,
					NULL) < 0 ||
	    image_plan_make(&c, &p, NULL) < 0)
		abort();
	check(p, x, kept);
	seekable_table_free(x->table);
	free(entries);
	free(kept);
	free(leaves);
	free(cut);
}

/* Any table, any leaf hashes of any base, any groups that are there: the plan holds together. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_index x = { .table = NULL };
	struct input in;

	if (size < HEAD)
		return 0;
	in = (struct input){ data + HEAD, size - HEAD };
	x.id.data_blocks = 1 + (data[0] | (data[1] & 3u) << 8);
	if (image_super(&x.id, &x.super, NULL) < 0 ||
	    verity_geometry(&x.super, &x.geometry, NULL) < 0)
		abort();
	plan(&in, &x, (size_t)(data[2] | data[3] << 8) % BASE_MAX);
	return 0;
}
