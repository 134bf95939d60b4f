/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_LOCK_LOCK_H
#define UPDATER_LOCK_LOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * One of the places that a group of hosts shares: who holds one may reboot. Two ways to it:
 *
 * - FleetLock (the protocol of Zincati and airlock): POST v1/pre-reboot and v1/steady-state;
 * - etcd v3 through its JSON gateway: the semaphore that airlock keeps, so that hosts of both kinds
 *   may share one. Key com.coreos.airlock/groups/<group>/v1/semaphore, value {"total_slots": n,
 *   "holders": [ids, sorted]}, changed only in a transaction that compares its revision.
 *
 * No leases: a host that fails in the middle of an update keeps its place, so that a bad release
 * stops after as many hosts as there are places. A place is given back when the host says so, or by
 * a person.
 *
 * Pure: says what to send, is told the answer. Taking twice and giving back twice are fine.
 */
enum lock_kind { LOCK_FLEETLOCK, LOCK_ETCD };
enum lock_verb { LOCK_TAKE, LOCK_RELEASE };

#define LOCK_NAME_MAX   65   /* group: a-z, A-Z, 0-9, '.', '-'; id: printable ASCII, no blank */
#define LOCK_PLACES_MAX 1000 /* of a group */
#define LOCK_ANSWER_MAX ((size_t)256 << 10)
#define LOCK_ROUNDS     16 /* how often others may be quicker */

struct lock_terms {
	enum lock_kind kind;
	char group[LOCK_NAME_MAX], id[LOCK_NAME_MAX];
	unsigned places; /* etcd: of a group that nobody has made yet, 1 to LOCK_PLACES_MAX */
};

/* To be sent as POST <base>/<path> with Content-Type: application/json. */
struct lock_call {
	const char *path;
	bool fleetlock; /* with the header fleet-lock-protocol: true */
	const char *body;
	size_t bytes;
};

enum lock_state {
	LOCK_ASK, /* send lock_call() and tell the answer */
	LOCK_GOT, /* it is taken, or given back */
	LOCK_FULL /* others have all places: `text` of the result says who */
};

struct lock;

/* ERR_INPUT for names that cannot be sent. The first call is ready. */
int lock_new(const struct lock_terms *terms, enum lock_verb verb, struct lock **ret, struct err *e)
	__attribute__((warn_unused_result));
void lock_free(struct lock *l);
static inline void lock_freep(struct lock **l)
{
	lock_free(*l);
}
#define AUTO_LOCK __attribute__((cleanup(lock_freep))) struct lock

/* What to send now; good until lock_answer(). */
struct lock_call lock_call(const struct lock *l);

/*
 * The answer to lock_call(): its HTTP status and body. Errors end the attempt: ERR_RETRY (the
 * server is in trouble, or others were quicker LOCK_ROUNDS times), ERR_INPUT (it refuses this
 * group, host or request: a person must mend the configuration), ERR_REFUSED -EBADMSG (what it
 * holds is no semaphore).
 */
int lock_answer(struct lock *l, unsigned status, const char *body, size_t bytes,
		enum lock_state *ret, struct err *e) __attribute__((warn_unused_result));

/* With LOCK_FULL: "group web has 2 of 2 places taken by a, b". */
const char *lock_text(const struct lock *l);

#endif
