/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random trees of files, laid out afresh and then like the release before, over many generations:
 * nothing overlaps, what stayed keeps its place, holes are few.
 */
#include <string.h>

#include "tests/image_make.h"
#include "updater/image/erofs_layout.h"

enum { ITEMS_MAX = 600, GENERATIONS = 25, TREES = 30 };

struct tree {
	struct erofs_tree t;
	struct erofs_item item[ITEMS_MAX];
	uint32_t by_nid[ITEMS_MAX], by_path[ITEMS_MAX], same[ITEMS_MAX];
};

static void tree_sort(struct tree *w)
{
	w->t.item = w->item;
	w->t.by_nid = w->by_nid;
	w->t.by_path = w->by_path;
	erofs_tree_sort(&w->t);
}

/* As mkfs.erofs might have it: one behind the other. */
static void tree_pack(struct tree *w)
{
	uint32_t block = 5000, nid = EROFS_SUPER_SLOTS;

	for (size_t i = 0; i < w->t.n; i++) {
		w->item[i].nid = nid;
		nid += w->item[i].slots;
		w->item[i].block = w->item[i].blocks ? block : 0;
		block += w->item[i].blocks;
	}
	w->t.blocks = block;
	tree_sort(w);
}

static void item_new(struct erofs_item *x, uint64_t path)
{
	*x = (struct erofs_item){ .path = path, .slots = 1 + (uint32_t)image_rnd(3) };
	x->dir = image_rnd(8) == 0;
	if (image_rnd(20) == 0)
		x->slots = 1 + (uint32_t)image_rnd(EROFS_BLOCK_SLOTS);
	if (image_rnd(4))
		x->blocks = (uint32_t)image_rnd(x->dir ? 4 : image_rnd(30) ? 20 : 900);
}

static void tree_new(struct tree *w)
{
	memset(w, 0, sizeof(*w));
	w->t.n = 1 + (size_t)image_rnd(ITEMS_MAX / 2);
	for (size_t i = 0; i < w->t.n; i++)
		item_new(&w->item[i], image_rnd(UINT64_MAX));
	w->item[0].dir = true;
	if (image_rnd(3) == 0) {
		w->t.fixed = EROFS_SUPER_SLOTS;
		w->t.fixed_slots = 1 + (uint32_t)image_rnd(400);
	}
	tree_pack(w);
}

/* Some files go, come and change; `same` says how much of each did not. */
static void tree_change(struct tree *w)
{
	uint64_t odds = 2 + image_rnd(40);
	size_t n = 1;

	for (size_t i = 1; i < w->t.n; i++)
		if (image_rnd(odds))
			w->item[n++] = w->item[i];
	while (n < ITEMS_MAX && image_rnd(odds / 4 + 2))
		item_new(&w->item[n++], image_rnd(UINT64_MAX));
	w->t.n = n;
	for (size_t i = 0; i < n; i++) {
		struct erofs_item *x = &w->item[i];
		uint32_t was = x->blocks;

		if (image_rnd(odds) == 0)
			x->blocks += (uint32_t)image_rnd(5);
		if (image_rnd(odds) == 0)
			x->slots = 1 + (uint32_t)image_rnd(9);
		w->same[i] = x->dir ? 0 : image_rnd(odds) ? was : (uint32_t)image_rnd(was + 1);
	}
	tree_pack(w);
}

static void take(uint8_t *map, uint64_t from, uint64_t n, size_t item)
{
	for (uint64_t k = from; k < from + n; k++) {
		CHECK(!map[k], "item %zu: %llu is taken", item, (unsigned long long)k);
		map[k] = 1;
	}
}

/* Everything has a place of its own. */
static void check_places(const struct tree *w, const struct erofs_layout *l)
{
	uint8_t *slot = calloc(l->blocks, EROFS_BLOCK_SLOTS), *ino = calloc(w->t.n + 1, 1);
	uint64_t free_blocks = 0;

	CHECK(slot && ino && l->n == w->t.n, "memory");
	take(slot, 0, EROFS_SUPER_SLOTS, 0);
	take(slot, w->t.fixed, w->t.fixed_slots, 0);
	for (size_t i = 0; i < w->t.n; i++) {
		const struct erofs_item *x = &w->item[i];
		const struct erofs_place *p = &l->place[i];
		uint32_t end = p->nid + x->slots - 1;

		CHECK(p->nid / EROFS_BLOCK_SLOTS == end / EROFS_BLOCK_SLOTS, "inode %zu", i);
		CHECK(end / EROFS_BLOCK_SLOTS < l->head, "inode %zu is not in the head", i);
		take(slot, p->nid, x->slots, i);
		CHECK(p->ino >= 1 && p->ino <= w->t.n && !ino[p->ino]++, "number %u", p->ino);
		if (x->blocks == 0)
			continue;
		CHECK(x->dir ? p->block + x->blocks <= l->head
			     : p->block >= l->head && p->block + x->blocks <= l->blocks,
		      "data of %zu", i);
		take(slot, (uint64_t)p->block * EROFS_BLOCK_SLOTS,
		     (uint64_t)x->blocks * EROFS_BLOCK_SLOTS, i);
	}
	for (uint32_t b = l->head; b < l->blocks; b++)
		free_blocks += !slot[(size_t)b * EROFS_BLOCK_SLOTS];
	CHECK(free_blocks == l->holes && l->holes * EROFS_HOLES_MOST <= l->blocks, "%u holes",
	      l->holes);
	CHECK(l->place[0].nid <= EROFS_ROOT_MAX, "root");
	free(slot);
	free(ino);
}

/* What could stay did. */
static void check_kept(const struct tree *w, const struct tree *was, const struct erofs_layout *l)
{
	for (size_t i = 0; !l->afresh && i < w->t.n; i++) {
		const struct erofs_item *x = &w->item[i];
		const struct erofs_item *old = erofs_tree_path(&was->t, x->path);

		if (!old || old->dir != x->dir)
			continue;
		if (x->slots <= old->slots)
			CHECK(l->place[i].nid == old->nid, "inode %zu moved", i);
		if (!x->dir && x->blocks > 0 && x->blocks <= old->blocks && old->block >= l->head &&
		    2 * w->same[i] >= x->blocks)
			CHECK(l->place[i].block == old->block, "file %zu moved", i);
	}
}

/* The layout as the next release's earlier image. */
static void tree_settle(struct tree *w, const struct erofs_layout *l)
{
	for (size_t i = 0; i < w->t.n; i++) {
		w->item[i].nid = l->place[i].nid;
		w->item[i].block = w->item[i].blocks ? l->place[i].block : 0;
		w->item[i].ino = l->place[i].ino;
	}
	w->t.blocks = l->blocks;
	tree_sort(w);
}

static unsigned generation(struct tree *now, struct tree *was)
{
	AUTO_EROFS_LAYOUT *l = NULL;
	AUTO_EROFS_LAYOUT *again = NULL;
	struct err e = ERR_INIT;

	*now = *was;
	tree_sort(now);
	tree_change(now);
	CHECK(erofs_layout_new(&now->t, &was->t, now->same, &l, &e) == 0, "%s", e.text);
	CHECK(erofs_layout_new(&now->t, &was->t, now->same, &again, &e) == 0, "%s", e.text);
	CHECK(again->blocks == l->blocks &&
		      memcmp(again->place, l->place, l->n * sizeof(*l->place)) == 0,
	      "another layout");
	check_places(now, l);
	check_kept(now, was, l);
	tree_settle(now, l);
	*was = *now;
	tree_sort(was);
	return l->afresh;
}

int main(void)
{
	static struct tree now, was;
	unsigned afresh = 0;

	dice_seed();
	for (unsigned k = 0; k < TREES; k++) {
		AUTO_EROFS_LAYOUT *l = NULL;
		struct err e = ERR_INIT;

		tree_new(&was);
		CHECK(erofs_layout_new(&was.t, NULL, NULL, &l, &e) == 0, "%s", e.text);
		CHECK(!l->afresh && l->holes == 0, "%u holes", l->holes);
		check_places(&was, l);
		tree_settle(&was, l);
		for (unsigned g = 0; g < GENERATIONS; g++)
			afresh += generation(&now, &was);
	}
	CHECK(afresh > 0 && afresh < TREES * GENERATIONS / 2, "%u afresh", afresh);
	printf("%u of %u afresh\n", afresh, (unsigned)TREES * GENERATIONS);
	return 0;
}
