/* SPDX-License-Identifier: Apache-2.0 */
/* Watched units, the judgement of can-update, and the results that are kept. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "tests/test.h"
#include "updater/health/result.h"
#include "updater/health/unit.h"
#include "updater/health/update.h"

static struct health_unit_state state(const char *active, const char *sub, uint64_t since_ms,
				      uint64_t restarts)
{
	struct health_unit_state s = { .load = "loaded",
				       .active_since_us = since_ms * 1000,
				       .restarts = restarts };

	(void)snprintf(s.active, sizeof(s.active), "%s", active);
	(void)snprintf(s.sub, sizeof(s.sub), "%s", sub);
	return s;
}

static void test_parse(void)
{
	static const char text[] = "Result=exit-code\nNRestarts=3\nLoadState=loaded\n"
				   "ActiveState=activating\nSubState=auto-restart\nOther=x\n"
				   "ActiveEnterTimestampMonotonic=31000000\n";
	struct health_unit_state s;
	struct err e = ERR_INIT;

	CHECK(health_unit_parse(text, sizeof(text) - 1, &s, &e) == 0, "%s", e.text);
	CHECK(strcmp(s.load, "loaded") == 0 && strcmp(s.active, "activating") == 0 &&
		      strcmp(s.sub, "auto-restart") == 0 && strcmp(s.result, "exit-code") == 0,
	      "texts");
	CHECK(s.active_since_us == 31000000 && s.restarts == 3, "numbers");
	CHECK(health_unit_parse("LoadState=loaded\nActiveState=active\nNRestarts=\n", 44, &s, &e) ==
			      0 &&
		      s.restarts == 0,
	      "a target has no restarts");
	CHECK(health_unit_parse("LoadState=loaded\n", 17, &s, &e) < 0 && e.kind == ERR_INPUT,
	      "half");
	CHECK(health_unit_parse("", 0, &s, &e) < 0, "nothing");
	CHECK(health_unit_parse("LoadState=l\nActiveState=a\nNRestarts=-1\n", 39, &s, &e) < 0,
	      "no number");
}

static enum health_end step(struct health_watch *w, struct health_unit_state s, uint64_t now,
			    char *text)
{
	return health_watch_step(w, &s, now, text);
}

static void test_watch(void)
{
	struct health_watch w = { .stay_ms = 30000 };
	char text[HEALTH_LINE_MAX] = "";

	CHECK(step(&w, state("activating", "start", 0, 0), 1000, text) == HEALTH_WAITING, "starts");
	CHECK(step(&w, state("activating", "auto-restart", 0, 1), 2000, text) == HEALTH_WAITING,
	      "tries again");
	CHECK(step(&w, state("active", "running", 5000, 2), 5100, text) == HEALTH_WAITING, "is up");
	CHECK(step(&w, state("active", "running", 5000, 2), 34999, text) == HEALTH_WAITING,
	      "not yet");
	CHECK(step(&w, state("active", "running", 5000, 2), 35000, text) == HEALTH_PASSED,
	      "stayed");

	w = (struct health_watch){ .stay_ms = 30000 };
	CHECK(step(&w, state("active", "running", 1000, 0), 40000, text) == HEALTH_PASSED,
	      "was up for long");
	w = (struct health_watch){ .stay_ms = 30000 };
	CHECK(step(&w, state("active", "running", 1000, 0), 2000, text) == HEALTH_WAITING, "is up");
	CHECK(step(&w, state("failed", "failed", 1000, 0), 21000, text) == HEALTH_FAILED, "died");
	CHECK(strcmp(text, "did not stay active: is failed (failed) 20 s after it had started") ==
		      0,
	      "%s", text);
	w = (struct health_watch){ .stay_ms = 30000 };
	CHECK(step(&w, state("active", "running", 1000, 0), 2000, text) == HEALTH_WAITING, "is up");
	CHECK(step(&w, state("active", "running", 9000, 1), 9500, text) == HEALTH_FAILED,
	      "systemd started it again in between");
	CHECK(strstr(text, "was started again"), "%s", text);
	w = (struct health_watch){ .stay_ms = 0 };
	CHECK(step(&w, state("active", "exited", 1000, 0), 1000, text) == HEALTH_PASSED, "no time");
}

/* `systemctl reload` of a watched unit, by whoever: it stays what it is. */
static void test_watch_reload(void)
{
	static const char *const ways[] = { "reloading", "refreshing" };
	char text[HEALTH_LINE_MAX] = "";

	for (size_t i = 0; i < 2; i++) {
		struct health_watch w = { .stay_ms = 30000 };

		CHECK(step(&w, state("active", "running", 1000, 0), 2000, text) == HEALTH_WAITING,
		      "is up");
		CHECK(step(&w, state(ways[i], "reload", 1000, 0), 9000, text) == HEALTH_WAITING,
		      "%s: %s", ways[i], text);
		CHECK(step(&w, state("active", "running", 1000, 0), 31000, text) == HEALTH_PASSED,
		      "stayed");
		w = (struct health_watch){ .stay_ms = 30000 };
		CHECK(step(&w, state("active", "running", 1000, 0), 2000, text) == HEALTH_WAITING,
		      "is up");
		CHECK(step(&w, state(ways[i], "reload", 8000, 1), 9000, text) == HEALTH_FAILED,
		      "started again, and reloads already");
	}
}

static void test_watch_failed(void)
{
	struct health_unit_state none = { .load = "not-found", .active = "inactive" };
	struct health_watch w = { .stay_ms = 30000 };
	char text[HEALTH_LINE_MAX] = "";

	/* newer systemd goes through "failed" on the way to a restart */
	CHECK(step(&w, state("failed", "failed", 0, 0), 1000, text) == HEALTH_WAITING,
	      "first look");
	CHECK(step(&w, state("activating", "auto-restart", 0, 1), 2900, text) == HEALTH_WAITING,
	      "goes on");
	CHECK(step(&w, state("failed", "failed", 0, 1), 9000, text) == HEALTH_WAITING, "again");
	CHECK(step(&w, state("failed", "failed", 0, 1), 10999, text) == HEALTH_WAITING, "still");
	CHECK(step(&w, state("failed", "failed", 0, 1), 11000, text) == HEALTH_FAILED, "for good");
	CHECK(strcmp(text, "is failed (failed)") == 0, "%s", text);
	CHECK(step(&w, none, 1, text) == HEALTH_FAILED && strstr(text, "not-found"), "%s", text);
}

/* A unit that starts and dies at random, and what a watch may say of it. */
struct life {
	uint64_t since, restarts, now;
	bool up, was_up, died, reloads;
};

static void live_on(struct life *l, uint64_t roll)
{
	l->now += 500;
	if (!l->up && roll < 6) {
		l->up = true;
		l->since = l->now;
	} else if (l->up && roll == 0) {
		l->up = false;
		l->restarts++;
	}
	l->reloads = l->up && roll > 11;
	l->died |= l->was_up && !l->up;
	l->was_up |= l->up;
}

static enum health_end look_at(const struct life *l, struct health_watch *w)
{
	char text[HEALTH_LINE_MAX] = "";
	enum health_end end = step(w,
				   state(l->reloads ? "reloading"
					 : l->up    ? "active"
						    : "activating",
					 "x", l->since, l->restarts),
				   l->now, text);

	CHECK(end != HEALTH_PASSED || (l->up && !l->died && l->now - l->since >= w->stay_ms),
	      "passed at %u", (unsigned)l->now);
	CHECK(end != HEALTH_FAILED || l->died, "%s", text);
	CHECK(!l->died || end == HEALTH_FAILED, "lived on at %u", (unsigned)l->now);
	return end;
}

/* Thousands of lives: a unit passes only if it was active and untouched for the whole watch time.
 */
static void test_watch_random(uint64_t seed)
{
	unsigned passed = 0, failed = 0;

	for (unsigned i = 0; i < 5000; i++) {
		struct health_watch w = { .stay_ms = 5000 };
		struct life l = { .now = 1000 };
		enum health_end end = HEALTH_WAITING;

		while (end == HEALTH_WAITING && l.now < 20000) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			live_on(&l, seed >> 60);
			end = look_at(&l, &w);
		}
		passed += end == HEALTH_PASSED;
		failed += end == HEALTH_FAILED;
	}
	CHECK(passed > 1000 && failed > 1000, "%u, %u", passed, failed);
}

static enum health_update_end judge(int code, const char *out, char *text)
{
	return health_update_judge(true, code, out, strlen(out), text);
}

static void test_update(void)
{
	char t[HEALTH_LINE_MAX];

	CHECK(judge(0, "proactl: a note\n{\n \"decision\": {}, \"status\": {}}\n", t) ==
		      HEALTH_UPDATE_OK,
	      "%s", t);
	CHECK(judge(0, "{\"error\": \"no route\", \"kind\": \"retry\", \"status\": {}}", t) ==
		      HEALTH_UPDATE_OUTSIDE,
	      "%s", t);
	CHECK(strstr(t, "no route"), "%s", t);
	CHECK(judge(1,
		    "proactl: again\n{\n\"error\": \"no route\", \"kind\": \"retry\", \"status\": "
		    "{}}\n",
		    t) == HEALTH_UPDATE_OUTSIDE,
	      "what could not be learnt is status 1: %s", t);
	CHECK(judge(1, "proactl: busy\n{\n\"error\": \"busy with why\", \"kind\": \"retry\"\n}\n",
		    t) == HEALTH_UPDATE_BUSY,
	      "%s", t);
	CHECK(strcmp(t, "not known, as proad did not get to it: busy with why") == 0, "%s", t);
	CHECK(judge(1, "{\"error\": \"no disk\", \"kind\": \"host\"}", t) == HEALTH_UPDATE_OURS,
	      "%s", t);
	CHECK(judge(0, "{\"error\": \"x\", \"kind\": \"refused\"}", t) == HEALTH_UPDATE_OUTSIDE,
	      "%s", t);
	CHECK(judge(0, "{\"error\": \"no channel\", \"kind\": \"input\", \"refused\": {}}", t) ==
		      HEALTH_UPDATE_OUTSIDE,
	      "%s", t);
	CHECK(judge(0, "{\"error\": \"no root\", \"kind\": \"input\", \"refused\": null}", t) ==
		      HEALTH_UPDATE_OURS,
	      "%s", t);
	CHECK(judge(0, "{\"error\": \"no disk\", \"kind\": \"host\"}", t) == HEALTH_UPDATE_OURS,
	      "%s", t);
	CHECK(judge(1, "proactl: cannot reach the system bus\n", t) == HEALTH_UPDATE_OURS, "%s", t);
	CHECK(strcmp(t, "cannot update: proactl: cannot reach the system bus") == 0, "%s", t);
	CHECK(judge(0, "", t) == HEALTH_UPDATE_OURS && judge(0, "{", t) == HEALTH_UPDATE_OURS &&
		      judge(0, "{}", t) == HEALTH_UPDATE_OURS &&
		      judge(1, "", t) == HEALTH_UPDATE_OURS,
	      "%s", t);
	CHECK(health_update_judge(false, 9, "{\"decision\": {}}", 16, t) == HEALTH_UPDATE_OURS,
	      "%s", t);
}

/*
 * Thousands of sequences, one try a second, some of them cut off. What counts against a release is
 * what the last try that said something says, after all the time there was.
 */
static void test_tries(uint64_t seed)
{
	enum { GIVE_UP = 5, END = 20 };
	unsigned ours = 0, passed = 0, outside = 0;

	for (unsigned i = 0; i < 20000; i++) {
		struct health_update_tries t = { .strict = i % 8 == 0 };
		enum health_update_end last = HEALTH_UPDATE_OURS, blame = HEALTH_UPDATE_OUTSIDE;
		uint64_t now = 0;

		for (; health_update_goes_on(&t, now, GIVE_UP, END); now++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			if (seed >> 60 > 9)
				continue; /* cut off */
			/* it passes in one of twenty */
			last = seed % 20 ? (enum health_update_end)(1 + (seed >> 40) % 3)
					 : HEALTH_UPDATE_OK;
			blame = last == HEALTH_UPDATE_BUSY ? blame : last;
			health_update_note(&t, last);
		}
		CHECK(!t.known || t.end == last, "the last one decides");
		CHECK(t.known || now == END, "while nothing is known, it goes on");
		CHECK(health_update_counts(&t) ==
			      (t.strict || last == HEALTH_UPDATE_OURS || last == HEALTH_UPDATE_OK),
		      "blamed for %d", (int)last);
		CHECK(now == END || last == HEALTH_UPDATE_OK ||
			      (!t.strict && now >= GIVE_UP && last != HEALTH_UPDATE_OURS),
		      "gave up at %u", (unsigned)now);
		CHECK(last == HEALTH_UPDATE_OK || now >= GIVE_UP, "gave up early");
		/* busy disproves nothing: the search goes on, though nobody is blamed for it */
		CHECK(last != HEALTH_UPDATE_BUSY || blame != HEALTH_UPDATE_OURS || now == END,
		      "gave up at %u", (unsigned)now);
		ours += last == HEALTH_UPDATE_OURS;
		passed += last == HEALTH_UPDATE_OK;
		outside += !health_update_counts(&t);
	}
	CHECK(ours > 100 && passed > 100 && outside > 100, "%u %u %u", ours, passed, outside);
}

/* The three that a host has met. */
static void test_tries_met(void)
{
	struct health_update_tries t = { .strict = false };

	CHECK(health_update_counts(&t) && health_update_goes_on(&t, 9, 5, 10), "nothing known");
	health_update_note(&t, HEALTH_UPDATE_OURS);
	health_update_note(&t, HEALTH_UPDATE_OUTSIDE);
	CHECK(!health_update_counts(&t) && !health_update_goes_on(&t, 9, 5, 10),
	      "a slow start, then a network that is silent");
	health_update_note(&t, HEALTH_UPDATE_OURS);
	health_update_note(&t, HEALTH_UPDATE_BUSY);
	CHECK(!health_update_counts(&t) && health_update_goes_on(&t, 9, 5, 10),
	      "a slow start, then the update that the timer began");
	health_update_note(&t, HEALTH_UPDATE_OURS);
	CHECK(health_update_counts(&t) && !health_update_goes_on(&t, 10, 5, 10), "no root");
}

static void test_result(void)
{
	static char lines[] = "one\n\ttwo \033[1m\377\n", many[HEALTH_RESULT_OUTPUT_MAX + 1];
	const struct json_limits lim = JSON_LIMITS_DEFAULT;
	struct health_check c[3] = {
		{ .name = "10-a.sh", .required = true, .end = HEALTH_PASSED, .took_ms = 5 },
		{ .name = "20-b.sh",
		  .required = true,
		  .end = HEALTH_FAILED,
		  .code = 9,
		  .by_signal = true },
		{ .name = "x.service", .source = HEALTH_UNIT, .end = HEALTH_LATE },
	};
	struct buf out[3] = { { .p = lines, .n = sizeof(lines) - 1 },
			      { .p = lines, .n = sizeof(lines) - 1 },
			      { .p = many, .n = sizeof(many) } };
	struct health_result res = { .version = "1.1.0",
				     .boot_id = "ab",
				     .verdict = "falls-back",
				     .reason = "20-b.sh, signal 9",
				     .when = 5,
				     .took_s = 2,
				     .deadline_s = 300,
				     .check = c,
				     .output = out,
				     .n = 3 };
	AUTO_BUF b = BUF_INIT;
	AUTO_JSON *o = NULL;
	struct err e = ERR_INIT;
	json_t *arr, *it;

	CHECK(health_result_format(&res, &b, &e) == 0, "%s", e.text);
	CHECK(json_read(b.p, b.n, &lim, "result", &o, &e) == 0, "%s", e.text);
	arr = json_object_get(o, "checks");
	CHECK(json_array_size(arr) == 3, "checks");
	it = json_array_get(arr, 0);
	CHECK(json_is_null(json_object_get(it, "output")), "of what passed nothing is kept");
	it = json_array_get(arr, 1);
	CHECK(strcmp(json_string_value(json_object_get(it, "output")), "one\n?two ?[1m?\n") == 0,
	      "%s", json_string_value(json_object_get(it, "output")));
	CHECK(json_integer_value(json_object_get(it, "signal")) == 9, "signal");
	it = json_array_get(arr, 2);
	CHECK(json_is_null(json_object_get(it, "output")), "more than is kept");
	CHECK(!json_object_get(it, "exit"), "a unit has no status");
}

int main(void)
{
	const char *s = getenv("PROA_SEED");

	test_parse();
	test_watch();
	test_watch_reload();
	test_watch_failed();
	test_watch_random(s ? strtoull(s, NULL, 0) : 20261121);
	test_update();
	test_tries(s ? strtoull(s, NULL, 0) : 20261121);
	test_tries_met();
	test_result();
	return 0;
}
