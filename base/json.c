/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/text.h"

enum { TEXT_BYTES = 160 };

/*
 * Nesting is counted before jansson sees the document, as its parser recurses; and it skips NUL. A
 * string that never ends is left for it to find.
 */
static int check_text(const char *p, size_t n, unsigned max, const char *what, struct err *e)
{
	unsigned depth = 0, line = 1, column = 0;
	bool in_string = false;

	for (size_t i = 0; i < n; i++) {
		column++;
		if (p[i] == '\0')
			return err_set(e, ERR_INPUT, EINVAL, "%s: line %u, column %u: a NUL byte",
				       what, line, column);
		if (p[i] == '\n') {
			line++;
			column = 0;
		} else if (in_string && p[i] == '\\' && i + 1 < n && p[i + 1] != '\0') {
			i++;
			column++;
		} else if (p[i] == '"') {
			in_string = !in_string;
		} else if (!in_string && (p[i] == '[' || p[i] == '{')) {
			if (++depth > max)
				return err_set(e, ERR_INPUT, EINVAL,
					       "%s: line %u, column %u: nested deeper than %u",
					       what, line, column, max);
		} else if (!in_string && (p[i] == ']' || p[i] == '}') && depth > 0) {
			depth--;
		}
	}
	return 0;
}

int json_read(const void *p, size_t n, const struct json_limits *lim, const char *what,
	      json_t **ret, struct err *e)
{
	static const struct json_limits usual = JSON_LIMITS_DEFAULT;
	char clean[TEXT_BYTES];
	json_error_t je;
	json_t *j;
	int r;

	if (!lim)
		lim = &usual;
	if (n > lim->bytes)
		return err_set(e, ERR_INPUT, EFBIG, "%s: %zu bytes of JSON, more than %zu", what, n,
			       lim->bytes);
	if (n == 0)
		return err_set(e, ERR_INPUT, EINVAL, "%s: empty, not JSON", what);
	r = check_text(p, n, lim->depth, what, e);
	if (r < 0)
		return r;
	j = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (!j && json_error_code(&je) == json_error_out_of_memory)
		return err_set(e, ERR_HOST, ENOMEM, "%s: out of memory", what);
	if (!j)
		return err_set(e, ERR_INPUT, EINVAL, "%s: line %d, column %d: %s", what, je.line,
			       je.column,
			       text_clean(je.text, strlen(je.text), clean, sizeof(clean)));
	*ret = j;
	return 0;
}

struct sink {
	struct buf *b;
	struct err *e;
};

static int append(const char *p, size_t n, void *arg)
{
	const struct sink *to = arg;

	return buf_add(to->b, p, n, to->e) < 0 ? -1 : 0;
}

int json_write(const json_t *j, bool pretty, struct buf *b, struct err *e)
{
	struct err inner = ERR_INIT;
	struct sink to = { b, &inner };
	size_t before = b->n;
	size_t flags = JSON_ENCODE_ANY | (pretty ? JSON_INDENT(2) : JSON_COMPACT);

	if (json_dump_callback(j, append, &to, flags) == 0)
		return 0;
	b->n = before;
	if (b->p)
		b->p[before] = '\0';
	if (inner.kind != ERR_NONE)
		return err_set(e, inner.kind, inner.os, "write JSON: %s", inner.text);
	return err_set(e, ERR_BUG, EINVAL, "value cannot be written as JSON");
}

/* *ret is NULL when absent. */
static int member(const json_t *o, const char *key, const char *what, json_t **ret, struct err *e)
{
	if (!json_is_object(o))
		return err_set(e, ERR_INPUT, EINVAL, "%s: must be an object", what);
	*ret = json_object_get(o, key);
	return 0;
}

static int missing(const char *key, const char *what, struct err *e)
{
	return err_set(e, ERR_INPUT, EINVAL, "%s: %s: is missing", what, key);
}

static int wrong(const char *key, const char *what, const char *type, struct err *e)
{
	return err_set(e, ERR_INPUT, EINVAL, "%s: %s: must be %s", what, key, type);
}

int json_get_str_opt(const json_t *o, const char *key, const char *what, const char **ret,
		     struct err *e)
{
	json_t *v;
	int r = member(o, key, what, &v, e);

	if (r < 0)
		return r;
	if (v && !json_is_string(v))
		return wrong(key, what, "a string", e);
	*ret = v ? json_string_value(v) : NULL;
	return 0;
}

int json_get_str(const json_t *o, const char *key, const char *what, const char **ret,
		 struct err *e)
{
	const char *s;
	int r = json_get_str_opt(o, key, what, &s, e);

	if (r < 0)
		return r;
	if (!s)
		return missing(key, what, e);
	*ret = s;
	return 0;
}

static int get_u64(const json_t *v, const char *key, const char *what, uint64_t max, uint64_t *ret,
		   struct err *e)
{
	json_int_t i = json_integer_value(v);

	if (!json_is_integer(v))
		return wrong(key, what, "a whole number", e);
	if (i < 0 || (uint64_t)i > max)
		return err_set(e, ERR_INPUT, ERANGE, "%s: %s: %jd is not between 0 and %ju", what,
			       key, (intmax_t)i, (uintmax_t)max);
	*ret = (uint64_t)i;
	return 0;
}

int json_get_u64(const json_t *o, const char *key, const char *what, uint64_t max, uint64_t *ret,
		 struct err *e)
{
	json_t *v;
	int r = member(o, key, what, &v, e);

	if (r < 0)
		return r;
	if (!v)
		return missing(key, what, e);
	return get_u64(v, key, what, max, ret, e);
}

int json_get_u64_opt(const json_t *o, const char *key, const char *what, uint64_t max, uint64_t def,
		     uint64_t *ret, struct err *e)
{
	json_t *v;
	int r = member(o, key, what, &v, e);

	if (r < 0)
		return r;
	if (v)
		return get_u64(v, key, what, max, ret, e);
	*ret = def;
	return 0;
}

int json_get_bool_opt(const json_t *o, const char *key, const char *what, bool def, bool *ret,
		      struct err *e)
{
	json_t *v;
	int r = member(o, key, what, &v, e);

	if (r < 0)
		return r;
	if (v && !json_is_boolean(v))
		return wrong(key, what, "true or false", e);
	*ret = v ? json_is_true(v) : def;
	return 0;
}

int json_get_obj(const json_t *o, const char *key, const char *what, json_t **ret, struct err *e)
{
	json_t *v;
	int r = member(o, key, what, &v, e);

	if (r < 0)
		return r;
	if (!v)
		return missing(key, what, e);
	if (!json_is_object(v))
		return wrong(key, what, "an object", e);
	*ret = v;
	return 0;
}

int json_get_arr(const json_t *o, const char *key, const char *what, json_t **ret, struct err *e)
{
	json_t *v;
	int r = member(o, key, what, &v, e);

	if (r < 0)
		return r;
	if (!v)
		return missing(key, what, e);
	if (!json_is_array(v))
		return wrong(key, what, "an array", e);
	*ret = v;
	return 0;
}

int json_get_hex(const json_t *o, const char *key, const char *what, uint8_t *ret, size_t n,
		 struct err *e)
{
	char name[TEXT_BYTES];
	const char *s;
	int r = json_get_str(o, key, what, &s, e);

	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "%s: %s", what, key);
	return hex_parse(s, name, ret, n, e);
}

int json_get_time(const json_t *o, const char *key, const char *what, int64_t *ret, struct err *e)
{
	char name[TEXT_BYTES];
	const char *s;
	int r = json_get_str(o, key, what, &s, e);

	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "%s: %s", what, key);
	return num_parse_time(s, name, ret, e);
}

int json_put(json_t *o, const char *key, json_t *value, struct err *e)
{
	/* takes value also when it fails, and takes NULL as failure */
	if (json_object_set_new(o, key, value) < 0)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return 0;
}

int json_put_str(json_t *o, const char *key, const char *value, struct err *e)
{
	AUTO_FREE char *clean = NULL;
	json_t *v = json_string(value);
	size_t n = strlen(value);

	if (v)
		return json_put(o, key, v, e);
	/* not UTF-8, say a script's output: better marked than not told at all */
	clean = malloc(n + 1);
	if (!clean)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return json_put(o, key, json_string(text_clean(value, n, clean, n + 1)), e);
}

int json_put_u64(json_t *o, const char *key, uint64_t value, struct err *e)
{
	if (value > INT64_MAX)
		return err_set(e, ERR_BUG, ERANGE, "%s: %ju does not fit into JSON", key,
			       (uintmax_t)value);
	return json_put(o, key, json_integer((json_int_t)value), e);
}

int json_put_hex(json_t *o, const char *key, const uint8_t *p, size_t n, struct err *e)
{
	AUTO_FREE char *s = n < SIZE_MAX / 2 ? malloc(2 * n + 1) : NULL;

	if (!s)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	hex_format(p, n, s);
	return json_put(o, key, json_string(s), e);
}

int json_put_time(json_t *o, const char *key, int64_t t, struct err *e)
{
	char s[NUM_TIME_MAX];

	num_format_time(t, s);
	return json_put(o, key, json_string(s), e);
}

int json_push(json_t *arr, json_t *value, struct err *e)
{
	if (json_array_append_new(arr, value) < 0)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return 0;
}
