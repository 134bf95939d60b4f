/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "updater/agent/report.h"
#include "updater/slot/arch.h"

#define LOCK_FILE  "agent.lock"
#define LOCK_TRIES 100 /* outlasts proa-settle.service after a boot, not an update */

const char *agent_verb_name(enum agent_verb v)
{
	static const char *const names[] = {
		[AGENT_NONE] = "none",   [AGENT_CHECK] = "check",       [AGENT_STAGE] = "stage",
		[AGENT_APPLY] = "apply", [AGENT_ROLLBACK] = "rollback", [AGENT_FORGIVE] = "forgive",
		[AGENT_WHY] = "why",     [AGENT_REBOOT] = "reboot",     [AGENT_PLAN] = "plan",
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

static int act_blob(void *arg, const struct release_blob *b, struct image_source *ret,
		    struct err *e)
{
	struct fetcher *f = arg;
	char path[RELEASE_BLOB_PATH_MAX];

	return fetcher_source(f, release_blob_path(b->sha256, path), b->bytes, ret, e);
}

/* What act_*.c need of this agent for one verb. */
struct work {
	struct agent *agent;
	struct fetcher *fetch;
};

static int work_blob(void *arg, const struct release_blob *b, struct image_source *ret,
		     struct err *e)
{
	return act_blob(((struct work *)arg)->fetch, b, ret, e);
}

static int work_elsewhere(void *arg, const struct release_blob *b)
{
	const struct work *w = arg;
	struct image_source src;

	return act_blob(w->fetch, b, &src, NULL) == 0 &&
	       fetcher_blame(w->fetch, &src, "what it sent is not what the release says");
}

static void work_note(void *arg, const char *text)
{
	const struct agent *a = ((struct work *)arg)->agent;

	if (a->note)
		a->note(a->arg, text);
}

static int work_progress(void *arg, enum act_phase phase, uint64_t done, uint64_t total)
{
	struct agent *a = ((struct work *)arg)->agent;

	a->acting = true;
	a->phase = phase;
	a->done = done;
	a->total = total;
	if (a->progress)
		a->progress(a->arg, a->busy, phase, done, total);
	return a->pump ? a->pump(a->arg) : 0;
}

/* Seconds since 1970, by a clock that cannot be behind what is known to be past. */
static int64_t agent_now(const struct agent *a)
{
	int64_t behind;

	return machine_clock(a->verified, a->built, time(NULL), &behind);
}

static struct act make_act(struct agent *a, struct work *w)
{
	struct act act = { .host = a->host,
			   .now = agent_now(a),
			   .blob = work_blob,
			   .elsewhere = work_elsewhere,
			   .note = work_note,
			   .progress = work_progress,
			   .arg = w };

	return act;
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
	r = host_live_read(a->sys, &conf, &live, e);
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
	struct machine_settle s;
	struct work w = { .agent = a };
	struct act act = make_act(a, &w);
	struct record rec;
	int r = act_settle(&act, &s, e);

	if (r < 0)
		return r;
	r = record_load(a->sys, a->host->state, &rec, e);
	if (r < 0)
		return r;
	if (s.news != MACHINE_NEWS_NONE)
		a->news = s;
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

/* The caller, or the end of this program, wants the verb to end. */
static bool cancelled(struct agent *a)
{
	return a->pump && a->pump(a->arg) < 0;
}

static int connect_fetch(struct agent *a, struct fetcher **ret, struct err *e)
{
	const struct fetcher_link link = { .socket = a->host->conf.socket,
					   .program = a->fetch_program,
					   .url = a->host->conf.url,
					   .limit = a->host->conf.limit,
					   .min_rate = a->host->conf.min_rate,
					   .min_time_s = a->host->conf.min_time_s,
					   .deadline_s = a->host->conf.deadline_s,
					   .wait = a->wait,
					   .note = a->note,
					   .arg = a->arg };

	return fetcher_new(&link, ret, e);
}

/* The host's place in rollouts: its machine id, hashed so that it does not leave as it is. */
static void host_key(struct sys *sys, uint8_t key[16])
{
	AUTO_FREE char *id = NULL;
	uint8_t sum[SHA256_BYTES];
	size_t n = 0;

	if (file_read(sys, AT_FDCWD, "/etc/machine-id", 64, &id, &n, NULL) < 0)
		n = 0;
	sha256(id ? id : "", n, sum);
	memcpy(key, sum, 16);
}

static void decide(struct agent *a, const struct record *rec, const struct trust *t,
		   struct release_decision *ret)
{
	struct host *h = a->host;
	struct release_failed failed[RECORD_FAILURES_MAX];
	struct release_host rh = { .image = h->conf.image,
				   .arch = h->disk->arch->name,
				   .channel = h->conf.channel,
				   .running = h->running ? h->version : NULL,
				   .failed = failed,
				   .n_failed = rec->n_failure,
				   .policy = h->conf.policy,
				   .now = agent_now(a) };

	rh.policy.pin_where = h->conf.pin_where;
	rh.policy.hold_where = h->conf.hold_where;

	for (size_t i = 0; i < rec->n_failure; i++) {
		(void)snprintf(failed[i].version, sizeof(failed[i].version), "%s",
			       rec->failure[i].version);
		failed[i].when = rec->failure[i].when;
		failed[i].reason = rec->failure[i].reason;
	}
	host_key(a->sys, rh.key);
	release_decide(t->offers, t->n_offers, &rh, ret);
}

/* One check: metadata refreshed and verified, the decision made and recorded. */
struct check {
	struct agent *agent;
	struct fetcher *fetch;
	struct trust trust;
	struct trust_job job;
	struct release_decision decision;
	char clock[240]; /* a sentence when the clock is behind; else empty */
};

static void check_done(struct check *c)
{
	trust_done(&c->trust);
	if (c->agent)
		c->agent->fetch = NULL;
	fetcher_free(c->fetch);
}
#define AUTO_CHECK __attribute__((cleanup(check_done))) struct check

/* Notes in the record how a check went. */
static int record_check(struct agent *a, const struct check *c, const struct err *bad,
			struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	const struct release_offer *newest = c->decision.newest;
	struct record rec;
	int r = record_lock(a->sys, a->host->state, &lock, e);

	if (r < 0)
		return r;
	r = record_load(a->sys, a->host->state, &rec, e);
	if (r < 0)
		return r;
	rec.last_check = agent_now(a);
	if (bad) {
		(void)text_clean(bad->text, strlen(bad->text), rec.last_error,
				 sizeof(rec.last_error));
	} else {
		rec.last_check_ok = rec.last_check;
		rec.last_error[0] = '\0';
		(void)snprintf(rec.newest, sizeof(rec.newest), "%s", newest ? newest->version : "");
		if (c->trust.newest_time > rec.metadata_time)
			rec.metadata_time = c->trust.newest_time;
	}
	a->verified = rec.metadata_time;
	return record_store(a->sys, a->host->state, &rec, e);
}

static int check_metadata(struct agent *a, struct check *c, struct err *e)
{
	struct record rec;
	int r = connect_fetch(a, &c->fetch, e);

	if (r < 0)
		return r;
	c->agent = a;
	a->fetch = c->fetch;
	fetcher_pause(a->fetch, a->paused);
	c->job = (struct trust_job){ .sys = a->sys,
				     .state = a->host->state,
				     .first_root = a->host->conf.root,
				     .channel = a->host->conf.channel,
				     .now = agent_now(a),
				     .fetch = c->fetch };
	r = trust_refresh(&c->job, &c->trust, e);
	if (r < 0)
		return r;
	r = host_look(a->host, e);
	if (r < 0)
		return r;
	r = record_load(a->sys, a->host->state, &rec, e);
	if (r < 0)
		return r;
	decide(a, &rec, &c->trust, &c->decision);
	return 0;
}

static void note_clock(struct agent *a, struct check *c)
{
	char much[40], says[NUM_TIME_MAX];
	int64_t behind, clock = time(NULL);

	(void)machine_clock(a->verified, a->built, clock, &behind);
	if (behind == 0)
		return;
	num_format_time(clock, says);
	(void)snprintf(c->clock, sizeof(c->clock),
		       "the clock of this host is wrong: it says %s, %s behind %s; the later time "
		       "is used (set the clock)",
		       says, text_duration((uint64_t)behind, much, sizeof(much)),
		       a->verified > a->built ? "metadata that was verified here"
					      : "the build of the system it runs");
	if (a->note && a->busy != AGENT_WHY) /* it is part of that answer */
		a->note(a->arg, c->clock);
}

static int check(struct agent *a, struct check *c, struct err *e)
{
	struct err inner = ERR_INIT;
	int r;

	note_clock(a, c);
	r = check_metadata(a, c, &inner);
	if (r < 0 && cancelled(a)) /* says nothing about the repository */
		return err_set(e, ERR_RETRY, ECANCELED, "cancelled");
	if (record_check(a, c, r < 0 ? &inner : NULL, e) < 0 && r == 0)
		return -e->os;
	if (r < 0)
		*e = inner;
	return r;
}

/* What a person should know beside the decision or the error. */
static int put_notes(const struct check *c, json_t *o, struct err *e)
{
	json_t *notes = json_array();
	char text[160];
	int r = json_put(o, "notes", notes, e);

	if (r == 0 && c->clock[0])
		r = json_push(notes, json_string(c->clock), e);
	if (r == 0 && c->trust.skipped > 0) {
		(void)snprintf(text, sizeof(text),
			       "%zu releases of this channel are in a form this Proa does not know",
			       c->trust.skipped);
		r = json_push(notes, json_string(text), e);
	}
	return r;
}

static int decision_json(struct agent *a, const struct check *c, json_t **ret, struct err *e)
{
	AUTO_JSON *o = NULL;
	int r = report_decision(a->host, &c->decision, &o, e);

	if (r == 0)
		r = put_notes(c, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

/* Why there is no decision. */
static int put_error(const struct check *c, const struct err *bad, json_t *o, struct err *e)
{
	json_t *refused;
	int r = json_put_str(o, "error", bad->text, e);

	if (r == 0)
		r = report_refusal(&c->trust, &refused, e);
	if (r == 0)
		r = json_put(o, "refused", refused, e);
	return r < 0 ? r : put_notes(c, o, e);
}

static int run_check(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_CHECK c = { .fetch = NULL };
	int r = check(a, &c, e);

	return r < 0 ? r : decision_json(a, &c, ret, e);
}

static int result_json(const char *version, const struct act_result *res, json_t *o, struct err *e)
{
	char slot[2] = { slot_letter(res->slot), '\0' };
	int r = json_put_str(o, "version", version, e);

	if (r == 0)
		r = json_put_str(o, "slot", slot, e);
	if (r == 0)
		r = json_put(o, "uki_only", json_boolean(res->uki_only), e);
	if (r == 0)
		r = json_put(o, "nothing", json_boolean(res->nothing), e);
	if (r == 0)
		r = json_put_u64(o, "fetched", res->fetched + res->uki_fetched, e);
	if (r == 0)
		r = json_put_u64(o, "written", res->written, e);
	if (r == 0)
		r = json_put_u64(o, "kept", res->kept, e);
	if (r == 0)
		r = json_put_u64(o, "hashed", res->hashed, e);
	if (r == 0)
		r = json_put_u64(o, "copied", res->copied, e);
	if (r == 0)
		r = json_put_u64(o, "spared", res->spared, e);
	return r;
}

/* What MaxDownload= comes to for this release; 0: any number of bytes. */
static uint64_t max_fetch(const struct config *conf, const struct release_manifest *m)
{
	uint64_t all = release_blob_find(m, RELEASE_USR_FULL, NULL)->bytes +
		       release_blob_find(m, RELEASE_UKI_FULL, NULL)->bytes;

	return conf->max_percent ? all / 100 * conf->max_percent + 1 : conf->max_fetch;
}

/* What staging would do, added to the decision to update; changes nothing. */
static int plan_json(struct agent *a, struct check *c, json_t *o, struct err *e)
{
	struct work w = { .agent = a, .fetch = c->fetch };
	struct act act = make_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct release_manifest m;
	int r = trust_manifest(&c->job, &c->trust, c->decision.chosen, &m, e);

	if (r < 0)
		return r;
	act.max_fetch = max_fetch(&a->host->conf, &m);
	r = act_plan_stage(&act, &m, &res, e);
	if (r == 0)
		r = result_json(m.version, &res, o, e);
	if (r == 0 && !res.nothing)
		r = report_plan(o, &res, e);
	if (r == 0 && res.waits)
		r = report_waits(o, m.version, &res, act.max_fetch, e);
	return r;
}

static int run_plan(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_CHECK c = { .fetch = NULL };
	AUTO_JSON *o = NULL;
	int r = check(a, &c, e);

	if (r == 0)
		r = decision_json(a, &c, &o, e);
	if (r == 0 && c.decision.verdict == RELEASE_UPDATE)
		r = plan_json(a, &c, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int run_stage(struct agent *a, bool any_size, json_t **ret, struct err *e)
{
	AUTO_CHECK c = { .fetch = NULL };
	AUTO_JSON *o = NULL;
	struct work w = { .agent = a };
	struct act act = make_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct release_manifest m;
	int r = check(a, &c, e);

	if (r == 0)
		r = decision_json(a, &c, &o, e);
	if (r < 0)
		return r;
	if (c.decision.verdict != RELEASE_UPDATE) {
		*ret = json_incref(o);
		return 0;
	}
	r = trust_manifest(&c.job, &c.trust, c.decision.chosen, &m, e);
	if (r < 0)
		return r;
	w.fetch = c.fetch;
	act.max_fetch = any_size ? 0 : max_fetch(&a->host->conf, &m);
	r = act_stage(&act, &m, &res, e);
	if (r == 0)
		r = result_json(m.version, &res, o, e);
	if (r == 0 && !res.nothing)
		r = report_plan(o, &res, e);
	if (r == 0 && res.waits)
		r = report_waits(o, m.version, &res, act.max_fetch, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int run_apply(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	struct work w = { .agent = a };
	struct act act = make_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct record rec;
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = act_apply(&act, &res, e);
	if (r == 0)
		r = record_load(a->sys, a->host->state, &rec, e);
	if (r == 0)
		r = result_json(rec.target.version, &res, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int run_rollback(struct agent *a, const char *reason, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	struct work w = { .agent = a };
	struct act act = make_act(a, &w);
	char was[RECORD_VERSION_MAX], gone[RECORD_VERSION_MAX];
	const char *next;
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	(void)snprintf(was, sizeof(was), "%s", a->host->version);
	r = act_rollback(&act, reason ? reason : "", gone, e);
	if (r == 0)
		r = host_look(a->host, e);
	if (r < 0)
		return r;
	next = a->host->next < a->host->n_entries ? a->host->entries[a->host->next].version : "";
	r = json_put_str(o, "version", gone, e);
	if (r == 0)
		r = json_put_str(o, "next", next, e);
	if (r == 0)
		r = json_put(o, "reboot_needed", json_boolean(strcmp(next, was) != 0), e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int run_forgive(struct agent *a, const char *version, json_t **ret, struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	AUTO_JSON *o = json_object();
	struct record_event ev = { .when = agent_now(a), .kind = RECORD_EV_FORGIVEN };
	struct record rec;
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = record_lock(a->sys, a->host->state, &lock, e);
	if (r == 0)
		r = record_load(a->sys, a->host->state, &rec, e);
	if (r < 0)
		return r;
	if (!version || !record_forgive(&rec, version))
		return err_set(e, ERR_INPUT, ENOENT,
			       "%s has not failed on this host (proactl status)",
			       version ? version : "no version");
	(void)snprintf(ev.version, sizeof(ev.version), "%.64s", version);
	record_add_event(&rec, &ev);
	r = record_store(a->sys, a->host->state, &rec, e);
	if (r == 0)
		r = json_put_str(o, "version", version, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int run_reboot(struct agent *a, json_t **ret, struct err *e)
{
	struct machine_facts f;
	struct record rec;
	int r = record_load(a->sys, a->host->state, &rec, e);

	if (r < 0)
		return r;
	host_facts(a->host, &rec, agent_now(a), &f);
	r = machine_may(&rec, &f, MACHINE_REBOOT, e);
	if (r == 0 && !a->reboot)
		r = err_set(e, ERR_BUG, ENOSYS, "this agent cannot reboot");
	if (r == 0)
		r = a->reboot(a->arg, e);
	if (r < 0)
		return r;
	*ret = json_object();
	return 0;
}

static int describe(struct agent *a, json_t **ret, struct err *e);

/* Would it wait for a person for being too large? What hinders the answer is no failure of `why`.
 */
static int why_waits(struct agent *a, struct check *c, json_t *decision, struct err *e)
{
	const struct config *conf = &a->host->conf;
	struct work w = { .agent = a, .fetch = c->fetch };
	struct act act = make_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct release_manifest m;

	if (c->decision.verdict != RELEASE_UPDATE || (!conf->max_fetch && !conf->max_percent) ||
	    trust_manifest(&c->job, &c->trust, c->decision.chosen, &m, NULL) < 0)
		return 0;
	act.max_fetch = max_fetch(conf, &m);
	if (act_plan_stage(&act, &m, &res, NULL) < 0 || !res.waits)
		return 0;
	return report_waits(decision, m.version, &res, act.max_fetch, e);
}

/* The decision beside the status, so that one answer explains everything. */
static int run_why(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_CHECK c = { .fetch = NULL };
	AUTO_JSON *o = json_object();
	AUTO_JSON *status = NULL;
	struct err bad = ERR_INIT;
	json_t *decision = NULL;
	int r = 0;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = check(a, &c, &bad);
	if (r == -ECANCELED)
		return err_set(e, bad.kind, ECANCELED, "%s", bad.text);
	if (r < 0)
		r = put_error(&c, &bad, o, e);
	else
		r = decision_json(a, &c, &decision, e);
	if (r == 0 && decision)
		r = json_put(o, "decision", decision, e);
	if (r == 0 && decision)
		r = why_waits(a, &c, decision, e);
	if (r == 0)
		r = describe(a, &status, e);
	if (r == 0)
		r = json_put(o, "status", json_incref(status), e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int run_verb(struct agent *a, enum agent_verb v, const char *arg, json_t **ret,
		    struct err *e)
{
	switch (v) {
	case AGENT_CHECK:
		return run_check(a, ret, e);
	case AGENT_STAGE:
		return run_stage(a, arg && strcmp(arg, "any-size") == 0, ret, e);
	case AGENT_PLAN:
		return run_plan(a, ret, e);
	case AGENT_APPLY:
		return run_apply(a, ret, e);
	case AGENT_ROLLBACK:
		return run_rollback(a, arg, ret, e);
	case AGENT_FORGIVE:
		return run_forgive(a, arg, ret, e);
	case AGENT_WHY:
		return run_why(a, ret, e);
	case AGENT_REBOOT:
		return run_reboot(a, ret, e);
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
		return MACHINE_REBOOTING;
	case AGENT_ROLLBACK:
	case AGENT_FORGIVE:
	case AGENT_NONE:
		break;
	}
	return before;
}

/* Of the host as agent_open() found it. */
static int describe(struct agent *a, json_t **ret, struct err *e)
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
	if (r < 0) {
		json_decref(o);
		return r;
	}
	json_decref(a->status);
	a->status = o;
	*ret = json_incref(o);
	return 0;
}

/* While the verb runs others are told what was before it, and how far it is. */
static int run_alone(struct agent *a, enum agent_verb v, const char *arg, json_t **ret,
		     struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->sys, .fd = -1 };
	AUTO_JSON *before = NULL;
	int r = look(a, e);

	if (r < 0)
		return r;
	r = lock_host(a, LOCK_TRIES, &lock, e);
	if (r == 0)
		r = settle(a, e);
	if (r == 0)
		r = describe(a, &before, e);
	if (r < 0)
		return r;
	a->busy = v;
	a->acting = a->paused = false;
	if (a->changed)
		a->changed(a->arg);
	r = run_verb(a, v, arg, ret, e);
	a->busy = AGENT_NONE;
	a->paused = false;
	return r;
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

int agent_run(struct agent *a, enum agent_verb v, const char *arg, json_t **ret, struct err *e)
{
	int r = run_alone(a, v, arg, ret, e);

	/* an interrupt reaches proa-fetch too: that it is gone is not what happened */
	if (r < 0 && cancelled(a))
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
	return r < 0 ? r : describe(a, ret, e);
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
