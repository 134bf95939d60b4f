/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <string.h>
#include <time.h>

#include "tests/test.h"

static void check_bytes(void)
{
	static const struct {
		uint64_t n;
		const char *s;
	} table[] = {
		{ 0, "0 B" },
		{ 12, "12 B" },
		{ 999, "999 B" },
		{ 1000, "1 KB" },
		{ 9499, "9 KB" },
		{ 9500, "10 KB" },
		{ 999499, "999 KB" },
		{ 999500, "1.0 MB" },
		{ 13549999, "13.5 MB" },
		{ 13550000, "13.6 MB" },
		{ 99949999, "99.9 MB" },
		{ 99950000, "100 MB" },
		{ 447000000, "447 MB" },
		{ 999499999, "999 MB" },
		{ 999500000, "1.0 GB" },
		{ UINT64_MAX, "18.4 EB" },
	};
	char out[32];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		CHECK(strcmp(text_bytes(table[i].n, out, sizeof(out)), table[i].s) == 0,
		      "%ju: '%s', not '%s'", (uintmax_t)table[i].n, out, table[i].s);
}

static void check_duration(void)
{
	static const struct {
		uint64_t n;
		const char *s;
	} table[] = {
		{ 0, "0 s" },
		{ 59, "59 s" },
		{ 60, "1 min" },
		{ 3599, "59 min" },
		{ 3600, "1 h" },
		{ 22320, "6 h 12 min" },
		{ 86399, "23 h 59 min" },
		{ 86400, "1 d" },
		{ 187200, "2 d 4 h" },
	};
	char out[64];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		CHECK(strcmp(text_duration(table[i].n, out, sizeof(out)), table[i].s) == 0,
		      "%ju: '%s', not '%s'", (uintmax_t)table[i].n, out, table[i].s);
}

static void check_time(void)
{
	const int64_t now = 1795203420; /* 2026-11-20T19:37:00Z */
	char out[64];

	CHECK(setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1) == 0, "setenv");
	tzset();
	CHECK(strcmp(text_time(now, now, out, sizeof(out)), "20 Nov 20:37 +0100") == 0, "%s", out);
	CHECK(strcmp(text_time(1782864000, now, out, sizeof(out)), "1 Jul 02:00 +0200") == 0, "%s",
	      out);
	CHECK(strcmp(text_time(0, now, out, sizeof(out)), "1 Jan 1970 01:00 +0100") == 0, "%s",
	      out);
	CHECK(setenv("TZ", "NST3:30", 1) == 0, "setenv");
	tzset();
	CHECK(strcmp(text_time(now, now, out, sizeof(out)), "20 Nov 16:07 -0330") == 0, "%s", out);
	(void)text_time(INT64_MAX, now, out, sizeof(out));
	CHECK(strlen(out) > 0, "a time beyond all calendars");
}

static void check_clean(void)
{
	static const struct {
		const char *in, *out;
	} table[] = {
		{ "plain", "plain" },
		{ "a\033[31mb", "a?[31mb" },
		{ "a\nb\tc\x7f", "a?b?c?" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\xc2\x9b"
		  "31m",
		  "?31m" },
		{ "\xe2\x80\xae"
		  "x",
		  "?x" },
		{ "\xc3", "?" },
		{ "\xff\xfe", "??" },
		{ "\xc0\xaf", "??" },
		{ "\xed\xa0\x80", "???" },
		{ "\xf4\x90\x80\x80", "????" },
		{ "\xe2\x82", "??" },
	};
	char out[64], five[5];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		(void)text_clean(table[i].in, strlen(table[i].in), out, sizeof(out));
		CHECK(strcmp(out, table[i].out) == 0, "%zu: '%s'", i, out);
	}
	CHECK(strcmp(text_clean("abc\xe2\x82\xac", 6, five, sizeof(five)), "abc") == 0,
	      "a character is never cut: '%s'", five);
	CHECK(strcmp(text_clean("abcdef", 6, five, sizeof(five)), "abcd") == 0, "'%s'", five);
	CHECK(strcmp(text_clean("a\0b", 3, five, sizeof(five)), "a?b") == 0, "NUL: '%s'", five);
}

int main(void)
{
	check_bytes();
	check_duration();
	check_time();
	check_clean();
	return 0;
}
