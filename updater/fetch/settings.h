/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_SETTINGS_H
#define UPDATER_FETCH_SETTINGS_H

#include <stdint.h>

#define FETCH_AGENT "proa/" PROA_VERSION

/* What the options of proa-fetch set. */
struct fetch_settings {
	unsigned tries;      /* in a row without FETCH_PROGRESS more bytes */
	uint64_t min_rate;   /* bytes per second, 0: any */
	uint64_t min_time_s; /* for how long it may be slower */
	uint64_t deadline_s; /* for one GET, retries and waits included */
	uint64_t limit_rate; /* bytes per second of all together, 0: none */
	uint64_t connect_s;  /* for name, TCP and TLS */
	const char *ca;      /* PEM file instead of the system's, or NULL */
	const char *cert;    /* PEM file that says who we are, or NULL */
	const char *key;     /* its key, or NULL: in the same file */
};

#define FETCH_PROGRESS        ((uint64_t)1 << 20)
#define FETCH_RETRY_AFTER_MAX 300u /* seconds a server may ask us to wait */
#define FETCH_RETRY_AFTER_FEW 5u   /* the same, when the agent set the tries */

#define FETCH_SETTINGS_INIT                                                                        \
	{                                                                                          \
		.tries = 8, .min_rate = 1024, .min_time_s = 30, .deadline_s = 43200,               \
		.connect_s = 30                                                                    \
	}

#endif
