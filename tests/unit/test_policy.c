/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/version.h"
#include "tests/dice.h"
#include "tests/test.h"
#include "updater/release/decide.h"

#define DAY ((int64_t)86400)

static struct release_offer offer(const char *version)
{
	struct release_offer o = { .published = 100 * DAY };

	(void)snprintf(o.image, sizeof(o.image), "web");
	(void)snprintf(o.arch, sizeof(o.arch), "x86-64");
	(void)snprintf(o.version, sizeof(o.version), "%s", version);
	return o;
}

static struct release_host host(const char *running)
{
	struct release_host h = { .image = "web",
				  .arch = "x86-64",
				  .channel = "stable",
				  .running = running,
				  .now = 101 * DAY };

	return h;
}

struct want {
	enum release_verdict verdict;
	const char *chosen;  /* NULL: none */
	const char *reasons; /* their names, in order */
};

static void expect(const struct release_offer *o, size_t n, const struct release_host *h,
		   const struct want *w)
{
	struct release_decision d;
	char got[256] = "";

	release_decide(o, n, h, &d);
	for (size_t i = 0; i < d.n_reason; i++) {
		size_t at = strlen(got);

		(void)snprintf(got + at, sizeof(got) - at, "%s%s", i ? " " : "",
			       release_why_name(d.reason[i].code));
	}
	CHECK(strcmp(got, w->reasons) == 0, "reasons '%s', not '%s'", got, w->reasons);
	CHECK(d.verdict == w->verdict, "verdict %d, not %d (%s)", (int)d.verdict, (int)w->verdict,
	      got);
	CHECK(strcmp(d.chosen ? d.chosen->version : "", w->chosen ? w->chosen : "") == 0,
	      "chose %s", d.chosen ? d.chosen->version : "nothing");
}

static void test_pin(void)
{
	const struct release_offer o[] = { offer("1.4.2"), offer("1.4.10"), offer("1.40.0"),
					   offer("2.0.0") };
	struct release_host h = host("1.4.2");

	CHECK(release_pin_fits("1.4", "1.4.2") && release_pin_fits("1.4", "1.4") &&
		      release_pin_fits("1.4", "1.4~rc1") && !release_pin_fits("1.4", "1.40.0") &&
		      !release_pin_fits("1.4.2", "1.4"),
	      "prefixes");
	(void)snprintf(h.policy.pin, sizeof(h.policy.pin), "1.4");
	h.policy.pin_where = "/etc/proa/proa.conf, line 3";
	expect(o, 4, &h, &(struct want){ RELEASE_UPDATE, "1.4.10", "pinned" });
	h.running = "1.4.10";
	expect(o, 4, &h, &(struct want){ RELEASE_CURRENT, NULL, "pinned" });
	h.running = "2.0.0"; /* an older pin alone takes nobody back */
	expect(o, 4, &h, &(struct want){ RELEASE_CURRENT, NULL, "" });
	h.policy.allow_downgrade = true;
	expect(o, 4, &h, &(struct want){ RELEASE_UPDATE, "1.4.10", "" });
}

static void test_pin_says_where(void)
{
	const struct release_offer o = offer("2.0.0");
	struct release_host h = host("1.4.2");
	struct release_decision d;

	(void)snprintf(h.policy.pin, sizeof(h.policy.pin), "1.4");
	h.policy.pin_where = "/etc/proa/proa.conf, line 3";
	release_decide(&o, 1, &h, &d);
	CHECK(strcmp(d.reason[0].text, "2.0.0 is not taken: this host is pinned to 1.4 "
				       "(/etc/proa/proa.conf, line 3)") == 0,
	      "%s", d.reason[0].text);
}

static void test_bounds_and_hold(void)
{
	const struct release_offer o[] = { offer("1.1.0"), offer("1.2.0"), offer("1.3.0") };
	struct release_host h = host("1.0.0");

	(void)snprintf(h.policy.highest, sizeof(h.policy.highest), "1.2.0");
	expect(o, 3, &h, &(struct want){ RELEASE_UPDATE, "1.2.0", "bounds" });
	h.policy.hold = true;
	expect(o, 3, &h, &(struct want){ RELEASE_BLOCKED, NULL, "bounds held" });
	h.policy.hold = false;
	h.policy.highest[0] = '\0';
	(void)snprintf(h.policy.lowest, sizeof(h.policy.lowest), "2.0");
	expect(o, 3, &h, &(struct want){ RELEASE_CURRENT, NULL, "bounds" });
}

static void test_age(void)
{
	struct release_offer o[] = { offer("1.1.0"), offer("1.2.0") };
	struct release_host h = host("1.0.0");
	struct release_decision d;

	h.policy.minimum_age = (uint64_t)(3 * DAY);
	o[0].published = 90 * DAY;
	expect(o, 2, &h, &(struct want){ RELEASE_UPDATE, "1.1.0", "minimum-age" });
	h.running = "1.1.0";
	release_decide(o, 2, &h, &d);
	CHECK(d.retry == 103 * DAY, "again at %lld", (long long)d.retry);
	h.now = d.retry;
	expect(o, 2, &h, &(struct want){ RELEASE_UPDATE, "1.2.0", "" });
	h.now--;
	o[1].critical = true;
	expect(o, 2, &h, &(struct want){ RELEASE_BLOCKED, NULL, "minimum-age" });
	h.policy.critical_at_once = true;
	expect(o, 2, &h, &(struct want){ RELEASE_UPDATE, "1.2.0", "" });
}

static void test_floor(void)
{
	struct release_offer o[] = { offer("1.1.0"), offer("1.2.0"), offer("1.3.0") };
	struct release_host h = host("1.3.0");

	h.policy.allow_downgrade = true;
	expect(o, 3, &h, &(struct want){ RELEASE_UPDATE, "1.2.0", "" });
	(void)snprintf(o[2].floor, sizeof(o[2].floor), "1.2.0");
	expect(o, 3, &h, &(struct want){ RELEASE_UPDATE, "1.2.0", "" });
	o[1].paused = true; /* the next one down lies below the floor */
	expect(o, 3, &h, &(struct want){ RELEASE_CURRENT, NULL, "paused floor" });
	h.policy.allow_downgrade = false;
	expect(o, 3, &h, &(struct want){ RELEASE_CURRENT, NULL, "" });
}

static void test_curve(void)
{
	struct release_offer o = offer("1.0.0");
	int64_t last = 0;

	o.rollout = true;
	o.rollout_start = 1000;
	o.rollout_seconds = 65536;
	CHECK(release_opens(&o, 16384) == 1000 + 16384, "a quarter after a quarter");
	o.rollout_slow_start = true;
	CHECK(release_opens(&o, 0) == 1000, "the first one at once");
	CHECK(release_opens(&o, 16384) == 1000 + 32768, "a quarter of the hosts after half");
	for (unsigned place = 0; place < 65536; place++) {
		int64_t t = release_opens(&o, place);

		CHECK(t >= last && t <= 1000 + 65536, "place %u opens at %lld", place,
		      (long long)t);
		last = t;
	}
}

static void random_version(char out[RELEASE_VERSION_MAX])
{
	(void)snprintf(out, RELEASE_VERSION_MAX, "%u.%u", dice_below(3), dice_below(4));
}

/* Whatever is offered and allowed: what is chosen breaks no rule. */
static void check_lawful(const struct release_offer *o, size_t n, const struct release_host *h)
{
	const struct release_policy *p = &h->policy;
	const struct release_offer *c;
	struct release_decision d;
	bool up;

	release_decide(o, n, h, &d);
	CHECK((d.verdict == RELEASE_UPDATE) == (d.chosen != NULL), "verdict %d", (int)d.verdict);
	c = d.chosen;
	if (!c)
		return;
	up = !h->running || version_compare(c->version, h->running) > 0;
	CHECK(!h->running || strcmp(c->version, h->running) != 0, "chose what runs");
	CHECK(up || p->allow_downgrade, "went back by itself");
	CHECK(!p->pin[0] || release_pin_fits(p->pin, c->version), "pin %s", p->pin);
	CHECK(!p->lowest[0] || version_compare(c->version, p->lowest) >= 0, "too low");
	CHECK(!p->highest[0] || version_compare(c->version, p->highest) <= 0, "too high");
	CHECK(!c->paused && (h->n_failed == 0 || strcmp(h->failed[0].version, c->version) != 0),
	      "paused or failed");
	CHECK(!up || !p->hold, "held");
	CHECK(!up || h->now >= release_opens(c, release_place(h->key, c->version)), "early");
	CHECK(!up || h->now >= c->published + (int64_t)p->minimum_age ||
		      (c->critical && p->critical_at_once),
	      "too young");
	for (size_t i = 0; i < n; i++)
		CHECK(up || !o[i].floor[0] || version_compare(c->version, o[i].floor) >= 0,
		      "below the floor %s", o[i].floor);
}

static void test_halted(void)
{
	struct release_offer o[] = { offer("1.2") };
	struct release_host h = host("1.1");
	struct release_decision d;

	h.fallbacks = 1;
	h.fallback_limit = 2;
	h.fallback_from = "1.3";
	release_decide(o, 1, &h, &d);
	CHECK(d.verdict == RELEASE_UPDATE, "one is an accident");
	h.fallbacks = 2;
	release_decide(o, 1, &h, &d);
	CHECK(d.verdict == RELEASE_BLOCKED && d.reason[0].code == RELEASE_WHY_HALTED, "two");
	CHECK(strstr(d.reason[0].text, "proactl forgive 1.3"), "%s", d.reason[0].text);
	CHECK(strcmp(release_why_name(RELEASE_WHY_HALTED), "halted") == 0, "name");
	h.fallback_limit = 0;
	release_decide(o, 1, &h, &d);
	CHECK(d.verdict == RELEASE_UPDATE, "no limit");
	h = host("1.2");
	h.fallbacks = h.fallback_limit = 2;
	h.fallback_from = "1.3";
	release_decide(o, 1, &h, &d);
	CHECK(d.verdict == RELEASE_CURRENT && d.n_reason == 0, "nothing is wanted");
}

static void random_policy(struct release_policy *p)
{
	p->hold = dice_below(6) == 0;
	p->critical_at_once = dice_below(2);
	p->allow_downgrade = dice_below(2);
	p->minimum_age = (uint64_t)(dice_below(3) * DAY);
	if (dice_below(3) == 0)
		(void)snprintf(p->pin, sizeof(p->pin), "%u", dice_below(3));
	if (dice_below(4) == 0)
		random_version(p->lowest);
	if (dice_below(4) == 0)
		random_version(p->highest);
}

static void test_random(void)
{
	for (unsigned round = 0; round < 20000; round++) {
		struct release_offer o[6];
		struct release_failed failed = { .when = 1 };
		char running[RELEASE_VERSION_MAX];
		struct release_host h;
		size_t n = dice_below(7);

		random_version(running);
		h = host(dice_below(8) ? running : NULL);
		random_policy(&h.policy);
		random_version(failed.version);
		h.failed = &failed;
		h.n_failed = dice_below(2);
		for (size_t i = 0; i < n; i++) {
			char version[RELEASE_VERSION_MAX];

			random_version(version);
			o[i] = offer(version);
			o[i].published -= dice_below(3) * DAY;
			o[i].paused = dice_below(4) == 0;
			o[i].critical = dice_below(3) == 0;
			o[i].rollout = dice_below(3) == 0;
			o[i].rollout_slow_start = dice_below(2);
			o[i].rollout_start = h.now - DAY;
			o[i].rollout_seconds = (uint64_t)(2 * DAY);
			if (dice_below(5) == 0)
				random_version(o[i].floor);
		}
		check_lawful(o, n, &h);
	}
}

int main(void)
{
	test_halted();
	dice_seed();
	test_pin();
	test_pin_says_where();
	test_bounds_and_hold();
	test_age();
	test_floor();
	test_curve();
	test_random();
	return 0;
}
