/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *machine_state_name(enum machine_state s)
{
	static const char *const names[] = {
		[MACHINE_IDLE] = "idle",           [MACHINE_INTERRUPTED] = "interrupted",
		[MACHINE_STAGED] = "staged",       [MACHINE_APPLIED] = "applied",
		[MACHINE_ASSESSING] = "assessing", [MACHINE_CHECKING] = "checking",
		[MACHINE_STAGING] = "staging",     [MACHINE_APPLYING] = "applying",
		[MACHINE_REBOOTING] = "rebooting",
	};

	return names[s];
}

bool machine_target_runs(const struct record *rec, const struct machine_facts *f)
{
	return rec->phase != RECORD_IDLE && f->running &&
	       memcmp(rec->target.root, f->running_root, sizeof(f->running_root)) == 0 &&
	       strcmp(rec->target.version, f->running_version) == 0;
}

enum machine_state machine_state(const struct record *rec, const struct machine_facts *f)
{
	switch (rec->phase) {
	case RECORD_WRITING:
		return MACHINE_INTERRUPTED;
	case RECORD_STAGED:
		return MACHINE_STAGED;
	case RECORD_APPLIED:
		if (f->live && machine_target_runs(rec, f))
			return MACHINE_ASSESSING;
		return MACHINE_APPLIED;
	case RECORD_IDLE:
		break;
	}
	if (f->live && f->running && f->running_entry == MACHINE_ENTRY_COUNTED)
		return MACHINE_ASSESSING;
	return MACHINE_IDLE;
}

static void add_event(struct record *rec, const struct machine_facts *f, enum record_kind kind,
		      const char *version, const char *from, const char *text)
{
	struct record_event ev = { .when = f->now, .kind = kind };

	(void)snprintf(ev.version, sizeof(ev.version), "%s", version);
	(void)snprintf(ev.from, sizeof(ev.from), "%s", from);
	(void)snprintf(ev.text, sizeof(ev.text), "%s", text);
	(void)snprintf(ev.boot_id, sizeof(ev.boot_id), "%s", f->boot_id);
	if (rec->phase != RECORD_IDLE && strcmp(version, rec->target.version) == 0)
		memcpy(ev.root, rec->target.root, sizeof(ev.root));
	else if (f->running)
		memcpy(ev.root, f->running_root, sizeof(ev.root));
	record_add_event(rec, &ev);
}

void machine_forget(struct record *rec)
{
	rec->phase = RECORD_IDLE;
	memset(&rec->target, 0, sizeof(rec->target));
	rec->slot = '-';
	rec->uki_only = false;
	rec->applied_boot_id[0] = '\0';
}

static void settle_good(struct record *rec, const struct machine_facts *f, struct machine_settle *s)
{
	char from[RECORD_VERSION_MAX];

	(void)snprintf(from, sizeof(from), "%s", rec->good.version);
	(void)snprintf(s->version, sizeof(s->version), "%s", rec->target.version);
	add_event(rec, f, RECORD_EV_GOOD, rec->target.version, from, "");
	rec->good = rec->target;
	rec->good_since = f->now;
	machine_forget(rec);
	s->changed = s->drop_saved = true;
	s->news = MACHINE_NEWS_GOOD;
}

/* Something else runs though target had been applied: it was tried, or somebody chose otherwise. */
static void settle_fell_back(struct record *rec, const struct machine_facts *f,
			     struct machine_settle *s)
{
	struct record_failure fail = { .when = f->now, .cause = RECORD_NO_BOOT };
	const char *version = rec->target.version;
	char text[RECORD_TEXT_MAX];

	(void)snprintf(s->version, sizeof(s->version), "%s", version);
	if (!record_failed(rec, version)) {
		(void)snprintf(fail.version, sizeof(fail.version), "%s", version);
		memcpy(fail.root, rec->target.root, sizeof(fail.root));
		(void)snprintf(fail.reason, sizeof(fail.reason),
			       "did not boot: started %u time%s, then %s came up", f->target_done,
			       f->target_done == 1 ? "" : "s",
			       f->running ? f->running_version : "nothing");
		record_add_failure(rec, &fail);
		add_event(rec, f, RECORD_EV_FAILED, version, "", fail.reason);
	}
	(void)snprintf(text, sizeof(text), "%s will not be tried again here (proactl forgive %s)",
		       version, version);
	add_event(rec, f, RECORD_EV_FELL_BACK, f->running ? f->running_version : "", version, text);
	machine_forget(rec);
	s->changed = s->condemn = s->drop_saved = true;
	s->news = MACHINE_NEWS_FELL_BACK;
}

/* A person went back from target before it ran, and the cut came before that was finished. */
static bool rolled_back(const struct record *rec, const struct machine_facts *f)
{
	const struct record_failure *fail = record_failed(rec, rec->target.version);

	return fail && fail->cause == RECORD_ROLLBACK && f->target_entry == MACHINE_ENTRY_NONE;
}

static void settle_applied(struct record *rec, const struct machine_facts *f,
			   struct machine_settle *s)
{
	bool rebooted = strcmp(rec->applied_boot_id, f->boot_id) != 0;

	if (machine_target_runs(rec, f)) {
		if (f->running_entry == MACHINE_ENTRY_GOOD)
			settle_good(rec, f, s);
		return;
	}
	if (rolled_back(rec, f)) {
		machine_forget(rec);
		s->changed = s->drop_saved = true;
		return;
	}
	if (!f->live || !rebooted) {
		if (f->target_entry == MACHINE_ENTRY_NONE) {
			/* somebody removed the entry: staging again brings it back */
			rec->phase = RECORD_WRITING;
			s->changed = true;
		}
		return;
	}
	if (f->target_entry == MACHINE_ENTRY_COUNTED && f->target_done == 0 &&
	    !record_failed(rec, rec->target.version)) {
		/* never started: somebody chose another entry in the menu; it still boots next */
		(void)snprintf(rec->applied_boot_id, sizeof(rec->applied_boot_id), "%s",
			       f->boot_id);
		s->changed = true;
		return;
	}
	settle_fell_back(rec, f, s);
}

/* Staged, as the record has it, though the cut may have come after the entry was published. */
static void settle_staged(struct record *rec, const struct machine_facts *f,
			  struct machine_settle *s)
{
	if (f->target_entry != MACHINE_ENTRY_NONE || machine_target_runs(rec, f)) {
		rec->phase = RECORD_APPLIED;
		(void)snprintf(rec->applied_boot_id, sizeof(rec->applied_boot_id), "%s",
			       f->boot_id);
		s->changed = true;
		if (machine_target_runs(rec, f))
			settle_applied(rec, f, s);
		else if (f->target_entry == MACHINE_ENTRY_BAD || (f->live && f->target_done > 0))
			settle_fell_back(rec, f, s);
		return;
	}
	if (rolled_back(rec, f)) {
		machine_forget(rec);
		s->changed = s->drop_saved = true;
		return;
	}
	if (!f->target_in_slot || !f->target_saved) {
		/* what was proved is gone or incomplete: staging again keeps what the slot proves
		 */
		rec->phase = RECORD_WRITING;
		s->changed = true;
	}
}

void machine_settle(struct record *rec, const struct machine_facts *f, struct machine_settle *ret)
{
	struct machine_settle s = { .changed = false };

	switch (rec->phase) {
	case RECORD_IDLE:
		s.discard_temps = true;
		s.drop_saved = f->target_saved;
		break;
	case RECORD_WRITING:
		s.discard_temps = true;
		break;
	case RECORD_STAGED:
		s.discard_temps = true;
		settle_staged(rec, f, &s);
		break;
	case RECORD_APPLIED:
		s.discard_temps = true;
		s.drop_saved = f->target_saved;
		settle_applied(rec, f, &s);
		break;
	}
	*ret = s;
}

int64_t machine_clock(int64_t verified, int64_t built, int64_t clock, int64_t *ret_behind)
{
	int64_t bound = verified > built ? verified : built;

	*ret_behind = clock < bound ? bound - clock : 0;
	return clock < bound ? bound : clock;
}

static int may_stage(const struct record *rec, const struct machine_facts *f, struct err *e)
{
	if (f->live && !f->running)
		return err_set(e, ERR_HOST, ENODEV,
			       "which release runs is not known, so no slot is safe to write");
	if (!f->live || f->running_entry == MACHINE_ENTRY_GOOD ||
	    f->running_entry == MACHINE_ENTRY_NONE)
		return 0;
	(void)rec;
	return err_set(e, ERR_HOST, EBUSY,
		       "%s is still being assessed; its only fallback must stay until it is good "
		       "(systemctl status boot-complete.target)",
		       f->running_version);
}

int machine_may(const struct record *rec, const struct machine_facts *f, enum machine_verb v,
		struct err *e)
{
	switch (v) {
	case MACHINE_STAGE:
		return may_stage(rec, f, e);
	case MACHINE_APPLY:
		if (rec->phase == RECORD_STAGED || rec->phase == RECORD_APPLIED)
			return 0;
		return err_set(e, ERR_HOST, ENOENT, "nothing is staged: run proactl stage first");
	case MACHINE_ROLLBACK:
		if (!f->live)
			return err_set(e, ERR_HOST, EOPNOTSUPP,
				       "nothing runs from this disk: use proa-bootctl to change "
				       "which entry boots next");
		return 0;
	case MACHINE_REBOOT:
		if (!f->live)
			return err_set(e, ERR_HOST, EOPNOTSUPP,
				       "this machine does not run from that disk");
		return 0;
	}
	return err_set(e, ERR_BUG, EINVAL, "no such verb");
}
