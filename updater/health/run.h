/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_RUN_H
#define UPDATER_HEALTH_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "updater/health/check.h"

/* Bytes of a check's output that are kept. */
#define HEALTH_OUTPUT_MAX ((size_t)4096)

/*
 * The checks below root ("" for the host): /usr/lib/proa/health and /etc/proa/health, required.d
 * before wanted.d. Absent directories are no error.
 */
int health_find(const char *root, struct health_check check[HEALTH_CHECKS_MAX], size_t *ret_n,
		struct err *e) __attribute__((warn_unused_result));

struct health_run {
	const char *root;
	const char *version;  /* given to the checks as PROA_VERSION */
	uint64_t deadline_ms; /* for all of them together */
	/* after each check, run or not: what it printed; may be NULL */
	void (*ended)(void *arg, const struct health_check *c, const char *output, size_t n);
	void *arg;
};

/*
 * Runs check[0..n) one after another, each in its own process group with PATH, LANG and
 * PROA_VERSION as environment, and notes their ends. A check that cannot be started has failed.
 */
void health_run(const struct health_run *h, struct health_check *check, size_t n);

#endif
