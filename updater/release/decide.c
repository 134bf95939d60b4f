/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/release/decide.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/text.h"
#include "base/version.h"

static void add_reason(struct release_decision *d, enum release_reason_code code,
		       const char *version, int64_t until, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void add_reason(struct release_decision *d, enum release_reason_code code,
		       const char *version, int64_t until, const char *fmt, ...)
{
	struct release_reason *r;
	va_list ap;

	if (d->n_reason == RELEASE_REASONS_MAX)
		return;
	r = &d->reason[d->n_reason++];
	*r = (struct release_reason){ .code = code, .until = until };
	(void)snprintf(r->version, sizeof(r->version), "%s", version);
	va_start(ap, fmt);
	(void)vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
	if (until > 0 && (d->retry == 0 || until < d->retry))
		d->retry = until;
}

unsigned release_place(const uint8_t key[16], const char *version)
{
	uint8_t in[16 + RELEASE_VERSION_MAX] = { 0 }, out[SHA256_BYTES];

	memcpy(in, key, 16);
	(void)snprintf((char *)in + 16, RELEASE_VERSION_MAX, "%s", version);
	sha256(in, sizeof(in), out);
	return (unsigned)out[0] << 8 | out[1];
}

static const struct release_failed *failed_here(const struct release_host *h, const char *version)
{
	for (size_t i = 0; i < h->n_failed; i++)
		if (strcmp(h->failed[i].version, version) == 0)
			return &h->failed[i];
	return NULL;
}

/* True: this host's turn has come. */
static bool check_rollout(const struct release_offer *o, const struct release_host *h,
			  struct release_decision *d)
{
	unsigned place = release_place(h->key, o->version);
	int64_t opens = o->rollout_start + (int64_t)(o->rollout_seconds * place / 65536);

	if (!o->rollout || h->now >= opens)
		return true;
	add_reason(d, RELEASE_WHY_ROLLOUT, o->version, opens,
		   "rollout of %s: this host's place is %u %%", o->version, place * 100 / 65536);
	return false;
}

/* Adds what stands against o, as far as there is room; true: nothing does. */
static bool check_offer(const struct release_offer *o, const struct release_host *h,
			struct release_decision *d)
{
	bool barrier = o->minimum_from[0] && h->running &&
		       version_compare(h->running, o->minimum_from) < 0;
	bool turn;

	const struct release_failed *f = failed_here(h, o->version);
	char when[64];

	if (f) {
		(void)text_time(f->when, h->now, when, sizeof(when));
		add_reason(d, RELEASE_WHY_FAILED, o->version, 0,
			   "%s failed on this host %s: %s (proactl forgive %s)", o->version, when,
			   f->reason ? f->reason : "no reason recorded", o->version);
	}
	if (o->paused)
		add_reason(d, RELEASE_WHY_PAUSED, o->version, 0,
			   "%s is paused by the publisher of channel %s", o->version, h->channel);
	turn = check_rollout(o, h, d);
	if (barrier)
		add_reason(d, RELEASE_WHY_BARRIER, o->version, 0,
			   "%s can be reached from %s or later: update through that first",
			   o->version, o->minimum_from);
	return turn && !f && !o->paused && !barrier;
}

static bool offer_for(const struct release_offer *o, const struct release_host *h)
{
	return strcmp(o->image, h->image) == 0 && strcmp(o->arch, h->arch) == 0;
}

/* The newest offer for this host that is older than below (NULL: of all). */
static const struct release_offer *next_older(const struct release_offer *offers, size_t n,
					      const struct release_host *h, const char *below)
{
	const struct release_offer *best = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct release_offer *o = &offers[i];

		if (!offer_for(o, h) || (below && version_compare(o->version, below) >= 0))
			continue;
		if (!best || version_compare(o->version, best->version) > 0)
			best = o;
	}
	return best;
}

static void note_dead_end(const struct release_offer *offers, size_t n,
			  const struct release_host *h, struct release_decision *d)
{
	for (size_t i = 0; h->running && i < n; i++)
		if (offer_for(&offers[i], h) && offers[i].dead_end[0] &&
		    strcmp(offers[i].version, h->running) == 0)
			add_reason(d, RELEASE_WHY_DEAD_END, h->running, 0, "%s is a dead end: %s",
				   h->running, offers[i].dead_end);
}

void release_decide(const struct release_offer *offers, size_t n, const struct release_host *host,
		    struct release_decision *ret)
{
	struct release_decision d = { .verdict = RELEASE_NOTHING };
	const struct release_offer *o;

	note_dead_end(offers, n, host, &d);
	d.newest = next_older(offers, n, host, NULL);
	if (!d.newest) {
		add_reason(&d, RELEASE_WHY_NONE_OFFERED, "", 0,
			   "channel %s offers no release of %s for %s", host->channel, host->image,
			   host->arch);
		*ret = d;
		return;
	}
	d.verdict = d.n_reason ? RELEASE_BLOCKED : RELEASE_CURRENT;
	for (o = d.newest; o; o = next_older(offers, n, host, o->version)) {
		if (host->running && version_compare(o->version, host->running) <= 0)
			break;
		/* a dead end is left only by a person */
		if (d.n_reason && d.reason[0].code == RELEASE_WHY_DEAD_END)
			break;
		if (check_offer(o, host, &d)) {
			d.verdict = RELEASE_UPDATE;
			d.chosen = o;
			break;
		}
		d.verdict = RELEASE_BLOCKED;
	}
	if (host->running && version_compare(d.newest->version, host->running) < 0)
		add_reason(
			&d, RELEASE_WHY_OLDER, d.newest->version, 0,
			"the newest release in channel %s, %s, is older than %s, which runs here",
			host->channel, d.newest->version, host->running);
	*ret = d;
}
