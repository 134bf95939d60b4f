/* SPDX-License-Identifier: Apache-2.0 */
#include "base/version.h"

#include <stddef.h>
#include <string.h>

enum { VERSION_MAX = 64, IMAGE_ID_MAX = 32 };

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static int order(long a, long b)
{
	return a < b ? -1 : a > b;
}

/* UAPI.10 step 1: what belongs to no version is skipped. */
static const char *skip_foreign(const char *s)
{
	while (*s && !is_digit(*s) && !is_lower(*s) && !is_upper(*s) && !strchr("~-^.", *s))
		s++;
	return s;
}

/* Both numbers without their zeros: the longer is greater, then the digits decide. */
static int compare_numbers(const char **a, const char **b)
{
	size_t na, nb;
	int r;

	*a += strspn(*a, "0");
	*b += strspn(*b, "0");
	na = strspn(*a, "0123456789");
	nb = strspn(*b, "0123456789");
	r = order((long)na, (long)nb);
	if (r == 0)
		r = strncmp(*a, *b, na);
	*a += na;
	*b += nb;
	return r;
}

/* Two runs of letters in ASCII order, so capitals come first; of a common start the longer wins. */
static int compare_letters(const char **a, const char **b)
{
	size_t na = 0, nb = 0;
	int r;

	while (is_lower((*a)[na]) || is_upper((*a)[na]))
		na++;
	while (is_lower((*b)[nb]) || is_upper((*b)[nb]))
		nb++;
	r = strncmp(*a, *b, na < nb ? na : nb);
	if (r == 0)
		r = order((long)na, (long)nb);
	*a += na;
	*b += nb;
	return r;
}

/* The character c at the front of one side only: that side is smaller. Of both: step over it. */
static int compare_mark(const char **a, const char **b, char c)
{
	if (**a == c && **b == c) {
		(*a)++;
		(*b)++;
		return 0;
	}
	if (**a == c || **b == c)
		return **a == c ? -1 : 1;
	return 0;
}

int version_compare(const char *a, const char *b)
{
	for (;;) {
		int r;

		a = skip_foreign(a);
		b = skip_foreign(b);

		r = compare_mark(&a, &b, '~');
		if (r != 0)
			return r;
		/* only behind '~' does anything sort below the end of the string */
		if (!*a || !*b)
			return order((unsigned char)*a, (unsigned char)*b);
		for (const char *m = "-^."; *m; m++) {
			r = compare_mark(&a, &b, *m);
			if (r != 0)
				return r;
		}
		if (is_digit(*a) || is_digit(*b)) {
			/* any digit beats no digit, as in systemd 252 */
			r = order(is_digit(*a), is_digit(*b));
			if (r == 0)
				r = compare_numbers(&a, &b);
		} else {
			r = compare_letters(&a, &b);
		}
		if (r != 0)
			return r;
	}
}

bool version_valid(const char *v)
{
	size_t n = strlen(v);

	if (n < 1 || n > VERSION_MAX || v[0] == '.' || v[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(v[i]) && !is_lower(v[i]) && !is_upper(v[i]) && v[i] != '.' &&
		    v[i] != '-')
			return false;
	}
	return true;
}

bool image_id_valid(const char *id)
{
	size_t n = strlen(id);

	if (n < 1 || n > IMAGE_ID_MAX || !is_lower(id[0]))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(id[i]) && !is_lower(id[i]) && id[i] != '-')
			return false;
	}
	return true;
}
