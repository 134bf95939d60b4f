/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/window.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "base/spawn.h"

#define ASK_MS     10000
#define ANSWER_MAX 4096
#define OFTEN      512 /* elapses within one duration: more is as good as always */

static const char *skip_blanks(const char *s, const char *end)
{
	while (s < end && *s == ' ')
		s++;
	return s;
}

static const char *back_blanks(const char *s, const char *end)
{
	while (end > s && end[-1] == ' ')
		end--;
	return end;
}

/* The last " for " in [s, end), NULL: none. */
static const char *find_for(const char *s, const char *end)
{
	static const char word[] = " for ";
	const size_t n = sizeof(word) - 1;

	for (const char *p = end - n; p >= s; p--)
		if (memcmp(p, word, n) == 0)
			return p;
	return NULL;
}

static int parse_one(const char *s, const char *end, struct window *ret, struct err *e)
{
	const char *at = (size_t)(end - s) > 5 ? find_for(s, end) : NULL;
	const char *stop = at ? back_blanks(s, at) : s;
	char span[32];
	struct window w;
	int r;

	if (!at || stop == s || (size_t)(stop - s) >= sizeof(w.when))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%.*s' is no window: write a calendar expression and its duration, "
			       "as 'Sat,Sun 02:00 for 3h'",
			       (int)(end - s > 80 ? 80 : end - s), s);
	at = skip_blanks(at + 5, end);
	(void)snprintf(span, sizeof(span), "%.*s", (int)(end - at), at);
	r = num_parse_seconds(span, "duration of the window", &w.seconds, e);
	if (r < 0)
		return r;
	if ((size_t)(end - at) >= sizeof(span) || w.seconds < WINDOW_SECONDS_LEAST ||
	    w.seconds > WINDOW_SECONDS_MOST)
		return err_set(e, ERR_INPUT, ERANGE,
			       "a window lasts from 1 minute to 7 days, not '%.*s'",
			       (int)(end - at > 40 ? 40 : end - at), at);
	(void)snprintf(w.when, sizeof(w.when), "%.*s", (int)(stop - s), s);
	*ret = w;
	return 0;
}

int window_parse(const char *s, struct windows *ret, struct err *e)
{
	struct windows w = { .n = 0 };

	while (*s) {
		const char *end = s + strcspn(s, "|");
		const char *from = skip_blanks(s, end), *to = back_blanks(from, end);
		int r;

		if (from < to) {
			if (w.n == WINDOWS_MAX)
				return err_set(e, ERR_INPUT, E2BIG, "more than %d windows",
					       WINDOWS_MAX);
			r = parse_one(from, to, &w.w[w.n], e);
			if (r < 0)
				return r;
			w.n++;
		}
		s = *end ? end + 1 : end;
	}
	*ret = w;
	return 0;
}

/* "Sat 2026-03-28 01:30:00 UTC" */
static int read_utc(const char *s, int64_t *ret)
{
	char t[NUM_TIME_MAX];

	if (strlen(s) < 27 || s[3] != ' ' || s[14] != ' ' || strncmp(s + 23, " UTC", 4) != 0)
		return -1;
	(void)snprintf(t, sizeof(t), "%.10sT%.8sZ", s + 4, s + 15);
	return num_parse_time(t, "time", ret, NULL);
}

/* What systemd-analyze calendar printed. */
static int read_answer(const char *text, int64_t *ret)
{
	static const char elapse[] = "Next elapse: ", utc[] = "(in UTC): ";
	const char *at = strstr(text, elapse), *in = strstr(text, utc);

	if (at && strncmp(at + sizeof(elapse) - 1, "never", 5) == 0) {
		*ret = 0;
		return 0;
	}
	/* where local time is UTC there is no second line */
	if (in)
		return read_utc(in + sizeof(utc) - 1, ret);
	return at ? read_utc(at + sizeof(elapse) - 1, ret) : -1;
}

int window_next(void *arg, const char *when, int64_t after, int64_t *ret, struct err *e)
{
	char base[48], zone[80];
	const char *tz = getenv("TZ");
	const char *const argv[] = { "systemd-analyze", "calendar", base, "--", when, NULL };
	const char *const envp[] = { "PATH=/usr/bin:/bin", "LC_ALL=C",
				     "SYSTEMD_PAGER=", tz ? zone : NULL, NULL };
	AUTO_BUF out = BUF_INIT;
	struct spawn s = { .argv = argv,
			   .envp = envp,
			   .deadline_ms = ASK_MS,
			   .out = &out,
			   .out_max = ANSWER_MAX };
	struct spawn_result res;
	int r;

	(void)arg;
	(void)snprintf(base, sizeof(base), "--base-time=@%lld", (long long)after);
	(void)snprintf(zone, sizeof(zone), "TZ=%.70s", tz ? tz : "");
	r = spawn_run(&s, &res, e);
	if (r < 0)
		return err_wrap(e, r, "window '%s'", when);
	if (res.end == SPAWN_EXIT && res.code != 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "systemd does not understand the window '%s' (systemd-analyze "
			       "calendar shows why)",
			       when);
	if (res.end != SPAWN_EXIT || !out.p || read_answer(out.p, ret) < 0)
		return err_set(e, ERR_HOST, EPROTO, "systemd-analyze did not say when '%s' elapses",
			       when);
	return 0;
}

/* The last elapse that is not after now and lies within the window's duration. */
static int last_elapse(const struct window *w, int64_t now, window_next_fn next, void *arg,
		       int64_t *ret_last, int64_t *ret_next, struct err *e)
{
	int64_t at = now - (int64_t)w->seconds, last = 0;

	for (unsigned i = 0; i < OFTEN; i++) {
		int r = next(arg, w->when, at, &at, e);

		if (r < 0)
			return r;
		if (at == 0 || at > now)
			break;
		last = at;
	}
	*ret_last = last;
	*ret_next = at;
	return 0;
}

int window_look(const struct windows *w, int64_t now, window_next_fn next, void *arg,
		struct window_state *ret, struct err *e)
{
	struct window_state s = { .open = w->n == 0 };

	for (size_t i = 0; i < w->n; i++) {
		int64_t last, coming, closes;
		int r = last_elapse(&w->w[i], now, next, arg, &last, &coming, e);

		if (r < 0)
			return r;
		closes = last + (int64_t)w->w[i].seconds;
		if (last && (!s.open || closes > s.changes))
			s = (struct window_state){ .open = true, .changes = closes, .which = i };
		else if (!s.open && coming && (s.changes == 0 || coming < s.changes))
			s = (struct window_state){ .changes = coming, .which = i };
	}
	*ret = s;
	return 0;
}
