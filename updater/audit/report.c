/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { CHECKS_MAX = 1024, TEXT_MAX = 600, WIDTH = 80 };

static const char *const verdicts[] = {
	[REPORT_PASS] = "pass",     [REPORT_WARN] = "warn",
	[REPORT_FAIL] = "fail",     [REPORT_UNREADABLE] = "unreadable",
	[REPORT_ABSENT] = "absent",
};

/* In the order in which they stand in a report; the number is that of the list. */
static const struct {
	const char *area, *title;
} areas[] = {
	{ "firmware", "Firmware" },
	{ "loader", "Boot loader" },
	{ "uki", "Kernel image (UKI)" },
	{ "cmdline", "Command line" },
	{ "usr", "/usr" },
	{ "release", "Release" },
	{ "tpm", "TPM" },
	{ "kernel", "Kernel" },
	{ "history", "History" },
	{ "proa", "Proa itself" },
	{ "next", "Next boot" },
	{ "attest", "Attestation" },
};
enum { AREAS = sizeof(areas) / sizeof(areas[0]) };

const char *report_verdict_name(enum report_verdict v)
{
	return verdicts[v];
}

int report_verdict_by_name(const char *name, enum report_verdict *ret, struct err *e)
{
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
		if (strcmp(verdicts[i], name) == 0) {
			*ret = (enum report_verdict)i;
			return 0;
		}
	return err_set(e, ERR_INPUT, EINVAL, "no verdict is called '%.40s'", name);
}

static size_t area_of(const char *id)
{
	size_t n = strcspn(id, "."), i = 0;

	while (i < AREAS && (strlen(areas[i].area) != n || strncmp(areas[i].area, id, n) != 0))
		i++;
	return i;
}

int report_new(struct report *ret, struct err *e)
{
	struct report r = { .doc = json_object(), .checks = json_array() };
	int res = json_put_u64(r.doc, "proa_audit", REPORT_FORMAT, e);

	if (res >= 0)
		res = json_put(r.doc, "checks", json_incref(r.checks), e);
	json_decref(r.checks);
	if (res < 0) {
		json_decref(r.doc);
		return res;
	}
	*ret = r;
	return 0;
}

void report_done(struct report *r)
{
	json_decref(r->doc);
	r->doc = r->checks = NULL;
}

static int add(struct report *r, const char *id, enum report_verdict v, const char *text,
	       json_t *evidence, struct err *e)
{
	AUTO_JSON *c = json_object();
	int res = json_put_str(c, "id", id, e);

	if (res >= 0)
		res = json_put_str(c, "verdict", verdicts[v], e);
	if (res >= 0)
		res = json_put_str(c, "says", text, e);
	if (res >= 0 && evidence)
		res = json_put(c, "evidence", json_incref(evidence), e);
	return res < 0 ? res : json_push(r->checks, json_incref(c), e);
}

int report_add(struct report *r, const char *id, enum report_verdict v, json_t *evidence,
	       struct err *e, const char *fmt, ...)
{
	char raw[TEXT_MAX], text[TEXT_MAX];
	va_list ap;
	int n, res;

	va_start(ap, fmt);
	n = vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	if (n < 0)
		raw[0] = '\0';
	(void)text_clean(raw, strlen(raw), text, sizeof(text));
	res = add(r, id, v, text, evidence, e);
	json_decref(evidence);
	return res;
}

int report_unreadable(struct report *r, const char *id, const struct err *why, struct err *e)
{
	return report_add(r, id, REPORT_UNREADABLE, NULL, e, "cannot be read: %s", why->text);
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static enum report_verdict verdict_of(const json_t *check)
{
	enum report_verdict v = REPORT_UNREADABLE;

	(void)!report_verdict_by_name(text_of(check, "verdict"), &v, NULL);
	return v;
}

/* Smaller is worse. */
static int rank(enum report_verdict v)
{
	static const int ranks[] = {
		[REPORT_FAIL] = 0, [REPORT_UNREADABLE] = 1, [REPORT_WARN] = 2,
		[REPORT_PASS] = 3, [REPORT_ABSENT] = 4,
	};

	return ranks[v];
}

enum report_verdict report_verdict(const struct report *r)
{
	enum report_verdict worst = REPORT_PASS;
	const json_t *c;
	size_t i;

	json_array_foreach(r->checks, i, c) if (rank(verdict_of(c)) < rank(worst)) worst =
		verdict_of(c);
	return worst;
}

struct place {
	const json_t *check;
	size_t at;
};

static int by_weight(const void *pa, const void *pb)
{
	const struct place *a = pa, *b = pb;
	int d = rank(verdict_of(a->check)) - rank(verdict_of(b->check));

	if (d == 0)
		d = (int)area_of(text_of(a->check, "id")) - (int)area_of(text_of(b->check, "id"));
	return d != 0 ? d : (a->at > b->at) - (a->at < b->at);
}

/* The checks as an array in order; NULL without memory. */
static struct place *order(const json_t *checks)
{
	size_t n = json_array_size(checks);
	struct place *p = calloc(n + 1, sizeof(*p));

	for (size_t i = 0; p && i < n; i++)
		p[i] = (struct place){ json_array_get(checks, i), i };
	if (p)
		qsort(p, n, sizeof(*p), by_weight);
	return p;
}

int report_finish(struct report *r, struct err *e)
{
	AUTO_FREE struct place *p = order(r->checks);
	AUTO_JSON *sorted = json_array();
	AUTO_JSON *counts = json_object();
	size_t n = json_array_size(r->checks), count[5] = { 0 };
	int res = 0;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; res >= 0 && i < n; i++) {
		res = json_push(sorted, json_deep_copy(p[i].check), e);
		count[verdict_of(p[i].check)]++;
	}
	for (size_t i = 0; res >= 0 && i < 5; i++)
		res = json_put_u64(counts, verdicts[i], count[i], e);
	if (res >= 0)
		res = json_put_str(r->doc, "verdict", verdicts[report_verdict(r)], e);
	if (res >= 0)
		res = json_put(r->doc, "counts", json_incref(counts), e);
	if (res >= 0)
		res = json_put(r->doc, "checks", json_incref(sorted), e);
	if (res >= 0)
		r->checks = json_object_get(r->doc, "checks");
	return res;
}

static int check_shape(const json_t *checks, const char *what, struct err *e)
{
	const json_t *c;
	size_t i;

	if (json_array_size(checks) > CHECKS_MAX)
		return err_set(e, ERR_INPUT, EFBIG, "%s: more than %d checks", what, CHECKS_MAX);
	json_array_foreach(checks, i, c)
	{
		enum report_verdict v;
		const char *text;
		int r = json_get_str(c, "id", what, &text, e);

		if (r >= 0)
			r = json_get_str(c, "says", what, &text, e);
		if (r >= 0)
			r = json_get_str(c, "verdict", what, &text, e);
		if (r >= 0)
			r = report_verdict_by_name(text, &v, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int report_read(const void *p, size_t n, const char *what, struct report *ret, struct err *e)
{
	const struct json_limits lim = { .bytes = REPORT_BYTES_MAX, .depth = 16 };
	AUTO_JSON *j = NULL;
	uint64_t format;
	json_t *checks;
	int r = json_read(p, n, &lim, what, &j, e);

	if (r >= 0)
		r = json_get_u64(j, "proa_audit", what, UINT32_MAX, &format, e);
	if (r >= 0 && format != REPORT_FORMAT)
		return err_set(e, ERR_INPUT, EPROTO, "%s: format %llu is not known here", what,
			       (unsigned long long)format);
	if (r >= 0)
		r = json_get_arr(j, "checks", what, &checks, e);
	if (r >= 0)
		r = check_shape(checks, what, e);
	if (r < 0)
		return r;
	ret->doc = TAKE(j);
	ret->checks = checks;
	return 0;
}

/* ---- for people ---- */

/* text broken at spaces so that no line is longer than WIDTH, every line behind `indent` spaces. */
static int wrap(const char *text, size_t indent, struct buf *out, struct err *e)
{
	int r = 0;

	while (r >= 0 && *text) {
		size_t n = strlen(text), room = WIDTH - indent;

		if (n > room) {
			for (n = room; n > 0 && text[n] != ' ';)
				n--;
			n = n ? n : strcspn(text, " ");
		}
		r = buf_addf(out, e, "%*s%.*s\n", (int)indent, "", (int)n, text);
		text += n;
		text += strspn(text, " ");
	}
	return r;
}

/* A string as it is but for long hex, of which the beginning says enough. */
static int add_text(const char *s, struct buf *line, struct err *e)
{
	bool hex = strlen(s) > 40 && strspn(s, "0123456789abcdef") == strlen(s);

	return buf_addf(line, e, hex ? " %.16s..." : " %s", s);
}

/* A string, a number, or the strings in a list or an object. */
static int add_plain(json_t *v, struct buf *line, struct err *e)
{
	const char *key;
	json_t *x;
	size_t i;
	int r = 0;

	if (json_is_string(v))
		return add_text(json_string_value(v), line, e);
	json_array_foreach(v, i, x)
	{
		if (r >= 0 && json_is_string(x))
			r = add_text(json_string_value(x), line, e);
	}
	json_object_foreach(v, key, x)
	{
		if (r >= 0 && json_is_string(x))
			r = add_text(json_string_value(x), line, e);
	}
	if (r < 0 || json_is_array(v) || json_is_object(v))
		return r;
	r = buf_add(line, " ", 1, e);
	return r < 0 ? r : json_write(v, false, line, e);
}

/* The members of an object, with a comma between them. */
static int add_members(json_t *o, struct buf *line, struct err *e)
{
	const char *key, *comma = "";
	json_t *v;
	int r = 0;

	json_object_foreach(o, key, v)
	{
		if ((json_is_array(v) && json_array_size(v) == 0) ||
		    (json_is_object(v) && json_object_size(v) == 0))
			continue;
		r = buf_addf(line, e, "%s %s", comma, key);
		if (r >= 0)
			r = add_plain(v, line, e);
		if (r < 0)
			return r;
		comma = ",";
	}
	return r;
}

/* "key: value" in lines of their own. */
static int draw_value(const char *key, json_t *v, struct buf *out, struct err *e)
{
	AUTO_BUF line = BUF_INIT;
	char clean[800];
	int r = buf_addf(&line, e, json_is_object(v) ? "%s:" : "%s: ", key);

	if (r >= 0 && json_is_string(v))
		r = buf_addf(&line, e, "%s", json_string_value(v));
	else if (r >= 0 && json_is_object(v))
		r = add_members(v, &line, e);
	else if (r >= 0)
		r = json_write(v, false, &line, e);
	return r < 0 ? r : wrap(text_clean(line.p, line.n, clean, sizeof(clean)), 14, out, e);
}

static int draw_evidence(json_t *evidence, struct buf *out, struct err *e)
{
	const char *key;
	json_t *v, *x;
	size_t i;
	int r = 0;

	json_object_foreach(evidence, key, v)
	{
		if (r >= 0 && !json_is_object(json_array_get(v, 0)))
			r = draw_value(key, v, out, e);
		json_array_foreach(v, i, x)
		{
			if (r >= 0 && json_is_object(x))
				r = draw_value(key, x, out, e);
		}
	}
	return r;
}

static int draw_check(const json_t *c, bool all, struct buf *out, struct err *e)
{
	char says[TEXT_MAX], id[64];
	enum report_verdict v = verdict_of(c);
	const char *raw = text_of(c, "says"), *raw_id = text_of(c, "id");
	int r = buf_addf(out, e, "  %-10s  %s\n", verdicts[v],
			 text_clean(raw_id, strlen(raw_id), id, sizeof(id)));

	if (r >= 0)
		r = wrap(text_clean(raw, strlen(raw), says, sizeof(says)), 14, out, e);
	if (r >= 0 && (all || v == REPORT_FAIL))
		r = draw_evidence(json_object_get(c, "evidence"), out, e);
	return r;
}

static int draw_head(const struct report *r, struct buf *out, struct err *e)
{
	static const char *const sums[] = {
		[REPORT_PASS] = "Nothing here contradicts what should run.",
		[REPORT_WARN] = "Nothing contradicts what should run; some could be stronger.",
		[REPORT_FAIL] = "Evidence contradicts what should run.",
		[REPORT_UNREADABLE] = "Not everything could be read, so there is no verdict.",
		[REPORT_ABSENT] = "",
	};
	size_t count[5] = { 0 };
	char host[80], time[40];
	const json_t *c;
	size_t i;
	int res;

	json_array_foreach(r->checks, i, c) count[verdict_of(c)]++;
	res = buf_addf(out, e, "%s, %s: %s\n",
		       text_clean(text_of(r->doc, "host"), strlen(text_of(r->doc, "host")), host,
				  sizeof(host)),
		       text_clean(text_of(r->doc, "time"), strlen(text_of(r->doc, "time")), time,
				  sizeof(time)),
		       verdicts[report_verdict(r)]);
	if (res >= 0)
		res = wrap(sums[report_verdict(r)], 0, out, e);
	return res < 0 ? res
		       : buf_addf(out, e,
				  "%zu failed, %zu unreadable, %zu warnings, %zu passed, %zu "
				  "absent\n",
				  count[REPORT_FAIL], count[REPORT_UNREADABLE], count[REPORT_WARN],
				  count[REPORT_PASS], count[REPORT_ABSENT]);
}

int report_draw(const struct report *r, bool all, struct buf *out, struct err *e)
{
	AUTO_FREE struct place *p = order(r->checks);
	size_t n = json_array_size(r->checks), last = AREAS + 1;
	bool problems = true;
	int res = draw_head(r, out, e);

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; res >= 0 && i < n; i++) {
		size_t area = area_of(text_of(p[i].check, "id"));
		bool problem = rank(verdict_of(p[i].check)) < rank(REPORT_PASS);

		if (area != last || problem != problems)
			res = buf_addf(out, e, "\n%s\n", area < AREAS ? areas[area].title : "?");
		last = area;
		problems = problem;
		if (res >= 0)
			res = draw_check(p[i].check, all, out, e);
	}
	return res;
}

/* ---- two reports ---- */

static const json_t *find_check(const struct report *r, const char *id)
{
	const json_t *c;
	size_t i;

	json_array_foreach(r->checks, i, c) if (strcmp(text_of(c, "id"), id) == 0) return c;
	return NULL;
}

static int diff_evidence(const char *id, json_t *a, const json_t *b, struct buf *out, struct err *e)
{
	const char *key;
	json_t *v;
	int r = 0;

	json_object_foreach(a, key, v)
	{
		const json_t *w = json_object_get(b, key);
		AUTO_BUF line = BUF_INIT;
		char clean[800];

		if (w && json_equal(v, w))
			continue;
		r = buf_addf(&line, e, "%s: %s: ", id, key);
		if (r >= 0)
			r = json_is_string(v) ? buf_addf(&line, e, "%s", json_string_value(v))
					      : json_write(v, false, &line, e);
		if (r >= 0)
			r = buf_addf(&line, e, " -> ");
		if (r >= 0 && w)
			r = json_is_string(w) ? buf_addf(&line, e, "%s", json_string_value(w))
					      : json_write(w, false, &line, e);
		if (r >= 0)
			r = buf_addf(out, e, "  %s%s\n",
				     text_clean(line.p, line.n, clean, sizeof(clean)),
				     w ? "" : "nothing");
		if (r < 0)
			return r;
	}
	return r;
}

static int diff_check(const json_t *a, const json_t *b, struct buf *out, struct err *e)
{
	const char *id = text_of(a, "id");
	int r = 0;

	if (!b)
		return buf_addf(out, e, "%s: %s -> not checked\n", id, text_of(a, "verdict"));
	if (strcmp(text_of(a, "verdict"), text_of(b, "verdict")) != 0)
		r = buf_addf(out, e, "%s: %s -> %s: %s\n", id, text_of(a, "verdict"),
			     text_of(b, "verdict"), text_of(b, "says"));
	return r < 0 ? r
		     : diff_evidence(id, json_object_get(a, "evidence"),
				     json_object_get(b, "evidence"), out, e);
}

int report_diff(const struct report *a, const struct report *b, struct buf *out, struct err *e)
{
	size_t before = out->n, i;
	const json_t *c;
	int r = 0;

	json_array_foreach(a->checks, i, c)
	{
		r = diff_check(c, find_check(b, text_of(c, "id")), out, e);
		if (r < 0)
			return r;
	}
	json_array_foreach(b->checks, i, c)
	{
		if (!find_check(a, text_of(c, "id")))
			r = buf_addf(out, e, "%s: not checked -> %s: %s\n", text_of(c, "id"),
				     text_of(c, "verdict"), text_of(c, "says"));
		if (r < 0)
			return r;
	}
	return out->n != before;
}
