/* SPDX-License-Identifier: Apache-2.0 */
/* The record: what goes in comes out, damage to one copy costs at most the last store. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/sys.h"
#include "tests/test.h"
#include "updater/record/record.h"

enum { FILE_MAX = 300 << 10 };

static struct record a, b, c; /* large */
static int dir;

static void text_fill(char *s, size_t cap, char what)
{
	memset(s, what, cap - 1);
	s[cap - 1] = '\0';
}

/* Every field at its longest, every list full. */
static void record_fill(struct record *r)
{
	memset(r, 0, sizeof(*r));
	r->phase = RECORD_APPLIED;
	r->slot = 'B';
	r->uki_only = true;
	text_fill(r->target.version, sizeof(r->target.version), '1');
	memset(r->target.root, 0x5a, sizeof(r->target.root));
	memset(r->target.uki_sha256, 0xa5, sizeof(r->target.uki_sha256));
	r->target.uki_bytes = 1u << 30;
	r->good = r->target;
	r->good_since = 1763667420;
	text_fill(r->applied_boot_id, sizeof(r->applied_boot_id), 'b');
	r->last_check = 5;
	r->last_check_ok = 4;
	text_fill(r->last_error, sizeof(r->last_error), '\\');
	text_fill(r->newest, sizeof(r->newest), '9');
	r->metadata_time = 253402300799;
	for (unsigned i = 0; i < RECORD_FAILURES_MAX; i++) {
		struct record_failure f = { .when = i, .cause = i % 3 };

		(void)snprintf(f.version, sizeof(f.version), "1.%u", i);
		text_fill(f.reason, sizeof(f.reason), '"');
		record_add_failure(r, &f);
	}
	for (unsigned i = 0; i < RECORD_EVENTS_MAX; i++) {
		struct record_event ev = { .when = i, .kind = i % 7, .fetched = 1ull << 40 };

		(void)snprintf(ev.version, sizeof(ev.version), "1.%u", i);
		text_fill(ev.from, sizeof(ev.from), 'f');
		text_fill(ev.text, sizeof(ev.text), '"');
		text_fill(ev.boot_id, sizeof(ev.boot_id), 'c');
		record_add_event(r, &ev);
	}
}

static bool same(const struct record *x, const struct record *y)
{
	AUTO_BUF p = BUF_INIT;
	AUTO_BUF q = BUF_INIT;

	CHECK(record_format(x, &p, NULL) >= 0 && record_format(y, &q, NULL) >= 0, "format");
	return p.n == q.n && memcmp(p.p, q.p, p.n) == 0;
}

static void same_release(const struct record_release *x, const struct record_release *y)
{
	CHECK(!strcmp(x->version, y->version) && !memcmp(x->root, y->root, 32) &&
		      !memcmp(x->uki_sha256, y->uki_sha256, 32) && x->uki_bytes == y->uki_bytes,
	      "release %s", x->version);
}

static void same_event(const struct record_event *x, const struct record_event *y)
{
	CHECK(x->id == y->id && x->when == y->when && x->kind == y->kind &&
		      !strcmp(x->version, y->version) && !strcmp(x->from, y->from) &&
		      !memcmp(x->root, y->root, 32) && x->fetched == y->fetched &&
		      x->written == y->written && x->seconds == y->seconds &&
		      !strcmp(x->text, y->text) && !strcmp(x->boot_id, y->boot_id),
	      "event %s", x->version);
}

static void same_failure(const struct record_failure *x, const struct record_failure *y)
{
	CHECK(!strcmp(x->version, y->version) && !memcmp(x->root, y->root, 32) &&
		      x->when == y->when && x->cause == y->cause && !strcmp(x->reason, y->reason),
	      "failure %s", x->version);
}

static void test_round_trip(void)
{
	AUTO_BUF body = BUF_INIT;
	struct err e = ERR_INIT;

	record_fill(&a);
	CHECK(record_format(&a, &body, &e) >= 0, "%s", e.text);
	CHECK(body.n < RECORD_BYTES_MAX, "%zu bytes", body.n);
	CHECK(record_parse(body.p, body.n, "r", &b, &e) >= 0, "%s", e.text);
	for (size_t i = 0; i < RECORD_EVENTS_MAX; i++)
		same_event(&a.event[i], &b.event[i]);
	for (size_t i = 0; i < RECORD_FAILURES_MAX; i++)
		same_failure(&a.failure[i], &b.failure[i]);
	same_release(&a.target, &b.target);
	same_release(&a.good, &b.good);
	CHECK(b.phase == a.phase && b.slot == 'B' && b.uki_only &&
		      !strcmp(a.applied_boot_id, b.applied_boot_id) &&
		      a.good_since == b.good_since && a.last_check == b.last_check &&
		      a.last_check_ok == b.last_check_ok && !strcmp(a.last_error, b.last_error) &&
		      !strcmp(a.newest, b.newest) && a.metadata_time == b.metadata_time,
	      "members");
	CHECK(same(&a, &b) && b.next_event == RECORD_EVENTS_MAX + 1, "the rest");
	b.seq = 77;
	CHECK(record_parse("{}", 2, "r", &b, &e) < 0 && e.kind == ERR_INPUT && b.seq == 77, "{}");
}

static void test_lists(void)
{
	struct record_event ev = { .kind = RECORD_EV_GOOD };
	struct record_failure f = { .cause = RECORD_HEALTH };

	record_fill(&a);
	(void)snprintf(ev.text, sizeof(ev.text), "bell\a and \xff");
	record_add_event(&a, &ev);
	CHECK(a.n_event == RECORD_EVENTS_MAX && a.event[0].id == 2, "the oldest is dropped");
	CHECK(a.event[RECORD_EVENTS_MAX - 1].id == RECORD_EVENTS_MAX + 1, "ids rise");
	CHECK(!strcmp(a.event[RECORD_EVENTS_MAX - 1].text, "bell? and ?"), "cleaned");

	(void)snprintf(f.version, sizeof(f.version), "2.0");
	record_add_failure(&a, &f);
	CHECK(a.n_failure == RECORD_FAILURES_MAX && !record_failed(&a, "1.0"), "oldest dropped");
	CHECK(record_failed(&a, "2.0") && record_failed(&a, "1.1"), "remembered");
	f.cause = RECORD_NO_BOOT;
	record_add_failure(&a, &f);
	CHECK(a.n_failure == RECORD_FAILURES_MAX && record_failed(&a, "1.1"), "updated, not added");
	CHECK(record_failed(&a, "2.0")->cause == RECORD_NO_BOOT, "updated");
	CHECK(record_forgive(&a, "1.1") && !record_failed(&a, "1.1"), "forgiven");
	CHECK(!record_forgive(&a, "1.1") && record_failed(&a, "2.0"), "nothing left to forgive");
}

static int copy_read(const char *name, char p[FILE_MAX])
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, p, FILE_MAX);

	CHECK(n > 0 && close(fd) == 0, "%s", name);
	return (int)n;
}

static void copy_write(const char *name, const char *p, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n && close(fd) == 0, "%s", name);
}

static void wipe(void)
{
	static const char *const names[] = { "record.0",         "record.1", "record.0.damaged",
					     "record.1.damaged", "lock",     "history.jsonl" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(dir, names[i], 0);
}

static void small(struct record *r)
{
	struct record_event ev = { .kind = RECORD_EV_STAGED, .text = "t" };

	memset(r, 0, sizeof(*r));
	r->slot = '-';
	record_add_event(r, &ev);
}

/* record.0 holds seq 4, which says "3"; record.1 holds seq 3, which says "2". */
static void two_copies(void)
{
	struct err e = ERR_INIT;

	wipe();
	small(&a);
	for (unsigned i = 0; i < 4; i++) {
		(void)snprintf(a.newest, sizeof(a.newest), "%u", i);
		CHECK(record_store(sys_linux(), dir, &a, &e) >= 0 && a.seq == i + 1, "%s", e.text);
	}
}

/* Loads what is left when that copy is p[0..n). */
static void damaged_try(unsigned copy, const char *p, size_t n, int at)
{
	struct err e = ERR_INIT;

	copy_write(copy ? "record.1" : "record.0", p, n);
	CHECK(record_load(sys_linux(), dir, &b, &e) >= 0, "byte %d: %s", at, e.text);
	CHECK(!strcmp(b.newest, copy ? "3" : "2") && b.seq == (copy ? 4 : 3), "byte %d: state %s",
	      at, b.newest);
	CHECK(b.damaged == 1u << copy, "byte %d: damage %u", at, b.damaged);
}

/* One copy damaged at every byte, in turn the newer and the older. */
static void test_damage(void)
{
	static char p[FILE_MAX];
	struct err e = ERR_INIT;

	for (unsigned copy = 0; copy < 2; copy++) {
		int n;

		two_copies();
		n = copy_read(copy ? "record.1" : "record.0", p);
		for (int i = 0; i < n; i++) {
			char was = p[i];

			p[i] = (char)(was ^ (i % 2 ? 0x01 : 0x40));
			damaged_try(copy, p, (size_t)n, i);
			p[i] = was;
		}
		for (int i = 0; i < n; i += 7)
			damaged_try(copy, p, (size_t)i, i);
		/* the next store goes over the damaged or older copy, and all is well */
		CHECK(record_store(sys_linux(), dir, &b, &e) >= 0, "%s", e.text);
		CHECK(record_load(sys_linux(), dir, &c, &e) >= 0 && c.seq == b.seq, "%s", e.text);
	}
}

static void test_both_damaged(void)
{
	struct sys *sys = sys_linux();
	struct err e = ERR_INIT;

	wipe();
	CHECK(record_load(sys, dir, &a, &e) >= 0 && a.seq == 0 && a.slot == '-', "none yet");
	copy_write("record.1", "proa-record 1 3 x\n{}", 20);
	a.seq = 99;
	CHECK(record_load(sys, dir, &a, &e) == -EUCLEAN && e.kind == ERR_HOST, "one, damaged");
	CHECK(a.seq == 99, "untouched");
	copy_write("record.0", "", 0);
	CHECK(record_load(sys, dir, &a, &e) == -EUCLEAN, "both damaged");
	CHECK(strstr(e.text, "record.0") && strstr(e.text, "record.1"), "%s", e.text);
	CHECK(record_reset(sys, dir, &e) >= 0, "%s", e.text);
	CHECK(record_load(sys, dir, &a, &e) >= 0 && a.seq == 0, "anew");
	CHECK(faccessat(dir, "record.1.damaged", F_OK, 0) == 0, "kept for whoever looks");
	CHECK(record_load(sys, dir, &a, NULL) >= 0, "no error object");
	copy_write("record.0", "", 0);
	CHECK(record_load(sys, dir, &a, NULL) == -EUCLEAN, "no error object");
}

/* A copy under the other's name, or an old one put back over a new one, must not pass for newest.
 */
static void test_swapped(void)
{
	static char p[FILE_MAX];
	struct sys *sys = sys_linux();
	struct err e = ERR_INIT;
	int n;

	wipe();
	small(&a);
	CHECK(record_store(sys, dir, &a, &e) >= 0 && record_store(sys, dir, &a, &e) >= 0, "two");
	n = copy_read("record.1", p);
	copy_write("record.0", p, (size_t)n);
	CHECK(record_load(sys, dir, &b, &e) >= 0 && b.seq == 1 && b.damaged == 1, "%s", e.text);
	/* only the number in the header is raised */
	CHECK(p[14] == '1', "%.20s", p);
	p[14] = '9';
	copy_write("record.1", p, (size_t)n);
	CHECK(record_load(sys, dir, &b, &e) == -EUCLEAN, "number outside of the checksum");
}

static void test_lock(void)
{
	struct sys *sys = sys_linux();
	AUTO_SYS_FD l = { .sys = sys, .fd = -1 };
	struct err e = ERR_INIT;

	CHECK(record_lock(sys, dir, &l, &e) >= 0 && l.fd >= 0, "%s", e.text);
}

static void add(struct record *r, enum record_kind kind, const char *version, const char *from)
{
	struct record_event ev = { .kind = kind, .fetched = 5 };

	(void)snprintf(ev.version, sizeof(ev.version), "%s", version);
	(void)snprintf(ev.from, sizeof(ev.from), "%s", from);
	record_add_event(r, &ev);
}

static void test_fallbacks(void)
{
	AUTO_FREE struct record *r = calloc(1, sizeof(*r));
	struct record_failure f = { .version = "1.2", .cause = RECORD_HEALTH };

	CHECK(r, "memory");
	CHECK(record_fallbacks(r) == 0 && !record_last_fallback(r), "nothing has been");
	add(r, RECORD_EV_GOOD, "1.1", "1.0");
	add(r, RECORD_EV_FELL_BACK, "1.1", "1.2");
	add(r, RECORD_EV_STAGED, "1.3", "1.1");
	add(r, RECORD_EV_FELL_BACK, "1.1", "1.3");
	CHECK(record_fallbacks(r) == 2, "in a row");
	CHECK(strcmp(record_last_fallback(r)->from, "1.3") == 0, "the last");
	add(r, RECORD_EV_FORGIVEN, "1.3", "");
	CHECK(record_fallbacks(r) == 0, "a person looked");
	add(r, RECORD_EV_FELL_BACK, "1.1", "1.3");
	CHECK(record_fallbacks(r) == 1, "anew");
	record_add_failure(r, &f);
	record_add_failure(r, &f);
	CHECK(r->totals.causes[RECORD_HEALTH] == 1, "one release, once");
	for (unsigned i = 0; i < 2 * RECORD_EVENTS_MAX; i++)
		add(r, RECORD_EV_STAGED, "1.4", "1.1");
	CHECK(r->totals.events[RECORD_EV_STAGED] == 2 * RECORD_EVENTS_MAX + 1,
	      "sums outlive events");
	CHECK(r->totals.fetched == UINT64_C(5) * (2 * RECORD_EVENTS_MAX + 6), "bytes");
	CHECK(record_fallbacks(r) == 1, "a fallback outlives its event");
	r->totals.fetched = INT64_MAX - 2;
	add(r, RECORD_EV_STAGED, "1.4", "1.1");
	CHECK(r->totals.fetched == INT64_MAX, "what JSON can hold");
}

/* JSON of r without that member of its totals, and back. */
static void through_json(struct record *r, const char *without)
{
	const struct json_limits lim = { .bytes = RECORD_BYTES_MAX, .depth = 4 };
	AUTO_BUF body = BUF_INIT;
	AUTO_BUF cut = BUF_INIT;
	AUTO_JSON *o = NULL;
	struct err e = ERR_INIT;

	CHECK(record_format(r, &body, &e) >= 0, "%s", e.text);
	CHECK(json_read(body.p, body.n, &lim, "r", &o, &e) >= 0, "%s", e.text);
	CHECK(json_object_del(json_object_get(o, "totals"), without) == 0, "%s", without);
	CHECK(json_write(o, false, &cut, &e) >= 0, "%s", e.text);
	CHECK(record_parse(cut.p, cut.n, "r", r, &e) >= 0, "%s", e.text);
}

/* Thousands of events, more than are kept; now and then an older proad writes the record. */
static void test_fallbacks_random(uint64_t seed)
{
	static const enum record_kind kinds[] = { RECORD_EV_STAGED,   RECORD_EV_APPLIED,
						  RECORD_EV_FAILED,   RECORD_EV_FELL_BACK,
						  RECORD_EV_FORGIVEN, RECORD_EV_GOOD };
	AUTO_FREE struct record *r = calloc(1, sizeof(*r));
	AUTO_BUF body = BUF_INIT;
	struct err e = ERR_INIT;
	unsigned want = 0, most = 0, seen = 0;

	CHECK(r, "memory");
	r->slot = '-';
	for (unsigned i = 0; i < 20000; i++) {
		unsigned roll = (unsigned)(seed >> 33) % 300;
		enum record_kind k = roll < 2 ? kinds[4 + roll] : kinds[roll % 4];

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		add(r, k, "1.1", "1.2");
		want = k == RECORD_EV_GOOD || k == RECORD_EV_FORGIVEN
			       ? 0
			       : want + (k == RECORD_EV_FELL_BACK);
		CHECK(record_fallbacks(r) == want, "%u, not %u", record_fallbacks(r), want);
		most = want > most ? want : most;
		if (i % 1000 != 999)
			continue;
		/* what an older one leaves: no more is known than the events that are kept */
		through_json(r, "fallbacks");
		for (size_t j = seen = 0; j < r->n_event; j++)
			seen = r->event[j].kind == RECORD_EV_GOOD ||
					       r->event[j].kind == RECORD_EV_FORGIVEN
				       ? 0
				       : seen + (r->event[j].kind == RECORD_EV_FELL_BACK);
		CHECK(record_fallbacks(r) == seen, "%u, not %u", record_fallbacks(r), seen);
		want = seen;
	}
	CHECK(most > 32, "%u: beyond what events can hold", most);
	r->totals.fallbacks = 33;
	CHECK(record_format(r, &body, &e) >= 0 && record_parse(body.p, body.n, "r", r, &e) >= 0,
	      "%s", e.text);
	CHECK(record_fallbacks(r) == 33, "through the file");
}

int main(void)
{
	const char *s = getenv("PROA_SEED");
	char tmp[] = "/tmp/proa-test-record.XXXXXX", shm[] = "/dev/shm/proa-test-record.XXXXXX";
	char *at = mkdtemp(shm); /* syncs cost nothing there */

	if (!at)
		at = mkdtemp(tmp);
	CHECK(at, "temporary directory");
	dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0, "%s", at);
	test_round_trip();
	test_lists();
	test_damage();
	test_both_damaged();
	test_swapped();
	test_lock();
	wipe();
	CHECK(close(dir) == 0 && rmdir(at) == 0, "%s: %s", at, strerror(errno));
	test_fallbacks();
	test_fallbacks_random(s ? strtoull(s, NULL, 0) : 20261121);
	return 0;
}
