/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/metrics/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"

enum { LABEL_MAX = 200 };

/* A label's value: backslash, quote and newline escaped, other control characters not passed on. */
static void escape(const char *s, char out[LABEL_MAX])
{
	size_t k = 0;

	for (; *s && k + 3 < LABEL_MAX; s++) {
		if (*s == '\\' || *s == '"')
			out[k++] = '\\';
		out[k++] = *s;
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			out[k - 1] = '?';
	}
	/* not in the middle of a character of several bytes */
	while (*s && k > 0 && ((unsigned char)*s & 0xc0) == 0x80) {
		bool lead = ((unsigned char)out[k - 1] & 0xc0) == 0xc0;

		k--;
		if (lead)
			break;
	}
	out[k] = '\0';
}

static int family(struct buf *b, const char *name, const char *type, const char *help,
		  struct err *e)
{
	return buf_addf(b, e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static int single(struct buf *b, const char *name, const char *type, const char *help, uint64_t v,
		  struct err *e)
{
	int r = family(b, name, type, help, e);

	return r < 0 ? r : buf_addf(b, e, "%s %" PRIu64 "\n", name, v);
}

static int gauge(struct buf *b, const char *name, const char *help, uint64_t v, struct err *e)
{
	return single(b, name, "gauge", help, v, e);
}

static int counter(struct buf *b, const char *name, const char *help, uint64_t v, struct err *e)
{
	return single(b, name, "counter", help, v, e);
}

/* Left out when it has not happened yet. */
static int when(struct buf *b, const char *name, const char *help, int64_t t, struct err *e)
{
	return t > 0 ? gauge(b, name, help, (uint64_t)t, e) : 0;
}

static int counters(struct buf *b, const char *name, const char *label, const char *help,
		    const struct metrics_count *c, size_t n, struct err *e)
{
	int r = n > 0 ? family(b, name, "counter", help, e) : 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = buf_addf(b, e, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, c[i].name, c[i].n);
	return r;
}

static int put_release(const struct metrics *m, struct buf *b, struct err *e)
{
	char image[LABEL_MAX], version[LABEL_MAX], channel[LABEL_MAX], newest[LABEL_MAX];
	char root[2 * sizeof(m->root) + 1];
	int r = family(b, "proa_build_info", "gauge", "Version of Proa.", e);

	if (r == 0)
		r = buf_addf(b, e, "proa_build_info{version=\"%s\"} 1\n", PROA_VERSION);
	escape(m->image, image);
	escape(m->version, version);
	escape(m->channel, channel);
	escape(m->newest, newest);
	hex_format(m->root, sizeof(m->root), root);
	if (r == 0 && m->running)
		r = family(b, "proa_release_info", "gauge", "The release that runs.", e);
	if (r == 0 && m->running)
		r = buf_addf(b, e,
			     "proa_release_info{image=\"%s\",version=\"%s\",root_hash=\"%s\","
			     "slot=\"%s\",channel=\"%s\"} 1\n",
			     image, version, root, m->slot, channel);
	if (r == 0 && newest[0])
		r = family(b, "proa_newest_release_info", "gauge",
			   "The newest release in the channel, as last seen.", e);
	if (r == 0 && newest[0])
		r = buf_addf(b, e, "proa_newest_release_info{version=\"%s\",channel=\"%s\"} 1\n",
			     newest, channel);
	return r;
}

static int put_state(const struct metrics *m, struct buf *b, struct err *e)
{
	int r = family(b, "proa_state", "gauge", "1 for the state that this host is in.", e);

	for (size_t i = 0; r == 0 && i < m->n_states; i++)
		r = buf_addf(b, e, "proa_state{state=\"%s\"} %d\n", m->states[i],
			     strcmp(m->states[i], m->state) == 0);
	if (r == 0)
		r = gauge(b, "proa_reboot_wanted",
			  "1 when another release than the running boots next.", m->reboot_wanted,
			  e);
	if (r == 0)
		r = when(b, "proa_good_since_timestamp_seconds",
			 "When the running release was found good.", m->good_since, e);
	if (r == 0)
		r = gauge(b, "proa_consecutive_fallbacks",
			  "Fallbacks since a release was last found good.", m->fallbacks, e);
	if (r == 0)
		r = gauge(b, "proa_halted",
			  "1 when no release is taken any more, as one after the other failed.",
			  m->halted, e);
	if (r == 0)
		r = gauge(b, "proa_failed_releases", "Releases that are not tried again here.",
			  m->failed_releases, e);
	return r;
}

static int put_checks(const struct metrics *m, struct buf *b, struct err *e)
{
	int r = when(b, "proa_last_check_timestamp_seconds", "When updates were last looked for.",
		     m->last_check, e);

	if (r == 0)
		r = when(b, "proa_last_successful_check_timestamp_seconds",
			 "When metadata was last fetched and verified.", m->last_check_ok, e);
	if (r == 0)
		r = counter(b, "proa_checks_total", "How often updates were looked for.", m->checks,
			    e);
	if (r == 0)
		r = counters(b, "proa_failures_total", "kind",
			     "Checks and other verbs that failed, by kind of error.", m->failures,
			     m->n_failures, e);
	if (r == 0)
		r = counters(b, "proa_events_total", "event", "What happened to releases here.",
			     m->events, m->n_events, e);
	if (r == 0)
		r = counters(b, "proa_release_failures_total", "cause",
			     "Releases that were given up here.", m->causes, m->n_causes, e);
	return r;
}

static int put_staging(const struct metrics *m, struct buf *b, struct err *e)
{
	int r = counter(b, "proa_fetched_bytes_total", "Bytes downloaded for updates.", m->fetched,
			e);

	if (r == 0)
		r = counter(b, "proa_written_bytes_total", "Bytes written to slots.", m->written,
			    e);
	if (r == 0)
		r = counter(b, "proa_staging_seconds_total", "Time it took to stage releases.",
			    m->staging_seconds, e);
	if (r < 0 || m->last_staged <= 0)
		return r;
	r = when(b, "proa_last_staging_timestamp_seconds", "When a release was last staged.",
		 m->last_staged, e);
	if (r == 0)
		r = gauge(b, "proa_last_staging_duration_seconds", "How long that took.",
			  m->last_seconds, e);
	if (r == 0)
		r = gauge(b, "proa_last_staging_fetched_bytes", "What was downloaded for it.",
			  m->last_fetched, e);
	if (r == 0)
		r = gauge(b, "proa_last_staging_written_bytes", "What was written for it.",
			  m->last_written, e);
	return r;
}

/* Two checks may have one name, one of Proa's and one of greenboot's; a series may not. */
static bool named_before(const struct metrics *m, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (m->check[k].required == m->check[i].required &&
		    strcmp(m->check[k].name, m->check[i].name) == 0)
			return true;
	return false;
}

static bool all_passed(const struct metrics *m, size_t i)
{
	bool passed = true;

	for (size_t k = i; k < m->n_check; k++)
		if (m->check[k].required == m->check[i].required &&
		    strcmp(m->check[k].name, m->check[i].name) == 0)
			passed = passed && m->check[k].passed;
	return passed;
}

static int put_health(const struct metrics *m, struct buf *b, struct err *e)
{
	char name[LABEL_MAX];
	int r;

	if (m->health_when <= 0)
		return 0;
	r = gauge(b, "proa_healthy", "1 when the required health checks of this boot passed.",
		  m->healthy, e);
	if (r == 0)
		r = when(b, "proa_health_timestamp_seconds", "When the health checks ended.",
			 m->health_when, e);
	if (r == 0)
		r = gauge(b, "proa_health_duration_seconds", "How long the health checks took.",
			  m->health_seconds, e);
	if (r == 0 && m->n_check > 0)
		r = family(b, "proa_health_check_passed", "gauge",
			   "1 when that health check passed in this boot.", e);
	for (size_t i = 0; r == 0 && i < m->n_check; i++) {
		if (named_before(m, i))
			continue;
		escape(m->check[i].name, name);
		r = buf_addf(b, e, "proa_health_check_passed{check=\"%s\",required=\"%s\"} %d\n",
			     name, m->check[i].required ? "true" : "false", all_passed(m, i));
	}
	return r;
}

int metrics_format(const struct metrics *m, struct buf *ret, struct err *e)
{
	int r = put_release(m, ret, e);

	if (r == 0)
		r = put_state(m, ret, e);
	if (r == 0)
		r = put_checks(m, ret, e);
	if (r == 0)
		r = put_staging(m, ret, e);
	return r == 0 ? put_health(m, ret, e) : r;
}
