/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_PASSPHRASE_H
#define PUBLISHER_PASSPHRASE_H

#include <stddef.h>

#include "base/err.h"

#define PASSPHRASE_MAX 1024 /* bytes, with NUL */

/*
 * The passphrase (or PIN) of the key called name, from the first place that has one: the first line
 * of file (NULL: none given); the environment's PROA_PASSPHRASE; the credentials
 * <name>.passphrase and proa-publish.passphrase in $CREDENTIALS_DIRECTORY; the terminal, without
 * echo. Never an argument: those are seen by everybody. Returns its length. ERR_INPUT -ENOKEY when
 * there is no such place, -ECANCELED when a person broke off.
 */
int passphrase_get(const char *name, const char *file, char ret[PASSPHRASE_MAX], struct err *e)
	__attribute__((warn_unused_result));

/* The same for a new key: on a terminal it is asked twice. ERR_INPUT -EINVAL when it is empty. */
int passphrase_new(const char *name, const char *file, char ret[PASSPHRASE_MAX], struct err *e)
	__attribute__((warn_unused_result));

/* Asks for the word "yes" on the terminal. ERR_INPUT -ECANCELED for anything else or without one.
 */
int passphrase_confirm(const char *question, struct err *e) __attribute__((warn_unused_result));

#endif
