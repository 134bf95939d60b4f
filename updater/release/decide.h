/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_RELEASE_DECIDE_H
#define UPDATER_RELEASE_DECIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "updater/release/offer.h"

/*
 * The one function that decides which release this host should run, and why not another. Pure:
 * verified metadata, the host and the clock in; a release or reasons out. `proactl why` prints
 * exactly these reasons.
 */
enum release_reason_code {
	RELEASE_WHY_NONE_OFFERED, /* the channel holds nothing for this image and architecture */
	RELEASE_WHY_PAUSED,
	RELEASE_WHY_ROLLOUT,  /* until: when this host's place opens */
	RELEASE_WHY_FAILED,   /* failed here before */
	RELEASE_WHY_BARRIER,  /* must first update through another release */
	RELEASE_WHY_OLDER,    /* older than what runs: a downgrade is never automatic */
	RELEASE_WHY_DEAD_END, /* the running release's line ends */
	RELEASE_WHY_PINNED,   /* this host is pinned to another */
	RELEASE_WHY_BOUNDS,   /* below the lowest or above the highest version allowed here */
	RELEASE_WHY_AGE,      /* until: when it is old enough for this host */
	RELEASE_WHY_HELD,     /* updates are on hold here */
	RELEASE_WHY_HALTED,   /* so many in a row failed here that a person must look first */
	RELEASE_WHY_FLOOR,    /* a downgrade below what the signed metadata allows */
};

/* "none-offered", "paused", ...: what JSON calls it. */
const char *release_why_name(enum release_reason_code code);

struct release_reason {
	enum release_reason_code code;
	char version[RELEASE_VERSION_MAX]; /* the release it speaks of; may be empty */
	int64_t until;                     /* 0: not by itself */
	char text[400];
};

#define RELEASE_REASONS_MAX 16

/* A release that failed on this host and must not be offered again. */
struct release_failed {
	char version[RELEASE_VERSION_MAX];
	int64_t when;
	const char *reason;
};

/*
 * What this host's operator allows. Zero: everything. `where` is put into the sentence as it is
 * ("/etc/proa/proa.conf, line 3"; NULL: nothing is said), and so is hold_reason.
 */
struct release_policy {
	char pin[RELEASE_VERSION_MAX]; /* a version, or its beginning: 1.4 follows 1.4.2 and 1.4.10
					*/
	const char *pin_where;
	bool hold; /* nothing new */
	const char *hold_where, *hold_reason;
	char lowest[RELEASE_VERSION_MAX], highest[RELEASE_VERSION_MAX]; /* both included */
	uint64_t minimum_age;  /* seconds after it was published */
	bool critical_at_once; /* minimum_age does not hold back critical releases */
	bool allow_downgrade;  /* a person said so, this once */
};

struct release_host {
	struct release_policy policy;
	const char *image, *arch, *channel;
	const char *running; /* version, or NULL: nothing runs (a fresh disk) */
	const struct release_failed *failed;
	size_t n_failed;
	/* fallbacks in a row, the release that was left last, and how many are too many (0: none)
	 */
	unsigned fallbacks, fallback_limit;
	const char *fallback_from;
	uint8_t key[16]; /* app-specific machine id: the host's place in a rollout */
	int64_t now;
};

enum release_verdict {
	RELEASE_CURRENT, /* the host runs what it should run */
	RELEASE_UPDATE,  /* chosen should be run instead */
	RELEASE_BLOCKED, /* something newer exists and may not be run (yet) */
	RELEASE_NOTHING, /* the channel offers nothing at all */
};

struct release_decision {
	enum release_verdict verdict;
	const struct release_offer *newest; /* in the channel, NULL if none */
	const struct release_offer *chosen; /* RELEASE_UPDATE only */
	struct release_reason reason[RELEASE_REASONS_MAX];
	size_t n_reason; /* why not the newest; more than fit are dropped */
	int64_t retry;   /* earliest time a reason ends by itself; 0: none */
};

/*
 * Newest first: the first release that is newer than the running one and has no reason against it
 * is chosen. A barrier makes an older one the next step. Offers of another image or architecture
 * are passed over. Pointers in *ret point into offers.
 *
 * Pin and bounds say what this host should run, so a host that runs the newest they leave is
 * current. With policy.allow_downgrade the first older release that has no reason against it is
 * chosen when no newer one is: never below the highest floor that any offer for this host sets;
 * neither a dead end, a hold, the minimum age nor the rollout keeps it back, as a person asked.
 */
void release_decide(const struct release_offer *offers, size_t n, const struct release_host *host,
		    struct release_decision *ret);

/*
 * No person may take this host (its image and arch) back below this version: the highest floor that
 * any offer for it sets, or NULL. Points into offers.
 */
const char *release_floor(const struct release_offer *offers, size_t n,
			  const struct release_host *h);

/* This host's place in a rollout, 0 to 65535: keyed hash of machine and release. */
unsigned release_place(const uint8_t key[16], const char *version);

/* When the rollout of o reaches a place; o->published when there is none. */
int64_t release_opens(const struct release_offer *o, unsigned place);

/*
 * True if version is pin, or begins with it and goes on with '.', '-', '+', '~' or '^': 1.4
 * fits 1.4 and 1.4.2, not 1.40.
 */
bool release_pin_fits(const char *pin, const char *version);

#endif
