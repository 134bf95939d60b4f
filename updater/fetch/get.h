/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_GET_H
#define UPDATER_FETCH_GET_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "updater/fetch/settings.h"

/* `proa-fetch get`: what a host would see, for people. */
struct fetch_get {
	const char *url;
	const char *output;      /* file name, or NULL: standard output */
	uint64_t offset, length; /* length 0: to the end */
	uint64_t max_bytes;
	const char *etag; /* "" any */
	bool quiet;
};

/*
 * Forks a sandboxed child that runs fetch_serve(), asks it through the wire client and writes what
 * comes. Progress and notes go to stderr. With an output file a failed get leaves no file behind.
 */
int fetch_get_run(const struct fetch_get *get, const struct fetch_settings *s, struct err *e)
	__attribute__((warn_unused_result));

#endif
