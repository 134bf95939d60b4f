/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_NAMES_H
#define IGNITION_LITE_NAMES_H

#include <limits.h>
#include <stdint.h>

#include "base/err.h"
#include "ignition-lite/root.h"

/*
 * Users and groups as the root knows them: /etc/passwd and /etc/group, and behind them the same
 * names in /usr/lib, where image-based systems keep their own (nss-altfiles). Files of at most
 * 4 MiB; lines that are no entries are passed over, as libc does.
 */
struct ign_account {
	uint32_t uid, gid;
	char home[PATH_MAX];
};

/* 1 and *ret, or 0 when there is no such name. ERR_HOST when the files cannot be read. */
int ign_name_user(const struct ign_root *root, const char *name, struct ign_account *ret,
		  struct err *e) __attribute__((warn_unused_result));
int ign_name_group(const struct ign_root *root, const char *name, uint32_t *ret_gid, struct err *e)
	__attribute__((warn_unused_result));

/* Pure: finds the line of name in the n bytes of a passwd or group file; borrowed, NULL if none. */
const char *ign_name_line(const char *text, size_t n, const char *name, size_t *ret_n);
/* Pure: the field with that index (0: the name) of a line; false if it has fewer. */
bool ign_name_field(const char *line, size_t n, unsigned index, const char **ret, size_t *ret_n);

#endif
