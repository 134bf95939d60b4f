/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_METRICS_METRICS_H
#define UPDATER_METRICS_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * What Prometheus is told of this host, in its text format 0.0.4: for node_exporter's textfile
 * collector and for whoever asks on proa-metrics.socket. Times are timestamps, so that a file that
 * nobody wrote for days still tells the truth. Pure.
 */

/* A number with a name from a fixed list: one sample of a family. */
struct metrics_count {
	const char *name;
	uint64_t n;
};

struct metrics_check {
	const char *name;
	bool required, passed;
};

struct metrics {
	/* "" or 0 where not known; such samples are left out */
	const char *image, *version, *slot, *channel, *newest, *target;
	uint8_t root[32];
	bool running;

	const char *const *states; /* all there are, n_states */
	size_t n_states;
	const char *state; /* the one of them it is in */
	bool reboot_wanted;
	uint64_t fallbacks; /* in a row, without a good release between them */
	bool halted;        /* so many that nothing new is taken by itself */
	uint64_t failed_releases;
	int64_t good_since;

	int64_t last_check, last_check_ok;
	uint64_t checks;
	const struct metrics_count *failures; /* by kind of error */
	size_t n_failures;
	const struct metrics_count *events; /* by kind */
	size_t n_events;
	const struct metrics_count *causes; /* of releases that failed */
	size_t n_causes;
	uint64_t fetched, written, staging_seconds;
	int64_t last_staged; /* 0: never; the next three are of that */
	uint64_t last_seconds, last_fetched, last_written;

	int64_t health_when; /* 0: no results */
	bool healthy;
	uint64_t health_seconds;
	const struct metrics_check *check;
	size_t n_check;
};

int metrics_format(const struct metrics *m, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));

/* What a client of the socket wants, from the p[0..n) that it has sent so far. */
enum metrics_request {
	METRICS_MORE,    /* not known yet */
	METRICS_PLAIN,   /* the text alone: it does not speak HTTP */
	METRICS_GET,     /* HTTP, of / or /metrics */
	METRICS_HEAD,    /* the same without the text */
	METRICS_UNKNOWN, /* HTTP, of something else */
	METRICS_REFUSED, /* HTTP, neither GET nor HEAD, or too long */
};
#define METRICS_REQUEST_MAX ((size_t)8192)
/* end: nothing more comes. RFC 9112. */
enum metrics_request metrics_request(const char *p, size_t n, bool end);

/* The head of the HTTP answer to that request; n: bytes of the text. */
int metrics_head(enum metrics_request q, size_t n, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
