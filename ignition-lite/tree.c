/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

const char *ign_str(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

const char *ign_str_set(const json_t *o, const char *key)
{
	const char *s = ign_str(o, key);

	return s && *s ? s : NULL;
}

bool ign_int(const json_t *o, const char *key, json_int_t *ret)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v))
		return false;
	*ret = json_integer_value(v);
	return true;
}

bool ign_true(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

bool ign_false(const json_t *o, const char *key)
{
	return json_is_false(json_object_get(o, key));
}

size_t ign_len(const json_t *o, const char *key)
{
	return json_array_size(json_object_get(o, key));
}

/* From the root; returns how many there are. */
static size_t steps_of(const struct ign_at *at, const char *key,
		       struct json_step step[IGN_DEPTH_MAX])
{
	size_t n = key ? 1 : 0, i;

	for (const struct ign_at *a = at; a->up; a = a->up)
		n++;
	if (n > IGN_DEPTH_MAX)
		return 0; /* deeper than the schema */
	i = n;
	if (key)
		step[--i] = (struct json_step){ .key = key };
	for (const struct ign_at *a = at; a->up; a = a->up)
		step[--i] = (struct json_step){ .key = a->key, .index = a->index };
	return n;
}

static void write_path(char *out, size_t cap, const struct json_step *step, size_t n)
{
	char clean[64];
	size_t at = (size_t)snprintf(out, cap, "$");

	for (size_t i = 0; i < n && at < cap; i++) {
		int r;

		if (step[i].key)
			r = snprintf(
				out + at, cap - at, ".%s",
				text_clean(step[i].key, strlen(step[i].key), clean, sizeof(clean)));
		else
			r = snprintf(out + at, cap - at, ".%zu", step[i].index);
		at += r > 0 ? (size_t)r : 0;
	}
}

int ign_say(struct ign_read *r, enum ign_issue_kind kind, const struct ign_at *at, const char *key,
	    struct err *e, const char *fmt, ...)
{
	struct json_step step[IGN_DEPTH_MAX];
	struct ign_issue issue = { .kind = kind };
	size_t n = steps_of(at, key, step);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(issue.text, sizeof(issue.text), fmt, ap);
	va_end(ap);
	write_path(issue.path, sizeof(issue.path), step, n);
	/* finding the place reads the text from its start, so not for what is only counted */
	if (r->text && r->report->count[kind] < IGN_ISSUES_MAX)
		json_locate(r->text, r->n, step, n, &issue.line, &issue.column);
	return ign_report_add(r->report, &issue, e);
}
