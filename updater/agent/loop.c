/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/progress.h"
#include "updater/agent/agent.h"
#include "updater/agent/bus.h"

struct loop {
	sd_event *event;
	struct bus bus;
	bool stop, direct;
	char said[64]; /* the last STATUS= */
};

static void loop_mistake(void *arg, const char *text)
{
	(void)arg;
	log_event(LOG_WARNING, MSG_FAILED, NULL, "configuration: %s", text);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct loop *l = arg;

	(void)s;
	(void)si;
	l->stop = true;
	l->bus.cancel = true;
	return 0;
}

/* Every verb reads the configuration anew; this says at once whether it is well. */
static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct loop *l = arg;
	struct err e = ERR_INIT;
	size_t n = 0;

	(void)s;
	(void)si;
	l->bus.agent->warned = false;
	if (config_check(l->bus.agent->config_file, loop_mistake, l, &n, &e) < 0)
		log_err(&e, "configuration");
	else if (n == 0)
		log_event(LOG_INFO, MSG_STATE, NULL, "configuration read: no mistakes");
	return 0;
}

static bool ending(const struct loop *l)
{
	return l->stop || sd_event_get_state(l->event) == SD_EVENT_FINISHED ||
	       sd_event_get_exit_code(l->event, NULL) >= 0;
}

/* While a verb runs: serve whoever asks; held, until it may go on. */
static int loop_pump(void *arg)
{
	struct loop *l = arg;
	int r = 1;

	while ((r > 0 || (r == 0 && l->bus.agent->paused && !l->bus.cancel)) && !ending(l))
		r = sd_event_run(l->event, l->bus.agent->paused ? UINT64_MAX : 0);
	return l->bus.cancel || ending(l) ? -ECANCELED : 0;
}

static int on_ready(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	bool *ready = arg;

	(void)s;
	(void)fd;
	(void)revents;
	*ready = true;
	return 0;
}

/*
 * One event, or 0 when none came for so long. What sd-event does for the watchdog ends its wait
 * too, which is neither.
 */
static int run_once(struct loop *l, uint64_t ms)
{
	uint64_t now = clock_mono_ms(), end = ms > UINT64_MAX - now ? UINT64_MAX : now + ms;
	int r;

	do {
		uint64_t left = end == UINT64_MAX ? UINT64_MAX : (end - now) * 1000;

		r = sd_event_run(l->event, left);
		now = clock_mono_ms();
	} while (r == 0 && now < end);
	return r;
}

static int loop_wait(void *arg, int fd, short events, int timeout_ms)
{
	struct loop *l = arg;
	struct pollfd p = { .fd = fd, .events = events };
	sd_event_source *s = NULL;
	bool ready = false;
	int r;

	if (l->bus.cancel || ending(l))
		r = -ECANCELED;
	else if (poll(&p, 1, 0) > 0) /* the common case: bytes are there */
		return 1;
	else
		r = sd_event_add_io(l->event, &s, fd, (uint32_t)events, on_ready, &ready);
	while (r >= 0 && !ready) {
		r = run_once(l, timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms);
		if (l->bus.cancel || ending(l))
			r = -ECANCELED;
		else if (r == 0)
			break;
	}
	(void)sd_event_source_disable_unref(s);
	return r < 0 ? r : ready;
}

static void loop_progress(void *arg, enum agent_verb v, enum act_phase phase, uint64_t done,
			  uint64_t total)
{
	struct loop *l = arg;
	char text[64];

	bus_progress(&l->bus, v, phase, done, total);
	(void)snprintf(
		text, sizeof(text), "%s: %s %u %%", agent_verb_name(v), agent_phase_name(phase),
		total ? (unsigned)(done >= total ? 100 : (double)done / (double)total * 100) : 0);
	if (strcmp(text, l->said) == 0)
		return;
	(void)snprintf(l->said, sizeof(l->said), "%s", text);
	(void)sd_notifyf(0, "STATUS=%s", text);
}

static void loop_note(void *arg, const char *text)
{
	struct loop *l = arg;

	if (!l->bus.peer)
		log_event(LOG_WARNING, NULL, NULL, "%s", text);
	bus_note(&l->bus, text);
}

static void loop_changed(void *arg)
{
	struct loop *l = arg;

	bus_changed(&l->bus);
}

static int loop_reboot(void *arg, uint32_t delay_s, bool force, struct err *e)
{
	struct loop *l = arg;

	return bus_reboot(&l->bus, delay_s, force, e);
}

static void loop_session(void *arg, struct agent_session *ret)
{
	struct loop *l = arg;

	bus_session(&l->bus, ret);
}

static void loop_wake(void *arg, int64_t at)
{
	struct loop *l = arg;

	bus_wake(&l->bus, at);
}

static int64_t loop_next_check(void *arg)
{
	struct loop *l = arg;

	return bus_next_check(&l->bus);
}

/* One line per state change. */
static void say_event(void *arg, const struct record_event *ev, bool halted)
{
	static const struct {
		int priority;
		const char *id, *text;
	} says[RECORD_KINDS] = {
		[RECORD_EV_STAGED] = { LOG_NOTICE, MSG_STAGED, "is staged: written and proved" },
		[RECORD_EV_APPLIED] = { LOG_NOTICE, MSG_APPLIED, "is applied and boots next" },
		[RECORD_EV_GOOD] = { LOG_NOTICE, MSG_BLESSED, "is healthy and stays" },
		[RECORD_EV_FAILED] = { LOG_ERR, MSG_RELEASE_FAILED, "failed here" },
		[RECORD_EV_FELL_BACK] = { LOG_WARNING, MSG_FALLBACK,
					  "runs again: this host fell back" },
		[RECORD_EV_ROLLED_BACK] = { LOG_NOTICE, MSG_ROLLED_BACK,
					    "was taken back by a person" },
		[RECORD_EV_FORGIVEN] = { LOG_NOTICE, MSG_FORGIVEN, "may be tried here again" },
	};
	char version[128], from[128], root[96], reason[512], id[48];
	const char *fields[] = { version, root, reason, id, from, NULL };
	size_t n;

	(void)arg;
	(void)snprintf(version, sizeof(version), "PROA_VERSION=%s", ev->version);
	(void)snprintf(from, sizeof(from), "PROA_FROM=%s", ev->from);
	(void)snprintf(reason, sizeof(reason), "PROA_REASON=%s", ev->text);
	(void)snprintf(id, sizeof(id), "PROA_EVENT=%llu", (unsigned long long)ev->id);
	n = (size_t)snprintf(root, sizeof(root), "PROA_ROOT_HASH=");
	hex_format(ev->root, sizeof(ev->root), root + n);
	log_event(says[ev->kind].priority, says[ev->kind].id, fields, "%s %s%s%s",
		  ev->version[0] ? ev->version : "what was there before", says[ev->kind].text,
		  ev->text[0] ? ": " : "", ev->text);
	if (halted)
		log_event(LOG_ERR, MSG_HALTED, fields,
			  "one release after the other did not stay; nothing new is installed here "
			  "before proactl forgive %s",
			  ev->from);
}

/* To the journal and to those who read without asking. */
static void tell(struct loop *l, struct agent *a)
{
	struct err e = ERR_INIT;

	if (l && l->bus.peer) { /* who asked is told, and nobody else is there */
		(void)!agent_publish(a, NULL);
		return;
	}
	agent_news(a, say_event, NULL);
	if (agent_publish(a, &e) < 0)
		log_err(&e, "metrics and login message");
}

static void run_verb(struct loop *l)
{
	const char *verb = agent_verb_name(l->bus.verb);
	struct err e = ERR_INIT;
	int r;

	if (!l->bus.peer)
		log_event(LOG_INFO, MSG_STATE, NULL, "%s: begins", verb);
	(void)sd_notifyf(0, "STATUS=%s", verb);
	r = bus_run(&l->bus, &e);
	l->said[0] = '\0';
	(void)sd_notify(0, "STATUS=waiting");
	tell(l, l->bus.agent);
	if (l->bus.peer) /* who asked is told, and nobody else is there */
		return;
	if (r < 0)
		log_err(&e, verb);
	else
		log_event(LOG_INFO, MSG_STATE, NULL, "%s: ended", verb);
}

/* Runs until it shall end or (service) nothing was asked for a while. */
static int serve(struct loop *l, bool service)
{
	while (!ending(l)) {
		int r;

		if (l->bus.verb != AGENT_NONE) {
			run_verb(l);
			continue;
		}
		r = run_once(l, service ? LOOP_IDLE_S * 1000ull : UINT64_MAX);
		if (r < 0)
			return r;
		if (r == 0 && service && bus_leave(&l->bus))
			return 0;
	}
	return 0;
}

static int add_signals(struct loop *l)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -1;
	r = sd_event_add_signal(l->event, NULL, SIGTERM, on_signal, l);
	if (r >= 0)
		r = sd_event_add_signal(l->event, NULL, SIGINT, on_signal, l);
	if (r >= 0)
		r = l->direct ? sd_event_add_signal(l->event, NULL, SIGHUP, on_signal, l)
			      : sd_event_add_signal(l->event, NULL, SIGHUP, on_reload, l);
	/* WATCHDOG=1 as often as WatchdogSec= asks; while a verb runs loop_pump() comes by here */
	return r < 0 ? r : sd_event_set_watchdog(l->event, 1);
}

int loop_run(struct agent *a, int fd, struct err *e)
{
	struct loop l = { .direct = fd >= 0 };
	struct err settle = ERR_INIT;
	int r = sd_event_default(&l.event);

	if (r >= 0)
		r = add_signals(&l);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot make an event loop: %s", strerror(-r));
	a->wait = loop_wait;
	a->pump = loop_pump;
	a->progress = loop_progress;
	a->note = loop_note;
	a->changed = loop_changed;
	a->reboot = loop_reboot;
	a->session = loop_session;
	a->wake = loop_wake;
	a->next_check = loop_next_check;
	/* cppcheck-suppress autoVariables ; a serves nobody after this function */
	a->arg = &l;
	r = bus_open(&l.bus, a, l.event, fd, e);
	if (r == 0) {
		/* a host that cannot be opened is said to whoever asks, not by dying */
		if (fd < 0 && agent_open(a, &settle) < 0)
			log_err(&settle, "this host");
		tell(&l, a);
		(void)sd_notify(0, "READY=1\nSTATUS=waiting");
		r = serve(&l, fd < 0);
		tell(&l, a); /* a status that was asked for may have settled the host */
		(void)sd_notify(0, "STOPPING=1");
		if (r < 0)
			r = err_set(e, ERR_HOST, -r, "event loop: %s", strerror(-r));
	}
	bus_close(&l.bus);
	(void)sd_event_unref(l.event);
	return r;
}

static void settle_note(void *arg, const char *text)
{
	(void)arg;
	log_event(LOG_WARNING, NULL, NULL, "%s", text);
}

int loop_settle(struct agent *a, struct err *e)
{
	struct loop l = { .bus = { .agent = a, .peer = true } };
	int r;

	/* what cannot be given back now is tried again by a timer, not by this program */
	a->note = settle_note;
	a->wake = loop_wake;
	/* cppcheck-suppress autoVariables ; taken away again below */
	a->arg = &l;
	r = agent_finish(a, e);
	a->wake = NULL;
	a->arg = NULL;
	tell(NULL, a);
	return r;
}
