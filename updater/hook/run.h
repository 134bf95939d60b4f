/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HOOK_RUN_H
#define UPDATER_HOOK_RUN_H

#include "updater/hook/ask.h"

#define HOOK_OUTPUT_MAX ((size_t)4096) /* the end of a hook's output, that is kept */

/* After each hook: "pre-reboot.d/10-drain: exit status 1", and what it printed; may be NULL. */
typedef void (*hook_ended_fn)(void *arg, const char *what, const char *output, size_t n);

/*
 * Runs the hooks of ask->stage one after another, without a shell, each with no argument, stdin
 * from /dev/null, a process group of its own and this environment: PATH, LANG=C.UTF-8, PROA_HOOK
 * (the stage), PROA_VERSION, PROA_FROM, PROA_REASON, PROA_OUTCOME. The first that does not exit
 * with 0 ends it, but for post-boot and post-fallback, where the others are run all the same. Hooks
 * are ended when ask->timeout_s is over or stop_fd (-1: none) is hung up on. HOOK_SENTINEL makes or
 * removes that file. *ret always says what came of it.
 */
void hook_run(const struct hook_ask *ask, int stop_fd, hook_ended_fn ended, void *arg,
	      struct hook_answer *ret);

#endif
