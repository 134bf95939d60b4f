/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_EXCHANGE_H
#define IGNITION_LITE_EXCHANGE_H

#include <stdint.h>

#include "base/err.h"
#include "ignition-lite/answer.h"

/*
 * One GET over TCP or TLS 1.2 and newer (OpenSSL), straight or through a proxy: a connection, a
 * request, an answer. An initrd has libcrypto anyway; libcurl would bring a dozen libraries along.
 */
struct ign_exchange {
	const char *url;
	const char *proxy;  /* NULL: none */
	const char *fields; /* header lines of the request, each with CRLF; not Host: */
	const char *ca;     /* PEM certificates to trust; NULL: OpenSSL's own */
	size_t ca_n;
	unsigned headers_s; /* until the head of the answer is there; 0: no limit of its own */
	uint64_t end_ms;    /* of the whole, by clock_mono_ms() */
};

/*
 * The answer's head is in *ret (zeroed before), the body of a 200 went to the sink; other bodies
 * are not read. ERR_RETRY when the network or the server failed, ERR_REFUSED when another try would
 * meet the same (a certificate, a URL), or what the sink said.
 */
int ign_exchange(const struct ign_exchange *x, const struct ign_answer_sink *sink,
		 struct ign_answer *ret, struct err *e) __attribute__((warn_unused_result));

#endif
