/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/reboot.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *reboot_why_name(enum reboot_why w)
{
	static const char *const names[] = {
		[REBOOT_WHY_NONE] = "none",
		[REBOOT_WHY_MANUAL] = "manual",
		[REBOOT_WHY_WINDOW] = "window",
		[REBOOT_WHY_INHIBITOR] = "inhibitor",
		[REBOOT_WHY_ASSESSING] = "assessing",
		[REBOOT_WHY_LOCK] = "lock",
		[REBOOT_WHY_LOCK_SERVER] = "lock-server",
		[REBOOT_WHY_HOOK] = "hook",
		[REBOOT_WHY_UNDER_WAY] = "under-way",
		[REBOOT_WHY_FAILED] = "failed",
		[REBOOT_WHY_UNLOCK] = "unlock",
		[REBOOT_WHY_KEPT] = "lock-kept",
		[REBOOT_WHY_OTHER_ENTRY] = "other-entry",
		[REBOOT_WHY_NOT_STARTED] = "not-started",
	};

	return names[w];
}

bool reboot_why_stays(enum reboot_why w)
{
	return w == REBOOT_WHY_MANUAL || w == REBOOT_WHY_OTHER_ENTRY || w == REBOOT_WHY_NOT_STARTED;
}

static bool here(const struct reboot_memo *m, const char *boot_id)
{
	return strcmp(m->boot_id, boot_id) == 0;
}

static bool owing(const struct reboot_memo *m)
{
	return m->lock || m->hooked;
}

bool reboot_owes(const struct reboot_memo *m, const char *boot_id)
{
	return owing(m) && !here(m, boot_id);
}

const char *reboot_outcome(const struct reboot_memo *m, const struct reboot_facts *f)
{
	if (here(m, f->boot_id))
		return "postponed";
	if (f->failed)
		return "failed";
	/* neither failed nor running: something else was started in its place */
	return m->version[0] && strcmp(m->version, f->running) != 0 ? "postponed" : "good";
}

static void __attribute__((format(printf, 4, 5)))
add(struct reboot_next *r, enum reboot_why why, int64_t until, const char *fmt, ...)
{
	struct reboot_reason *q;
	va_list ap;

	if (r->n == REBOOT_REASONS_MAX)
		return;
	q = &r->reason[r->n++];
	q->why = why;
	q->until = until;
	va_start(ap, fmt);
	(void)vsnprintf(q->text, sizeof(q->text), fmt, ap);
	va_end(ap);
}

/* It was rebooted for, and still only is to be booted. */
static bool not_started(const struct reboot_memo *m, const struct reboot_facts *f)
{
	return f->applied && m->asked[0] && strcmp(m->asked, f->target) == 0 &&
	       strcmp(m->asked_boot, f->boot_id) != 0;
}

/* Why this host does not reboot by itself. */
static void own_reasons(const struct reboot_memo *m, const struct reboot_facts *f,
			struct reboot_next *r)
{
	if (f->policy == CONFIG_REBOOT_MANUAL)
		add(r, REBOOT_WHY_MANUAL, 0,
		    "Reboot=manual: a person reboots this host (proactl reboot)");
	if (f->policy == CONFIG_REBOOT_WINDOW && !f->window_known)
		add(r, REBOOT_WHY_WINDOW, 0, "the reboot window is not known: %.300s", f->window);
	else if (f->policy == CONFIG_REBOOT_WINDOW && !f->window_open)
		add(r, REBOOT_WHY_WINDOW, f->window_changes, "window: reboots are allowed %.300s",
		    f->window);
	if (f->assessing)
		add(r, REBOOT_WHY_ASSESSING, 0, "%.64s is still being assessed", f->running);
	if (!f->applied && f->other[0])
		add(r, REBOOT_WHY_OTHER_ENTRY, 0, "%s", f->other);
	if (not_started(m, f))
		add(r, REBOOT_WHY_NOT_STARTED, 0,
		    "this host rebooted for %.64s already, and %.64s came up: see which entry the "
		    "firmware and the loader start (proa-bootctl next); proactl reboot tries again",
		    f->target, f->running);
}

/* What one server said, or did not, is nothing to wait for once another is to be asked. */
static bool about_lock(enum reboot_why w)
{
	return w == REBOOT_WHY_LOCK || w == REBOOT_WHY_LOCK_SERVER || w == REBOOT_WHY_UNLOCK;
}

/* An obstacle of this boot that is not to be tried again yet. */
static bool held_off(const struct reboot_memo *m, const struct reboot_facts *f)
{
	if (m->why == REBOOT_WHY_NONE || !here(m, f->boot_id))
		return false;
	if (f->stuck)
		return true;
	if (!f->same && about_lock(m->why))
		return false;
	return f->by == REBOOT_BY_ITSELF && m->next > f->now;
}

static void reasons(const struct reboot_memo *m, const struct reboot_facts *f,
		    struct reboot_next *r)
{
	if (f->by == REBOOT_BY_ITSELF)
		own_reasons(m, f, r);
	if (f->inhibitor[0])
		add(r, REBOOT_WHY_INHIBITOR, 0, "shutdown is inhibited by %.340s", f->inhibitor);
	if (held_off(m, f))
		add(r, m->why, m->next, "%s", m->text);
}

/* When another answer may come by itself. */
static int64_t look_again(const struct reboot_next *r, const struct reboot_memo *m,
			  const struct reboot_facts *f)
{
	int64_t at = 0;

	for (size_t i = 0; i < r->n; i++) {
		/* all reasons must be gone; one without an end is looked at as often as others */
		if (reboot_why_stays(r->reason[i].why))
			return 0;
		if (r->reason[i].until > at)
			at = r->reason[i].until;
	}
	if (at == 0 && m->next > f->now && here(m, f->boot_id))
		at = m->next;
	return at;
}

/* Gives up, in the boot in which it began: which step that takes now. */
static enum reboot_step back_out(const struct reboot_memo *m, const struct reboot_facts *f)
{
	if (m->hooked)
		return REBOOT_POST_BOOT;
	if (!m->lock || f->unlock_failed || (f->kept && f->keep))
		return REBOOT_WAIT;
	/* a person wanted to reboot what is being assessed: the place is that release's */
	if (f->assessing && strcmp(m->version, f->running) == 0)
		return REBOOT_WAIT;
	return REBOOT_UNLOCK;
}

/* Is the place worth holding while we wait? Only for an answer that is about it. */
static bool waits_for_lock(const struct reboot_memo *m, const struct reboot_next *r)
{
	return !m->hooked && r->n == 1 && r->reason[0].why == REBOOT_WHY_LOCK_SERVER;
}

static bool wants(const struct reboot_facts *f)
{
	return f->by == REBOOT_BY_PERSON || (f->by == REBOOT_BY_ITSELF && f->applied);
}

/* After a boot: what the boot before left. True: that is the step. */
static bool decide_owed(const struct reboot_memo *m, const struct reboot_facts *f,
			struct reboot_next *r)
{
	if (!reboot_owes(m, f->boot_id))
		return false;
	if (f->assessing) {
		/* lock and hooks are those of the release that is being assessed */
		add(r, REBOOT_WHY_ASSESSING, 0, "%.64s is still being assessed", f->running);
		r->step = REBOOT_WAIT;
		return true;
	}
	if (m->hooked) {
		r->step = f->failed ? REBOOT_POST_FALLBACK : REBOOT_POST_BOOT;
		return true;
	}
	/* only a later release that is good here makes up for the one that failed */
	if (f->keep && (f->failed || (f->kept && strcmp(m->version, f->running) != 0))) {
		const char *version = f->failed ? m->version : m->kept;

		/* another release may be tried with it: it is the same place */
		if (wants(f))
			return false;
		add(r, REBOOT_WHY_KEPT, 0,
		    "this host keeps its place in group %.64s, as %.64s failed here (proactl "
		    "forgive %.64s gives it back)",
		    m->place.terms.group, version, version);
		r->step = REBOOT_WAIT;
		return true;
	}
	r->step = f->unlock_failed ? REBOOT_WAIT : REBOOT_UNLOCK;
	if (m->why == REBOOT_WHY_UNLOCK)
		add(r, m->why, m->next, "%s", m->text);
	return true;
}

static void decide_wait(const struct reboot_memo *m, const struct reboot_facts *f,
			struct reboot_next *r)
{
	r->step = REBOOT_WAIT;
	if (here(m, f->boot_id) && owing(m) && !waits_for_lock(m, r))
		r->step = back_out(m, f);
	r->look = look_again(r, m, f);
}

static void decide_wanted(const struct reboot_memo *m, const struct reboot_facts *f,
			  struct reboot_next *r)
{
	if (m->going && here(m, f->boot_id) && f->now < m->going + REBOOT_PATIENCE_S) {
		add(r, REBOOT_WHY_UNDER_WAY, m->going, "the reboot is under way");
		r->look = m->going + REBOOT_PATIENCE_S;
		r->step = REBOOT_WAIT;
		return;
	}
	reasons(m, f, r);
	if (r->n > 0)
		decide_wait(m, f, r);
	else if (m->lock && !f->same)
		r->step = m->hooked ? REBOOT_POST_BOOT : REBOOT_UNLOCK;
	else if (f->lock && !f->lock_fresh)
		r->step = REBOOT_LOCK;
	else
		r->step = f->hooks_passed ? REBOOT_GO : REBOOT_HOOKS;
}

void reboot_decide(const struct reboot_memo *m, const struct reboot_facts *f,
		   struct reboot_next *ret)
{
	struct reboot_next r = { .step = REBOOT_NOTHING };

	if (f->by == REBOOT_BY_FORCE) {
		r.step = f->stuck ? REBOOT_WAIT : REBOOT_GO;
		if (f->stuck)
			add(&r, m->why, 0, "%s", m->text);
	} else if (decide_owed(m, f, &r)) {
		r.look = 0;
	} else if (wants(f) || (f->by == REBOOT_BY_ITSELF && f->other[0])) {
		r = (struct reboot_next){ .step = REBOOT_NOTHING };
		decide_wanted(m, f, &r);
	} else if (f->by == REBOOT_BY_ITSELF && owing(m) && here(m, f->boot_id)) {
		/* rolled back, or another took the release away: there is nothing to reboot for */
		r.step = back_out(m, f);
		if (r.step == REBOOT_WAIT && f->unlock_failed)
			add(&r, m->why, m->next, "%s", m->text);
	}
	*ret = r;
}

/* Another reboot than the one that the memo is about. */
static void begin_anew(struct reboot_memo *m, const struct reboot_facts *f)
{
	bool later = !here(m, f->boot_id);

	if (m->lock && f->failed && f->keep && later)
		(void)snprintf(m->kept, sizeof(m->kept), "%s", m->version);
	/* a person reboots what is being assessed: it is still that release which owes us */
	if (!(owing(m) && f->assessing && !f->target[0])) {
		(void)snprintf(m->version, sizeof(m->version), "%s", f->target);
		(void)snprintf(m->from, sizeof(m->from), "%s", f->running);
	}
	(void)snprintf(m->boot_id, sizeof(m->boot_id), "%s", f->boot_id);
	m->going = 0;
}

void reboot_recall(const struct reboot_memo *m, const struct reboot_facts *f,
		   struct reboot_next *next)
{
	bool begins =
		next->step == REBOOT_LOCK || next->step == REBOOT_HOOKS || next->step == REBOOT_GO;

	if (begins && next->n == 0 && m->why != REBOOT_WHY_NONE && here(m, f->boot_id))
		add(next, m->why, 0, "%.350s; it is tried again now", m->text);
}

static void asked(struct reboot_memo *m, const char *version, const char *boot_id)
{
	if (!version[0]) /* for another reason: that says nothing about the release */
		return;
	(void)snprintf(m->asked, sizeof(m->asked), "%s", version);
	(void)snprintf(m->asked_boot, sizeof(m->asked_boot), "%s", boot_id);
}

bool reboot_begin(struct reboot_memo *m, const struct reboot_facts *f, enum reboot_step step,
		  const struct reboot_place *place, int64_t at)
{
	if (step != REBOOT_LOCK && step != REBOOT_HOOKS && step != REBOOT_GO)
		return false;
	if (!here(m, f->boot_id) || strcmp(m->version, f->target) != 0)
		begin_anew(m, f);
	if (step == REBOOT_LOCK) {
		m->lock = true;
		m->place = *place;
	}
	/* also before a reboot without pre-reboot.d: post-boot.d is told how it ended */
	if (step != REBOOT_LOCK)
		m->hooked = true;
	if (step == REBOOT_GO) {
		m->going = at;
		/* before it is asked for: a cut must not make it a second first time */
		asked(m, f->target, f->boot_id);
	}
	return true;
}

static void obstacle(struct reboot_memo *m, const struct reboot_facts *f, enum reboot_why why,
		     const char *text, int64_t next)
{
	if (m->why != why)
		m->since = f->now;
	m->why = why;
	m->next = next;
	(void)snprintf(m->text, sizeof(m->text), "%s", text);
}

static void lock_ended(struct reboot_memo *m, struct reboot_facts *f, enum reboot_end end,
		       const char *text, int64_t next)
{
	f->lock_fresh = end == REBOOT_DONE;
	if (end == REBOOT_NO) {
		/*
		 * The semaphore says that it is not ours, whatever was before. A FleetLock server
		 * says so of any trouble too: then ours is given back, which is fine if it is none.
		 */
		if (m->place.terms.kind == LOCK_ETCD) {
			m->lock = false;
			m->kept[0] = '\0';
		}
		obstacle(m, f, REBOOT_WHY_LOCK, text, next);
	} else if (end == REBOOT_TROUBLE) {
		obstacle(m, f, REBOOT_WHY_LOCK_SERVER, text, next);
	}
}

/* Nothing is under way; which release was asked for stays known. */
static void start_anew(struct reboot_memo *m)
{
	struct reboot_memo blank = { .lock = false };

	asked(&blank, m->asked, m->asked_boot);
	*m = blank;
}

/* A place that nobody can give back must not keep this host from rebooting. */
static bool lets_go(const struct reboot_facts *f)
{
	return !f->same && (!f->lock || f->by == REBOOT_BY_PERSON);
}

/* True: it is forgotten though it was not given back. */
static bool unlock_ended(struct reboot_memo *m, struct reboot_facts *f, enum reboot_end end,
			 const char *text, int64_t next)
{
	bool lost = end != REBOOT_DONE && lets_go(f);

	if (end == REBOOT_DONE || lost) {
		m->lock = false;
		if (m->why == REBOOT_WHY_UNLOCK || (!f->same && about_lock(m->why)))
			m->why = REBOOT_WHY_NONE;
		return lost;
	}
	f->unlock_failed = f->stuck = true;
	/* that others have the place is what a person is to know, not that there is none to give */
	if (m->why != REBOOT_WHY_LOCK || !here(m, f->boot_id))
		obstacle(m, f, REBOOT_WHY_UNLOCK, text, next);
	return false;
}

static void forget(struct reboot_memo *m, const struct reboot_facts *f)
{
	if (m->why == REBOOT_WHY_NONE || !here(m, f->boot_id)) {
		start_anew(m);
		return;
	}
	/* what came in the way in this boot stays known */
	m->going = 0;
	m->version[0] = m->from[0] = m->kept[0] = '\0';
	memset(&m->place, 0, sizeof(m->place));
}

bool reboot_ended(struct reboot_memo *m, struct reboot_facts *f, enum reboot_step step,
		  enum reboot_end end, const char *text, int64_t next)
{
	bool lost = false;

	switch (step) {
	case REBOOT_LOCK:
		lock_ended(m, f, end, text, next);
		break;
	case REBOOT_HOOKS:
		f->hooks_passed = end == REBOOT_DONE;
		f->lock_fresh = false; /* hooks take time: it may have been taken away */
		if (end != REBOOT_DONE)
			obstacle(m, f, REBOOT_WHY_HOOK, text, next);
		break;
	case REBOOT_GO:
		if (end != REBOOT_DONE) {
			m->going = 0;
			/* else an earlier boot may have asked too, and that is to stay known */
			if (f->by == REBOOT_BY_ITSELF)
				m->asked[0] = m->asked_boot[0] = '\0';
			obstacle(m, f, REBOOT_WHY_FAILED, text, next);
		}
		break;
	case REBOOT_POST_BOOT:
	case REBOOT_POST_FALLBACK:
		m->hooked = false;
		f->hooks_passed = false;
		break;
	case REBOOT_UNLOCK:
		lost = unlock_ended(m, f, end, text, next);
		break;
	case REBOOT_WAIT:
	case REBOOT_NOTHING:
		break;
	}
	if (end == REBOOT_DONE && step == REBOOT_GO)
		m->why = REBOOT_WHY_NONE;
	if (end != REBOOT_DONE &&
	    (step == REBOOT_LOCK || step == REBOOT_HOOKS || step == REBOOT_GO))
		f->stuck = true;
	if (!owing(m))
		forget(m, f);
	return lost;
}

bool reboot_forgiven(struct reboot_memo *m, const char *version)
{
	if (!m->asked[0] || strcmp(m->asked, version) != 0)
		return false;
	m->asked[0] = m->asked_boot[0] = '\0';
	return true;
}

/* True if its hooks are owed beside the place that is held or may be. */
static bool heard_with_lock(struct reboot_memo *m, const char *version, const char *boot_id)
{
	if (here(m, boot_id)) /* asked for in this boot: that is another reboot */
		return false;
	if (!m->kept[0] && strcmp(m->version, version) != 0)
		(void)snprintf(m->kept, sizeof(m->kept), "%s", m->version);
	(void)snprintf(m->version, sizeof(m->version), "%s", version);
	m->hooked = true;
	return true;
}

bool reboot_heard(struct reboot_memo *m, const char *version, const char *boot_id)
{
	/* it was started, or is not tried again before somebody forgives it */
	bool changed = reboot_forgiven(m, version);

	if (m->hooked)
		return changed;
	if (m->lock)
		return heard_with_lock(m, version, boot_id) || changed;
	start_anew(m);
	m->hooked = true;
	/* no boot is called so: it was an earlier one */
	(void)snprintf(m->boot_id, sizeof(m->boot_id), "-");
	(void)snprintf(m->version, sizeof(m->version), "%s", version);
	return true;
}
