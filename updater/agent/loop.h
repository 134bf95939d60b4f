/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_LOOP_H
#define UPDATER_AGENT_LOOP_H

#include <stdbool.h>

#include "base/err.h"

struct agent;

/*
 * Serves org.proa.Host1: on the system bus until nothing was asked for LOOP_IDLE_S seconds, or to
 * one peer on descriptor fd until it hangs up. SIGTERM cancels the verb that runs and ends the
 * loop; whatever it was doing goes on at the next start. Logs each failure once.
 */
#define LOOP_IDLE_S 60u
int loop_run(struct agent *a, int fd, struct err *e) __attribute__((warn_unused_result));

/* Start-up after a boot, without a bus: settles and logs what became of the last update. */
int loop_settle(struct agent *a, struct err *e) __attribute__((warn_unused_result));

#endif
