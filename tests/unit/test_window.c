/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "tests/test.h"
#include "updater/agent/window.h"

static int64_t at(const char *time)
{
	struct err e = ERR_INIT;
	int64_t t = 0;

	CHECK(num_parse_time(time, "time", &t, &e) == 0, "%s", e.text);
	return t;
}

static void test_parse(void)
{
	static const char *const bad[] = {
		"Sat 02:00",
		"for 3h",
		"Sat 02:00 for",
		"Sat 02:00 for 5s",
		"Sat 02:00 for 8d",
		"Sat 02:00 for x",
		"Sat for 1h | junk",
		" for 1h",
		"Sat 02:00 for 1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h",
	};
	struct windows w;
	struct err e = ERR_INIT;

	CHECK(window_parse(" Sat,Sun 02:00 Europe/Berlin  for 3h|| *-*-1 04:30 for 1h 30min | ", &w,
			   &e) == 0,
	      "%s", e.text);
	CHECK(w.n == 2 && strcmp(w.w[0].when, "Sat,Sun 02:00 Europe/Berlin") == 0 &&
		      w.w[0].seconds == 10800,
	      "'%s'", w.w[0].when);
	CHECK(strcmp(w.w[1].when, "*-*-1 04:30") == 0 && w.w[1].seconds == 5400, "'%s'",
	      w.w[1].when);
	CHECK(window_parse("", &w, &e) == 0 && w.n == 0, "%s", e.text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e = (struct err)ERR_INIT;
		CHECK(window_parse(bad[i], &w, &e) < 0 && e.kind == ERR_INPUT, "'%s' passed",
		      bad[i]);
		CHECK(w.n == 0, "touched");
	}
}

static struct window_state look(const char *windows, const char *now)
{
	struct window_state s = { .open = false };
	struct err e = ERR_INIT;
	struct windows w;

	CHECK(window_parse(windows, &w, &e) == 0, "%s", e.text);
	CHECK(window_look(&w, at(now), window_next, NULL, &s, &e) == 0, "%s", e.text);
	return s;
}

static void expect(const char *windows, const char *now, bool open, const char *changes)
{
	struct window_state s = look(windows, now);
	char got[NUM_TIME_MAX] = "never";

	if (s.changes)
		num_format_time(s.changes, got);
	CHECK(s.open == open && strcmp(got, changes) == 0, "%s at %s: %s until %s", windows, now,
	      s.open ? "open" : "closed", got);
}

/* 2026: summer time in Berlin from 29 March 01:00 UTC to 25 October 01:00 UTC. */
static void test_time(void)
{
	static const char berlin[] = "Sat,Sun 02:00 Europe/Berlin for 3h";

	expect("", "2026-11-21T12:00:00Z", true, "never");
	expect(berlin, "2026-11-21T00:59:59Z", false, "2026-11-21T01:00:00Z");
	expect(berlin, "2026-11-21T01:00:00Z", true, "2026-11-21T04:00:00Z");
	expect(berlin, "2026-11-21T03:59:59Z", true, "2026-11-21T04:00:00Z");
	expect(berlin, "2026-11-21T04:00:00Z", false, "2026-11-22T01:00:00Z");
	expect(berlin, "2026-07-04T00:00:00Z", true, "2026-07-04T03:00:00Z");
	/* the night when 02:00 does not exist there: systemd takes the next one */
	expect(berlin, "2026-03-29T00:59:59Z", false, "2026-04-04T00:00:00Z");
	/* the night that has 02:00 twice: systemd takes the first */
	expect(berlin, "2026-10-25T01:30:00Z", true, "2026-10-25T03:00:00Z");
	/* two that overlap close with the later one; one that never comes again */
	expect("Mon 01:00 UTC for 2h | Mon 02:00 UTC for 3h", "2026-11-23T02:30:00Z", true,
	       "2026-11-23T05:00:00Z");
	expect("2020-01-01 00:00 UTC for 1h", "2026-11-21T12:00:00Z", false, "never");
	/* one that elapses all the time */
	CHECK(look("*:0/10 UTC for 2h", "2026-11-21T12:00:30Z").open, "every ten minutes");
}

/* Without a zone of its own an expression is in the host's. */
static void test_local(void)
{
	CHECK(setenv("TZ", "America/New_York", 1) == 0, "setenv");
	expect("Sat 02:00 for 1h", "2026-11-21T07:30:00Z", true, "2026-11-21T08:00:00Z");
	CHECK(setenv("TZ", "UTC", 1) == 0, "setenv");
	expect("Sat 02:00 for 1h", "2026-11-21T07:30:00Z", false, "2026-11-28T02:00:00Z");
}

static void test_nonsense(void)
{
	struct err e = ERR_INIT;
	int64_t t = 5;

	CHECK(window_next(NULL, "Sat 25:00", 0, &t, &e) < 0 && e.kind == ERR_INPUT && t == 5, "%s",
	      e.text);
	CHECK(strstr(e.text, "Sat 25:00"), "%s", e.text);
	e = (struct err)ERR_INIT;
	CHECK(window_next(NULL, "--help", 0, &t, &e) < 0 && e.kind == ERR_INPUT, "an option");
}

/* An oracle that fails is an error of the look, not a closed window. */
static int broken(void *arg, const char *when, int64_t after, int64_t *ret, struct err *e)
{
	(void)arg;
	(void)when;
	(void)after;
	*ret = 1;
	return err_set(e, ERR_HOST, 5, "no answer");
}

static void test_broken(void)
{
	struct window_state s;
	struct err e = ERR_INIT;
	struct windows w;

	CHECK(window_parse("Sat 02:00 for 1h", &w, &e) == 0, "%s", e.text);
	CHECK(window_look(&w, 1, broken, NULL, &s, &e) == -5, "%s", e.text);
}

int main(void)
{
	test_parse();
	test_time();
	test_local();
	test_nonsense();
	test_broken();
	return 0;
}
