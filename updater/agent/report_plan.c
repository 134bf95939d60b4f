/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/text.h"
#include "updater/agent/report.h"

static const char *way_name(enum act_way w)
{
	static const char *const names[] = {
		[ACT_WAY_NONE] = "none",
		[ACT_WAY_DELTA] = "delta",
		[ACT_WAY_ANY_BASE] = "any-base",
		[ACT_WAY_FULL] = "full",
	};

	return names[w];
}

static int put_part(json_t *o, const char *key, const struct act_part *p, struct err *e)
{
	json_t *j = json_object();
	int r = json_put(o, key, j, e);

	if (r == 0)
		r = json_put_str(j, "way", way_name(p->way), e);
	if (r == 0)
		r = json_put_u64(j, "fetch", p->fetch, e);
	if (r == 0)
		r = json_put_u64(j, "requests", p->requests, e);
	if (r == 0)
		r = p->why[0] ? json_put_str(j, "why", p->why, e)
			      : json_put(j, "why", json_null(), e);
	return r;
}

int report_plan(json_t *o, const struct act_result *res, struct err *e)
{
	const struct act_plan *p = &res->plan;
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "fetched", p->fetched }, { "fetch", p->fetch },   { "requests", p->requests },
		{ "copy", p->copy },       { "zero", p->zero },     { "keep", p->keep },
		{ "write", p->write },     { "memory", p->memory },
	};
	json_t *j = json_object();
	int r = json_put(o, "plan", j, e);

	if (r == 0)
		r = put_part(j, "usr", &p->usr, e);
	if (r == 0)
		r = put_part(j, "uki", &p->uki, e);
	if (r == 0)
		r = json_put(j, "uki_late", json_boolean(p->uki_late), e);
	for (size_t i = 0; r == 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		r = json_put_u64(j, numbers[i].key, numbers[i].value, e);
	return r;
}

int report_waits(json_t *decision, const char *version, const struct act_result *res,
		 uint64_t max_fetch, struct err *e)
{
	char text[ACT_WHY_MAX + 160], wants[32], may[32];
	json_t *j = json_object();
	int r = json_put_str(decision, "verdict", "blocked", e);

	if (r < 0) {
		json_decref(j);
		return r;
	}
	(void)snprintf(
		text, sizeof(text),
		"it would fetch %s and MaxDownload= allows %s%s%s (proactl update --any-size)",
		text_bytes(res->wants, wants, sizeof(wants)),
		text_bytes(max_fetch, may, sizeof(may)), res->why[0] ? ": " : "", res->why);
	r = json_push(json_object_get(decision, "reasons"), j, e);
	if (r == 0)
		r = json_put_str(j, "code", "max-download", e);
	if (r == 0)
		r = json_put_str(j, "version", version, e);
	if (r == 0)
		r = json_put(j, "until", json_null(), e);
	if (r == 0)
		r = json_put_str(j, "text", text, e);
	if (r == 0)
		r = json_put_u64(decision, "wants", res->wants, e);
	return r;
}
