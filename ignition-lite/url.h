/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_URL_H
#define IGNITION_LITE_URL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/* Where a source points to. Pure. */
enum ign_scheme {
	IGN_URL_NONE, /* "": empty contents */
	IGN_URL_DATA,
	IGN_URL_HTTP,
	IGN_URL_HTTPS,
	IGN_URL_REMOTE, /* s3, gs, arn, tftp: valid, and refused (see ign_config_refuse()) */
};

/*
 * Checks a source as Ignition does. *ret, which may be NULL, is untouched on failure. ERR_INPUT
 * with a sentence that does not repeat the URL, as it may hold a secret.
 */
int ign_url_check(const char *url, enum ign_scheme *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The same by spec 3.minor.0: gs came with 3.2.0, arn with 3.4.0. */
int ign_url_check_spec(const char *url, unsigned minor, enum ign_scheme *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Does fetching url (checked) need the network? */
bool ign_url_needs_network(const char *url);

/*
 * The bytes of a data: URL (RFC 2397; base64 or percent-encoded), appended to b; -EFBIG beyond
 * b->max. ERR_INPUT for another URL or a bad encoding.
 */
int ign_url_data(const char *url, struct buf *b, struct err *e) __attribute__((warn_unused_result));

/*
 * The URL for people: scheme, host and path, without user, password, query and fragment; a data:
 * URL as "data: (12 bytes)". Returns out.
 */
char *ign_url_show(const char *url, char *out, size_t cap);

#endif
