/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "updater/agent/report.h"

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

/* Of what was staged, or would be. */
static int staged_json(const char *version, const struct act_result *res, uint64_t max_fetch,
		       json_t *o, struct err *e)
{
	int r = result_json(version, res, o, e);

	if (r == 0 && !res->nothing)
		r = report_plan(o, res, e);
	if (r == 0 && res->waits)
		r = report_waits(o, version, res, max_fetch, e);
	return r;
}

uint64_t agent_max_fetch(const struct config *conf, const struct release_manifest *m)
{
	uint64_t all = release_blob_find(m, RELEASE_USR_FULL, NULL)->bytes +
		       release_blob_find(m, RELEASE_UKI_FULL, NULL)->bytes;

	return conf->max_percent ? all / 100 * conf->max_percent + 1 : conf->max_fetch;
}

/* What staging would do, added to the decision to update; changes nothing. */
static int plan_json(struct agent *a, struct agent_check *c, json_t *o, struct err *e)
{
	struct agent_work w = { .agent = a, .fetch = c->fetch };
	struct act act = agent_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct release_manifest m;
	int r = trust_manifest(&c->job, &c->trust, c->decision.chosen, &m, e);

	if (r < 0)
		return r;
	act.max_fetch = agent_max_fetch(&a->host->conf, &m);
	r = act_plan_stage(&act, &m, &res, e);
	if (r == 0)
		r = staged_json(m.version, &res, act.max_fetch, o, e);
	return r;
}

int agent_run_plan(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_AGENT_CHECK c = { .fetch = NULL };
	AUTO_JSON *o = NULL;
	int r = agent_check(a, &c, e);

	if (r == 0)
		r = agent_check_json(a, &c, &o, e);
	if (r == 0 && c.decision.verdict == RELEASE_UPDATE)
		r = plan_json(a, &c, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

/* True if the chosen release lies in its slot already. */
static bool staged_already(struct agent *a, const char *version)
{
	struct record rec;

	return record_load(a->sys, a->host->state, &rec, NULL) == 0 &&
	       (rec.phase == RECORD_STAGED || rec.phase == RECORD_APPLIED) &&
	       strcmp(rec.target.version, version) == 0;
}

/* pre-stage.d may postpone it: then the decision says so. 1: it may go on. */
static int may_stage(struct agent *a, const char *version, json_t *decision, struct err *e)
{
	struct hook_ask ask = { .stage = HOOK_PRE_STAGE };
	struct hook_answer y;
	int r;

	if (staged_already(a, version))
		return 1;
	(void)snprintf(ask.version, sizeof(ask.version), "%s", version);
	(void)snprintf(ask.from, sizeof(ask.from), "%s", a->host->running ? a->host->version : "");
	(void)snprintf(ask.reason, sizeof(ask.reason), "update");
	agent_hooks(a, &ask, &y);
	if (y.ok)
		return 1;
	if (agent_cancelled(a))
		return err_set(e, ERR_RETRY, ECANCELED, "cancelled");
	r = report_hook(decision, version, y.text, e);
	return r < 0 ? r : 0;
}

int agent_run_stage(struct agent *a, bool any_size, json_t **ret, struct err *e)
{
	AUTO_AGENT_CHECK c = { .fetch = NULL };
	AUTO_JSON *o = NULL;
	struct agent_work w = { .agent = a };
	struct act act = agent_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct release_manifest m;
	int r = agent_check(a, &c, e);

	if (r == 0)
		r = agent_check_json(a, &c, &o, e);
	if (r < 0)
		return r;
	if (c.decision.verdict != RELEASE_UPDATE) {
		*ret = json_incref(o);
		return 0;
	}
	r = trust_manifest(&c.job, &c.trust, c.decision.chosen, &m, e);
	if (r < 0)
		return r;
	r = may_stage(a, m.version, o, e);
	if (r < 0)
		return r;
	if (r == 0) {
		*ret = json_incref(o);
		return 0;
	}
	w.fetch = c.fetch;
	act.max_fetch = any_size ? 0 : agent_max_fetch(&a->host->conf, &m);
	r = act_stage(&act, &m, &res, e);
	if (r == 0)
		r = staged_json(m.version, &res, act.max_fetch, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

void agent_sentinel(struct agent *a, bool on)
{
	struct hook_ask ask = { .stage = HOOK_SENTINEL };
	struct hook_answer y;

	if (!a->host->live || !a->host->conf.terms.sentinel[0])
		return;
	(void)snprintf(ask.dirs, sizeof(ask.dirs), "%s", a->host->conf.terms.sentinel);
	(void)snprintf(ask.outcome, sizeof(ask.outcome), "%s", on ? "on" : "");
	agent_hooks(a, &ask, &y);
	if (!y.ok && a->note)
		a->note(a->arg, y.text);
}

/*
 * Is a reboot what is missing? Not when it would start something else, and not when the host was
 * rebooted since and the release has not started: who heeds the sentinel would reboot for ever.
 */
static bool wants_reboot(const struct host *h, const struct record *rec)
{
	char name[HOST_RELEASE_MAX];
	bool here = true;

	host_release_name(h, rec->target.version, name);
	if (h->next == h->n_entries || !boot_entry_is_called(&h->entries[h->next].name, name))
		return false;
	for (size_t i = 0; i < rec->n_event; i++) {
		const struct record_event *ev = &rec->event[i];

		if (ev->kind == RECORD_EV_APPLIED && strcmp(ev->version, rec->target.version) == 0)
			here = strcmp(ev->boot_id, h->boot_id) == 0;
	}
	return here;
}

int agent_run_apply(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	struct agent_work w = { .agent = a };
	struct act act = agent_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct record rec;
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = act_apply(&act, &res, e);
	if (r == 0)
		r = record_load(a->sys, a->host->state, &rec, e);
	if (r == 0)
		agent_sentinel(a, wants_reboot(a->host, &rec));
	if (r == 0)
		r = result_json(rec.target.version, &res, o, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

int agent_run_forgive(struct agent *a, const char *version, json_t **ret, struct err *e)
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
		r = agent_last_drop(a, e);
	if (r == 0)
		r = json_put_str(o, "version", version, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}
