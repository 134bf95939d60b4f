/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/mirror.h"

static uint32_t bit(unsigned i)
{
	return UINT32_C(1) << i;
}

/* The next one behind c->now (itself last) that is not in `out`. */
static bool next_not(struct mirror_course *c, uint32_t out)
{
	for (unsigned k = 1; k <= c->n; k++) {
		unsigned i = (c->now + k) % c->n;

		if (out & bit(i))
			continue;
		if (i != c->now)
			c->got = 0;
		c->now = i;
		return true;
	}
	return false;
}

bool mirror_course_left(const struct mirror_course *c)
{
	return c->wrong != bit(c->n) - 1;
}

bool mirror_course_begin(struct mirror_course *c, unsigned n, unsigned first)
{
	c->n = n;
	c->now = first;
	c->failed = c->final = c->before = 0;
	c->patient = n == 1;
	c->got = c->progress = 0;
	return !(c->wrong & bit(first)) || next_not(c, c->wrong);
}

void mirror_course_got(struct mirror_course *c, uint64_t bytes)
{
	c->got += bytes;
	c->progress += bytes;
	if (c->got >= MIRROR_DOUBT)
		c->before = 0;
}

bool mirror_course_failed(struct mirror_course *c, bool passing)
{
	if (c->progress >= MIRROR_PROGRESS) {
		c->failed = 0;
		c->patient = c->n == 1;
	}
	c->progress = 0;
	if (c->got > 0)
		c->before |= bit(c->now);
	c->failed |= bit(c->now);
	if (!passing)
		c->final |= bit(c->now);
	if (next_not(c, c->wrong | c->failed | c->final))
		return true;
	if (c->patient)
		return false;
	c->patient = true;
	c->failed = 0;
	return next_not(c, c->wrong | c->final);
}

uint32_t mirror_course_wrong(struct mirror_course *c)
{
	uint32_t guilty = c->before & ~bit(c->now) & ~c->wrong;

	if (guilty == 0)
		guilty = bit(c->now);
	c->wrong |= guilty;
	c->before = 0;
	return guilty;
}
