/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_ADDRESS_H
#define IGNITION_LITE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "ignition-lite/config.h"

/*
 * What a request needs of an http or https URL (RFC 3986, RFC 9110). Pure. Sentences do not repeat
 * the URL, as it may hold a secret.
 */
enum { IGN_HOST_MAX = 254, IGN_PORT_MAX = 6 };

struct ign_address {
	bool tls;                    /* https */
	bool literal;                /* host is an IP address */
	bool v6;                     /* in brackets, where it is written */
	char host[IGN_HOST_MAX + 1]; /* without brackets */
	char port[IGN_PORT_MAX];
	bool usual_port; /* 80 or 443 by scheme */
	/* into the URL, not NUL-terminated; user_n 0: none */
	const char *user;
	size_t user_n;
	const char *path; /* path and query, without fragment */
	size_t path_n;
};

/* ERR_REFUSED for what cannot be fetched. *ret borrows from url. */
int ign_address_read(const char *url, struct ign_address *ret, struct err *e)
	__attribute__((warn_unused_result));

/* "host", "host:8080", "[::1]:8080": as Host: has it; port: also the usual one. */
int ign_address_host(const struct ign_address *a, bool port, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/* The path and query for a request line: never empty, bytes beyond ASCII and blanks encoded. */
int ign_address_path(const struct ign_address *a, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/* Appends "Basic <base64>" of the URL's user and password (RFC 7617). */
int ign_address_basic(const struct ign_address *a, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Where ref (a Location:) leads from base, without fragment and dot segments (RFC 3986, 5.2).
 * ERR_REFUSED when it is none.
 */
int ign_address_resolve(const char *base, const char *ref, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Is the address one of those that no proxy is used for? Each is "*", a domain (itself and all
 * below it; with a leading dot only those below it), an IP address or a CIDR prefix, perhaps with a
 * port.
 */
bool ign_address_direct(const struct ign_address *a, const struct ign_strings *none);

#endif
