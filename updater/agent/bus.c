/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/bus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/text.h"

#define SIGNAL_STEP_MS 100u
#define NOTE_STEP_MS   100u
#define NOTES_BURST    32u

static int reply_error(sd_bus_message *m, const struct err *e)
{
	static const char *const names[] = {
		[ERR_NONE] = "org.proa.Error.Bug",        [ERR_RETRY] = "org.proa.Error.Retry",
		[ERR_REFUSED] = "org.proa.Error.Refused", [ERR_INPUT] = "org.proa.Error.Input",
		[ERR_HOST] = "org.proa.Error.Host",       [ERR_BUG] = "org.proa.Error.Bug",
	};
	const char *name = names[e->kind];
	char text[sizeof(e->text)];

	if (e->os == ECANCELED)
		name = "org.proa.Error.Cancelled";
	else if (e->os == EBUSY && e->kind == ERR_RETRY)
		name = "org.proa.Error.Busy";

	/* what came from outside may not be UTF-8, which the bus would refuse */
	return sd_bus_reply_method_errorf(m, name, "%s",
					  text_clean(e->text, strlen(e->text), text, sizeof(text)));
}

static int reply_json(sd_bus_message *m, const json_t *j)
{
	AUTO_BUF b = BUF_INIT;
	struct err e = ERR_INIT;

	if (json_write(j, false, &b, &e) < 0)
		return reply_error(m, &e);
	return sd_bus_reply_method_return(m, "s", b.p);
}

static int take_verb(struct bus *b, enum agent_verb v, const char *arg, sd_bus_message *m)
{
	if (b->verb != AGENT_NONE)
		return sd_bus_reply_method_errorf(
			m, "org.proa.Error.Busy",
			"busy with %s: wait for it (proactl status), or cancel it",
			agent_verb_name(b->verb));
	if (strlen(arg) >= sizeof(b->arg))
		return sd_bus_reply_method_errorf(m, "org.proa.Error.Input",
						  "the text is longer than %zu bytes",
						  sizeof(b->arg) - 1);
	(void)snprintf(b->arg, sizeof(b->arg), "%s", arg);
	b->verb = v;
	b->cancel = false;
	b->call = sd_bus_message_ref(m);
	return 1;
}

static int on_check(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_CHECK, "", m);
}

static int on_stage(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_STAGE, "", m);
}

static int on_stage_any_size(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_STAGE, "any-size", m);
}

static int on_plan(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_PLAN, "", m);
}

static int on_apply(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_APPLY, "", m);
}

static int on_why(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_WHY, "", m);
}

static int on_reboot(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_REBOOT, "", m);
}

static int on_reboot_allowed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_REBOOT_ALLOWED, "", m);
}

static int on_reboot_now(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return take_verb(arg, AGENT_REBOOT_NOW, "", m);
}

static int with_text(struct bus *b, enum agent_verb v, sd_bus_message *m)
{
	const char *text;
	int r = sd_bus_message_read(m, "s", &text);

	return r < 0 ? r : take_verb(b, v, text, m);
}

static int on_rollback(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return with_text(arg, AGENT_ROLLBACK, m);
}

static int on_forgive(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)error;
	return with_text(arg, AGENT_FORGIVE, m);
}

static int on_cancel(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;

	(void)error;
	b->cancel = b->verb != AGENT_NONE;
	return sd_bus_reply_method_return(m, "");
}

static int reply_held(struct bus *b, bool held, sd_bus_message *m)
{
	AUTO_JSON *j = json_object();
	struct err e = ERR_INIT;
	int r = j ? json_put_str(j, "verb", agent_verb_name(b->agent->busy), &e)
		  : err_set(&e, ERR_HOST, ENOMEM, "out of memory");

	if (r == 0)
		r = json_put(j, "paused", json_boolean(b->agent->paused), &e);
	if (r == 0)
		r = json_put(j, "nothing", json_boolean(!held), &e);
	return r < 0 ? reply_error(m, &e) : reply_json(m, j);
}

static int on_pause(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;

	(void)error;
	return reply_held(b, agent_pause(b->agent, true), m);
}

static int on_continue(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;

	(void)error;
	return reply_held(b, agent_pause(b->agent, false), m);
}

static int on_limit(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;
	struct err e = ERR_INIT;
	uint64_t limit = 0;
	const char *text;
	int r = sd_bus_message_read(m, "s", &text);

	(void)error;
	if (r < 0)
		return r;
	if (strcmp(text, "off") != 0 &&
	    num_parse_bytes(text, "the bandwidth limit", &limit, &e) < 0)
		return reply_error(m, &e);
	return reply_held(b, agent_limit(b->agent, limit), m);
}

static int on_describe(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;

	(void)error;
	if (agent_describe(b->agent, &j, &e) < 0)
		return reply_error(m, &e);
	return reply_json(m, j);
}

static int on_history(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;

	(void)error;
	if (agent_history(b->agent, &j, &e) < 0)
		return reply_error(m, &e);
	return reply_json(m, j);
}

static int on_health(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;

	(void)error;
	if (agent_health(b->agent, &j, &e) < 0)
		return reply_error(m, &e);
	return reply_json(m, j);
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
		     sd_bus_message *reply, void *arg, sd_bus_error *error)
{
	struct bus *b = arg;
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;
	char text[sizeof(e.text)];
	const char *state = "";

	(void)bus;
	(void)path;
	(void)interface;
	if (agent_describe(b->agent, &j, &e) < 0)
		return sd_bus_error_setf(error, "org.proa.Error.Host", "%s",
					 text_clean(e.text, strlen(e.text), text, sizeof(text)));
	if (strcmp(property, "State") == 0)
		state = json_string_value(json_object_get(j, "state"));
	else
		state = json_string_value(
			json_object_get(json_object_get(j, "running"), "version"));
	return sd_bus_message_append(reply, "s", state ? state : "");
}

#define READ SD_BUS_VTABLE_UNPRIVILEGED

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_ARGS("Check", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", decision), on_check, 0),
	SD_BUS_METHOD_WITH_ARGS("Stage", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_stage, 0),
	SD_BUS_METHOD_WITH_ARGS("StageAnySize", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result),
				on_stage_any_size, 0),
	SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", plan), on_plan, 0),
	SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", held), on_pause, 0),
	SD_BUS_METHOD_WITH_ARGS("Continue", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", held), on_continue,
				0),
	SD_BUS_METHOD_WITH_ARGS("SetBandwidthLimit", SD_BUS_ARGS("s", bytes_per_second),
				SD_BUS_RESULT("s", held), on_limit, 0),
	SD_BUS_METHOD_WITH_ARGS("Apply", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_apply, 0),
	SD_BUS_METHOD_WITH_ARGS("Rollback", SD_BUS_ARGS("s", reason), SD_BUS_RESULT("s", result),
				on_rollback, 0),
	SD_BUS_METHOD_WITH_ARGS("Forgive", SD_BUS_ARGS("s", version), SD_BUS_RESULT("s", result),
				on_forgive, 0),
	SD_BUS_METHOD_WITH_ARGS("Why", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", explanation), on_why, 0),
	SD_BUS_METHOD_WITH_ARGS("Reboot", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_reboot, 0),
	SD_BUS_METHOD_WITH_ARGS("RebootWhenAllowed", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result),
				on_reboot_allowed, 0),
	SD_BUS_METHOD_WITH_ARGS("RebootNow", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result),
				on_reboot_now, 0),
	SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_cancel, 0),
	SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", status), on_describe,
				READ),
	SD_BUS_METHOD_WITH_ARGS("GetHistory", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", events),
				on_history, READ),
	SD_BUS_METHOD_WITH_ARGS("GetHealth", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", results), on_health,
				READ),
	SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("RunningVersion", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_SIGNAL_WITH_ARGS("Progress",
				SD_BUS_ARGS("s", verb, "s", phase, "t", done, "t", total), 0),
	SD_BUS_SIGNAL_WITH_ARGS("Note", SD_BUS_ARGS("s", text), 0),
	SD_BUS_VTABLE_END,
};

static int open_peer(struct bus *b, int fd, struct err *e)
{
	sd_id128_t id;
	int r = sd_id128_randomize(&id);

	if (r >= 0)
		r = sd_bus_new(&b->bus);
	if (r >= 0)
		r = sd_bus_set_fd(b->bus, fd, fd);
	if (r >= 0)
		r = sd_bus_set_server(b->bus, 1, id);
	if (r >= 0)
		r = sd_bus_start(b->bus);
	if (r >= 0)
		r = sd_bus_set_exit_on_disconnect(b->bus, 1);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot speak D-Bus on descriptor %d: %s", fd,
			       strerror(-r));
	return 0;
}

static int open_system(struct bus *b, struct err *e)
{
	int r = sd_bus_open_system(&b->bus);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot reach the system bus: %s", strerror(-r));
	return 0;
}

int bus_open(struct bus *b, struct agent *a, sd_event *event, int fd, struct err *e)
{
	int r;

	memset(b, 0, sizeof(*b));
	b->agent = a;
	b->event = event;
	b->peer = fd >= 0;
	r = fd >= 0 ? open_peer(b, fd, e) : open_system(b, e);
	if (r < 0)
		return r;
	r = sd_bus_add_object_vtable(b->bus, NULL, BUS_PATH, BUS_INTERFACE, vtable, b);
	if (r >= 0)
		r = sd_bus_attach_event(b->bus, event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0 && fd < 0)
		r = sd_bus_request_name(b->bus, BUS_NAME, 0);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot offer " BUS_NAME ": %s", strerror(-r));
	return 0;
}

void bus_close(struct bus *b)
{
	b->call = sd_bus_message_unref(b->call);
	b->bus = sd_bus_flush_close_unref(b->bus);
}

void bus_changed(void *arg)
{
	struct bus *b = arg;

	(void)sd_bus_emit_properties_changed(b->bus, BUS_PATH, BUS_INTERFACE, "State",
					     "RunningVersion", NULL);
}

int bus_run(struct bus *b, struct err *e)
{
	AUTO_JSON *j = NULL;
	int r = agent_run(b->agent, b->verb, b->arg, &j, e);

	/* the caller may have gone: then nobody is left to be told */
	(void)(r < 0 ? reply_error(b->call, e) : reply_json(b->call, j));
	b->call = sd_bus_message_unref(b->call);
	b->verb = AGENT_NONE;
	b->cancel = false;
	bus_changed(b);
	return r;
}

void bus_progress(void *arg, enum agent_verb v, enum act_phase phase, uint64_t done, uint64_t total)
{
	struct bus *b = arg;
	uint64_t now = clock_mono_ms();

	if (phase == b->last_phase && done < total && now - b->last_signal_ms < SIGNAL_STEP_MS)
		return;
	b->last_phase = phase;
	b->last_signal_ms = now;
	(void)sd_bus_emit_signal(b->bus, BUS_PATH, BUS_INTERFACE, "Progress", "sstt",
				 agent_verb_name(v), agent_phase_name(phase), done, total);
}

/* One in NOTE_STEP_MS, and a burst beside that; a flood from proa-fetch is not passed on. */
static bool note_allowed(struct bus *b)
{
	uint64_t now = clock_mono_ms(), gained = (now - b->note_ms) / NOTE_STEP_MS;

	if (b->notes < gained) {
		b->notes = 0;
		b->note_ms = now;
	} else {
		b->notes -= gained;
		b->note_ms += gained * NOTE_STEP_MS;
	}
	return b->notes < NOTES_BURST && ++b->notes;
}

void bus_note(void *arg, const char *text)
{
	struct bus *b = arg;
	char clean[512];

	if (!note_allowed(b))
		return;
	(void)sd_bus_emit_signal(b->bus, BUS_PATH, BUS_INTERFACE, "Note", "s",
				 text_clean(text, strlen(text), clean, sizeof(clean)));
}

bool bus_leave(struct bus *b)
{
	if (sd_bus_release_name(b->bus, BUS_NAME) < 0)
		return true;
	/* what came in before that is in the queue of this connection */
	while (sd_event_run(b->event, 0) > 0 && b->verb == AGENT_NONE)
		;
	if (b->verb == AGENT_NONE)
		return true;
	/* if another took the name meanwhile, this one ends after its last verb */
	return sd_bus_request_name(b->bus, BUS_NAME, 0) < 0 && b->verb == AGENT_NONE;
}
