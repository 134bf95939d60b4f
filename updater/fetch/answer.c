/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A slice of a header line. */
struct text {
	const char *p;
	size_t n;
};

static struct text trim(struct text t)
{
	while (t.n > 0 && (t.p[0] == ' ' || t.p[0] == '\t')) {
		t.p++;
		t.n--;
	}
	while (t.n > 0 && strchr(" \t\r\n", t.p[t.n - 1]) && t.p[t.n - 1])
		t.n--;
	return t;
}

static bool is(struct text t, const char *s)
{
	return t.n == strlen(s) && strncasecmp(t.p, s, t.n) == 0;
}

static bool starts(struct text t, const char *s)
{
	return t.n >= strlen(s) && strncasecmp(t.p, s, strlen(s)) == 0;
}

/* Digits from the front of *t, at most WIRE_SIZE_MAX. */
static bool number(struct text *t, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < t->n && t->p[i] >= '0' && t->p[i] <= '9'; i++) {
		unsigned d = (unsigned)(t->p[i] - '0');

		if (v > (WIRE_SIZE_MAX - d) / 10)
			return false;
		v = v * 10 + d;
	}
	if (i == 0)
		return false;
	t->p += i;
	t->n -= i;
	*ret = v;
	return true;
}

static bool skip(struct text *t, char c)
{
	if (t->n == 0 || t->p[0] != c)
		return false;
	t->p++;
	t->n--;
	return true;
}

/* "bytes 0-499/1234", "bytes 0-499/ *", and for 416 "bytes * /1234" (without the blanks). */
static void take_range(struct fetch_answer *a, struct text v)
{
	uint64_t from = 0, last = 0, total = WIRE_UNKNOWN;
	bool unsatisfied = false;

	if (a->has_range || !starts(v, "bytes ")) {
		a->bad = true;
		return;
	}
	v.p += 6;
	v.n -= 6;
	v = trim(v);
	if (skip(&v, '*'))
		unsatisfied = true;
	else if (!number(&v, &from) || !skip(&v, '-') || !number(&v, &last) || last < from)
		a->bad = true;
	if (!skip(&v, '/') || (!skip(&v, '*') && !number(&v, &total)) || v.n > 0)
		a->bad = true;
	if (!unsatisfied && total != WIRE_UNKNOWN && last >= total)
		a->bad = true;
	if (unsatisfied && a->status != 416)
		a->bad = true;
	a->has_range = true;
	a->from = from;
	a->last = last;
	a->total = total;
}

static void take_length(struct fetch_answer *a, struct text v)
{
	uint64_t n;

	if (!number(&v, &n) || v.n > 0 || (a->has_length && a->length != n)) {
		a->bad = true;
		return;
	}
	a->has_length = true;
	a->length = n;
}

static void take_etag(struct fetch_answer *a, struct text v)
{
	char etag[WIRE_ETAG_MAX + 1];

	a->etag[0] = '\0';
	if (v.n > WIRE_ETAG_MAX || memchr(v.p, '\0', v.n))
		return;
	memcpy(etag, v.p, v.n);
	etag[v.n] = '\0';
	if (wire_etag_valid(etag))
		memcpy(a->etag, etag, v.n + 1);
}

static void take_status(struct fetch_answer *a, struct text line)
{
	const char *sp = memchr(line.p, ' ', line.n);
	uint64_t status = 0;
	struct text v;

	*a = (struct fetch_answer){ .total = WIRE_UNKNOWN };
	if (sp) {
		v = trim((struct text){ sp, line.n - (size_t)(sp - line.p) });
		if (!number(&v, &status) || status > 999)
			status = 0;
	}
	a->status = (unsigned)status;
}

static void take_field(struct fetch_answer *a, struct text name, struct text v)
{
	if (is(name, "content-length"))
		take_length(a, v);
	else if (is(name, "content-range"))
		take_range(a, v);
	else if (is(name, "etag"))
		take_etag(a, v);
	else if (is(name, "content-type"))
		a->multipart = starts(v, "multipart/byteranges");
	else if (is(name, "content-encoding"))
		a->encoded = v.n > 0 && !is(v, "identity");
	else if (is(name, "transfer-encoding"))
		a->chunked = true;
	else if (is(name, "accept-ranges"))
		a->offers_ranges = is(v, "bytes");
	else if (is(name, "location"))
		a->has_location = v.n > 0;
}

bool fetch_answer_line(struct fetch_answer *a, const char *p, size_t n)
{
	struct text line = { p, n };
	const char *colon;

	if (starts(line, "HTTP/"))
		take_status(a, line);
	if (n > SIZE_MAX - a->bytes)
		n = SIZE_MAX - a->bytes;
	a->bytes += n;
	line = trim(line);
	if (line.n == 0)
		return true;
	colon = memchr(line.p, ':', line.n);
	if (colon)
		take_field(a, (struct text){ line.p, (size_t)(colon - line.p) },
			   trim((struct text){ colon + 1, line.n - (size_t)(colon + 1 - line.p) }));
	return false;
}

bool fetch_answer_redirects(const struct fetch_answer *a)
{
	return a->has_location && (a->status == 301 || a->status == 302 || a->status == 303 ||
				   a->status == 307 || a->status == 308);
}

static const char *status_text(unsigned status)
{
	switch (status) {
	case 401:
		return " Unauthorized";
	case 403:
		return " Forbidden";
	case 404:
		return " Not Found";
	case 407:
		return " Proxy Authentication Required";
	case 410:
		return " Gone";
	case 429:
		return " Too Many Requests";
	case 500:
		return " Internal Server Error";
	case 502:
		return " Bad Gateway";
	case 503:
		return " Service Unavailable";
	case 504:
		return " Gateway Timeout";
	default:
		return "";
	}
}

static int judge_status(const struct fetch_answer *a, const struct fetch_want *w, struct err *e)
{
	unsigned s = a->status;

	if (s >= 500 || s == 408 || s == 425 || s == 429)
		return err_set(e, ERR_RETRY, EAGAIN, "the server says %u%s", s, status_text(s));
	if (s == 416) {
		if (a->has_range && !a->bad && a->total != WIRE_UNKNOWN)
			return err_set(e, ERR_REFUSED, ERANGE,
				       "byte %" PRIu64 " was asked for, the file has %" PRIu64
				       " (416)",
				       w->next, a->total);
		return err_set(e, ERR_REFUSED, ERANGE,
			       "the file has no byte %" PRIu64 " (416 Range Not Satisfiable)",
			       w->next);
	}
	if (s >= 400)
		return err_set(e, ERR_REFUSED, s == 404 || s == 410 ? ENOENT : EACCES,
			       "the server says %u%s", s, status_text(s));
	return err_set(e, ERR_REFUSED, EPROTO, "the server gave the unexpected answer %u", s);
}

/* A 206: exactly the range that was asked for, nothing else. */
static int judge_part(const struct fetch_answer *a, const struct fetch_want *w,
		      struct fetch_body *b, struct err *e)
{
	const struct wire_get *g = w->get;

	if (!w->ranged)
		return err_set(e, ERR_REFUSED, EPROTO,
			       "the server sent a part (206) though the whole was asked for");
	if (a->multipart)
		return err_set(e, ERR_REFUSED, EPROTO,
			       "the server sent a multipart answer to a single range");
	if (!a->has_range)
		return err_set(e, ERR_REFUSED, EPROTO, "a 206 without Content-Range");
	b->start = a->from;
	b->stop = a->last + 1;
	b->total = a->total;
	b->ranged = true;
	if (b->start != w->next || (g->length && b->stop > g->offset + g->length))
		return err_set(e, ERR_REFUSED, EPROTO,
			       "the server sent bytes %" PRIu64 "-%" PRIu64
			       ", another range than the one asked for",
			       a->from, a->last);
	if (g->length ? b->stop < g->offset + g->length
		      : a->total != WIRE_UNKNOWN && b->stop != a->total)
		return err_set(e, ERR_REFUSED, EPROTO,
			       "the range ends at byte %" PRIu64 " of %" PRIu64
			       ", before the end of what was asked for",
			       a->last, a->total == WIRE_UNKNOWN ? b->stop : a->total);
	if (!g->length && a->total == WIRE_UNKNOWN)
		b->total = b->stop;
	if (a->has_length && !a->chunked && a->length != b->stop - b->start)
		return err_set(e, ERR_REFUSED, EPROTO,
			       "Content-Length %" PRIu64 " contradicts Content-Range", a->length);
	return 0;
}

static int judge_whole(const struct fetch_answer *a, const struct fetch_want *w,
		       struct fetch_body *b, struct err *e)
{
	*b = (struct fetch_body){ .stop = WIRE_UNKNOWN,
				  .total = WIRE_UNKNOWN,
				  .ranged = !w->ranged && a->offers_ranges };
	if (a->has_length && !a->chunked)
		b->stop = b->total = a->length;
	if (w->ranged && !w->known && (w->get->flags & WIRE_GET_RANGED_ONLY))
		return err_set(e, ERR_REFUSED, EOPNOTSUPP,
			       "the server does not serve byte ranges (200 instead of 206)");
	if (w->get->length && b->total < w->get->offset + w->get->length)
		return err_set(e, ERR_REFUSED, ERANGE,
			       "the file has %" PRIu64 " bytes and ends before the range asked for",
			       b->total);
	return 0;
}

/* The same file as before, and the one the agent insists on? */
static int judge_identity(const struct fetch_answer *a, const struct fetch_want *w,
			  const struct fetch_body *b, struct err *e)
{
	const char *insist = w->get->etag;

	if (insist[0] && strcmp(insist, a->etag) != 0)
		return err_set(
			e, ERR_REFUSED, ESTALE,
			"the file on the server is another one: its ETag is %.80s, not %.80s",
			a->etag[0] ? a->etag : "missing", insist);
	if (!w->known)
		return 0;
	if (w->etag[0] && strcmp(w->etag, a->etag) != 0)
		return err_set(e, ERR_RETRY, ESTALE,
			       "the file changed on the server while it was fetched "
			       "(ETag %.80s, before %.80s)",
			       a->etag[0] ? a->etag : "missing", w->etag);
	if (w->total != WIRE_UNKNOWN && b->total != WIRE_UNKNOWN && w->total != b->total)
		return err_set(e, ERR_RETRY, ESTALE,
			       "the file changed on the server while it was fetched "
			       "(%" PRIu64 " bytes, before %" PRIu64 ")",
			       b->total, w->total);
	return 0;
}

int fetch_answer_judge(const struct fetch_answer *a, const struct fetch_want *w,
		       struct fetch_body *ret, struct err *e)
{
	struct fetch_body b = { .start = 0 };
	uint64_t size;
	int r;

	if (a->status != 200 && a->status != 206)
		return judge_status(a, w, e);
	if (a->bad || (a->status == 200 && a->has_range))
		return err_set(e, ERR_REFUSED, EPROTO,
			       "the server's Content-Length or Content-Range makes no sense");
	if (a->encoded)
		return err_set(e, ERR_REFUSED, EPROTO,
			       "the server compressed its answer (Content-Encoding), which was "
			       "not asked for");
	r = a->status == 206 ? judge_part(a, w, &b, e) : judge_whole(a, w, &b, e);
	if (r < 0)
		return r;
	size = b.total != WIRE_UNKNOWN ? b.total : b.stop;
	if (size != WIRE_UNKNOWN && size > w->get->max_bytes)
		return err_set(e, ERR_REFUSED, EFBIG,
			       "the file has %" PRIu64 " bytes, at most %" PRIu64 " are allowed",
			       size, w->get->max_bytes);
	r = judge_identity(a, w, &b, e);
	if (r < 0)
		return r;
	*ret = b;
	return 0;
}

uint64_t fetch_backoff_ms(unsigned next_try, uint64_t retry_after_s, uint32_t random)
{
	uint64_t step = 100, wait;

	for (unsigned k = 2; k < next_try && step < 30000; k++)
		step *= 2;
	if (step > 30000)
		step = 30000;
	wait = step / 2 + random % (step / 2 + 1);
	if (retry_after_s > 0)
		wait += (retry_after_s < UINT32_MAX ? retry_after_s : UINT32_MAX) * 1000;
	return wait;
}
