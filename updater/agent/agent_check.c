/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "updater/agent/report.h"
#include "updater/slot/arch.h"

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

/* A person who goes back has said which one, so nothing of this host's keeps it back. */
static struct release_policy go_back(const char *to)
{
	struct release_policy p = { .allow_downgrade = true };

	(void)snprintf(p.lowest, sizeof(p.lowest), "%s", to);
	(void)snprintf(p.highest, sizeof(p.highest), "%s", to);
	return p;
}

static void decide(struct agent *a, const struct record *rec, const struct trust *t, const char *to,
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
				   .policy = to ? go_back(to) : config_policy(&h->conf),
				   .now = agent_now(a) };

	const struct record_event *fell = record_last_fallback(rec);

	/* a person who goes back is not kept from it by releases that did not stay */
	rh.fallbacks = to ? 0 : record_fallbacks(rec);
	rh.fallback_limit = h->conf.fallback_limit;
	rh.fallback_from = fell ? fell->from : "";
	for (size_t i = 0; i < rec->n_failure; i++) {
		(void)snprintf(failed[i].version, sizeof(failed[i].version), "%s",
			       rec->failure[i].version);
		failed[i].when = rec->failure[i].when;
		failed[i].reason = rec->failure[i].reason;
	}
	host_key(a->sys, rh.key);
	release_decide(t->offers, t->n_offers, &rh, ret);
}

void agent_check_done(struct agent_check *c)
{
	trust_done(&c->trust);
	if (c->agent)
		c->agent->fetch = NULL;
	fetcher_free(c->fetch);
}

/* Notes in the record how a check went. */
static int record_check(struct agent *a, const struct agent_check *c, const struct err *bad,
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
	record_count(&rec.totals.checks, 1);
	if (bad) {
		record_count(&rec.totals.failures[bad->kind], 1);
		a->counted = true;
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

static int check_metadata(struct agent *a, struct agent_check *c, struct err *e)
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
	decide(a, &rec, &c->trust, c->to, &c->decision);
	return 0;
}

static void note_clock(struct agent *a, struct agent_check *c)
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

int agent_check(struct agent *a, struct agent_check *c, struct err *e)
{
	struct err bad = ERR_INIT;
	int q, r;

	note_clock(a, c);
	q = check_metadata(a, c, &bad);
	if (q < 0 && agent_cancelled(a)) /* says nothing about the repository */
		return err_set(e, ERR_RETRY, ECANCELED, "cancelled");
	r = record_check(a, c, q < 0 ? &bad : NULL, e);
	/* what a person who goes back asked for is not what this host should run */
	if (!c->to && (r == 0 || q < 0))
		r = agent_last_save(a, c, q < 0 ? &bad : NULL, e);
	return q < 0 ? err_set(e, bad.kind, -q, "%s", bad.text) : r;
}

/* What a person should know beside the decision or the error. */
static int put_notes(const struct agent_check *c, json_t *o, struct err *e)
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

/* What is wrong with the mirrors, each by itself. */
static int put_mirrors(const struct agent_check *c, json_t *o, struct err *e)
{
	json_t *arr = json_array();
	int r = json_put(o, "mirrors", arr, e);

	for (size_t i = 0; r == 0 && c->fetch && i < fetcher_mirrors(c->fetch); i++) {
		struct fetcher_mirror m = fetcher_mirror(c->fetch, i);
		char text[sizeof(((struct err *)NULL)->text)];
		json_t *j;

		if (!m.error[0])
			continue;
		(void)text_clean(m.error, strlen(m.error), text, sizeof(text));
		j = json_object();
		r = json_push(arr, j, e);
		if (r == 0)
			r = json_put_str(j, "url", m.url, e);
		if (r == 0)
			r = json_put_str(j, "error", text, e);
	}
	return r;
}

int agent_check_json(struct agent *a, const struct agent_check *c, json_t **ret, struct err *e)
{
	AUTO_JSON *o = NULL;
	int r = report_decision(a->host, &c->decision, &o, e);

	if (r == 0)
		r = put_notes(c, o, e);
	if (r == 0)
		r = put_mirrors(c, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

int agent_check_put_error(const struct agent_check *c, const struct err *bad, json_t *o,
			  struct err *e)
{
	json_t *refused;
	int r = json_put_str(o, "error", bad->text, e);

	if (r == 0)
		r = json_put_str(o, "kind", err_kind_name(bad->kind), e);
	if (r == 0)
		r = report_refusal(&c->trust, &refused, e);
	if (r == 0)
		r = json_put(o, "refused", refused, e);
	if (r == 0)
		r = put_notes(c, o, e);
	return r < 0 ? r : put_mirrors(c, o, e);
}

int agent_run_check(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_AGENT_CHECK c = { .fetch = NULL };
	int r = agent_check(a, &c, e);

	return r < 0 ? r : agent_check_json(a, &c, ret, e);
}
