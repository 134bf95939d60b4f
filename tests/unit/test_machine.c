/* SPDX-License-Identifier: Apache-2.0 */
/* Every phase the record can be in, against everything the machine can show after a boot. */
#include <string.h>

#include "tests/test.h"
#include "updater/agent/machine.h"

static struct record rec_in(enum record_phase phase)
{
	struct record rec = { .phase = phase, .slot = '-', .next_event = 1 };

	(void)snprintf(rec.good.version, sizeof(rec.good.version), "1.0.0");
	if (phase != RECORD_IDLE) {
		(void)snprintf(rec.target.version, sizeof(rec.target.version), "1.1.0");
		memset(rec.target.root, 0x11, sizeof(rec.target.root));
		rec.target.uki_bytes = 5;
		rec.slot = 'B';
	}
	if (phase == RECORD_APPLIED)
		(void)snprintf(rec.applied_boot_id, sizeof(rec.applied_boot_id), "boot1");
	return rec;
}

/* A live host in boot `boot` that runs 1.0.0 (good) or the target (counted). */
static struct machine_facts facts(const char *boot, bool target_runs)
{
	struct machine_facts f = { .live = true,
				   .running = true,
				   .now = 7,
				   .target_in_slot = true,
				   .target_saved = true };

	(void)snprintf(f.boot_id, sizeof(f.boot_id), "%s", boot);
	(void)snprintf(f.running_version, sizeof(f.running_version), "%s",
		       target_runs ? "1.1.0" : "1.0.0");
	memset(f.running_root, target_runs ? 0x11 : 0x10, sizeof(f.running_root));
	f.running_entry = target_runs ? MACHINE_ENTRY_COUNTED : MACHINE_ENTRY_GOOD;
	return f;
}

static void no_news(const struct machine_settle *s)
{
	CHECK(s->news == MACHINE_NEWS_NONE && !s->condemn, "news %d", (int)s->news);
}

static void test_quiet(void)
{
	struct record rec = rec_in(RECORD_IDLE);
	struct machine_facts f = facts("boot1", false);
	struct machine_settle s;

	f.target_saved = false;
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(!s.changed && s.discard_temps && !s.drop_saved, "idle");
	CHECK(machine_state(&rec, &f) == MACHINE_IDLE, "idle");

	rec = rec_in(RECORD_WRITING);
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(!s.changed && !s.drop_saved && rec.phase == RECORD_WRITING,
	      "a half-written slot stays");
	CHECK(machine_state(&rec, &f) == MACHINE_INTERRUPTED, "interrupted");
}

static void test_staged(void)
{
	struct record rec = rec_in(RECORD_STAGED);
	struct machine_facts f = facts("boot1", false);
	struct machine_settle s;

	machine_settle(&rec, &f, &s);
	CHECK(!s.changed && machine_state(&rec, &f) == MACHINE_STAGED, "staged stays");

	f.target_saved = false; /* its UKI is lost: stage again */
	machine_settle(&rec, &f, &s);
	CHECK(s.changed && rec.phase == RECORD_WRITING, "phase %d", (int)rec.phase);

	/* cut between the rename and the record: the entry is there */
	rec = rec_in(RECORD_STAGED);
	f = facts("boot1", false);
	f.target_entry = MACHINE_ENTRY_COUNTED;
	f.target_left = 3;
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(s.changed && rec.phase == RECORD_APPLIED, "phase %d", (int)rec.phase);

	/* the same, and it has been booted since: it is what runs */
	rec = rec_in(RECORD_STAGED);
	f = facts("boot2", true);
	f.target_entry = MACHINE_ENTRY_COUNTED;
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(rec.phase == RECORD_APPLIED && machine_state(&rec, &f) == MACHINE_ASSESSING, "phase");

	/* the same, blessed already */
	rec = rec_in(RECORD_STAGED);
	f.running_entry = f.target_entry = MACHINE_ENTRY_GOOD;
	machine_settle(&rec, &f, &s);
	CHECK(s.news == MACHINE_NEWS_GOOD && rec.phase == RECORD_IDLE, "news %d", (int)s.news);

	/* the same, tried and given up by the loader */
	rec = rec_in(RECORD_STAGED);
	f = facts("boot2", false);
	f.target_entry = MACHINE_ENTRY_BAD;
	f.target_done = 3;
	machine_settle(&rec, &f, &s);
	CHECK(s.news == MACHINE_NEWS_FELL_BACK && record_failed(&rec, "1.1.0"), "fell back");
}

static void test_good(void)
{
	struct record rec = rec_in(RECORD_APPLIED);
	struct machine_facts f = facts("boot2", true);
	struct machine_settle s;

	f.target_entry = MACHINE_ENTRY_COUNTED;
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(machine_state(&rec, &f) == MACHINE_ASSESSING, "assessing");

	f.running_entry = f.target_entry = MACHINE_ENTRY_GOOD;
	machine_settle(&rec, &f, &s);
	CHECK(s.news == MACHINE_NEWS_GOOD && s.changed && s.drop_saved && !s.condemn, "good");
	CHECK(rec.phase == RECORD_IDLE && strcmp(rec.good.version, "1.1.0") == 0, "good is %s",
	      rec.good.version);
	CHECK(rec.n_event == 1 && rec.event[0].kind == RECORD_EV_GOOD &&
		      strcmp(rec.event[0].from, "1.0.0") == 0,
	      "event");
	CHECK(!record_failed(&rec, "1.1.0"), "no failure");
}

static void test_fell_back(void)
{
	struct record rec = rec_in(RECORD_APPLIED);
	struct record_failure health = { .when = 6, .cause = RECORD_HEALTH };
	struct machine_facts f = facts("boot2", false);
	struct machine_settle s;

	f.target_entry = MACHINE_ENTRY_BAD;
	f.target_done = 3;
	machine_settle(&rec, &f, &s);
	CHECK(s.news == MACHINE_NEWS_FELL_BACK && s.condemn && s.changed, "fell back");
	CHECK(rec.phase == RECORD_IDLE && record_failed(&rec, "1.1.0"), "remembered");
	CHECK(record_failed(&rec, "1.1.0")->cause == RECORD_NO_BOOT, "cause");
	CHECK(strcmp(rec.good.version, "1.0.0") == 0, "good is %s", rec.good.version);

	/* the health check had said why: that reason stays */
	rec = rec_in(RECORD_APPLIED);
	(void)snprintf(health.version, sizeof(health.version), "1.1.0");
	(void)snprintf(health.reason, sizeof(health.reason), "exit 1");
	record_add_failure(&rec, &health);
	f.target_done = 1;
	machine_settle(&rec, &f, &s);
	CHECK(s.news == MACHINE_NEWS_FELL_BACK, "fell back");
	CHECK(record_failed(&rec, "1.1.0")->cause == RECORD_HEALTH && rec.n_failure == 1, "cause");

	/* the entry is gone altogether */
	rec = rec_in(RECORD_APPLIED);
	f.target_entry = MACHINE_ENTRY_NONE;
	machine_settle(&rec, &f, &s);
	CHECK(s.news == MACHINE_NEWS_FELL_BACK, "gone");
}

static void test_not_booted(void)
{
	struct record rec = rec_in(RECORD_APPLIED);
	struct machine_facts f = facts("boot1", false);
	struct machine_settle s;

	/* applied in this boot */
	f.target_entry = MACHINE_ENTRY_COUNTED;
	f.target_left = 3;
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(!s.changed && machine_state(&rec, &f) == MACHINE_APPLIED, "waits for the reboot");

	/* rebooted, but a person chose the old one in the menu: it was never started */
	f = facts("boot2", false);
	f.target_entry = MACHINE_ENTRY_COUNTED;
	f.target_left = 3;
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(s.changed && rec.phase == RECORD_APPLIED, "still applied");
	CHECK(strcmp(rec.applied_boot_id, "boot2") == 0, "not asked again in this boot");

	/* somebody removed the entry in this boot */
	f.target_entry = MACHINE_ENTRY_NONE;
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(s.changed && rec.phase == RECORD_WRITING, "staging again brings it back");
}

static void test_image(void)
{
	struct record rec = rec_in(RECORD_APPLIED);
	struct machine_facts f = facts("", true);
	struct machine_settle s;

	f.live = false; /* what would boot next counts as running, nothing is assessed */
	rec.applied_boot_id[0] = '\0';
	machine_settle(&rec, &f, &s);
	no_news(&s);
	CHECK(machine_state(&rec, &f) == MACHINE_APPLIED, "applied");
	CHECK(machine_may(&rec, &f, MACHINE_STAGE, NULL) == 0, "an image can be staged again");
	CHECK(machine_may(&rec, &f, MACHINE_REBOOT, NULL) < 0, "no reboot");
}

static void test_may(void)
{
	struct record rec = rec_in(RECORD_APPLIED);
	struct machine_facts f = facts("boot2", true);
	struct err e = ERR_INIT;

	CHECK(machine_may(&rec, &f, MACHINE_STAGE, &e) < 0 && e.kind == ERR_HOST,
	      "the only fallback must not be overwritten while assessing");
	f.running_entry = MACHINE_ENTRY_GOOD;
	CHECK(machine_may(&rec, &f, MACHINE_STAGE, &e) == 0, "%s", e.text);
	f.running = false;
	CHECK(machine_may(&rec, &f, MACHINE_STAGE, &e) < 0, "unknown running release");
	rec = rec_in(RECORD_IDLE);
	f = facts("boot1", false);
	CHECK(machine_may(&rec, &f, MACHINE_APPLY, &e) < 0, "nothing staged");
	rec = rec_in(RECORD_WRITING);
	CHECK(machine_may(&rec, &f, MACHINE_APPLY, &e) < 0, "half written");
}

/* A rollback that was killed after it was recorded and before its entry or record was gone. */
static void test_rolled_back(void)
{
	static const enum record_phase phases[] = { RECORD_STAGED, RECORD_APPLIED };

	for (size_t i = 0; i < 2; i++) {
		struct record_failure fail = { .cause = RECORD_ROLLBACK };
		struct record rec = rec_in(phases[i]);
		struct machine_facts f = facts("boot2", false);
		struct machine_settle s;

		(void)snprintf(fail.version, sizeof(fail.version), "1.1.0");
		record_add_failure(&rec, &fail);
		machine_settle(&rec, &f, &s);
		no_news(&s);
		CHECK(s.changed && s.drop_saved && rec.phase == RECORD_IDLE, "phase %d",
		      (int)rec.phase);
		CHECK(record_failed(&rec, "1.1.0"), "it would be offered again");
	}
}

static void test_clock(void)
{
	int64_t behind;

	CHECK(machine_clock(0, 0, 100, &behind) == 100 && behind == 0, "nothing known");
	CHECK(machine_clock(50, 60, 100, &behind) == 100 && behind == 0, "right");
	CHECK(machine_clock(150, 60, 100, &behind) == 150 && behind == 50, "behind metadata");
	CHECK(machine_clock(50, 160, 100, &behind) == 160 && behind == 60, "behind its build");
}

int main(void)
{
	test_rolled_back();
	test_clock();
	test_quiet();
	test_staged();
	test_good();
	test_fell_back();
	test_not_booted();
	test_image();
	test_may();
	return 0;
}
