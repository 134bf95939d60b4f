/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <errno.h>
#include <string.h>

int base64_put(const void *p, size_t n, struct buf *out, struct err *e)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *s = p;
	int r = buf_reserve(out, n / 3 * 4 + 4, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)s[i] << 16;

		if (i + 1 < n)
			v |= (uint32_t)s[i + 1] << 8;
		if (i + 2 < n)
			v |= s[i + 2];
		out->p[out->n++] = digits[v >> 18];
		out->p[out->n++] = digits[v >> 12 & 63];
		out->p[out->n++] = (char)(i + 1 < n ? digits[v >> 6 & 63] : '=');
		out->p[out->n++] = (char)(i + 2 < n ? digits[v & 63] : '=');
	}
	out->p[out->n] = '\0';
	return 0;
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

int base64_get(const char *s, const char *what, struct buf *out, struct err *e)
{
	size_t n = strlen(s), digits = n;
	uint32_t v = 0;
	int r;

	while (digits > 0 && n - digits < 2 && s[digits - 1] == '=')
		digits--;
	if (digits % 4 == 1 || (digits != n && n % 4 != 0))
		return err_set(e, ERR_INPUT, EINVAL, "%s is not base64", what);
	r = buf_reserve(out, digits / 4 * 3 + 3, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < digits; i++) {
		int d = digit(s[i]);

		if (d < 0)
			return err_set(e, ERR_INPUT, EINVAL, "%s is not base64", what);
		v = v << 6 | (uint32_t)d;
		if (i % 4 != 0) /* 12, 10 or 8 bits are whole bytes so far */
			out->p[out->n++] = (char)(uint8_t)(v >> (6 - 2 * (i % 4)));
	}
	if ((digits % 4 == 2 && (v & 15)) || (digits % 4 == 3 && (v & 3)))
		return err_set(e, ERR_INPUT, EINVAL, "%s is not base64", what);
	out->p[out->n] = '\0';
	return 0;
}
