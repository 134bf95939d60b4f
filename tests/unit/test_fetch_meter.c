/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/meter.h"

#include <stdint.h>

#include "tests/test.h"

/* Sends pieces whenever allowed for simulated milliseconds; returns the bytes sent. */
static uint64_t run(struct fetch_meter *m, uint64_t piece, int64_t ms)
{
	uint64_t sent = 0;

	for (int64_t t = 0; t < ms;) {
		int64_t wait;

		fetch_meter_fill(m, t);
		wait = fetch_meter_wait(m);
		if (wait == 0) {
			fetch_meter_pay(m, piece);
			sent += piece;
			t += (int64_t)(piece % 3); /* sending takes time as well */
		}
		t += wait;
	}
	return sent;
}

int main(void)
{
	static const uint64_t rates[] = { 1, 1000, 1000000, 123456789, UINT64_C(1) << 39 };
	static const uint64_t pieces[] = { 1, 1400, 32768, 65536 };
	struct fetch_meter m;

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
		for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
			uint64_t sent, fair = rates[i] * 100;

			if (rates[i] / pieces[k] > 100000)
				continue; /* would only take long */
			fetch_meter_set(&m, rates[i], 0);
			sent = run(&m, pieces[k], 100000);
			CHECK(sent <= fair + rates[i] / 4 + pieces[k], "rate %ju: %ju > %ju",
			      (uintmax_t)rates[i], (uintmax_t)sent, (uintmax_t)fair);
			/* one piece a millisecond is all this loop can do */
			if (rates[i] < pieces[k] * 100)
				CHECK(sent + pieces[k] >= fair - fair / 10, "rate %ju: %ju < %ju",
				      (uintmax_t)rates[i], (uintmax_t)sent, (uintmax_t)fair);
		}
	fetch_meter_set(&m, 0, 0);
	fetch_meter_pay(&m, UINT64_MAX / 2000);
	CHECK(fetch_meter_wait(&m) == 0, "no limit, but waits");
	fetch_meter_set(&m, UINT64_MAX, 0);
	CHECK(fetch_meter_wait(&m) == 0, "endless rate waits");
	fetch_meter_set(&m, 1000, 50);
	fetch_meter_fill(&m, 10);
	CHECK(m.purse == 0, "a clock that goes back pays");
	return 0;
}
