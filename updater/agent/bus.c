/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/bus_steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/version.h"
#include "updater/wire/wire.h"

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

static int bad_argument(sd_bus_message *m, const char *what)
{
	return sd_bus_reply_method_errorf(m, "org.proa.Error.Input", "%s", what);
}

static int on_caller_gone(sd_bus_track *t, void *arg)
{
	struct bus *b = arg;

	(void)t;
	b->cancel = b->verb != AGENT_NONE;
	return 1; /* 0 asks to be called again at once */
}

/*
 * An answer that nobody waits for any more must not keep others waiting. What changes this host
 * goes on without its caller.
 */
static void track_caller(struct bus *b, enum agent_verb v, sd_bus_message *m)
{
	if (v != AGENT_WHY && v != AGENT_CHECK && v != AGENT_PLAN)
		return;
	if (b->peer || sd_bus_message_get_expect_reply(m) <= 0)
		return;
	/* without it the verb just ends later */
	if (sd_bus_track_new(b->bus, &b->caller, on_caller_gone, b) >= 0)
		(void)sd_bus_track_add_sender(b->caller, m);
}

/* One verb at a time; it is the loop that runs it. */
static int take_verb(struct bus *b, enum agent_verb v, const struct agent_args *args,
		     sd_bus_message *m)
{
	static const struct agent_args none = { .any_size = false };

	if (b->verb != AGENT_NONE)
		return sd_bus_reply_method_errorf(
			m, "org.proa.Error.Busy",
			"busy with %s: wait for it (proactl status), or cancel it",
			agent_verb_name(b->verb));
	b->args = args ? *args : none;
	b->verb = v;
	b->cancel = false;
	b->call = sd_bus_message_ref(m);
	track_caller(b, v, m);
	return 1;
}

static int on_stage_any_size(struct bus *b, sd_bus_message *m)
{
	return take_verb(b, AGENT_STAGE, &(struct agent_args){ .any_size = true }, m);
}

/* 1; 0: the call was answered with an error; negative: as sd-bus says. `none`: may be empty. */
static int read_version(sd_bus_message *m, bool none, struct agent_args *args)
{
	const char *s;
	int r = sd_bus_message_read(m, "s", &s);

	if (r < 0)
		return r;
	if (!(none && !s[0]) && !version_valid(s)) {
		r = bad_argument(m, "not a version: 1 to 64 of A-Z a-z 0-9 . -, a letter or digit "
				    "first");
		return r < 0 ? r : 0;
	}
	(void)snprintf(args->version, sizeof(args->version), "%s", s);
	return 1;
}

/* A sentence for the record: one line of text. */
static int read_reason(sd_bus_message *m, struct agent_args *args)
{
	const char *s;
	int r = sd_bus_message_read(m, "s", &s);
	size_t n = r < 0 ? 0 : strlen(s);

	if (r < 0)
		return r;
	if (n >= sizeof(args->reason)) {
		r = bad_argument(m, "the reason is longer than 200 bytes");
		return r < 0 ? r : 0;
	}
	(void)text_clean(s, n, args->reason, sizeof(args->reason));
	if (strcmp(args->reason, s) != 0) {
		r = bad_argument(m, "the reason must be one line, without control characters");
		return r < 0 ? r : 0;
	}
	return 1;
}

static int on_rollback(struct bus *b, sd_bus_message *m)
{
	struct agent_args args = { .any_size = false };
	int r = read_version(m, true, &args);

	if (r > 0)
		r = read_reason(m, &args);
	return r > 0 ? take_verb(b, AGENT_ROLLBACK, &args, m) : r;
}

static int on_forgive(struct bus *b, sd_bus_message *m)
{
	struct agent_args args = { .any_size = false };
	int r = read_version(m, false, &args);

	return r > 0 ? take_verb(b, AGENT_FORGIVE, &args, m) : r;
}

static int on_pin(struct bus *b, sd_bus_message *m)
{
	struct agent_args args = { .any_size = false };
	int r = read_version(m, true, &args);

	return r > 0 ? take_verb(b, AGENT_PIN, &args, m) : r;
}

static int on_hold(struct bus *b, sd_bus_message *m)
{
	struct agent_args args = { .any_size = false };
	int r = read_reason(m, &args);

	return r > 0 ? take_verb(b, AGENT_HOLD, &args, m) : r;
}

static int on_cancel(struct bus *b, sd_bus_message *m)
{
	b->cancel = b->verb != AGENT_NONE;
	return sd_bus_reply_method_return(m, "");
}

static int reply_held(struct bus *b, bool held, sd_bus_message *m)
{
	AUTO_JSON *j = json_object();
	struct err e = ERR_INIT;
	int r = j ? json_put_str(j, "verb", agent_verb_name(b->agent->busy), &e)
		  : err_set(&e, ERR_HOST, ENOMEM, "out of memory");

	/* "nothing runs" would be wrong while another proad does something here */
	if (r == 0 && !held)
		r = agent_alone(b->agent, &e);
	if (r == 0)
		r = json_put(j, "paused", json_boolean(b->agent->paused), &e);
	if (r == 0)
		r = json_put(j, "nothing", json_boolean(!held), &e);
	if (r < 0)
		return reply_error(m, &e);
	bus_props_changed(b);
	return reply_json(m, j);
}

static int on_pause(struct bus *b, sd_bus_message *m)
{
	return reply_held(b, agent_pause(b->agent, true), m);
}

static int on_continue(struct bus *b, sd_bus_message *m)
{
	return reply_held(b, agent_pause(b->agent, false), m);
}

static int on_limit(struct bus *b, sd_bus_message *m)
{
	struct err e = ERR_INIT;
	uint64_t limit = 0;
	const char *text;
	int r = sd_bus_message_read(m, "s", &text);

	if (r < 0)
		return r;
	if (strcmp(text, "off") != 0 &&
	    num_parse_bytes(text, "the bandwidth limit", &limit, &e) < 0)
		return reply_error(m, &e);
	if (limit > WIRE_SIZE_MAX)
		return bad_argument(m, "the bandwidth limit is too large (off: none)");
	return reply_held(b, agent_limit(b->agent, limit), m);
}

typedef int (*tell_fn)(struct agent *a, json_t **ret, struct err *e);

static int on_verb(struct bus *b, sd_bus_message *m);
static int on_tell(struct bus *b, sd_bus_message *m);

static const struct method {
	const char *name;
	bus_granted_fn run;
	tell_fn tell; /* of on_tell() */
	enum bus_power power;
	enum agent_verb verb; /* of on_verb() */
} methods[] = {
	{ "Describe", on_tell, .power = BUS_READ, .tell = agent_describe },
	{ "GetHistory", on_tell, .power = BUS_READ, .tell = agent_history },
	{ "GetHealth", on_tell, .power = BUS_READ, .tell = agent_health },
	{ "Explain", on_tell, .power = BUS_READ, .tell = agent_explain },
	{ "Check", on_verb, .power = BUS_CHECK, .verb = AGENT_CHECK },
	{ "Why", on_verb, .power = BUS_CHECK, .verb = AGENT_WHY },
	{ "Plan", on_verb, .power = BUS_CHECK, .verb = AGENT_PLAN },
	{ "GetConfiguration", on_tell, .power = BUS_CHECK, .tell = agent_config },
	{ "Stage", on_verb, .power = BUS_STAGE, .verb = AGENT_STAGE },
	{ "StageAnySize", on_stage_any_size, .power = BUS_STAGE },
	{ "Pause", on_pause, .power = BUS_STAGE },
	{ "Continue", on_continue, .power = BUS_STAGE },
	{ "SetBandwidthLimit", on_limit, .power = BUS_STAGE },
	{ "Cancel", on_cancel, .power = BUS_STAGE },
	{ "Apply", on_verb, .power = BUS_REBOOT, .verb = AGENT_APPLY },
	{ "Reboot", on_verb, .power = BUS_REBOOT, .verb = AGENT_REBOOT },
	{ "RebootWhenAllowed", on_verb, .power = BUS_REBOOT, .verb = AGENT_REBOOT_ALLOWED },
	{ "RebootNow", on_verb, .power = BUS_REBOOT, .verb = AGENT_REBOOT_NOW },
	{ "Rollback", on_rollback, .power = BUS_POLICY },
	{ "Forgive", on_forgive, .power = BUS_POLICY },
	{ "Pin", on_pin, .power = BUS_POLICY },
	{ "Hold", on_hold, .power = BUS_POLICY },
	{ "Unhold", on_verb, .power = BUS_POLICY, .verb = AGENT_UNHOLD },
};

static const struct method *method_of(sd_bus_message *m)
{
	const char *name = sd_bus_message_get_member(m);

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	return NULL;
}

/* A verb that is told nothing. */
static int on_verb(struct bus *b, sd_bus_message *m)
{
	return take_verb(b, method_of(m)->verb, NULL, m);
}

static int on_tell(struct bus *b, sd_bus_message *m)
{
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;

	if (method_of(m)->tell(b->agent, &j, &e) < 0)
		return reply_error(m, &e);
	return reply_json(m, j);
}

static int on_call(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const struct method *me = method_of(m);

	if (me)
		return bus_power_ask(arg, me->power, m, me->run);
	return sd_bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_METHOD, "no method %s",
				 sd_bus_message_get_member(m));
}

/* Who may call what is for bus_power.c to say, not for sd-bus. */
#define ANY SD_BUS_VTABLE_UNPRIVILEGED
#define PROPERTY(name, type)                                                                       \
	SD_BUS_PROPERTY(name, type, bus_props_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", status), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("GetHistory", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", events), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("GetHealth", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", results), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", explanation), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("Check", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", decision), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("Why", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", explanation), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", plan), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("GetConfiguration", SD_BUS_NO_ARGS,
				SD_BUS_RESULT("s", configuration), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Stage", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("StageAnySize", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", held), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Continue", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", held), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("SetBandwidthLimit", SD_BUS_ARGS("s", bytes_per_second),
				SD_BUS_RESULT("s", held), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Apply", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Reboot", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("RebootWhenAllowed", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result),
				on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("RebootNow", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), on_call,
				ANY),
	SD_BUS_METHOD_WITH_ARGS("Rollback", SD_BUS_ARGS("s", version, "s", reason),
				SD_BUS_RESULT("s", result), on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Forgive", SD_BUS_ARGS("s", version), SD_BUS_RESULT("s", result),
				on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Pin", SD_BUS_ARGS("s", version), SD_BUS_RESULT("s", policy),
				on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Hold", SD_BUS_ARGS("s", reason), SD_BUS_RESULT("s", policy),
				on_call, ANY),
	SD_BUS_METHOD_WITH_ARGS("Unhold", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", policy), on_call, ANY),
	PROPERTY("State", "s"),
	PROPERTY("RunningVersion", "s"),
	PROPERTY("RunningSlot", "s"),
	PROPERTY("RootHash", "s"),
	PROPERTY("Good", "b"),
	PROPERTY("StagedVersion", "s"),
	PROPERTY("NextBootVersion", "s"),
	PROPERTY("NewestVersion", "s"),
	PROPERTY("Channel", "s"),
	PROPERTY("Mode", "s"),
	PROPERTY("Reboot", "s"),
	PROPERTY("Pin", "s"),
	PROPERTY("Hold", "b"),
	PROPERTY("HoldReason", "s"),
	PROPERTY("FailedVersions", "as"),
	PROPERTY("Verdict", "s"),
	PROPERTY("Reasons", "as"),
	PROPERTY("LastCheck", "t"),
	PROPERTY("LastCheckOk", "t"),
	PROPERTY("LastError", "s"),
	PROPERTY("NextCheck", "t"),
	PROPERTY("Job", "s"),
	PROPERTY("Paused", "b"),
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
	b->caller = sd_bus_track_unref(b->caller);
	bus_power_close(b);
	json_decref(b->props);
	b->props = NULL;
	b->bus = sd_bus_flush_close_unref(b->bus);
}

void bus_changed(void *arg)
{
	bus_props_changed(arg);
}

int bus_run(struct bus *b, struct err *e)
{
	AUTO_JSON *j = NULL;
	int r = agent_run(b->agent, b->verb, &b->args, &j, e);

	/* the caller may have gone: then nobody is left to be told */
	(void)(r < 0 ? reply_error(b->call, e) : reply_json(b->call, j));
	b->call = sd_bus_message_unref(b->call);
	b->caller = sd_bus_track_unref(b->caller);
	b->verb = AGENT_NONE;
	b->cancel = false;
	bus_changed(b);
	return r;
}

void bus_progress(void *arg, enum agent_verb v, enum act_phase phase, uint64_t done, uint64_t total)
{
	struct bus *b = arg;
	uint64_t now = clock_mono_ms();
	bool soon = now - b->told[phase].ms < SIGNAL_STEP_MS;

	if (soon && (done < total || b->told[phase].ended))
		return;
	b->told[phase].ms = now;
	b->told[phase].ended = done >= total;
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

int64_t bus_next_check(void *arg)
{
	static const char unit[] = "/org/freedesktop/systemd1/unit/proa_2dupdate_2etimer";
	static const char *const clocks[] = { "NextElapseUSecRealtime", "NextElapseUSecMonotonic" };
	struct bus *b = arg;
	uint64_t usec = 0;

	if (b->peer)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		if (sd_bus_get_property_trivial(b->bus, "org.freedesktop.systemd1", unit,
						"org.freedesktop.systemd1.Timer", clocks[i], NULL,
						't', &usec) < 0)
			return 0;
		if (usec == 0 || usec == UINT64_MAX)
			continue;
		return i == 0 ? (int64_t)(usec / 1000000)
			      : time(NULL) + (int64_t)(usec / 1000000) -
					(int64_t)(clock_mono_ms() / 1000);
	}
	return 0;
}

bool bus_leave(struct bus *b)
{
	if (b->asks) /* somebody is being asked for a password */
		return false;
	if (sd_bus_release_name(b->bus, BUS_NAME) < 0)
		return true;
	/* what came in before that is in the queue of this connection */
	while (sd_event_run(b->event, 0) > 0 && b->verb == AGENT_NONE)
		;
	if (b->verb == AGENT_NONE && !b->asks)
		return true;
	/* if another took the name meanwhile, this one ends after its last verb */
	return sd_bus_request_name(b->bus, BUS_NAME, 0) < 0 && b->verb == AGENT_NONE && !b->asks;
}
