/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/meter.h"

#define RATE_MAX (UINT64_C(1) << 40)

void fetch_meter_set(struct fetch_meter *m, uint64_t rate, int64_t now_ms)
{
	*m = (struct fetch_meter){ .rate = rate < RATE_MAX ? rate : 0, .last_ms = now_ms };
}

void fetch_meter_fill(struct fetch_meter *m, int64_t now_ms)
{
	/* a quarter of a second may be saved up */
	int64_t most = (int64_t)m->rate * 250, dt = now_ms - m->last_ms;

	m->last_ms = now_ms;
	if (m->rate == 0 || dt <= 0)
		return;
	if (dt > 60000)
		dt = 60000;
	m->purse += (int64_t)m->rate * dt;
	if (m->purse > most)
		m->purse = most;
}

void fetch_meter_pay(struct fetch_meter *m, uint64_t bytes)
{
	if (m->rate)
		m->purse -= (int64_t)bytes * 1000;
}

int64_t fetch_meter_wait(const struct fetch_meter *m)
{
	if (m->rate == 0 || m->purse > 0)
		return 0;
	return -m->purse / (int64_t)m->rate + 1;
}
