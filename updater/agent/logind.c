/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/logind.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

#define LOGIND "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
#define SYSTEMD                                                                                    \
	"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"

/* flags of logind: have root heed inhibitors; have nobody heed them (from systemd 257 on) */
#define CHECK_INHIBITORS (UINT64_C(1) << 0)
#define SKIP_INHIBITORS  (UINT64_C(1) << 4)

static void unrefp(sd_bus_message **m)
{
	(void)sd_bus_message_unref(*m);
}
#define AUTO_MESSAGE __attribute__((cleanup(unrefp))) sd_bus_message

static void errorp(sd_bus_error *e)
{
	sd_bus_error_free(e);
}
#define AUTO_ERROR __attribute__((cleanup(errorp))) sd_bus_error

/* One of the words of a list with ':' between them. */
static bool among(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ":");

		if (len == n && memcmp(p, word, n) == 0)
			return true;
		p += len;
		p += *p == ':';
	}
	return false;
}

static void look_inhibitors(sd_bus *bus, struct agent_session *s)
{
	AUTO_ERROR error = SD_BUS_ERROR_NULL;
	AUTO_MESSAGE *m = NULL;
	const char *what, *who, *why, *mode;
	char text[400], more[32] = "";
	uint32_t uid, pid;
	unsigned n = 0;

	if (sd_bus_call_method(bus, LOGIND, "ListInhibitors", &error, &m, "") < 0 ||
	    sd_bus_message_enter_container(m, 'a', "(ssssuu)") < 0)
		return;
	text[0] = '\0';
	while (sd_bus_message_read(m, "(ssssuu)", &what, &who, &why, &mode, &uid, &pid) > 0) {
		/* "delay" is heard by logind itself; "block-weak" is heeded as root, too, with
		 * CHECK_INHIBITORS */
		if (strncmp(mode, "block", 5) != 0 || !among(what, "shutdown"))
			continue;
		if (n++ == 0)
			(void)snprintf(text, sizeof(text), "%.80s (pid %" PRIu32 "): %.150s", who,
				       pid, why);
	}
	if (n > 1)
		(void)snprintf(more, sizeof(more), ", and %u more", n - 1);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", more);
	(void)text_clean(text, strlen(text), s->inhibitor, sizeof(s->inhibitor));
}

static bool is_person(sd_bus *bus, const char *path)
{
	AUTO_ERROR error = SD_BUS_ERROR_NULL;
	char *class = NULL, *state = NULL;
	bool person = false;

	if (sd_bus_get_property_string(bus, "org.freedesktop.login1", path,
				       "org.freedesktop.login1.Session", "Class", &error,
				       &class) >= 0 &&
	    sd_bus_get_property_string(bus, "org.freedesktop.login1", path,
				       "org.freedesktop.login1.Session", "State", &error,
				       &state) >= 0)
		person = strcmp(class, "user") == 0 && strcmp(state, "closing") != 0;
	free(class);
	free(state);
	return person;
}

static void look_users(sd_bus *bus, struct agent_session *s)
{
	AUTO_ERROR error = SD_BUS_ERROR_NULL;
	AUTO_MESSAGE *m = NULL;
	const char *id, *user, *seat, *path;
	uint32_t uid;

	if (sd_bus_call_method(bus, LOGIND, "ListSessions", &error, &m, "") < 0 ||
	    sd_bus_message_enter_container(m, 'a', "(susso)") < 0)
		return;
	while (sd_bus_message_read(m, "(susso)", &id, &uid, &user, &seat, &path) > 0)
		s->users += is_person(bus, path);
}

void logind_look(sd_bus *bus, struct agent_session *ret)
{
	struct agent_session s = { .users = 0 };

	look_inhibitors(bus, &s);
	look_users(bus, &s);
	*ret = s;
}

static int told(int r, const sd_bus_error *error, struct err *e)
{
	char text[300];
	const char *why = error->message ? error->message : strerror(-r);

	if (r >= 0)
		return 0;
	return err_set(e, ERR_RETRY, -r, "logind does not reboot: %s",
		       text_clean(why, strlen(why), text, sizeof(text)));
}

static int schedule(sd_bus *bus, uint32_t delay_s, struct err *e)
{
	AUTO_ERROR error = SD_BUS_ERROR_NULL;
	uint64_t at = ((uint64_t)time(NULL) + delay_s) * 1000000;
	int r = sd_bus_call_method(bus, LOGIND, "SetWallMessage", &error, NULL, "sb",
				   "A system update is ready. Please save your work and log out.",
				   1);

	sd_bus_error_free(&error);
	error = SD_BUS_ERROR_NULL;
	(void)r; /* a reboot without words is still announced by logind */
	r = sd_bus_call_method(bus, LOGIND, "ScheduleShutdown", &error, NULL, "st", "reboot", at);
	return told(r, &error, e);
}

static bool nobody_there(const sd_bus_error *error)
{
	return sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
	       sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
	       sd_bus_error_has_name(error, "org.freedesktop.systemd1.NoSuchUnit") ||
	       sd_bus_error_has_name(error, "org.freedesktop.systemd1.UnitMasked");
}

int logind_reboot(sd_bus *bus, uint32_t delay_s, bool force, struct err *e)
{
	AUTO_ERROR error = SD_BUS_ERROR_NULL;
	int r;

	if (delay_s > 0)
		return schedule(bus, delay_s, e);
	r = sd_bus_call_method(bus, LOGIND, "RebootWithFlags", &error, NULL, "t",
			       force ? SKIP_INHIBITORS : CHECK_INHIBITORS);
	if (r < 0 && force && sd_bus_error_has_name(&error, SD_BUS_ERROR_INVALID_ARGS)) {
		sd_bus_error_free(&error); /* an older one, where root is not held up */
		error = SD_BUS_ERROR_NULL;
		r = sd_bus_call_method(bus, LOGIND, "RebootWithFlags", &error, NULL, "t",
				       UINT64_C(0));
	}
	if (r < 0 && nobody_there(&error)) {
		sd_bus_error_free(&error);
		error = SD_BUS_ERROR_NULL;
		r = sd_bus_call_method(bus, SYSTEMD, "Reboot", &error, NULL, "");
	}
	return told(r, &error, e);
}

#define WAKE_SOONEST 2 /* seconds */

/*
 * By the calendar, which follows a clock that is set, and by the seconds until then: a calendar
 * timer whose moment has passed when systemd gets round to it never elapses.
 */
static int add_timer(sd_bus_message *m, int64_t at, const char *name)
{
	char when[64];
	struct tm tm;
	time_t t = (time_t)at, now = time(NULL);
	uint64_t left = t > now + WAKE_SOONEST ? (uint64_t)(t - now) : WAKE_SOONEST;
	int r = sd_bus_message_append(m, "ss", name, "fail");

	when[0] = '\0';
	if (gmtime_r(&t, &tm))
		(void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)", "Description", "s",
					  "Proa: look again whether to reboot");
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)", "TimersCalendar", "a(ss)", 1, "OnCalendar",
					  when);
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)", "TimersMonotonic", "a(st)", 1, "OnActiveSec",
					  left * UINT64_C(1000000));
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)", "RemainAfterElapse", "b", 0);
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)", "AccuracyUSec", "t", UINT64_C(1000000));
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_append(m, "a(sa(sv))", 0);
}

void logind_wake(sd_bus *bus, int64_t at)
{
	AUTO_ERROR error = SD_BUS_ERROR_NULL;
	AUTO_MESSAGE *m = NULL;
	char name[64];

	(void)snprintf(name, sizeof(name), "proa-reboot@%" PRId64 ".timer", at);
	if (sd_bus_message_new_method_call(bus, &m, SYSTEMD, "StartTransientUnit") < 0 ||
	    add_timer(m, at, name) < 0)
		return;
	(void)sd_bus_call(bus, m, 0, &error, NULL);
}
