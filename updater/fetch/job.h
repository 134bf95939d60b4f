/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_JOB_H
#define UPDATER_FETCH_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/fetch/answer.h"
#include "updater/fetch/meter.h"
#include "updater/fetch/pace.h"
#include "updater/wire/wire.h"

/* One GET of the agent: what it has got so far, and how that goes onto the wire. */

enum fetch_job_state {
	JOB_FREE,
	JOB_RUN,  /* libcurl works on it */
	JOB_WAIT, /* until retry_ms, then asks again */
	JOB_FILE, /* reads a local file */
	JOB_OVER, /* `last` (and HEAD) must still go onto the wire */
};

/* Grouped by meaning; there are few of them. */
struct fetch_job { /* NOLINT(clang-analyzer-optin.performance.Padding) */
	enum fetch_job_state state;
	uint32_t id;
	int wire;
	struct fetch_meter *meter;
	struct fetch_pace *pace;
	struct wire_get get;

	/* the file */
	bool head_sent;
	struct wire_head head; /* good once known */
	bool known;            /* an answer was accepted */
	uint64_t next;         /* next byte of the file to put onto the wire */
	uint64_t sent;         /* bytes of DATA */

	/* the present answer */
	struct fetch_answer answer;
	struct fetch_body body;
	bool asked;   /* the request is on its way: the server's turn */
	bool judged;  /* `verdict` is good */
	int verdict;  /* 0 or what fetch_answer_judge() returned */
	uint64_t pos; /* offset in the file of the next byte of the body */
	uint64_t swallowed;
	bool paused, complete;
	struct err err; /* why the verdict, or why the body was cut off */
	bool cut;       /* err is final, whatever libcurl says */

	/* tries */
	unsigned tries; /* since the last real progress */
	uint64_t try_from;
	uint32_t requests, retries;
	int64_t retry_ms, deadline_ms;

	struct wire_msg last;  /* END or FAIL */
	struct fetch_curl *go; /* transfer.c */
	int fd;                /* file.c */
};

/* Puts HEAD onto the wire unless it is there; -EAGAIN when the wire is full. */
int fetch_job_head(struct fetch_job *j, struct err *e) __attribute__((warn_unused_result));

/*
 * Takes n bytes of the body and sends what of them was asked for. 0 all taken, 1 taken and nothing
 * more is needed, -EAGAIN the wire is full or the bandwidth used up: give the same bytes again
 * later (j knows how many of them have gone out), -EFBIG more than the agent allows.
 */
int fetch_job_take(struct fetch_job *j, const uint8_t *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));

/* True when every byte asked for was sent, as far as the length is known. */
bool fetch_job_full(const struct fetch_job *j);

/* The request is over: END, or FAIL with e and its URL. */
void fetch_job_end(struct fetch_job *j);
void fetch_job_fail(struct fetch_job *j, const struct err *e);

/* Sends `last` (after HEAD); 0 the job is free, -EAGAIN later. */
int fetch_job_flush(struct fetch_job *j, struct err *e) __attribute__((warn_unused_result));

/* For people; dropped when the wire is full. */
void fetch_job_note(const struct fetch_job *j, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
