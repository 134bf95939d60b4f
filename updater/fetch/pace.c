/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/pace.h"

#define RATE_MAX (UINT64_C(1) << 40) /* so that products fit */
#define TIME_MAX UINT64_C(31536000)
#define STEP_MAX 5000 /* ms; a longer step means that this process did not run */

static void window_begin(struct fetch_pace *p)
{
	p->waited_ms = p->bytes = 0;
}

void fetch_pace_set(struct fetch_pace *p, uint64_t least, uint64_t least_s, int64_t now_ms)
{
	*p = (struct fetch_pace){ .least = least < RATE_MAX ? least : RATE_MAX,
				  .least_ms = (least_s < TIME_MAX ? least_s : TIME_MAX) * 1000,
				  .last_ms = now_ms };
}

void fetch_pace_add(struct fetch_pace *p, uint64_t bytes)
{
	p->bytes = bytes > UINT64_MAX - p->bytes ? UINT64_MAX : p->bytes + bytes;
}

bool fetch_pace_slow(struct fetch_pace *p, enum fetch_pace_state was, int64_t now_ms)
{
	int64_t dt = now_ms > p->last_ms ? now_ms - p->last_ms : 0;
	bool slow;

	p->last_ms = now_ms;
	dt = dt < STEP_MAX ? dt : STEP_MAX;
	if (was == PACE_IDLE)
		window_begin(p);
	if (was != PACE_WAIT || p->least == 0)
		return false;
	p->waited_ms += (uint64_t)dt;
	if (p->waited_ms < p->least_ms)
		return false;
	slow = p->bytes / p->least < p->waited_ms / 1000;
	window_begin(p);
	return slow;
}
