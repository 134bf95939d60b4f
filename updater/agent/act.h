/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_ACT_H
#define UPDATER_AGENT_ACT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/agent/host.h"
#include "updater/image/source.h"
#include "updater/image/write.h"
#include "updater/release/manifest.h"

/*
 * The order of irreversible steps, each durable before the next (design.md "The update"):
 *
 *  stage  0 everything that can be refused is refused; the UKI is fetched and judged, or, when its
 *           kernel comes from the new /usr, as much of it as says whether it will be refused
 *         1 record: the slot is being written
 *         2 the slot's old UKI leaves the ESP; the slot is labelled _empty
 *         3 data and tree are written, synced, read back and proved; a UKI that waited for
 *           them is made and judged
 *         4 PARTUUIDs and label; record: staged
 *  apply  5 the UKI goes to the ESP under a name the loader ignores; checked there
 *         6 it is renamed; record: applied
 *
 * After a power cut anywhere, act_settle() and then the same verb again finish the work. Nothing
 * here talks to the network or to D-Bus.
 */

struct spool;

enum act_phase { ACT_UKI, ACT_SCAN, ACT_FETCH, ACT_WRITE, ACT_PROVE, ACT_ESP };
#define ACT_PHASES (ACT_ESP + 1)

struct act {
	struct host *host;
	int64_t now;
	/* a source for a blob of the manifest; good until the next call */
	int (*blob)(void *arg, const struct release_blob *b, struct image_source *ret,
		    struct err *e);
	/* that blob's bytes were wrong; positive: they come from elsewhere now; may be NULL */
	int (*elsewhere)(void *arg, const struct release_blob *b);
	/* negative cancels; bytes; may be NULL */
	int (*progress)(void *arg, enum act_phase phase, uint64_t done, uint64_t total);
	/* what a person may want to know: a delta was refused, ...; may be NULL */
	void (*note)(void *arg, const char *text);
	void *arg;
	/*
	 * Why a person goes back, for act_apply(): what runs is left for what is staged, though
	 * that is older; it counts as failed and its entry is condemned. NULL: nobody does.
	 */
	const char *leave;
	unsigned threads;   /* 0: one per core; 1: none but this */
	uint64_t max_fetch; /* bytes that staging may fetch without being asked to; 0: any number */
	uint64_t began_ms;  /* clock_mono_ms() when the verb began; 0: nobody asked */
	uint64_t received;  /* bytes of blobs, by the verb that runs or ran last */
	struct spool *spool; /* while it stages; NULL otherwise */
};

/* How the bytes of /usr, or of the UKI, come to be here. */
enum act_way {
	ACT_WAY_NONE,     /* they are here */
	ACT_WAY_DELTA,    /* from what runs, and a delta */
	ACT_WAY_ANY_BASE, /* blocks that the running /usr has too, frames of the full blob */
	ACT_WAY_FULL,
};
#define ACT_WHY_MAX 320

struct act_part {
	enum act_way way;
	uint64_t fetch, requests; /* still to come */
	char why[ACT_WHY_MAX];    /* half a sentence: why not by delta; may be empty */
};

struct act_plan {
	struct act_part usr, uki;
	bool uki_late;    /* it takes bytes from the new /usr, and is made when that is proved */
	uint64_t fetched; /* so far, to make this plan: index and recipes */
	uint64_t fetch;   /* in all, `fetched` included */
	uint64_t requests;
	uint64_t copy, zero, keep; /* of /usr */
	uint64_t write;            /* at most: what the slot holds by chance is not written */
	uint64_t memory;           /* of this program */
};

struct act_result {
	enum slot_name slot;
	bool uki_only;
	bool nothing; /* it was done already */
	/*
	 * More than max_fetch would have to be fetched, and that waits for a person. Known before
	 * step 1, nothing was changed; in the middle (a delta turned out to be wrong), the slot is
	 * half written, and staging goes on there once it may.
	 */
	bool waits;
	uint64_t wants; /* bytes in all, when it waits */
	char why[ACT_WHY_MAX];
	uint64_t fetched, written, kept;
	uint64_t copied, spared; /* see struct image_stats */
	uint64_t uki_fetched;
	uint64_t hashed; /* data, see struct image_stats */
	struct act_plan plan;
};

/*
 * Writes and proves release m in the slot that does not run. On success the record says staged,
 * unless ret->waits. Errors before step 1 leave everything as it was: ERR_HOST (does not fit, ESP
 * full, still assessing), ERR_REFUSED (a foreign label, a UKI that is not of this release or that
 * this firmware would not start).
 */
int act_stage(struct act *a, const struct release_manifest *m, struct act_result *ret,
	      struct err *e) __attribute__((warn_unused_result));

/*
 * What act_stage() would do: ret->plan, nothing, waits. Fetches what it takes to know that (index,
 * recipes of deltas) and changes nothing.
 */
int act_plan_stage(struct act *a, const struct release_manifest *m, struct act_result *ret,
		   struct err *e) __attribute__((warn_unused_result));

/*
 * Whether release m fits this host, as act_stage() asks first: its slot, that slot's label, the
 * ESP. Looks at nothing of the release but m.
 */
int act_fits(struct act *a, const struct release_manifest *m, struct err *e)
	__attribute__((warn_unused_result));

/* Makes the staged release boot next. ret->nothing when it does already. */
int act_apply(struct act *a, struct act_result *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The entry of ours other than the running one that is whole, not bad, and whose slot fits; or
 * NULL. */
const struct esp_entry *act_other_release(const struct host *h);

/*
 * Back to the release before. Applied but not yet booted: its entry is removed. Running: its entry
 * is condemned, and the reboot is the caller's. It counts as failed from then on, with `reason`.
 * ret_version is the release that was left.
 */
int act_rollback(struct act *a, const char *reason, char ret_version[RECORD_VERSION_MAX],
		 struct err *e) __attribute__((warn_unused_result));

/* Start-up: see machine_settle(). ret may be NULL. */
int act_settle(struct act *a, struct machine_settle *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
