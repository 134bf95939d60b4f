/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_ANSWER_H
#define IGNITION_LITE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * The answer to one GET on a connection that is not used again (HTTP/1.1, RFC 9112): bytes in, in
 * any pieces; status, Location: and the body out. Pure. ERR_RETRY for what is no such answer.
 */
enum { IGN_ANSWER_LINE_MAX = 64 << 10, IGN_ANSWER_HEAD_MAX = 1 << 20 };

enum ign_answer_state {
	IGN_ANSWER_STATUS,
	IGN_ANSWER_FIELDS,
	IGN_ANSWER_LENGTH,     /* the body, left bytes of it */
	IGN_ANSWER_CHUNK_SIZE, /* a line */
	IGN_ANSWER_CHUNK,      /* left bytes of it */
	IGN_ANSWER_CHUNK_END,  /* an empty line */
	IGN_ANSWER_TRAILER,
	IGN_ANSWER_CLOSE, /* the body, as far as it goes */
	IGN_ANSWER_DONE,
};

struct ign_answer {
	enum ign_answer_state state;
	bool connect; /* set before: the answer to a CONNECT, which has no body when it is 2xx */
	bool headed;  /* status and fields are there */
	unsigned status;
	struct buf location; /* as it came; n 0: none */
	/* for itself */
	struct buf line;
	size_t head_n;
	bool chunked, has_length;
	uint64_t left;
};

void ign_answer_done(struct ign_answer *a);
#define AUTO_IGN_ANSWER __attribute__((cleanup(ign_answer_done))) struct ign_answer

/* What the body goes to; an error of it ends the answer. */
struct ign_answer_sink {
	int (*add)(void *arg, const void *p, size_t n, struct err *e);
	void *arg;
};

/* Bytes behind the end are ignored. */
int ign_answer_add(struct ign_answer *a, const char *p, size_t n,
		   const struct ign_answer_sink *sink, struct err *e)
	__attribute__((warn_unused_result));
/* The connection is closed: is it the whole answer? */
int ign_answer_end(const struct ign_answer *a, struct err *e) __attribute__((warn_unused_result));

#endif
