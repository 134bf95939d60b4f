/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_UNIT_H
#define UPDATER_HEALTH_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/health/check.h"

/*
 * The check that a systemd unit becomes active and stays so: its watch time begins when it became
 * active. Before that it may fail and be started again, as services do that wait for each other;
 * once it was seen active in its watch time, leaving that state or being started anew is a failure;
 * reloading is neither. Pure; run.h asks systemd.
 */

/* What `systemctl show` says of a unit; names and values are those of org.freedesktop.systemd1. */
struct health_unit_state {
	char load[32], active[32], sub[48], result[48];
	uint64_t active_since_us; /* CLOCK_MONOTONIC; 0: never */
	uint64_t restarts;
};
#define HEALTH_UNIT_SHOW                                                                           \
	"--property=LoadState,ActiveState,SubState,Result,ActiveEnterTimestampMonotonic,NRestarts"
#define HEALTH_UNIT_BYTES_MAX ((size_t)4096)

/* Reads its lines p[0..n); unknown ones are passed over. ERR_INPUT when LoadState or ActiveState is
 * not there or a number is none. */
int health_unit_parse(const char *p, size_t n, struct health_unit_state *ret, struct err *e)
	__attribute__((warn_unused_result));

struct health_watch {
	uint64_t stay_ms; /* how long it must stay active */
	/* what was seen before; zero at first */
	bool active, failed;
	uint64_t active_since_us, restarts, failed_since_ms;
};

/*
 * One look at the unit at now_ms (CLOCK_MONOTONIC). HEALTH_WAITING: look again; else its end, or
 * for HEALTH_FAILED a text that says what was seen.
 */
enum health_end health_watch_step(struct health_watch *w, const struct health_unit_state *s,
				  uint64_t now_ms, char text[HEALTH_LINE_MAX]);

/* "is activating (auto-restart)": what is told of a unit that was not active at the deadline. */
void health_unit_text(const struct health_unit_state *s, char text[HEALTH_LINE_MAX]);

#endif
