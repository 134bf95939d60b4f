/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/json.h"

/* A scanner for documents that were accepted before: it checks bounds, not syntax. */

struct scan {
	const char *p;
	size_t n, i;
};

static int peek(const struct scan *s)
{
	return s->i < s->n ? (unsigned char)s->p[s->i] : -1;
}

static void skip_space(struct scan *s)
{
	while (s->i < s->n && strchr(" \t\r\n", s->p[s->i]) && s->p[s->i] != '\0')
		s->i++;
}

/* At the opening quote; ends behind the closing one. */
static void skip_string(struct scan *s)
{
	s->i++;
	while (s->i < s->n && s->p[s->i] != '"')
		s->i += s->p[s->i] == '\\' ? 2 : 1;
	s->i++;
}

static void skip_value(struct scan *s)
{
	size_t depth = 0;

	do {
		int c;

		skip_space(s);
		c = peek(s);
		if (c == '"') {
			skip_string(s);
		} else if (c == '{' || c == '[') {
			depth++;
			s->i++;
		} else if (c == '}' || c == ']') {
			depth -= depth > 0;
			s->i++;
		} else {
			do
				s->i++;
			while (depth == 0 && s->i < s->n && !strchr(",]} \t\r\n", s->p[s->i]));
		}
	} while (depth > 0 && s->i < s->n);
}

/* Is the string at `from` up to `to`, quotes and all, that key? */
static bool same_key(const struct scan *s, size_t from, size_t to, const char *key)
{
	AUTO_JSON *j = NULL;
	size_t n = strlen(key);

	if (to > s->n || to < from + 2)
		return false;
	if (!memchr(s->p + from, '\\', to - from))
		return to - from - 2 == n && memcmp(s->p + from + 1, key, n) == 0;
	j = json_loadb(s->p + from, to - from, JSON_DECODE_ANY, NULL);
	return json_is_string(j) && strcmp(json_string_value(j), key) == 0;
}

/* From an opening bracket to the value of that step; false: it is not there. */
static bool enter(struct scan *s, const struct json_step *step)
{
	if (peek(s) != (step->key ? '{' : '['))
		return false;
	s->i++;
	for (size_t k = 0;; k++) {
		size_t from;

		skip_space(s);
		from = s->i;
		if (step->key) {
			if (peek(s) != '"')
				return false;
			skip_string(s);
			if (same_key(s, from, s->i, step->key))
				break;
			skip_space(s);
			s->i++; /* : */
		} else if (peek(s) == ']' || k == step->index) {
			return peek(s) != ']';
		}
		skip_value(s);
		skip_space(s);
		if (peek(s) != ',')
			return false;
		s->i++;
	}
	skip_space(s);
	s->i++; /* : */
	skip_space(s);
	return s->i < s->n;
}

void json_locate(const char *p, size_t n, const struct json_step *step, size_t steps,
		 unsigned *ret_line, unsigned *ret_column)
{
	struct scan s = { .p = p, .n = n };
	unsigned line = 1, column = 1;
	size_t at;

	skip_space(&s);
	at = s.i;
	for (size_t k = 0; k < steps && enter(&s, &step[k]); k++)
		at = s.i;
	for (size_t i = 0; i < at && i < n; i++) {
		if (p[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)p[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}
