/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/tuf/canon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct frame {
	const json_t *j;
	const char **keys; /* of an object, sorted */
	size_t i, n;
};

struct stack {
	unsigned n;
	struct frame f[TUF_DEPTH_MAX];
};

static void stack_done(struct stack *s)
{
	while (s->n > 0)
		free((void *)s->f[--s->n].keys);
}

/* strcmp() compares bytes as unsigned, and UTF-8 bytes order as their code points do. */
static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int sort_keys(struct frame *f, struct err *e)
{
	size_t n = json_object_size(f->j), i = 0;
	/* jansson's iterators take no const, but only read */
	union {
		const json_t *given;
		json_t *o;
	} u = { .given = f->j };

	f->keys = calloc(n ? n : 1, sizeof(*f->keys));
	if (!f->keys)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (void *it = json_object_iter(u.o); it && i < n; it = json_object_iter_next(u.o, it))
		f->keys[i++] = json_object_iter_key(it);
	f->n = i;
	qsort((void *)f->keys, i, sizeof(*f->keys), compare_keys);
	return 0;
}

static int put_string(const char *s, size_t n, struct buf *out, struct err *e)
{
	size_t from = 0;
	int r;

	r = buf_add(out, "\"", 1, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (s[i] != '"' && s[i] != '\\')
			continue;
		r = buf_add(out, s + from, i - from, e);
		if (r >= 0)
			r = buf_add(out, "\\", 1, e);
		from = i;
	}
	if (r >= 0)
		r = buf_add(out, s + from, n - from, e);
	return r < 0 ? r : buf_add(out, "\"", 1, e);
}

static int put_scalar(const json_t *j, struct buf *out, struct err *e)
{
	switch (json_typeof(j)) {
	case JSON_STRING:
		return put_string(json_string_value(j), json_string_length(j), out, e);
	case JSON_INTEGER:
		return buf_addf(out, e, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
	case JSON_TRUE:
		return buf_add(out, "true", 4, e);
	case JSON_FALSE:
		return buf_add(out, "false", 5, e);
	case JSON_NULL:
		return buf_add(out, "null", 4, e);
	case JSON_REAL:
	case JSON_OBJECT:
	case JSON_ARRAY:
		break;
	}
	return err_set(e, ERR_INPUT, EINVAL, "numbers must be integers, this one has a fraction");
}

static int push(struct stack *s, const json_t *j, struct buf *out, struct err *e)
{
	struct frame *f = &s->f[s->n];
	int r = 0;

	if (s->n >= TUF_DEPTH_MAX)
		return err_set(e, ERR_INPUT, EINVAL, "nested deeper than %d levels", TUF_DEPTH_MAX);
	*f = (struct frame){ .j = j };
	if (json_is_object(j))
		r = sort_keys(f, e);
	else
		f->n = json_array_size(j);
	if (r < 0)
		return r;
	s->n++;
	return buf_add(out, json_is_object(j) ? "{" : "[", 1, e);
}

/* Comma and key of the frame's next member, which it yields. */
static int step(struct frame *f, struct buf *out, const json_t **ret, struct err *e)
{
	int r = 0;

	if (f->i > 0)
		r = buf_add(out, ",", 1, e);
	if (r >= 0 && f->keys) {
		r = put_string(f->keys[f->i], strlen(f->keys[f->i]), out, e);
		if (r >= 0)
			r = buf_add(out, ":", 1, e);
	}
	if (r < 0)
		return r;
	*ret = f->keys ? json_object_get(f->j, f->keys[f->i]) : json_array_get(f->j, f->i);
	f->i++;
	return 0;
}

int tuf_canon(const json_t *j, struct buf *out, struct err *e)
{
	__attribute__((cleanup(stack_done))) struct stack s = { .n = 0 };
	const json_t *next = j;

	for (;;) {
		struct frame *f;
		int r;

		if (next) {
			r = json_is_object(next) || json_is_array(next) ? push(&s, next, out, e)
									: put_scalar(next, out, e);
			next = NULL;
		} else {
			f = &s.f[s.n - 1];
			if (f->i < f->n) {
				r = step(f, out, &next, e);
			} else {
				r = buf_add(out, f->keys ? "}" : "]", 1, e);
				free((void *)f->keys);
				s.n--;
			}
		}
		if (r < 0)
			return r;
		if (!next && s.n == 0)
			return 0;
	}
}
