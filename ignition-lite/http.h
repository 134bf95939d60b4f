/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_HTTP_H
#define IGNITION_LITE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ignition-lite/config.h"

/*
 * GET over http and https, with Ignition's rules: a network error or 5xx is tried again after
 * 100 ms, doubling up to 5 s; any other answer than 200 fails at once. At most 10 redirects, never
 * from https to http; the config's own headers are not sent along to where they lead.
 */
struct ign_http {
	struct ign_timeouts timeouts;
	const char *proxy_http, *proxy_https; /* NULL: none; the environment's are not used */
	const struct ign_strings *proxy_none; /* may be NULL */
	const char *ca;                       /* PEM certificates to trust; NULL: libcurl's own */
	size_t ca_n;
	/* a sentence about a try that failed, for people; may be NULL */
	void (*note)(void *arg, const char *text);
	void *note_arg;
};

/*
 * Without ignition.timeouts.httpTotal Ignition tries for ever. Here a host says after this long
 * what is wrong, and its next boot tries again.
 */
enum { IGN_HTTP_TOTAL_S = 600, IGN_HTTP_HEADERS_S = 10, IGN_HTTP_REDIRECTS = 10 };

/* Which answers are worth another try. */
enum ign_http_kind {
	IGN_HTTP_RESOURCE, /* 5xx; first pause 100 ms */
	IGN_HTTP_IMDS,     /* 404, 410, 429, 5xx: the service is not ready; first pause 200 ms */
};

struct ign_http_get {
	const char *url;
	const struct ign_header *header;
	size_t headers;
	enum ign_http_kind kind;
	bool config; /* ask for an Ignition config by its media type */
};

/* begin is called before the bytes of each try, so that what a broken one brought is forgotten. */
struct ign_http_sink {
	int (*begin)(void *arg, struct err *e);
	int (*add)(void *arg, const void *p, size_t n, struct err *e);
	void *arg;
};

/*
 * ERR_RETRY when time ran out, ERR_REFUSED for an answer that stays, or what the sink said. The
 * sentence shows the URL without its query.
 */
int ign_http_get(const struct ign_http *h, const struct ign_http_get *get,
		 const struct ign_http_sink *sink, struct err *e)
	__attribute__((warn_unused_result));

/* Pure: is an answer with this status worth another try? */
bool ign_http_again(enum ign_http_kind kind, unsigned status);
/* Pure: milliseconds to wait before try number n (from 2). */
unsigned ign_http_pause_ms(enum ign_http_kind kind, unsigned n);
/* Pure: may a redirect lead from one URL to the other? http or https only, never out of https. */
bool ign_http_may_follow(const char *from, const char *to);

#endif
