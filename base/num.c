/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TIME_MIN INT64_C(0)
#define TIME_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

bool num_add(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t r;

	if (__builtin_add_overflow(a, b, &r))
		return false;
	*ret = r;
	return true;
}

bool num_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t r;

	if (__builtin_mul_overflow(a, b, &r))
		return false;
	*ret = r;
	return true;
}

bool num_align(uint64_t n, uint64_t align, uint64_t *ret)
{
	uint64_t r;

	assert(align > 0 && (align & (align - 1)) == 0);
	if (!num_add(n, align - 1, &r))
		return false;
	*ret = r & ~(align - 1);
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at s[0..n): how many there are, their value; 0 when none or beyond 64 bits. */
static size_t digits(const char *s, size_t n, uint64_t *ret, bool *ret_over)
{
	uint64_t v = 0;
	size_t i;

	*ret_over = false;
	for (i = 0; i < n && is_digit(s[i]); i++) {
		if (!num_mul(v, 10, &v) || !num_add(v, (uint64_t)(s[i] - '0'), &v))
			*ret_over = true;
	}
	*ret = v;
	return i;
}

/* At most this much of a wrong value is quoted. */
#define QUOTE "%.40s"

int num_parse(const char *s, size_t n, uint64_t min, uint64_t max, const char *what, uint64_t *ret,
	      struct err *e)
{
	uint64_t v;
	bool over;

	if (n == 0 || digits(s, n, &v, &over) != n)
		return err_set(e, ERR_INPUT, EINVAL, "%s: '%.*s' is not a number", what,
			       (int)(n < 40 ? n : 40), s);
	if (over || v < min || v > max)
		return err_set(e, ERR_INPUT, ERANGE, "%s: %.*s is not between %ju and %ju", what,
			       (int)(n < 40 ? n : 40), s, (uintmax_t)min, (uintmax_t)max);
	*ret = v;
	return 0;
}

int num_parse_bytes(const char *s, const char *what, uint64_t *ret, struct err *e)
{
	static const char units[] = "KMGT";
	const char *unit = NULL;
	size_t n = strlen(s), d;
	uint64_t v;
	bool over;

	d = digits(s, n, &v, &over);
	if (d + 1 == n)
		unit = strchr(units, s[d]);
	if (d == 0 || (d != n && !unit))
		return err_set(e, ERR_INPUT, EINVAL,
			       "%s: '" QUOTE "' is not a size such as 4096, 64K or 2G", what, s);
	if (over || (unit && !num_mul(v, UINT64_C(1) << (10 * (unit - units + 1)), &v)))
		return err_set(e, ERR_INPUT, ERANGE, "%s: '" QUOTE "' is too large", what, s);
	*ret = v;
	return 0;
}

static size_t spaces(const char *s)
{
	return strspn(s, " \t");
}

/* Seconds of the unit named by s[0..n), 0 if there is none. No unit means seconds. */
static uint64_t unit_seconds(const char *s, size_t n)
{
	static const struct {
		const char *name;
		uint64_t seconds;
	} units[] = {
		{ "", 1 },         { "s", 1 },         { "sec", 1 },        { "second", 1 },
		{ "seconds", 1 },  { "m", 60 },        { "min", 60 },       { "minute", 60 },
		{ "minutes", 60 }, { "h", 3600 },      { "hr", 3600 },      { "hour", 3600 },
		{ "hours", 3600 }, { "d", 86400 },     { "day", 86400 },    { "days", 86400 },
		{ "w", 604800 },   { "week", 604800 }, { "weeks", 604800 },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strlen(units[i].name) == n && memcmp(units[i].name, s, n) == 0)
			return units[i].seconds;
	}
	return 0;
}

int num_parse_seconds(const char *s, const char *what, uint64_t *ret, struct err *e)
{
	const char *p = s + spaces(s);
	uint64_t sum = 0;

	do {
		uint64_t v, unit;
		size_t n;
		bool over;

		n = digits(p, strlen(p), &v, &over);
		if (n == 0)
			return err_set(e, ERR_INPUT, EINVAL,
				       "%s: '" QUOTE "' is not a time span such as 90s or 1h 30min",
				       what, s);
		p += n;
		p += spaces(p);
		n = strspn(p, "abcdefghijklmnopqrstuvwxyz");
		unit = unit_seconds(p, n);
		if (unit == 0)
			return err_set(e, ERR_INPUT, EINVAL,
				       "%s: '" QUOTE "' has a unit that is none of s, min, h, d, w",
				       what, s);
		p += n;
		p += spaces(p);
		if (over || !num_mul(v, unit, &v) || !num_add(sum, v, &sum))
			return err_set(e, ERR_INPUT, ERANGE, "%s: '" QUOTE "' is too long", what,
				       s);
	} while (*p);
	*ret = sum;
	return 0;
}

int num_parse_time(const char *s, const char *what, int64_t *ret, struct err *e)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
	char again[NUM_TIME_MAX];
	struct tm tm = { 0 };
	int v[6] = { 0 };
	time_t t;

	for (size_t i = 0, f = 0; i < sizeof(shape); i++) {
		bool fits = shape[i] == 'd' ? is_digit(s[i]) : s[i] == shape[i];

		if (!fits)
			return err_set(e, ERR_INPUT, EINVAL,
				       "%s: '" QUOTE "' is not a time such as 2026-11-20T19:37:00Z",
				       what, s);
		if (shape[i] == 'd')
			v[f] = v[f] * 10 + (s[i] - '0');
		else
			f++;
	}
	tm.tm_year = v[0] - 1900;
	tm.tm_mon = v[1] - 1;
	tm.tm_mday = v[2];
	tm.tm_hour = v[3];
	tm.tm_min = v[4];
	tm.tm_sec = v[5];
	t = timegm(&tm);
	/* timegm() takes 31 February for 3 March: only what comes back unchanged was a date */
	if (t < TIME_MIN || t > TIME_MAX)
		return err_set(e, ERR_INPUT, ERANGE, "%s: '%s' is not in 1970 to 9999", what, s);
	num_format_time(t, again);
	if (strcmp(again, s) != 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s: '%s' is no date in the calendar", what,
			       s);
	*ret = t;
	return 0;
}

void num_format_time(int64_t t, char out[NUM_TIME_MAX])
{
	struct tm tm;
	time_t tt;

	if (t < TIME_MIN)
		t = TIME_MIN;
	if (t > TIME_MAX)
		t = TIME_MAX;
	tt = (time_t)t;
	if (!gmtime_r(&tt, &tm) || strftime(out, NUM_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		memcpy(out, "1970-01-01T00:00:00Z", NUM_TIME_MAX);
}
