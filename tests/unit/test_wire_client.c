/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/wire/client.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/test.h"

/* A proa-fetch that says what the table tells it to. */

static const uint8_t bytes[1000];

#define HELLO                                                                                      \
	{                                                                                          \
		.type = WIRE_HELLO, .version = WIRE_VERSION                                        \
	}
#define HEAD(t, o, r)                                                                              \
	{                                                                                          \
		.type = WIRE_HEAD, .id = 1, .head = {.total = (t), .offset = (o), .ranged = (r) }  \
	}
#define DATA(o, k)                                                                                 \
	{                                                                                          \
		.type = WIRE_DATA, .id = 1, .data = {.offset = (o), .p = bytes, .n = (k) }         \
	}
#define END(b)                                                                                     \
	{                                                                                          \
		.type = WIRE_END, .id = 1, .end = {.bytes = (b), .requests = 1 }                   \
	}
#define FAIL                                                                                       \
	{                                                                                          \
		.type = WIRE_FAIL, .id = 1, .fail = {                                              \
			.kind = ERR_REFUSED,                                                       \
			.status = 404,                                                             \
			.text = "no"                                                               \
		}                                                                                  \
	}
#define NOTE                                                                                       \
	{                                                                                          \
		.type = WIRE_NOTE, .id = 1, .note = {.text = "wait" }                              \
	}

static const struct {
	const char *name;
	uint64_t offset, length, max;
	uint32_t flags;
	const char *lie; /* NULL: honest */
	struct wire_msg say[6];
} table[] = {
	{ "whole",
	  0,
	  0,
	  100,
	  0,
	  NULL,
	  { HELLO, HEAD(100, 0, true), DATA(0, 60), NOTE, DATA(60, 40), END(100) } },
	{ "empty file", 0, 0, 100, 0, NULL, { HELLO, HEAD(0, 0, false), END(0) } },
	{ "unknown length",
	  0,
	  0,
	  100,
	  0,
	  NULL,
	  { HELLO, HEAD(WIRE_UNKNOWN, 0, false), DATA(0, 7), END(7) } },
	{ "range", 10, 20, 100, 0, NULL, { HELLO, HEAD(100, 10, true), DATA(10, 20), END(20) } },
	{ "range from start",
	  10,
	  20,
	  100,
	  0,
	  NULL,
	  { HELLO, HEAD(100, 0, false), DATA(0, 30), END(30) } },
	{ "to the end",
	  90,
	  0,
	  100,
	  0,
	  NULL,
	  { HELLO, HEAD(100, 90, true), DATA(90, 10), END(10) } },
	{ "fail at once", 0, 0, 100, 0, NULL, { HELLO, FAIL } },
	{ "fail half-way", 0, 0, 100, 0, NULL, { HELLO, HEAD(100, 0, true), DATA(0, 7), FAIL } },

	{ "no greeting", 0, 0, 100, 0, "greet", { HEAD(100, 0, true) } },
	{ "greets twice", 0, 0, 100, 0, "request 0", { HELLO, HELLO } },
	{ "too large", 0, 0, 100, 0, "larger", { HELLO, HEAD(101, 0, true) } },
	{ "past max",
	  0,
	  0,
	  100,
	  0,
	  "more data",
	  { HELLO, HEAD(WIRE_UNKNOWN, 0, true), DATA(0, 101) } },
	{ "past total", 0, 0, 100, 0, "more data", { HELLO, HEAD(50, 0, true), DATA(0, 51) } },
	{ "past range", 10, 20, 100, 0, "more data", { HELLO, HEAD(100, 10, true), DATA(10, 21) } },
	{ "short file", 10, 20, 100, 0, "shorter", { HELLO, HEAD(29, 10, true) } },
	{ "other start", 10, 20, 100, 0, "not asked", { HELLO, HEAD(100, 11, true) } },
	{ "ranged from 0", 10, 20, 100, 0, "not asked", { HELLO, HEAD(100, 0, true) } },
	{ "unranged part", 10, 20, 100, 0, "without ranges", { HELLO, HEAD(100, 10, false) } },
	{ "ranged only",
	  10,
	  20,
	  100,
	  WIRE_GET_RANGED_ONLY,
	  "not asked",
	  { HELLO, HEAD(100, 0, false) } },
	{ "gap", 0, 0, 100, 0, "order", { HELLO, HEAD(100, 0, true), DATA(0, 7), DATA(8, 1) } },
	{ "repeat", 0, 0, 100, 0, "order", { HELLO, HEAD(100, 0, true), DATA(0, 7), DATA(0, 7) } },
	{ "no head", 0, 0, 100, 0, "before its head", { HELLO, DATA(0, 7) } },
	{ "two heads",
	  0,
	  0,
	  100,
	  0,
	  "second head",
	  { HELLO, HEAD(100, 0, true), HEAD(100, 0, true) } },
	{ "end without head", 0, 0, 100, 0, "before its head", { HELLO, END(0) } },
	{ "early end",
	  0,
	  0,
	  100,
	  0,
	  "last byte",
	  { HELLO, HEAD(100, 0, true), DATA(0, 99), END(99) } },
	{ "early end of range",
	  10,
	  20,
	  100,
	  0,
	  "last byte",
	  { HELLO, HEAD(WIRE_UNKNOWN, 10, true), DATA(10, 19), END(19) } },
	{ "miscounted",
	  0,
	  0,
	  100,
	  0,
	  "count",
	  { HELLO, HEAD(100, 0, true), DATA(0, 100), END(99) } },
	{ "talks after end", 0, 0, 100, 0, "request 1", { HELLO, HEAD(0, 0, true), END(0), NOTE } },
	{ "hangs up", 0, 0, 100, 0, "gone", { HELLO, HEAD(100, 0, true), DATA(0, 99) } },
};

static void say(int fd, const struct wire_msg *m)
{
	struct err e = ERR_INIT;

	CHECK(wire_send(fd, m, &e) == 0, "%s", e.text);
}

static struct wire_client *client_make(int *ret_peer)
{
	struct wire_client *c = NULL;
	struct err e = ERR_INIT;
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	CHECK(wire_client_new(pair[0], &c, &e) == 0, "%s", e.text);
	*ret_peer = pair[1];
	return c;
}

static struct wire_get get_make(uint64_t offset, uint64_t length, uint64_t max, uint32_t flags)
{
	return (struct wire_get){ .url = "http://h/f",
				  .offset = offset,
				  .length = length,
				  .max_bytes = max,
				  .flags = flags };
}

static void check_honest(size_t i, const struct wire_client *c, int r, const struct err *e)
{
	CHECK(r >= 0, "%s: %s", table[i].name, e->text);
	CHECK(wire_client_flights(c) == 0, "%s: goes on", table[i].name);
}

static void check_lie(size_t i, int r, const struct err *e)
{
	enum err_kind kind = r == -EPIPE ? ERR_RETRY : ERR_REFUSED;

	CHECK(r < 0 && strstr(e->text, table[i].lie), "%s: %d %s", table[i].name, r, e->text);
	CHECK(e->kind == kind, "%s: kind %d", table[i].name, (int)e->kind);
}

static void test_one(size_t i)
{
	struct wire_get g =
		get_make(table[i].offset, table[i].length, table[i].max, table[i].flags);
	const struct wire_msg *m = NULL;
	struct err e = ERR_INIT;
	uint32_t id;
	int peer, r;
	struct wire_client *c = client_make(&peer);

	CHECK(wire_client_get(c, &g, &id, &e) == 0 && id == 1, "%s", e.text);
	for (size_t k = 0; k < 6 && table[i].say[k].type; k++)
		say(peer, &table[i].say[k]);
	if (table[i].lie && strcmp(table[i].lie, "gone") == 0)
		(void)close(peer);
	do
		r = wire_client_next(c, 0, &m, &e);
	while (r > 0 && (table[i].lie || m->type != WIRE_END));
	if (table[i].lie)
		check_lie(i, r, &e);
	else
		check_honest(i, c, r, &e);
	wire_client_free(c);
	(void)close(peer);
}

static void test_table(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		test_one(i);
}

/* Nothing of a cancelled request comes through, its checks go on, its end frees its place. */
static void test_cancel(void)
{
	static const struct wire_msg hello = HELLO, head = HEAD(100, 0, true), data = DATA(0, 9),
				     fail = FAIL;
	struct wire_get g = get_make(0, 0, 100, 0);
	const struct wire_msg *m = NULL;
	struct wire_msg head2 = head;
	struct err e = ERR_INIT;
	uint32_t a, b;
	int peer;
	struct wire_client *c = client_make(&peer);

	CHECK(wire_client_get(c, &g, &a, &e) == 0 && wire_client_get(c, &g, &b, &e) == 0, "%s",
	      e.text);
	CHECK(a == 1 && b == 2 && wire_client_flights(c) == 2, "ids");
	CHECK(wire_client_cancel(c, a, &e) == 0 && wire_client_flights(c) == 1, "%s", e.text);
	say(peer, &hello);
	say(peer, &head);
	say(peer, &data);
	head2.id = b;
	say(peer, &head2);
	say(peer, &fail);
	CHECK(wire_client_next(c, 0, &m, &e) == 1 && m->id == b, "%s", e.text);
	CHECK(wire_client_next(c, 0, &m, &e) == 0, "a cancelled request speaks");
	CHECK(wire_client_cancel(c, a, &e) == 0, "%s", e.text);
	wire_client_free(c);
	(void)close(peer);
}

static void test_limits(void)
{
	static const struct wire_msg old = { .type = WIRE_HELLO, .version = WIRE_VERSION + 1 };
	struct wire_get g = get_make(0, 0, 100, 0), bad = g;
	const struct wire_msg *m = NULL;
	struct err e = ERR_INIT;
	uint32_t id;
	int peer;
	struct wire_client *c = client_make(&peer);

	(void)snprintf(bad.url, sizeof(bad.url), "gopher://x");
	CHECK(wire_client_get(c, &bad, &id, &e) < 0 && e.kind == ERR_INPUT, "%s", e.text);
	for (unsigned k = 0; k < WIRE_FLIGHT_MAX; k++)
		CHECK(wire_client_room(c) == WIRE_FLIGHT_MAX - k &&
			      wire_client_get(c, &g, &id, &e) == 0,
		      "%s", e.text);
	CHECK(wire_client_cancel(c, id, &e) == 0, "%s", e.text);
	CHECK(wire_client_room(c) == 0, "a cancelled request has not ended");
	CHECK(wire_client_get(c, &g, &id, &e) == -EBUSY, "no end of requests");
	say(peer, &old);
	CHECK(wire_client_next(c, 0, &m, &e) < 0 && e.kind == ERR_HOST, "%s", e.text);
	wire_client_free(c);
	(void)close(peer);
}

static int wait_cancel(void *arg, int fd, short events, int timeout_ms)
{
	(void)fd;
	(void)events;
	(void)timeout_ms;
	return ++*(int *)arg < 3 ? 0 : -ECANCELED;
}

static void test_wait(void)
{
	const struct wire_msg *m = NULL;
	struct err e = ERR_INIT;
	int peer, calls = 0;
	struct wire_client *c = client_make(&peer);

	wire_client_set_wait(c, wait_cancel, &calls);
	CHECK(wire_client_next(c, -1, &m, &e) == -ECANCELED && calls == 3, "%d %s", calls, e.text);
	wire_client_free(c);
	(void)close(peer);
}

int main(void)
{
	test_table();
	test_cancel();
	test_limits();
	test_wait();
	return 0;
}
