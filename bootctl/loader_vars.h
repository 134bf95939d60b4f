/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_LOADER_VARS_H
#define BOOTCTL_LOADER_VARS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "bootctl/entry_name.h"

struct sys;

#define LOADER_GUID     "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
#define EFI_GLOBAL_GUID "8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define EFI_DB_GUID     "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
#define EFIVARS_DEFAULT "/sys/firmware/efi/efivars"

enum { LOADER_VAR_MAX = 1024 /* bytes of UTF-8 with NUL */ };

/* Variables of the Boot Loader Interface. */
enum loader_var {
	LOADER_BOOT_COUNT_PATH, /* "\EFI\Linux\os_1+2-1.efi": the counted entry that runs */
	LOADER_ENTRY_SELECTED,  /* what was started; sd-boot 252 writes it with the counter */
	LOADER_ENTRY_DEFAULT,
	LOADER_ENTRY_PREFERRED, /* read by sd-boot 260 and later */
	LOADER_ENTRY_ONE_SHOT,
	LOADER_ENTRY_LAST_BOOTED,
	LOADER_DEVICE_PART_UUID, /* the ESP the loader came from */
	LOADER_INFO,
	STUB_INFO,
};
const char *loader_var_name(enum loader_var v);

/*
 * Opens a directory of EFI variables (path NULL: EFIVARS_DEFAULT). *ret is -1 and 0 is returned
 * when it is not there, which every function here and in secureboot.h takes as "no EFI".
 */
int efivars_open(struct sys *sys, const char *path, int *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Payload of the variable in `file` ("SecureBoot-" EFI_GLOBAL_GUID) without its 4 attribute bytes,
 * NUL behind it, freed by the caller. -ENOENT (HOST) when absent, -EFBIG (INPUT) beyond max.
 */
int efivar_read(struct sys *sys, int efivars, const char *file, size_t max, uint8_t **ret,
		size_t *ret_n, struct err *e) __attribute__((warn_unused_result));

/* A string variable as UTF-8; -ENOENT (HOST) when absent, ERR_INPUT when it is no UTF-16LE. */
int loader_var_read(struct sys *sys, int efivars, enum loader_var v, char ret[LOADER_VAR_MAX],
		    struct err *e) __attribute__((warn_unused_result));

/*
 * Sets (value) or removes (NULL) LoaderEntryOneShot or LoaderEntryDefault; others are ERR_BUG.
 * value is a glob over file names as they stand when the loader looks: sd-boot 252 does not strip
 * counters, so "os_1.efi" does not match "os_1+3-0.efi", and loader_var_pattern() makes what does.
 */
int loader_var_write(struct sys *sys, int efivars, enum loader_var v, const char *value,
		     struct err *e) __attribute__((warn_unused_result));

/*
 * The glob that means this entry at the next start: "os_1.efi" when blessed, "os_1+*.efi" when
 * counted, as the loader lowers the counter. -EINVAL (INPUT) for a name UAPI.1 does not allow.
 */
int loader_var_pattern(const struct boot_entry_name *en, char ret[LOADER_VAR_MAX], struct err *e)
	__attribute__((warn_unused_result));

/* UTF-16LE <-> UTF-8, bounded and strict (no lone surrogates). Return bytes written or -errno. */
int utf16_to_utf8(const uint8_t *p, size_t n, char *out, size_t cap, struct err *e)
	__attribute__((warn_unused_result));
int utf8_to_utf16(const char *s, uint8_t *out, size_t cap, struct err *e)
	__attribute__((warn_unused_result));

#endif
