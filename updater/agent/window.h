/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_WINDOW_H
#define UPDATER_AGENT_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * When this host may reboot: "Sat,Sun 02:00 Europe/Berlin for 3h | Wed 04:30 for 1h". What stands
 * before "for" is a calendar expression of systemd.time(7), and systemd says when it elapses, so
 * that time zones and daylight saving are those of every timer on the host.
 */
#define WINDOWS_MAX          16
#define WINDOW_WHEN_MAX      128
#define WINDOW_SECONDS_LEAST ((uint64_t)60)
#define WINDOW_SECONDS_MOST  ((uint64_t)7 * 24 * 3600)

struct window {
	char when[WINDOW_WHEN_MAX];
	uint64_t seconds; /* WINDOW_SECONDS_LEAST to _MOST */
};

struct windows {
	struct window w[WINDOWS_MAX];
	size_t n; /* 0: none, which is never closed */
};

/* Pure. ERR_INPUT says which part is wrong; whether systemd understands it is not looked at. */
int window_parse(const char *s, struct windows *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The first time after `after` that the expression elapses, 0: never. */
typedef int (*window_next_fn)(void *arg, const char *when, int64_t after, int64_t *ret,
			      struct err *e);

/*
 * systemd's answer, by systemd-analyze(1). Expressions without a time zone are in the host's own.
 * ERR_INPUT for one it does not understand, ERR_HOST when it cannot be asked. arg is not used.
 */
int window_next(void *arg, const char *when, int64_t after, int64_t *ret, struct err *e)
	__attribute__((warn_unused_result));

struct window_state {
	bool open;
	int64_t changes; /* when it closes or opens; 0: never */
	size_t which;    /* the window this is about */
};

/* Pure but for next. A window is open from the moment it elapses, for its seconds. */
int window_look(const struct windows *w, int64_t now, window_next_fn next, void *arg,
		struct window_state *ret, struct err *e) __attribute__((warn_unused_result));

#endif
