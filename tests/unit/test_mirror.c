/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/mirror.h"

#include <stdlib.h>
#include <string.h>

#include "tests/dice.h"
#include "tests/test.h"

static void test_one(void)
{
	struct mirror_course c = { .n = 0 };

	CHECK(mirror_course_begin(&c, 1, 0) && c.now == 0 && c.patient, "one has all tries");
	CHECK(!mirror_course_failed(&c, true), "it was the only one");
	CHECK(mirror_course_begin(&c, 1, 0), "a new pass");
	mirror_course_got(&c, MIRROR_PROGRESS - 1);
	CHECK(!mirror_course_failed(&c, true), "hardly any progress");
	CHECK(mirror_course_wrong(&c) == 1 && !mirror_course_left(&c), "it lied");
	CHECK(!mirror_course_begin(&c, 1, 0), "nobody is left");
}

static void test_turns(void)
{
	struct mirror_course c = { .n = 0 };

	CHECK(mirror_course_begin(&c, 3, 1) && c.now == 1 && !c.patient, "where it was told");
	CHECK(mirror_course_failed(&c, true) && c.now == 2, "%u", c.now);
	CHECK(mirror_course_failed(&c, false) && c.now == 0 && !c.patient, "%u", c.now);
	CHECK(mirror_course_failed(&c, true) && c.now == 1 && c.patient, "%u", c.now);
	CHECK(mirror_course_failed(&c, true) && c.now == 0, "not the one that has it not: %u",
	      c.now);
	mirror_course_got(&c, MIRROR_PROGRESS);
	CHECK(mirror_course_failed(&c, true) && c.now == 1 && !c.patient, "forgiven: %u", c.now);
	CHECK(mirror_course_failed(&c, true) && c.now == 0 && c.patient, "%u", c.now);
	CHECK(mirror_course_failed(&c, true) && c.now == 1, "%u", c.now);
	CHECK(!mirror_course_failed(&c, true), "all have failed");
}

/* A mirror that lies and leaves in the middle of a group must not have the next one blamed. */
static void test_blame(void)
{
	struct mirror_course c = { .n = 0 };

	CHECK(mirror_course_begin(&c, 2, 0), "begin");
	mirror_course_got(&c, 1000);
	CHECK(mirror_course_failed(&c, true) && c.now == 1, "%u", c.now);
	mirror_course_got(&c, 1000);
	CHECK(mirror_course_wrong(&c) == 1 && mirror_course_left(&c), "the one that left");
	CHECK(mirror_course_begin(&c, 2, 0) && c.now == 1, "the other, alone");
	CHECK(mirror_course_wrong(&c) == 2 && !mirror_course_left(&c), "now it is its own fault");

	c = (struct mirror_course){ .n = 0 };
	CHECK(mirror_course_begin(&c, 2, 0), "begin");
	mirror_course_got(&c, 1000);
	CHECK(mirror_course_failed(&c, true), "turn");
	mirror_course_got(&c, MIRROR_DOUBT);
	CHECK(mirror_course_wrong(&c) == 2, "its bytes were long ago");

	c = (struct mirror_course){ .n = 0 };
	CHECK(mirror_course_begin(&c, 2, 0), "begin");
	CHECK(mirror_course_failed(&c, true), "turn");
	mirror_course_got(&c, 1000);
	CHECK(mirror_course_wrong(&c) == 2, "one that gave nothing is not to blame");
}

/* One pass; true: wrong bytes were read. Ends at an honest mirror, or when all have failed. */
static bool pass(struct mirror_course *c, uint32_t honest)
{
	for (unsigned turns = 0; !(honest & (1u << c->now)); turns++) {
		CHECK(!(c->wrong & (1u << c->now)), "asked after it lied");
		CHECK(turns <= 200, "no end of turns");
		if (dice() % 2) {
			mirror_course_got(c, dice() % 5000);
			if (dice() % 2)
				return true;
		}
		if (!mirror_course_failed(c, dice() % 2))
			return false;
	}
	return c->before != 0 && dice() % 2; /* a liar's bytes may be in the same group */
}

static void one_random(unsigned n, uint32_t honest)
{
	struct mirror_course c = { .n = 0 };
	unsigned passes = 0;

	while (mirror_course_begin(&c, n, (unsigned)(dice() % n))) {
		CHECK(++passes <= n, "pass %u over %u mirrors", passes, n);
		if (!pass(&c, honest))
			break;
		(void)mirror_course_wrong(&c);
		CHECK((c.wrong & honest) == 0, "an honest one was blamed");
	}
	CHECK(honest == 0 || mirror_course_left(&c), "honest %x wrong %x", honest, c.wrong);
}

/*
 * Of n mirrors some are honest and do not fail, the others do what they like. Any order of events
 * ends, and no honest one is ever blamed.
 */
static void test_random(void)
{
	for (unsigned k = 0; k < 20000; k++) {
		unsigned n = 1 + (unsigned)(dice() % MIRRORS_MAX);

		one_random(n, (uint32_t)dice() & ((1u << n) - 1));
	}
}

int main(void)
{
	dice_seed();
	test_one();
	test_turns();
	test_blame();
	test_random();
	return 0;
}
