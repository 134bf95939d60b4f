/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "updater/agent/report.h"

static int put_when(json_t *o, const char *key, int64_t t, struct err *e)
{
	return t ? json_put_time(o, key, t, e) : json_put(o, key, json_null(), e);
}

static int put_reasons(const struct reboot_next *next, json_t *o, struct err *e)
{
	json_t *arr = json_array();
	int r = json_put(o, "reasons", arr, e);

	for (size_t i = 0; r == 0 && i < next->n; i++) {
		const struct reboot_reason *q = &next->reason[i];
		json_t *j = json_object();

		r = json_push(arr, j, e);
		if (r == 0)
			r = json_put_str(j, "code", reboot_why_name(q->why), e);
		if (r == 0)
			r = json_put_str(j, "text", q->text, e);
		if (r == 0)
			r = put_when(j, "until", q->until, e);
	}
	return r;
}

/* The place that this host has, or may have. */
static int put_lock(const struct reboot_memo *m, json_t *o, struct err *e)
{
	const struct reboot_place *p = &m->place;
	json_t *j = m->lock ? json_object() : json_null();
	int r = json_put(o, "lock", j, e);

	if (r < 0 || !m->lock)
		return r;
	r = json_put_str(j, "type", p->terms.kind == LOCK_ETCD ? "etcd" : "fleetlock", e);
	if (r == 0)
		r = json_put_str(j, "url", p->url, e);
	if (r == 0)
		r = json_put_str(j, "group", p->terms.group, e);
	return r < 0 ? r : json_put_str(j, "id", p->terms.id, e);
}

static const char *verdict(const struct reboot_next *next, bool going)
{
	if (going)
		return "rebooting";
	if (next->n > 0)
		return "waits";
	return next->step == REBOOT_NOTHING || next->step == REBOOT_WAIT ? "nothing" : "ready";
}

int report_reboot(const struct reboot_memo *m, const struct reboot_next *next, bool going,
		  uint32_t delay_s, json_t *status, struct err *e)
{
	json_t *o = json_object();
	int r = json_put(status, "reboot_wait", o, e);

	if (r == 0)
		r = json_put_str(o, "verdict", verdict(next, going), e);
	if (r == 0)
		r = put_reasons(next, o, e);
	if (r == 0)
		r = put_when(o, "look", next->look, e);
	if (r == 0)
		r = json_put_u64(o, "delay", delay_s, e);
	return r < 0 ? r : put_lock(m, o, e);
}

int report_reboot_error(const char *text, json_t *status, struct err *e)
{
	json_t *o = json_object();
	int r = json_put(status, "reboot_wait", o, e);

	if (r == 0)
		r = json_put_str(o, "verdict", "waits", e);
	return r < 0 ? r : json_put_str(o, "error", text, e);
}

int report_hook(json_t *decision, const char *version, const char *text, struct err *e)
{
	json_t *reasons = json_object_get(decision, "reasons"), *j = json_object();
	int r = json_put_str(decision, "verdict", "blocked", e);

	if (r < 0) {
		json_decref(j);
		return r;
	}
	r = json_push(reasons, j, e);
	if (r == 0)
		r = json_put_str(j, "code", "hook", e);
	if (r == 0)
		r = json_put_str(j, "version", version, e);
	if (r == 0)
		r = json_put(j, "until", json_null(), e);
	return r < 0 ? r : json_put_str(j, "text", text, e);
}
