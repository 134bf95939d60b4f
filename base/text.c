/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

char *text_bytes(uint64_t n, char *out, size_t cap)
{
	static const char *const units[] = { "KB", "MB", "GB", "TB", "PB", "EB" };
	uint64_t unit = 1000, tenths;
	size_t u = 0;

	if (n < 1000) {
		(void)snprintf(out, cap, "%u B", (unsigned)n);
		return out;
	}
	/* 999,500 would round to "1000 KB" */
	while (u + 1 < sizeof(units) / sizeof(units[0]) && n >= unit * 1000 - unit / 2) {
		unit *= 1000;
		u++;
	}
	tenths = n / (unit / 10) + (n % (unit / 10) >= unit / 20);
	/* one decimal where it tells something: not for KB, not from 100 on */
	if (u == 0 || tenths >= 1000)
		(void)snprintf(out, cap, "%ju %s", (uintmax_t)(n / unit + (n % unit >= unit / 2)),
			       units[u]);
	else
		(void)snprintf(out, cap, "%ju.%ju %s", (uintmax_t)(tenths / 10),
			       (uintmax_t)(tenths % 10), units[u]);
	return out;
}

static void two_units(uint64_t a, const char *ua, uint64_t b, const char *ub, char *out, size_t cap)
{
	if (b > 0)
		(void)snprintf(out, cap, "%ju %s %ju %s", (uintmax_t)a, ua, (uintmax_t)b, ub);
	else
		(void)snprintf(out, cap, "%ju %s", (uintmax_t)a, ua);
}

char *text_duration(uint64_t seconds, char *out, size_t cap)
{
	uint64_t minutes = seconds / 60, hours = minutes / 60;

	if (seconds < 60)
		(void)snprintf(out, cap, "%ju s", (uintmax_t)seconds);
	else if (minutes < 60)
		(void)snprintf(out, cap, "%ju min", (uintmax_t)minutes);
	else if (hours < 24)
		two_units(hours, "h", minutes % 60, "min", out, cap);
	else
		two_units(hours / 24, "d", hours % 24, "h", out, cap);
	return out;
}

char *text_time(int64_t t, int64_t now, char *out, size_t cap)
{
	/* not %b: what a person pastes into a report must not depend on the locale */
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t tt = (time_t)t, tn = (time_t)now;
	struct tm a, b;
	char year[24] = "";
	long off;

	if (!localtime_r(&tt, &a) || !localtime_r(&tn, &b)) {
		(void)snprintf(out, cap, "@%jd", (intmax_t)t);
		return out;
	}
	if (a.tm_year != b.tm_year)
		(void)snprintf(year, sizeof(year), " %ld", a.tm_year + 1900L);
	off = a.tm_gmtoff / 60;
	(void)snprintf(out, cap, "%d %s%s %02d:%02d %c%02ld%02ld", a.tm_mday, months[a.tm_mon],
		       year, a.tm_hour, a.tm_min, off < 0 ? '-' : '+', (off < 0 ? -off : off) / 60,
		       (off < 0 ? -off : off) % 60);
	return out;
}

/*
 * Bytes of the well-formed UTF-8 character at s[0..n) (RFC 3629: shortest form, no surrogates, up
 * to U+10FFFF), its code point in *ret; 0 when there is none.
 */
static size_t utf8_decode(const unsigned char *s, size_t n, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c;
	size_t len;

	if (s[0] < 0x80) {
		*ret = s[0];
		return 1;
	}
	if ((s[0] & 0xe0) == 0xc0)
		len = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		len = 3;
	else if ((s[0] & 0xf8) == 0xf0)
		len = 4;
	else
		return 0;
	if (len > n)
		return 0;
	c = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return len;
}

/* Steers a terminal or turns the reading direction: a name could look like another one. */
static bool steers(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

char *text_clean(const char *s, size_t n, char *out, size_t cap)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t k = 0;

	if (cap == 0)
		return out;
	for (size_t i = 0; i < n;) {
		uint32_t c = 0;
		size_t len = utf8_decode(u + i, n - i, &c);

		if (len == 0 || steers(c)) {
			if (k + 1 >= cap)
				break;
			out[k++] = '?';
			i += len ? len : 1;
			continue;
		}
		if (k + len >= cap)
			break;
		memcpy(out + k, u + i, len);
		k += len;
		i += len;
	}
	out[k] = '\0';
	return out;
}
