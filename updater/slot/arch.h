/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_SLOT_ARCH_H
#define UPDATER_SLOT_ARCH_H

#include <stdint.h>

#include "base/err.h"

/* What depends on the architecture, for the whole updater: one table and nothing beside it. */
struct slot_arch {
	const char *name;       /* "x86-64", "arm64", "riscv64", as in manifests and systemd */
	const char *efi;        /* "x64", "aa64", "riscv64": the suffix in EFI file names */
	const char *usr;        /* GPT type UUID of /usr, lower case (UAPI.2) */
	const char *usr_verity; /* GPT type UUID of its hash tree */
};

/* By name, NULL for the architecture this program was compiled for. -EOPNOTSUPP (INPUT). */
int slot_arch_by_name(const char *name, const struct slot_arch **ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
