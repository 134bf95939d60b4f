/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/agent_steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/text.h"
#include "updater/agent/hooks.h"
#include "updater/agent/locker.h"
#include "updater/agent/reboot_memo.h"
#include "updater/agent/report.h"
#include "updater/agent/window.h"

enum { STEPS_MAX = 32 };

struct run {
	struct agent *agent;
	struct reboot_memo memo;
	struct reboot_facts f;
	struct reboot_place place; /* the one that the configuration names */
	struct agent_session session;
	struct reboot_next next;
	bool going;
	uint32_t delay_s;
};

/* --- what is so --- */

static bool same_place(const struct reboot_place *a, const struct reboot_place *b)
{
	return a->terms.kind == b->terms.kind && strcmp(a->url, b->url) == 0 &&
	       strcmp(a->terms.group, b->terms.group) == 0 && strcmp(a->terms.id, b->terms.id) == 0;
}

static void window_facts(const struct config *conf, struct reboot_facts *f)
{
	struct window_state s = { .open = false };
	struct err bad = ERR_INIT;
	const struct window *w;
	char span[64];

	if (conf->reboot != CONFIG_REBOOT_WINDOW)
		return;
	f->window_known = window_look(&conf->windows, f->now, window_next, NULL, &s, &bad) == 0;
	f->window_open = s.open;
	f->window_changes = s.changes;
	w = &conf->windows.w[s.which];
	if (f->window_known)
		(void)snprintf(f->window, sizeof(f->window), "%s for %s%s", w->when,
			       text_duration(w->seconds, span, sizeof(span)),
			       s.changes ? "" : ", which never comes");
	else
		(void)snprintf(f->window, sizeof(f->window), "%.300s", bad.text);
}

/*
 * Does the applied release boot next? When it was applied it did (act_apply.c), but since then
 * somebody may have chosen another default, and a reboot would bring up that.
 */
static bool boots_next(const struct host *h, const struct record *rec, struct reboot_facts *f)
{
	const char *version = rec->target.version;
	char name[HOST_RELEASE_MAX];

	host_release_name(h, version, name);
	if (h->next_why == CHOICE_UNSURE) {
		(void)snprintf(f->other, sizeof(f->other),
			       "what boots next is chosen by %s: clear that choice",
			       choice_why_text(h->next_why));
		return false;
	}
	if (h->next == h->n_entries) {
		(void)snprintf(
			f->other, sizeof(f->other),
			"the loader shows no entry that it would start, also not that of %.64s "
			"(proa-bootctl list)",
			version);
		return false;
	}
	if (boot_entry_is_called(&h->entries[h->next].name, name))
		return true;
	(void)snprintf(f->other, sizeof(f->other),
		       "%.120s would boot next, chosen by %s, and not %.64s: clear that choice, or "
		       "take %.64s back (proactl rollback)",
		       h->entries[h->next].name.file, choice_why_text(h->next_why), version,
		       version);
	return false;
}

static void record_facts(struct host *h, const struct record *rec, const struct reboot_memo *m,
			 struct reboot_facts *f)
{
	struct machine_facts mf;
	enum machine_state state;

	host_facts(h, rec, f->now, &mf);
	state = machine_state(rec, &mf);
	memcpy(f->boot_id, mf.boot_id, sizeof(f->boot_id));
	f->applied = state == MACHINE_APPLIED && boots_next(h, rec, f);
	f->assessing = state == MACHINE_ASSESSING;
	if (f->applied)
		memcpy(f->target, rec->target.version, sizeof(f->target));
	memcpy(f->running, mf.running_version, sizeof(f->running));
	f->failed = m->version[0] && record_failed(rec, m->version);
	f->kept = m->kept[0] && record_failed(rec, m->kept);
}

static int gather(struct run *r, enum reboot_by by, struct err *e)
{
	struct host *h = r->agent->host;
	const struct config *conf = &h->conf;
	struct reboot_facts f = { .by = by,
				  .now = agent_now(r->agent),
				  .policy = conf->reboot,
				  .lock = conf->lock.on,
				  .keep = conf->lock.keep,
				  .lock_fresh = r->f.lock_fresh,
				  .hooks_passed = r->f.hooks_passed,
				  .stuck = r->f.stuck,
				  .unlock_failed = r->f.unlock_failed };
	struct record rec;
	int k = record_load(r->agent->sys, h->state, &rec, e);

	if (k < 0)
		return k;
	record_facts(h, &rec, &r->memo, &f);
	window_facts(conf, &f);
	r->place.terms = conf->lock.terms;
	(void)snprintf(r->place.url, sizeof(r->place.url), "%s", conf->lock.url);
	f.same = !r->memo.lock || (conf->lock.on && same_place(&r->memo.place, &r->place));
	r->session = (struct agent_session){ .users = 0 };
	if (by != REBOOT_BY_NOBODY && r->agent->session)
		r->agent->session(r->agent->arg, &r->session);
	memcpy(f.inhibitor, r->session.inhibitor, sizeof(r->session.inhibitor));
	r->f = f;
	reboot_decide(&r->memo, &r->f, &r->next);
	return 0;
}

static int store(struct run *r, struct err *e)
{
	return reboot_memo_store(r->agent->sys, r->agent->host->state, &r->memo, e);
}

/* From half to one and a half of Retry=, so that a group does not come all at once. */
static int64_t retry_at(const struct run *r)
{
	uint32_t t = r->agent->host->conf.terms.retry_s, chance;

	random_bytes(&chance, sizeof(chance));
	return r->f.now + t / 2 + chance % (t + 1);
}

/* --- the steps --- */

static enum reboot_end act_lock(struct run *r, enum lock_verb verb, char text[REBOOT_TEXT_MAX])
{
	struct agent *a = r->agent;
	const struct locker l = { .conf = &a->host->conf.lock,
				  .link = { .socket = a->host->conf.socket,
					    .program = a->fetch_program,
					    .wait = a->wait,
					    .arg = a->arg },
				  .sys = a->sys };
	struct err e = ERR_INIT;

	return locker_run(&l, verb == LOCK_TAKE ? &r->place : &r->memo.place, verb, text, &e);
}

void agent_hooks(struct agent *a, const struct hook_ask *what, struct hook_answer *ret)
{
	const struct config_hooks *c = &a->host->conf.hooks;
	const struct hooks_link l = { .socket = c->socket,
				      .program = a->fetch_program ? a->hook_program : NULL,
				      .wait = a->wait,
				      .arg = a->arg };
	struct hook_ask ask = *what;
	struct err e = ERR_INIT;

	ask.timeout_s = c->timeout_s;
	if (ask.stage != HOOK_SENTINEL)
		(void)snprintf(ask.dirs, sizeof(ask.dirs), "%s", c->dirs);
	if (hooks_run(&l, &ask, ret, &e) < 0) {
		*ret = (struct hook_answer){ .ok = false };
		(void)text_clean(e.text, strlen(e.text), ret->text, sizeof(ret->text));
	}
}

static enum reboot_end act_hooks(struct run *r, enum hook_stage stage, char text[REBOOT_TEXT_MAX])
{
	const struct reboot_memo *m = &r->memo;
	struct hook_ask ask = { .stage = stage };
	struct hook_answer y;
	char note[REBOOT_TEXT_MAX + 16];

	(void)snprintf(ask.version, sizeof(ask.version), "%s",
		       m->version[0] ? m->version : r->f.running);
	(void)snprintf(ask.from, sizeof(ask.from), "%s", m->from);
	(void)snprintf(ask.reason, sizeof(ask.reason), "%s", m->version[0] ? "update" : "person");
	if (stage != HOOK_PRE_REBOOT)
		(void)snprintf(ask.outcome, sizeof(ask.outcome), "%s", reboot_outcome(m, &r->f));
	agent_hooks(r->agent, &ask, &y);
	if (y.ok)
		return REBOOT_DONE;
	(void)snprintf(note, sizeof(note), "hook: %s", y.text);
	(void)snprintf(text, REBOOT_TEXT_MAX, "%.400s", note);
	if (r->agent->note && stage != HOOK_PRE_REBOOT)
		r->agent->note(r->agent->arg, text);
	return REBOOT_NO;
}

static enum reboot_end act_go(struct run *r, char text[REBOOT_TEXT_MAX])
{
	struct agent *a = r->agent;
	struct err e = ERR_INIT;
	int k;

	if (!a->reboot)
		k = err_set(&e, ERR_BUG, ENOSYS, "this agent cannot reboot");
	else
		k = a->reboot(a->arg, r->delay_s, r->f.by == REBOOT_BY_FORCE, &e);
	r->going = k == 0;
	if (k < 0)
		(void)text_clean(e.text, strlen(e.text), text, REBOOT_TEXT_MAX);
	return k < 0 ? REBOOT_TROUBLE : REBOOT_DONE;
}

static enum reboot_end act_step(struct run *r, enum reboot_step step, char text[REBOOT_TEXT_MAX])
{
	switch (step) {
	case REBOOT_LOCK:
		return act_lock(r, LOCK_TAKE, text);
	case REBOOT_UNLOCK:
		return act_lock(r, LOCK_RELEASE, text);
	case REBOOT_HOOKS:
		return act_hooks(r, HOOK_PRE_REBOOT, text);
	case REBOOT_POST_BOOT:
		return act_hooks(r, HOOK_POST_BOOT, text);
	case REBOOT_POST_FALLBACK:
		return act_hooks(r, HOOK_POST_FALLBACK, text);
	case REBOOT_GO:
		return act_go(r, text);
	case REBOOT_WAIT:
	case REBOOT_NOTHING:
		break;
	}
	return REBOOT_DONE;
}

/* Announced, done, noted: each durable before the next. */
static int take_step(struct run *r, struct err *e)
{
	const struct config *conf = &r->agent->host->conf;
	enum reboot_step step = r->next.step;
	char text[REBOOT_TEXT_MAX] = "";
	enum reboot_end end;
	int k = 0;

	if (r->session.users > 0 && r->f.by != REBOOT_BY_FORCE)
		r->delay_s = conf->terms.notice_s;
	if (reboot_begin(&r->memo, &r->f, step, &r->place, r->f.now + r->delay_s))
		k = store(r, e);
	if (k < 0)
		return k;
	end = act_step(r, step, text);
	if (end != REBOOT_DONE && agent_cancelled(r->agent))
		return err_set(e, ERR_RETRY, ECANCELED, "cancelled"); /* the memo says where */
	if (reboot_ended(&r->memo, &r->f, step, end, text, retry_at(r)) && r->agent->note) {
		char note[REBOOT_TEXT_MAX + 100];

		(void)snprintf(note, sizeof(note),
			       "%s; a place that this host may have had there is forgotten", text);
		r->agent->note(r->agent->arg, note);
	}
	return store(r, e);
}

static int run_steps(struct run *r, enum reboot_by by, struct err *e)
{
	for (unsigned n = 0; n < STEPS_MAX; n++) {
		/* hooks take time, and what boots next may be another entry by now */
		int k = n > 0 && by != REBOOT_BY_FORCE ? host_look(r->agent->host, e) : 0;

		if (k == 0)
			k = gather(r, by, e);
		if (k < 0)
			return k;
		if (r->next.step == REBOOT_WAIT || r->next.step == REBOOT_NOTHING)
			return 0;
		k = take_step(r, e);
		if (k < 0 || r->going)
			return k;
	}
	return err_set(e, ERR_BUG, ELOOP, "no end of the steps to a reboot");
}

static void wake(const struct run *r)
{
	const struct reboot_next *x = &r->next;
	int64_t at = x->look;
	bool stays = false;

	for (size_t i = 0; i < x->n; i++)
		stays |= reboot_why_stays(x->reason[i].why);
	/*
	 * Reasons that end nobody knows when are looked at like a lock that others have, and so is
	 * what became due while the last step was taken.
	 */
	if (at <= r->f.now && x->n > 0 && !stays)
		at = retry_at(r);
	if (at > r->f.now && r->agent->wake)
		r->agent->wake(r->agent->arg, at);
}

/* --- for others --- */

int agent_reboot_owed(struct agent *a, struct err *e)
{
	struct run r = { .agent = a };
	struct host *h = a->host;
	int k;

	if (!h->live)
		return 0;
	k = reboot_memo_load(a->sys, h->state, &r.memo, e);
	if (k < 0 || !reboot_owes(&r.memo, h->boot_id))
		return k;
	k = run_steps(&r, REBOOT_BY_NOBODY, e);
	if (k == 0 && r.next.n > 0 && r.next.reason[0].why == REBOOT_WHY_UNLOCK) {
		if (a->note)
			a->note(a->arg, r.next.reason[0].text);
		wake(&r);
	}
	return k;
}

int agent_reboot_heard(struct agent *a, const struct machine_settle *s, struct err *e)
{
	struct reboot_memo m;
	int k;

	if (!a->host->live || s->news == MACHINE_NEWS_NONE)
		return 0;
	k = reboot_memo_load(a->sys, a->host->state, &m, e);
	if (k == 0 && reboot_heard(&m, s->version, a->host->boot_id))
		k = reboot_memo_store(a->sys, a->host->state, &m, e);
	return k;
}

int agent_reboot_forgiven(struct agent *a, const char *version, struct err *e)
{
	struct reboot_memo m;
	int k;

	if (!a->host->live)
		return 0;
	k = reboot_memo_load(a->sys, a->host->state, &m, e);
	if (k == 0 && reboot_forgiven(&m, version))
		k = reboot_memo_store(a->sys, a->host->state, &m, e);
	return k < 0 ? k : agent_reboot_owed(a, e);
}

int agent_reboot_status(struct agent *a, json_t *status, struct err *e)
{
	struct run r = { .agent = a };
	struct err bad = ERR_INIT;
	bool known;
	int k;

	if (!a->host->live)
		return 0;
	if (reboot_memo_load(a->sys, a->host->state, &r.memo, &bad) < 0)
		return report_reboot_error(bad.text, status, e);
	known = r.memo.why != REBOOT_WHY_NONE || r.memo.lock || r.memo.hooked;
	if (a->state != MACHINE_APPLIED && !known)
		return 0;
	k = gather(&r, REBOOT_BY_ITSELF, e);
	if (k < 0)
		return k;
	reboot_recall(&r.memo, &r.f, &r.next);
	return report_reboot(&r.memo, &r.next, false, r.delay_s, status, e);
}

int agent_run_reboot(struct agent *a, enum reboot_by by, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	struct run r = { .agent = a };
	struct machine_facts f;
	struct record rec;
	int k;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	k = record_load(a->sys, a->host->state, &rec, e);
	if (k < 0)
		return k;
	host_facts(a->host, &rec, agent_now(a), &f);
	k = machine_may(&rec, &f, MACHINE_REBOOT, e);
	if (k == 0)
		k = reboot_memo_load(a->sys, a->host->state, &r.memo, e);
	if (k == 0)
		k = run_steps(&r, by, e);
	if (k == 0 && by == REBOOT_BY_ITSELF && !r.going)
		wake(&r);
	if (k == 0)
		k = report_reboot(&r.memo, &r.next, r.going, r.delay_s, o, e);
	if (k < 0)
		return k;
	*ret = json_incref(json_object_get(o, "reboot_wait"));
	return 0;
}
