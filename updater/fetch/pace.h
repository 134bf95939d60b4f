/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_PACE_H
#define UPDATER_FETCH_PACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A server that keeps us waiting, byte by byte: fewer than `least` bytes per second over least_ms
 * of all transfers together is too slow. Together, since several share one line, and one that
 * stands still beside others is soon the only one that is waited for. Time in which we hold the
 * transfers back ourselves (the agent is busy, the bandwidth is used up) does not count. Pure: the
 * caller has the clock. (libcurl's own limit is per transfer and knows none of this.)
 */
struct fetch_pace {
	uint64_t least; /* bytes per second, 0: any */
	uint64_t least_ms;
	uint64_t waited_ms, bytes; /* of the present window */
	int64_t last_ms;
};

enum fetch_pace_state {
	PACE_IDLE, /* nobody waits for a server */
	PACE_HELD, /* we hold the transfers back */
	PACE_WAIT, /* somebody waits for a server */
};

void fetch_pace_set(struct fetch_pace *p, uint64_t least, uint64_t least_s, int64_t now_ms);
void fetch_pace_add(struct fetch_pace *p, uint64_t bytes);

/* What the time since the last call was spent on; true: it was too slow, and a new window begins.
 */
bool fetch_pace_slow(struct fetch_pace *p, enum fetch_pace_state was, int64_t now_ms);

#endif
