/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/lock/lock.h"
#include "updater/lock/semaphore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever a server answers: an end after at most so many calls, and each error has a sentence. */
static void converse(enum lock_kind kind, unsigned status, const char *p, size_t n)
{
	const struct lock_terms t = { .kind = kind, .group = "g", .id = "a", .places = 2 };
	enum lock_state state = LOCK_ASK;
	struct err e = ERR_INIT;
	AUTO_LOCK *l = NULL;
	unsigned calls = 0;

	if (lock_new(&t, LOCK_TAKE, &l, &e) < 0)
		abort();
	while (state == LOCK_ASK) {
		if (++calls > 2 * LOCK_ROUNDS || !lock_call(l).body)
			abort();
		if (lock_answer(l, status, p, n, &state, &e) < 0) {
			if (!e.text[0])
				abort();
			return;
		}
	}
	if (state == LOCK_FULL && !lock_text(l)[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned statuses[] = { 200, 400, 404, 412, 500, 503 };
	const char *p = (const char *)data;
	AUTO_SEMAPHORE s = { .holders = NULL };
	AUTO_SEMAPHORE again = { .holders = NULL };
	AUTO_BUF b = BUF_INIT;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		converse(LOCK_FLEETLOCK, statuses[i], p, size);
		converse(LOCK_ETCD, statuses[i], p, size);
	}
	/* one that reads is written so that it reads the same */
	if (semaphore_read(p, size, &s, NULL) < 0)
		return 0;
	if (semaphore_write(&s, &b, NULL) < 0 || semaphore_read(b.p, b.n, &again, NULL) < 0 ||
	    again.places != s.places || !json_equal(again.holders, s.holders))
		abort();
	return 0;
}
