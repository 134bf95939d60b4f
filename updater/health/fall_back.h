/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HEALTH_FALL_BACK_H
#define UPDATER_HEALTH_FALL_BACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "bootctl/esp.h"
#include "updater/record/record.h"

struct sys;

/*
 * What follows from "not healthy". A release under assessment, which is one whose boot entry still
 * carries a counter, is left for another one if there is another; any other host stays up, as a
 * reboot would bring back the same release and the same failure, for ever.
 */
enum health_verdict {
	HEALTH_FALL_BACK,
	HEALTH_STAY_UNKNOWN, /* the loader does not say which entry runs */
	HEALTH_STAY_GOOD,    /* it was proved good in an earlier boot */
	HEALTH_STAY_ONLY,    /* nothing else of this image can boot */
	HEALTH_STAY_PINNED,  /* the loader would start it again: it is set as default */
};
/* A sentence without its end: "it was proved healthy before, ..." */
const char *health_verdict_text(enum health_verdict v);

/* This boot, as the loader tells. Filled by health_boot_read(). */
struct health_boot {
	struct sys *sys;
	int esp, efivars;          /* directory descriptors; efivars -1: none */
	struct esp_entry *entries; /* menu order */
	size_t n_entries;
	size_t running; /* entry that runs; n_entries: not known */
	size_t other;   /* entry of this image that could boot instead; n_entries: none */
};

/* Opens ESP and EFI variables (NULL: the host's own) and looks. health_boot_done() either way. */
int health_boot_read(struct sys *sys, const char *esp, const char *efivars, struct health_boot *ret,
		     struct err *e) __attribute__((warn_unused_result));
void health_boot_done(struct health_boot *b);

/*
 * Pure: the entry that the loader started, by LoaderEntrySelected and LoaderBootCountPath (either
 * may be ""), among entries[0..n); n when none of them.
 */
size_t health_running(const struct esp_entry *entries, size_t n, const char *selected,
		      const char *count_path);
/* Pure: another whole UKI with the same IMAGE_ID that the loader has not given up; n when none. */
size_t health_other(const struct esp_entry *entries, size_t n, size_t running);
/* Pure. */
enum health_verdict health_verdict(const struct esp_entry *entries, size_t n, size_t running,
				   size_t other);

/* What is written into the record. */
struct health_failure_note {
	const char *version;
	const uint8_t *root; /* 32 bytes, or NULL */
	const char *reason, *boot_id;
	int64_t now;
	bool failed; /* never offer it again; else only the event */
};
/* Pure: false when it is all there already, from this boot. */
bool health_note(struct record *rec, const struct health_failure_note *f);
/* The same to the record in directory `state`, durably, under its lock. */
int health_record(struct sys *sys, const char *state, const struct health_failure_note *f,
		  struct err *e) __attribute__((warn_unused_result));

/*
 * Marks the running entry bad, durably, and looks what would boot then: HEALTH_FALL_BACK, or
 * HEALTH_STAY_PINNED when it is the same again. Repeating it is harmless.
 */
int health_condemn(struct health_boot *b, enum health_verdict *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
