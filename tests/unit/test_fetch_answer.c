/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/answer.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "tests/test.h"

#define OK        "HTTP/1.1 200 OK\n"
#define PART      "HTTP/1.1 206 Partial Content\n"
#define RANGE(x)  "Content-Range: bytes " x "\n"
#define LENGTH(x) "content-length: " x "\n"
#define U         WIRE_UNKNOWN

/* What is asked: bytes offset.. (length 0: to the end) of a file of at most 1000. */
static const struct { /* NOLINT(clang-analyzer-optin.performance.Padding) */
	const char *name;
	const char *head;
	uint64_t offset, length, next; /* next 0: as offset, the first try */
	uint64_t total;                /* known from before, with etag; 0: nothing known */
	const char *etag, *insist;
	uint32_t flags;
	int r; /* 0, or -errno */
	enum err_kind kind;
	uint64_t start, stop, size; /* the body, when r == 0 */
	bool ranged;
} table[] = {
	{ "whole", OK LENGTH("10"), 0, 0, 0, 0, "", "", 0, 0, ERR_NONE, 0, 10, 10, false },
	{ "whole, ranges offered", OK LENGTH("10") "Accept-Ranges: bytes\n", 0, 0, 0, 0, "", "", 0,
	  0, ERR_NONE, 0, 10, 10, true },
	{ "chunked", OK "Transfer-Encoding: chunked\n", 0, 0, 0, 0, "", "", 0, 0, ERR_NONE, 0, U, U,
	  false },
	{ "chunked wins", OK LENGTH("5") "Transfer-Encoding: chunked\n", 0, 0, 0, 0, "", "", 0, 0,
	  ERR_NONE, 0, U, U, false },
	{ "too large", OK LENGTH("1001"), 0, 0, 0, 0, "", "", 0, -EFBIG, ERR_REFUSED, 0, 0, 0,
	  false },
	{ "absurd length", OK LENGTH("99999999999999999999999"), 0, 0, 0, 0, "", "", 0, -EPROTO,
	  ERR_REFUSED, 0, 0, 0, false },
	{ "negative length", OK LENGTH("-1"), 0, 0, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0, 0, 0,
	  false },
	{ "two lengths", OK LENGTH("10") LENGTH("11"), 0, 0, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED,
	  0, 0, 0, false },
	{ "compressed", OK LENGTH("10") "Content-Encoding: gzip\n", 0, 0, 0, 0, "", "", 0, -EPROTO,
	  ERR_REFUSED, 0, 0, 0, false },
	{ "identity", OK LENGTH("10") "Content-Encoding: identity\n", 0, 0, 0, 0, "", "", 0, 0,
	  ERR_NONE, 0, 10, 10, false },
	{ "part unasked", PART RANGE("0-9/10"), 0, 0, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0, 0,
	  0, false },

	{ "range", PART RANGE("10-19/100") LENGTH("10"), 10, 10, 0, 0, "", "", 0, 0, ERR_NONE, 10,
	  20, 100, true },
	{ "range, total unknown", PART RANGE("10-19/*"), 10, 10, 0, 0, "", "", 0, 0, ERR_NONE, 10,
	  20, U, true },
	{ "to the end", PART RANGE("10-99/100"), 10, 0, 0, 0, "", "", 0, 0, ERR_NONE, 10, 100, 100,
	  true },
	{ "to the end, unknown", PART RANGE("10-99/*"), 10, 0, 0, 0, "", "", 0, 0, ERR_NONE, 10,
	  100, 100, true },
	{ "not to the end", PART RANGE("10-98/100"), 10, 0, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED,
	  0, 0, 0, false },
	{ "starts elsewhere", PART RANGE("11-19/100"), 10, 10, 0, 0, "", "", 0, -EPROTO,
	  ERR_REFUSED, 0, 0, 0, false },
	{ "starts at 0", PART RANGE("0-19/100"), 10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0,
	  0, 0, false },
	{ "ends later", PART RANGE("10-20/100"), 10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0,
	  0, 0, false },
	{ "ends earlier", PART RANGE("10-18/100"), 10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0,
	  0, 0, false },
	{ "file ends earlier", PART RANGE("10-14/15"), 10, 10, 0, 0, "", "", 0, -EPROTO,
	  ERR_REFUSED, 0, 0, 0, false },
	{ "multipart", PART "Content-Type: multipart/byteranges; boundary=x\n" RANGE("10-19/100"),
	  10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0, 0, 0, false },
	{ "no Content-Range", PART LENGTH("10"), 10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0,
	  0, 0, false },
	{ "two Content-Ranges", PART RANGE("10-19/100") RANGE("10-19/100"), 10, 10, 0, 0, "", "", 0,
	  -EPROTO, ERR_REFUSED, 0, 0, 0, false },
	{ "backwards", PART RANGE("19-10/100"), 10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0, 0,
	  0, false },
	{ "beyond its total", PART RANGE("10-19/15"), 10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED,
	  0, 0, 0, false },
	{ "other unit", PART "Content-Range: lines 10-19/100\n", 10, 10, 0, 0, "", "", 0, -EPROTO,
	  ERR_REFUSED, 0, 0, 0, false },
	{ "length contradicts", PART RANGE("10-19/100") LENGTH("11"), 10, 10, 0, 0, "", "", 0,
	  -EPROTO, ERR_REFUSED, 0, 0, 0, false },
	{ "whole too large", PART RANGE("10-19/1001"), 10, 10, 0, 0, "", "", 0, -EFBIG, ERR_REFUSED,
	  0, 0, 0, false },
	{ "huge numbers", PART RANGE("10-19/18446744073709551616"), 10, 10, 0, 0, "", "", 0,
	  -EPROTO, ERR_REFUSED, 0, 0, 0, false },

	{ "no ranges", OK LENGTH("100"), 10, 10, 0, 0, "", "", 0, 0, ERR_NONE, 0, 100, 100, false },
	{ "no ranges, insisted", OK LENGTH("100"), 10, 10, 0, 0, "", "", WIRE_GET_RANGED_ONLY,
	  -EOPNOTSUPP, ERR_REFUSED, 0, 0, 0, false },
	{ "no ranges, too short", OK LENGTH("19"), 10, 10, 0, 0, "", "", 0, -ERANGE, ERR_REFUSED, 0,
	  0, 0, false },
	{ "200 with a range", OK RANGE("10-19/100"), 10, 10, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED,
	  0, 0, 0, false },

	{ "resumes", PART RANGE("50-99/100") "ETag: \"a\"\n", 0, 0, 50, 100, "\"a\"", "", 0, 0,
	  ERR_NONE, 50, 100, 100, true },
	{ "resumes from 0", OK LENGTH("100") "ETag: \"a\"\n", 0, 0, 50, 100, "\"a\"", "", 0, 0,
	  ERR_NONE, 0, 100, 100, false },
	{ "changed", OK LENGTH("100") "ETag: \"b\"\n", 0, 0, 50, 100, "\"a\"", "", 0, -ESTALE,
	  ERR_RETRY, 0, 0, 0, false },
	{ "changed size", PART RANGE("50-100/101"), 0, 0, 50, 100, "", "", 0, -ESTALE, ERR_RETRY, 0,
	  0, 0, false },
	{ "lost its tag", PART RANGE("50-99/100"), 0, 0, 50, 100, "\"a\"", "", 0, -ESTALE,
	  ERR_RETRY, 0, 0, 0, false },
	{ "insisted", PART RANGE("10-19/100") "ETag: \"a\"\n", 10, 10, 0, 0, "", "\"a\"", 0, 0,
	  ERR_NONE, 10, 20, 100, true },
	{ "insisted, other", OK LENGTH("100") "ETag: \"b\"\n", 10, 10, 0, 0, "", "\"a\"", 0,
	  -ESTALE, ERR_REFUSED, 0, 0, 0, false },
	{ "insisted, weak", OK LENGTH("100") "ETag: W/\"a\"\n", 10, 10, 0, 0, "", "\"a\"", 0,
	  -ESTALE, ERR_REFUSED, 0, 0, 0, false },

	{ "404", "HTTP/2 404 \n", 0, 0, 0, 0, "", "", 0, -ENOENT, ERR_REFUSED, 0, 0, 0, false },
	{ "403", "HTTP/1.1 403 Forbidden\n", 0, 0, 0, 0, "", "", 0, -EACCES, ERR_REFUSED, 0, 0, 0,
	  false },
	{ "416", "HTTP/1.1 416 x\n" RANGE("*/5"), 10, 0, 0, 0, "", "", 0, -ERANGE, ERR_REFUSED, 0,
	  0, 0, false },
	{ "500", "HTTP/1.1 500 x\n", 0, 0, 0, 0, "", "", 0, -EAGAIN, ERR_RETRY, 0, 0, 0, false },
	{ "503", "HTTP/1.1 503 x\n", 0, 0, 0, 0, "", "", 0, -EAGAIN, ERR_RETRY, 0, 0, 0, false },
	{ "429", "HTTP/1.1 429 x\n", 0, 0, 0, 0, "", "", 0, -EAGAIN, ERR_RETRY, 0, 0, 0, false },
	{ "204", "HTTP/1.1 204 x\n", 0, 0, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0, 0, 0, false },
	{ "304", "HTTP/1.1 304 x\n", 0, 0, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0, 0, 0, false },
	{ "no number", "HTTP/1.1 abc\n", 0, 0, 0, 0, "", "", 0, -EPROTO, ERR_REFUSED, 0, 0, 0,
	  false },
	{ "earlier answer forgotten",
	  "HTTP/1.1 302 x\n" LENGTH("7") "Location: /y\n" OK LENGTH("10"), 0, 0, 0, 0, "", "", 0, 0,
	  ERR_NONE, 0, 10, 10, false },
};

/* Feeds the lines, each with CR LF as on the wire. */
static void feed(struct fetch_answer *a, const char *head)
{
	char line[256];

	while (*head) {
		size_t n = strcspn(head, "\n");

		(void)snprintf(line, sizeof(line), "%.*s\r\n", (int)n, head);
		CHECK(!fetch_answer_line(a, line, n + 2), "ends early");
		head += n + 1;
	}
	CHECK(fetch_answer_line(a, "\r\n", 2), "does not end");
}

static void test_judge(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct fetch_answer a = { .total = WIRE_UNKNOWN };
		struct wire_get g = { .offset = table[i].offset,
				      .length = table[i].length,
				      .max_bytes = 1000,
				      .flags = table[i].flags };
		struct fetch_want w = { .get = &g,
					.next = table[i].next ? table[i].next : g.offset,
					.known = table[i].total > 0,
					.total = table[i].total,
					.etag = table[i].etag };
		struct fetch_body b = { .start = 0 };
		struct err e = ERR_INIT;
		int r;

		(void)snprintf(g.etag, sizeof(g.etag), "%s", table[i].insist);
		w.ranged = w.next > 0 || g.length > 0;
		feed(&a, table[i].head);
		r = fetch_answer_judge(&a, &w, &b, &e);
		CHECK(r == table[i].r && e.kind == table[i].kind, "%s: %d %s", table[i].name, r,
		      e.text);
		if (r == 0)
			CHECK(b.start == table[i].start && b.stop == table[i].stop &&
				      b.total == table[i].size && b.ranged == table[i].ranged,
			      "%s: %ju-%ju/%ju %d", table[i].name, (uintmax_t)b.start,
			      (uintmax_t)b.stop, (uintmax_t)b.total, b.ranged);
	}
}

static void test_redirect(void)
{
	struct fetch_answer a = { .total = WIRE_UNKNOWN };

	feed(&a, "HTTP/1.1 302 Found\nlocation:  /x\n");
	CHECK(fetch_answer_redirects(&a), "302");
	feed(&a, "HTTP/1.1 302 Found\n");
	CHECK(!fetch_answer_redirects(&a), "302 to nowhere");
	feed(&a, "HTTP/1.1 200 OK\nLocation: /x\n");
	CHECK(!fetch_answer_redirects(&a), "200");
}

static void test_backoff(void)
{
	static const uint64_t step[] = {
		100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000
	};

	for (unsigned k = 0; k < 40; k++) {
		uint64_t s = k < 10 ? step[k] : 30000;

		CHECK(fetch_backoff_ms(k + 2, 0, 0) == s / 2, "try %u", k + 2);
		for (uint32_t random = 1; random < 4000000000u; random += 12345678)
			CHECK(fetch_backoff_ms(k + 2, 0, random) >= s / 2 &&
				      fetch_backoff_ms(k + 2, 0, random) <= s,
			      "try %u", k + 2);
		CHECK(fetch_backoff_ms(k + 2, 7, 99) >= 7000, "Retry-After");
	}
	CHECK(fetch_backoff_ms(2, UINT64_MAX, 1) > UINT32_MAX, "overflow");
}

int main(void)
{
	test_judge();
	test_redirect();
	test_backoff();
	return 0;
}
