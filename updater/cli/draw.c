/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/cli/draw.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

#define TEXT_MAX 512
#define COLUMNS  80

/* A string member, cleaned for a terminal; "?" when it is not there. */
static const char *text_of(const json_t *o, const char *key, char out[TEXT_MAX])
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? text_clean(s, strlen(s), out, TEXT_MAX) : "?";
}

static bool has(const json_t *o, const char *key)
{
	return json_is_string(json_object_get(o, key));
}

static bool is(const json_t *o, const char *key, const char *value)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && strcmp(s, value) == 0;
}

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 ? (uint64_t)v : 0;
}

/* 0 when it is not there. */
static int64_t when(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	int64_t t;

	return s && num_parse_time(s, key, &t, NULL) == 0 ? t : 0;
}

/* Where a continued line begins: below the text, behind "  1. " too. */
static size_t text_column(const char *s, size_t n)
{
	size_t k = 0;

	while (k < n && s[k] == ' ')
		k++;
	if (k > 0 && k + 3 < n && s[k] >= '0' && s[k] <= '9' && memcmp(s + k + 1, ". ", 2) == 0)
		k += 3;
	return k;
}

/*
 * How much of s[0..n) fits behind column col: whole words while there are any, and a command that
 * is to be typed stays in one piece.
 */
static size_t fitting(const char *s, size_t n, size_t col)
{
	size_t last = 0;

	for (size_t k = 0; k < n; k++) {
		if ((k < 8 || memcmp(s + k - 8, "(proactl", 8) != 0) && s[k] == ' ')
			last = k;
		col += ((unsigned char)s[k] & 0xc0) != 0x80;
		if (col > COLUMNS && last > 0)
			return last;
	}
	return n;
}

/* One line, folded at spaces; blanks at the ends go. */
static int fold_line(const char *s, size_t n, struct buf *out, struct err *e)
{
	size_t indent = text_column(s, n), at = indent;
	int r = buf_add(out, s, indent, e);

	while (n > at && s[n - 1] == ' ')
		n--;
	while (r == 0 && at < n) {
		size_t k = fitting(s + at, n - at, indent), end = at + k;

		while (end > at && s[end - 1] == ' ')
			end--;
		r = buf_add(out, s + at, end - at, e);
		for (at += k; at < n && s[at] == ' ';)
			at++;
		if (r == 0 && at < n)
			r = buf_addf(out, e, "\n%*s", (int)indent, "");
	}
	return r == 0 ? buf_addf(out, e, "\n") : r;
}

/* Everything that is drawn goes through here, so that nothing is wider than a terminal. */
int draw_fold(const struct buf *in, struct buf *out, struct err *e)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < in->n;) {
		const char *nl = memchr(in->p + at, '\n', in->n - at);
		size_t n = nl ? (size_t)(nl - (in->p + at)) : in->n - at;

		r = fold_line(in->p + at, n, out, e);
		at += n + 1;
	}
	return r;
}

/* "19 Nov 02:14 +0100 (17 h ago)" or "(in 3 h 10 min)": what is past needs no minutes. */
static const char *moment(int64_t t, int64_t now, char out[TEXT_MAX])
{
	char at[64], span[32];
	uint64_t d = t > now ? (uint64_t)(t - now) : (uint64_t)(now - t);

	(void)text_time(t, now, at, sizeof(at));
	if (t <= now)
		d -= d % (d >= 86400 ? 86400 : d >= 3600 ? 3600 : 1);
	(void)text_duration(d, span, sizeof(span));
	(void)snprintf(out, TEXT_MAX, t > now ? "%s (in %s)" : "%s (%s ago)", at, span);
	return out;
}

/* What a slot's state means, in words. */
static int slot_words(const json_t *slot, char out[TEXT_MAX])
{
	static const struct {
		const char *state, *words;
	} plain[] = {
		{ "running", "running, good" },        { "writing", "half written" },
		{ "staged", "staged, proved" },        { "empty", "empty" },
		{ "foreign", "holds something else" }, { "no-entry", "no boot entry" },
		{ "failed", "failed, does not boot" }, { "bootable", "previous, can boot" },
	};
	uint64_t left = number(slot, "tries_left");

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (is(slot, "state", plain[i].state))
			return snprintf(out, TEXT_MAX, "%s", plain[i].words);
	if (is(slot, "state", "assessing"))
		return snprintf(out, TEXT_MAX, "running, being assessed");
	if (is(slot, "state", "applied"))
		return snprintf(out, TEXT_MAX, "applied, %" PRIu64 " tr%s left", left,
				left == 1 ? "y" : "ies");
	return snprintf(out, TEXT_MAX, "?");
}

static int draw_slot(const json_t *slot, int width, struct buf *out, struct err *e)
{
	char name[TEXT_MAX], version[TEXT_MAX], root[TEXT_MAX], words[TEXT_MAX];
	const char *mark = "";

	(void)slot_words(slot, words);
	if (json_is_true(json_object_get(slot, "boots_next")))
		mark = "<- boots next";
	else if (is(slot, "state", "staged"))
		mark = "<- after `proactl apply`";
	return buf_addf(out, e, "  %-3s %-*s  %-10.8s %-25s %s%s", text_of(slot, "slot", name),
			width, has(slot, "version") ? text_of(slot, "version", version) : "-",
			has(slot, "root_hash") ? text_of(slot, "root_hash", root) : "-", words,
			mark, "\n");
}

static int draw_slots(const json_t *status, struct buf *out, struct err *e)
{
	const json_t *slots = json_object_get(status, "slots");
	char version[TEXT_MAX];
	int r = buf_addf(out, e, "\n"), width = 11;

	for (size_t i = 0; i < json_array_size(slots); i++) {
		int n = (int)strlen(text_of(json_array_get(slots, i), "version", version));

		width = n > width ? n : width;
	}
	for (size_t i = 0; r == 0 && i < json_array_size(slots); i++)
		r = draw_slot(json_array_get(slots, i), width, out, e);
	return r == 0 ? buf_addf(out, e, "\n") : r;
}

static int draw_job(const json_t *s, struct buf *out, struct err *e)
{
	const json_t *job = json_object_get(s, "job");
	char verb[TEXT_MAX], phase[TEXT_MAX];
	double total = (double)number(job, "total"), done = (double)number(job, "done");

	return buf_addf(out, e, "%s: %s (%s), %.0f %%%s.\n",
			json_is_true(json_object_get(job, "paused")) ? "Paused" : "Busy",
			text_of(job, "verb", verb), text_of(job, "phase", phase),
			total > 0 ? (done < total ? done / total : 1) * 100 : 0,
			json_is_true(json_object_get(job, "paused")) ? " (proactl continue)" : "");
}

static bool newest_failed(const json_t *s)
{
	const json_t *failed = json_object_get(s, "failed");
	const char *newest = json_string_value(json_object_get(s, "newest"));

	for (size_t i = 0; newest && i < json_array_size(failed); i++)
		if (is(json_array_get(failed, i), "version", newest))
			return true;
	return false;
}

/*
 * What holds the reboot back, if it is more than what every Reboot= has people expect: NULL for a
 * window, or for waiting for a person.
 */
static const json_t *other_reason(const json_t *s)
{
	const json_t *reasons = json_object_get(json_object_get(s, "reboot_wait"), "reasons");

	for (size_t i = 0; i < json_array_size(reasons); i++) {
		const json_t *j = json_array_get(reasons, i);

		if (!is(j, "code", "window") && !is(j, "code", "manual"))
			return j;
	}
	return NULL;
}

/* "It reboots by itself in its window, ...": behind what is applied. */
int draw_reboot(const json_t *status, int64_t now, struct buf *out, struct err *e)
{
	const json_t *w = json_object_get(status, "reboot_window");
	int64_t changes = when(w, "changes");
	char which[TEXT_MAX], at[TEXT_MAX], v[TEXT_MAX];

	(void)text_of(json_object_get(status, "target"), "version", v);
	if (has(w, "error"))
		return buf_addf(out, e, "%s waits for its reboot window, which is not known: %s\n",
				v, text_of(w, "error", which));
	(void)text_of(w, "when", which);
	if (json_is_true(json_object_get(w, "open")))
		return buf_addf(out, e, "%s may reboot now: window %s, closes %s.\n", v, which,
				moment(changes, now, at));
	if (!changes)
		return buf_addf(out, e, "%s waits for its reboot window, which never comes: %s.\n",
				v, which);
	return buf_addf(out, e, "%s waits for its reboot window, %s: opens %s.\n", v, which,
			moment(changes, now, at));
}

static int draw_healthy(const json_t *s, int64_t now, struct buf *out, struct err *e)
{
	json_int_t halted = json_integer_value(json_object_get(s, "halted"));
	int64_t since = when(json_object_get(s, "running"), "good_since");
	char at[TEXT_MAX];
	int r = buf_addf(out, e, "Healthy%s%s.", since ? " since " : "",
			 since ? moment(since, now, at) : "");

	if (r == 0 && halted > 0)
		r = buf_addf(out, e, " Nothing new is taken: %lld in a row did not stay.",
			     (long long)halted);
	else if (r == 0 && newest_failed(s))
		r = buf_addf(out, e, " The newest release failed here.");
	return r < 0 ? r : buf_addf(out, e, "\n");
}

/* Behind "runs V from slot S. ": what is under way. */
static int draw_headline(const json_t *s, int64_t now, struct buf *out, struct err *e)
{
	const json_t *run = json_object_get(s, "running"), *target = json_object_get(s, "target");
	char v[TEXT_MAX], at[TEXT_MAX];
	bool live = json_is_true(json_object_get(s, "live"));

	(void)text_of(target, "version", v);
	if (json_is_object(json_object_get(s, "job")))
		return draw_job(s, out, e);
	if (is(s, "state", "interrupted"))
		return buf_addf(out, e, "%s is half written (proactl stage goes on).\n", v);
	if (is(s, "state", "staged"))
		return buf_addf(out, e, "%s is staged and waits (proactl apply).\n", v);
	if (is(s, "state", "applied") && live && is(other_reason(s), "code", "other-entry"))
		return buf_addf(out, e, "%s is applied, but %s.\n", v,
				text_of(other_reason(s), "text", at));
	if (is(s, "state", "applied") && live && other_reason(s))
		return buf_addf(out, e, "%s boots next, and waits: %s (proactl why).\n", v,
				text_of(other_reason(s), "text", at));
	if (is(s, "state", "applied") && live && is(s, "reboot", "window"))
		return draw_reboot(s, now, out, e);
	if (is(s, "state", "applied") && live)
		return buf_addf(out, e, "%s boots next (proactl reboot).\n", v);
	if (is(s, "state", "assessing"))
		return buf_addf(out, e, "It is being assessed.\n");
	if (!live)
		return buf_addf(out, e, "\n");
	if (!json_is_true(json_object_get(run, "good")))
		return buf_addf(out, e, "It has no boot entry of its own.\n");
	return draw_healthy(s, now, out, e);
}

static int draw_first(const json_t *s, int64_t now, struct buf *out, struct err *e)
{
	const json_t *run = json_object_get(s, "running");
	char host[TEXT_MAX], disk[TEXT_MAX], version[TEXT_MAX], slot[TEXT_MAX];
	bool live = json_is_true(json_object_get(s, "live"));
	int r;

	if (!json_is_object(run))
		r = buf_addf(out, e, "%s: nothing is installed yet. ", text_of(s, "disk", disk));
	else if (live)
		r = buf_addf(out, e, "%s runs %s from slot %s. ", text_of(s, "host", host),
			     text_of(run, "version", version), text_of(run, "slot", slot));
	else
		r = buf_addf(out, e, "%s would boot %s from slot %s. ", text_of(s, "disk", disk),
			     text_of(run, "version", version), text_of(run, "slot", slot));
	return r < 0 ? r : draw_headline(s, now, out, e);
}

static int draw_channel(const json_t *s, int64_t now, struct buf *out, struct err *e)
{
	char channel[TEXT_MAX], newest[TEXT_MAX], at[TEXT_MAX], error[TEXT_MAX];
	int64_t last = when(s, "last_check"), coming = when(s, "next_check");
	int r = buf_addf(out, e, "  channel %s", text_of(s, "channel", channel));

	if (r == 0 && has(s, "newest"))
		r = buf_addf(out, e, ", newest %s", text_of(s, "newest", newest));
	if (r == 0 && last)
		r = buf_addf(out, e, "; looked %s.\n", moment(last, now, at));
	else if (r == 0)
		r = buf_addf(out, e, "; never looked yet (proactl check).\n");
	if (r == 0 && coming > now)
		r = buf_addf(out, e, "  Looks again %s.\n", moment(coming, now, at));
	if (r == 0 && has(s, "last_error"))
		r = buf_addf(out, e, "  The last look failed: %s\n",
			     text_of(s, "last_error", error));
	return r;
}

/* What a person or the configuration says of this host. */
static int draw_said(const json_t *s, struct buf *out, struct err *e)
{
	const json_t *pin = json_object_get(s, "pin"), *hold = json_object_get(s, "hold");
	char text[TEXT_MAX], where[TEXT_MAX];
	int r = 0;

	if (json_is_object(pin))
		r = buf_addf(out, e, "  pinned to %s (%s).\n", text_of(pin, "version", text),
			     text_of(pin, "where", where));
	if (r == 0 && json_is_object(hold))
		r = buf_addf(out, e, "  on hold%s%s (%s).\n", has(hold, "reason") ? ": " : "",
			     has(hold, "reason") ? text_of(hold, "reason", text) : "",
			     text_of(hold, "where", where));
	return r;
}

static int draw_failed(const json_t *s, int64_t now, struct buf *out, struct err *e)
{
	const json_t *failed = json_object_get(s, "failed");
	char version[TEXT_MAX], reason[TEXT_MAX], at[TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(failed); i++) {
		const json_t *f = json_array_get(failed, i);

		(void)text_of(f, "version", version);
		r = buf_addf(out, e, "  %s failed here %s: %s\n      (proactl forgive %s)\n",
			     version, moment(when(f, "when"), now, at),
			     text_of(f, "reason", reason), version);
	}
	return r;
}

/* The last line: what to do, or that there is nothing to do. */
static int draw_todo(const json_t *s, struct buf *out, struct err *e)
{
	char newest[TEXT_MAX], version[TEXT_MAX];

	if (json_is_object(json_object_get(s, "job")))
		return 0;
	if (!json_is_object(json_object_get(s, "boots_next")))
		return buf_addf(out, e, "  No entry can boot%s.\n",
				json_is_object(json_object_get(s, "running"))
					? ""
					: " yet (proactl update)");
	if (!is(s, "state", "idle"))
		return 0;
	(void)text_of(json_object_get(s, "running"), "version", version);
	(void)text_of(s, "newest", newest);
	if (has(s, "newest") && strcmp(version, newest) != 0)
		return buf_addf(out, e, "  Not on the newest release (proactl why).\n");
	if (has(s, "last_error")) /* then nobody knows whether there is nothing to do */
		return buf_addf(out, e, "  Look again: proactl check.\n");
	return buf_addf(out, e, "  Nothing to do.\n");
}

int draw_status(const json_t *status, int64_t now, struct buf *out, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = draw_first(status, now, &b, e);

	if (r == 0)
		r = draw_slots(status, &b, e);
	if (r == 0)
		r = draw_channel(status, now, &b, e);
	if (r == 0)
		r = draw_said(status, &b, e);
	if (r == 0)
		r = draw_failed(status, now, &b, e);
	if (r == 0)
		r = draw_todo(status, &b, e);
	return r == 0 ? draw_fold(&b, out, e) : r;
}

static int draw_reasons(const json_t *decision, int64_t now, struct buf *out, struct err *e)
{
	const json_t *reasons = json_object_get(decision, "reasons");
	char text[TEXT_MAX], at[TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(reasons); i++) {
		const json_t *j = json_array_get(reasons, i);
		int64_t until = when(j, "until");

		r = buf_addf(out, e, "  %zu. %s", i + 1, text_of(j, "text", text));
		if (r == 0 && until)
			r = buf_addf(out, e, ", until %s", moment(until, now, at));
		if (r == 0)
			r = buf_addf(out, e, "%s\n", i + 1 < json_array_size(reasons) ? ";" : ".");
	}
	return r;
}

static int check_text(const json_t *d, int64_t now, struct buf *out, struct err *e)
{
	char channel[TEXT_MAX], newest[TEXT_MAX], running[TEXT_MAX], chosen[TEXT_MAX];
	int r;

	(void)text_of(d, "channel", channel);
	(void)text_of(d, "newest", newest);
	(void)text_of(d, "running", running);
	(void)text_of(d, "chosen", chosen);
	if (is(d, "verdict", "update") && has(d, "running"))
		return buf_addf(out, e, "%s -> %s in channel %s (proactl update)\n", running,
				chosen, channel);
	if (is(d, "verdict", "update"))
		return buf_addf(out, e, "%s can be installed from channel %s (proactl update)\n",
				chosen, channel);
	if (is(d, "verdict", "current"))
		r = buf_addf(out, e, "%s is what this host should run (channel %s).\n%s", running,
			     channel,
			     json_array_size(json_object_get(d, "reasons")) > 0
				     ? "Not another one, because\n"
				     : "");
	else if (is(d, "verdict", "nothing"))
		r = buf_addf(out, e, "There is nothing for this host, because\n");
	else
		r = buf_addf(out, e,
			     "%s is the newest in channel %s. Not for this host now, because\n",
			     newest, channel);
	return r == 0 ? draw_reasons(d, now, out, e) : r;
}

int draw_check(const json_t *decision, int64_t now, struct buf *out, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = check_text(decision, now, &b, e);

	return r == 0 ? draw_fold(&b, out, e) : r;
}

/* What stands between the staged or applied release and its being run. */
static int draw_pending(const json_t *s, int64_t now, struct buf *out, struct err *e)
{
	bool live = json_is_true(json_object_get(s, "live"));
	char v[TEXT_MAX], running[TEXT_MAX];
	int r = 0;

	(void)text_of(json_object_get(s, "target"), "version", v);
	(void)text_of(json_object_get(s, "running"), "version", running);
	if (is(s, "state", "interrupted"))
		return buf_addf(out, e,
				"%s is half written: proactl stage goes on where it stopped.\n", v);
	if (is(s, "state", "staged"))
		return buf_addf(out, e, "%s is staged. It waits for: proactl apply.\n", v);
	if (is(s, "state", "applied") && live && other_reason(s))
		r = buf_addf(out, e, "%s is applied. It does not reboot yet, because\n", v);
	if (is(s, "state", "applied") && live && other_reason(s))
		return r < 0 ? r : draw_wait(json_object_get(s, "reboot_wait"), now, out, e);
	if (!is(s, "state", "applied") && live && other_reason(s))
		r = draw_wait(json_object_get(s, "reboot_wait"), now, out, e);
	if (r < 0)
		return r;
	if (is(s, "state", "applied") && live && is(s, "reboot", "window"))
		return draw_reboot(s, now, out, e);
	if (is(s, "state", "applied") && live)
		return buf_addf(out, e, "%s is applied. It waits for: a reboot (proactl reboot).\n",
				v);
	if (is(s, "state", "assessing"))
		return buf_addf(out, e,
				"%s is being assessed: no update before boot-complete.target.\n",
				running);
	return 0;
}

static int why_update(const json_t *s, const json_t *d, const char *host, int64_t now,
		      struct buf *out, struct err *e)
{
	const json_t *run = json_object_get(s, "running");
	const char *runs = json_is_true(json_object_get(s, "live")) ? "run" : "boot";
	char version[TEXT_MAX], chosen[TEXT_MAX], newest[TEXT_MAX], channel[TEXT_MAX], at[64];
	bool dated = is(d, "chosen", text_of(d, "newest", newest)) && has(d, "newest_published");
	int r;

	(void)text_time(when(d, "newest_published"), now, at, sizeof(at));
	r = buf_addf(out, e, "%s %ss %s and should %s %s (%s%s%s).\n", host, runs,
		     json_is_object(run) ? text_of(run, "version", version) : "nothing", runs,
		     text_of(d, "chosen", chosen), text_of(s, "channel", channel),
		     dated ? ", published " : "", dated ? at : "");
	if (r == 0 && json_array_size(json_object_get(d, "reasons")) > 0)
		r = buf_addf(out, e, "Not a newer one, because\n");
	if (r == 0)
		r = draw_reasons(d, now, out, e);
	if (r == 0 && is(s, "state", "idle"))
		r = buf_addf(out, e, "Nothing stands in the way: proactl update.\n");
	return r;
}

/* Beside the decision, or beside the error when there is none. */
static int draw_notes(const json_t *of, struct buf *out, struct err *e)
{
	const json_t *notes = json_object_get(of, "notes");
	char text[TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(notes); i++) {
		const char *s = json_string_value(json_array_get(notes, i));

		if (s)
			r = buf_addf(out, e, "Note: %s.\n",
				     text_clean(s, strlen(s), text, sizeof(text)));
	}
	return r;
}

/* Who may not look anew is told when somebody did. */
static int draw_looked(const json_t *why, int64_t now, struct buf *out, struct err *e)
{
	char at[TEXT_MAX];

	if (!has(why, "looked"))
		return 0;
	return buf_addf(out, e, "As of %s:\n", moment(when(why, "looked"), now, at));
}

/* Which mirrors failed; with one that is all of the error, so it is not said twice. */
static int draw_mirrors(const json_t *of, struct buf *out, struct err *e)
{
	const json_t *arr = json_object_get(of, "mirrors");
	char url[TEXT_MAX], text[TEXT_MAX];
	int r = 0;

	if (has(of, "error") && json_array_size(arr) < 2)
		return 0;
	for (size_t i = 0; r == 0 && i < json_array_size(arr); i++) {
		const json_t *m = json_array_get(arr, i);

		(void)text_of(m, "error", text);
		r = strstr(text, text_of(m, "url", url))
			    ? buf_addf(out, e, "Mirror: %s.\n", text)
			    : buf_addf(out, e, "Mirror %s: %s.\n", url, text);
	}
	return r;
}

int draw_why(const json_t *why, int64_t now, struct buf *out, struct err *e)
{
	const json_t *s = json_object_get(why, "status"), *d = json_object_get(why, "decision");
	const json_t *run = json_object_get(s, "running");
	const char *runs = json_is_true(json_object_get(s, "live")) ? "run" : "boot";
	char host[TEXT_MAX], version[TEXT_MAX] = "nothing", error[TEXT_MAX];
	AUTO_BUF b = BUF_INIT;
	int r;

	(void)text_of(s, json_is_true(json_object_get(s, "live")) ? "host" : "disk", host);
	if (json_is_object(run))
		(void)text_of(run, "version", version);
	r = draw_looked(why, now, &b, e);
	if (r < 0)
		return r;
	if (!json_is_object(d)) {
		r = buf_addf(&b, e, "%s %ss %s. What it should %s is not known:\n  %s\n", host,
			     runs, version, runs, text_of(why, "error", error));
	} else if (is(d, "verdict", "update")) {
		r = why_update(s, d, host, now, &b, e);
	} else {
		r = buf_addf(&b, e, "%s %ss %s. ", host, runs, version);
		if (r == 0)
			r = check_text(d, now, &b, e);
	}
	if (r == 0)
		r = draw_pending(s, now, &b, e);
	if (r == 0)
		r = draw_notes(json_is_object(d) ? d : why, &b, e);
	if (r == 0)
		r = draw_mirrors(json_is_object(d) ? d : why, &b, e);
	if (r == 0 && when(s, "next_check") > now)
		r = buf_addf(&b, e, "Looks again %s.\n", moment(when(s, "next_check"), now, error));
	return r == 0 ? draw_fold(&b, out, e) : r;
}

static int draw_event(const json_t *ev, int64_t now, struct buf *out, struct err *e)
{
	char at[64], version[TEXT_MAX], kind[TEXT_MAX], from[TEXT_MAX], text[TEXT_MAX], n[32];
	int r;

	(void)text_time(when(ev, "when"), now, at, sizeof(at));
	(void)text_of(ev, "event", kind);
	for (char *p = strchr(kind, '-'); p; p = strchr(p, '-'))
		*p = ' ';
	r = buf_addf(out, e, "%4" PRIu64 "  %-18s %-12s %-11s", number(ev, "id"), at,
		     text_of(ev, "version", version), kind);
	if (r == 0 && has(ev, "from") && !is(ev, "event", "fell-back"))
		r = buf_addf(out, e, " from %s", text_of(ev, "from", from));
	else if (r == 0 && has(ev, "from"))
		r = buf_addf(out, e, " after %s", text_of(ev, "from", from));
	if (r == 0 && number(ev, "fetched"))
		r = buf_addf(out, e, "%s %s fetched", has(ev, "from") ? ";" : "",
			     text_bytes(number(ev, "fetched"), n, sizeof(n)));
	if (r == 0)
		r = buf_addf(out, e, "\n");
	if (r == 0 && has(ev, "text"))
		r = buf_addf(out, e, "      %s\n", text_of(ev, "text", text));
	return r;
}

static int draw_one(const json_t *ev, int64_t now, struct buf *out, struct err *e)
{
	char root[TEXT_MAX], boot[TEXT_MAX], n[32];
	int r = draw_event(ev, now, out, e);

	if (r == 0)
		r = buf_addf(out, e, "      root hash %s\n", text_of(ev, "root_hash", root));
	if (r == 0 && has(ev, "boot_id"))
		r = buf_addf(out, e, "      boot      %s\n", text_of(ev, "boot_id", boot));
	if (r == 0 && number(ev, "written"))
		r = buf_addf(out, e, "      written   %s\n",
			     text_bytes(number(ev, "written"), n, sizeof(n)));
	return r;
}

static int history_text(const json_t *events, uint64_t id, int64_t now, struct buf *out,
			struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(events); i++) {
		const json_t *ev = json_array_get(events, i);

		if (id == 0)
			r = draw_event(ev, now, out, e);
		else if (number(ev, "id") == id)
			return draw_one(ev, now, out, e);
	}
	if (r == 0 && id != 0)
		return err_set(e, ERR_INPUT, ENOENT, "no event %" PRIu64 " (proactl history)", id);
	if (r == 0 && json_array_size(events) == 0)
		r = buf_addf(out, e, "Nothing has happened here yet.\n");
	return r;
}

int draw_history(const json_t *events, uint64_t id, int64_t now, struct buf *out, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = history_text(events, id, now, &b, e);

	return r == 0 ? draw_fold(&b, out, e) : r;
}

int draw_staged(const json_t *result, struct buf *out, struct err *e)
{
	char version[TEXT_MAX], slot[TEXT_MAX], fetched[32], written[32], kept[32];
	int r;

	(void)text_of(result, "version", version);
	if (json_is_true(json_object_get(result, "nothing")))
		return buf_addf(out, e, "staged     %s already\n", version);
	r = buf_addf(out, e, "staged     %s in slot %s, proved: %s fetched, %s written", version,
		     text_of(result, "slot", slot),
		     text_bytes(number(result, "fetched"), fetched, sizeof(fetched)),
		     text_bytes(number(result, "written"), written, sizeof(written)));
	if (r == 0 && number(result, "kept"))
		r = buf_addf(out, e, ", %s kept",
			     text_bytes(number(result, "kept"), kept, sizeof(kept)));
	return r == 0 ? buf_addf(out, e, "\n") : r;
}

int draw_applied(const json_t *result, struct buf *out, struct err *e)
{
	char version[TEXT_MAX];

	(void)text_of(result, "version", version);
	if (json_is_true(json_object_get(result, "nothing")))
		return buf_addf(out, e, "applied    %s already\n", version);
	return buf_addf(out, e, "applied    %s boots next\n", version);
}
