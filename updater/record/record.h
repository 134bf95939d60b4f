/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_RECORD_RECORD_H
#define UPDATER_RECORD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sys.h"

/*
 * What this host did and must remember across reboots, in two checksummed copies, record.0 and
 * record.1, of which the older is replaced at each store:
 *
 *	proa-record 1 <seq> <SHA-256 of the body, hex>\n
 *	{ "seq": ..., "phase": ..., ... }
 *
 * Copy i holds the states with seq % 2 == i, so a store never touches the newest. The names of the
 * JSON members are in record_json.c and stay as they are; unknown ones are ignored.
 */
#define RECORD_VERSION_MAX  65
#define RECORD_TEXT_MAX     401
#define RECORD_EVENTS_MAX   64 /* the oldest is dropped for a new one */
#define RECORD_FAILURES_MAX 32 /* likewise */
#define RECORD_BYTES_MAX    ((size_t)256 << 10)
#define RECORD_BOOT_ID_MAX  33 /* 32 hex digits, or empty */

/* How far the update to `target` has come, design.md "The update". */
enum record_phase {
	RECORD_IDLE,    /* no update is under way */
	RECORD_WRITING, /* the slot may hold parts of target, and nothing points to it */
	RECORD_STAGED,  /* the slot holds target, proved; no boot entry */
	RECORD_APPLIED, /* the boot entry is there; not yet known to be good */
};

struct record_release {
	char version[RECORD_VERSION_MAX];
	uint8_t root[32]; /* dm-verity root hash */
	uint8_t uki_sha256[32];
	uint64_t uki_bytes;
};

enum record_cause {
	RECORD_HEALTH,   /* a required health check said no */
	RECORD_NO_BOOT,  /* its boot entry was tried and something else is running */
	RECORD_ROLLBACK, /* a person went back */
};

/* A release that is never offered again on this host unless a person forgives it. */
struct record_failure {
	char version[RECORD_VERSION_MAX];
	uint8_t root[32];
	int64_t when;
	enum record_cause cause;
	char reason[RECORD_TEXT_MAX];
};

enum record_kind {
	RECORD_EV_STAGED,
	RECORD_EV_APPLIED,
	RECORD_EV_GOOD,        /* booted, healthy, blessed */
	RECORD_EV_FAILED,      /* unhealthy, or did not boot */
	RECORD_EV_FELL_BACK,   /* the older release runs again */
	RECORD_EV_ROLLED_BACK, /* by a person */
	RECORD_EV_FORGIVEN,
};

struct record_event {
	uint64_t id; /* from 1, rising, never used twice */
	int64_t when;
	enum record_kind kind;
	char version[RECORD_VERSION_MAX], from[RECORD_VERSION_MAX];
	uint8_t root[32];
	uint64_t fetched, written; /* bytes */
	uint64_t seconds;          /* it took */
	char text[RECORD_TEXT_MAX];
	char boot_id[RECORD_BOOT_ID_MAX];
};

enum { RECORD_KINDS = RECORD_EV_FORGIVEN + 1, RECORD_CAUSES = RECORD_ROLLBACK + 1 };
enum { RECORD_ERRORS = ERR_BUG + 1 };

/*
 * Sums since the record began, which events that were dropped are still part of. For metrics, and
 * for FallbackLimit=.
 */
struct record_totals {
	uint64_t fallbacks; /* in a row, see record_fallbacks() */
	uint64_t checks;
	uint64_t failures[RECORD_ERRORS]; /* verbs that failed, by enum err_kind */
	uint64_t events[RECORD_KINDS];
	uint64_t causes[RECORD_CAUSES];
	uint64_t fetched, written, seconds; /* of events */
};

struct record {
	uint64_t seq;     /* of the copy it was read from; 0: none was there */
	unsigned damaged; /* of a load, not stored: bit i says that record.<i> could not be used */
	enum record_phase phase;
	struct record_release target; /* unless IDLE */
	char slot;                    /* 'A' or 'B': where target lies; '-' while IDLE */
	bool uki_only;                /* the running slot holds target's /usr already */
	char applied_boot_id[RECORD_BOOT_ID_MAX]; /* boot in which it was applied */
	struct record_release good; /* last release proved healthy here; version empty: none */
	int64_t good_since;
	int64_t last_check, last_check_ok; /* 0: never */
	char last_error[RECORD_TEXT_MAX];  /* of the last check; empty: it went well */
	char newest[RECORD_VERSION_MAX];   /* in the channel, as last seen */
	int64_t metadata_time; /* newest time known to be past; the clock's lower bound */
	struct record_failure failure[RECORD_FAILURES_MAX];
	size_t n_failure;
	struct record_event event[RECORD_EVENTS_MAX];
	size_t n_event;
	uint64_t next_event; /* id of the next event */
	struct record_totals totals;
};

/*
 * The newer valid copy in the directory; an empty record when there is none, whose events go on
 * counting where the history (chain.h) ends. Damage (also -EIO)
 * with no valid copy beside it: ERR_HOST -EUCLEAN, naming the files and what to do.
 */
int record_load(struct sys *sys, int dir, struct record *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Stores r as seq + 1 over the older copy, durably; r->seq is raised. Then new events are added to
 * the history (chain.h); a history that does not hold together is left as it is, without an error.
 */
int record_store(struct sys *sys, int dir, struct record *r, struct err *e)
	__attribute__((warn_unused_result));

/* Moves damaged copies aside ("record.0.damaged") so that the next load finds none. */
int record_reset(struct sys *sys, int dir, struct err *e) __attribute__((warn_unused_result));

/* The lock under which load, change and store belong together; held until *ret is closed. */
int record_lock(struct sys *sys, int dir, struct sys_fd *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The two halves of load and store: JSON body to and from the struct, seq included. Pure. Errors of
 * parse: ERR_INPUT, or -ENOMEM (HOST); `what` leads the sentence.
 */
int record_parse(const void *p, size_t n, const char *what, struct record *ret, struct err *e)
	__attribute__((warn_unused_result));
struct buf;
int record_format(const struct record *rec, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/* Pure changes. Texts are cleaned and cut. ev's id is given here; a repeated failure is updated. */
void record_add_event(struct record *r, const struct record_event *ev);
void record_add_failure(struct record *r, const struct record_failure *f);
/* The failure of that version, or NULL. */
const struct record_failure *record_failed(const struct record *r, const char *version);
/* n more, up to INT64_MAX, which JSON can hold. */
void record_count(uint64_t *total, uint64_t n);
/*
 * How often in a row this host fell back: "fell back" events since a release was last found good,
 * or a person forgave one. Pure.
 */
unsigned record_fallbacks(const struct record *r);
/* The last "fell back" event, or NULL. */
const struct record_event *record_last_fallback(const struct record *r);
/* True if there was one. */
bool record_forgive(struct record *r, const char *version);

/* Stable names: "staged", "fell-back"; "health"; "idle". */
const char *record_kind_name(enum record_kind k);
const char *record_cause_name(enum record_cause c);
const char *record_phase_name(enum record_phase p);

#endif
