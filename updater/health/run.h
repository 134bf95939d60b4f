/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_RUN_H
#define UPDATER_HEALTH_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "updater/health/check.h"

/* Bytes of a check's output that are kept. */
#define HEALTH_OUTPUT_MAX ((size_t)4096)

/* Which checks there are beside those in the directories. */
struct health_want {
	const char *root;                 /* "" for the host */
	bool greenboot;                   /* also greenboot's directories */
	const char *units, *wanted_units; /* names with blanks between, or NULL */
	bool update;                      /* can-update */
};

/*
 * All of them, required before wanted: /usr/lib/proa/health and /etc/proa/health, greenboot's,
 * units, built-in. Absent directories are no error.
 */
int health_find(const struct health_want *w, struct health_check check[HEALTH_CHECKS_MAX],
		size_t *ret_n, struct err *e) __attribute__((warn_unused_result));

enum { HEALTH_PROACTL_MAX = 4 };

struct health_run {
	const char *root;
	const char *version;  /* given to the checks as PROA_VERSION */
	uint64_t deadline_ms; /* for all of them together */
	uint64_t stay_ms;     /* watch time of units */
	/* can-update */
	const char *proactl[HEALTH_PROACTL_MAX]; /* argv before "--json VERB"; NULL: end */
	uint64_t update_ms;  /* how long it is tried again while it does not pass */
	bool outside_counts; /* it is required even for what lies outside of this host */
	/* after each check, run or not: what it printed; may be NULL */
	void (*ended)(void *arg, const struct health_check *c, const char *output, size_t n);
	void *arg;
};

/*
 * Runs check[0..n) one after another, each in its own process group with PATH, LANG and
 * PROA_VERSION as environment, and notes their ends. A check that cannot be started has failed.
 */
void health_run(const struct health_run *h, struct health_check *check, size_t n);

/* The file behind a script's check: out[0..cap). */
void health_path(const char *root, const struct health_check *c, char *out, size_t cap);

#endif
