/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "updater/cli/draw.h"

#define TEXT_MAX 512

static const char *member(const json_t *o, const char *key, char out[TEXT_MAX])
{
	const char *s = json_string_value(json_object_get(o, key));

	return text_clean(s ? s : "?", s ? strlen(s) : 1, out, TEXT_MAX);
}

/* "21 Nov 02:00 +0100, in 3 h"; 0 when it is not there. */
static bool moment(const json_t *o, const char *key, int64_t now, char out[160])
{
	const char *s = json_string_value(json_object_get(o, key));
	char at[64], span[64];
	int64_t t;

	if (!s || num_parse_time(s, key, &t, NULL) < 0)
		return false;
	(void)text_time(t, now, at, sizeof(at));
	(void)snprintf(out, 160, "%s%s%s", at, t > now ? ", in " : "",
		       t > now ? text_duration((uint64_t)(t - now), span, sizeof(span)) : "");
	return true;
}

static bool is(const json_t *o, const char *key, const char *value)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && strcmp(s, value) == 0;
}

static int draw_reason(const json_t *j, size_t i, size_t n, int64_t now, struct buf *out,
		       struct err *e)
{
	char text[TEXT_MAX], at[160];
	bool until = moment(j, "until", now, at);

	/* a retry is when we ask again, not when the reason ends */
	return buf_addf(out, e, "  %zu. %s%s%s%s\n", i + 1, member(j, "text", text),
			!until                    ? ""
			: is(j, "code", "window") ? "; opens "
						  : "; tried again ",
			until ? at : "", i + 1 < n ? ";" : ".");
}

int draw_wait(const json_t *wait, int64_t now, struct buf *out, struct err *e)
{
	const json_t *reasons = json_object_get(wait, "reasons");
	size_t n = json_array_size(reasons);
	char text[TEXT_MAX], at[160];
	int r = 0;

	if (json_is_string(json_object_get(wait, "error")))
		return buf_addf(out, e, "  1. %s.\n", member(wait, "error", text));
	for (size_t i = 0; r == 0 && i < n; i++)
		r = draw_reason(json_array_get(reasons, i), i, n, now, out, e);
	if (r == 0 && moment(wait, "look", now, at))
		r = buf_addf(out, e, "Looks again %s.\n", at);
	return r;
}

int draw_rebooting(const json_t *result, int64_t now, struct buf *out, struct err *e)
{
	json_int_t delay = json_integer_value(json_object_get(result, "delay"));
	AUTO_BUF b = BUF_INIT;
	char span[64];
	int r;

	if (is(result, "verdict", "rebooting") && delay > 0)
		return buf_addf(out, e, "reboots in %s, as people are logged in\n",
				text_duration((uint64_t)delay, span, sizeof(span)));
	if (is(result, "verdict", "rebooting"))
		return buf_addf(out, e, "reboots now\n");
	if (is(result, "verdict", "nothing"))
		return buf_addf(out, e, "nothing to reboot for\n");
	r = buf_addf(&b, e, "No reboot now, because\n");
	if (r == 0)
		r = draw_wait(result, now, &b, e);
	return r == 0 ? draw_fold(&b, out, e) : r;
}
