/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_POST_H
#define UPDATER_FETCH_POST_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/fetch/settings.h"
#include "updater/wire/wire.h"

/*
 * The POST of the agent: sent once, to exactly that URL, on a connection of its own. Whatever the
 * server answers is its answer; only what brings none is a failure.
 */
struct fetch_post {
	uint32_t id; /* 0: none runs */
	CURL *easy;
	struct curl_slist *fields;
	char text[CURL_ERROR_SIZE];
	char url[WIRE_URL_MAX + 1];
	uint8_t *answer; /* WIRE_BODY_MAX */
	size_t n;
	bool too_long;
	bool over; /* `last` must still go onto the wire */
	struct wire_msg last;
};

/* What the agent said of TLS, for the POSTs that follow. */
struct fetch_tls {
	uint8_t *ca, *cert, *key;
	size_t ca_n, cert_n, key_n;
};

/* Takes a copy of what m says. ERR_HOST -ENOMEM. */
int fetch_tls_set(struct fetch_tls *t, const struct wire_tls *m, struct err *e)
	__attribute__((warn_unused_result));
void fetch_tls_done(struct fetch_tls *t);

/* Sends m (a POST); none may run. What fails at once is p->last as well. */
void fetch_post_start(struct fetch_post *p, CURLM *multi, const struct fetch_settings *s,
		      const struct fetch_tls *t, const struct wire_msg *m);

/* libcurl is done with it: p->last is what to say. */
void fetch_post_done(struct fetch_post *p, CURLM *multi, CURLcode code);

/* Ends it with that failure; nothing if none runs. */
void fetch_post_fail(struct fetch_post *p, CURLM *multi, enum err_kind kind, const char *why);

/* Says p->last; 0 it is free again (or was), -EAGAIN the wire is full. */
int fetch_post_flush(struct fetch_post *p, int wire, struct err *e)
	__attribute__((warn_unused_result));

/* Gives back what it holds. */
void fetch_post_stop(struct fetch_post *p, CURLM *multi);

#endif
