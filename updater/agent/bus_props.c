/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/progress.h"
#include "base/text.h"
#include "updater/agent/bus_steps.h"

#define FRESH_MS 1000u /* GetAll asks for one property after the other */

/* What a property is called, and where in the answer of Explain it stands. */
static const struct prop {
	const char *name;
	char type; /* s, b; t: a time, in seconds since 1970; a: the texts in an array, as */
	const char *of, *key, *member;
} props[] = {
	{ "State", 's', NULL, "state", NULL },
	{ "RunningVersion", 's', "running", "version", NULL },
	{ "RunningSlot", 's', "running", "slot", NULL },
	{ "RootHash", 's', "running", "root_hash", NULL },
	{ "Good", 'b', "running", "good", NULL },
	{ "StagedVersion", 's', "staged", "version", NULL },
	{ "NextBootVersion", 's', "boots_next", "version", NULL },
	{ "NewestVersion", 's', NULL, "newest", NULL },
	{ "Channel", 's', NULL, "channel", NULL },
	{ "Mode", 's', NULL, "mode", NULL },
	{ "Reboot", 's', NULL, "reboot", NULL },
	{ "Pin", 's', "pin", "version", NULL },
	{ "Hold", 'b', NULL, "held", NULL },
	{ "HoldReason", 's', "hold", "reason", NULL },
	{ "FailedVersions", 'a', NULL, "failed", "version" },
	{ "Verdict", 's', "decision", "verdict", NULL },
	{ "Reasons", 'a', "decision", "reasons", "text" },
	{ "LastCheck", 't', NULL, "last_check", NULL },
	{ "LastCheckOk", 't', NULL, "last_check_ok", NULL },
	{ "LastError", 's', NULL, "last_error", NULL },
	{ "NextCheck", 't', NULL, "next_check", NULL },
	{ "Job", 's', "job", "verb", NULL },
	{ "Paused", 'b', "job", "paused", NULL },
};
#define N_PROPS (sizeof(props) / sizeof(props[0]))

/* What `proactl status` and the last decision say, in one object. */
static int read_all(struct bus *b, json_t **ret, struct err *e)
{
	AUTO_JSON *why = NULL;
	AUTO_JSON *status = NULL;
	const char *phase;
	json_t *target;
	int r = agent_explain(b->agent, &why, NULL);

	if (r == 0)
		status = json_incref(json_object_get(why, "status"));
	else
		r = agent_describe(b->agent, &status, e);
	if (r < 0)
		return r;
	target = json_object_get(status, "target");
	phase = json_string_value(json_object_get(target, "phase"));
	if (phase && strcmp(phase, "staged") == 0)
		r = json_put(status, "staged", json_incref(target), e);
	if (r == 0)
		r = json_put(status, "held",
			     json_boolean(json_is_object(json_object_get(status, "hold"))), e);
	if (r == 0 && json_object_get(why, "decision"))
		r = json_put(status, "decision", json_incref(json_object_get(why, "decision")), e);
	if (r < 0)
		return r;
	*ret = json_incref(status);
	return 0;
}

static const json_t *value_of(const json_t *all, const struct prop *p)
{
	return json_object_get(p->of ? json_object_get(all, p->of) : all, p->key);
}

static int refresh(struct bus *b, struct err *e)
{
	uint64_t now = clock_mono_ms();
	json_t *all = NULL;
	int r;

	if (b->props && now - b->props_ms < FRESH_MS)
		return 0;
	r = read_all(b, &all, e);
	if (r < 0)
		return r;
	json_decref(b->props);
	b->props = all;
	b->props_ms = now;
	return 0;
}

static int append_texts(sd_bus_message *reply, const json_t *arr, const char *member)
{
	int r = sd_bus_message_open_container(reply, 'a', "s");

	for (size_t i = 0; r >= 0 && i < json_array_size(arr); i++) {
		const char *s = json_string_value(json_object_get(json_array_get(arr, i), member));

		r = sd_bus_message_append(reply, "s", s ? s : "");
	}
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append(sd_bus_message *reply, const struct prop *p, const json_t *v)
{
	const char *s = json_string_value(v);
	int64_t t = 0;

	if (p->type == 'b')
		return sd_bus_message_append(reply, "b", json_is_true(v));
	if (p->type == 'a')
		return append_texts(reply, v, p->member);
	if (p->type == 's')
		return sd_bus_message_append(reply, "s", s ? s : "");
	if (!s || num_parse_time(s, p->name, &t, NULL) < 0)
		t = 0;
	return sd_bus_message_append(reply, "t", (uint64_t)t);
}

int bus_props_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		  sd_bus_message *reply, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;
	struct err e = ERR_INIT;
	char text[sizeof(e.text)];

	(void)bus;
	(void)path;
	(void)interface;
	if (refresh(b, &e) < 0)
		return sd_bus_error_setf(error, "org.proa.Error.Host", "%s",
					 text_clean(e.text, strlen(e.text), text, sizeof(text)));
	for (size_t i = 0; i < N_PROPS; i++)
		if (strcmp(props[i].name, property) == 0)
			return append(reply, &props[i], value_of(b->props, &props[i]));
	return sd_bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_PROPERTY, "no property %s", property);
}

void bus_props_changed(struct bus *b)
{
	char copy[N_PROPS][24], *names[N_PROPS + 1]; /* sd-bus wants them so */
	AUTO_JSON *was = json_incref(b->props);
	size_t n = 0;

	b->props_ms = clock_mono_ms() - FRESH_MS;
	if (refresh(b, NULL) < 0)
		return;
	for (size_t i = 0; i < N_PROPS; i++) {
		const json_t *x = value_of(was, &props[i]), *y = value_of(b->props, &props[i]);

		if (!was || (x && y ? !json_equal(x, y) : x != y))
			(void)snprintf(copy[n], sizeof(copy[n]), "%s", props[i].name);
		else
			continue;
		names[n] = copy[n];
		n++;
	}
	names[n] = NULL;
	if (n > 0)
		(void)sd_bus_emit_properties_changed_strv(b->bus, BUS_PATH, BUS_INTERFACE, names);
}
