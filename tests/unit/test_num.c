/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tests/dice.h"
#include "tests/test.h"

/* Of every size alike. */
static uint64_t some(void)
{
	return dice() >> dice_below(64);
}

/* Judged by arithmetic in 128 bits. */
static void check_arithmetic(void)
{
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t a = some(), b = some(), r = 7, align = UINT64_C(1) << dice_below(64);
		__extension__ unsigned __int128 sum = a, product = a, up = a;
		bool ok;

		sum += b;
		product *= b;
		up = (up + align - 1) / align * align;
		ok = num_add(a, b, &r);
		CHECK(ok == (sum <= UINT64_MAX) && r == (ok ? (uint64_t)sum : 7), "%" PRIx64, a);
		r = 7;
		ok = num_mul(a, b, &r);
		CHECK(ok == (product <= UINT64_MAX) && r == (ok ? (uint64_t)product : 7),
		      "%" PRIx64, a);
		r = 7;
		/* a carry in the rounding may refuse what would just fit; it never lets through */
		ok = num_align(a, align, &r);
		CHECK(!ok || r == (uint64_t)up, "%" PRIx64 " %" PRIx64, a, align);
		CHECK(ok == (a <= UINT64_MAX - (align - 1)), "%" PRIx64 " %" PRIx64, a, align);
	}
}

static void check_parse(void)
{
	static const struct {
		const char *s;
		uint64_t min, max, v;
		int r;
	} table[] = {
		{ "0", 0, 9, 0, 0 },
		{ "18446744073709551615", 0, UINT64_MAX, UINT64_MAX, 0 },
		{ "18446744073709551616", 0, UINT64_MAX, 0, -ERANGE },
		{ "99999999999999999999999999", 0, UINT64_MAX, 0, -ERANGE },
		{ "10", 0, 9, 0, -ERANGE },
		{ "1", 2, 9, 0, -ERANGE },
		{ "007", 0, 9, 7, 0 },
		{ "", 0, 9, 0, -EINVAL },
		{ "-1", 0, 9, 0, -EINVAL },
		{ "+1", 0, 9, 0, -EINVAL },
		{ " 1", 0, 9, 0, -EINVAL },
		{ "1 ", 0, 9, 0, -EINVAL },
		{ "0x1", 0, 9, 0, -EINVAL },
		{ "1.5", 0, 9, 0, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct err e = ERR_INIT;
		uint64_t v = 77;
		int r = num_parse(table[i].s, strlen(table[i].s), table[i].min, table[i].max, "n",
				  &v, &e);

		CHECK(r == table[i].r && v == (r ? 77 : table[i].v), "'%s': %d", table[i].s, r);
		CHECK(r == 0 || e.kind == ERR_INPUT, "'%s'", table[i].s);
	}
}

typedef int (*parse_fn)(const char *s, const char *what, uint64_t *ret, struct err *e);

static void check_units(void)
{
	static const struct {
		parse_fn fn;
		const char *s;
		uint64_t v;
		int r;
	} table[] = {
		{ num_parse_bytes, "4096", 4096, 0 },
		{ num_parse_bytes, "64K", 65536, 0 },
		{ num_parse_bytes, "2G", UINT64_C(2) << 30, 0 },
		{ num_parse_bytes, "16777215T", UINT64_C(16777215) << 40, 0 },
		{ num_parse_bytes, "16777216T", 0, -ERANGE },
		{ num_parse_bytes, "", 0, -EINVAL },
		{ num_parse_bytes, "K", 0, -EINVAL },
		{ num_parse_bytes, "1k", 0, -EINVAL },
		{ num_parse_bytes, "1KB", 0, -EINVAL },
		{ num_parse_bytes, "-1", 0, -EINVAL },
		{ num_parse_seconds, "90", 90, 0 },
		{ num_parse_seconds, "90s", 90, 0 },
		{ num_parse_seconds, "1h 30min", 5400, 0 },
		{ num_parse_seconds, "1h30min", 5400, 0 },
		{ num_parse_seconds, " 2 d ", 172800, 0 },
		{ num_parse_seconds, "1w 1d 1h 1min 1s", 694861, 0 },
		{ num_parse_seconds, "", 0, -EINVAL },
		{ num_parse_seconds, "h", 0, -EINVAL },
		{ num_parse_seconds, "1 fortnight", 0, -EINVAL },
		{ num_parse_seconds, "1H", 0, -EINVAL },
		{ num_parse_seconds, "-5s", 0, -EINVAL },
		{ num_parse_seconds, "1h -5s", 0, -EINVAL },
		{ num_parse_seconds, "18446744073709551615w", 0, -ERANGE },
		{ num_parse_seconds, "18446744073709551615s 1s", 0, -ERANGE },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct err e = ERR_INIT;
		uint64_t v = 77;
		int r = table[i].fn(table[i].s, "u", &v, &e);

		CHECK(r == table[i].r && v == (r ? 77 : table[i].v), "'%s': %d %" PRIu64 " %s",
		      table[i].s, r, v, e.text);
	}
}

static void check_time(void)
{
	static const char *const wrong[] = {
		"",
		"2026-11-20",
		"2026-11-20T19:37:00",
		"2026-11-20T19:37:00+01:00",
		"2026-11-20 19:37:00Z",
		"2026-11-20T19:37:00z",
		"2026-11-20T19:37:00.5Z",
		"2026-11-20T19:37:00Z ",
		"2026-02-30T00:00:00Z",
		"2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z",
		"2026-01-00T00:00:00Z",
		"2026-01-01T24:00:00Z",
		"2026-01-01T00:60:00Z",
		"2016-12-31T23:59:60Z",
		"2100-02-29T00:00:00Z",
		"1969-12-31T23:59:59Z",
		"+026-11-20T19:37:00Z",
		" 026-11-20T19:37:00Z",
	};
	char text[NUM_TIME_MAX];
	int64_t t = 77;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CHECK(num_parse_time(wrong[i], "t", &t, &e) < 0 && t == 77, "'%s'", wrong[i]);
	CHECK(num_parse_time("2026-11-20T19:37:00Z", "t", &t, &e) == 0 && t == 1795203420,
	      "%" PRId64, t);
	CHECK(num_parse_time("1970-01-01T00:00:00Z", "t", &t, &e) == 0 && t == 0, "%s", e.text);
	CHECK(num_parse_time("9999-12-31T23:59:59Z", "t", &t, &e) == 0 && t == 253402300799, "%s",
	      e.text);
	CHECK(num_parse_time("2024-02-29T12:00:00Z", "t", &t, &e) == 0, "%s", e.text);
	for (unsigned i = 0; i < 20000; i++) {
		int64_t back = -1, want = (int64_t)(dice() % 253402300800);

		num_format_time(want, text);
		CHECK(num_parse_time(text, "t", &back, &e) == 0 && back == want, "%s", text);
	}
	num_format_time(INT64_MIN, text);
	CHECK(strcmp(text, "1970-01-01T00:00:00Z") == 0, "%s", text);
	num_format_time(INT64_MAX, text);
	CHECK(strcmp(text, "9999-12-31T23:59:59Z") == 0, "%s", text);
}

int main(void)
{
	dice_seed();
	check_arithmetic();
	check_parse();
	check_units();
	check_time();
	return 0;
}
