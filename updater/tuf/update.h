/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TUF_UPDATE_H
#define TUF_UPDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/tuf/metadata.h"
#include "updater/tuf/reason.h"

/*
 * The client workflow of TUF 1.0.34 section 5 as a machine without I/O. The caller loops:
 *
 *	r = tuf_update_new(root, root_n, start_time, NULL, &u, &why, e);
 *	while ((step = tuf_update_next(u, &rq, e)) > TUF_DONE)
 *		TUF_LOAD:  read the local file rq.name, then tuf_update_answer()
 *		TUF_FETCH: get rq.name below the metadata URL, then tuf_update_answer()
 *		TUF_SAVE:  store rq.data[0..rq.n) as the local file rq.name, durably
 *		TUF_DROP:  remove the local files timestamp.json and snapshot.json, durably
 *
 * SAVE and DROP are counted as done when tuf_update_next() is called again, so a caller that could
 * not do one gives up instead. After TUF_DONE the top-level roles are trusted, and the caller may
 * want a target or a role, which brings more steps and another TUF_DONE.
 *
 * Any failure is final for this object; what was saved before it stays valid and is where the next
 * refresh begins. Names are single path components ("3.root.json", "timestamp.json",
 * "7.%2E..json"): role names are percent-encoded, so they are safe both as file and in URLs.
 *
 * About clocks: start_time is fixed once for the whole update (5.1). TUF metadata carries no time
 * of issue, so nothing here can tell a lower bound for the clock; the caller gives
 * max(clock, newest time it verified elsewhere).
 */

struct tuf_limits {
	size_t root, timestamp, snapshot,
		targets;    /* bytes; snapshot and targets where not listed */
	unsigned roles;     /* delegated roles visited in one search */
	unsigned rotations; /* root versions taken in one refresh */
};
#define TUF_LIMITS_DEFAULT                                                                         \
	{                                                                                          \
		.root = 512u << 10, .timestamp = 16u << 10, .snapshot = 2u << 20,                  \
		.targets = 5u << 20, .roles = 32, .rotations = 256                                 \
	}

struct tuf_update;

/*
 * Begins with the trusted root's bytes (copied). Its shape and its own threshold are checked here,
 * its expiry is not (5.3); a bad one fails with no request made. lim NULL: the defaults.
 */
int tuf_update_new(const void *root, size_t n, int64_t start_time, const struct tuf_limits *lim,
		   struct tuf_update **ret, enum tuf_reason *ret_why, struct err *e)
	__attribute__((warn_unused_result));
void tuf_update_free(struct tuf_update *u);
static inline void tuf_update_freep(struct tuf_update **u)
{
	tuf_update_free(*u);
}
#define AUTO_TUF_UPDATE __attribute__((cleanup(tuf_update_freep))) struct tuf_update

enum tuf_step { TUF_DONE = 0, TUF_LOAD, TUF_FETCH, TUF_SAVE, TUF_DROP };

/* Everything in it lives until the next call with the same u. */
struct tuf_request {
	const char *name;
	const char *role;   /* whose file it is, not encoded */
	size_t max;         /* LOAD, FETCH: longest acceptable answer */
	bool may_be_absent; /* FETCH: 403 or 404 is a good answer (LOAD: always) */
	const void *data;   /* SAVE: exactly as received */
	size_t n;
};

/* The next enum tuf_step, or -errno. Asking again without having answered repeats LOAD or FETCH. */
int tuf_update_next(struct tuf_update *u, struct tuf_request *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The answer to LOAD or FETCH; data is copied. found is false when there is no such file (404 or
 * 403 of a server; -ENOENT locally); other failures to fetch are the caller's: it frees u and
 * tries again later. A reader stops after rq.max + 1 bytes and answers with what it has, which is
 * then refused as too large. A stored file that does not verify any more counts as absent.
 * Refusals: ERR_REFUSED, with tuf_update_reason(); a file the server must have but does not:
 * ERR_RETRY -ENOENT.
 */
int tuf_update_answer(struct tuf_update *u, bool found, const void *data, size_t n, struct err *e)
	__attribute__((warn_unused_result));

/* Why the last call failed; TUF_REASON_NONE while nothing did. */
enum tuf_reason tuf_update_reason(const struct tuf_update *u);

/* After TUF_REASON_EXPIRED: whose file it was, and what it says. Else false. */
struct tuf_expired {
	char role[TUF_ROLE_MAX + 1]; /* not encoded */
	uint64_t version;
	int64_t expires; /* seconds */
};
bool tuf_update_expired(const struct tuf_update *u, struct tuf_expired *ret);

/*
 * After TUF_DONE: begins the search for a target's path, pre-order depth first through the
 * delegations (5.6.7). When tuf_update_next() says TUF_DONE again, ask tuf_update_target().
 */
int tuf_update_want_target(struct tuf_update *u, const char *path, struct err *e)
	__attribute__((warn_unused_result));
/* The target found, borrowed from u until it is freed; -ENOENT (ERR_INPUT): nobody lists it. */
int tuf_update_target(struct tuf_update *u, struct tuf_target *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * After TUF_DONE: begins to fetch and verify a role that top-level targets delegates to directly
 * (a channel), or "targets" itself. After the next TUF_DONE, tuf_update_role_each() gives its
 * targets. -ENOENT (ERR_INPUT) when nothing is delegated to it.
 */
int tuf_update_want_role(struct tuf_update *u, const char *role, struct err *e)
	__attribute__((warn_unused_result));

/* Called for each; a non-zero result stops and is returned. */
typedef int (*tuf_target_fn)(void *arg, const struct tuf_target *t);
/*
 * Every target of the wanted role that the role may speak for: its delegation covers the path,
 * top-level targets does not list the path itself, and no earlier delegation covers it too.
 */
int tuf_update_role_each(struct tuf_update *u, tuf_target_fn fn, void *arg, struct err *e)
	__attribute__((warn_unused_result));

/* From the newest trusted root. */
bool tuf_update_consistent(const struct tuf_update *u);

/* What is trusted of a role so far: "root", "timestamp", "snapshot", "targets" or a delegated one
 * that was loaded. -ENOENT when nothing is. For status, `why` and audits. */
struct tuf_role_info {
	uint64_t version;
	int64_t expires;
	uint64_t threshold;
	struct tuf_signers signers;
};
int tuf_update_role_info(const struct tuf_update *u, const char *role, struct tuf_role_info *ret,
			 struct err *e) __attribute__((warn_unused_result));

/* The trusted root itself, borrowed; for keys and roles. */
const struct tuf_md *tuf_update_root(const struct tuf_update *u);

#endif
