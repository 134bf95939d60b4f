/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOTCTL_ESP_DIR_H
#define BOOTCTL_ESP_DIR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/sys.h"
#include "bootctl/esp.h"

/* The ESP's two directories of boot entries, for esp.c and esp_change.c only. */

/* Names of one directory. */
struct esp_names {
	char (*name)[BOOT_NAME_MAX];
	size_t n;
};
void esp_names_done(struct esp_names *l);
#define AUTO_ESP_NAMES __attribute__((cleanup(esp_names_done))) struct esp_names

/* "ESP: cannot <what> '<name>': <cause>"; r is -errno. */
int esp_os_error(struct err *e, int r, const char *what, const char *name)
	__attribute__((warn_unused_result));

/* EFI/Linux or loader/entries. Absent without make: ret->fd stays -1 and 0 is returned. */
int esp_dir_open(struct sys *sys, int esp, enum boot_entry_type type, bool make, struct sys_fd *ret,
		 struct err *e) __attribute__((warn_unused_result));

/* All names, -E2BIG when there are far too many. */
int esp_names_read(struct sys *sys, int dir, struct esp_names *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The entries of that type called id (boot_entry_is_called). */
int esp_names_of(struct sys *sys, int dir, enum boot_entry_type type, const char *id,
		 struct esp_names *ret, struct err *e) __attribute__((warn_unused_result));

/* Reads what is said about one file. 1: *en is filled, 0: it is no file. */
int esp_entry_read(struct sys *sys, int esp, int dir, const struct boot_entry_name *name,
		   struct esp_entry *en);

#endif
