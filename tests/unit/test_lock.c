/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/lock/lock.h"

#include <errno.h>
#include <string.h>

#include "tests/dice.h"
#include "tests/test.h"
#include "updater/lock/semaphore.h"

static struct lock *begin(enum lock_kind kind, enum lock_verb verb)
{
	struct lock_terms t = { .kind = kind, .group = "web", .id = "a1", .places = 2 };
	struct err e = ERR_INIT;
	struct lock *l = NULL;

	CHECK(lock_new(&t, verb, &l, &e) == 0, "%s", e.text);
	return l;
}

static void test_names(void)
{
	static const struct lock_terms bad[] = {
		{ .kind = LOCK_FLEETLOCK, .group = "", .id = "a" },
		{ .kind = LOCK_FLEETLOCK, .group = "a/b", .id = "a" },
		{ .kind = LOCK_FLEETLOCK, .group = "web", .id = "" },
		{ .kind = LOCK_FLEETLOCK, .group = "web", .id = "a b" },
		{ .kind = LOCK_ETCD, .group = "web", .id = "a", .places = 0 },
		{ .kind = LOCK_ETCD, .group = "web", .id = "a", .places = 1001 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = ERR_INIT;
		struct lock *l = NULL;

		CHECK(lock_new(&bad[i], LOCK_TAKE, &l, &e) < 0 && e.kind == ERR_INPUT && !l,
		      "%zu passed", i);
	}
}

static void test_fleetlock(void)
{
	static const struct {
		enum lock_verb verb;
		unsigned status;
		const char *body;
		int state; /* -1: an error */
		enum err_kind kind;
		const char *text;
	} table[] = {
		{ LOCK_TAKE, 200, "", LOCK_GOT, 0, "" },
		{ LOCK_RELEASE, 200, "anything", LOCK_GOT, 0, "" },
		{ LOCK_TAKE, 500,
		  "{\"kind\":\"failed_lock\",\"value\":\"all 2 semaphore slots currently locked\"}",
		  LOCK_FULL, 0, "group web: all 2 semaphore slots currently locked" },
		{ LOCK_RELEASE, 500, "{\"kind\":\"failed_lock\",\"value\":\"x\"}", -1, ERR_RETRY,
		  "FleetLock answers 500: x" },
		{ LOCK_TAKE, 400, "{\"kind\":\"unknown_group\",\"value\":\"no group web\"}", -1,
		  ERR_INPUT, "FleetLock answers 400: no group web" },
		{ LOCK_TAKE, 503, "<html>", -1, ERR_RETRY,
		  "FleetLock answers 503: it gave no reason" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		AUTO_LOCK *l = begin(LOCK_FLEETLOCK, table[i].verb);
		struct lock_call c = lock_call(l);
		enum lock_state state = LOCK_ASK;
		struct err e = ERR_INIT;
		int r;

		CHECK(c.fleetlock &&
			      strcmp(c.path, table[i].verb == LOCK_TAKE ? "v1/pre-reboot"
									: "v1/steady-state") == 0,
		      "%s", c.path);
		CHECK(strcmp(c.body, "{\"client_params\":{\"id\":\"a1\",\"group\":\"web\"}}") == 0,
		      "%s", c.body);
		r = lock_answer(l, table[i].status, table[i].body, strlen(table[i].body), &state,
				&e);
		CHECK((r < 0) == (table[i].state < 0), "%zu: %s", i, e.text);
		CHECK(r < 0 || (int)state == table[i].state, "%zu: %d", i, (int)state);
		CHECK(r == 0 || e.kind == table[i].kind, "%zu: kind %d", i, (int)e.kind);
		CHECK(strcmp(r < 0 ? e.text : lock_text(l), table[i].text) == 0, "%zu: '%s'", i,
		      r < 0 ? e.text : lock_text(l));
	}
}

/* Others are always quicker: it ends. */
static void test_rounds(void)
{
	static const char empty[] = "{\"header\":{}}";
	AUTO_LOCK *l = begin(LOCK_ETCD, LOCK_TAKE);
	struct err e = ERR_INIT;
	enum lock_state state = LOCK_ASK;
	unsigned calls = 0;

	while (lock_answer(l, 200, empty, strlen(empty), &state, &e) == 0) {
		CHECK(state == LOCK_ASK, "%d", (int)state);
		CHECK(strcmp(lock_call(l).path, calls % 2 ? "v3/kv/range" : "v3/kv/txn") == 0, "%s",
		      lock_call(l).path);
		calls++;
	}
	CHECK(calls == 2 * LOCK_ROUNDS - 1 && e.kind == ERR_RETRY, "%u calls: %s", calls, e.text);
}

static void test_bad_values(void)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{\"total_slots\":1}",
		"{\"total_slots\":-1,\"holders\":[]}",
		"{\"total_slots\":1,\"holders\":[1]}",
		"{\"total_slots\":1,\"holders\":[\"b\",\"a\"]}",
		"{\"total_slots\":1,\"holders\":[\"a\",\"a\"]}",
		"{\"total_slots\":1,\"holders\":[\"a\"]} ",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct semaphore s = { .holders = NULL };
		struct err e = ERR_INIT;
		int r = semaphore_read(bad[i], strlen(bad[i]), &s, &e);

		if (i + 1 == sizeof(bad) / sizeof(bad[0])) /* a blank behind it is fine */
			CHECK(r == 0, "%s", e.text);
		else
			CHECK(r == -EBADMSG && e.kind == ERR_REFUSED, "'%s' passed", bad[i]);
		semaphore_done(&s);
	}
}

/* Against a set of flags: holders stay sorted, once each, never more than there are places. */
static void test_model(void)
{
	AUTO_SEMAPHORE s = { .holders = NULL };
	struct err e = ERR_INIT;
	bool in[12] = { false };
	unsigned n = 0;

	CHECK(semaphore_new(5, &s, &e) == 0, "%s", e.text);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned who = dice_below(12), take = dice_below(2);
		char id[8];
		int want, r;

		(void)snprintf(id, sizeof(id), "h%u", who);
		want = take ? (in[who] ? 0 : n == 5 ? -EBUSY : 1) : in[who];
		r = take ? semaphore_take(&s, id, &e) : semaphore_release(&s, id, &e);
		CHECK(r == want, "%s %s: %d, not %d", take ? "take" : "release", id, r, want);
		if (r == 1) {
			in[who] = take;
			n = take ? n + 1 : n - 1;
		}
		CHECK(semaphore_holds(&s, id) == in[who], "%s", id);
	}
}

static void test_show(void)
{
	static const char text[] =
		"{\"total_slots\":5,\"holders\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}";
	AUTO_SEMAPHORE s = { .holders = NULL };
	struct err e = ERR_INIT;
	char out[300];

	CHECK(semaphore_read(text, strlen(text), &s, &e) == 0, "%s", e.text);
	CHECK(strcmp(semaphore_show(&s, out, sizeof(out)),
		     "5 of 5 places taken by a, b, c and 2 more") == 0,
	      "%s", out);
}

int main(void)
{
	dice_seed();
	test_names();
	test_fleetlock();
	test_rounds();
	test_bad_values();
	test_model();
	test_show();
	return 0;
}
