/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_RECORD_CHAIN_H
#define UPDATER_RECORD_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/record/record.h"

/*
 * The history that outlives the record's 64 events: history.jsonl beside the record, one JSON
 * object a line, each with the hash of the line before,
 *
 *	{"n":7,"prev":"<SHA-256 of line 6 without its newline>","id":...,"when":...,"event":...}
 *
 * so that a line that is removed, changed or moved is found. prev of the first is 64 zeros. What
 * is cut from the end is found by the record, which knows the newest events (all but who caused
 * them), and by whoever kept an older head.
 */
#define CHAIN_FILE "history.jsonl"
enum { CHAIN_LINE_MAX = 4096, CHAIN_BYTES_MAX = 16 << 20, CHAIN_ACTOR_MAX = 65 };

struct chain_head {
	uint64_t n;       /* lines */
	uint64_t last_id; /* of the last line's event; 0 without lines */
	uint8_t hash[32]; /* of the last line; zeros without */
};

/* One line read back. */
struct chain_entry {
	uint64_t n;
	struct record_event event;
	char actor[CHAIN_ACTOR_MAX];
};

/*
 * Walks p[0..n), calling fn (may be NULL) for each line in order; non-zero stops. ERR_REFUSED
 * -EBADMSG names the first line that does not follow from the one before, ERR_INPUT one that is no
 * entry. Pure.
 */
typedef int (*chain_fn)(void *arg, const struct chain_entry *en, const uint8_t hash[32]);
int chain_walk(const char *p, size_t n, chain_fn fn, void *arg, struct chain_head *ret,
	       struct err *e) __attribute__((warn_unused_result));

/* The line for ev behind head, with its newline, appended to out; head moves on. Pure. */
struct buf;
int chain_format(const struct record_event *ev, const char *actor, struct chain_head *head,
		 struct buf *out, struct err *e) __attribute__((warn_unused_result));

/*
 * Appends, durably and at once (file_replace), every event of rec that the history does not have
 * yet. Call it after each record_store(), under the same lock: events that a power cut kept out
 * come with the next call. actor: who caused them ("proad", "uid 1000"). A history that does not
 * hold together is left as it is: ERR_REFUSED -EBADMSG. ret may be NULL.
 */
int chain_sync(struct sys *sys, int dir, const struct record *rec, const char *actor,
	       struct chain_head *ret, struct err *e) __attribute__((warn_unused_result));

/* Where the history in dir ends; all zeros when there is none. Errors as chain_walk(). */
int chain_end(struct sys *sys, int dir, struct chain_head *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Do history and record tell the same? ERR_REFUSED -EBADMSG: an event of the record is missing in
 * the history or stands there with other words.
 */
int chain_compare(const char *p, size_t n, const struct record *rec, struct err *e)
	__attribute__((warn_unused_result));

#endif
