/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_HOST_H
#define UPDATER_AGENT_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "bootctl/esp.h"
#include "updater/agent/config.h"
#include "updater/agent/machine.h"
#include "updater/record/record.h"
#include "updater/slot/disk.h"

struct sys;

/*
 * This host as the agent sees it: its disk, its ESP, its state directory, and what runs. A disk
 * that is a regular file is an image seen from outside ("not live"): what would boot next from it
 * then stands for what runs.
 */
struct host {
	struct sys *sys;
	struct config conf;
	struct disk *disk;
	int esp, state, efivars; /* directory descriptors; efivars -1: none */
	bool live;
	char boot_id[RECORD_BOOT_ID_MAX];

	/* read anew by host_look() */
	struct esp_entry *entries; /* of the ESP, in menu order */
	size_t n_entries;
	size_t next; /* which boots next; n_entries: none */
	enum choice_why next_why;
	size_t current; /* entry of what runs; n_entries: none */
	bool running;
	bool has_slot; /* what runs lies in `slot` of this disk */
	enum slot_name slot;
	char version[RECORD_VERSION_MAX]; /* of what runs */
	uint8_t root[32];
};

/* What of the running system cannot be read through struct sys; given by main(), or by a test. */
struct host_live {
	bool live;
	bool has_root; /* a dm-verity /usr is active */
	uint8_t root[32];
	char os_version[RECORD_VERSION_MAX]; /* IMAGE_VERSION of /usr/lib/os-release */
	char boot_id[RECORD_BOOT_ID_MAX];
	char disk[256]; /* whole disk that holds the active /usr; empty: unknown */
};
int host_live_read(struct sys *sys, const struct config *conf, struct host_live *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Opens everything and looks. The record is not touched. */
int host_open(struct sys *sys, const struct config *conf, const struct host_live *live,
	      struct host **ret, struct err *e) __attribute__((warn_unused_result));
void host_close(struct host *h);
static inline void host_closep(struct host **h)
{
	host_close(*h);
}
#define AUTO_HOST __attribute__((cleanup(host_closep))) struct host

/* Lists the ESP again and finds what runs and what boots next. */
int host_look(struct host *h, struct err *e) __attribute__((warn_unused_result));

/* Facts for the machine. */
void host_facts(struct host *h, const struct record *rec, int64_t now, struct machine_facts *ret);

/* "<image>_<version>", what entries and labels are called. */
#define HOST_RELEASE_MAX 100
void host_release_name(const struct host *h, const char *version, char out[HOST_RELEASE_MAX]);

/* True if the entry belongs to a release of this host's image. */
bool host_entry_ours(const struct host *h, const struct esp_entry *en);

/* The UKI that waits in the state directory. */
#define HOST_SAVED_UKI "uki.efi"

#endif
