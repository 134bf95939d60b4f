/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/pace.h"

#include <stdlib.h>

#include "tests/dice.h"
#include "tests/test.h"

/* Steps of dt ms with `bytes` each, for `steps`; how often it was too slow. */
static unsigned run(struct fetch_pace *p, enum fetch_pace_state was, int64_t *now, int64_t dt,
		    uint64_t bytes, unsigned steps)
{
	unsigned slow = 0;

	for (unsigned i = 0; i < steps; i++) {
		*now += dt;
		fetch_pace_add(p, bytes);
		slow += fetch_pace_slow(p, was, *now);
	}
	return slow;
}

static void test_rates(void)
{
	struct fetch_pace p;
	int64_t now = 1000;

	fetch_pace_set(&p, 1024, 30, now);
	CHECK(run(&p, PACE_WAIT, &now, 100, 103, 3000) == 0, "just fast enough");
	CHECK(run(&p, PACE_WAIT, &now, 100, 90, 3000) == 10, "too slow, told once a window");
	CHECK(run(&p, PACE_WAIT, &now, 100, 0, 299) == 0, "not yet");
	CHECK(run(&p, PACE_WAIT, &now, 100, 0, 1) == 1, "silence");
	CHECK(run(&p, PACE_HELD, &now, 100, 0, 10000) == 0, "held back by us");
	CHECK(run(&p, PACE_WAIT, &now, 100, 0, 299) == 0, "time held does not count");
	CHECK(run(&p, PACE_IDLE, &now, 100, 0, 1) == 0, "idle");
	CHECK(run(&p, PACE_WAIT, &now, 100, 0, 299) == 0, "a new window after it");
	fetch_pace_set(&p, 1024, 30, now);
	CHECK(run(&p, PACE_WAIT, &now, 3600000, 0, 5) == 0, "it was frozen, not the server");
	CHECK(run(&p, PACE_WAIT, &now, 3600000, 0, 1) == 1, "six steps of five seconds");
	fetch_pace_set(&p, 0, 0, now);
	CHECK(run(&p, PACE_WAIT, &now, 1000, 0, 10000) == 0, "any rate will do");
	now -= 5000;
	fetch_pace_set(&p, 1, 1, now + 5000);
	CHECK(!fetch_pace_slow(&p, PACE_WAIT, now), "a clock that goes back");
}

/* Whatever the steps: never slow above the rate, always within two windows below half of it. */
static void test_random(void)
{
	for (unsigned k = 0; k < 2000; k++) {
		uint64_t least = 1 + dice() % 100000, seconds = 1 + dice() % 60;
		struct fetch_pace p;
		int64_t now = (int64_t)(dice() % 1000000);
		uint64_t past = 0;
		bool fast = dice() % 2, slow = false;

		fetch_pace_set(&p, least, seconds, now);
		while (past < seconds * 2000 && !slow) {
			uint64_t dt = 1 + dice() % 2000;

			past += dt;
			now += (int64_t)dt;
			fetch_pace_add(&p, fast ? least * dt / 1000 + 1 : least * dt / 2100);
			slow = fetch_pace_slow(&p, PACE_WAIT, now);
		}
		CHECK(slow == !fast, "%u: least %llu over %llu s", k, (unsigned long long)least,
		      (unsigned long long)seconds);
	}
}

int main(void)
{
	dice_seed();
	test_rates();
	test_random();
	return 0;
}
