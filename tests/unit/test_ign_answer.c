/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "ignition-lite/answer.h"
#include "tests/test.h"

#define OK "HTTP/1.1 200 OK\r\n"

static int keep(void *arg, const void *p, size_t n, struct err *e)
{
	return buf_add(arg, p, n, e);
}

/* In pieces of so many bytes; the answer's end as well. */
static int feed(struct ign_answer *a, const char *text, size_t piece, struct buf *body,
		struct err *e)
{
	const struct ign_answer_sink sink = { .add = keep, .arg = body };
	size_t n = strlen(text);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i += piece)
		r = ign_answer_add(a, text + i, n - i < piece ? n - i : piece, &sink, e);
	return r == 0 ? ign_answer_end(a, e) : r;
}

static void check_good(void)
{
	static const struct {
		const char *text, *body, *location;
		unsigned status;
	} table[] = {
		{ OK "Content-Length: 5\r\n\r\nhello and more", "hello", "", 200 },
		{ OK "content-length:5 \r\n\r\nhello", "hello", "", 200 },
		{ OK "Content-Length: 0\r\n\r\n", "", "", 200 },
		{ OK "\r\nuntil the end", "until the end", "", 200 },
		{ "HTTP/1.0 200\n\nx", "x", "", 200 },
		{ OK "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nT: x"
		     "\r\n\r\nrest",
		  "hello world", "", 200 },
		{ OK "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		  "x", "", 200 },
		{ "HTTP/1.1 103 Hints\r\nLocation: /no\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /yes"
		  "\r\nLocation: /late\r\nContent-Length: 0\r\n\r\n",
		  "", "/yes", 302 },
		{ "HTTP/1.1 204 None\r\nContent-Length: 7\r\n\r\n", "", "", 204 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (size_t piece = 1; piece <= strlen(table[i].text); piece++) {
			AUTO_IGN_ANSWER a = { .status = 0 };
			AUTO_BUF body = BUF_INIT;
			struct err e = ERR_INIT;

			CHECK(feed(&a, table[i].text, piece, &body, &e) == 0, "%zu %zu: %s", i,
			      piece, e.text);
			CHECK(a.headed && a.status == table[i].status, "%zu: %u", i, a.status);
			CHECK(strcmp(body.p ? body.p : "", table[i].body) == 0, "%zu: '%s'", i,
			      body.p);
			CHECK(strcmp(a.location.n ? a.location.p : "", table[i].location) == 0,
			      "%zu: '%s'", i, a.location.p);
		}
}

static void check_bad(void)
{
	static const char *const table[] = {
		"SSH-2.0-OpenSSH\r\n",
		"HTTP/2 200\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 099 No\r\n\r\n",
		"HTTP/1.1 2000\r\n\r\n",
		OK " folded: x\r\n\r\n",
		OK "Name : x\r\n\r\n",
		OK "no colon\r\n\r\n",
		OK "A: b\rc\r\n\r\n",
		OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		OK "Content-Length: 5x\r\n\r\nhello",
		OK "Content-Length: -1\r\n\r\n",
		OK "Content-Length: 9999999999999999999\r\n\r\n",
		OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\n\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
	};
	static const char whole[] = OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		AUTO_IGN_ANSWER a = { .status = 0 };
		AUTO_BUF body = BUF_INIT;
		struct err e = ERR_INIT;

		CHECK(feed(&a, table[i], 7, &body, &e) < 0 && e.kind == ERR_RETRY, "%zu", i);
		CHECK(strstr(e.text, "no valid HTTP/1.1") != NULL, "%zu: %s", i, e.text);
	}
	/* cut short anywhere, it is never taken for whole */
	for (size_t n = 0; n + 1 < strlen(whole); n++) {
		AUTO_IGN_ANSWER a = { .status = 0 };
		AUTO_BUF body = BUF_INIT;
		struct err e = ERR_INIT;
		char cut[sizeof(whole)];

		memcpy(cut, whole, n);
		cut[n] = '\0';
		CHECK(feed(&a, cut, 5, &body, &e) < 0 && e.kind == ERR_RETRY, "%zu", n);
	}
}

/* A head that never ends is given up, however it does not. */
static void check_endless(void)
{
	static const char *const pieces[] = { "x", "A: b\r\n", "HTTP/1.1 100 C\r\n\r\n" };

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		AUTO_IGN_ANSWER a = { .status = 0 };
		const struct ign_answer_sink sink = { .add = keep };
		struct err e = ERR_INIT;
		int r = i == 1 ? ign_answer_add(&a, OK, strlen(OK), &sink, &e) : 0;

		for (size_t n = 0; r == 0 && n < (size_t)2 << 20; n += strlen(pieces[i]))
			r = ign_answer_add(&a, pieces[i], strlen(pieces[i]), &sink, &e);
		CHECK(r < 0 && strstr(e.text, "do not end"), "%zu: %s", i, e.text);
	}
}

int main(void)
{
	check_good();
	check_bad();
	check_endless();
	return 0;
}
