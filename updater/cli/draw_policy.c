/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "updater/cli/draw.h"

#define TEXT_MAX 4200

static const char *text_of(const json_t *o, const char *key, char out[TEXT_MAX])
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? text_clean(s, strlen(s), out, TEXT_MAX) : "?";
}

static bool has(const json_t *o, const char *key)
{
	return json_is_string(json_object_get(o, key));
}

int draw_policy(const json_t *policy, int64_t now, struct buf *out, struct err *e)
{
	const json_t *pin = json_object_get(policy, "pin"), *hold = json_object_get(policy, "hold");
	char text[TEXT_MAX], where[TEXT_MAX];
	AUTO_BUF b = BUF_INIT;
	int r;

	(void)now;
	r = json_is_object(pin)
		    ? buf_addf(&b, e, "Pinned to %s (%s).\n", text_of(pin, "version", text),
			       text_of(pin, "where", where))
		    : buf_addf(&b, e, "Not pinned.\n");
	if (r == 0 && json_is_object(hold))
		r = buf_addf(&b, e, "On hold%s%s (%s).\n", has(hold, "reason") ? ": " : "",
			     has(hold, "reason") ? text_of(hold, "reason", text) : "",
			     text_of(hold, "where", where));
	else if (r == 0)
		r = buf_addf(&b, e, "Not on hold.\n");
	return r == 0 ? draw_fold(&b, out, e) : r;
}

int draw_problems(const json_t *config, int64_t now, struct buf *out, struct err *e)
{
	const json_t *problems = json_object_get(config, "problems");
	char text[TEXT_MAX];
	int r = 0;

	(void)now;
	/* FILE:LINE: is not folded, so that editors find it */
	for (size_t i = 0; r == 0 && i < json_array_size(problems); i++) {
		const char *s = json_string_value(json_array_get(problems, i));

		if (s)
			r = buf_addf(out, e, "%s\n", text_clean(s, strlen(s), text, TEXT_MAX));
	}
	if (r == 0 && json_array_size(problems) == 0)
		r = buf_addf(out, e, "No mistakes.\n");
	return r;
}

int draw_settings(const json_t *config, int64_t now, struct buf *out, struct err *e)
{
	const json_t *arr = json_object_get(config, "settings");
	char value[TEXT_MAX], file[TEXT_MAX], section[TEXT_MAX], key[TEXT_MAX], last[TEXT_MAX] = "";
	int r = 0;

	(void)now;
	for (size_t i = 0; r == 0 && i < json_array_size(arr); i++) {
		const json_t *s = json_array_get(arr, i);
		json_int_t line = json_integer_value(json_object_get(s, "line"));

		if (strcmp(last, text_of(s, "section", section)) != 0)
			r = buf_addf(out, e, "%s[%s]\n", i ? "\n" : "", section);
		(void)snprintf(last, sizeof(last), "%s", section);
		if (r == 0)
			r = buf_addf(out, e, "%s=%s", text_of(s, "key", key),
				     has(s, "value") ? text_of(s, "value", value) : "");
		if (r == 0 && has(s, "file"))
			r = buf_addf(out, e, "  # %s:%" PRId64 "\n", text_of(s, "file", file),
				     (int64_t)line);
		else if (r == 0)
			r = buf_addf(out, e, "  # default\n");
	}
	if (r == 0 && json_array_size(arr) == 0)
		r = buf_addf(out, e, "The configuration cannot be read (proactl config check).\n");
	return r;
}

int draw_line(const json_t *status, int64_t now, struct buf *out, struct err *e)
{
	const json_t *job = json_object_get(status, "job");
	char state[TEXT_MAX], v[TEXT_MAX], next[TEXT_MAX], phase[TEXT_MAX], at[32];
	double done = json_number_value(json_object_get(job, "done"));
	double total = json_number_value(json_object_get(job, "total"));
	struct tm tm;
	time_t t = (time_t)now;
	int r;

	if (!localtime_r(&t, &tm) || strftime(at, sizeof(at), "%H:%M:%S", &tm) == 0)
		at[0] = '\0';
	r = buf_addf(out, e, "%s  runs %s, next %s, %s", at,
		     text_of(json_object_get(status, "running"), "version", v),
		     text_of(json_object_get(status, "boots_next"), "version", next),
		     text_of(status, "state", state));
	if (r == 0 && json_is_object(job))
		r = buf_addf(out, e, ", %s %.0f %%%s", text_of(job, "phase", phase),
			     total > 0 ? 100 * (done < total ? done / total : 1) : 0,
			     json_is_true(json_object_get(job, "paused")) ? ", paused" : "");
	return r == 0 ? buf_addf(out, e, "\n") : r;
}
