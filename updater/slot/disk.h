/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_SLOT_DISK_H
#define UPDATER_SLOT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/slot/label.h"

struct sys;
struct slot_arch;
struct verity_area;

/*
 * The disk of a host: a block device or an image file with a GPT (UEFI 2.10, chapter 5) that holds
 * two pairs of /usr partitions by Discoverable Partitions type (UAPI.2). The first usr partition by
 * number and the first usr-verity are slot A, the seconds are slot B.
 *
 * All access goes through struct sys: the libraries see a copy of the partition table in memory,
 * and only the sectors that they changed are written back, backup before primary, each synced, so
 * that one of the two tables is whole at every instant.
 */

#define DISK_PARTS_MAX  256u
#define SLOT_LABEL_UTF8 (SLOT_LABEL_CHARS * 3 + 3)

struct slot_part {
	unsigned number;             /* as in /dev/vda2, from 1 */
	uint64_t offset, bytes;      /* on the disk */
	uint8_t uuid[16];            /* PARTUUID, text order */
	uint8_t type[16];            /* text order */
	uint64_t flags;              /* GPT attribute bits */
	char label[SLOT_LABEL_UTF8]; /* valid UTF-8 without control characters */
};

struct slot {
	struct slot_part data, hash;
};

enum slot_name { SLOT_A, SLOT_B };

struct disk {
	struct sys *sys;
	char *path;
	const struct slot_arch *arch;
	int fd;         /* read-only */
	int wfd;        /* opened at the first write, else -1 */
	int part_fd[8]; /* own device nodes of partitions, else -1; see slot_area() */
	uint64_t bytes;
	unsigned sector;
	bool primary_bad, backup_bad; /* disk_repair() and disk_slot_mark() put that right */
	bool protect[2];
	struct slot slot[2];
	struct slot_part *part; /* every partition, by number */
	unsigned n_part;
};

/*
 * Opens path and finds the two slots. arch NULL is this program's own. Nothing is written, and the
 * device is not even opened for writing before that is asked for.
 * Errors, one sentence each (kind HOST): -ENOENT no such disk; -EINVAL no GPT, or both copies
 * damaged; -ENXIO no usr partition for this architecture, one slot only, or a hash partition
 * missing; -E2BIG more than two; -ERANGE partitions that overlap or lie outside the disk.
 */
int disk_open(struct sys *sys, const char *path, const char *arch, struct disk **ret, struct err *e)
	__attribute__((warn_unused_result));
void disk_close(struct disk *d); /* NULL is fine; closes every descriptor that slot_area() gave */
static inline void disk_closep(struct disk **d)
{
	disk_close(*d);
}
#define AUTO_DISK __attribute__((cleanup(disk_closep))) struct disk

/* 'A' or 'B'. */
char slot_letter(enum slot_name s);
static inline enum slot_name slot_other(enum slot_name s)
{
	return s == SLOT_A ? SLOT_B : SLOT_A;
}

/* From now on nothing in this slot may change: the running one (invariant I1). */
void disk_protect(struct disk *d, enum slot_name s);

/*
 * The PARTUUIDs that belong to a root hash: its first 128 bits for the data partition, its last
 * 128 for the hash partition (UAPI.2).
 */
void slot_uuids(const uint8_t root[32], uint8_t data[16], uint8_t hash[16]);

/* The slot whose two PARTUUIDs are those of root; -ENOENT (HOST) when neither is. */
int disk_slot_of(const struct disk *d, const uint8_t root[32], enum slot_name *ret, struct err *e)
	__attribute__((warn_unused_result));

/* -ENOSPC (HOST) names the partition that is too small and by how much. */
int disk_slot_fits(const struct disk *d, enum slot_name s, uint64_t data_bytes, uint64_t hash_bytes,
		   struct err *e) __attribute__((warn_unused_result));

/*
 * What the two labels of a slot say together: FOREIGN if either is, OURS only if both name the same
 * version; ret_version (65 bytes, or NULL) is set only then.
 */
enum slot_label_kind disk_slot_label(const struct slot *s, const char *image, char *ret_version);

/* -EPERM (REFUSED) unless the slot is free or holds releases of image; says how to free it. */
int disk_slot_check_ours(const struct disk *d, enum slot_name s, const char *image, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Labels both partitions of the slot, gives them the PARTUUIDs of root (NULL: fresh random ones)
 * and sets the read-only flag (bit 60), clears grow-file-system (bit 59): a dm-verity image must
 * neither be mounted for writing nor grown. Other flags, other partitions, the protective MBR stay.
 * Durable when it returns; after a power cut the old or the new table is found. A damaged copy of
 * the table is repaired first. d->slot[] is read anew from the disk afterwards.
 * Errors: -EPERM (BUG) slot protected; -EEXIST (REFUSED) another partition has one of the
 * PARTUUIDs; -ENAMETOOLONG (REFUSED) label over SLOT_LABEL_CHARS or not ASCII; HOST for what the
 * disk says.
 */
int disk_slot_mark(struct disk *d, enum slot_name s, const char *label, const uint8_t *root,
		   struct err *e) __attribute__((warn_unused_result));

/* Restores a damaged or outdated copy of the table from the good one. Does nothing when both are.
 */
int disk_repair(struct disk *d, struct err *e) __attribute__((warn_unused_result));

/*
 * Where a partition's bytes are. On a block device it is the partition's own node when the kernel
 * has one, because the caches of disk and partition are not coherent; else the disk with an offset.
 * The descriptor belongs to d. write on a protected slot is -EPERM (BUG); -ESTALE (HOST) when the
 * kernel's idea of the partition is not the table's.
 */
int slot_area(struct disk *d, enum slot_name s, bool hash, bool write, struct verity_area *ret,
	      struct err *e) __attribute__((warn_unused_result));

#endif
