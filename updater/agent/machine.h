/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_MACHINE_H
#define UPDATER_AGENT_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/record/record.h"

/*
 * The update as a state machine: what the record and the machine say -> which state this is, what
 * start-up must put right, and which verbs are allowed. Pure: no I/O, clock or log.
 */

/* A boot entry, as the boot counters know it. */
enum machine_entry {
	MACHINE_ENTRY_NONE,
	MACHINE_ENTRY_GOOD,    /* no counter: blessed */
	MACHINE_ENTRY_COUNTED, /* tries left */
	MACHINE_ENTRY_BAD,     /* no try left, or condemned */
};

struct machine_facts {
	bool live; /* this machine runs from that disk; false: an image file, seen from outside */
	char boot_id[RECORD_BOOT_ID_MAX]; /* empty unless live */
	int64_t now;
	/* what runs (live), or would boot next (not live) */
	bool running;
	char running_version[RECORD_VERSION_MAX];
	uint8_t running_root[32];
	enum machine_entry running_entry;
	/* the record's target, unless it is idle */
	enum machine_entry target_entry; /* on the ESP, whole */
	uint32_t target_left, target_done;
	bool target_in_slot; /* the recorded slot carries target's PARTUUIDs */
	bool target_saved;   /* its UKI waits in the state directory */
};

enum machine_state {
	MACHINE_IDLE,
	MACHINE_INTERRUPTED, /* a slot is half written; staging goes on where it stopped */
	MACHINE_STAGED,
	MACHINE_APPLIED,   /* boots next */
	MACHINE_ASSESSING, /* running, not yet blessed */
	/* only while a job runs */
	MACHINE_CHECKING,
	MACHINE_STAGING,
	MACHINE_APPLYING,
	MACHINE_REBOOTING,
};
const char *machine_state_name(enum machine_state s); /* "idle", "interrupted", ... */

/* The state while no job runs. */
enum machine_state machine_state(const struct record *rec, const struct machine_facts *f);

/* True if what runs is the record's target. */
bool machine_target_runs(const struct record *rec, const struct machine_facts *f);

/*
 * Start-up: brings the record in line with what the machine shows, after a reboot, a power cut or
 * a kill at any instant. Changes rec; *ret says what else is to be done, in this order.
 */
struct machine_settle {
	bool condemn;       /* mark target's boot entry bad */
	bool changed;       /* rec must be stored, before the rest */
	bool discard_temps; /* half-written files on the ESP are leftovers */
	bool drop_saved;    /* the UKI in the state directory is no longer needed */
	enum { MACHINE_NEWS_NONE, MACHINE_NEWS_GOOD, MACHINE_NEWS_FELL_BACK } news;
	char version[RECORD_VERSION_MAX]; /* of the release the news is about */
};
void machine_settle(struct record *rec, const struct machine_facts *f, struct machine_settle *ret);

/* No update is under way any more. */
void machine_forget(struct record *rec);

/*
 * The time to go by: a clock cannot be behind the newest metadata this host has verified (the
 * record's metadata_time) or the build of the system it runs (0: not known). *ret_behind by how
 * many seconds it is; 0: it is fine.
 */
int64_t machine_clock(int64_t verified, int64_t built, int64_t clock, int64_t *ret_behind);

/* May this be done now? ERR_HOST with a sentence that says why not and what to do. */
enum machine_verb { MACHINE_STAGE, MACHINE_APPLY, MACHINE_ROLLBACK, MACHINE_REBOOT };
int machine_may(const struct record *rec, const struct machine_facts *f, enum machine_verb v,
		struct err *e) __attribute__((warn_unused_result));

#endif
