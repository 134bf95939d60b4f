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
 *  stage  0 everything that can be refused is refused; the UKI is fetched and judged
 *         1 record: the slot is being written
 *         2 the slot's old UKI leaves the ESP; the slot is labelled _empty
 *         3 data and tree are written, synced, read back and proved
 *         4 PARTUUIDs and label; record: staged
 *  apply  5 the UKI goes to the ESP under a name the loader ignores; checked there
 *         6 it is renamed; record: applied
 *
 * After a power cut anywhere, act_settle() and then the same verb again finish the work. Nothing
 * here talks to the network or to D-Bus.
 */

enum act_phase { ACT_UKI, ACT_SCAN, ACT_FETCH, ACT_WRITE, ACT_PROVE, ACT_ESP };

struct act {
	struct host *host;
	int64_t now;
	/* a source for a blob of the manifest; good until the next call */
	int (*blob)(void *arg, const struct release_blob *b, struct image_source *ret,
		    struct err *e);
	/* negative cancels; bytes; may be NULL */
	int (*progress)(void *arg, enum act_phase phase, uint64_t done, uint64_t total);
	void *arg;
	unsigned threads; /* 0: one per core; 1: none but this */
};

struct act_result {
	enum slot_name slot;
	bool uki_only;
	bool nothing; /* it was done already */
	uint64_t fetched, written, kept;
	uint64_t uki_fetched;
	uint64_t hashed; /* data, see struct image_stats */
};

/*
 * Writes and proves release m in the slot that does not run. On success the record says staged.
 * Errors before step 1 leave everything as it was: ERR_HOST (does not fit, ESP full, still
 * assessing), ERR_REFUSED (a foreign label, a UKI that is not of this release or that this firmware
 * would not start).
 */
int act_stage(struct act *a, const struct release_manifest *m, struct act_result *ret,
	      struct err *e) __attribute__((warn_unused_result));

/* Makes the staged release boot next. ret->nothing when it does already. */
int act_apply(struct act *a, struct act_result *ret, struct err *e)
	__attribute__((warn_unused_result));

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
