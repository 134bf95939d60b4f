/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_SLOT_TABLE_H
#define UPDATER_SLOT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sys.h"
#include "updater/slot/gpt.h"

struct slot_part;

/*
 * The partition table of a disk as a copy in memory: a sparse file as long as the disk that holds
 * only the sectors of both copies of the table. libblkid and libfdisk work on it and never on the
 * disk, so that every durable write is ours, in our order, and the crash simulator sees it.
 */
struct gpt_table {
	struct sys_fd mem;
	unsigned sector;
	uint64_t bytes;             /* of the disk */
	bool primary_ok, backup_ok; /* at least one is */
	struct gpt_header primary, backup;
};

#define GPT_TABLE_INIT                                                                             \
	{                                                                                          \
		.mem = {.fd = -1 }                                                                 \
	}
void gpt_table_done(struct gpt_table *t);
#define AUTO_GPT_TABLE __attribute__((cleanup(gpt_table_done))) struct gpt_table

/*
 * Reads both copies from fd, a disk of `bytes`. sector 0: tries 512, then 4096. t must be
 * GPT_TABLE_INIT. -EINVAL (HOST) when neither copy is whole.
 */
int gpt_table_load(struct sys *sys, int fd, uint64_t bytes, unsigned sector, struct gpt_table *t,
		   struct err *e) __attribute__((warn_unused_result));

/*
 * The partitions in the copy, by number, checked: inside the disk, none over another, at most
 * DISK_PARTS_MAX. Freed by the caller. -EINVAL, -ERANGE, -E2BIG (HOST).
 */
int gpt_table_parts(const struct gpt_table *t, struct slot_part **ret, unsigned *ret_n,
		    struct err *e) __attribute__((warn_unused_result));

/* What an edit does to one entry, beside the read-only flag: see disk_slot_mark(). */
struct gpt_mark {
	unsigned number;
	const char *label;
	const uint8_t *uuid; /* 16, text order */
};

/*
 * Changes the copy: two entries, or none (marks NULL) to make both copies of the table whole and
 * alike. Checks that nothing else changed, and t describes the result. On failure t is useless.
 */
int gpt_table_edit(struct gpt_table *t, const struct gpt_mark marks[2], struct err *e)
	__attribute__((warn_unused_result));

/*
 * Brings fd to what the copy says: first the copy of the table that is not needed now (the backup,
 * or the primary when primary_first), sync, then the other, sync. Only sectors that differ are
 * written; sector 0 never is.
 */
int gpt_table_store(struct sys *sys, int fd, const struct gpt_table *t, bool primary_first,
		    struct err *e) __attribute__((warn_unused_result));

#endif
