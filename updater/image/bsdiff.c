/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/bsdiff.h"

#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/varint.h"
#include "updater/image/bspatch.h"
#include "updater/image/delta.h"

#define SEED      8u /* bytes that must be equal for a place to be looked at */
#define TABLE_LOG 18u
#define DEPTH     64u /* places looked at, the last ones first */
#define ENOUGH    32u /* equal bytes at the place so far: no other is looked for */
#define GAIN      8u  /* equal bytes that another place must have more */
#define NONE      UINT32_MAX

/* From byte `at` on, what is made is like the prefix from `place` on: `add` bytes; then others. */
struct stretch {
	size_t at, place, add, extra;
};

struct image_bsdiff {
	uint32_t *last;     /* place of the last seed with that hash */
	uint32_t *previous; /* of each place: the one before with the same hash */
	struct stretch *stretches;
	size_t n_stretches, max_stretches;
	const uint8_t *p, *prefix;
	size_t n, prefix_n;
};

void image_bsdiff_free(struct image_bsdiff *b)
{
	if (!b)
		return;
	free(b->last);
	free(b->previous);
	free(b->stretches);
	free(b);
}

struct image_bsdiff *image_bsdiff_new(size_t raw)
{
	struct image_bsdiff *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->max_stretches = raw / GAIN + 2;
	b->last = malloc(sizeof(*b->last) << TABLE_LOG);
	b->previous = malloc(sizeof(*b->previous) * IMAGE_PREFIX_MAX);
	b->stretches = malloc(sizeof(*b->stretches) * b->max_stretches);
	if (b->last && b->previous && b->stretches)
		return b;
	image_bsdiff_free(b);
	return NULL;
}

/* Inlined, since it is what most of the time goes into. */
static inline uint64_t eight(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint32_t seed_hash(const uint8_t *p)
{
	return (uint32_t)(eight(p) * 0x9e3779b97f4a7c15u >> (64 - TABLE_LOG));
}

static void table_fill(struct image_bsdiff *b)
{
	memset(b->last, 0xff, sizeof(*b->last) << TABLE_LOG);
	for (size_t i = 0; i + SEED <= b->prefix_n; i++) {
		uint32_t *last = &b->last[seed_hash(b->prefix + i)];

		b->previous[i] = *last;
		*last = (uint32_t)i;
	}
}

/* Equal bytes from `at` and from `place` on. */
static size_t run_of(const struct image_bsdiff *b, size_t at, size_t place)
{
	size_t most = b->n - at, n = 0;

	if (place >= b->prefix_n)
		return 0;
	most = most < b->prefix_n - place ? most : b->prefix_n - place;
	while (n + 8 <= most && eight(b->p + at + n) == eight(b->prefix + place + n))
		n += 8;
	while (n < most && b->p[at + n] == b->prefix[place + n])
		n++;
	return n;
}

/* Where the prefix is like p[at..) for longest; *place stays as it is when there is none. */
static size_t longest(const struct image_bsdiff *b, size_t at, size_t *place)
{
	size_t best = 0;
	uint32_t i;

	if (at + SEED > b->n)
		return 0;
	i = b->last[seed_hash(b->p + at)];
	for (unsigned k = 0; k < DEPTH && i != NONE; k++, i = b->previous[i]) {
		size_t n = run_of(b, at, i);

		if (n > best) {
			best = n;
			*place = i;
		}
	}
	return best;
}

/* Of n bytes from `at` on, how many are equal at `place`. */
static size_t equal_of(const struct image_bsdiff *b, size_t at, size_t place, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n && place + i < b->prefix_n; i++)
		sum += b->p[at + i] == b->prefix[place + i];
	return sum;
}

/* The places that are followed, each until another one is better by GAIN. */
static void stretches_find(struct image_bsdiff *b)
{
	struct stretch now = { 0, 0, 0, 0 };

	b->stretches[0] = now;
	b->n_stretches = 1;
	for (size_t at = 0; at < b->n && b->n_stretches < b->max_stretches;) {
		size_t here = now.place + (at - now.at), there = 0;
		size_t run = run_of(b, at, here), n;

		if (run >= ENOUGH) {
			at += run;
			continue;
		}
		n = longest(b, at, &there);
		if (n <= GAIN + equal_of(b, at, here, n)) {
			at++;
			continue;
		}
		now = (struct stretch){ at, there, 0, 0 };
		b->stretches[b->n_stretches++] = now;
		at += n;
	}
}

/* How far bytes from its begin on are more like the prefix than not, most bytes at most. */
static size_t forward(const struct image_bsdiff *b, const struct stretch *a, size_t most)
{
	long score = 0, best = 0;
	size_t n = 0;

	for (size_t i = 0; i < most && a->place + i < b->prefix_n; i++) {
		score += b->p[a->at + i] == b->prefix[a->place + i] ? 1 : -1;
		if (score > best) {
			best = score;
			n = i + 1;
		}
	}
	return n;
}

/* And bytes before it. */
static size_t backward(const struct image_bsdiff *b, const struct stretch *a, size_t most)
{
	long score = 0, best = 0;
	size_t n = 0;

	for (size_t i = 1; i <= most && i <= a->place; i++) {
		score += b->p[a->at - i] == b->prefix[a->place - i] ? 1 : -1;
		if (score > best) {
			best = score;
			n = i;
		}
	}
	return n;
}

/*
 * The last n bytes that `a` could have are also the first that `next` could: how many of them
 * `next` is better off without.
 */
static size_t split_find(const struct image_bsdiff *b, const struct stretch *a,
			 const struct stretch *next, size_t n)
{
	size_t from = a->at + a->add - n, ret = 0;
	long score = 0, best = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = b->p[from + i];

		score += c == b->prefix[a->place + (from + i - a->at)];
		score -= c == b->prefix[next->place - (next->at - from - i)];
		if (score > best) {
			best = score;
			ret = i + 1;
		}
	}
	return ret;
}

/*
 * Takes from what both a and the next stretch could have what the next one is better off without;
 * back: bytes before its begin that it could have. Returns how many of those it gets.
 */
static size_t stretch_share(const struct image_bsdiff *b, struct stretch *a,
			    const struct stretch *next, size_t back)
{
	size_t gap = next->at - a->at, both, mine;

	if (a->add + back <= gap)
		return back;
	both = a->add + back - gap;
	mine = split_find(b, a, next, both);
	a->add -= both - mine;
	return back - mine;
}

/* Shares out what lies between a stretch and the next one, or the end: to either, or to neither. */
static void stretch_end(const struct image_bsdiff *b, struct stretch *a, struct stretch *next)
{
	size_t gap = (next ? next->at : b->n) - a->at, back = 0;

	a->add = forward(b, a, gap);
	if (next) {
		back = stretch_share(b, a, next, backward(b, next, gap));
		next->at -= back;
		next->place -= back;
	}
	a->extra = gap - a->add - back;
}

/* False when that is more than there may be. */
static bool control_put(struct image_bsdiff *b, uint8_t *out, size_t *ret_n)
{
	uint64_t place = 0;
	size_t n = 0;

	for (size_t i = 0; i < b->n_stretches; i++) {
		const struct stretch *a = &b->stretches[i];
		uint8_t c[3 * VARINT_MAX];
		size_t m;

		if (a->add + a->extra == 0)
			continue;
		m = varint_put(c, varint_zigzag(a->place - place));
		m += varint_put(c + m, a->add);
		m += varint_put(c + m, a->extra);
		if (m > IMAGE_CONTROL_MAX(b->n) - n)
			return false;
		memcpy(out + n, c, m);
		n += m;
		place = a->place + a->add;
	}
	*ret_n = n;
	return true;
}

static void bytes_put(const struct image_bsdiff *b, uint8_t *difference, uint8_t *extra)
{
	for (size_t i = 0; i < b->n_stretches; i++) {
		const struct stretch *a = &b->stretches[i];
		const uint8_t *p = b->p + a->at, *from = b->prefix + a->place;

		for (size_t k = 0; k < a->add; k++)
			difference[k] = (uint8_t)(p[k] - from[k]);
		memcpy(extra, p + a->add, a->extra);
		difference += a->add;
		extra += a->extra;
	}
}

size_t image_bsdiff(struct image_bsdiff *b, const uint8_t *p, size_t n, const uint8_t *prefix,
		    size_t prefix_n, uint8_t *out)
{
	size_t control = 0, added = 0;

	if (n < SEED || prefix_n < SEED)
		return 0;
	b->p = p;
	b->n = n;
	b->prefix = prefix;
	b->prefix_n = prefix_n;
	table_fill(b);
	stretches_find(b);
	for (size_t i = 0; i < b->n_stretches; i++) {
		struct stretch *a = &b->stretches[i];

		stretch_end(b, a, i + 1 < b->n_stretches ? a + 1 : NULL);
		added += a->add;
	}
	if (added == 0 || !control_put(b, out, &control))
		return 0;
	bytes_put(b, out + control, out + control + added);
	return control;
}
