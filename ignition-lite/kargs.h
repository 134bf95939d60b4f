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
 * A host of Proa boots a UKI, whose command line is signed and cannot be changed from within. So
 * the kernelArguments of a config are not applied but checked: 0 when the running command line is
 * what they ask for, else ERR_REFUSED with the first that is not, and what to do.
 */
int ign_kargs_check(const struct ign_config *c, const char *cmdline, struct err *e)
	__attribute__((warn_unused_result));

#endif
