/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/version.h"
#include "updater/agent/report.h"
#include "updater/slot/arch.h"

/* gone: the release that was left; was: what ran when it began; pin: see agent_run_rollback(). */
static int answer(struct agent *a, const char *gone, const char *was, const char *pin, json_t **ret,
		  struct err *e)
{
	AUTO_JSON *o = json_object();
	const char *next;
	int r = o ? host_look(a->host, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	if (r == 0)
		r = agent_last_drop(a, e);
	if (r < 0)
		return r;
	next = a->host->next < a->host->n_entries ? a->host->entries[a->host->next].version : "";
	agent_sentinel(a, strcmp(next, was) != 0);
	r = json_put_str(o, "version", gone, e);
	if (r == 0)
		r = json_put_str(o, "next", next, e);
	if (r == 0)
		r = json_put(o, "reboot_needed", json_boolean(strcmp(next, was) != 0), e);
	if (r == 0)
		r = pin[0] ? json_put_str(o, "pin", pin, e) : json_put(o, "pin", json_null(), e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

/* What boots when what runs is left, or what is pending is dropped; NULL: nothing would. */
static const char *at_hand(const struct agent *a, const struct record *rec)
{
	const struct host *h = a->host;
	const struct esp_entry *other = act_other_release(h);

	if (rec->phase != RECORD_IDLE && strcmp(rec->target.version, h->version) != 0)
		return h->version;
	return other ? other->version : NULL;
}

/*
 * The publisher's floor, as far as this host has heard of it. One that knows none goes back as it
 * is told: it may be in need of that because its store, or the network, is gone.
 */
static int keep_floor(struct agent *a, const char *to, struct err *e)
{
	const struct config *conf = &a->host->conf;
	const struct release_host rh = { .image = conf->image, .arch = a->host->disk->arch->name };
	const struct trust_job job = { .sys = a->sys,
				       .state = a->host->state,
				       .first_root = conf->root,
				       .channel = conf->channel };
	AUTO_TRUST t = { .n_offers = 0 };
	const char *floor = NULL;

	if (!to || version_compare(to, a->host->version) >= 0)
		return 0;
	if (trust_known(&job, &t, NULL) == 0)
		floor = release_floor(t.offers, t.n_offers, &rh);
	if (!floor || version_compare(to, floor) >= 0)
		return 0;
	return err_set(e, ERR_REFUSED, EPERM,
		       "this host cannot go back to %s: it is older than %s, the oldest release "
		       "that the publisher of channel %s still allows; nothing was changed "
		       "(proactl check asks whether that is still so)",
		       to, floor, conf->channel);
}

static bool is_staged(const struct record *rec, const char *version)
{
	return (rec->phase == RECORD_STAGED || rec->phase == RECORD_APPLIED) &&
	       strcmp(rec->target.version, version) == 0;
}

/* The sentence of a decision that did not choose it: about others there are some too. */
static int refuse(const char *to, const struct release_decision *d, struct err *e)
{
	const char *text = "the channel does not offer it";

	for (size_t i = 0; i < d->n_reason; i++)
		if (d->reason[i].code == RELEASE_WHY_FLOOR || strcmp(d->reason[i].version, to) == 0)
			text = d->reason[i].text;
	return err_set(e, ERR_REFUSED, EPERM, "this host cannot go back to %s: %s", to, text);
}

/* Fetches, writes and proves `to`, then leaves what runs for it. */
static int fetch_and_leave(struct agent *a, const struct agent_args *args, struct err *e)
{
	AUTO_AGENT_CHECK c = { .to = args->version };
	struct agent_work w = { .agent = a };
	struct act act = agent_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	struct release_manifest m;
	int r = agent_check(a, &c, e);

	if (r < 0)
		return r;
	if (c.decision.verdict != RELEASE_UPDATE)
		return refuse(args->version, &c.decision, e);
	r = trust_manifest(&c.job, &c.trust, c.decision.chosen, &m, e);
	if (r < 0)
		return r;
	w.fetch = c.fetch;
	r = act_stage(&act, &m, &res, e);
	act.leave = args->reason;
	return r < 0 ? r : act_apply(&act, &res, e);
}

/* It was fetched before, by an update or by going back that was cut short. */
static int leave_for_staged(struct agent *a, const struct agent_args *args, struct err *e)
{
	struct agent_work w = { .agent = a };
	struct act act = agent_act(a, &w);
	struct act_result res = { .slot = SLOT_A };
	int r = keep_floor(a, args->version, e);

	act.leave = args->reason;
	return r < 0 ? r : act_apply(&act, &res, e);
}

/* So that the next update does not undo what a person wanted. */
static int stay(struct agent *a, const char *version, struct err *e)
{
	AUTO_JSON *ignored = NULL;

	return agent_run_pin(a, version, &ignored, e);
}

int agent_run_rollback(struct agent *a, const struct agent_args *args, json_t **ret, struct err *e)
{
	struct agent_work w = { .agent = a };
	struct act act = agent_act(a, &w);
	char was[RECORD_VERSION_MAX], gone[RECORD_VERSION_MAX];
	const char *to = args->version, *hand;
	struct machine_facts f;
	struct record rec;
	int r = record_load(a->sys, a->host->state, &rec, e);

	if (r < 0)
		return r;
	(void)snprintf(was, sizeof(was), "%s", a->host->version);
	host_facts(a->host, &rec, agent_now(a), &f);
	r = machine_may(&rec, &f, MACHINE_ROLLBACK, e);
	if (r < 0)
		return r;
	hand = at_hand(a, &rec);
	if (!to[0] || (hand && strcmp(to, hand) == 0)) {
		r = keep_floor(a, hand, e);
		if (r == 0)
			r = act_rollback(&act, args->reason, gone, e);
	} else if (version_compare(to, was) >= 0) {
		return err_set(e, ERR_INPUT, EINVAL,
			       "%s is not older than %s, which runs here (proactl pin %s, then "
			       "proactl update)",
			       to, was, to);
	} else {
		memcpy(gone, was, sizeof(gone));
		r = is_staged(&rec, to) ? leave_for_staged(a, args, e)
					: fetch_and_leave(a, args, e);
	}
	if (r == 0 && to[0])
		r = stay(a, to, e);
	return r < 0 ? r : answer(a, gone, was, to, ret, e);
}
