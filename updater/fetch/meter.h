/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_METER_H
#define UPDATER_FETCH_METER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * One bandwidth limit for all transfers: what goes onto the wire is paid for, and while the purse
 * is empty the transfers pause, so that TCP slows the server down. Pure: the caller has the clock.
 * (libcurl's own limit forgets itself when a transfer is paused.)
 */
struct fetch_meter {
	uint64_t rate;   /* bytes per second, 0: no limit */
	int64_t purse;   /* thousandths of bytes; below 0 after a large piece */
	int64_t last_ms; /* when it was filled */
};

/* A rate of 1 TiB/s or more is none. */
void fetch_meter_set(struct fetch_meter *m, uint64_t rate, int64_t now_ms);
void fetch_meter_fill(struct fetch_meter *m, int64_t now_ms);
void fetch_meter_pay(struct fetch_meter *m, uint64_t bytes);

/* Milliseconds until something may be sent; 0: now. */
int64_t fetch_meter_wait(const struct fetch_meter *m);

#endif
