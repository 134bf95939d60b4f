/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_SERVE_H
#define UPDATER_FETCH_SERVE_H

#include "base/err.h"
#include "updater/fetch/settings.h"

/*
 * Serves the wire on fd until the agent hangs up (0). An error when the agent breaks the protocol
 * (ERR_REFUSED) or this machine cannot go on (ERR_HOST). Call fetch_sandbox_enter() before. Memory
 * is bounded: at most WIRE_FLIGHT_MAX requests, no body is kept; when the socket is full, the
 * transfers pause.
 */
int fetch_serve(int fd, const struct fetch_settings *settings, struct err *e)
	__attribute__((warn_unused_result));

#endif
