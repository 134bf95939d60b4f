/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/match.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "updater/image/index.h"

#define WINDOW   IMAGE_MATCH_MIN
#define GRID_MAX ((uint64_t)1 << 25) /* windows of a source that are remembered */
#define ROLL     0x9e3779b97f4a7c15u /* odd: the factor of the rolling sum */

/* Pieces as they are found, and a table from hash to place in one source. */
struct pieces {
	struct image_piece *p;
	size_t n, cap;
	uint64_t fresh; /* units of frames so far */
};

struct table {
	uint32_t *slot; /* place + 1; 0: free */
	uint64_t *hash; /* of the place in the slot */
	uint64_t mask;
	uint64_t step; /* bytes from place to place */
};

static int piece_add(struct pieces *out, enum image_piece_kind kind, uint64_t at, uint64_t len,
		     uint64_t from, struct err *e)
{
	struct image_piece *last = out->n ? &out->p[out->n - 1] : NULL, *more;

	if (len == 0)
		return 0;
	if (kind == IMAGE_PIECE_FRAME) {
		from = out->fresh;
		out->fresh += len;
	}
	if (last && last->kind == kind &&
	    (kind == IMAGE_PIECE_ZERO || last->from + last->len == from)) {
		last->len += (uint32_t)len;
		return 0;
	}
	if (out->n == IMAGE_DELTA_PIECES_MAX)
		return err_set(e, ERR_INPUT, EFBIG,
			       "the images differ in more than %zu places, a delta is of no use",
			       IMAGE_DELTA_PIECES_MAX);
	more = array_room(out->p, out->n, &out->cap, sizeof(*more));
	if (!more)
		return err_set(e, ERR_HOST, ENOMEM, "pieces of a delta");
	out->p = more;
	out->p[out->n++] = (struct image_piece){ kind, (uint32_t)at, (uint32_t)len, from };
	return 0;
}

static void pieces_done(struct pieces *o)
{
	free(o->p);
}

static void table_done(struct table *t)
{
	free(t->slot);
	free(t->hash);
}

static int table_new(struct table *t, uint64_t places, struct err *e)
{
	uint64_t slots = 16;

	while (slots < 2 * places)
		slots *= 2;
	t->mask = slots - 1;
	t->slot = calloc((size_t)slots, sizeof(*t->slot));
	t->hash = calloc((size_t)slots, sizeof(*t->hash));
	if (!t->slot || !t->hash)
		return err_set(e, ERR_HOST, ENOMEM, "table to compare images with");
	return 0;
}

/* Where a hash is, or the free slot where it would be. */
static uint64_t table_find(const struct table *t, uint64_t hash)
{
	uint64_t at = (hash ^ hash >> 29) & t->mask;

	while (t->slot[at] && t->hash[at] != hash)
		at = (at + 1) & t->mask;
	return at;
}

/* The first place with a hash stays. */
static void table_add(struct table *t, uint64_t hash, uint64_t place)
{
	uint64_t at = table_find(t, hash);

	if (t->slot[at])
		return;
	t->slot[at] = (uint32_t)place + 1;
	t->hash[at] = hash;
}

/* Fast, and not asked to be more: what it says is compared byte by byte. */
static uint64_t block_hash(const uint8_t *p)
{
	uint64_t a = 0, b = ROLL;

	for (size_t i = 0; i < IMAGE_BLOCK; i += 16) {
		a = (a ^ le64_get(p + i)) * 0xff51afd7ed558ccdu;
		a ^= a >> 32;
		b = (b ^ le64_get(p + i + 8)) * 0xc4ceb9fe1a85ec53u;
		b ^= b >> 32;
	}
	return (a ^ (b << 1 | b >> 63)) * ROLL;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static bool block_equal(const struct image_span *s, uint64_t block, const uint8_t *p)
{
	return block < s->n / IMAGE_BLOCK &&
	       memcmp(s->p + block * IMAGE_BLOCK, p, IMAGE_BLOCK) == 0;
}

/*
 * A block that goes on where the last copy stood is best (files move as a whole), then one that
 * did not move, then any.
 */
static bool block_find(const struct table *t, const struct image_span *s, uint64_t b,
		       const uint8_t *p, uint64_t *from)
{
	uint64_t at;

	if (block_equal(s, *from, p))
		return true;
	*from = b;
	if (block_equal(s, b, p))
		return true;
	at = table_find(t, block_hash(p));
	*from = t->slot[at] ? t->slot[at] - 1 : UINT64_MAX;
	return t->slot[at] && block_equal(s, *from, p);
}

static int blocks_match(const struct image_match *m, struct pieces *out, struct err *e)
{
	CLEANUP(table_done) struct table t = { .slot = NULL };
	const struct image_span *s = &m->source[0];
	uint64_t blocks = s->n / IMAGE_BLOCK, distance = 0;
	int r = table_new(&t, blocks, e);

	for (uint64_t b = 0; r >= 0 && b < blocks; b++)
		table_add(&t, block_hash(s->p + b * IMAGE_BLOCK), b);
	for (uint64_t b = 0; r >= 0 && b < m->target.n / IMAGE_BLOCK; b++) {
		const uint8_t *p = m->target.p + b * IMAGE_BLOCK;
		uint64_t from = b + distance;

		if (is_zero(p, IMAGE_BLOCK)) {
			r = piece_add(out, IMAGE_PIECE_ZERO, b, 1, 0, e);
		} else if (block_find(&t, s, b, p, &from)) {
			r = piece_add(out, IMAGE_PIECE_COPY, b, 1, from, e);
			distance = from - b;
		} else {
			r = piece_add(out, IMAGE_PIECE_FRAME, b, 1, 0, e);
		}
	}
	return r;
}

/* The sum a window has, byte by byte; zero for a window of zeros. */
static uint64_t window_hash(const uint8_t *p)
{
	uint64_t h = 0;

	for (size_t i = 0; i < WINDOW; i++)
		h = h * ROLL + p[i];
	return h;
}

static int windows_note(struct table *t, const struct image_span *s, struct err *e)
{
	int r;

	t->step = WINDOW;
	while (s->n / t->step > GRID_MAX)
		t->step *= 2;
	r = table_new(t, s->n / t->step, e);
	for (uint64_t at = 0; r >= 0 && at + WINDOW <= s->n; at += t->step) {
		uint64_t h = window_hash(s->p + at);

		if (h != 0)
			table_add(t, h, at / t->step);
	}
	return r;
}

struct hit {
	uint64_t at, from, len;
	unsigned source;
};

/* How far the equality of a hit reaches, back to `floor` at most; length 0 when there is none. */
static void hit_grow(const struct image_match *m, uint64_t floor, struct hit *h)
{
	const struct image_span *t = &m->target, *s = &m->source[h->source];
	uint64_t back = 0, on = 0, room = h->at - floor < h->from ? h->at - floor : h->from;
	uint64_t left = t->n - h->at < s->n - h->from ? t->n - h->at : s->n - h->from;

	while (on < left && t->p[h->at + on] == s->p[h->from + on])
		on++;
	if (on < WINDOW) {
		h->len = 0;
		return;
	}
	while (back < room && t->p[h->at - back - 1] == s->p[h->from - back - 1])
		back++;
	h->at -= back;
	h->from -= back;
	h->len = back + on;
}

/* The longest of what the tables know for the window at `at`. */
static struct hit hit_find(const struct image_match *m, const struct table *t, uint64_t hash,
			   uint64_t at, uint64_t floor)
{
	struct hit best = { .len = 0 };

	for (unsigned s = 0; s < m->sources; s++) {
		uint64_t slot = table_find(&t[s], hash);
		struct hit h = { .at = at, .source = s };

		if (!t[s].slot[slot])
			continue;
		h.from = (uint64_t)(t[s].slot[slot] - 1) * t[s].step;
		hit_grow(m, floor, &h);
		if (h.len > best.len)
			best = h;
	}
	return best;
}

static uint64_t zeros_at(const struct image_span *t, uint64_t at)
{
	uint64_t n = 0;

	while (at + n < t->n && t->p[at + n] == 0)
		n++;
	return n;
}

static uint64_t roll_factor(void)
{
	uint64_t f = 1;

	for (size_t i = 0; i < WINDOW - 1; i++)
		f *= ROLL;
	return f;
}

/* What begins at or around `at` and need not be fetched; length 0 when nothing does. */
static struct hit hit_at(const struct image_match *m, const struct table *t, uint64_t hash,
			 uint64_t at, uint64_t floor, bool *zeros)
{
	const uint8_t *p = m->target.p;
	struct hit none = { .len = 0 };

	*zeros = hash == 0 || (p[at] == 0 && (at == floor || p[at - 1] != 0));
	if (*zeros) {
		struct hit z = { .at = at, .len = zeros_at(&m->target, at) };

		if (z.len >= WINDOW)
			return z;
		*zeros = false;
	}
	return hash ? hit_find(m, t, hash, at, floor) : none;
}

static int bytes_walk(const struct image_match *m, const struct table *t, struct pieces *out,
		      struct err *e)
{
	const uint8_t *p = m->target.p;
	uint64_t n = m->target.n, done = 0, at = 0, hash = n >= WINDOW ? window_hash(p) : 0;
	const uint64_t out_factor = roll_factor();
	int r = 0;

	while (r >= 0 && at + WINDOW <= n) {
		bool zeros = false;
		struct hit h = hit_at(m, t, hash, at, done, &zeros);

		if (h.len == 0) {
			if (at + WINDOW < n)
				hash = (hash - p[at] * out_factor) * ROLL + p[at + WINDOW];
			at++;
			continue;
		}
		r = piece_add(out, IMAGE_PIECE_FRAME, done, h.at - done, 0, e);
		if (r >= 0)
			r = piece_add(out,
				      zeros      ? IMAGE_PIECE_ZERO
				      : h.source ? IMAGE_PIECE_COPY_SECOND
						 : IMAGE_PIECE_COPY,
				      h.at, h.len, h.from, e);
		done = at = h.at + h.len;
		if (at + WINDOW <= n)
			hash = window_hash(p + at);
	}
	return r < 0 ? r : piece_add(out, IMAGE_PIECE_FRAME, done, n - done, 0, e);
}

static int bytes_match(const struct image_match *m, struct pieces *out, struct err *e)
{
	CLEANUP(table_done) struct table a = { .slot = NULL };
	CLEANUP(table_done) struct table b = { .slot = NULL };
	int r = windows_note(&a, &m->source[0], e);

	if (r >= 0 && m->sources > 1)
		r = windows_note(&b, &m->source[1], e);
	if (r < 0)
		return r;

	const struct table both[IMAGE_DELTA_SOURCES] = { a, b };

	return bytes_walk(m, both, out, e);
}

int image_match(const struct image_match *m, struct image_piece **ret, size_t *ret_n, struct err *e)
{
	CLEANUP(pieces_done) struct pieces out = { .p = NULL };
	int r = m->unit == 1 ? bytes_match(m, &out, e) : blocks_match(m, &out, e);

	if (r < 0)
		return r;
	*ret_n = out.n;
	*ret = TAKE(out.p);
	return 0;
}
