/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/text.h"
#include "updater/cli/draw.h"

#define TEXT_MAX 512

static const char *member(const json_t *o, const char *key, char out[TEXT_MAX])
{
	const char *s = json_string_value(json_object_get(o, key));

	return text_clean(s ? s : "?", s ? strlen(s) : 1, out, TEXT_MAX);
}

static const char *bytes(const json_t *o, const char *key, char out[32])
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return text_bytes(v > 0 ? (uint64_t)v : 0, out, 32);
}

/* What a person calls the ways of updater/agent/act.h. */
static const char *way(const json_t *part)
{
	static const char *const words[][2] = {
		{ "none", "is here" },
		{ "delta", "by delta" },
		{ "any-base", "blocks of what runs, the rest from the full image" },
		{ "full", "the full image" },
	};
	const char *s = json_string_value(json_object_get(part, "way"));

	for (size_t i = 0; s && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(s, words[i][0]) == 0)
			return words[i][1];
	return "?";
}

static int draw_part(const json_t *plan, const char *key, const char *name, struct buf *out,
		     struct err *e)
{
	const json_t *part = json_object_get(plan, key);
	const char *why = json_string_value(json_object_get(part, "why"));
	char n[32], text[TEXT_MAX];
	int r = buf_addf(out, e, "  %-9s %10s  %s%s\n", name, bytes(part, "fetch", n), way(part),
			 strcmp(key, "uki") == 0 && json_is_true(json_object_get(plan, "uki_late"))
				 ? ", made when /usr is proved"
				 : "");

	if (r == 0 && why)
		r = buf_addf(out, e, "  %22s%s\n", "", member(part, "why", text));
	return r;
}

static int plan_text(const json_t *j, struct buf *out, struct err *e)
{
	static const char *const lines[][3] = {
		{ "fetched", "planning", "fetched to say this" },
		{ "copy", "copy", "from what runs" },
		{ "keep", "keep", "in the slot already, proved" },
		{ "write", "write", "at most" },
		{ "memory", "memory", "of proad, at most" },
	};
	const json_t *plan = json_object_get(j, "plan");
	char version[TEXT_MAX], running[TEXT_MAX], slot[TEXT_MAX], n[32];
	int r;

	(void)member(j, "version", version);
	if (json_is_true(json_object_get(j, "nothing")))
		return buf_addf(out, e, "%s is staged already\n", version);
	r = buf_addf(out, e, "%s -> %s, slot %s: %s to fetch. Nothing was changed.\n",
		     json_is_string(json_object_get(j, "running")) ? member(j, "running", running)
								   : "nothing",
		     version, member(j, "slot", slot), bytes(plan, "fetch", n));
	if (r == 0)
		r = draw_part(plan, "usr", "/usr", out, e);
	if (r == 0)
		r = draw_part(plan, "uki", "UKI", out, e);
	for (size_t i = 0; r == 0 && i < sizeof(lines) / sizeof(lines[0]); i++)
		r = buf_addf(out, e, "  %-9s %10s  %s\n", lines[i][1], bytes(plan, lines[i][0], n),
			     lines[i][2]);
	return r == 0 ? buf_addf(out, e, "  %-9s %10lld\n", "requests",
				 (long long)json_integer_value(json_object_get(plan, "requests")))
		      : r;
}

int draw_plan(const json_t *plan, struct buf *out, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = plan_text(plan, &b, e);

	return r == 0 ? draw_fold(&b, out, e) : r;
}
