/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "updater/agent/publish.h"
#include "updater/agent/report.h"

#define LOCK_FILE  "agent.lock"
#define LOCK_TRIES 100 /* outlasts proa-settle.service after a boot, not an update */

const char *agent_verb_name(enum agent_verb v)
{
	static const char *const names[] = {
		[AGENT_NONE] = "none",         [AGENT_CHECK] = "check",
		[AGENT_STAGE] = "stage",       [AGENT_APPLY] = "apply",
		[AGENT_ROLLBACK] = "rollback", [AGENT_FORGIVE] = "forgive",
		[AGENT_WHY] = "why",           [AGENT_REBOOT] = "reboot",
		[AGENT_PLAN] = "plan",         [AGENT_REBOOT_ALLOWED] = "reboot",
		[AGENT_REBOOT_NOW] = "reboot", [AGENT_PIN] = "pin",
		[AGENT_HOLD] = "hold",         [AGENT_UNHOLD] = "unhold",
	};

	return names[v];
}

const char *agent_phase_name(enum act_phase p)
{
	static const char *const names[] = {
		[ACT_UKI] = "uki",     [ACT_SCAN] = "scan",   [ACT_FETCH] = "fetch",
		[ACT_WRITE] = "write", [ACT_PROVE] = "prove", [ACT_ESP] = "esp",
	};

	return names[p];
}

void agent_done(struct agent *a)
{
	host_close(a->host);
	json_decref(a->status);
	a->host = NULL;
	a->status = NULL;
}

/* When the running system was built, as far as its files tell; 0: they do not. */
static int64_t built_time(void)
{
	static const char *const files[] = { "/usr/lib/clock-epoch", "/usr/lib/os-release" };
	int64_t newest = 0;
	struct stat st;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (stat(files[i], &st) == 0 && st.st_mtime > newest)
			newest = st.st_mtime;
	return newest;
}

static int look(struct agent *a, struct err *e)
{
	struct host_live live;
	struct config conf;
	int r;

	host_close(a->host);
	a->host = NULL;
	r = config_load(a->config_file, a->warned ? NULL : a->note, a->arg, &conf, e);
	if (r < 0)
		return r;
	a->warned = true;
	r = a->live ? 0 : host_live_read(a->sys, &conf, &live, e);
	if (a->live)
		live = *a->live;
	if (r < 0)
		return r;
	r = host_open(a->sys, &conf, &live, &a->host, e);
	return r < 0 ? r : 0;
}

/*
 * One proad at a time works on a host: a service and a `proactl --direct` beside it would write the
 * trust store under each other's feet. Tries ten times a second, then -EBUSY. No storage, so not
 * through a->sys.
 */
static int lock_host(struct agent *a, unsigned tries, struct sys_fd *ret, struct err *e)
{
	const struct timespec pause = { .tv_nsec = 100L * 1000 * 1000 };
	int fd = a->sys->ops->open(a->sys, a->host->state, LOCK_FILE, O_RDWR | O_CREAT, 0600);
	int r;

	if (fd < 0)
		return err_set(e, ERR_HOST, -fd, "%s/" LOCK_FILE ": %s%s", a->host->conf.state,
			       strerror(-fd), fd == -EACCES ? " (sudo)" : "");
	ret->sys = a->sys;
	ret->fd = fd;
	for (r = flock(fd, LOCK_EX | LOCK_NB); r < 0 && errno == EWOULDBLOCK && tries > 1;
	     tries--) {
		(void)nanosleep(&pause, NULL);
		r = flock(fd, LOCK_EX | LOCK_NB);
	}
	if (r == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(e, ERR_RETRY, EBUSY,
			       "another proad works on this host: wait for it (proactl status)");
	return err_set(e, ERR_HOST, errno, "%s/" LOCK_FILE ": %s", a->host->conf.state,
		       strerror(errno));
}

static int settle(struct agent *a, struct err *e)
{
	struct err bad = ERR_INIT;
	struct machine_settle s;
	struct agent_work w = { .agent = a };
	struct act act = agent_act(a, &w);
	struct record rec;
	int r = 0;

	if (a->told == 0) {
		r = record_load(a->sys, a->host->state, &rec, e);
		if (r < 0)
			return r;
		a->told = rec.next_event ? rec.next_event : 1;
	}
	if (r == 0)
		r = act_settle(&act, &s, e);
	if (r < 0)
		return r;
	r = record_load(a->sys, a->host->state, &rec, e);
	if (r < 0)
		return r;
	/* what hooks are told must not keep a host from being looked at */
	if (agent_reboot_heard(a, &s, &bad) < 0 && a->note)
		a->note(a->arg, bad.text);
	a->verified = rec.metadata_time;
	a->built = built_time();
	a->opened = true;
	return 0;
}

int agent_open(struct agent *a, struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	int r = look(a, e);

	if (r < 0)
		return r;
	if (a->opened)
		return 0;
	r = lock_host(a, 1, &lock, e);
	if (r == -EBUSY)
		return 0;
	return r < 0 ? r : settle(a, e);
}

static int run_verb(struct agent *a, enum agent_verb v, const struct agent_args *args, json_t **ret,
		    struct err *e)
{
	switch (v) {
	case AGENT_CHECK:
		return agent_run_check(a, ret, e);
	case AGENT_STAGE:
		return agent_run_stage(a, args->any_size, ret, e);
	case AGENT_PLAN:
		return agent_run_plan(a, ret, e);
	case AGENT_APPLY:
		return agent_run_apply(a, ret, e);
	case AGENT_ROLLBACK:
		return agent_run_rollback(a, args, ret, e);
	case AGENT_FORGIVE:
		return agent_run_forgive(a, args->version, ret, e);
	case AGENT_WHY:
		return agent_run_why(a, ret, e);
	case AGENT_REBOOT:
		return agent_run_reboot(a, REBOOT_BY_PERSON, ret, e);
	case AGENT_REBOOT_ALLOWED:
		return agent_run_reboot(a, REBOOT_BY_ITSELF, ret, e);
	case AGENT_REBOOT_NOW:
		return agent_run_reboot(a, REBOOT_BY_FORCE, ret, e);
	case AGENT_PIN:
		return agent_run_pin(a, args->version, ret, e);
	case AGENT_HOLD:
		return agent_run_hold(a, true, args->reason, ret, e);
	case AGENT_UNHOLD:
		return agent_run_hold(a, false, "", ret, e);
	case AGENT_NONE:
		break;
	}
	return err_set(e, ERR_BUG, EINVAL, "no such verb");
}

static enum machine_state state_of(enum agent_verb v, enum machine_state before)
{
	switch (v) {
	case AGENT_CHECK:
	case AGENT_WHY:
	case AGENT_PLAN:
		return MACHINE_CHECKING;
	case AGENT_STAGE:
		return MACHINE_STAGING;
	case AGENT_APPLY:
		return MACHINE_APPLYING;
	case AGENT_REBOOT:
	case AGENT_REBOOT_ALLOWED:
	case AGENT_REBOOT_NOW:
		return MACHINE_REBOOTING;
	case AGENT_ROLLBACK:
	case AGENT_FORGIVE:
	case AGENT_PIN:
	case AGENT_HOLD:
	case AGENT_UNHOLD:
	case AGENT_NONE:
		break;
	}
	return before;
}

int agent_look_status(struct agent *a, json_t **ret, struct err *e)
{
	struct machine_facts f;
	struct record rec;
	json_t *o;
	int r = host_look(a->host, e);

	if (r == 0)
		r = record_load(a->sys, a->host->state, &rec, e);
	if (r < 0)
		return r;
	host_facts(a->host, &rec, agent_now(a), &f);
	a->state = machine_state(&rec, &f);
	r = report_status(a->host, &rec, &f, &o, e);
	if (r < 0)
		return r;
	r = report_window(&a->host->conf, agent_now(a), o, e);
	if (r == 0)
		r = agent_reboot_status(a, o, e);
	if (r == 0)
		r = report_policy(&a->host->conf, o, e);
	if (r == 0)
		r = report_next_check(a->next_check ? a->next_check(a->arg) : 0, o, e);
	if (r < 0) {
		json_decref(o);
		return r;
	}
	json_decref(a->status);
	a->status = o;
	*ret = json_incref(o);
	return 0;
}

/* For metrics only: what cannot be counted is not. */
static void count_failure(struct agent *a, const struct err *bad)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	struct record rec;

	if (record_lock(a->sys, a->host->state, &lock, NULL) < 0 ||
	    record_load(a->sys, a->host->state, &rec, NULL) < 0)
		return;
	record_count(&rec.totals.failures[bad->kind], 1);
	(void)!record_store(a->sys, a->host->state, &rec, NULL);
}

/*
 * What an earlier boot left to do; that it cannot be done now keeps no host from its updates.
 * forgiven: a release that a person forgave, which may be why a place was kept; or NULL.
 */
static int pay(struct agent *a, const char *forgiven, struct err *e)
{
	struct err bad = ERR_INIT;
	int r = forgiven ? agent_reboot_forgiven(a, forgiven, &bad) : agent_reboot_owed(a, &bad);

	if (r == -ECANCELED)
		return err_set(e, bad.kind, ECANCELED, "%s", bad.text);
	if (r < 0 && a->note)
		a->note(a->arg, bad.text);
	return 0;
}

/* It is forgiven, whatever comes of the place: a later look gives it back too. */
static void pay_forgiven(struct agent *a, const char *version)
{
	struct err ignored = ERR_INIT;

	(void)!pay(a, version, &ignored);
}

/* While the verb runs others are told what was before it, and how far it is. */
static int run_alone(struct agent *a, enum agent_verb v, const struct agent_args *args,
		     json_t **ret, struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	AUTO_JSON *before = NULL;
	AUTO_JSON *after = NULL;
	int r = look(a, e);

	if (r < 0)
		return r;
	r = lock_host(a, LOCK_TRIES, &lock, e);
	if (r == 0)
		r = settle(a, e);
	if (r == 0)
		r = agent_look_status(a, &before, e);
	if (r < 0)
		return r;
	/* from here on others are served meanwhile, and must not look at the host anew */
	a->busy = v;
	a->acting = a->paused = false;
	if (v == AGENT_STAGE || v == AGENT_CHECK) {
		r = pay(a, NULL, e);
		if (r == 0)
			r = agent_look_status(a, &after, e);
	}
	if (r == 0 && a->changed)
		a->changed(a->arg);
	a->counted = false;
	if (r == 0)
		r = run_verb(a, v, args, ret, e);
	if (r == 0 && v == AGENT_FORGIVE)
		pay_forgiven(a, args->version);
	a->busy = AGENT_NONE;
	a->paused = false;
	if (r < 0 && !a->counted && !agent_cancelled(a))
		count_failure(a, e);
	return r;
}

int agent_finish(struct agent *a, struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	int r = look(a, e);

	if (r == 0)
		r = lock_host(a, LOCK_TRIES, &lock, e);
	if (r == -EBUSY) /* it settles too, and proa-update.timer comes back to the rest */
		return 0;
	if (r == 0)
		r = settle(a, e);
	return r < 0 ? r : agent_reboot_owed(a, e);
}

bool agent_pause(struct agent *a, bool paused)
{
	if (a->busy == AGENT_NONE)
		return false;
	a->paused = paused;
	if (a->fetch)
		fetcher_pause(a->fetch, paused);
	return true;
}

bool agent_limit(struct agent *a, uint64_t limit)
{
	if (!a->fetch)
		return false;
	fetcher_limit(a->fetch, limit);
	return true;
}

int agent_run(struct agent *a, enum agent_verb v, const struct agent_args *args, json_t **ret,
	      struct err *e)
{
	static const struct agent_args none = { .any_size = false };
	int r = run_alone(a, v, args ? args : &none, ret, e);

	/* an interrupt reaches proa-fetch too: that it is gone is not what happened */
	if (r < 0 && agent_cancelled(a))
		return err_set(e, ERR_RETRY, ECANCELED, "%s was cancelled%s", agent_verb_name(v),
			       v == AGENT_STAGE
				       ? "; what is written stays, and proactl update goes on there"
				       : "");
	return r;
}

static int describe_busy(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_copy(a->status);
	json_t *job = json_object();
	int r;

	if (!o) {
		json_decref(job);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	r = json_put(o, "job", job, e);
	if (r == 0)
		r = json_put_str(o, "state", machine_state_name(state_of(a->busy, a->state)), e);
	if (r == 0)
		r = json_put_str(job, "verb", agent_verb_name(a->busy), e);
	if (r == 0)
		r = json_put(job, "paused", json_boolean(a->paused), e);
	if (r == 0)
		r = json_put_str(job, "phase", a->acting ? agent_phase_name(a->phase) : "metadata",
				 e);
	if (r == 0)
		r = json_put_u64(job, "done", a->acting ? a->done : 0, e);
	if (r == 0)
		r = json_put_u64(job, "total", a->acting ? a->total : 0, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

int agent_describe(struct agent *a, json_t **ret, struct err *e)
{
	int r;

	if (a->busy != AGENT_NONE && a->status)
		return describe_busy(a, ret, e);
	r = agent_open(a, e);
	return r < 0 ? r : agent_look_status(a, ret, e);
}

int agent_history(struct agent *a, json_t **ret, struct err *e)
{
	struct record rec;
	int r = a->busy == AGENT_NONE ? agent_open(a, e) : 0;

	if (r < 0)
		return r;
	r = record_load(a->sys, a->host->state, &rec, e);
	return r < 0 ? r : report_history(&rec, ret, e);
}

int agent_health(struct agent *a, json_t **ret, struct err *e)
{
	int r = a->busy == AGENT_NONE ? agent_open(a, e) : 0;

	return r < 0 ? r : publish_health(a->host, ret, e);
}

void agent_news(struct agent *a, agent_news_fn fn, void *arg)
{
	struct record rec;
	unsigned limit, fallbacks = 0;

	if (!a->host || a->told == 0 || record_load(a->sys, a->host->state, &rec, NULL) < 0)
		return;
	limit = a->host->conf.fallback_limit;
	for (size_t i = 0; i < rec.n_event; i++) {
		const struct record_event *ev = &rec.event[i];
		bool fell = ev->kind == RECORD_EV_FELL_BACK;

		if (ev->kind == RECORD_EV_GOOD || ev->kind == RECORD_EV_FORGIVEN)
			fallbacks = 0;
		fallbacks += fell;
		if (ev->id >= a->told)
			fn(arg, ev, fell && limit && fallbacks >= limit);
	}
	a->told = rec.next_event ? rec.next_event : 1;
}

/* What the last look said of the release that runs; NULL: it is no dead end. Borrowed from last. */
static const char *dead_end(const struct agent *a, const json_t *last)
{
	const json_t *d = json_object_get(last, "decision"), *reasons, *r;
	const char *of = json_string_value(json_object_get(d, "running"));
	size_t i;

	reasons = json_object_get(d, "reasons");
	json_array_foreach(reasons, i, r)
	{
		const char *code = json_string_value(json_object_get(r, "code"));

		if (of && code && a->host->running && strcmp(of, a->host->version) == 0 &&
		    strcmp(code, "dead-end") == 0)
			return json_string_value(json_object_get(r, "text"));
	}
	return NULL;
}

int agent_publish(struct agent *a, struct err *e)
{
	AUTO_JSON *last = NULL;
	struct machine_facts f;
	struct record rec;
	int r;

	if (!a->host)
		return 0;
	r = host_look(a->host, e);
	if (r == 0)
		r = record_load(a->sys, a->host->state, &rec, e);
	if (r < 0)
		return r;
	host_facts(a->host, &rec, agent_now(a), &f);
	if (agent_last_load(a, &last, NULL) < 0)
		last = NULL;
	return publish(a->host, &rec, &f, dead_end(a, last), e);
}

/* A decision is about the release that ran when it was made. */
static bool of_what_runs(const json_t *last, const json_t *status)
{
	const json_t *d = json_object_get(last, "decision");
	const char *then = json_string_value(json_object_get(d, "running"));
	const char *now =
		json_string_value(json_object_get(json_object_get(status, "running"), "version"));

	return !d || (then && now ? strcmp(then, now) == 0 : then == now);
}

int agent_explain(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_JSON *status = NULL;
	AUTO_JSON *o = NULL;
	int r = agent_describe(a, &status, e);

	if (r == 0)
		r = agent_last_load(a, &o, e);
	if (r == 0 && !of_what_runs(o, status))
		r = err_set(e, ERR_INPUT, ENOENT,
			    "this host has not looked for releases since it runs another one "
			    "(proactl check)");
	if (r == 0)
		r = json_put(o, "status", json_incref(status), e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

int agent_config(struct agent *a, json_t **ret, struct err *e)
{
	return report_config(a->config_file, ret, e);
}

int agent_alone(struct agent *a, struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	int r = a->busy == AGENT_NONE ? agent_open(a, e) : 0;

	if (r < 0 || a->busy != AGENT_NONE)
		return r;
	return lock_host(a, 1, &lock, e);
}
