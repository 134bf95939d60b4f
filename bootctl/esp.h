/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_ESP_H
#define BOOTCTL_ESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bootctl/choice.h"
#include "bootctl/entry_name.h"
#include "bootctl/uki.h"

struct sys;

/*
 * The boot entries on an EFI system partition (or XBOOTLDR). esp is a directory descriptor of its
 * root. Everything that changes it is durable on return. FAT knows no atomic rename: after a power
 * cut the old name, the new, both or neither may be there, and a name may hold nothing; therefore
 * whatever is not whole is listed as broken, and every step here may be repeated.
 */
enum { ESP_ENTRIES_MAX = 256 };

struct esp_entry {
	struct boot_entry_name name;
	uint64_t bytes;
	bool shown;       /* the loader has it in its menu */
	bool broken;      /* not whole, or not what it should be; the loader may show it still */
	char reason[200]; /* why broken */
	char title[UKI_FIELD_MAX], version[UKI_FIELD_MAX];
	char sort_key[UKI_FIELD_MAX], machine_id[UKI_FIELD_MAX];
	struct uki uki; /* type 2 that is not broken */
};

/*
 * All entries in the order of the boot menu, broken ones last; freed by the caller. An ESP without
 * EFI/Linux or loader/entries has no entries. -E2BIG beyond ESP_ENTRIES_MAX.
 */
int esp_list(struct sys *sys, int esp, struct esp_entry **ret, size_t *ret_n, struct err *e)
	__attribute__((warn_unused_result));

/* The entry called id (boot_entry_is_called) into *ret; -ENOENT (INPUT) when there is none. */
int esp_get(struct sys *sys, int esp, const char *id, struct esp_entry *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Which of entries[0..n) from esp_list() boots next: *ret is its index, or n. Reads loader.conf and
 * the loader's variables (efivars -1: none). A default may name an entry to one version of the
 * loader and not to another: when it is not known which is there, *ret is n and *ret_why
 * CHOICE_UNSURE.
 */
int esp_next(struct sys *sys, int esp, int efivars, const struct esp_entry *entries, size_t n,
	     size_t *ret, enum choice_why *ret_why, struct err *e)
	__attribute__((warn_unused_result));

/* ERR_HOST -ENOSPC with both numbers unless `bytes` and some room for FAT's own tables fit. */
int esp_check_space(struct sys *sys, int esp, uint64_t bytes, struct err *e)
	__attribute__((warn_unused_result));

/* Where the bytes of a new UKI come from. */
struct esp_source {
	/* up to n bytes at off into buf; > 0, or -errno with e filled. Called in ascending order.
	 */
	ssize_t (*read)(void *arg, void *buf, size_t n, uint64_t off, struct err *e);
	void (*progress)(void *arg, uint64_t done); /* may be NULL */
	void *arg;
	uint64_t bytes;
	uint8_t sha256[SHA256_BYTES]; /* expected */
};

/*
 * Step 1 of adding: writes EFI/Linux/<file>.part, a name the loader ignores, syncs it, reads it
 * back from the medium and compares size and SHA-256. The directories are made when missing. file
 * is a final name (boot_entry_name_format). Returns 1 when an entry of that id with these very
 * bytes is already there (then there is nothing to publish), 0 when written. ERR_REFUSED -EEXIST
 * when an entry of that id (any counter, any letter case) has other bytes; ERR_HOST -ENOSPC before
 * the first byte; ERR_REFUSED -EBADMSG when the bytes are not the expected ones. After a failure
 * nothing stays behind.
 */
int esp_write_temp(struct sys *sys, int esp, const char *file, const struct esp_source *src,
		   struct err *e) __attribute__((warn_unused_result));

/* Opens an entry's own file (boot_entry_name.file of a UKI) for reading; the caller closes it. */
int esp_open_file(struct sys *sys, int esp, const char *file, struct err *e)
	__attribute__((warn_unused_result));

/* Opens the temporary file for checks in between (uki_read_fd, sb_check); the caller closes it. */
int esp_open_temp(struct sys *sys, int esp, const char *file, struct err *e)
	__attribute__((warn_unused_result));

/* Step 2: renames the temporary file to its final name and syncs. Done already: success. */
int esp_publish(struct sys *sys, int esp, const char *file, struct err *e)
	__attribute__((warn_unused_result));

/* Removes temporary files whose name starts with prefix ("" for all) that an interrupted add left.
 */
int esp_discard_temps(struct sys *sys, int esp, const char *prefix, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Removes every file of the entry called id, broken ones too. Returns how many there were: 0 is
 * success. A type 1 entry's kernel and initrd are not touched.
 */
int esp_remove(struct sys *sys, int esp, const char *id, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Marks the entry bad (+0-DONE) or good (no counter), as systemd-bless-boot does. Done already:
 * success. -ENOENT (INPUT) when there is no such entry. When a torn rename left two names, the
 * better whole one stays and the others go.
 */
int esp_condemn(struct sys *sys, int esp, const char *id, struct err *e)
	__attribute__((warn_unused_result));
int esp_bless(struct sys *sys, int esp, const char *id, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Finds and opens the ESP of this host: path when given, else the first of /efi, /boot/efi, /boot
 * that is a FAT mount with EFI/ in it. *ret is a directory descriptor; ret_path (may be NULL) says
 * which.
 */
int esp_open(struct sys *sys, const char *path, int *ret, char ret_path[256], struct err *e)
	__attribute__((warn_unused_result));

#endif
