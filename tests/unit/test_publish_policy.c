/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "publisher/policy.h"
#include "tests/test.h"
#include "updater/release/decide.h"

#define NOW  ((int64_t)1800000000)
#define HOUR ((int64_t)3600)
#define DAYS ((uint64_t)86400) /* seconds */

static struct release_offer fresh(const char *version)
{
	struct release_offer o = { .published = NOW };

	(void)snprintf(o.image, sizeof(o.image), "web");
	(void)snprintf(o.arch, sizeof(o.arch), "x86-64");
	(void)snprintf(o.version, sizeof(o.version), "%s", version);
	(void)snprintf(o.path, sizeof(o.path), "stable/web_%s.json", version);
	return o;
}

static bool same(const struct release_offer *a, const struct release_offer *b)
{
	json_t *x = NULL, *y = NULL;
	bool r = release_offer_format(a, &x, NULL) == 0 && release_offer_format(b, &y, NULL) == 0 &&
		 json_equal(x, y);

	json_decref(x);
	json_decref(y);
	return r;
}

static void refused(const struct policy_wish *w, struct release_offer o, const char *word)
{
	const struct release_offer was = o;
	struct err e = ERR_INIT;
	int q = policy_apply(w, NOW, &o, &e);

	CHECK(q < 0 && strstr(e.text, word), "%s: %d %s", word, q, e.text);
	CHECK(same(&was, &o), "%s: changed", word);
}

static void test_refused(void)
{
	const struct policy_wish bad[] = {
		{ .rollout = "soon" },
		{ .rollout = "500d" },
		{ .start = "+1h" },
		{ .curve = "slow-start" },
		{ .rollout = "1d", .curve = "steep" },
		{ .rollout = "1d", .start = "+400d" },
		{ .rollout = "1d", .start = "tomorrow" },
		{ .rollout = "none", .curve = "straight" },
		{ .minimum_from = "1.2.0" },
		{ .minimum_from = "1 2" },
		{ .floor = "1.2.1" },
		{ .floor = "../x" },
		{ .dead_end = "" },
		{ .critical = true, .normal = true },
	};
	static const char *const words[] = {
		"--rollout",
		"longer than a year",
		"needs --rollout",
		"needs --rollout",
		"straight",
		"more than a year",
		"--rollout-start",
		"neither",
		"not older",
		"no version",
		"newer than",
		"no version",
		"1 to",
		"either",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(&bad[i], fresh("1.2.0"), words[i]);
}

static void test_set_and_take_back(void)
{
	const struct policy_wish all = { .rollout = "2d",
					 .start = "+6h",
					 .curve = "slow-start",
					 .minimum_from = "1.1.0",
					 .floor = "1.0.0",
					 .dead_end = "move on",
					 .critical = true };
	const struct policy_wish none = { .rollout = "none",
					  .minimum_from = "none",
					  .floor = "none",
					  .dead_end = "none",
					  .normal = true };
	const struct policy_wish longer = { .rollout = "4d" };
	struct release_offer o = fresh("1.2.0"), plain = fresh("1.2.0");
	struct err e = ERR_INIT;

	CHECK(policy_apply(&all, NOW, &o, &e) == 0, "%s", e.text);
	CHECK(o.rollout && o.rollout_slow_start && o.rollout_start == NOW + 6 * HOUR &&
		      o.rollout_seconds == 2 * DAYS && o.critical,
	      "rollout");
	CHECK(strcmp(o.minimum_from, "1.1.0") == 0 && strcmp(o.floor, "1.0.0") == 0 &&
		      strcmp(o.dead_end, "move on") == 0,
	      "texts");
	/* a rollout that is made longer began when it began */
	CHECK(policy_apply(&longer, NOW + 9, &o, &e) == 0 && o.rollout_start == NOW + 6 * HOUR &&
		      o.rollout_seconds == 4 * DAYS && o.rollout_slow_start,
	      "longer");
	CHECK(policy_apply(&none, NOW, &o, &e) == 0, "%s", e.text);
	CHECK(same(&o, &plain), "taken back");
}

static const char *one_of(const char *const *list, unsigned n)
{
	unsigned i = (unsigned)random() % (n + 1);

	return i == n ? NULL : list[i];
}

/* Hosts read it as it was meant, and it opens for the last of them. */
static void check_readable(const struct release_offer *o)
{
	struct release_offer back;
	struct err e = ERR_INIT;
	json_t *j = NULL;

	CHECK(release_offer_format(o, &j, &e) == 0, "%s", e.text);
	CHECK(release_offer_parse(o->path, j, &back, &e) == 0, "%s", e.text);
	CHECK(same(o, &back), "read as another");
	CHECK(!o->minimum_from[0] || version_compare(o->minimum_from, o->version) < 0, "wall");
	CHECK(release_opens(o, 65535) <= NOW + (int64_t)(732 * DAYS), "never opens");
	json_decref(j);
}

static struct policy_wish random_wish(void)
{
	static const char *const times[] = { "none", "1h", "2d", "366d", "367d", "x", "0", "1" };
	static const char *const starts[] = { "+0", "+1h", "+366d", "2027-01-20T00:00:00Z", "-1h" };
	static const char *const curves[] = { "straight", "slow-start", "none" };
	static const char *const versions[] = { "none", "1.0", "1.1.9", "1.2.0", "1.3", "a b" };
	static const char *const texts[] = { "none", "over", "" };
	const struct policy_wish w = { .rollout = one_of(times, 8),
				       .start = one_of(starts, 5),
				       .curve = one_of(curves, 3),
				       .minimum_from = one_of(versions, 6),
				       .floor = one_of(versions, 6),
				       .dead_end = one_of(texts, 3),
				       .critical = random() & 1,
				       .normal = random() & 1 };

	return w;
}

static void test_random(void)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < 20000; i++) {
		const struct policy_wish w = random_wish();
		struct release_offer o = fresh("1.2.0");
		struct err e = ERR_INIT;

		if (policy_apply(&w, NOW, &o, &e) < 0)
			continue;
		taken++;
		check_readable(&o);
	}
	CHECK(taken > 100, "only %u were taken", taken);
}

int main(void)
{
	const char *seed = getenv("PROA_SEED");

	srandom(seed ? (unsigned)strtoul(seed, NULL, 0) : 20261121u);
	test_refused();
	test_set_and_take_back();
	test_random();
	return 0;
}
