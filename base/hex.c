/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hex.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char lower[] = "0123456789abcdef";

void hex_format(const uint8_t *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = lower[p[i] >> 4];
		out[2 * i + 1] = lower[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* p is written only when all of it is good: out-parameters stay untouched on failure. */
int hex_parse(const char *s, const char *what, uint8_t *p, size_t n, struct err *e)
{
	if (strlen(s) != 2 * n)
		return err_set(e, ERR_INPUT, EINVAL, "%s: must be %zu hexadecimal digits, not %zu",
			       what, 2 * n, strlen(s));
	for (size_t i = 0; i < 2 * n; i++) {
		if (nibble(s[i]) < 0)
			return err_set(e, ERR_INPUT, EINVAL,
				       "%s: character %zu is not a hexadecimal digit", what, i + 1);
	}
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((unsigned)nibble(s[2 * i]) << 4 | (unsigned)nibble(s[2 * i + 1]));
	return 0;
}

static bool is_dash(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

void uuid_format(const uint8_t u[16], char out[UUID_TEXT_MAX])
{
	size_t k = 0;

	for (size_t i = 0; i < UUID_TEXT_MAX - 1; i++) {
		if (is_dash(i)) {
			out[i] = '-';
			continue;
		}
		out[i] = lower[k % 2 ? u[k / 2] & 15 : u[k / 2] >> 4];
		k++;
	}
	out[UUID_TEXT_MAX - 1] = '\0';
}

int uuid_parse(const char *s, const char *what, uint8_t ret[16], struct err *e)
{
	char digits[33];
	size_t k = 0;

	if (strlen(s) != UUID_TEXT_MAX - 1)
		return err_set(e, ERR_INPUT, EINVAL, "%s: '%.40s' is not a UUID", what, s);
	for (size_t i = 0; i < UUID_TEXT_MAX - 1; i++) {
		if (is_dash(i) ? s[i] != '-' : nibble(s[i]) < 0)
			return err_set(e, ERR_INPUT, EINVAL, "%s: '%.40s' is not a UUID", what, s);
		if (!is_dash(i))
			digits[k++] = s[i];
	}
	digits[k] = '\0';
	return hex_parse(digits, what, ret, 16, e);
}

void random_bytes(void *p, size_t n)
{
	uint8_t *u = p;

	while (n > 0) {
		ssize_t r = getrandom(u, n, 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			abort();
		u += r;
		n -= (size_t)r;
	}
}
