/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_WIRE_CLIENT_H
#define UPDATER_WIRE_CLIENT_H

#include <poll.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/wire/wire.h"

/*
 * The agent's end: asks proa-fetch for byte ranges and checks that every answer belongs to a
 * request and keeps its promises, because a process with network may have been taken over. What it
 * passes on is still only bytes from a stranger: the caller proves them.
 *
 * Typical use:
 *	wire_client_new(fd, &c, e); wire_client_get(c, &get, &id, e);
 *	while ((r = wire_client_next(c, 30000, &m, e)) > 0)
 *		switch (m->type) { case WIRE_HEAD: ... WIRE_DATA: ... WIRE_END: WIRE_FAIL:
 *WIRE_NOTE:
 *}
 */
struct wire_client;

/* Takes fd (a connected SOCK_SEQPACKET), made non-blocking, and sends HELLO. */
int wire_client_new(int fd, struct wire_client **ret, struct err *e)
	__attribute__((warn_unused_result));
void wire_client_free(struct wire_client *c);
static inline void wire_client_freep(struct wire_client **c)
{
	wire_client_free(*c);
}
#define AUTO_WIRE_CLIENT __attribute__((cleanup(wire_client_freep))) struct wire_client

/*
 * Waits until fd has one of `events` (poll.h) or timeout_ms (-1: for ever) is over: 1, 0, or a
 * negative errno that ends the call that waited. Lets an agent serve D-Bus meanwhile; a Cancel
 * there returns -ECANCELED here. Without one, poll(2) is used.
 */
typedef int (*wire_wait_fn)(void *arg, int fd, short events, int timeout_ms);
void wire_client_set_wait(struct wire_client *c, wire_wait_fn fn, void *arg);

/*
 * Asks for get->offset.. (see struct wire_get); the number of this request is *ret_id, never 0. At
 * most WIRE_FLIGHT_MAX run at once (-EBUSY, ERR_BUG, beyond). ERR_INPUT for a URL or bound that
 * cannot be sent.
 */
int wire_client_get(struct wire_client *c, const struct wire_get *get, uint32_t *ret_id,
		    struct err *e) __attribute__((warn_unused_result));

/*
 * Asks for post to be sent, once; its answer is one REPLY or FAIL of *ret_id. One at a time
 * (-EBUSY, ERR_BUG). ERR_INPUT for a URL or a body that cannot be sent.
 */
int wire_client_post(struct wire_client *c, const struct wire_post *post, uint32_t *ret_id,
		     struct err *e) __attribute__((warn_unused_result));

/* For POSTs from now on. ERR_INPUT for a file that is too long, or a key without certificate. */
int wire_client_tls(struct wire_client *c, const struct wire_tls *tls, struct err *e)
	__attribute__((warn_unused_result));

/* No event of id comes any more; an id that has ended is fine too. */
int wire_client_cancel(struct wire_client *c, uint32_t id, struct err *e)
	__attribute__((warn_unused_result));

/* From now on; also while requests run. */
int wire_client_limit(struct wire_client *c, const struct wire_limit *limit, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The next HEAD, DATA, END, FAIL, REPLY or NOTE of a request that was not cancelled; **ret and its
 * data are good until the next call. 1 event, 0 when timeout_ms passed without one (-1: none). A
 * FAIL is an event, not an error of this function (wire_fail_err() makes one of it). Errors:
 * ERR_REFUSED -EBADMSG "proa-fetch misbehaved: ..." (unknown id, DATA outside what was asked, with
 * gaps, past max_bytes or total; END too early), ERR_RETRY -EPIPE when proa-fetch is gone,
 * ERR_HOST when it speaks another version, or what wait returned (ERR_RETRY). After an error the
 * client is only good for wire_client_free().
 *
 * END of a request with a length comes only after exactly these bytes; of one without a length
 * only when HEAD.total bytes were reached, where known.
 */
int wire_client_next(struct wire_client *c, int timeout_ms, const struct wire_msg **ret,
		     struct err *e) __attribute__((warn_unused_result));

/* Requests that have not ended (cancelled ones not counted). */
unsigned wire_client_flights(const struct wire_client *c);

/* How many may be asked for now: a cancelled one takes a place until proa-fetch has ended it. */
unsigned wire_client_room(const struct wire_client *c);

/* What a FAIL says as an error: its kind, -EREMOTEIO (-ENOENT for 404 and 410), its text. */
int wire_fail_err(const struct wire_fail *f, struct err *e) __attribute__((warn_unused_result));

#endif
