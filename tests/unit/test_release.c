/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/hex.h"
#include "tests/test.h"
#include "updater/release/decide.h"
#include "updater/release/manifest.h"

static const struct release_offer *offer(struct release_offer *o, const char *version)
{
	memset(o, 0, sizeof(*o));
	(void)snprintf(o->image, sizeof(o->image), "web");
	(void)snprintf(o->arch, sizeof(o->arch), "x86-64");
	(void)snprintf(o->version, sizeof(o->version), "%s", version);
	(void)snprintf(o->path, sizeof(o->path), "stable/web_%s.json", version);
	return o;
}

static struct release_host host(const char *running)
{
	struct release_host h = { .image = "web",
				  .arch = "x86-64",
				  .channel = "stable",
				  .running = running,
				  .now = 1000 };

	return h;
}

static void expect(const struct release_decision *d, enum release_verdict v, const char *chosen,
		   int first_code)
{
	CHECK(d->verdict == v, "verdict %d, not %d", (int)d->verdict, (int)v);
	CHECK((chosen != NULL) == (d->chosen != NULL), "chosen %s", d->chosen ? "set" : "NULL");
	if (chosen)
		CHECK(strcmp(d->chosen->version, chosen) == 0, "chose %s, not %s",
		      d->chosen->version, chosen);
	if (first_code < 0)
		CHECK(d->n_reason == 0, "unexpected reason: %s", d->reason[0].text);
	else
		CHECK(d->n_reason > 0 && (int)d->reason[0].code == first_code, "reason %d",
		      d->n_reason ? (int)d->reason[0].code : -1);
}

static void test_plain(void)
{
	struct release_offer o[4] = { { .published = 0 } };
	struct release_host h = host("1.1.0");
	struct release_decision d;

	release_decide(o, 0, &h, &d);
	expect(&d, RELEASE_NOTHING, NULL, RELEASE_WHY_NONE_OFFERED);
	offer(&o[0], "1.0.0");
	offer(&o[1], "1.10.0");
	offer(&o[2], "1.9.0");
	offer(&o[3], "2.0.0");
	(void)snprintf(o[3].arch, sizeof(o[3].arch), "arm64");
	release_decide(o, 4, &h, &d);
	expect(&d, RELEASE_UPDATE, "1.10.0", -1);
	h.running = NULL;
	release_decide(o, 4, &h, &d);
	expect(&d, RELEASE_UPDATE, "1.10.0", -1);
	h.running = "1.10.0";
	release_decide(o, 4, &h, &d);
	expect(&d, RELEASE_CURRENT, NULL, -1);
	h.running = "1.11.0";
	release_decide(o, 4, &h, &d);
	expect(&d, RELEASE_CURRENT, NULL, RELEASE_WHY_OLDER);
}

static void test_reasons(void)
{
	const struct release_failed failed = { .version = "1.3.0", .when = 5, .reason = "exit 1" };
	struct release_offer o[3];
	struct release_host h = host("1.1.0");
	struct release_decision d;

	offer(&o[0], "1.1.0");
	offer(&o[1], "1.2.0");
	offer(&o[2], "1.3.0");
	h.failed = &failed;
	h.n_failed = 1;
	release_decide(o, 3, &h, &d);
	expect(&d, RELEASE_UPDATE, "1.2.0", RELEASE_WHY_FAILED);
	CHECK(strstr(d.reason[0].text, "exit 1") &&
		      strstr(d.reason[0].text, "proactl forgive 1.3.0"),
	      "%s", d.reason[0].text);
	o[1].paused = true;
	release_decide(o, 3, &h, &d);
	expect(&d, RELEASE_BLOCKED, NULL, RELEASE_WHY_FAILED);
	CHECK(d.n_reason == 2 && d.reason[1].code == RELEASE_WHY_PAUSED, "%zu", d.n_reason);
	h.n_failed = 0;
	o[1].paused = false;
	(void)snprintf(o[2].minimum_from, sizeof(o[2].minimum_from), "1.2.0");
	release_decide(o, 3, &h, &d);
	expect(&d, RELEASE_UPDATE, "1.2.0", RELEASE_WHY_BARRIER);
	(void)snprintf(o[0].dead_end, sizeof(o[0].dead_end), "reinstall with 2.x");
	release_decide(o, 3, &h, &d);
	expect(&d, RELEASE_BLOCKED, NULL, RELEASE_WHY_DEAD_END);
}

/* True if host number i has its turn in the first quarter; if not, it has it when it was told. */
static bool at_a_quarter(const struct release_offer *o, unsigned i)
{
	struct release_host h = host("1.1.0");
	struct release_decision d;

	h.key[0] = (uint8_t)i;
	h.key[1] = (uint8_t)(i >> 8);
	h.now = o->rollout_start + (int64_t)o->rollout_seconds / 4;
	release_decide(o, 1, &h, &d);
	if (d.verdict == RELEASE_UPDATE)
		return true;
	CHECK(d.retry > h.now && d.retry <= 101000, "opens %lld", (long long)d.retry);
	h.now = d.retry;
	release_decide(o, 1, &h, &d);
	expect(&d, RELEASE_UPDATE, "1.2.0", -1);
	return false;
}

static void test_rollout(void)
{
	struct release_offer o = { .rollout_start = 0 };
	unsigned in = 0;

	offer(&o, "1.2.0");
	o.rollout = true;
	o.rollout_start = 1000;
	o.rollout_seconds = 100000;
	for (unsigned i = 0; i < 4000; i++)
		in += at_a_quarter(&o, i);
	CHECK(in > 880 && in < 1120, "%u of 4000 hosts at a quarter of the rollout", in);
}

/* More paused releases than there is room for reasons: the one behind them is found all the same.
 */
static void test_many_reasons(void)
{
	static struct release_offer o[RELEASE_REASONS_MAX * 2];
	const size_t n = sizeof(o) / sizeof(o[0]);
	struct release_host h = host("1.0.0");
	struct release_decision d;
	char version[16];

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(version, sizeof(version), "2.%zu", i);
		offer(&o[i], version);
		o[i].paused = i > 0;
	}
	release_decide(o, n, &h, &d);
	CHECK(d.verdict == RELEASE_UPDATE && strcmp(d.chosen->version, "2.0") == 0, "verdict %d",
	      (int)d.verdict);
	CHECK(d.n_reason == RELEASE_REASONS_MAX, "%zu reasons", d.n_reason);
	o[0].paused = true;
	release_decide(o, n, &h, &d);
	CHECK(d.verdict == RELEASE_BLOCKED, "verdict %d", (int)d.verdict);
}

static struct release_manifest sample(void)
{
	struct release_manifest m = { .block_size = 4096,
				      .data_blocks = 77,
				      .hash_bytes = 8192,
				      .uki_bytes = 9,
				      .salt_n = 4,
				      .n_blob = 4 };

	(void)snprintf(m.image, sizeof(m.image), "web");
	(void)snprintf(m.version, sizeof(m.version), "1.2.0");
	(void)snprintf(m.arch, sizeof(m.arch), "x86-64");
	m.blob[0] = (struct release_blob){ .role = RELEASE_USR_FULL, .bytes = 5 };
	m.blob[1] = (struct release_blob){ .role = RELEASE_USR_INDEX, .bytes = 6 };
	m.blob[2] = (struct release_blob){ .role = RELEASE_UKI_FULL, .bytes = 7 };
	m.blob[3] = (struct release_blob){ .role = RELEASE_USR_DELTA, .bytes = 8, .base = { 1 } };
	memset(m.root, 0xab, sizeof(m.root));
	return m;
}

static void test_manifest(void)
{
	struct release_manifest m = sample(), got;
	const uint8_t base[SHA256_BYTES] = { 1 }, other[SHA256_BYTES] = { 2 };
	struct err e = ERR_INIT;
	AUTO_BUF b = BUF_INIT;
	AUTO_BUF again = BUF_INIT;
	AUTO_BUF same = BUF_INIT;

	CHECK(release_manifest_format(&m, &b, &e) == 0, "%s", e.text);
	CHECK(release_manifest_parse(b.p, b.n, "m", &got, &e) == 0, "%s", e.text);
	CHECK(release_manifest_format(&got, &same, &e) == 0, "%s", e.text);
	CHECK(strcmp(b.p, same.p) == 0, "not the same again: %s", same.p);
	CHECK(memcmp(got.root, m.root, 32) == 0 && got.salt_n == 4 && got.data_blocks == 77,
	      "members");
	CHECK(release_blob_find(&got, RELEASE_USR_DELTA, base), "delta");
	CHECK(!release_blob_find(&got, RELEASE_USR_DELTA, other), "delta of another base");
	for (size_t n = 0; n < b.n - 1; n++)
		CHECK(release_manifest_parse(b.p, n, "m", &got, &e) < 0, "cut at %zu accepted", n);
	m.n_blob = 2; /* no UKI */
	CHECK(release_manifest_format(&m, &again, &e) == 0, "%s", e.text);
	CHECK(release_manifest_parse(again.p, again.n, "m", &got, &e) < 0, "no UKI accepted");
	CHECK(e.kind == ERR_INPUT && strstr(e.text, "uki-full"), "%s", e.text);
}

static void test_offer(void)
{
	struct release_offer o, got;
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;
	AUTO_JSON *again = NULL;

	offer(&o, "1.2.0");
	o.published = 1700000000;
	o.paused = o.critical = o.rollout = o.rollout_slow_start = true;
	(void)snprintf(o.floor, sizeof(o.floor), "1.1.0");
	o.rollout_start = 1700000001;
	o.rollout_seconds = 7200;
	(void)snprintf(o.dead_end, sizeof(o.dead_end), "go to 2.x");
	CHECK(release_offer_format(&o, &j, &e) == 0, "%s", e.text);
	CHECK(release_offer_parse(o.path, j, &got, &e) == 0, "%s", e.text);
	CHECK(release_offer_format(&got, &again, &e) == 0, "%s", e.text);
	CHECK(json_equal(j, again), "not the same again");
	CHECK(got.rollout_slow_start && strcmp(got.floor, "1.1.0") == 0, "floor and curve");
	CHECK(got.rollout && got.rollout_seconds == 7200 && got.paused && got.critical, "members");
	CHECK(release_offer_parse("stable/web_1.3.0.json", j, &got, &e) < 0, "path of another");
	CHECK(release_offer_parse(o.path, NULL, &got, &e) < 0, "no custom accepted");
}

int main(void)
{
	test_plain();
	test_reasons();
	test_rollout();
	test_many_reasons();
	test_manifest();
	test_offer();
	return 0;
}
