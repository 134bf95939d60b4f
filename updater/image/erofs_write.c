/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/erofs_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define BLOCK       4096u
#define SUPER_AT    1024u
#define COMPAT_SUM  0x1u
#define CRC32C_POLY 0x82f63b78u /* reflected */
#define ZEROS       ((size_t)64 << 10)

struct writer {
	const struct erofs_tree *t;
	const struct erofs_layout *l;
	uint8_t *head;
	uint8_t *block; /* that is being rewritten */
	uint8_t *zeros;
	uint32_t *order; /* files by their new blocks */
	size_t n_order;
	struct err *e;
};

static void writer_done(struct writer *w)
{
	free(w->head);
	free(w->zeros);
	free(w->order);
}

static int no_memory(const struct writer *w)
{
	return err_set(w->e, ERR_HOST, ENOMEM, "out of memory to write an image");
}

static const struct erofs_place *place_of(const struct writer *w, const struct erofs_item *x)
{
	return &w->l->place[x - w->t->item];
}

static int entry_point(void *arg, size_t at, uint64_t nid, const uint8_t *name, size_t n)
{
	const struct writer *w = arg;
	const struct erofs_item *x = erofs_tree_inode(w->t, nid);

	(void)name;
	(void)n;
	if (!x)
		return err_set(w->e, ERR_BUG, EBADMSG, "an inode is gone that was read before");
	le64_put(w->block + at, place_of(w, x)->nid);
	return 0;
}

/* The entries in p[0..n) of the head name inodes where they are now. */
static int entries_point(struct writer *w, uint8_t *p, size_t n)
{
	w->block = p;
	return erofs_entries(p, n, entry_point, w, w->e);
}

static int inode_put(struct writer *w, size_t i)
{
	const struct erofs_item *x = &w->t->item[i];
	const struct erofs_place *to = &w->l->place[i];
	uint8_t *p = w->head + (size_t)to->nid * EROFS_SLOT_BYTES;

	memcpy(p, w->t->p + (uint64_t)x->nid * EROFS_SLOT_BYTES, x->bytes);
	if (x->blocks > 0)
		le32_put(p + 16, to->block);
	le32_put(p + 20, to->ino);
	return x->dir && x->tail ? entries_point(w, p + x->bytes - x->tail, x->tail) : 0;
}

static int dir_put(struct writer *w, size_t i)
{
	const struct erofs_item *x = &w->t->item[i];
	uint8_t *p = w->head + (size_t)w->l->place[i].block * BLOCK;
	uint64_t left = x->size;
	int q = 0;

	memcpy(p, w->t->p + (uint64_t)x->block * BLOCK, (size_t)x->blocks * BLOCK);
	for (uint32_t b = 0; q == 0 && b < x->blocks; b++) {
		size_t n = left < BLOCK ? (size_t)left : BLOCK;

		q = entries_point(w, p + (size_t)b * BLOCK, n);
		left -= n;
	}
	return q;
}

static uint32_t crc32c(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sum ^= p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? CRC32C_POLY : 0);
	}
	return sum;
}

static void super_put(struct writer *w)
{
	uint8_t *sb = w->head + SUPER_AT;

	memcpy(w->head, w->t->p, (size_t)EROFS_SUPER_SLOTS * EROFS_SLOT_BYTES);
	memcpy(w->head + (size_t)w->t->fixed * EROFS_SLOT_BYTES,
	       w->t->p + (size_t)w->t->fixed * EROFS_SLOT_BYTES,
	       (size_t)w->t->fixed_slots * EROFS_SLOT_BYTES);
	le16_put(sb + 14, (uint16_t)w->l->place[0].nid);
	le32_put(sb + 36, w->l->blocks);
}

/* The checksum covers the rest of the first block, its own field as zero. */
static void sum_put(struct writer *w)
{
	uint8_t *sb = w->head + SUPER_AT;

	if (!(le32_get(sb + 8) & COMPAT_SUM))
		return;
	le32_put(sb + 4, 0);
	le32_put(sb + 4, crc32c(UINT32_MAX, sb, BLOCK - SUPER_AT));
}

static int head_make(struct writer *w)
{
	int q = 0;

	w->head = calloc(w->l->head, BLOCK);
	if (!w->head)
		return no_memory(w);
	super_put(w);
	for (size_t i = 0; q == 0 && i < w->t->n; i++) {
		q = inode_put(w, i);
		if (q == 0 && w->t->item[i].dir)
			q = dir_put(w, i);
	}
	sum_put(w);
	return q;
}

static int by_place(const void *a, const void *b, void *arg)
{
	const struct erofs_place *p = arg;
	uint32_t i = p[*(const uint32_t *)a].block, j = p[*(const uint32_t *)b].block;

	return (i > j) - (i < j);
}

static int order_make(struct writer *w)
{
	w->zeros = calloc(1, ZEROS);
	w->order = calloc(w->t->n, sizeof(*w->order));
	if (!w->zeros || !w->order)
		return no_memory(w);
	for (size_t i = 0; i < w->t->n; i++)
		if (!w->t->item[i].dir && w->t->item[i].blocks > 0)
			w->order[w->n_order++] = (uint32_t)i;
	qsort_r(w->order, w->n_order, sizeof(*w->order), by_place, w->l->place);
	return 0;
}

static int hole_put(const struct writer *w, uint64_t n, image_put_fn put, void *arg, struct err *e)
{
	int q = 0;

	for (; q >= 0 && n > 0;) {
		size_t part = n < ZEROS ? (size_t)n : ZEROS;

		q = put(arg, w->zeros, part, e);
		n -= part;
	}
	return q;
}

int erofs_write(const struct erofs_tree *t, const struct erofs_layout *l, image_put_fn put,
		void *arg, struct err *e)
{
	CLEANUP(writer_done) struct writer w = { .t = t, .l = l, .e = e };
	uint64_t at = l->head;
	int q = head_make(&w);

	q = q < 0 ? q : order_make(&w);
	if (q < 0)
		return q;
	q = put(arg, w.head, (size_t)l->head * BLOCK, e);
	for (size_t k = 0; q >= 0 && k < w.n_order; k++) {
		const struct erofs_item *x = &t->item[w.order[k]];
		uint32_t to = l->place[w.order[k]].block;

		q = hole_put(&w, (to - at) * BLOCK, put, arg, e);
		if (q >= 0)
			q = put(arg, t->p + (uint64_t)x->block * BLOCK, (size_t)x->blocks * BLOCK,
				e);
		at = (uint64_t)to + x->blocks;
	}
	return q < 0 ? q : 0;
}
