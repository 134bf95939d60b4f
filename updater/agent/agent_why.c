/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>

#include "base/cleanup.h"
#include "updater/agent/report.h"

static int put_reason(json_t *decision, const char *version, const char *text, struct err *e)
{
	json_t *j = json_object();
	int r = json_push(json_object_get(decision, "reasons"), j, e);

	if (r == 0)
		r = json_put_str(decision, "verdict", "blocked", e);
	if (r == 0)
		r = json_put_str(j, "code", "host", e);
	if (r == 0)
		r = json_put_str(j, "version", version, e);
	if (r == 0)
		r = json_put(j, "until", json_null(), e);
	return r < 0 ? r : json_put_str(j, "text", text, e);
}

/*
 * Would it be refused for not fitting, or wait for a person for being too large? What hinders the
 * answer is no failure of `why`.
 */
static int why_here(struct agent *a, struct agent_check *c, json_t *decision, struct err *e)
{
	const struct config *conf = &a->host->conf;
	struct agent_work w = { .agent = a, .fetch = c->fetch };
	struct act act = agent_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct err bad = ERR_INIT;
	struct release_manifest m;

	if (c->decision.verdict != RELEASE_UPDATE ||
	    trust_manifest(&c->job, &c->trust, c->decision.chosen, &m, NULL) < 0)
		return 0;
	if (act_fits(&act, &m, &bad) < 0)
		return put_reason(decision, m.version, bad.text, e);
	if (!conf->max_fetch && !conf->max_percent)
		return 0;
	act.max_fetch = agent_max_fetch(conf, &m);
	if (act_plan_stage(&act, &m, &res, NULL) < 0 || !res.waits)
		return 0;
	return report_waits(decision, m.version, &res, act.max_fetch, e);
}

int agent_run_why(struct agent *a, json_t **ret, struct err *e)
{
	AUTO_AGENT_CHECK c = { .fetch = NULL };
	AUTO_JSON *o = json_object();
	AUTO_JSON *status = NULL;
	struct err bad = ERR_INIT;
	json_t *decision = NULL;
	int r = 0;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = agent_check(a, &c, &bad);
	if (r == -ECANCELED)
		return err_set(e, bad.kind, ECANCELED, "%s", bad.text);
	if (r < 0)
		r = agent_check_put_error(&c, &bad, o, e);
	else
		r = agent_check_json(a, &c, &decision, e);
	if (r == 0 && decision)
		r = json_put(o, "decision", decision, e);
	if (r == 0 && decision)
		r = why_here(a, &c, decision, e);
	if (r == 0)
		r = agent_look_status(a, &status, e);
	if (r == 0)
		r = json_put(o, "status", json_incref(status), e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}
