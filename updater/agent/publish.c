/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "updater/metrics/metrics.h"

#define HEALTH_BYTES_MAX ((size_t)1 << 20)

int publish_health_read(const struct host *h, const char *name, json_t **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = HEALTH_BYTES_MAX, .depth = 8 };
	AUTO_FREE char *text = NULL;
	struct err inner = ERR_INIT;
	size_t n = 0;
	int r = file_read(h->sys, h->state, name, HEALTH_BYTES_MAX, &text, &n, &inner);

	if (r == -ENOENT) {
		*ret = NULL;
		return 0;
	}
	if (r < 0)
		return err_set(e, inner.kind, -r, "health results: %s", inner.text);
	return json_read(text, n, &lim, name, ret, e);
}

/* Results that cannot be read are none; the next boot writes new ones. */
static int put_results(const struct host *h, const char *name, json_t *o, const char *key,
		       struct err *e)
{
	json_t *j = NULL;

	if (publish_health_read(h, name, &j, NULL) < 0)
		j = NULL;
	return json_put(o, key, j ? j : json_null(), e);
}

int publish_health(const struct host *h, json_t **ret, struct err *e)
{
	AUTO_JSON *o = json_object();
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put_str(o, "boot_id", h->boot_id, e);
	if (r == 0)
		r = put_results(h, PUBLISH_HEALTH, o, "last", e);
	if (r == 0)
		r = put_results(h, PUBLISH_HEALTH_BAD, o, "failed", e);
	if (r < 0)
		return r;
	*ret = json_incref(o);
	return 0;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool is_healthy(const json_t *health)
{
	return strcmp(text_of(health, "verdict"), "healthy") == 0;
}

/* ---- metrics ---- */

enum { CHECKS_MAX = 256 };

static void fill_release(const struct host *h, const struct record *rec,
			 const struct machine_facts *f, struct metrics *m)
{
	bool good = h->running && f->running_entry == MACHINE_ENTRY_GOOD &&
		    strcmp(rec->good.version, h->version) == 0;

	m->image = h->conf.image;
	m->version = h->version;
	m->slot = !h->has_slot ? "" : h->slot == SLOT_A ? "A" : "B";
	m->channel = h->conf.channel;
	m->newest = rec->newest;
	m->running = h->running;
	memcpy(m->root, h->root, sizeof(m->root));
	m->state = machine_state_name(machine_state(rec, f));
	m->reboot_wanted = rec->phase == RECORD_APPLIED && !machine_target_runs(rec, f);
	m->fallbacks = record_fallbacks(rec);
	m->failed_releases = rec->n_failure;
	m->good_since = good ? rec->good_since : 0;
}

static void fill_staging(const struct record *rec, struct metrics *m)
{
	m->fetched = rec->totals.fetched;
	m->written = rec->totals.written;
	m->staging_seconds = rec->totals.seconds;
	for (size_t i = 0; i < rec->n_event; i++) {
		const struct record_event *ev = &rec->event[i];

		if (ev->kind != RECORD_EV_STAGED)
			continue;
		m->last_staged = ev->when;
		m->last_seconds = ev->seconds;
		m->last_fetched = ev->fetched;
		m->last_written = ev->written;
	}
}

static void fill_health(const json_t *health, struct metrics *m, struct metrics_check *check)
{
	const json_t *arr = json_object_get(health, "checks");
	struct err e = ERR_INIT;

	if (!health || json_get_time(health, "when", "health", &m->health_when, &e) < 0)
		return;
	m->healthy = is_healthy(health);
	m->health_seconds = (uint64_t)json_integer_value(json_object_get(health, "took"));
	m->check = check;
	for (size_t i = 0; i < json_array_size(arr) && m->n_check < CHECKS_MAX; i++) {
		const json_t *c = json_array_get(arr, i);

		check[m->n_check].name = text_of(c, "name");
		check[m->n_check].required = json_is_true(json_object_get(c, "required"));
		check[m->n_check].passed = strcmp(text_of(c, "end"), "passed") == 0;
		m->n_check++;
	}
}

int publish_metrics(const struct host *h, const struct record *rec, const struct machine_facts *f,
		    const json_t *health, struct buf *ret, struct err *e)
{
	AUTO_FREE struct metrics_check *check = calloc(CHECKS_MAX, sizeof(*check));
	struct metrics_count failures[RECORD_ERRORS], events[RECORD_KINDS], causes[RECORD_CAUSES];
	const char *states[MACHINE_REBOOTING + 1];
	struct metrics m = { .last_check = rec->last_check,
			     .last_check_ok = rec->last_check_ok,
			     .checks = rec->totals.checks,
			     .states = states,
			     .n_states = MACHINE_REBOOTING + 1,
			     .failures = failures + 1, /* ERR_NONE is none */
			     .n_failures = RECORD_ERRORS - 1,
			     .events = events,
			     .n_events = RECORD_KINDS,
			     .causes = causes,
			     .n_causes = RECORD_CAUSES };

	if (!check)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (unsigned i = 0; i <= MACHINE_REBOOTING; i++)
		states[i] = machine_state_name((enum machine_state)i);
	for (unsigned i = 0; i < RECORD_ERRORS; i++)
		failures[i] = (struct metrics_count){ err_kind_name((enum err_kind)i),
						      rec->totals.failures[i] };
	for (unsigned i = 0; i < RECORD_KINDS; i++)
		events[i] = (struct metrics_count){ record_kind_name((enum record_kind)i),
						    rec->totals.events[i] };
	for (unsigned i = 0; i < RECORD_CAUSES; i++)
		causes[i] = (struct metrics_count){ record_cause_name((enum record_cause)i),
						    rec->totals.causes[i] };
	fill_release(h, rec, f, &m);
	m.halted = h->conf.fallback_limit && m.fallbacks >= h->conf.fallback_limit;
	fill_staging(rec, &m);
	fill_health(health, &m, check);
	return metrics_format(&m, ret, e);
}

/* ---- the message ---- */

static int note_fallback(const struct host *h, const struct record *rec,
			 const struct machine_facts *f, struct buf *b, struct err *e)
{
	unsigned n = record_fallbacks(rec);
	const struct record_event *ev = n > 0 ? record_last_fallback(rec) : NULL;
	const struct record_failure *fail = ev ? record_failed(rec, ev->from) : NULL;
	char when[64];
	int r;

	if (!ev)
		return 0;
	r = buf_addf(b, e, "Proa: %s did not stay; this host fell back to %s on %s%s%s.\n",
		     ev->from, ev->version[0] ? ev->version : "what it ran before",
		     text_time(ev->when, f->now, when, sizeof(when)), fail ? ": " : "",
		     fail ? fail->reason : "");
	if (r == 0 && h->conf.fallback_limit && n >= h->conf.fallback_limit)
		r = buf_addf(
			b, e,
			"Proa: %u releases in a row did not stay. Nothing new is installed before "
			"`proactl forgive %s`.\n",
			n, ev->from);
	return r;
}

int publish_notice(const struct host *h, const struct record *rec, const struct machine_facts *f,
		   const json_t *health, const char *dead_end, struct buf *ret, struct err *e)
{
	int r = note_fallback(h, rec, f, ret, e);

	if (r == 0 && dead_end)
		r = buf_addf(ret, e, "Proa: %s\n", dead_end);

	if (r == 0 && health && !is_healthy(health))
		r = buf_addf(ret, e, "Proa: this boot is not healthy: %s. See proactl health.\n",
			     text_of(health, "reason"));
	if (r == 0 && rec->phase == RECORD_APPLIED && !machine_target_runs(rec, f))
		r = buf_addf(ret, e, "Proa: %s boots next (proactl reboot, proactl why).\n",
			     rec->target.version);
	return r;
}

/* ---- files ---- */

/* No sooner or later than its directory: a host without that place has nobody who reads there. */
static int write_file(const struct host *h, const char *path, const struct buf *b, struct err *e)
{
	AUTO_SYS_FD dir = { .sys = h->sys, .fd = -1 };
	const char *slash = strrchr(path, '/');
	char where[CONFIG_PATH_MAX];
	mode_t mask;
	int r;

	(void)snprintf(where, sizeof(where), "%.*s", (int)(slash - path), path);
	dir.fd = h->sys->ops->open(h->sys, AT_FDCWD, where[0] ? where : "/", O_RDONLY | O_DIRECTORY,
				   0);
	if (dir.fd == -ENOENT)
		return 0;
	if (dir.fd < 0)
		return err_set(e, ERR_HOST, -dir.fd, "%s: %s", where, strerror(-dir.fd));
	if (b->n == 0)
		return file_remove(h->sys, dir.fd, slash + 1, e);
	/* proad's own files are nobody's business, these are everybody's */
	mask = umask(0022);
	r = file_replace(h->sys, dir.fd, slash + 1, b->p, b->n, e);
	(void)umask(mask);
	return r < 0 ? err_wrap(e, r, "%s", path) : 0;
}

/* Where to; NULL: nowhere. An image file seen from outside has no /run. */
static const char *place(const struct host *h, const char *set, const char *def)
{
	if (strcmp(set, "no") == 0)
		return NULL;
	return set[0] ? set : h->live ? def : NULL;
}

int publish(const struct host *h, const struct record *rec, const struct machine_facts *f,
	    const char *dead_end, struct err *e)
{
	const char *file = place(h, h->conf.metrics, "/run/proa/metrics.prom");
	const char *message = place(h, h->conf.message, "/run/motd.d/proa");
	AUTO_JSON *health = NULL;
	AUTO_BUF metrics = BUF_INIT;
	AUTO_BUF notice = BUF_INIT;
	struct err bad = ERR_INIT;
	int q = 0, r = 0;

	if (publish_health_read(h, PUBLISH_HEALTH, &health, NULL) < 0)
		health = NULL;
	/* those of an earlier boot say nothing of this one */
	if (health && strcmp(text_of(health, "boot_id"), h->boot_id) != 0) {
		json_decref(health);
		health = NULL;
	}
	if (message)
		q = publish_notice(h, rec, f, health, dead_end, &notice, &bad);
	if (message && q == 0)
		q = write_file(h, message, &notice, &bad);
	if (file)
		r = publish_metrics(h, rec, f, health, &metrics, e);
	if (file && r == 0)
		r = write_file(h, file, &metrics, e);
	if (r < 0 || q == 0)
		return r;
	return err_set(e, bad.kind, -q, "%s", bad.text);
}
