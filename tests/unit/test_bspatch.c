/* SPDX-License-Identifier: Apache-2.0 */
/* Differences made and applied on random bytes; forged ones are refused and touch nothing else. */
#include "updater/image/bspatch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/varint.h"
#include "tests/dice.h"
#include "tests/test.h"
#include "updater/image/bsdiff.h"

enum { MOST = 65536 };

/* Exactly as long as they say, so that a sanitizer sees a byte too many. */
struct bytes {
	uint8_t *p;
	size_t n;
};

static struct bytes bytes_new(size_t n)
{
	struct bytes b = { malloc(n ? n : 1), n };

	CHECK(b.p, "memory");
	return b;
}

/* Bytes as in a program: some noise, some that come again, addresses of four bytes between. */
static struct bytes program(size_t n)
{
	struct bytes b = bytes_new(n);
	uint32_t address = (uint32_t)dice();
	size_t at = 0;

	while (at < n) {
		size_t len = 1 + dice_below(24);

		for (size_t i = 0; i < len && at < n; i++, at++)
			b.p[at] = (uint8_t)(dice_below(3) ? dice() : 0x48);
		if (at + 4 > n)
			continue;
		address += 16 * dice_below(64);
		le32_put(b.p + at, address);
		at += 4;
	}
	return b;
}

/* What became of it: parts moved, bytes changed, each address by as much, bytes that are new. */
static struct bytes later(const struct bytes *from, size_t n)
{
	struct bytes b = program(n);
	uint8_t shift = (uint8_t)dice();

	for (size_t at = 0; at < n && from->n > 0;) {
		size_t off = dice_below((unsigned)from->n), len = 1 + dice_below(4000);

		len = len < n - at ? len : n - at;
		len = len < from->n - off ? len : from->n - off;
		if (dice_below(4) > 0) {
			memcpy(b.p + at, from->p + off, len);
			for (size_t i = dice_below(40); i < len; i += 20 + dice_below(20))
				b.p[at + i] = (uint8_t)(b.p[at + i] + shift);
		}
		at += len;
	}
	return b;
}

static void check_applies(struct image_bsdiff *b, const struct bytes *prefix, const struct bytes *p,
			  unsigned *told)
{
	struct bytes mixed = bytes_new(p->n + IMAGE_CONTROL_MAX(p->n)), out = bytes_new(p->n);
	struct err e = ERR_INIT;
	size_t control = image_bsdiff(b, p->p, p->n, prefix->p, prefix->n, mixed.p);
	struct bytes exact = bytes_new(control + p->n);
	const struct image_bspatch patch = { exact.p, control, prefix->p, prefix->n };

	CHECK(control <= IMAGE_CONTROL_MAX(p->n), "%zu bytes of control", control);
	if (control > 0) {
		memcpy(exact.p, mixed.p, exact.n);
		CHECK(image_bspatch(&patch, out.p, out.n, &e) == 0, "%s", e.text);
		CHECK(memcmp(out.p, p->p, p->n) == 0, "other bytes");
		++*told;
	}
	free(mixed.p);
	free(exact.p);
	free(out.p);
}

static void test_applies(void)
{
	struct image_bsdiff *b = image_bsdiff_new(MOST);
	unsigned told = 0;

	CHECK(b, "memory");
	for (unsigned k = 0; k < 3000; k++) {
		unsigned most = k % 20 ? 3000 : MOST;
		struct bytes prefix = program(dice_below(4 * most));
		struct bytes p = later(&prefix, 1 + dice_below(most));

		if (k % 50 == 0)
			memset(prefix.p, 0, prefix.n);
		if (k % 50 < 2)
			memset(p.p, 0, p.n);
		check_applies(b, &prefix, &p, &told);
		free(prefix.p);
		free(p.p);
	}
	CHECK(told > 2000, "only %u had anything like the prefix", told);
	image_bsdiff_free(b);
}

/* Code that was put in front moves all addresses alike: nearly every difference is one of two. */
static void test_moved(void)
{
	struct image_bsdiff *b = image_bsdiff_new(MOST);
	struct bytes prefix = program(MOST), p = bytes_new(MOST);
	struct bytes mixed = bytes_new(MOST + IMAGE_CONTROL_MAX(MOST));
	size_t control, other = 0;

	CHECK(b, "memory");
	memset(p.p, 0x90, 48);
	memcpy(p.p + 48, prefix.p, MOST - 48);
	for (size_t i = 48; i < MOST; i += 29)
		p.p[i] = (uint8_t)(p.p[i] + 48);
	control = image_bsdiff(b, p.p, p.n, prefix.p, prefix.n, mixed.p);
	CHECK(control > 0 && control < 32, "%zu bytes of control", control);
	for (size_t i = 0; i < MOST; i++)
		other += mixed.p[control + i] != 0 && mixed.p[control + i] != 48;
	CHECK(other <= 64, "%zu other differences", other);
	free(prefix.p);
	free(p.p);
	free(mixed.p);
	image_bsdiff_free(b);
}

/* Made by hand: what the format says, and each way in which it can be wrong. */
struct triple {
	uint64_t move, add, extra;
};

static int apply(const struct triple *t, size_t n, size_t cut, uint8_t out[8])
{
	static const uint8_t prefix[10] = "0123456789";
	uint8_t p[128];
	struct image_bspatch b = { p, 0, prefix, sizeof(prefix) };
	struct err e = ERR_INIT;
	int r;

	for (size_t i = 0; i < n; i++) {
		b.control += varint_put(p + b.control, varint_zigzag(t[i].move));
		b.control += varint_put(p + b.control, t[i].add);
		b.control += varint_put(p + b.control, t[i].extra);
	}
	b.control -= cut;
	for (uint8_t i = 0; i < 8; i++)
		p[b.control + i] = i;
	r = image_bspatch(&b, out, 8, &e);
	CHECK(r == (e.kind == ERR_REFUSED ? -EBADMSG : 0), "%d %s", r, e.text);
	return r;
}

static void test_forged(void)
{
	static const struct triple good[] = { { 2, 3, 1 }, { UINT64_MAX - 4, 2, 2 } };
	static const struct triple bad[][2] = {
		{ { 8, 3, 1 }, { 0, 2, 2 } },                          /* ends behind the prefix */
		{ { UINT64_MAX, 3, 1 }, { 0, 2, 2 } },                 /* begins before it */
		{ { 2, 3, 1 }, { UINT64_MAX - 5, 2, 2 } },             /* goes back before it */
		{ { 0, 11, 0 }, { 0, 1, 1 } },                         /* longer than it */
		{ { 2, 3, 1 }, { 0, 2, 1 } },                          /* too few */
		{ { 2, 3, 1 }, { 0, 2, 3 } },                          /* too many */
		{ { 2, 3, 1 }, { 0, 0, 0 } },                          /* nothing */
		{ { 2, 4, 4 }, { 0, 0, 1 } },                          /* one triple too many */
		{ { 2, 3, UINT64_MAX - 2 }, { 0, 8, 0 } },             /* a sum that wraps */
		{ { 0, UINT64_MAX, 1 }, { UINT64_MAX, 8, 0 } },        /* and another */
		{ { 0, 1, 7 }, { (uint64_t)1 << 63, UINT64_MAX, 1 } }, /* and a place that does */
	};
	uint8_t out[8];

	CHECK(apply(good, 2, 0, out) == 0, "refused");
	CHECK(memcmp(out, "\x32\x34\x36\x05\x33\x35\x06\x07", 8) == 0, "other bytes");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(apply(bad[i], 2, 0, out) < 0, "forgery %zu", i);
	CHECK(image_bspatch(&(struct image_bspatch){ (const uint8_t *)"\0\0\3abc", 3, NULL, 0 },
			    out, 3, NULL) == 0 &&
		      memcmp(out, "abc", 3) == 0,
	      "without a prefix");
	for (size_t cut = 1; cut <= 6; cut++)
		CHECK(apply(good, 2, cut, out) < 0, "cut by %zu", cut);
}

/* Whatever control is, nothing outside of the prefix is read and nothing behind out is written. */
static void test_noise(void)
{
	unsigned taken = 0;

	for (unsigned k = 0; k < 60000; k++) {
		struct bytes prefix = bytes_new(dice_below(40)), out = bytes_new(1 + dice_below(9));
		struct bytes p = bytes_new(dice_below(10) + out.n);
		struct image_bspatch b = { p.p, p.n - out.n, prefix.p, prefix.n };

		for (size_t i = 0; i < p.n; i++)
			p.p[i] = (uint8_t)(dice_below(8) ? dice_below(9) : dice());
		memset(prefix.p, 1, prefix.n);
		taken += image_bspatch(&b, out.p, out.n, NULL) == 0;
		free(prefix.p);
		free(out.p);
		free(p.p);
	}
	CHECK(taken > 80, "only %u were taken", taken);
}

int main(void)
{
	dice_seed();
	test_applies();
	test_moved();
	test_forged();
	test_noise();
	return 0;
}
