/* SPDX-License-Identifier: Apache-2.0 */
/* Plans of random tables and random slots, checked against the rules by brute force. */
#include <errno.h>

#include "base/cleanup.h"
#include "tests/image_make.h"
#include "updater/image/plan.h"

struct world {
	struct image_index x;
	size_t groups;
	uint8_t *kept;
};

static void world_new(struct world *w)
{
	struct err e = ERR_INIT;
	AUTO_IMAGE_SPLIT split = { NULL, 0 };
	uint8_t *entries;

	memset(w, 0, sizeof(*w));
	w->x.id.data_blocks = 1 + image_rnd(7680);
	CHECK(image_super(&w->x.id, &w->x.super, &e) == 0, "%s", e.text);
	CHECK(verity_geometry(&w->x.super, &w->x.geometry, &e) == 0, "%s", e.text);
	image_split_some(image_rnd(UINT64_MAX), w->x.id.data_blocks, &split);
	entries = malloc(4 * split.n);
	CHECK(entries, "memory");
	for (size_t i = 0; i < split.n; i++) /* small ones make gaps worth reading over */
		le32_put(entries + 4 * i, seekable_entry(1 + image_rnd(image_rnd(2) ? 40 : 4000),
							 split.blocks[i] * (size_t)IMAGE_BLOCK));
	CHECK(seekable_table_from_entries(entries, split.n, w->x.id.data_blocks * IMAGE_BLOCK,
					  &w->x.table, &e) == 0,
	      "%s", e.text);
	free(entries);
	w->groups = (size_t)(w->x.id.data_blocks + 127) / 128;
	w->kept = calloc(w->groups, 1);
	CHECK(w->kept, "memory");
}

static void world_done(struct world *w)
{
	seekable_table_free(w->x.table);
	free(w->kept);
}

/* Runs are apart, not empty, and add up. */
static void check_shape(const struct image_plan *p)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < p->n_runs; i++) {
		CHECK(p->runs[i].len > 0, "run %zu is empty", i);
		CHECK(i == 0 || p->runs[i].off > p->runs[i - 1].off + p->runs[i - 1].len + p->gap,
		      "runs %zu and %zu should be one", i - 1, i);
		sum += p->runs[i].len;
	}
	CHECK(sum == p->fetch_bytes, "sum");
	CHECK(p->gap >= IMAGE_GAP_MIN && p->gap <= IMAGE_GAP && (p->gap & (p->gap - 1)) == 0,
	      "gap");
	CHECK(p->gap == IMAGE_GAP || p->n_runs <= IMAGE_RUNS ||
		      p->fetch_bytes >= p->n_runs * IMAGE_RUN_MEAN,
	      "%zu short runs with gaps of %llu", p->n_runs, (unsigned long long)p->gap);
}

/* Every frame of a missing group is in a run, and runs hold no more than small gaps besides. */
static void check_runs(const struct world *w, const struct image_plan *p)
{
	const struct seekable_table *t = w->x.table;
	const struct image_run *run = p->runs, *end = p->runs + p->n_runs;
	uint64_t wanted = 0; /* end of the last frame that is */

	for (size_t f = 0; f < t->frames; f++) {
		uint64_t from = t->packed[f], to = t->packed[f + 1];
		bool kept = true;

		for (uint64_t g = t->raw[f] / IMAGE_GROUP; g * IMAGE_GROUP < t->raw[f + 1]; g++)
			kept &= w->kept[g] != 0;
		if (kept)
			continue;
		if (run < end && run->off + run->len == wanted)
			run++;
		CHECK(run < end && run->off <= from && to <= run->off + run->len,
		      "frame %zu is in no run", f);
		CHECK(from == run->off || from - wanted <= p->gap,
		      "run begins early or reads over too much before frame %zu", f);
		wanted = to;
	}
	CHECK(run == end || (run + 1 == end && run->off + run->len == wanted),
	      "the last run ends late, or nobody needs it");
}

static void try_plan(void)
{
	CLEANUP(world_done) struct world w;
	AUTO_IMAGE_PLAN *p = NULL;
	struct err e = ERR_INIT;
	uint64_t missing = 0, total, odds = image_rnd(5);

	world_new(&w);
	total = w.x.id.data_blocks * IMAGE_BLOCK;
	for (size_t g = 0; g < w.groups; g++) {
		w.kept[g] = image_rnd(4) < odds;
		if (!w.kept[g])
			missing += g + 1 < w.groups ? IMAGE_GROUP : total - g * IMAGE_GROUP;
	}
	const struct image_choice c = { .index = &w.x, .kept = odds ? w.kept : NULL };

	CHECK(image_plan_make(&c, &p, &e) == 0, "%s", e.text);
	CHECK(p->groups == w.groups && p->write_bytes == missing &&
		      p->keep_bytes == total - missing,
	      "totals");
	for (size_t g = 0; g < w.groups; g++)
		CHECK(p->way[g] == (w.kept[g] ? IMAGE_KEEP : IMAGE_FULL), "group %zu", g);
	check_shape(p);
	check_runs(&w, p);
	if (odds == 0)
		CHECK(p->n_runs == 1 && p->fetch_bytes == w.x.table->packed[w.x.table->frames],
		      "all in one");
	if (odds == 4)
		CHECK(p->n_runs == 0 && p->fetch_bytes == 0, "nothing to do");
}

int main(void)
{
	struct image_index none = { .table = NULL };
	const struct image_choice c = { .index = &none };
	struct image_plan *p = NULL;
	struct err e = ERR_INIT;

	dice_seed();
	for (unsigned k = 0; k < 5000; k++)
		try_plan();
	CHECK(image_plan_make(&c, &p, &e) == -EINVAL && e.kind == ERR_BUG, "no table");
	return 0;
}
