/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "updater/cli/draw.h"

#define TEXT_MAX 512

static const char *text_of(const json_t *o, const char *key, char out[TEXT_MAX])
{
	const char *s = json_string_value(json_object_get(o, key));

	return text_clean(s ? s : "?", s ? strlen(s) : 1, out, TEXT_MAX);
}

static bool is(const json_t *o, const char *key, const char *value)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && strcmp(s, value) == 0;
}

static const char *when_of(const json_t *o, int64_t now, char out[64])
{
	const char *s = json_string_value(json_object_get(o, "when"));
	int64_t t;

	if (!s || num_parse_time(s, "when", &t, NULL) < 0)
		return "?";
	return text_time(t, now, out, 64);
}

static int draw_output(const json_t *check, struct buf *out, struct err *e)
{
	const char *s = json_string_value(json_object_get(check, "output"));
	char line[TEXT_MAX];
	int r = 0;

	for (size_t n; r == 0 && s && *s; s += n + (s[n] == '\n')) {
		n = strcspn(s, "\n");
		r = buf_addf(out, e, "            | %s\n", text_clean(s, n, line, 67));
	}
	return r;
}

/* The name stands in a column of its own; reason begins with it. */
static const char *reason_of(const json_t *check, const char *name, char out[TEXT_MAX])
{
	size_t n = strlen(name);
	const char *s = text_of(check, "reason", out);

	if (is(check, "end", "passed"))
		return "passed";
	if (strncmp(s, name, n) != 0)
		return s;
	return s + n + strspn(s + n, ",: ");
}

static int draw_checks(const json_t *result, bool passed, struct buf *out, struct err *e)
{
	const json_t *arr = json_object_get(result, "checks");
	char name[TEXT_MAX], reason[TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(arr); i++) {
		const json_t *c = json_array_get(arr, i);

		if (!passed && (is(c, "end", "passed") || is(c, "end", "skipped")))
			continue;
		(void)text_of(c, "name", name);
		r = buf_addf(out, e, "  %-8s  %-24s  %s\n",
			     json_is_true(json_object_get(c, "required")) ? "required" : "wanted",
			     name, reason_of(c, name, reason));
		if (r == 0)
			r = draw_output(c, out, e);
	}
	return r;
}

static int draw_head(const json_t *result, int64_t now, struct buf *out, struct err *e)
{
	const json_t *arr = json_object_get(result, "checks");
	char version[TEXT_MAX], reason[TEXT_MAX], when[64], took[32];
	size_t n = json_array_size(arr), good = 0;
	json_int_t s = json_integer_value(json_object_get(result, "took"));

	for (size_t i = 0; i < n; i++)
		good += is(json_array_get(arr, i), "end", "passed");
	(void)text_of(result, "version", version);
	if (is(result, "verdict", "healthy"))
		return buf_addf(out, e, "%s is healthy: %zu of %zu checks passed in %s, %s.\n",
				version, good, n,
				text_duration(s > 0 ? (uint64_t)s : 0, took, sizeof(took)),
				when_of(result, now, when));
	return buf_addf(out, e, "%s is not healthy, %s: %s.\n", version, when_of(result, now, when),
			text_of(result, "reason", reason));
}

static int draw_rest(const json_t *result, struct buf *out, struct err *e)
{
	char why[TEXT_MAX];

	if (is(result, "verdict", "falls-back"))
		return buf_addf(out, e, "The host went back to the release before.\n");
	if (is(result, "verdict", "stays"))
		return buf_addf(out, e, "The host stays up: %s.\n", text_of(result, "stays", why));
	return 0;
}

static int draw_result(const json_t *result, bool passed, int64_t now, struct buf *out,
		       struct err *e)
{
	int r = draw_head(result, now, out, e);

	if (r == 0)
		r = draw_rest(result, out, e);
	if (r == 0 && json_array_size(json_object_get(result, "checks")) > 0)
		r = buf_addf(out, e, "\n");
	return r == 0 ? draw_checks(result, passed, out, e) : r;
}

static int health_text(const json_t *health, int64_t now, struct buf *out, struct err *e)
{
	const json_t *last = json_object_get(health, "last");
	const json_t *failed = json_object_get(health, "failed");
	const json_t *boot = json_object_get(health, "boot_id");
	int r = 0;

	if (!json_is_object(last))
		return buf_addf(out, e,
				"No health checks have run here yet (proa-health.service).\n");
	if (json_is_string(boot) && json_string_value(boot)[0] &&
	    !is(last, "boot_id", json_string_value(boot)))
		r = buf_addf(out, e,
			     "The checks of this boot have not ended. Of the boot before:\n\n");
	if (r == 0)
		r = draw_result(last, true, now, out, e);
	if (r < 0 || !json_is_object(failed) ||
	    json_equal(json_object_get(failed, "boot_id"), json_object_get(last, "boot_id")))
		return r;
	r = buf_addf(out, e, "\nThe last time it was not so:\n\n");
	return r == 0 ? draw_result(failed, false, now, out, e) : r;
}

int draw_health(const json_t *health, int64_t now, struct buf *out, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = health_text(health, now, &b, e);

	return r == 0 ? draw_fold(&b, out, e) : r;
}
