/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/progress.h"
#include "base/text.h"
#include "updater/agent/act_steps.h"
#include "updater/agent/spool.h"
#include "updater/slot/label.h"

int act_tell(struct act *a, enum act_phase phase, uint64_t done, uint64_t total, struct err *e)
{
	int r = a->progress ? a->progress(a->arg, phase, done, total) : 0;

	return r < 0 ? err_set(e, ERR_RETRY, ECANCELED, "cancelled") : 0;
}

void act_note(struct act *a, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!a->note)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	a->note(a->arg, text);
}

int act_record(struct act *a, struct record *rec, struct err *e)
{
	return record_store(a->host->sys, a->host->state, rec, e);
}

bool act_try_another(const struct err *e)
{
	return (e->kind == ERR_REFUSED || e->kind == ERR_INPUT) && e->os != ECANCELED;
}

int act_allow(struct act *a, uint64_t fetch, const char *why, struct act_result *res, struct err *e)
{
	char wants[32], may[32];

	fetch += a->received;
	if (a->max_fetch == 0 || fetch <= a->max_fetch)
		return 0;
	res->waits = true;
	res->wants = fetch;
	(void)snprintf(res->why, sizeof(res->why), "%s", why);
	return err_set(e, ERR_HOST, EDQUOT, "it would fetch %s, MaxDownload= allows %s",
		       text_bytes(fetch, wants, sizeof(wants)),
		       text_bytes(a->max_fetch, may, sizeof(may)));
}

static int blob_begin(void *arg, const struct image_run *runs, size_t n, struct err *e)
{
	struct act_blob *b = arg;
	int r = b->act->blob(b->act->arg, b->blob, &b->in, e);

	if (r < 0)
		return r;
	b->src.name = b->in.name;
	if (b->act->spool)
		return spool_begin(b->act->spool, b->blob->sha256, &b->in, runs, n, e);
	return b->in.begin(b->in.arg, runs, n, e);
}

static int blob_read(void *arg, void *p, size_t n, struct err *e)
{
	struct act_blob *b = arg;
	uint64_t fetched = 0;
	int r;

	if (b->act->spool) {
		r = spool_read(b->act->spool, p, n, &fetched, e);
	} else {
		r = b->in.read(b->in.arg, p, n, e);
		fetched = r < 0 ? 0 : n;
	}
	b->act->received += fetched;
	if (r >= 0)
		b->here += n - fetched;
	return r;
}

bool act_elsewhere(struct act *a, const struct release_blob *blob)
{
	if (a->spool && spool_drop(a->spool))
		return true;
	return a->elsewhere && a->elsewhere(a->arg, blob) > 0;
}

void act_blob_init(struct act_blob *b, struct act *a, const struct release_blob *blob)
{
	*b = (struct act_blob){ .act = a,
				.blob = blob,
				.src = { .begin = blob_begin, .read = blob_read, .arg = b } };
}

static bool runs_already(const struct host *h, const struct release_manifest *m)
{
	return h->running && memcmp(h->root, m->root, sizeof(h->root)) == 0 &&
	       strcmp(h->version, m->version) == 0;
}

/* The slot that may be written: not the running one; on a disk with none, a free one. */
static enum slot_name pick_slot(const struct host *h)
{
	if (h->has_slot)
		return slot_other(h->slot);
	if (disk_slot_label(&h->disk->slot[SLOT_A], h->conf.image, NULL) != SLOT_LABEL_FREE &&
	    disk_slot_label(&h->disk->slot[SLOT_B], h->conf.image, NULL) == SLOT_LABEL_FREE)
		return SLOT_B;
	return SLOT_A;
}

/* Bytes that step 2 will free on the ESP: UKIs of ours that are neither running nor being added. */
static uint64_t removable(const struct host *h)
{
	uint64_t n = 0;

	for (size_t i = 0; i < h->n_entries; i++)
		if (i != h->current && host_entry_ours(h, &h->entries[i]))
			n += h->entries[i].bytes;
	return n;
}

static int check_fits(struct act *a, const struct release_manifest *m, enum slot_name slot,
		      bool uki_only, struct err *e)
{
	struct host *h = a->host;
	char label[SLOT_LABEL_CHARS + 1];
	struct image_id id = { .data_blocks = m->data_blocks, .salt_n = (uint16_t)m->salt_n };
	uint64_t freed = removable(h);
	int r;

	r = slot_label_format(h->conf.image, m->version, label, e);
	if (r < 0)
		return r;
	if (image_hash_bytes(&id) != m->hash_bytes)
		return err_set(e, ERR_INPUT, EINVAL,
			       "manifest of %s: hash_bytes does not fit data_blocks", m->version);
	if (!uki_only) {
		r = disk_slot_check_ours(h->disk, slot, h->conf.image, e);
		if (r == 0)
			r = disk_slot_fits(h->disk, slot, image_data_bytes(&id), m->hash_bytes, e);
	}
	if (r == 0)
		r = esp_check_space(h->sys, h->esp, m->uki_bytes > freed ? m->uki_bytes - freed : 0,
				    e);
	return r;
}

static bool same_release(const struct record_release *x, const struct record_release *y)
{
	return strcmp(x->version, y->version) == 0 && x->uki_bytes == y->uki_bytes &&
	       memcmp(x->root, y->root, sizeof(x->root)) == 0 &&
	       memcmp(x->uki_sha256, y->uki_sha256, sizeof(x->uki_sha256)) == 0;
}

/* Step 1. An update that goes on where it stopped finds its own words there already. */
static int begin_writing(struct act *a, struct record *rec, const struct record_release *t,
			 const struct act_result *res, struct err *e)
{
	char slot = slot_letter(res->slot);

	if (rec->phase == RECORD_WRITING && rec->slot == slot && same_release(&rec->target, t) &&
	    rec->uki_only == res->uki_only)
		return 0;
	rec->phase = RECORD_WRITING;
	rec->target = *t;
	rec->slot = slot;
	rec->uki_only = res->uki_only;
	rec->applied_boot_id[0] = '\0';
	return act_record(a, rec, e);
}

/* Step 2a: only the running release's UKI stays on the ESP. */
static int clear_esp(struct act *a, struct err *e)
{
	struct host *h = a->host;
	int r = esp_discard_temps(h->sys, h->esp, h->conf.image, e);

	for (size_t i = 0; r == 0 && i < h->n_entries; i++) {
		const struct esp_entry *en = &h->entries[i];

		if (i == h->current || !host_entry_ours(h, en))
			continue;
		if (h->current < h->n_entries &&
		    boot_entry_same_id(&en->name, &h->entries[h->current].name))
			continue;
		r = esp_remove(h->sys, h->esp, en->name.file, e);
		r = r > 0 ? 0 : r;
	}
	if (r < 0)
		return err_wrap(e, r, "cannot remove the old UKI from the ESP");
	return host_look(h, e);
}

/* Steps 2b to 4 for a release with a new /usr. */
static int fill_slot(struct act *a, struct act_usr *usr, struct act_uki *uki, struct err *e)
{
	struct host *h = a->host;
	enum slot_name slot = usr->res->slot;
	char label[SLOT_LABEL_CHARS + 1];
	int r = slot_label_format(h->conf.image, usr->m->version, label, e);

	if (r < 0)
		return r;
	if (disk_slot_label(&h->disk->slot[slot], h->conf.image, NULL) != SLOT_LABEL_FREE) {
		r = disk_slot_mark(h->disk, slot, SLOT_LABEL_EMPTY, NULL, e);
		if (r < 0)
			return err_wrap(e, r, "cannot mark slot %c as empty", slot_letter(slot));
	}
	r = act_usr_write(usr, e);
	if (r < 0)
		return err_wrap(e, r, "slot %c", slot_letter(slot));
	if (usr->res->plan.uki_late) {
		uki->second = usr->data;
		r = act_uki_save(uki, e);
		if (r < 0)
			return r;
	}
	r = disk_slot_mark(h->disk, slot, label, usr->m->root, e);
	if (r < 0)
		return err_wrap(e, r, "cannot label slot %c", slot_letter(slot));
	return 0;
}

static int record_staged(struct act *a, struct record *rec, const struct act_result *res,
			 struct err *e)
{
	struct record_event ev = { .when = a->now, .kind = RECORD_EV_STAGED };

	rec->phase = RECORD_STAGED;
	(void)snprintf(ev.version, sizeof(ev.version), "%s", rec->target.version);
	(void)snprintf(ev.from, sizeof(ev.from), "%s", a->host->running ? a->host->version : "");
	memcpy(ev.root, rec->target.root, sizeof(ev.root));
	ev.fetched = res->fetched + res->uki_fetched;
	ev.written = res->written;
	ev.seconds = a->began_ms ? (clock_mono_ms() - a->began_ms) / 1000 : 0;
	memcpy(ev.boot_id, a->host->boot_id, sizeof(ev.boot_id));
	record_add_event(rec, &ev);
	return act_record(a, rec, e);
}

static void target_of(const struct release_manifest *m, struct record_release *t)
{
	memset(t, 0, sizeof(*t));
	(void)snprintf(t->version, sizeof(t->version), "%s", m->version);
	memcpy(t->root, m->root, sizeof(t->root));
	memcpy(t->uki_sha256, m->uki_sha256, sizeof(t->uki_sha256));
	t->uki_bytes = m->uki_bytes;
}

/* May the slot hold parts of m already? The record knows, or its PARTUUIDs say so. */
static bool worth_scanning(const struct host *h, const struct record *rec,
			   const struct record_release *t, enum slot_name slot)
{
	enum slot_name holds;

	if (rec->phase != RECORD_IDLE && rec->slot == slot_letter(slot) && !rec->uki_only &&
	    memcmp(rec->target.root, t->root, sizeof(t->root)) == 0)
		return true;
	return disk_slot_of(h->disk, t->root, &holds, NULL) == 0 && holds == slot;
}

/* 1 when the record says that t is staged or applied, and what it was staged from is there. */
static int done_already(struct act *a, const struct record *rec, const struct machine_facts *f,
			const struct record_release *t, struct err *e)
{
	if (!same_release(&rec->target, t))
		return 0;
	if (rec->phase == RECORD_APPLIED)
		return f->target_in_slot && f->target_entry != MACHINE_ENTRY_NONE;
	if (rec->phase != RECORD_STAGED || !f->target_in_slot)
		return 0;
	return act_uki_is_saved(a, t, e);
}

struct stage {
	struct act *a;
	const struct release_manifest *m;
	struct record *rec;
	struct act_result *res;
	struct record_release t;
	struct act_usr usr;
	struct act_uki uki;
};

static void stage_done(struct stage *s)
{
	act_usr_done(&s->usr);
	act_uki_done(&s->uki);
}

/* The /usr that a UKI may take bytes from before anything is written. */
static int usr_that_is_here(struct stage *s, struct err *e)
{
	struct host *h = s->a->host;

	if (s->res->uki_only)
		return slot_area(h->disk, h->slot, false, false, &s->uki.second, e);
	if (act_usr_there(&s->usr))
		s->uki.second = s->usr.data;
	return 0;
}

/* Everything that can be refused is refused, and what is to be fetched is known. */
static int stage_plan(struct stage *s, const struct machine_facts *f, struct err *e)
{
	struct act *a = s->a;
	struct host *h = a->host;
	struct act_result *res = s->res;
	struct act_plan *p = &res->plan;
	int r;

	target_of(s->m, &s->t);
	res->uki_only = h->has_slot && memcmp(h->root, s->m->root, sizeof(h->root)) == 0;
	res->slot = res->uki_only ? h->slot : pick_slot(h);
	r = done_already(a, s->rec, f, &s->t, e);
	if (r != 0) {
		res->nothing = r > 0;
		return r < 0 ? r : 0;
	}
	r = check_fits(a, s->m, res->slot, res->uki_only, e);
	if (r == 0 && !res->uki_only)
		r = act_usr_plan(&s->usr, worth_scanning(h, s->rec, &s->t, res->slot), e);
	if (r == 0)
		r = usr_that_is_here(s, e);
	if (r == 0)
		r = act_uki_plan(&s->uki, &s->t, e);
	if (r < 0)
		return r;
	p->fetched = a->received;
	p->fetch = p->fetched + p->usr.fetch + p->uki.fetch;
	p->requests = p->usr.requests + p->uki.requests;
	return act_allow(a, p->usr.fetch + p->uki.fetch, p->usr.why[0] ? p->usr.why : p->uki.why,
			 res, e);
}

/* What will be known of the UKI before the slot is touched. */
static int judge_before(struct stage *s, struct err *e)
{
	struct act_plan *p = &s->res->plan;
	const struct release_blob *full = release_blob_find(s->m, RELEASE_UKI_FULL, NULL);
	struct err mine = ERR_INIT;
	int r;

	if (!p->uki_late)
		return act_uki_save(&s->uki, e);
	r = act_uki_peek(&s->uki, &mine);
	if (r == 0)
		return 0;
	if (!act_try_another(&mine))
		return err_set(e, mine.kind, mine.os, "%s", mine.text);
	/* those bytes were not proved: the whole UKI is, and says what is true */
	p->uki_late = false;
	image_delta_free(TAKE(s->uki.delta));
	p->uki = (struct act_part){ .way = ACT_WAY_FULL, .fetch = full->bytes, .requests = 1 };
	(void)snprintf(p->uki.why, sizeof(p->uki.why), "it could not be judged by a part of it");
	r = act_allow(s->a, full->bytes + p->usr.fetch, p->uki.why, s->res, e);
	return r < 0 ? r : act_uki_save(&s->uki, e);
}

static int stage_run(struct stage *s, struct err *e)
{
	struct act *a = s->a;
	uint64_t before = a->received;
	int r = judge_before(s, e);

	s->res->uki_fetched = a->received - before;
	if (r == 0)
		r = begin_writing(a, s->rec, &s->t, s->res, e);
	if (r == 0)
		r = clear_esp(a, e);
	if (r == 0 && !s->res->uki_only)
		r = fill_slot(a, &s->usr, &s->uki, e);
	if (r == 0)
		s->res->uki_fetched = a->received - s->res->fetched;
	return r < 0 ? r : record_staged(a, s->rec, s->res, e);
}

int act_enter(struct act *a, enum machine_verb v, struct sys_fd *lock, struct record *rec,
	      struct machine_facts *f, struct err *e)
{
	int r = record_lock(a->host->sys, a->host->state, lock, e);

	if (r < 0)
		return r;
	r = record_load(a->host->sys, a->host->state, rec, e);
	if (r < 0)
		return r;
	r = host_look(a->host, e);
	if (r < 0)
		return r;
	host_facts(a->host, rec, a->now, f);
	return machine_may(rec, f, v, e);
}

static int stage_locked(struct act *a, const struct release_manifest *m, bool run,
			struct act_result *ret, struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->host->sys, .fd = -1 };
	struct act_result res = { .slot = SLOT_A };
	struct machine_facts f;
	struct record rec;
	CLEANUP(stage_done)
	struct stage s = {
		.a = a,
		.m = m,
		.rec = &rec,
		.res = &res,
		.usr = { .a = a, .m = m, .res = &res },
		.uki = { .a = a, .m = m, .res = &res, .base = { .sys = a->host->sys, .fd = -1 } }
	};
	int r = act_enter(a, MACHINE_STAGE, &lock, &rec, &f, e);

	if (r < 0)
		return r;
	if (runs_already(a->host, m))
		return err_set(e, ERR_BUG, EALREADY, "%s runs already", m->version);
	a->received = 0;
	r = stage_plan(&s, &f, e);
	if (r == 0 && run && !res.nothing)
		r = stage_run(&s, e);
	if (r == -EDQUOT && res.waits)
		r = 0;
	*ret = res; /* on failure too: what was fetched and written until then */
	return r;
}

int act_stage(struct act *a, const struct release_manifest *m, struct act_result *ret,
	      struct err *e)
{
	AUTO_SPOOL *spool = NULL;
	struct err mine = ERR_INIT;
	bool again;
	int r = spool_open(a->host->sys, a->host->state, m->uki_sha256, &spool, e);

	if (r < 0)
		return r;
	a->spool = spool;
	r = stage_locked(a, m, true, ret, &mine);
	a->spool = NULL;
	spool_free(TAKE(spool));
	/* kept for the next try, unless it may be what was wrong */
	again = r < 0 ? mine.kind == ERR_RETRY || mine.os == ECANCELED : ret->waits;
	if (!again)
		spool_remove(a->host->sys, a->host->state);
	return r < 0 ? err_set(e, mine.kind, mine.os, "%s", mine.text) : r;
}

int act_fits(struct act *a, const struct release_manifest *m, struct err *e)
{
	const struct host *h = a->host;
	bool uki_only = h->running && memcmp(h->root, m->root, sizeof(h->root)) == 0;

	return check_fits(a, m, pick_slot(h), uki_only, e);
}

int act_plan_stage(struct act *a, const struct release_manifest *m, struct act_result *ret,
		   struct err *e)
{
	return stage_locked(a, m, false, ret, e);
}
