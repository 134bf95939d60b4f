/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_REPORT_H
#define UPDATER_AGENT_REPORT_H

#include "base/err.h"
#include "base/json.h"
#include "updater/agent/act.h"
#include "updater/agent/host.h"
#include "updater/agent/machine.h"
#include "updater/agent/reboot.h"
#include "updater/agent/trust.h"
#include "updater/record/record.h"
#include "updater/release/decide.h"

/* What people and programs see, as JSON with stable names (docs/interface.md). Reads nothing. */

int report_status(const struct host *h, const struct record *rec, const struct machine_facts *f,
		  json_t **ret, struct err *e) __attribute__((warn_unused_result));

/*
 * Adds "reboot_window" to a status: {"when", "open", "changes"}, or {"error"} when systemd cannot
 * say; nothing unless Reboot=window.
 */
int report_window(const struct config *conf, int64_t now, json_t *status, struct err *e)
	__attribute__((warn_unused_result));

/* Adds "pin" {"version", "where"} and "hold" {"reason", "where"}, null when there is none. */
int report_policy(const struct config *conf, json_t *status, struct err *e)
	__attribute__((warn_unused_result));

/* Adds "next_check"; 0: null. */
int report_next_check(int64_t when, json_t *status, struct err *e)
	__attribute__((warn_unused_result));

/*
 * {"problems": [sentences], "settings": [{"section", "key", "value", "file", "line"}]} of the
 * configuration (file as of config_load()); file and line null where the default counts.
 */
int report_config(const char *file, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

int report_decision(const struct host *h, const struct release_decision *d, json_t **ret,
		    struct err *e) __attribute__((warn_unused_result));

/* Which check of TUF refused the metadata, and an expired role's date; null when none did. */
int report_refusal(const struct trust *t, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* The member "plan": what staging would do, or has done. */
int report_plan(json_t *o, const struct act_result *res, struct err *e)
	__attribute__((warn_unused_result));

/* A decision to update that waits for a person, as so much would have to be fetched. */
int report_waits(json_t *decision, const char *version, const struct act_result *res,
		 uint64_t max_fetch, struct err *e) __attribute__((warn_unused_result));

/* A decision to update that pre-stage.d postpones. */
int report_hook(json_t *decision, const char *version, const char *text, struct err *e)
	__attribute__((warn_unused_result));

/* The member "reboot_wait": whether this host reboots, and what stands in the way. */
int report_reboot(const struct reboot_memo *m, const struct reboot_next *next, bool going,
		  uint32_t delay_s, json_t *status, struct err *e)
	__attribute__((warn_unused_result));
int report_reboot_error(const char *text, json_t *status, struct err *e)
	__attribute__((warn_unused_result));

int report_history(const struct record *rec, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
