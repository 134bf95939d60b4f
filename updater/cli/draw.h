/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_CLI_DRAW_H
#define UPDATER_CLI_DRAW_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/*
 * JSON of org.proa.Host1 -> what a person reads: plain text in 80 columns, the state in the first
 * two lines, and with every line that asks for something the command that does it. Pure; now is in
 * seconds. All append to out. A member that is missing is drawn as "?", never an error.
 */
int draw_status(const json_t *status, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* Why what is applied does not run yet: one line on the reboot window of a status. */
int draw_reboot(const json_t *status, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* The numbered reasons of "reboot_wait", and when they are looked at again. */
int draw_wait(const json_t *wait, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* What Reboot and its like answered. */
int draw_rebooting(const json_t *result, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
int draw_why(const json_t *why, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
int draw_check(const json_t *decision, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* id 0: all of it, a line or two each; else that event in full (-ENOENT, INPUT). */
int draw_history(const json_t *events, uint64_t id, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* The results of the health checks, GetHealth. */
int draw_health(const json_t *health, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* What Stage and Apply did, one line each. */
int draw_staged(const json_t *result, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* Lines beyond 80 columns are folded at blanks. */
int draw_fold(const struct buf *in, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* What Plan says that Stage would do. */
int draw_plan(const json_t *plan, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* After pin, hold, unhold: what is in force now, and who says so. */
int draw_policy(const json_t *policy, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* A configuration: its mistakes, or what is in force. */
int draw_problems(const json_t *config, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
int draw_settings(const json_t *config, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
/* A status as one line, for logs and terminals that cannot be cleared. */
int draw_line(const json_t *status, int64_t now, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));
int draw_applied(const json_t *result, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

#endif
