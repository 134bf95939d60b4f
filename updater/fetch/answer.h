/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_ANSWER_H
#define UPDATER_FETCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/wire/wire.h"

/* What a server answers, and what it means for the request. Pure: no I/O, no clock, no libcurl. */

#define FETCH_HEADERS_MAX 65536u /* bytes of header lines in one answer */

/* The header fields of one answer that matter here (RFC 9110). */
struct fetch_answer {
	unsigned status;
	size_t bytes; /* of header lines seen */
	bool has_length, chunked;
	uint64_t length;     /* Content-Length */
	bool has_range, bad; /* bad: a field we depend on is malformed or contradicts itself */
	uint64_t from, last, total; /* Content-Range; total WIRE_UNKNOWN for "*" */
	bool multipart, encoded, offers_ranges, has_location;
	char etag[WIRE_ETAG_MAX + 1]; /* strong ones only, else "" */
};

/*
 * Takes one header line of n bytes, CR LF at its end or not. A status line starts a new answer in
 * *a. Returns true for the empty line that ends the fields.
 */
bool fetch_answer_line(struct fetch_answer *a, const char *p, size_t n);

/* True if this answer sends us elsewhere instead of holding the file. */
bool fetch_answer_redirects(const struct fetch_answer *a);

/* What was asked, and what is known of the file from an earlier answer. */
struct fetch_want {
	const struct wire_get *get;
	uint64_t next;    /* first byte asked for: get->offset, or further after a retry */
	bool ranged;      /* a Range field was sent */
	bool known;       /* an earlier answer gave total and etag */
	uint64_t total;   /* or WIRE_UNKNOWN */
	const char *etag; /* "" when it gave none */
};

/* The file as an accepted answer presents it. */
struct fetch_body {
	uint64_t start; /* offset in the file of the first byte of the body */
	uint64_t stop;  /* offset behind its last byte, WIRE_UNKNOWN: until it ends */
	uint64_t total; /* bytes of the whole file, or WIRE_UNKNOWN */
	bool ranged;
};

/*
 * 0 the body may be taken; -EAGAIN (ERR_RETRY) a passing failure, ask again; any other error ends
 * the request: its kind says what the agent should do. Text without the URL.
 */
int fetch_answer_judge(const struct fetch_answer *a, const struct fetch_want *w,
		       struct fetch_body *ret, struct err *e) __attribute__((warn_unused_result));

/*
 * Milliseconds to wait before try number `next_try` (2 is the first retry): 100 ms doubling to
 * 30 s, half of it chosen by `random`, so that a crowd of hosts spreads out; at least
 * retry_after_s.
 */
uint64_t fetch_backoff_ms(unsigned next_try, uint64_t retry_after_s, uint32_t random);

#endif
