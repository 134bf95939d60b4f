/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/choice.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

/* What the loader calls the entry; names are shorter than BOOT_NAME_MAX by contract. */
static void id_of(const struct choice_entry *e, char out[BOOT_NAME_MAX])
{
	const char *plus = e->bare && e->counted ? strrchr(e->file, '+') : NULL;
	const char *dot = plus ? strrchr(plus, '.') : NULL;
	size_t n = 0;

	for (const char *s = e->file; *s && n < BOOT_NAME_MAX - 1; s++) {
		if (dot && s == plus)
			s = dot;
		out[n++] = (char)lower(*s);
	}
	out[n] = '\0';
}

static int compare_id(const struct choice_entry *a, const struct choice_entry *b)
{
	char x[BOOT_NAME_MAX], y[BOOT_NAME_MAX];

	id_of(a, x);
	id_of(b, y);
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
	 * The id of systemd-boot 252 is the file name with its counter; bootctl's has none. And of
	 * two files with one id bootctl lists the one with fewer tries first; the loader is who
	 * boots.
	 */
	if (r == 0)
		r = -compare_id(a, b);
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

static size_t find_if(const struct choice_entry *e, size_t n, const char *pattern, bool bad_too)
{
	char id[BOOT_NAME_MAX];

	if (!has(pattern))
		return n;
	for (size_t i = 0; i < n; i++) {
		id_of(&e[i], id);
		if (choice_glob(pattern, id) && (bad_too || !is_bad(&e[i])))
			return i;
	}
	return n;
}

static size_t find(const struct choice_entry *e, size_t n, const char *pattern)
{
	return find_if(e, n, pattern, true);
}

static const char *saved_or(const char *pattern, const char *saved)
{
	return pattern && strcasecmp(pattern, "@saved") == 0 ? saved : pattern;
}

/*
 * systemd-boot 252, config_select_default_entry(): one-shot, then the variable, then loader.conf,
 * then the first that is not automatic. None of these looks at the counters: a bad entry is only
 * sorted last, so that it boots when it is named or when nothing else is there. What 260 calls
 * preferred does look, and comes before the default.
 */
size_t choice_next(const struct choice_entry *e, size_t n, const struct choice_wish *wish,
		   enum choice_why *ret_why)
{
	size_t i = find(e, n, wish->oneshot);

	*ret_why = CHOICE_ONESHOT;
	if (i < n)
		return i;
	*ret_why = CHOICE_PREFERRED;
	i = find_if(e, n, saved_or(wish->preferred_var, wish->saved), false);
	if (i == n)
		i = find_if(e, n, saved_or(wish->preferred_conf, wish->saved), false);
	if (i < n)
		return i;
	*ret_why = CHOICE_VAR;
	i = find(e, n, saved_or(wish->var, wish->saved));
	if (i < n)
		return i;
	*ret_why = CHOICE_CONF;
	i = find(e, n, saved_or(wish->conf, wish->saved));
	if (i < n)
		return i;
	*ret_why = n > 0 ? CHOICE_FIRST : CHOICE_NONE;
	return 0;
}

/* "systemd-boot 257.13-1~deb13u1": 257 and 13; 0 and 0 for what is no such text. */
static void loader_version(const char *info, unsigned long *ret_major, unsigned long *ret_minor)
{
	static const char name[] = "systemd-boot ";
	char *end;

	*ret_major = *ret_minor = 0;
	if (strncmp(info, name, sizeof(name) - 1) != 0)
		return;
	*ret_major = strtoul(info + sizeof(name) - 1, &end, 10);
	if (*end == '.')
		*ret_minor = strtoul(end + 1, NULL, 10);
}

struct choice_loader choice_loader(const char *info, const char *selected, const char *count_path)
{
	struct choice_loader l = { CHOICE_MAYBE, CHOICE_MAYBE };
	struct boot_entry_name en;
	unsigned long major, minor;

	loader_version(info, &major, &minor);
	if (major > 0)
		l.preferred = major >= 260 ? CHOICE_YES : CHOICE_NO;
	/* stable releases in between may have it or not */
	if (major >= 259 || (major == 258 && minor >= 3) || (major == 257 && minor >= 13))
		l.bare = CHOICE_YES;
	else if ((major > 0 && major <= 254) || (major == 257 && minor <= 7))
		l.bare = CHOICE_NO;
	if (has(count_path) && boot_entry_name_parse(selected, strlen(selected), &en, NULL) >= 0)
		l.bare = en.counted ? CHOICE_NO : CHOICE_YES;
	return l;
}

static size_t next_under(bool bare, bool preferred, struct choice_entry *e, size_t n,
			 const struct choice_wish *wish, enum choice_why *ret_why)
{
	struct choice_wish w = *wish;
	size_t i;

	if (!preferred)
		w.preferred_var = w.preferred_conf = NULL;
	for (i = 0; i < n; i++)
		e[i].bare = bare;
	choice_sort(e, n);
	i = choice_next(e, n, &w, ret_why);
	return i < n ? e[i].index : SIZE_MAX;
}

size_t choice_next_of(const struct choice_loader *l, struct choice_entry *e, size_t n,
		      const struct choice_wish *wish, enum choice_why *ret_why)
{
	enum choice_why why = CHOICE_NONE;
	size_t found = SIZE_MAX;
	bool first = true;

	for (unsigned k = 0; k < 4; k++) {
		bool bare = k & 1, preferred = k & 2;
		size_t i;

		if (l->bare == (bare ? CHOICE_NO : CHOICE_YES) ||
		    l->preferred == (preferred ? CHOICE_NO : CHOICE_YES))
			continue;
		i = next_under(bare, preferred, e, n, wish, &why);
		if (!first && i != found) {
			*ret_why = CHOICE_UNSURE;
			return n;
		}
		/* of several reasons the first that is more than the order */
		if (first || *ret_why == CHOICE_FIRST)
			*ret_why = why;
		found = i;
		first = false;
	}
	return found == SIZE_MAX ? n : found;
}

const char *choice_why_text(enum choice_why why)
{
	switch (why) {
	case CHOICE_ONESHOT:
		return "one-shot variable";
	case CHOICE_PREFERRED:
		return "preferred entry";
	case CHOICE_VAR:
		return "default variable";
	case CHOICE_CONF:
		return "loader.conf";
	case CHOICE_FIRST:
		return "first in order";
	case CHOICE_UNSURE:
		return "a default that versions of the loader read in different ways";
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

/* Narrows [*p, *end) to the value when the line is `key VALUE`. */
static bool conf_value(const char **p, const char **end, const char *key)
{
	const char *q = *p, *stop = *end;
	ptrdiff_t n = (ptrdiff_t)strlen(key);

	while (q < stop && isspace((unsigned char)*q))
		q++;
	while (stop > q && isspace((unsigned char)stop[-1]))
		stop--;
	if (stop - q <= n || memcmp(q, key, (size_t)n) != 0 || !isblank((unsigned char)q[n]))
		return false;
	q += n + 1;
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

void choice_conf_value(const char *p, size_t n, const char *key, char *out, size_t cap)
{
	const char *end = p + n;

	out[0] = '\0';
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
		const char *v = p;

		p = nl ? nl + 1 : end;
		/* longer than any file name: matches nothing */
		if (!conf_value(&v, &stop, key) || (size_t)(stop - v) >= cap)
			continue;
		memcpy(out, v, (size_t)(stop - v));
		out[stop - v] = '\0';
	}
}
