/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int new_object(json_t **ret, struct err *e)
{
	json_t *j = json_object();

	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*ret = j;
	return 0;
}

/* The string, or null when it is empty. */
static int put_text(json_t *o, const char *key, const char *s, struct err *e)
{
	return s && s[0] ? json_put_str(o, key, s, e) : json_put(o, key, json_null(), e);
}

static int put_when(json_t *o, const char *key, int64_t t, struct err *e)
{
	return t > 0 ? json_put_time(o, key, t, e) : json_put(o, key, json_null(), e);
}

/* The entry that boots this slot: the running one, else the first in menu order. */
static const struct esp_entry *slot_entry(const struct host *h, enum slot_name s)
{
	const struct esp_entry *found = NULL;

	for (size_t i = 0; i < h->n_entries; i++) {
		const struct esp_entry *en = &h->entries[i];
		enum slot_name in;

		if (en->name.type != BOOT_ENTRY_UKI || en->broken || !en->uki.has_usrhash ||
		    disk_slot_of(h->disk, en->uki.usrhash, &in, NULL) < 0 || in != s)
			continue;
		if (i == h->current || i == h->next)
			return en;
		if (!found)
			found = en;
	}
	return found;
}

static const char *slot_state(const struct host *h, const struct record *rec,
			      const struct machine_facts *f, enum slot_name s,
			      const struct esp_entry *en)
{
	bool target = rec->phase != RECORD_IDLE && rec->slot == slot_letter(s);
	enum slot_label_kind kind = disk_slot_label(&h->disk->slot[s], h->conf.image, NULL);

	if (h->live && h->has_slot && h->slot == s)
		return f->running_entry == MACHINE_ENTRY_COUNTED ? "assessing" : "running";
	if (target && rec->phase == RECORD_WRITING)
		return "writing";
	if (target && rec->phase == RECORD_STAGED)
		return "staged";
	if (target && rec->phase == RECORD_APPLIED)
		return "applied";
	if (kind == SLOT_LABEL_FREE)
		return "empty";
	if (kind == SLOT_LABEL_FOREIGN)
		return "foreign";
	if (!en)
		return "no-entry";
	return boot_entry_is_bad(&en->name) ? "failed" : "bootable";
}

static int slot_root(const struct record *rec, enum slot_name s, const struct esp_entry *en,
		     json_t *o, struct err *e)
{
	bool staged = rec->phase == RECORD_STAGED && rec->slot == slot_letter(s);

	if (en)
		return json_put_hex(o, "root_hash", en->uki.usrhash, 32, e);
	if (staged)
		return json_put_hex(o, "root_hash", rec->target.root, 32, e);
	return json_put(o, "root_hash", json_null(), e);
}

static int put_entry(json_t *o, const struct host *h, const struct esp_entry *en, struct err *e)
{
	bool next = en && h->next < h->n_entries && en == &h->entries[h->next];
	int r = put_text(o, "entry", en ? en->name.file : NULL, e);

	if (r == 0 && en && en->name.counted)
		r = json_put_u64(o, "tries_left", en->name.left, e);
	else if (r == 0)
		r = json_put(o, "tries_left", json_null(), e);
	if (r == 0 && en && en->name.counted)
		r = json_put_u64(o, "tries_done", en->name.done, e);
	else if (r == 0)
		r = json_put(o, "tries_done", json_null(), e);
	if (r == 0)
		r = json_put(o, "boots_next", json_boolean(next), e);
	return r;
}

static int put_slot(json_t *arr, const struct host *h, const struct record *rec,
		    const struct machine_facts *f, enum slot_name s, struct err *e)
{
	const struct slot *slot = &h->disk->slot[s];
	const struct esp_entry *en = slot_entry(h, s);
	char version[RECORD_VERSION_MAX] = "", letter[2] = { slot_letter(s), '\0' };
	bool writing = rec->phase == RECORD_WRITING && rec->slot == slot_letter(s) &&
		       !(h->has_slot && h->slot == s);
	json_t *o;
	int r = new_object(&o, e);

	if (r == 0)
		r = json_push(arr, o, e);
	if (r < 0)
		return r;
	(void)disk_slot_label(slot, h->conf.image, version);
	if (en) /* a release that brought only a UKI leaves the label as it was */
		(void)snprintf(version, sizeof(version), "%.64s", en->uki.version);
	r = json_put_str(o, "slot", letter, e);
	if (r == 0)
		r = put_text(o, "version", writing ? rec->target.version : version, e);
	if (r == 0)
		r = slot_root(rec, s, en, o, e);
	if (r == 0)
		r = json_put_str(o, "state", slot_state(h, rec, f, s, en), e);
	if (r == 0)
		r = put_text(o, "label", slot->data.label, e);
	if (r == 0)
		r = put_entry(o, h, en, e);
	if (r == 0)
		r = json_put_u64(o, "partition", slot->data.number, e);
	if (r == 0)
		r = json_put_u64(o, "bytes", slot->data.bytes, e);
	return r;
}

static int put_slots(json_t *o, const struct host *h, const struct record *rec,
		     const struct machine_facts *f, struct err *e)
{
	json_t *arr = json_array();
	int r = json_put(o, "slots", arr, e);

	if (r == 0)
		r = put_slot(arr, h, rec, f, SLOT_A, e);
	if (r == 0)
		r = put_slot(arr, h, rec, f, SLOT_B, e);
	return r;
}

static int put_running(json_t *o, const struct host *h, const struct record *rec,
		       const struct machine_facts *f, struct err *e)
{
	char letter[2] = { slot_letter(h->slot), '\0' };
	bool good = f->running_entry == MACHINE_ENTRY_GOOD;
	bool since = good && strcmp(rec->good.version, h->version) == 0;
	json_t *j;
	int r;

	if (!h->running)
		return json_put(o, "running", json_null(), e);
	r = new_object(&j, e);
	if (r == 0)
		r = json_put(o, "running", j, e);
	if (r == 0)
		r = put_text(j, "version", h->version, e);
	if (r == 0)
		r = json_put_hex(j, "root_hash", h->root, sizeof(h->root), e);
	if (r == 0)
		r = put_text(j, "slot", h->has_slot ? letter : NULL, e);
	if (r == 0)
		r = json_put(j, "good", json_boolean(good), e);
	if (r == 0)
		r = put_when(j, "good_since", since ? rec->good_since : 0, e);
	return r;
}

static int put_target(json_t *o, const struct record *rec, struct err *e)
{
	json_t *j;
	int r;

	if (rec->phase == RECORD_IDLE)
		return json_put(o, "target", json_null(), e);
	r = new_object(&j, e);
	if (r == 0)
		r = json_put(o, "target", j, e);
	if (r == 0)
		r = json_put_str(j, "version", rec->target.version, e);
	if (r == 0)
		r = json_put_hex(j, "root_hash", rec->target.root, sizeof(rec->target.root), e);
	if (r == 0)
		r = json_put_str(j, "phase", record_phase_name(rec->phase), e);
	if (r == 0)
		r = json_put(j, "uki_only", json_boolean(rec->uki_only), e);
	return r;
}

static int put_next(json_t *o, const struct host *h, struct err *e)
{
	json_t *j;
	int r;

	if (h->next == h->n_entries)
		return json_put(o, "boots_next", json_null(), e);
	r = new_object(&j, e);
	if (r == 0)
		r = json_put(o, "boots_next", j, e);
	if (r == 0)
		r = json_put_str(j, "entry", h->entries[h->next].name.file, e);
	if (r == 0)
		r = put_text(j, "version", h->entries[h->next].version, e);
	if (r == 0)
		r = json_put_str(j, "why", choice_why_text(h->next_why), e);
	return r;
}

static int put_failures(json_t *o, const struct record *rec, struct err *e)
{
	json_t *arr = json_array();
	int r = json_put(o, "failed", arr, e);

	for (size_t i = 0; r == 0 && i < rec->n_failure; i++) {
		json_t *j = json_object();

		r = json_push(arr, j, e);
		if (r == 0)
			r = json_put_str(j, "version", rec->failure[i].version, e);
		if (r == 0)
			r = json_put_time(j, "when", rec->failure[i].when, e);
		if (r == 0)
			r = json_put_str(j, "cause", record_cause_name(rec->failure[i].cause), e);
		if (r == 0)
			r = put_text(j, "reason", rec->failure[i].reason, e);
	}
	return r;
}

static int put_check(json_t *o, const struct host *h, const struct record *rec, struct err *e)
{
	unsigned fallbacks = record_fallbacks(rec), limit = h->conf.fallback_limit;
	int r = put_text(o, "channel", h->conf.channel, e);

	/* there only when nothing new is taken */
	if (r == 0 && limit && fallbacks >= limit)
		r = json_put_u64(o, "halted", fallbacks, e);
	if (r == 0)
		r = put_text(o, "newest", rec->newest, e);
	if (r == 0)
		r = put_when(o, "last_check", rec->last_check, e);
	if (r == 0)
		r = put_when(o, "last_check_ok", rec->last_check_ok, e);
	if (r == 0)
		r = put_text(o, "last_error", rec->last_error, e);
	return r;
}

int report_status(const struct host *h, const struct record *rec, const struct machine_facts *f,
		  json_t **ret, struct err *e)
{
	AUTO_JSON *o = NULL;
	char name[65] = "";
	int r = new_object(&o, e);

	if (r < 0)
		return r;
	(void)gethostname(name, sizeof(name) - 1);
	r = json_put_str(o, "host", name, e);
	if (r == 0)
		r = json_put_str(o, "image", h->conf.image, e);
	if (r == 0)
		r = json_put(o, "live", json_boolean(h->live), e);
	if (r == 0)
		r = json_put_str(o, "disk", h->disk->path, e);
	if (r == 0)
		r = json_put_str(o, "state", machine_state_name(machine_state(rec, f)), e);
	if (r == 0)
		r = json_put(o, "job", json_null(), e);
	if (r == 0)
		r = put_running(o, h, rec, f, e);
	if (r == 0)
		r = put_slots(o, h, rec, f, e);
	if (r == 0)
		r = put_next(o, h, e);
	if (r == 0)
		r = put_target(o, rec, e);
	if (r == 0)
		r = put_failures(o, rec, e);
	if (r == 0)
		r = put_check(o, h, rec, e);
	if (r == 0)
		r = json_put_str(o, "reboot", config_reboot_name(h->conf.reboot), e);
	if (r == 0)
		r = json_put_str(o, "mode", config_mode_name(h->conf.mode), e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int put_reasons(json_t *o, const struct release_decision *d, struct err *e)
{
	json_t *arr = json_array();
	int r = json_put(o, "reasons", arr, e);

	for (size_t i = 0; r == 0 && i < d->n_reason; i++) {
		json_t *j = json_object();

		r = json_push(arr, j, e);
		if (r == 0)
			r = json_put_str(j, "code", release_why_name(d->reason[i].code), e);
		if (r == 0)
			r = put_text(j, "version", d->reason[i].version, e);
		if (r == 0)
			r = put_when(j, "until", d->reason[i].until, e);
		if (r == 0)
			r = json_put_str(j, "text", d->reason[i].text, e);
	}
	return r;
}

int report_decision(const struct host *h, const struct release_decision *d, json_t **ret,
		    struct err *e)
{
	static const char *const verdicts[] = {
		[RELEASE_CURRENT] = "current",
		[RELEASE_UPDATE] = "update",
		[RELEASE_BLOCKED] = "blocked",
		[RELEASE_NOTHING] = "nothing",
	};
	AUTO_JSON *o = NULL;
	int r = new_object(&o, e);

	if (r == 0)
		r = json_put_str(o, "verdict", verdicts[d->verdict], e);
	if (r == 0)
		r = put_text(o, "channel", h->conf.channel, e);
	if (r == 0)
		r = put_text(o, "running", h->running ? h->version : NULL, e);
	if (r == 0)
		r = put_text(o, "newest", d->newest ? d->newest->version : NULL, e);
	if (r == 0)
		r = put_when(o, "newest_published", d->newest ? d->newest->published : 0, e);
	if (r == 0)
		r = put_text(o, "chosen", d->chosen ? d->chosen->version : NULL, e);
	if (r == 0)
		r = put_reasons(o, d, e);
	if (r == 0)
		r = put_when(o, "retry", d->retry, e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

int report_refusal(const struct trust *t, json_t **ret, struct err *e)
{
	AUTO_JSON *o = NULL;
	int r;

	if (t->why == TUF_REASON_NONE) {
		*ret = json_null();
		return 0;
	}
	r = new_object(&o, e);
	if (r == 0)
		r = json_put_str(o, "reason", tuf_reason_name(t->why), e);
	if (r == 0 && t->why == TUF_REASON_EXPIRED) {
		r = json_put_str(o, "role", t->expired.role, e);
		if (r == 0)
			r = json_put_u64(o, "version", t->expired.version, e);
		if (r == 0)
			r = json_put_time(o, "expires", t->expired.expires, e);
	}
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static int put_event(json_t *arr, const struct record_event *ev, struct err *e)
{
	json_t *j = json_object();
	int r = json_push(arr, j, e);

	if (r == 0)
		r = json_put_u64(j, "id", ev->id, e);
	if (r == 0)
		r = json_put_time(j, "when", ev->when, e);
	if (r == 0)
		r = json_put_str(j, "event", record_kind_name(ev->kind), e);
	if (r == 0)
		r = put_text(j, "version", ev->version, e);
	if (r == 0)
		r = put_text(j, "from", ev->from, e);
	if (r == 0)
		r = json_put_hex(j, "root_hash", ev->root, sizeof(ev->root), e);
	if (r == 0)
		r = json_put_u64(j, "fetched", ev->fetched, e);
	if (r == 0)
		r = json_put_u64(j, "written", ev->written, e);
	if (r == 0)
		r = put_text(j, "text", ev->text, e);
	if (r == 0)
		r = put_text(j, "boot_id", ev->boot_id, e);
	return r;
}

int report_history(const struct record *rec, json_t **ret, struct err *e)
{
	AUTO_JSON *arr = json_array();
	int r = 0;

	if (!arr)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < rec->n_event; i++)
		r = put_event(arr, &rec->event[i], e);
	if (r < 0)
		return r;
	*ret = json_incref(arr);
	return 0;
}
