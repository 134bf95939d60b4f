/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_SLOT_GPT_H
#define UPDATER_SLOT_GPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * As much of the GUID Partition Table (UEFI 2.10, 5.3) as it takes to know which sectors belong to
 * it and whether a copy is whole. Reading partitions is libblkid's work, changing them libfdisk's.
 * Pure: no I/O.
 */

#define GPT_HEADER_BYTES  92u
#define GPT_ENTRY_BYTES   128u
#define GPT_TABLE_MAX     (1u << 20) /* bytes of entries; the usual table has 16 KiB */
#define GPT_SECTOR_MAX    4096u
#define GPT_LBA_PRIMARY   UINT64_C(1)
#define GPT_FLAG_GROW     (UINT64_C(1) << 59)
#define GPT_FLAG_READONLY (UINT64_C(1) << 60)

struct gpt_header {
	uint64_t my, alternate, first_usable, last_usable, entries; /* LBA */
	uint32_t n_entries, entries_crc;
	uint8_t disk_uuid[16]; /* as on disk */
};

/* CRC-32 as UEFI wants it (ISO-HDLC). */
uint32_t gpt_crc32(const void *p, size_t n);

/*
 * Checks the header in the sector p that was read from lba, on a disk whose last sector is last:
 * signature, CRC, own place, sane bounds; the primary and its table must lie before what partitions
 * may use, the backup and its table behind. Errors: ERR_HOST -EINVAL with what is wrong.
 */
int gpt_header_parse(const uint8_t *p, unsigned sector, uint64_t lba, uint64_t last,
		     struct gpt_header *ret, struct err *e) __attribute__((warn_unused_result));

/* Sectors and bytes of the table of entries. */
uint64_t gpt_table_sectors(const struct gpt_header *h, unsigned sector);
size_t gpt_table_bytes(const struct gpt_header *h);

/* Whether b is the other copy of a: they point at each other and hold the same entries. */
bool gpt_copies_agree(const struct gpt_header *a, const struct gpt_header *b);

/*
 * Whether two tables of n entries differ in nothing but label, PARTUUID and the flags READONLY and
 * GROW of the entries a and b (numbers from 1). The guard behind every edit.
 */
bool gpt_only_marked(const uint8_t *before, const uint8_t *after, uint32_t n, unsigned a,
		     unsigned b);

#endif
