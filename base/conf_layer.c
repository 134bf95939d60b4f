/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf_layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { QUOTE_MAX = 40 };

static int by_name(const void *a, const void *b)
{
	const struct conf_seen *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : (x->dir > y->dir) - (x->dir < y->dir);
}

size_t conf_layer_order(struct conf_seen *seen, size_t n)
{
	size_t kept = 0;

	if (n == 0)
		return 0;
	qsort(seen, n, sizeof(*seen), by_name);
	for (size_t i = 0, next; i < n; i = next) {
		/* the first of a name comes from the lowest dir */
		for (next = i + 1; next < n && strcmp(seen[next].name, seen[i].name) == 0;)
			next++;
		if (!seen[i].masked) {
			struct conf_seen tmp = seen[kept];

			seen[kept++] = seen[i];
			seen[i] = tmp;
		}
	}
	return kept;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct conf_span trim(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	while (end > p && is_blank(end[-1]))
		end--;
	return (struct conf_span){ p, (size_t)(end - p) };
}

static bool same(struct conf_span a, struct conf_span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static int quoted(struct conf_span s)
{
	return (int)(s.n < QUOTE_MAX ? s.n : QUOTE_MAX);
}

/* A comment needs a blank before it; anything else was meant to be part of the value. */
static bool value_is_cut(struct conf_span v)
{
	for (size_t i = 1; i < v.n; i++) {
		if (v.p[i] != '#' && v.p[i] != ';')
			continue;
		return !is_blank(v.p[i - 1]);
	}
	return false;
}

struct check {
	const char *path;
	unsigned line;
	struct conf_span section;
	struct conf_keys *to;
};

static int check_setting(struct check *c, struct conf_span line, const char *eq, struct err *e)
{
	struct conf_key k = { c->section, trim(line.p, eq) };
	struct conf_span value = trim(eq + 1, line.p + line.n);

	if (k.name.n == 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s:%u: no name before '='", c->path, c->line);
	if (value_is_cut(value))
		return err_set(e, ERR_INPUT, EINVAL,
			       "%s:%u: %.*s: a value cannot hold '#' or ';' (a comment needs "
			       "a blank before it)",
			       c->path, c->line, quoted(k.name), k.name.p);
	for (size_t i = 0; i < c->to->n; i++) {
		if (same(c->to->key[i].section, k.section) && same(c->to->key[i].name, k.name))
			return err_set(e, ERR_INPUT, EEXIST,
				       "%s:%u: %.*s: is set twice in this file", c->path, c->line,
				       quoted(k.name), k.name.p);
	}
	if (c->to->n == CONF_KEYS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "%s: more than %d settings", c->path,
			       CONF_KEYS_MAX);
	c->to->key[c->to->n++] = k;
	return 0;
}

static int check_line(struct check *c, struct conf_span line, struct err *e)
{
	const char *eq = line.n ? memchr(line.p, '=', line.n) : NULL;

	if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
		return 0;
	if (line.p[0] == '[') {
		const char *end = memchr(line.p, ']', line.n);

		if (end)
			c->section = (struct conf_span){ line.p + 1, (size_t)(end - line.p - 1) };
		return 0;
	}
	if (!eq)
		return err_set(e, ERR_INPUT, EINVAL,
			       "%s:%u: '%.*s' is neither [Section] nor Key=value", c->path, c->line,
			       quoted(line), line.p);
	return check_setting(c, line, eq, e);
}

int conf_layer_scan(const char *text, size_t n, const char *path, struct conf_keys *ret,
		    struct err *e)
{
	struct check c = { .path = path, .to = ret };
	const char *end = text + n;

	ret->n = 0;
	if (n > 0 && memchr(text, '\0', n))
		return err_set(e, ERR_INPUT, EINVAL, "%s: holds a NUL byte, not a text file", path);
	for (const char *p = text; p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		int r;

		if (!nl)
			nl = end;
		c.line++;
		r = check_line(&c, trim(p, nl), e);
		if (r < 0)
			return r;
		p = nl < end ? nl + 1 : end;
	}
	return 0;
}
