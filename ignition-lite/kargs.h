/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_KARGS_H
#define IGNITION_LITE_KARGS_H

#include <stdbool.h>

#include "base/err.h"
#include "ignition-lite/config.h"

/*
 * The kernel command line (kernel.org, admin-guide/kernel-parameters): words between white space,
 * double quotes hold a word together. Pure.
 */

/* The value of name= in cmdline, the last one if there are several; false if there is none. */
bool ign_karg_get(const char *cmdline, const char *name, char *out, size_t cap);
/* Is the argument there, word for word ("quiet", "console=ttyS0")? */
bool ign_karg_has(const char *cmdline, const char *arg);

/*
 * What the boot loader says of this boot (Boot Loader Interface): the entry it chose and the stub
 * that the kernel started from; "" where it says nothing.
 */
struct ign_booted {
	char entry[256]; /* "proa_1.0.0+3-0.efi", or "x.conf" of a type 1 entry */
	char stub[128];  /* "systemd-stub 252.39-1~deb12u1": the kernel comes from a UKI */
};

/* The text of an EFI variable as efivarfs has it: attributes, then UTF-16LE. What is not ASCII: '?'
 */
void ign_booted_text(const void *p, size_t n, char *out, size_t cap);

/*
 * A host of Proa boots a UKI, whose command line is signed and cannot be changed from within. So
 * the kernelArguments of a config are not applied but checked: 0 when the running command line is
 * what they ask for, else ERR_REFUSED with the first that is not, the boot entry that this host
 * has, and what to do about it. Addons to a UKI are read by systemd-stub 254 and newer.
 */
int ign_kargs_check(const struct ign_config *c, const char *cmdline, const struct ign_booted *b,
		    struct err *e) __attribute__((warn_unused_result));

#endif
