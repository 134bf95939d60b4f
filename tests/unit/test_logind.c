/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said to logind and to systemd, heard by a peer that answers as their interfaces are
 * described: neither runs where there is no booted system.
 */
#include "updater/agent/logind.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

static int out = -1; /* the peer tells here what it was asked */
static bool old;     /* it is a systemd before 257 */
static bool absent;  /* it is no logind */

static void tell(const char *text)
{
	CHECK(write(out, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

static int on_inhibitors(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	(void)arg;
	(void)e;
	return sd_bus_reply_method_return(
		m, "a(ssssuu)", 4, "sleep", "lid", "closed", "block", 0, 1, "shutdown:sleep",
		"backup", "the night's\ncopy", "block", 0, 811, "idle:shutdown", "apt", "upgrade",
		"block-weak", 0, 812, "shutdown", "net", "say goodbye", "delay", 0, 813);
}

static int on_sessions(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	(void)arg;
	(void)e;
	return sd_bus_reply_method_return(m, "a(susso)", 3, "1", 1000, "ann", "seat0", "/s/_1", "2",
					  0, "root", "", "/s/_2", "c1", 110, "gdm", "seat0",
					  "/s/c1");
}

static int on_flags(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	char text[64];
	uint64_t flags;

	(void)arg;
	CHECK(sd_bus_message_read(m, "t", &flags) > 0, "flags");
	(void)snprintf(text, sizeof(text), "RebootWithFlags %" PRIu64 "\n", flags);
	tell(text);
	if (flags > 3 && old)
		return sd_bus_error_set(e, SD_BUS_ERROR_INVALID_ARGS, "Invalid flags parameter");
	if (flags == 1 && !old)
		return sd_bus_error_set(e, "org.freedesktop.login1.BlockedByInhibitorLock",
					"Operation denied due to active block inhibitor");
	return sd_bus_reply_method_return(m, "");
}

static int on_wall(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	const char *text;
	int on;

	(void)arg;
	(void)e;
	CHECK(sd_bus_message_read(m, "sb", &text, &on) > 0 && on && text[0], "wall");
	tell("SetWallMessage\n");
	return sd_bus_reply_method_return(m, "");
}

static int on_schedule(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	const char *what;
	char text[64];
	uint64_t at;

	(void)arg;
	(void)e;
	CHECK(sd_bus_message_read(m, "st", &what, &at) > 0, "schedule");
	(void)snprintf(text, sizeof(text), "ScheduleShutdown %s %d\n", what,
		       at / 1000000 > (uint64_t)time(NULL) + 300 &&
			       at / 1000000 < (uint64_t)time(NULL) + 500);
	tell(text);
	return sd_bus_reply_method_return(m, "");
}

static int read_property(sd_bus_message *m, char *text, size_t cap)
{
	const char *name, *type, *base, *spec = "", *sentence;
	uint64_t usec;
	int on;

	CHECK(sd_bus_message_enter_container(m, 'r', "sv") > 0 &&
		      sd_bus_message_read(m, "s", &name) > 0 &&
		      sd_bus_message_peek_type(m, NULL, &type) > 0,
	      "property");
	if (strcmp(name, "TimersCalendar") == 0) {
		CHECK(strcmp(type, "a(ss)") == 0 &&
			      sd_bus_message_enter_container(m, 'v', "a(ss)") > 0 &&
			      sd_bus_message_enter_container(m, 'a', "(ss)") > 0 &&
			      sd_bus_message_read(m, "(ss)", &base, &spec) > 0 &&
			      strcmp(base, "OnCalendar") == 0 &&
			      sd_bus_message_exit_container(m) >= 0 &&
			      sd_bus_message_exit_container(m) >= 0,
		      "TimersCalendar is %s", type);
		(void)snprintf(text + strlen(text), cap - strlen(text), " %s", spec);
	} else if (strcmp(name, "TimersMonotonic") == 0) {
		CHECK(sd_bus_message_enter_container(m, 'v', "a(st)") > 0 &&
			      sd_bus_message_enter_container(m, 'a', "(st)") > 0 &&
			      sd_bus_message_read(m, "(st)", &base, &usec) > 0 &&
			      strcmp(base, "OnActiveSec") == 0 && usec >= 2000000 &&
			      sd_bus_message_exit_container(m) >= 0 &&
			      sd_bus_message_exit_container(m) >= 0,
		      "%s", name);
	} else if (strcmp(name, "RemainAfterElapse") == 0) {
		CHECK(sd_bus_message_read(m, "v", "b", &on) > 0 && !on, "%s", name);
	} else if (strcmp(name, "AccuracyUSec") == 0) {
		CHECK(sd_bus_message_read(m, "v", "t", &usec) > 0 && usec == 1000000, "%s", name);
	} else {
		/* others are not settable on a transient timer */
		CHECK(strcmp(name, "Description") == 0 &&
			      sd_bus_message_read(m, "v", "s", &sentence) > 0,
		      "%s", name);
	}
	return sd_bus_message_exit_container(m);
}

static int on_transient(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	const char *name, *mode;
	char text[300];

	(void)arg;
	(void)e;
	CHECK(sd_bus_message_read(m, "ss", &name, &mode) > 0, "unit");
	(void)snprintf(text, sizeof(text), "StartTransientUnit %s %s", name, mode);
	CHECK(sd_bus_message_enter_container(m, 'a', "(sv)") > 0, "properties");
	while (sd_bus_message_at_end(m, 0) == 0)
		CHECK(read_property(m, text, sizeof(text)) >= 0, "property");
	CHECK(sd_bus_message_exit_container(m) >= 0 && sd_bus_message_skip(m, "a(sa(sv))") >= 0 &&
		      sd_bus_message_at_end(m, 1) > 0,
	      "the end");
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "\n");
	tell(text);
	return sd_bus_reply_method_return(m, "o", "/job/1");
}

static int on_manager_reboot(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	(void)arg;
	(void)e;
	tell("systemd reboots\n");
	return sd_bus_reply_method_return(m, "");
}

static int get(sd_bus *bus, const char *path, const char *interface, const char *property,
	       sd_bus_message *reply, void *arg, sd_bus_error *e)
{
	(void)bus;
	(void)interface;
	(void)arg;
	(void)e;
	if (strcmp(property, "Class") == 0)
		return sd_bus_message_append(reply, "s",
					     strcmp(path, "/s/c1") == 0 ? "greeter" : "user");
	return sd_bus_message_append(reply, "s", strcmp(path, "/s/_2") == 0 ? "closing" : "active");
}

#define METHOD(name, in, ret, fn) SD_BUS_METHOD(name, in, ret, fn, SD_BUS_VTABLE_UNPRIVILEGED)
static const sd_bus_vtable logind[] = { SD_BUS_VTABLE_START(0),
					METHOD("ListInhibitors", "", "a(ssssuu)", on_inhibitors),
					METHOD("ListSessions", "", "a(susso)", on_sessions),
					METHOD("RebootWithFlags", "t", "", on_flags),
					METHOD("SetWallMessage", "sb", "", on_wall),
					METHOD("ScheduleShutdown", "st", "", on_schedule),
					SD_BUS_VTABLE_END };
static const sd_bus_vtable session[] = { SD_BUS_VTABLE_START(0),
					 SD_BUS_PROPERTY("Class", "s", get, 0, 0),
					 SD_BUS_PROPERTY("State", "s", get, 0, 0),
					 SD_BUS_VTABLE_END };
static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0), METHOD("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", on_transient),
	METHOD("Reboot", "", "", on_manager_reboot), SD_BUS_VTABLE_END
};

static int nobody(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	(void)arg;
	if (!sd_bus_message_is_method_call(m, "org.freedesktop.login1.Manager", NULL))
		return 0;
	return sd_bus_error_set(e, SD_BUS_ERROR_SERVICE_UNKNOWN, "not here");
}

static void add(sd_bus *bus, const char *path, const char *interface, const sd_bus_vtable *v)
{
	CHECK(sd_bus_add_object_vtable(bus, NULL, path, interface, v, NULL) >= 0, "%s", path);
}

static _Noreturn void serve(int fd)
{
	sd_bus *bus;
	sd_id128_t id;
	int r;

	CHECK(sd_id128_randomize(&id) >= 0 && sd_bus_new(&bus) >= 0 &&
		      sd_bus_set_fd(bus, fd, fd) >= 0 && sd_bus_set_server(bus, 1, id) >= 0 &&
		      sd_bus_set_anonymous(bus, 1) >= 0 && sd_bus_start(bus) >= 0,
	      "server");
	if (absent) {
		CHECK(sd_bus_add_object(bus, NULL, "/org/freedesktop/login1", nobody, NULL) >= 0,
		      "object");
	} else {
		add(bus, "/org/freedesktop/login1", "org.freedesktop.login1.Manager", logind);
		add(bus, "/s/_1", "org.freedesktop.login1.Session", session);
		add(bus, "/s/_2", "org.freedesktop.login1.Session", session);
		add(bus, "/s/c1", "org.freedesktop.login1.Session", session);
	}
	add(bus, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", manager);
	while ((r = sd_bus_process(bus, NULL)) >= 0)
		if (r == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)
			break;
	_exit(0);
}

struct peer {
	sd_bus *bus;
	pid_t pid;
	int said;
};

static void peer_open(struct peer *p)
{
	int pair[2], tube[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 &&
		      pipe2(tube, O_CLOEXEC) == 0,
	      "socketpair");
	p->pid = fork();
	CHECK(p->pid >= 0, "fork");
	if (p->pid == 0) {
		(void)close(pair[0]);
		(void)close(tube[0]);
		out = tube[1];
		serve(pair[1]);
	}
	(void)close(pair[1]);
	(void)close(tube[1]);
	p->said = tube[0];
	CHECK(sd_bus_new(&p->bus) >= 0 && sd_bus_set_fd(p->bus, pair[0], pair[0]) >= 0 &&
		      sd_bus_start(p->bus) >= 0,
	      "client");
}

/* What it was asked, all in all. */
static void peer_close(struct peer *p, char said[1000])
{
	size_t n = 0;
	ssize_t k;

	p->bus = sd_bus_flush_close_unref(p->bus);
	while (n < 999 && (k = read(p->said, said + n, 999 - n)) > 0)
		n += (size_t)k;
	said[n] = '\0';
	(void)close(p->said);
	CHECK(waitpid(p->pid, NULL, 0) == p->pid, "waitpid");
}

static void test_look(void)
{
	struct agent_session s = { .users = 7 };
	char said[1000];
	struct peer p;

	peer_open(&p);
	logind_look(p.bus, &s);
	peer_close(&p, said);
	CHECK(strcmp(s.inhibitor, "backup (pid 811): the night's?copy, and 1 more") == 0, "'%s'",
	      s.inhibitor);
	CHECK(s.users == 1, "%u", s.users);
}

static void test_reboot(void)
{
	struct err e = ERR_INIT;
	char said[1000];
	struct peer p;

	old = true;
	peer_open(&p);
	CHECK(logind_reboot(p.bus, 0, false, &e) == 0, "%s", e.text);
	CHECK(logind_reboot(p.bus, 0, true, &e) == 0, "%s", e.text);
	CHECK(logind_reboot(p.bus, 420, false, &e) == 0, "%s", e.text);
	peer_close(&p, said);
	CHECK(strcmp(said, "RebootWithFlags 1\nRebootWithFlags 16\nRebootWithFlags 0\n"
			   "SetWallMessage\nScheduleShutdown reboot 1\n") == 0,
	      "%s", said);
	old = false;
	peer_open(&p);
	CHECK(logind_reboot(p.bus, 0, false, &e) < 0 && e.kind == ERR_RETRY &&
		      strstr(e.text, "active block inhibitor"),
	      "%s", e.text);
	CHECK(logind_reboot(p.bus, 0, true, &e) == 0, "%s", e.text);
	peer_close(&p, said);
	absent = true;
	peer_open(&p);
	CHECK(logind_reboot(p.bus, 0, false, &e) == 0, "%s", e.text);
	peer_close(&p, said);
	CHECK(strcmp(said, "systemd reboots\n") == 0, "%s", said);
	absent = false;
}

static void test_wake(void)
{
	char said[1000];
	struct peer p;

	peer_open(&p);
	logind_wake(p.bus, 1795226400);
	peer_close(&p, said);
	CHECK(strcmp(said, "StartTransientUnit proa-reboot@1795226400.timer fail "
			   "2026-11-21 02:00:00 UTC\n") == 0,
	      "%s", said);
}

int main(void)
{
	test_look();
	test_reboot();
	test_wake();
	return 0;
}
