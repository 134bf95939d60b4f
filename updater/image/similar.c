/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/similar.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "updater/image/index.h"
#include "updater/image/seekable.h"

#define SAMPLE_BITS  5u                   /* one window of 32, fewer for large sources */
#define SAMPLES_MAX  ((uint64_t)1 << 24)  /* expected in the table */
#define PLACES_MAX   4u                   /* a window that is at more places says nothing */
#define CELL         ((uint64_t)16 << 10) /* what is voted for and taken as a whole */
#define CELLS_MAX    ((size_t)(IMAGE_PREFIX_MAX / CELL))
#define PER_RAW      4u /* bytes of prefix for a byte of the frame: more helps little */
#define VOTES_MAX(n) (2048u + (n) / 4) /* for a frame of n bytes: more than it has samples */
#define HINT_WEIGHT  3u
#define WEIGHT_MIN   3u

struct entry {
	uint32_t tag;  /* of the window; 0: free */
	uint32_t cell; /* counted through all sources */
};

struct image_similar {
	unsigned unit, sources, bits;
	uint64_t bytes[IMAGE_DELTA_SOURCES];
	uint32_t first[IMAGE_DELTA_SOURCES]; /* cell of each source */
	uint64_t gear[256];
	struct entry *table;
	uint64_t mask, used, room;
};

struct vote {
	uint32_t cell, weight;
};

struct votes {
	struct vote *v;
	size_t n, max;
};

void image_similar_free(struct image_similar *s)
{
	if (!s)
		return;
	free(s->table);
	free(s);
}

/* splitmix64: fixed numbers, so that the same input gives the same delta everywhere */
static void gear_fill(uint64_t gear[256])
{
	uint64_t x = 0;

	for (size_t i = 0; i < 256; i++) {
		uint64_t z = x += 0x9e3779b97f4a7c15u;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		gear[i] = z ^ z >> 31;
	}
}

/* Rolls over bytes. */
struct roll {
	const uint8_t *p, *end;
	uint64_t h;
};

/* The next window that is a sample: its hash, never 0 in the upper half; r->p is behind it. */
static bool sample_next(const struct image_similar *s, struct roll *r, uint64_t *ret)
{
	const uint64_t *gear = s->gear;
	const unsigned shift = 64 - s->bits;
	const uint8_t *p = r->p, *end = r->end;
	uint64_t h = r->h;

	while (p < end) {
		uint64_t v;

		h = (h << 4) + gear[*p++];
		v = h * 0xd6e8feb86659fd93u;
		if (v >> shift != 0)
			continue;
		r->p = p;
		r->h = h;
		*ret = (v ^ h >> 32) * 0xff51afd7ed558ccdu | (uint64_t)1 << 32;
		return true;
	}
	return false;
}

static void entry_add(struct image_similar *s, uint64_t v, uint32_t cell)
{
	uint64_t at = v & s->mask;
	unsigned same = 0;

	for (; s->table[at].tag; at = (at + 1) & s->mask) {
		if (s->table[at].tag != (uint32_t)(v >> 32))
			continue;
		if (s->table[at].cell == cell || ++same == PLACES_MAX)
			return;
	}
	if (s->used == s->room)
		return;
	s->used++;
	s->table[at] = (struct entry){ (uint32_t)(v >> 32), cell };
}

static void source_note(struct image_similar *s, const struct image_span *span, uint32_t first)
{
	struct roll r = { .p = span->p, .end = span->p + span->n };
	uint64_t v;

	while (sample_next(s, &r, &v))
		entry_add(s, v, first + (uint32_t)((uint64_t)(r.p - 1 - span->p) / CELL));
}

int image_similar_new(const struct image_match *m, struct image_similar **ret, struct err *e)
{
	AUTO_IMAGE_SIMILAR *s = calloc(1, sizeof(*s));
	uint64_t total = 0, slots = 1024, cells = 0;

	if (!s)
		return err_set(e, ERR_HOST, ENOMEM, "table of similar parts");
	s->unit = m->unit;
	s->sources = m->sources;
	for (unsigned i = 0; i < m->sources; i++) {
		total += s->bytes[i] = m->source[i].n;
		s->first[i] = (uint32_t)cells;
		cells += (m->source[i].n + CELL - 1) / CELL;
	}
	for (s->bits = SAMPLE_BITS; total >> s->bits > SAMPLES_MAX; s->bits++)
		;
	while (slots < (total >> s->bits) + (total >> s->bits) / 2)
		slots *= 2;
	s->mask = slots - 1;
	s->room = slots / 8 * 7;
	s->table = calloc((size_t)slots, sizeof(*s->table));
	if (!s->table)
		return err_set(e, ERR_HOST, ENOMEM, "table of similar parts");
	gear_fill(s->gear);
	for (unsigned i = 0; i < m->sources; i++)
		source_note(s, &m->source[i], s->first[i]);
	*ret = TAKE(s);
	return 0;
}

/* One window's votes: the fewer places it is at, the more it says. */
static void window_vote(const struct image_similar *s, uint64_t v, struct votes *o)
{
	static const uint32_t weight[PLACES_MAX + 1] = { 0, 4, 2, 1, 1 };
	size_t first = o->n;

	for (uint64_t at = v & s->mask; s->table[at].tag && o->n < o->max; at = (at + 1) & s->mask)
		if (s->table[at].tag == (uint32_t)(v >> 32))
			o->v[o->n++].cell = s->table[at].cell;
	for (size_t i = first; i < o->n; i++)
		o->v[i].weight = o->n - first <= PLACES_MAX ? weight[o->n - first] : 0;
}

static void bytes_vote(const struct image_similar *s, const uint8_t *p, size_t len, struct votes *o)
{
	struct roll r = { .p = p, .end = p + len };
	uint64_t v, last = 0;

	while (sample_next(s, &r, &v)) {
		if (v == last)
			continue;
		last = v;
		window_vote(s, v, o);
	}
}

static void hint_vote(const struct image_similar *s, const struct image_hint *h, struct votes *o)
{
	uint64_t cell = h->off / CELL, end = h->off + h->len;

	if (h->source >= s->sources)
		return;
	if (end > s->bytes[h->source])
		end = s->bytes[h->source];
	for (; cell * CELL < end && o->n < o->max; cell++)
		o->v[o->n++] = (struct vote){ s->first[h->source] + (uint32_t)cell, h->weight };
}

static int by_cell(const void *a, const void *b)
{
	const struct vote *x = a, *y = b;

	return (x->cell > y->cell) - (x->cell < y->cell);
}

/* Heaviest first; equal ones as they lie, so that there is one order only. */
static int by_weight(const void *a, const void *b)
{
	const struct vote *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight < y->weight ? 1 : -1;
	return by_cell(a, b);
}

static size_t votes_sum(struct vote *votes, size_t n)
{
	size_t k = 0;

	qsort(votes, n, sizeof(*votes), by_cell);
	for (size_t i = 0; i < n; i++) {
		if (k && votes[k - 1].cell == votes[i].cell)
			votes[k - 1].weight += votes[i].weight;
		else
			votes[k++] = votes[i];
	}
	return k;
}

/* Extents of cells[0..n), which rise; more than IMAGE_EXTENTS_MAX when that is how many it takes.
 */
static size_t cells_join(const struct image_similar *s, const struct vote *cells, size_t n,
			 struct image_extent *out)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t src = s->sources > 1 && cells[i].cell >= s->first[1];
		uint64_t at = (cells[i].cell - s->first[src]) * CELL;
		uint64_t end = at + CELL < s->bytes[src] ? at + CELL : s->bytes[src];
		uint32_t len = (uint32_t)((end - at) / s->unit);

		if (k && out[k - 1].source == src &&
		    out[k - 1].off + out[k - 1].len == at / s->unit)
			out[k - 1].len += len;
		else
			out[k++] = (struct image_extent){ at / s->unit, len, src };
	}
	return k;
}

size_t image_similar_find(const struct image_similar *s, const uint8_t *p, size_t n,
			  const struct image_hint *hints, size_t n_hints,
			  struct image_extent out[IMAGE_EXTENTS_MAX])
{
	AUTO_FREE struct vote *votes = malloc(VOTES_MAX(n) * sizeof(*votes));
	struct votes o = { .v = votes, .max = VOTES_MAX(n) };
	struct image_extent got[CELLS_MAX];
	struct vote taken[CELLS_MAX];
	size_t k, cells, extents, most = PER_RAW * n / CELL + 1;

	if (!votes)
		return 0;
	most = most < CELLS_MAX ? most : CELLS_MAX;
	for (size_t i = 0; i < n_hints; i++)
		hint_vote(s, &hints[i], &o);
	bytes_vote(s, p, n, &o);
	k = votes_sum(votes, o.n);
	qsort(votes, k, sizeof(*votes), by_weight);
	for (cells = 0; cells < k && cells < most && votes[cells].weight >= WEIGHT_MIN;)
		cells++;
	do {
		memcpy(taken, votes, cells * sizeof(*votes));
		qsort(taken, cells, sizeof(*taken), by_cell);
		extents = cells_join(s, taken, cells, got);
	} while (extents > IMAGE_EXTENTS_MAX && cells-- > 0);
	memcpy(out, got, extents * sizeof(*out));
	return extents;
}
