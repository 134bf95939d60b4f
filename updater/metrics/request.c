/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "updater/metrics/metrics.h"

/* The request line up to its CR LF (or LF), or NULL while it is not there yet. */
static const char *line_end(const char *p, size_t n)
{
	const char *nl = memchr(p, '\n', n);

	return nl && nl > p && nl[-1] == '\r' ? nl - 1 : nl;
}

static bool head_ended(const char *p, size_t n)
{
	return memmem(p, n, "\r\n\r\n", 4) || memmem(p, n, "\n\n", 2);
}

static bool word_is(const char *p, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(p, word, n) == 0;
}

/* METHOD SP TARGET SP HTTP/1.x */
static enum metrics_request judge_line(const char *p, size_t n)
{
	const char *sp = memchr(p, ' ', n), *target, *end;
	size_t left, len;

	if (!sp)
		return METRICS_PLAIN;
	target = sp + 1;
	left = n - (size_t)(target - p);
	end = memchr(target, ' ', left);
	if (!end || left - (size_t)(end - target) < 7 || memcmp(end + 1, "HTTP/1", 6) != 0)
		return METRICS_PLAIN;
	if (!word_is(p, (size_t)(sp - p), "GET") && !word_is(p, (size_t)(sp - p), "HEAD"))
		return METRICS_REFUSED;
	len = (size_t)(end - target);
	for (size_t i = 0; i < len; i++)
		if (target[i] == '?')
			len = i;
	if (!word_is(target, len, "/") && !word_is(target, len, "/metrics"))
		return METRICS_UNKNOWN;
	return p[0] == 'G' ? METRICS_GET : METRICS_HEAD;
}

enum metrics_request metrics_request(const char *p, size_t n, bool end)
{
	const char *eol = n > 0 ? line_end(p, n) : NULL;
	enum metrics_request q;

	if (n > METRICS_REQUEST_MAX)
		return METRICS_REFUSED;
	if (!eol)
		return end ? METRICS_PLAIN : METRICS_MORE;
	q = judge_line(p, (size_t)(eol - p));
	if (q == METRICS_PLAIN || end || head_ended(p, n))
		return q;
	return METRICS_MORE;
}

int metrics_head(enum metrics_request q, size_t n, struct buf *ret, struct err *e)
{
	const char *status = "200 OK";

	if (q == METRICS_UNKNOWN)
		status = "404 Not Found";
	else if (q == METRICS_REFUSED)
		status = "405 Method Not Allowed\r\nAllow: GET, HEAD";
	return buf_addf(ret, e,
			"HTTP/1.1 %s\r\n"
			"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
			"Content-Length: %zu\r\n"
			"Connection: close\r\n\r\n",
			status, q == METRICS_GET || q == METRICS_HEAD ? n : 0);
}
