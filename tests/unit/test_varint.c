/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/varint.h"
#include "tests/dice.h"
#include "tests/test.h"

static void check_one(uint64_t v, size_t bytes)
{
	uint8_t p[VARINT_MAX + 1];
	size_t n = varint_put(p, v);
	struct varint_reader r = { p, p + n, false };

	CHECK(n == bytes, "%llu took %zu bytes", (unsigned long long)v, n);
	CHECK(varint_get(&r) == v && !r.bad && r.p == r.end, "%llu", (unsigned long long)v);
	CHECK(varint_get(&r) == 0 && r.bad, "read behind the end");
	for (size_t cut = 0; cut < n; cut++) {
		r = (struct varint_reader){ p, p + cut, false };
		CHECK(varint_get(&r) == 0 && r.bad && r.p == r.end, "cut at %zu", cut);
	}
	/* the same number in a longer form */
	p[n - 1] |= 0x80;
	p[n] = 0;
	r = (struct varint_reader){ p, p + n + 1, false };
	CHECK(varint_get(&r) == 0 && r.bad, "a zero byte at the end");
	CHECK(varint_unzigzag(varint_zigzag(v)) == v, "zigzag");
}

int main(void)
{
	static const uint8_t too_much[] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 2 };
	struct varint_reader r = { too_much, too_much + sizeof(too_much), false };
	uint8_t example[VARINT_MAX];

	dice_seed();
	CHECK(varint_put(example, 624485) == 3 && memcmp(example, "\xe5\x8e\x26", 3) == 0,
	      "the example of DWARF");
	CHECK(varint_get(&r) == 0 && r.bad, "more than 64 bits");
	check_one(0, 1);
	check_one(UINT64_MAX, 10);
	for (unsigned bit = 0; bit < 64; bit++) {
		check_one((uint64_t)1 << bit, bit / 7 + 1);
		for (unsigned k = 0; k < 50; k++) {
			uint64_t low = dice() & (((uint64_t)1 << bit) - 1);

			check_one((uint64_t)1 << bit | low, bit / 7 + 1);
		}
	}
	CHECK(varint_zigzag(0) == 0 && varint_zigzag(UINT64_MAX) == 1 && varint_zigzag(1) == 2 &&
		      varint_zigzag(UINT64_MAX - 1) == 3,
	      "order");
	return 0;
}
