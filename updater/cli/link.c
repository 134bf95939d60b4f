/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/cli/link.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/progress.h"
#include "base/spawn.h"

#define PATH_OBJ  "/org/proa/Host1"
#define INTERFACE "org.proa.Host1"

#ifndef PROA_LIBEXECDIR
#define PROA_LIBEXECDIR "/usr/lib/proa"
#endif

struct link {
	struct link_options o;
	sd_event *event;
	sd_bus *bus;
	const char *dest; /* NULL: peer to peer */
	pid_t pid;
	unsigned interrupts;
	bool verb, heard; /* a verb of ours runs; a signal came since link_wait() began */
	/* the call that waits */
	bool over;
	json_t *json;
	struct err err;
};

static int on_progress(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct link *l = arg;
	const char *verb, *phase;
	uint64_t done, total;

	(void)error;
	l->heard = true;
	if (sd_bus_message_read(m, "sstt", &verb, &phase, &done, &total) >= 0 && l->o.progress)
		l->o.progress(l->o.arg, verb, phase, done, total);
	return 0;
}

static int on_changed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct link *l = arg;

	(void)m;
	(void)error;
	l->heard = true;
	return 0;
}

static int on_note(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct link *l = arg;
	const char *text;

	(void)error;
	if (sd_bus_message_read(m, "s", &text) >= 0 && l->o.note)
		l->o.note(l->o.arg, text);
	return 0;
}

static int on_interrupt(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct link *l = arg;

	(void)s;
	(void)si;
	if (l->interrupts++ == 0 && l->verb) {
		if (l->o.note)
			l->o.note(l->o.arg, "cancelling; again to stop waiting");
		return sd_bus_call_method_async(l->bus, NULL, l->dest, PATH_OBJ, INTERFACE,
						"Cancel", NULL, NULL, "");
	}
	l->err = (struct err){ .kind = ERR_RETRY, .os = ECANCELED };
	(void)snprintf(l->err.text, sizeof(l->err.text), "interrupted");
	l->over = true;
	return 0;
}

/* proad lies beside this program in the build, and in its own directory on a host. */
static void find_proad(char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
	char *slash;

	out[n > 0 ? n : 0] = '\0';
	slash = strrchr(out, '/');
	if (slash && (size_t)(slash - out) + sizeof("/proad") < PATH_MAX) {
		(void)snprintf(slash, sizeof("/proad"), "/proad");
		if (access(out, X_OK) == 0)
			return;
	}
	(void)snprintf(out, PATH_MAX, PROA_LIBEXECDIR "/proad");
}

static int start_direct(struct link *l, struct err *e)
{
	char proad[PATH_MAX];
	const char *argv[] = { proad, "--direct", NULL, NULL, NULL };
	int fd, r;

	find_proad(proad);
	if (l->o.config) {
		argv[2] = "--config";
		argv[3] = l->o.config;
	}
	r = spawn_peer(argv, SOCK_STREAM, &l->pid, &fd, e);
	if (r < 0)
		return r;
	r = sd_bus_new(&l->bus);
	if (r >= 0)
		r = sd_bus_set_fd(l->bus, fd, fd);
	if (r >= 0)
		r = sd_bus_start(l->bus);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot speak to %s: %s", proad, strerror(-r));
	return 0;
}

static int start(struct link *l, struct err *e)
{
	sigset_t set;
	int r;

	if (l->o.direct) {
		r = start_direct(l, e);
		if (r < 0)
			return r;
	} else {
		l->dest = INTERFACE;
		r = sd_bus_open_system(&l->bus);
		if (r < 0)
			return err_set(e, ERR_HOST, -r,
				       "cannot reach the system bus: %s (proactl --direct works "
				       "without it)",
				       strerror(-r));
	}
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	r = sd_event_default(&l->event);
	if (r >= 0)
		r = sd_event_add_signal(l->event, NULL, SIGINT, on_interrupt, l);
	if (r >= 0)
		r = sd_bus_attach_event(l->bus, l->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_match_signal(l->bus, NULL, NULL, PATH_OBJ, INTERFACE, "Progress",
					on_progress, l);
	if (r >= 0)
		r = sd_bus_match_signal(l->bus, NULL, NULL, PATH_OBJ, INTERFACE, "Note", on_note,
					l);
	if (r >= 0)
		r = sd_bus_match_signal(l->bus, NULL, NULL, PATH_OBJ,
					"org.freedesktop.DBus.Properties", "PropertiesChanged",
					on_changed, l);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot listen to proad: %s", strerror(-r));
	return 0;
}

int link_new(const struct link_options *o, struct link **ret, struct err *e)
{
	struct link *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	l->o = *o;
	r = start(l, e);
	if (r < 0) {
		link_free(l);
		return r;
	}
	*ret = l;
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	(void)sd_bus_flush_close_unref(l->bus);
	(void)sd_event_unref(l->event);
	if (l->pid > 0)
		(void)waitpid(l->pid, NULL, 0);
	json_decref(l->json);
	free(l);
}

/* The kind behind an error's name, which --json tells. */
static enum err_kind kind_of(const char *name)
{
	static const struct {
		const char *name;
		enum err_kind kind;
	} kinds[] = {
		{ "org.proa.Error.Retry", ERR_RETRY }, { "org.proa.Error.Cancelled", ERR_RETRY },
		{ "org.proa.Error.Busy", ERR_RETRY },  { "org.proa.Error.Refused", ERR_REFUSED },
		{ "org.proa.Error.Input", ERR_INPUT }, { "org.proa.Error.Bug", ERR_BUG },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].kind;
	return ERR_HOST;
}

static void take_error(struct link *l, const sd_bus_error *error)
{
	const char *name = error->name ? error->name : "";

	l->err = (struct err){ .kind = kind_of(name), .os = EIO };
	if (strcmp(name, SD_BUS_ERROR_ACCESS_DENIED) == 0 ||
	    strcmp(name, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED) == 0) {
		/* the bus itself does not say what is missing, proad does */
		const char *says = error->message && strstr(error->message, "org.proa.")
					   ? error->message
					   : "only root may do this (sudo)";

		l->err.os = EACCES;
		(void)snprintf(l->err.text, sizeof(l->err.text), "%.450s", says);
	} else if (strcmp(name, SD_BUS_ERROR_SERVICE_UNKNOWN) == 0)
		(void)snprintf(l->err.text, sizeof(l->err.text),
			       "proad is not installed as a service here: proactl --direct works "
			       "without it");
	else if (strcmp(name, SD_BUS_ERROR_NO_REPLY) == 0)
		(void)snprintf(l->err.text, sizeof(l->err.text), "proad ended before it answered");
	else
		(void)snprintf(l->err.text, sizeof(l->err.text), "%.450s",
			       error->message ? error->message : name);
}

static int on_reply(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const struct json_limits lim = JSON_LIMITS_DEFAULT;
	struct link *l = arg;
	const char *text;

	(void)error;
	l->over = true;
	if (sd_bus_message_is_method_error(m, NULL)) {
		take_error(l, sd_bus_message_get_error(m));
		return 0;
	}
	if (sd_bus_message_read(m, "s", &text) < 0)
		text = "";
	if (json_read(text, strlen(text), &lim, "proad's answer", &l->json, &l->err) < 0)
		return 0;
	return 0;
}

/* Whatever verb runs while these are answered is somebody else's, and not for ^C to cancel. */
static bool answered_at_once(const char *method)
{
	static const char *const methods[] = { "Describe", "GetHistory", "GetHealth",
					       "Explain",  "Pause",      "GetConfiguration",
					       "Continue", "Cancel",     "SetBandwidthLimit" };

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(method, methods[i]) == 0)
			return true;
	return false;
}

int link_call(struct link *l, const char *method, const char *const *args, json_t **ret,
	      struct err *e)
{
	sd_bus_message *m = NULL;
	sd_bus_slot *slot = NULL;
	int r;

	l->over = false;
	l->err = (struct err)ERR_INIT;
	json_decref(l->json);
	l->json = NULL;
	r = sd_bus_message_new_method_call(l->bus, &m, l->dest, PATH_OBJ, INTERFACE, method);
	for (; r >= 0 && *args; args++)
		r = sd_bus_message_append(m, "s", *args);
	if (r >= 0) /* a person is there to be asked */
		r = sd_bus_message_set_allow_interactive_authorization(m, 1);
	l->verb = !answered_at_once(method);
	if (r >= 0)
		r = sd_bus_call_async(l->bus, &slot, m, on_reply, l, UINT64_MAX);
	(void)sd_bus_message_unref(m);
	while (r >= 0 && !l->over)
		r = sd_event_run(l->event, UINT64_MAX);
	(void)sd_bus_slot_unref(slot);
	l->verb = false;
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "lost the connection to proad: %s", strerror(-r));
	if (!l->json)
		return err_set(e, l->err.kind ? l->err.kind : ERR_HOST, l->err.os ? l->err.os : EIO,
			       "%s", l->err.text);
	*ret = json_incref(l->json);
	return 0;
}

int link_wait(struct link *l, unsigned ms, struct err *e)
{
	uint64_t end = clock_mono_ms() + ms;

	l->heard = false;
	while (!l->heard && l->interrupts == 0) {
		uint64_t now = clock_mono_ms();
		int r;

		if (now >= end)
			return 0;
		r = sd_event_run(l->event, (end - now) * 1000);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "lost the connection to proad: %s",
				       strerror(-r));
	}
	if (l->interrupts)
		return err_set(e, ERR_RETRY, ECANCELED, "interrupted");
	return 1;
}
