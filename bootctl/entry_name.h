/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_ENTRY_NAME_H
#define BOOTCTL_ENTRY_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BOOT_NAME_MAX 256 /* longest file name with NUL (VFAT and ext4: 255) */

/* Boot Loader Specification (UAPI.1): type 1 is a .conf, type 2 a UKI (.efi). */
enum boot_entry_type { BOOT_ENTRY_CONF = 1, BOOT_ENTRY_UKI = 2 };

/* "<id>[+LEFT[-DONE]].{conf,efi}", the boot-counting file name of an entry. */
struct boot_entry_name {
	char file[BOOT_NAME_MAX]; /* exactly as read: "os_1+09.efi" stays so */
	char id[BOOT_NAME_MAX];   /* without counter and suffix: "os_1" */
	enum boot_entry_type type;
	bool counted;        /* false: blessed, no counter in the name */
	uint32_t left, done; /* at most INT32_MAX; done is 0 when not written */
};

/*
 * Reads a file name as systemd-boot 252 does: the counter follows the last '+' and must run up to
 * the suffix, else it belongs to the id; leading zeros are legal. Any character but '/', '\' and
 * controls is tolerated, because the loader tolerates it; boot_entry_name_valid() says more. Pure;
 * s need not be NUL-terminated. ERR_INPUT -EINVAL for everything that is no entry at all.
 */
int boot_entry_name_parse(const char *s, size_t n, struct boot_entry_name *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Makes en->file out of id, type and counters: "id.efi" or "id+L-D.efi"; both counters are always
 * written, so that the loader's renames keep the length while they have one digit. ERR_INPUT when
 * the id has characters UAPI.1 does not know, is too long, or would itself read as a counter.
 */
int boot_entry_name_format(struct boot_entry_name *en, struct err *e)
	__attribute__((warn_unused_result));

/* True if the file name has only characters of UAPI.1: letters, digits, + - _ . */
bool boot_entry_name_valid(const struct boot_entry_name *en);

/* UAPI.1: no counter is good, no try left is bad, the rest is not known yet. */
bool boot_entry_is_good(const struct boot_entry_name *en);
bool boot_entry_is_bad(const struct boot_entry_name *en);
bool boot_entry_is_indeterminate(const struct boot_entry_name *en);

/* Same id and type; letters compare without case, as on FAT. */
bool boot_entry_same_id(const struct boot_entry_name *a, const struct boot_entry_name *b);

/*
 * True if what a person or the loader calls the entry means en: "os_1", "os_1.efi" or a full file
 * name with any counter.
 */
bool boot_entry_is_called(const struct boot_entry_name *en, const char *what);

#endif
