/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/bspatch.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/varint.h"

struct triple {
	uint64_t place, add, extra;
};

/* The next triple; false when its place lies outside of the prefix or it is longer than left. */
static bool triple_get(const struct image_bspatch *b, struct varint_reader *r, size_t left,
		       struct triple *t)
{
	t->place += t->add + varint_unzigzag(varint_get(r));
	t->add = varint_get(r);
	t->extra = varint_get(r);
	return !r->bad && t->add <= left && t->extra <= left - t->add && t->add + t->extra > 0 &&
	       t->add <= b->prefix_n && t->place <= b->prefix_n - t->add;
}

/* Bytes that are made by differences; SIZE_MAX when control is not what it must be. */
static size_t control_check(const struct image_bspatch *b, size_t raw)
{
	struct varint_reader r = { b->p, b->p + b->control, false };
	struct triple t = { 0, 0, 0 };
	size_t left = raw, added = 0;

	while (r.p < r.end) {
		if (!triple_get(b, &r, left, &t))
			return SIZE_MAX;
		left -= (size_t)(t.add + t.extra);
		added += (size_t)t.add;
	}
	return left == 0 ? added : SIZE_MAX;
}

/* out[i] = from[i] + difference[i], eight at a time: what compilers make of bytes is slow. */
static void bytes_add(uint8_t *out, const uint8_t *from, const uint8_t *difference, size_t n)
{
	static const uint64_t low = 0x7f7f7f7f7f7f7f7fu;
	size_t i = 0;

	for (uint64_t a, b; i + sizeof(a) <= n; i += sizeof(a)) {
		memcpy(&a, from + i, sizeof(a));
		memcpy(&b, difference + i, sizeof(b));
		a = ((a & low) + (b & low)) ^ ((a ^ b) & ~low); /* no carry from byte to byte */
		memcpy(out + i, &a, sizeof(a));
	}
	for (; i < n; i++)
		out[i] = (uint8_t)(from[i] + difference[i]);
}

int image_bspatch(const struct image_bspatch *b, uint8_t *out, size_t raw, struct err *e)
{
	struct varint_reader r = { b->p, b->p + b->control, false };
	const uint8_t *difference = r.end, *extra;
	struct triple t = { 0, 0, 0 };
	size_t added = control_check(b, raw);

	if (added == SIZE_MAX)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "differences that do not fit what they are to make");
	extra = difference + added;
	for (size_t left = raw; left > 0 && triple_get(b, &r, left, &t);) {
		if (t.add)
			bytes_add(out, b->prefix + t.place, difference, (size_t)t.add);
		difference += t.add;
		out += t.add;
		if (t.extra)
			memcpy(out, extra, (size_t)t.extra);
		extra += t.extra;
		out += t.extra;
		left -= (size_t)(t.add + t.extra);
	}
	return 0;
}
