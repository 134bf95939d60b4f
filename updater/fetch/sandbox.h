/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_FETCH_SANDBOX_H
#define UPDATER_FETCH_SANDBOX_H

#include "base/err.h"

/*
 * Gives up for good what a fetcher never needs: capabilities, new privileges, core dumps, writing
 * files, starting programs, and every system call outside a short list (seccomp). Call after
 * curl_global_init() and before the first byte from outside. Errors are ERR_HOST: do not go on.
 */
int fetch_sandbox_enter(struct err *e) __attribute__((warn_unused_result));

/* "seccomp", or why this build has none; for --version. */
const char *fetch_sandbox_kind(void);

#endif
