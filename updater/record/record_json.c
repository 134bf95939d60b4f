/* SPDX-License-Identifier: Apache-2.0 */
/* The record's body. Times are seconds since 1970, since a clock that was wrong must not hide. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "updater/record/record.h"

#define TIME_MAX ((uint64_t)253402300799) /* year 9999 */

static const char *const phases[] = {
	[RECORD_IDLE] = "idle",
	[RECORD_WRITING] = "writing",
	[RECORD_STAGED] = "staged",
	[RECORD_APPLIED] = "applied",
};
static const char *const causes[] = {
	[RECORD_HEALTH] = "health",
	[RECORD_NO_BOOT] = "no-boot",
	[RECORD_ROLLBACK] = "rollback",
};
static const char *const kinds[] = {
	[RECORD_EV_STAGED] = "staged",       [RECORD_EV_APPLIED] = "applied",
	[RECORD_EV_GOOD] = "good",           [RECORD_EV_FAILED] = "failed",
	[RECORD_EV_FELL_BACK] = "fell-back", [RECORD_EV_ROLLED_BACK] = "rolled-back",
	[RECORD_EV_FORGIVEN] = "forgiven",
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *record_phase_name(enum record_phase p)
{
	return phases[p];
}

const char *record_cause_name(enum record_cause c)
{
	return causes[c];
}

const char *record_kind_name(enum record_kind k)
{
	return kinds[k];
}

static int get_text(const json_t *o, const char *key, const char *what, char *out, size_t cap,
		    struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, what, &s, e);

	if (r < 0)
		return r;
	if (strlen(s) >= cap)
		return err_set(e, ERR_INPUT, EINVAL, "%s: %s: too long", what, key);
	(void)snprintf(out, cap, "%s", s);
	return 0;
}

static int get_when(const json_t *o, const char *key, const char *what, int64_t *ret, struct err *e)
{
	uint64_t v;
	int r = json_get_u64(o, key, what, TIME_MAX, &v, e);

	if (r == 0)
		*ret = (int64_t)v;
	return r;
}

static int get_name(const json_t *o, const char *key, const char *what, const char *const *names,
		    size_t n, unsigned *ret, struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, what, &s, e);

	for (unsigned i = 0; r == 0 && i < n; i++)
		if (strcmp(s, names[i]) == 0) {
			*ret = i;
			return 0;
		}
	return r < 0 ? r : err_set(e, ERR_INPUT, EINVAL, "%s: %s: unknown \"%s\"", what, key, s);
}

static int parse_release(const json_t *o, const char *key, const char *what,
			 struct record_release *ret, struct err *e)
{
	struct record_release t;
	json_t *j;
	int r = json_get_obj(o, key, what, &j, e);

	memset(&t, 0, sizeof(t));
	if (r == 0)
		r = get_text(j, "version", what, t.version, sizeof(t.version), e);
	if (r == 0)
		r = json_get_hex(j, "root_hash", what, t.root, sizeof(t.root), e);
	if (r == 0)
		r = json_get_hex(j, "uki_sha256", what, t.uki_sha256, sizeof(t.uki_sha256), e);
	if (r == 0)
		r = json_get_u64(j, "uki_bytes", what, INT64_MAX, &t.uki_bytes, e);
	if (r == 0)
		*ret = t;
	return r;
}

static int parse_failure(const json_t *j, const char *what, struct record_failure *f, struct err *e)
{
	unsigned cause = 0;
	int r = get_text(j, "version", what, f->version, sizeof(f->version), e);

	if (r == 0)
		r = json_get_hex(j, "root_hash", what, f->root, sizeof(f->root), e);
	if (r == 0)
		r = get_when(j, "when", what, &f->when, e);
	if (r == 0)
		r = get_name(j, "cause", what, causes, COUNT(causes), &cause, e);
	if (r == 0)
		r = get_text(j, "reason", what, f->reason, sizeof(f->reason), e);
	f->cause = (enum record_cause)cause;
	return r;
}

static int parse_event(const json_t *j, const char *what, struct record_event *ev, struct err *e)
{
	unsigned kind = 0;
	int r = json_get_u64(j, "id", what, INT64_MAX, &ev->id, e);

	if (r == 0)
		r = get_when(j, "when", what, &ev->when, e);
	if (r == 0)
		r = get_name(j, "event", what, kinds, COUNT(kinds), &kind, e);
	if (r == 0)
		r = get_text(j, "version", what, ev->version, sizeof(ev->version), e);
	if (r == 0)
		r = get_text(j, "from", what, ev->from, sizeof(ev->from), e);
	if (r == 0)
		r = json_get_hex(j, "root_hash", what, ev->root, sizeof(ev->root), e);
	if (r == 0)
		r = json_get_u64(j, "fetched", what, INT64_MAX, &ev->fetched, e);
	if (r == 0)
		r = json_get_u64(j, "written", what, INT64_MAX, &ev->written, e);
	if (r == 0)
		r = json_get_u64(j, "seconds", what, INT64_MAX, &ev->seconds, e);
	if (r == 0)
		r = get_text(j, "text", what, ev->text, sizeof(ev->text), e);
	if (r == 0)
		r = get_text(j, "boot_id", what, ev->boot_id, sizeof(ev->boot_id), e);
	ev->kind = (enum record_kind)kind;
	return r;
}

static int parse_lists(const json_t *o, const char *what, struct record *rec, struct err *e)
{
	json_t *arr;
	int r = json_get_arr(o, "failures", what, &arr, e);

	if (r == 0 && json_array_size(arr) > RECORD_FAILURES_MAX)
		r = err_set(e, ERR_INPUT, E2BIG, "%s: failures: too many", what);
	for (size_t i = 0; r == 0 && i < json_array_size(arr); i++)
		r = parse_failure(json_array_get(arr, i), what, &rec->failure[rec->n_failure++], e);
	if (r == 0)
		r = json_get_arr(o, "events", what, &arr, e);
	if (r == 0 && json_array_size(arr) > RECORD_EVENTS_MAX)
		r = err_set(e, ERR_INPUT, E2BIG, "%s: events: too many", what);
	for (size_t i = 0; r == 0 && i < json_array_size(arr); i++)
		r = parse_event(json_array_get(arr, i), what, &rec->event[rec->n_event++], e);
	return r;
}

static int parse_update(const json_t *o, const char *what, struct record *rec, struct err *e)
{
	unsigned phase = 0;
	char slot[2] = "-";
	int r = get_name(o, "phase", what, phases, COUNT(phases), &phase, e);

	rec->phase = (enum record_phase)phase;
	rec->slot = '-';
	if (r < 0 || rec->phase == RECORD_IDLE)
		return r;
	r = parse_release(o, "target", what, &rec->target, e);
	if (r == 0)
		r = get_text(o, "slot", what, slot, sizeof(slot), e);
	if (r == 0 && slot[0] != 'A' && slot[0] != 'B')
		r = err_set(e, ERR_INPUT, EINVAL, "%s: slot: neither A nor B", what);
	if (r == 0)
		r = json_get_bool_opt(o, "uki_only", what, false, &rec->uki_only, e);
	if (r == 0)
		r = get_text(o, "applied_boot_id", what, rec->applied_boot_id,
			     sizeof(rec->applied_boot_id), e);
	rec->slot = slot[0];
	return r;
}

static int parse_check(const json_t *o, const char *what, struct record *rec, struct err *e)
{
	int r = get_when(o, "last_check", what, &rec->last_check, e);

	if (r == 0)
		r = get_when(o, "last_check_ok", what, &rec->last_check_ok, e);
	if (r == 0)
		r = get_text(o, "last_error", what, rec->last_error, sizeof(rec->last_error), e);
	if (r == 0)
		r = get_text(o, "newest", what, rec->newest, sizeof(rec->newest), e);
	if (r == 0)
		r = get_when(o, "metadata_time", what, &rec->metadata_time, e);
	return r;
}

static int get_counts(const json_t *o, const char *key, const char *what, const char *const *names,
		      uint64_t *count, size_t n, struct err *e)
{
	json_t *j;
	int r = json_get_obj(o, key, what, &j, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = json_get_u64_opt(j, names[i], what, INT64_MAX, 0, &count[i], e);
	return r;
}

static void error_names(const char *names[RECORD_ERRORS])
{
	for (unsigned i = 0; i < RECORD_ERRORS; i++)
		names[i] = err_kind_name((enum err_kind)i);
}

/* A record of before there were any has none. */
static int parse_totals(const json_t *o, const char *what, struct record_totals *t, struct err *e)
{
	const char *errors[RECORD_ERRORS];
	json_t *j;
	int r;

	if (!json_object_get(o, "totals"))
		return 0;
	error_names(errors);
	r = json_get_obj(o, "totals", what, &j, e);
	if (r == 0)
		r = json_get_u64(j, "checks", what, INT64_MAX, &t->checks, e);
	if (r == 0)
		r = json_get_u64(j, "fetched", what, INT64_MAX, &t->fetched, e);
	if (r == 0)
		r = json_get_u64(j, "written", what, INT64_MAX, &t->written, e);
	if (r == 0)
		r = json_get_u64(j, "seconds", what, INT64_MAX, &t->seconds, e);
	/* an older proad does not write it */
	if (r == 0 && json_object_get(j, "fallbacks"))
		r = json_get_u64(j, "fallbacks", what, INT64_MAX, &t->fallbacks, e);
	if (r == 0)
		r = get_counts(j, "failures", what, errors, t->failures, RECORD_ERRORS, e);
	if (r == 0)
		r = get_counts(j, "events", what, kinds, t->events, RECORD_KINDS, e);
	if (r == 0)
		r = get_counts(j, "causes", what, causes, t->causes, RECORD_CAUSES, e);
	return r;
}

int record_parse(const void *p, size_t n, const char *what, struct record *ret, struct err *e)
{
	const struct json_limits lim = { .bytes = RECORD_BYTES_MAX, .depth = 4 };
	AUTO_JSON *o = NULL;
	struct record rec;
	int r = json_read(p, n, &lim, what, &o, e);

	memset(&rec, 0, sizeof(rec));
	if (r < 0)
		return r;
	if (!json_is_object(o))
		return err_set(e, ERR_INPUT, EINVAL, "%s: must be an object", what);
	r = json_get_u64(o, "seq", what, INT64_MAX, &rec.seq, e);
	if (r == 0)
		r = parse_update(o, what, &rec, e);
	if (r == 0 && json_object_get(o, "good"))
		r = parse_release(o, "good", what, &rec.good, e);
	if (r == 0)
		r = get_when(o, "good_since", what, &rec.good_since, e);
	if (r == 0)
		r = parse_check(o, what, &rec, e);
	if (r == 0)
		r = parse_lists(o, what, &rec, e);
	if (r == 0)
		r = json_get_u64(o, "next_event", what, INT64_MAX, &rec.next_event, e);
	if (r == 0)
		r = parse_totals(o, what, &rec.totals, e);
	if (r < 0)
		return r;
	*ret = rec;
	return 0;
}

static int put_release(json_t *o, const char *key, const struct record_release *t, struct err *e)
{
	json_t *j = json_object();
	int r = json_put(o, key, j, e);

	if (r == 0)
		r = json_put_str(j, "version", t->version, e);
	if (r == 0)
		r = json_put_hex(j, "root_hash", t->root, sizeof(t->root), e);
	if (r == 0)
		r = json_put_hex(j, "uki_sha256", t->uki_sha256, sizeof(t->uki_sha256), e);
	if (r == 0)
		r = json_put_u64(j, "uki_bytes", t->uki_bytes, e);
	return r;
}

static int put_when(json_t *o, const char *key, int64_t t, struct err *e)
{
	return json_put_u64(o, key, t > 0 ? (uint64_t)t : 0, e);
}

static int put_failure(json_t *arr, const struct record_failure *f, struct err *e)
{
	json_t *j = json_object();
	int r = json_push(arr, j, e);

	if (r == 0)
		r = json_put_str(j, "version", f->version, e);
	if (r == 0)
		r = json_put_hex(j, "root_hash", f->root, sizeof(f->root), e);
	if (r == 0)
		r = put_when(j, "when", f->when, e);
	if (r == 0)
		r = json_put_str(j, "cause", causes[f->cause], e);
	if (r == 0)
		r = json_put_str(j, "reason", f->reason, e);
	return r;
}

static int put_event(json_t *arr, const struct record_event *ev, struct err *e)
{
	json_t *j = json_object();
	int r = json_push(arr, j, e);

	if (r == 0)
		r = json_put_u64(j, "id", ev->id, e);
	if (r == 0)
		r = put_when(j, "when", ev->when, e);
	if (r == 0)
		r = json_put_str(j, "event", kinds[ev->kind], e);
	if (r == 0)
		r = json_put_str(j, "version", ev->version, e);
	if (r == 0)
		r = json_put_str(j, "from", ev->from, e);
	if (r == 0)
		r = json_put_hex(j, "root_hash", ev->root, sizeof(ev->root), e);
	if (r == 0)
		r = json_put_u64(j, "fetched", ev->fetched, e);
	if (r == 0)
		r = json_put_u64(j, "written", ev->written, e);
	if (r == 0)
		r = json_put_u64(j, "seconds", ev->seconds, e);
	if (r == 0)
		r = json_put_str(j, "text", ev->text, e);
	if (r == 0)
		r = json_put_str(j, "boot_id", ev->boot_id, e);
	return r;
}

static int put_lists(json_t *o, const struct record *rec, struct err *e)
{
	json_t *failures = json_array(), *events = json_array();
	int r = json_put(o, "failures", failures, e);

	for (size_t i = 0; r == 0 && i < rec->n_failure; i++)
		r = put_failure(failures, &rec->failure[i], e);
	if (r < 0) {
		json_decref(events);
		return r;
	}
	r = json_put(o, "events", events, e);
	for (size_t i = 0; r == 0 && i < rec->n_event; i++)
		r = put_event(events, &rec->event[i], e);
	return r;
}

static int put_update(json_t *o, const struct record *rec, struct err *e)
{
	char slot[2] = { rec->slot, '\0' };
	int r = json_put_str(o, "phase", phases[rec->phase], e);

	if (r < 0 || rec->phase == RECORD_IDLE)
		return r;
	r = put_release(o, "target", &rec->target, e);
	if (r == 0)
		r = json_put_str(o, "slot", slot, e);
	if (r == 0)
		r = json_put(o, "uki_only", json_boolean(rec->uki_only), e);
	if (r == 0)
		r = json_put_str(o, "applied_boot_id", rec->applied_boot_id, e);
	return r;
}

static int put_check(json_t *o, const struct record *rec, struct err *e)
{
	int r = put_when(o, "last_check", rec->last_check, e);

	if (r == 0)
		r = put_when(o, "last_check_ok", rec->last_check_ok, e);
	if (r == 0)
		r = json_put_str(o, "last_error", rec->last_error, e);
	if (r == 0)
		r = json_put_str(o, "newest", rec->newest, e);
	if (r == 0)
		r = put_when(o, "metadata_time", rec->metadata_time, e);
	return r;
}

static int put_counts(json_t *o, const char *key, const char *const *names, const uint64_t *count,
		      size_t n, struct err *e)
{
	json_t *j = json_object();
	int r = json_put(o, key, j, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = json_put_u64(j, names[i], count[i], e);
	return r;
}

static int put_totals(json_t *o, const struct record_totals *t, struct err *e)
{
	const char *errors[RECORD_ERRORS];
	json_t *j = json_object();
	int r = json_put(o, "totals", j, e);

	error_names(errors);
	if (r == 0)
		r = json_put_u64(j, "checks", t->checks, e);
	if (r == 0)
		r = json_put_u64(j, "fetched", t->fetched, e);
	if (r == 0)
		r = json_put_u64(j, "written", t->written, e);
	if (r == 0)
		r = json_put_u64(j, "seconds", t->seconds, e);
	if (r == 0)
		r = json_put_u64(j, "fallbacks", t->fallbacks, e);
	if (r == 0)
		r = put_counts(j, "failures", errors, t->failures, RECORD_ERRORS, e);
	if (r == 0)
		r = put_counts(j, "events", kinds, t->events, RECORD_KINDS, e);
	return r == 0 ? put_counts(j, "causes", causes, t->causes, RECORD_CAUSES, e) : r;
}

int record_format(const struct record *rec, struct buf *b, struct err *e)
{
	AUTO_JSON *o = json_object();
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put_u64(o, "seq", rec->seq, e);
	if (r == 0)
		r = put_update(o, rec, e);
	if (r == 0 && rec->good.version[0])
		r = put_release(o, "good", &rec->good, e);
	if (r == 0)
		r = put_when(o, "good_since", rec->good_since, e);
	if (r == 0)
		r = put_check(o, rec, e);
	if (r == 0)
		r = put_lists(o, rec, e);
	if (r == 0)
		r = json_put_u64(o, "next_event", rec->next_event, e);
	if (r == 0)
		r = put_totals(o, &rec->totals, e);
	return r < 0 ? r : json_write(o, true, b, e);
}
