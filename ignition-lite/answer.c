/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/answer.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

enum { LENGTH_DIGITS = 18, CHUNK_DIGITS = 15 };

void ign_answer_done(struct ign_answer *a)
{
	buf_done(&a->line);
	buf_done(&a->location);
}

static int bad(const char *why, struct err *e)
{
	return err_set(e, ERR_RETRY, EPROTO, "the server's answer is no valid HTTP/1.1: %s", why);
}

/* --- the head --- */

static int take_status(struct ign_answer *a, const char *s, struct err *e)
{
	if (strncmp(s, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)s[7]) || s[8] != ' ')
		return bad("it does not begin with HTTP/1.x", e);
	for (unsigned i = 9; i < 12; i++)
		if (!isdigit((unsigned char)s[i]))
			return bad("it has no status", e);
	if ((s[12] && s[12] != ' ') || s[9] == '0')
		return bad("it has no status", e);
	a->status = (unsigned)((s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0'));
	a->state = IGN_ANSWER_FIELDS;
	return 0;
}

/* Digits of a base up to so many, and then `end` or blanks; false for anything else. */
static bool take_number(const char *s, unsigned base, size_t most, const char *end, uint64_t *ret)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; isxdigit((unsigned char)s[n]); n++) {
		unsigned digit = isdigit((unsigned char)s[n])
					 ? (unsigned)(s[n] - '0')
					 : (unsigned)(tolower((unsigned char)s[n]) - 'a') + 10;

		if (digit >= base || n >= most)
			return false;
		v = v * base + digit;
	}
	if (n == 0 || !strchr(end, s[n]))
		return false;
	*ret = v;
	return true;
}

static int take_length(struct ign_answer *a, const char *value, struct err *e)
{
	uint64_t v;

	if (!take_number(value, 10, LENGTH_DIGITS, "", &v))
		return bad("its Content-Length is none", e);
	if (a->has_length && v != a->left)
		return bad("it has two lengths", e);
	a->has_length = true;
	a->left = v;
	return 0;
}

static int take_value(struct ign_answer *a, const char *name, size_t n, const char *value,
		      struct err *e)
{
	if (n == 14 && strncasecmp(name, "Content-Length", n) == 0)
		return take_length(a, value, e);
	if (n == 17 && strncasecmp(name, "Transfer-Encoding", n) == 0) {
		if (a->chunked || strcasecmp(value, "chunked") != 0)
			return bad("it is encoded in a way that was not asked for", e);
		a->chunked = true;
	}
	if (n == 8 && strncasecmp(name, "Location", n) == 0 && a->location.n == 0)
		return buf_add(&a->location, value, strlen(value), e);
	return 0;
}

static int take_field(struct ign_answer *a, char *s, size_t length, struct err *e)
{
	size_t n = 0;
	char *value, *end = s + length;

	while (s[n] > ' ' && s[n] < 0x7f && s[n] != ':')
		n++;
	if (n == 0 || s[n] != ':')
		return bad("a header has no name", e);
	for (value = s + n + 1; *value == ' ' || *value == '\t'; value++)
		;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	for (const char *p = value; p < end; p++)
		if ((*p >= 0 && *p < ' ' && *p != '\t') || *p == 0x7f)
			return bad("a header holds control characters", e);
	return take_value(a, s, n, value, e);
}

static void head_ended(struct ign_answer *a)
{
	if (a->status < 200 && a->status != 101) { /* only a hint; the answer follows */
		a->state = IGN_ANSWER_STATUS;
		a->has_length = a->chunked = false;
		a->left = 0;
		a->location.n = 0;
		return;
	}
	a->headed = true;
	if (a->status == 204 || a->status == 304 || (a->connect && a->status / 100 == 2))
		a->state = IGN_ANSWER_DONE;
	else if (a->chunked)
		a->state = IGN_ANSWER_CHUNK_SIZE;
	else if (a->has_length)
		a->state = a->left > 0 ? IGN_ANSWER_LENGTH : IGN_ANSWER_DONE;
	else
		a->state = IGN_ANSWER_CLOSE;
}

/* --- chunks --- */

static int take_chunk_size(struct ign_answer *a, const char *s, struct err *e)
{
	if (!take_number(s, 16, CHUNK_DIGITS, "; \t", &a->left))
		return bad("the size of a chunk is none", e);
	a->state = a->left > 0 ? IGN_ANSWER_CHUNK : IGN_ANSWER_TRAILER;
	return 0;
}

static int take_line(struct ign_answer *a, struct err *e)
{
	char *s = a->line.p;
	size_t n = a->line.n;

	if (n > 0 && s[n - 1] == '\r')
		s[--n] = '\0';
	if (memchr(s, '\0', n))
		return bad("it holds a NUL", e);
	switch ((int)a->state) {
	case IGN_ANSWER_STATUS:
		return take_status(a, s, e);
	case IGN_ANSWER_FIELDS:
		if (n > 0)
			return take_field(a, s, n, e);
		head_ended(a);
		return 0;
	case IGN_ANSWER_CHUNK_SIZE:
		return take_chunk_size(a, s, e);
	case IGN_ANSWER_CHUNK_END:
		a->state = IGN_ANSWER_CHUNK_SIZE;
		return n == 0 ? 0 : bad("a chunk is longer than its size", e);
	default: /* the trailer */
		if (n == 0)
			a->state = IGN_ANSWER_DONE;
		return 0;
	}
}

/* Up to the next line feed; *ret is how many bytes that were. */
static int add_line(struct ign_answer *a, const char *p, size_t n, size_t *ret, struct err *e)
{
	const char *nl = memchr(p, '\n', n);
	size_t take = nl ? (size_t)(nl - p) : n;
	int r;

	a->head_n += take + 1;
	if (a->line.n + take > IGN_ANSWER_LINE_MAX || a->head_n > IGN_ANSWER_HEAD_MAX)
		return bad("its headers do not end", e);
	r = buf_reserve(&a->line, take + 1, e);
	if (r == 0)
		r = buf_add(&a->line, p, take, e);
	*ret = take + (nl != NULL);
	if (r < 0 || !nl)
		return r;
	a->line.p[a->line.n] = '\0';
	r = take_line(a, e);
	a->line.n = 0;
	/* many small chunks are no long head */
	if (a->state == IGN_ANSWER_CHUNK)
		a->head_n = 0;
	return r;
}

static int add_body(struct ign_answer *a, const char *p, size_t n, const struct ign_answer_sink *k,
		    size_t *ret, struct err *e)
{
	size_t take = a->state != IGN_ANSWER_CLOSE && n > a->left ? (size_t)a->left : n;
	int r = k->add(k->arg, p, take, e);

	*ret = take;
	if (r < 0 || a->state == IGN_ANSWER_CLOSE)
		return r < 0 ? r : 0;
	a->left -= take;
	if (a->left == 0)
		a->state = a->state == IGN_ANSWER_CHUNK ? IGN_ANSWER_CHUNK_END : IGN_ANSWER_DONE;
	return 0;
}

int ign_answer_add(struct ign_answer *a, const char *p, size_t n,
		   const struct ign_answer_sink *sink, struct err *e)
{
	while (n > 0 && a->state != IGN_ANSWER_DONE) {
		bool body = a->state == IGN_ANSWER_LENGTH || a->state == IGN_ANSWER_CHUNK ||
			    a->state == IGN_ANSWER_CLOSE;
		size_t took = 0;
		int r = body ? add_body(a, p, n, sink, &took, e) : add_line(a, p, n, &took, e);

		if (r < 0)
			return r;
		p += took;
		n -= took;
	}
	return 0;
}

int ign_answer_end(const struct ign_answer *a, struct err *e)
{
	if (a->state == IGN_ANSWER_DONE || a->state == IGN_ANSWER_CLOSE)
		return 0;
	return err_set(e, ERR_RETRY, EPIPE, "the server ends the connection in the middle of %s",
		       a->headed ? "the contents" : "its answer");
}
