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

const char *release_why_name(enum release_reason_code code)
{
	static const char *const names[] = {
		[RELEASE_WHY_NONE_OFFERED] = "none-offered",
		[RELEASE_WHY_PAUSED] = "paused",
		[RELEASE_WHY_ROLLOUT] = "rollout",
		[RELEASE_WHY_FAILED] = "failed-here",
		[RELEASE_WHY_BARRIER] = "barrier",
		[RELEASE_WHY_OLDER] = "older",
		[RELEASE_WHY_DEAD_END] = "dead-end",
		[RELEASE_WHY_PINNED] = "pinned",
		[RELEASE_WHY_BOUNDS] = "bounds",
		[RELEASE_WHY_AGE] = "minimum-age",
		[RELEASE_WHY_HELD] = "held",
		[RELEASE_WHY_HALTED] = "halted",
		[RELEASE_WHY_FLOOR] = "floor",
	};

	return names[code];
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

static uint32_t square_root(uint32_t n)
{
	uint32_t root = 0;

	for (uint32_t bit = 1u << 15; bit; bit >>= 1)
		if ((uint64_t)(root | bit) * (root | bit) <= n)
			root |= bit;
	return root;
}

int64_t release_opens(const struct release_offer *o, unsigned place)
{
	unsigned part = place & 0xffff;

	if (!o->rollout)
		return o->published;
	if (o->rollout_slow_start)
		part = square_root((uint32_t)part << 16);
	return o->rollout_start + (int64_t)(o->rollout_seconds * part / 65536);
}

bool release_pin_fits(const char *pin, const char *version)
{
	size_t n = strlen(pin);

	return strncmp(version, pin, n) == 0 &&
	       (version[n] == '\0' || strchr(".-+~^", version[n]) != NULL);
}

/* " (/etc/proa/proa.conf, line 3)" */
static const char *in_brackets(const char *where, char out[256])
{
	if (!where || !where[0])
		return "";
	(void)snprintf(out, 256, " (%.250s)", where);
	return out;
}

/* Is o what this host should run at all? What says no is noted once, for the newest it excludes. */
static bool wanted(const struct release_offer *o, const struct release_host *h, bool *noted,
		   struct release_decision *d)
{
	const struct release_policy *p = &h->policy;
	bool pin = p->pin[0] && !release_pin_fits(p->pin, o->version);
	bool low = p->lowest[0] && version_compare(o->version, p->lowest) < 0;
	bool high = p->highest[0] && version_compare(o->version, p->highest) > 0;
	char where[256];

	if (!pin && !low && !high)
		return true;
	if (*noted)
		return false;
	*noted = true;
	if (pin)
		add_reason(d, RELEASE_WHY_PINNED, o->version, 0,
			   "%s is not taken: this host is pinned to %s%s", o->version, p->pin,
			   in_brackets(p->pin_where, where));
	else
		add_reason(d, RELEASE_WHY_BOUNDS, o->version, 0,
			   "%s is not taken: the configuration allows nothing %s than %s",
			   o->version, low ? "older" : "newer", low ? p->lowest : p->highest);
	return false;
}

/* True: this host's turn has come. */
static bool check_rollout(const struct release_offer *o, const struct release_host *h,
			  struct release_decision *d)
{
	unsigned place = release_place(h->key, o->version);
	int64_t opens = release_opens(o, place);

	if (!o->rollout || h->now >= opens)
		return true;
	add_reason(d, RELEASE_WHY_ROLLOUT, o->version, opens,
		   "rollout of %s: this host's place is %u %%", o->version, place * 100 / 65536);
	return false;
}

static bool check_age(const struct release_offer *o, const struct release_host *h,
		      struct release_decision *d)
{
	const struct release_policy *p = &h->policy;
	int64_t opens = o->published + (int64_t)p->minimum_age;
	char age[64];

	if (h->now >= opens || (o->critical && p->critical_at_once))
		return true;
	add_reason(d, RELEASE_WHY_AGE, o->version, opens,
		   "minimum age: this host takes %s %s after it was published", o->version,
		   text_duration(p->minimum_age, age, sizeof(age)));
	return false;
}

/* Failed here, or paused: also a person who goes back should know. */
static bool check_sound(const struct release_offer *o, const struct release_host *h,
			struct release_decision *d)
{
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
	return !f && !o->paused;
}

/* Adds what stands against o, as far as there is room; true: nothing does. */
static bool check_offer(const struct release_offer *o, const struct release_host *h,
			struct release_decision *d)
{
	bool barrier = o->minimum_from[0] && h->running &&
		       version_compare(h->running, o->minimum_from) < 0;
	bool sound = check_sound(o, h, d);
	bool turn = check_rollout(o, h, d);
	bool old_enough = check_age(o, h, d);

	if (barrier)
		add_reason(d, RELEASE_WHY_BARRIER, o->version, 0,
			   "%s can be reached from %s or later: update through that first",
			   o->version, o->minimum_from);
	return sound && turn && old_enough && !barrier;
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

const char *release_floor(const struct release_offer *offers, size_t n,
			  const struct release_host *h)
{
	const char *floor = NULL;

	for (size_t i = 0; i < n; i++)
		if (offer_for(&offers[i], h) && offers[i].floor[0] &&
		    (!floor || version_compare(offers[i].floor, floor) > 0))
			floor = offers[i].floor;
	return floor;
}

/* The newest release that this host may go to and that nothing stands against; NULL: none. */
static const struct release_offer *choose_newer(const struct release_offer *offers, size_t n,
						const struct release_host *h,
						struct release_decision *d)
{
	const struct release_offer *o;
	bool noted = false;

	for (o = d->newest; o; o = next_older(offers, n, h, o->version)) {
		if (h->running && version_compare(o->version, h->running) <= 0)
			return NULL;
		/* a dead end is left only by a person */
		if (d->n_reason && d->reason[0].code == RELEASE_WHY_DEAD_END)
			return NULL;
		if (!wanted(o, h, &noted, d))
			continue;
		if (check_offer(o, h, d))
			return o;
		d->verdict = RELEASE_BLOCKED;
	}
	return NULL;
}

static const struct release_offer *choose_older(const struct release_offer *offers, size_t n,
						const struct release_host *h,
						struct release_decision *d)
{
	const char *floor = release_floor(offers, n, h);
	const struct release_offer *o = next_older(offers, n, h, h->running);
	bool noted = true; /* the way up has said what excludes */

	for (; o; o = next_older(offers, n, h, o->version)) {
		if (floor && version_compare(o->version, floor) < 0) {
			add_reason(d, RELEASE_WHY_FLOOR, o->version, 0,
				   "%s is older than %s, the oldest release that the publisher of "
				   "channel %s still allows",
				   o->version, floor, h->channel);
			return NULL;
		}
		if (wanted(o, h, &noted, d) && check_sound(o, h, d))
			return o;
	}
	return NULL;
}

static void decide_held(const struct release_host *h, struct release_decision *d)
{
	const char *why = h->policy.hold_reason;
	bool told = why && why[0];
	char where[256];

	if (!d->chosen || !h->policy.hold)
		return;
	add_reason(d, RELEASE_WHY_HELD, d->chosen->version, 0,
		   "updates are on hold on this host%s%.200s%s", told ? ": " : "", told ? why : "",
		   in_brackets(h->policy.hold_where, where));
	d->chosen = NULL;
	d->verdict = RELEASE_BLOCKED;
}

static void decide_halted(const struct release_host *h, struct release_decision *d)
{
	if (!d->chosen || !h->fallback_limit || h->fallbacks < h->fallback_limit)
		return;
	add_reason(d, RELEASE_WHY_HALTED, d->chosen->version, 0,
		   "%u release%s in a row did not stay on this host, last %s; nothing new is "
		   "installed before a person has looked (proactl health, proactl forgive %s)",
		   h->fallbacks, h->fallbacks == 1 ? "" : "s", h->fallback_from, h->fallback_from);
	d->chosen = NULL;
	d->verdict = RELEASE_BLOCKED;
}

void release_decide(const struct release_offer *offers, size_t n, const struct release_host *host,
		    struct release_decision *ret)
{
	struct release_decision d = { .verdict = RELEASE_NOTHING };

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
	d.chosen = choose_newer(offers, n, host, &d);
	decide_held(host, &d);
	decide_halted(host, &d);
	if (!d.chosen && host->running && host->policy.allow_downgrade)
		d.chosen = choose_older(offers, n, host, &d);
	if (d.chosen)
		d.verdict = RELEASE_UPDATE;
	if (host->running && version_compare(d.newest->version, host->running) < 0)
		add_reason(
			&d, RELEASE_WHY_OLDER, d.newest->version, 0,
			"the newest release in channel %s, %s, is older than %s, which runs here",
			host->channel, d.newest->version, host->running);
	*ret = d;
}
