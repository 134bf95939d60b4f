/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/choice.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/version.h"
#include "bootctl/entry_name.h"

static bool has(const char *s)
{
	return s && *s;
}

static int compare_u32(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static int lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* The loader compares ids after folding case; names are shorter than BOOT_NAME_MAX by contract. */
static int compare_file(const char *a, const char *b)
{
	char x[BOOT_NAME_MAX], y[BOOT_NAME_MAX];
	size_t n = 0, m = 0;

	for (; n < sizeof(x) - 1 && a[n]; n++)
		x[n] = (char)lower(a[n]);
	for (; m < sizeof(y) - 1 && b[m]; m++)
		y[m] = (char)lower(b[m]);
	x[n] = y[m] = '\0';
	return version_compare(x, y);
}

static int compare_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* Both have a sort key: by key, then installation, then newest first. */
static int compare_keyed(const struct choice_entry *a, const struct choice_entry *b)
{
	int r = strcmp(a->sort_key, b->sort_key);

	if (r == 0)
		r = compare_text(a->machine_id, b->machine_id);
	if (r == 0)
		r = -version_compare(a->version ? a->version : "", b->version ? b->version : "");
	return r;
}

static bool is_bad(const struct choice_entry *e)
{
	return e->counted && e->left == 0;
}

int choice_compare(const struct choice_entry *a, const struct choice_entry *b)
{
	int r = 0;

	if (is_bad(a) != is_bad(b))
		return is_bad(a) ? 1 : -1;
	if (has(a->sort_key) != has(b->sort_key))
		return has(a->sort_key) ? -1 : 1;
	if (has(a->sort_key))
		r = compare_keyed(a, b);
	/*
	 * systemd-boot's id is the file name with its counter; bootctl's has none. And of two files
	 * with one id bootctl 252 lists the one with fewer tries first; the loader is who boots.
	 */
	if (r == 0)
		r = -compare_file(a->file, b->file);
	if (r != 0 || !a->counted || !b->counted)
		return r;
	r = -compare_u32(a->left, b->left);
	return r != 0 ? r : compare_u32(a->done, b->done);
}

void choice_sort(struct choice_entry *e, size_t n)
{
	/* insertion: stable, and a few hundred entries at most */
	for (size_t i = 1; i < n; i++) {
		struct choice_entry x = e[i];
		size_t k = i;

		for (; k > 0 && choice_compare(&e[k - 1], &x) > 0; k--)
			e[k] = e[k - 1];
		e[k] = x;
	}
}

static size_t find(const struct choice_entry *e, size_t n, const char *pattern)
{
	size_t i = 0;

	if (!has(pattern))
		return n;
	while (i < n && !choice_glob(pattern, e[i].file))
		i++;
	return i;
}

/*
 * systemd-boot 252, config_select_default_entry(): one-shot, then the variable, then loader.conf,
 * then the first that is not automatic. None of these looks at the counters: a bad entry is only
 * sorted last, so that it boots when it is named or when nothing else is there.
 */
size_t choice_next(const struct choice_entry *e, size_t n, const struct choice_wish *wish,
		   enum choice_why *ret_why)
{
	bool var_saved = wish->var && strcasecmp(wish->var, "@saved") == 0;
	bool conf_saved = wish->conf && strcasecmp(wish->conf, "@saved") == 0;
	size_t i = find(e, n, wish->oneshot);

	*ret_why = CHOICE_ONESHOT;
	if (i < n)
		return i;
	*ret_why = CHOICE_VAR;
	i = find(e, n, var_saved ? wish->saved : wish->var);
	if (i < n)
		return i;
	*ret_why = CHOICE_CONF;
	i = find(e, n, conf_saved ? wish->saved : wish->conf);
	if (i < n)
		return i;
	*ret_why = n > 0 ? CHOICE_FIRST : CHOICE_NONE;
	return 0;
}

const char *choice_why_text(enum choice_why why)
{
	switch (why) {
	case CHOICE_ONESHOT:
		return "one-shot variable";
	case CHOICE_VAR:
		return "default variable";
	case CHOICE_CONF:
		return "loader.conf";
	case CHOICE_FIRST:
		return "first in order";
	case CHOICE_NONE:
		break;
	}
	return "no entry";
}

/* A set "[...]" against c; a set that is not closed matches nothing. */
static bool glob_set(const char *p, int c, size_t *ret_n)
{
	bool match = false, range = false;
	size_t i;

	for (i = 1; p[i] && (p[i] != ']' || i == 1); i++) {
		if (p[i] == '-' && range && p[i + 1] && p[i + 1] != ']') {
			match |= lower(p[i - 1]) <= c && c <= lower(p[i + 1]);
			i++;
			range = false; /* "a-c-f" is a to c, '-' and f */
			continue;
		}
		if (p[i] == '\\' && p[i + 1])
			i++;
		match |= lower(p[i]) == c;
		range = true;
	}
	*ret_n = i + 1;
	return p[i] && match;
}

/* One element of a pattern that is not '*' against c: *ret_n is its length. */
static bool glob_one(const char *p, int c, size_t *ret_n)
{
	*ret_n = 1;
	if (*p == '?')
		return true;
	if (*p == '[')
		return glob_set(p, c, ret_n);
	if (*p != '\\')
		return lower(*p) == c;
	*ret_n = 2;
	return p[1] && lower(p[1]) == c;
}

bool choice_glob(const char *pattern, const char *text)
{
	const char *star = NULL, *from = NULL;
	size_t n = 0;

	/* only the last star ever needs another try, as what it stands for can only grow */
	while (*text) {
		if (*pattern == '*') {
			star = ++pattern;
			from = text;
		} else if (*pattern && glob_one(pattern, lower(*text), &n)) {
			pattern += n;
			text++;
		} else if (star) {
			pattern = star;
			text = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

/* Narrows [*p, *end) to the value when the line is `default VALUE`. */
static bool conf_value(const char **p, const char **end)
{
	const char *q = *p, *stop = *end;

	while (q < stop && isspace((unsigned char)*q))
		q++;
	while (stop > q && isspace((unsigned char)stop[-1]))
		stop--;
	if (stop - q < 8 || memcmp(q, "default", 7) != 0 || !isblank((unsigned char)q[7]))
		return false;
	q += 8;
	while (q < stop && isblank((unsigned char)*q))
		q++;
	if (stop - q >= 2 && *q == '"' && stop[-1] == '"') {
		q++;
		stop--;
	}
	*p = q;
	*end = stop;
	return true;
}

void choice_conf_default(const char *p, size_t n, char *out, size_t cap)
{
	const char *end = p + n;

	out[0] = '\0';
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
		const char *v = p;

		p = nl ? nl + 1 : end;
		/* longer than any file name: matches nothing */
		if (!conf_value(&v, &stop) || (size_t)(stop - v) >= cap)
			continue;
		memcpy(out, v, (size_t)(stop - v));
		out[stop - v] = '\0';
	}
}
