/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_CONFIG_REBOOT_H
#define UPDATER_AGENT_CONFIG_REBOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "updater/hook/ask.h"
#include "updater/lock/lock.h"

/* The sections [Lock], [Hooks] and [Reboot] of proa.conf(5). */

#define CONFIG_LOCK_URL_MAX 1025
#define CONFIG_FILE_MAX     256

struct config_lock {
	bool on; /* Type= is not none */
	struct lock_terms terms;
	char url[CONFIG_LOCK_URL_MAX]; /* of its members, each ends in '/', one blank between two */
	char ca[CONFIG_FILE_MAX], cert[CONFIG_FILE_MAX], key[CONFIG_FILE_MAX]; /* empty: none */
	bool keep;                                                             /* KeepOnFailure= */
	uint32_t timeout_s; /* Timeout=: for one request */
};

struct config_hooks {
	char dirs[HOOK_DIRS_MAX]; /* Directories= */
	uint32_t timeout_s;       /* Timeout=: for all hooks of one kind together */
	char socket[CONFIG_FILE_MAX];
};

struct config_reboot_terms {
	uint32_t retry_s;               /* Retry=, before chance moves it */
	uint32_t notice_s;              /* Notice=, for users who are logged in; 0: none */
	char sentinel[CONFIG_FILE_MAX]; /* Sentinel=; empty: none */
};

struct conf;
struct config;
/* One section each. ERR_INPUT names file, line and key. */
int config_load_lock(struct conf *c, struct config *cfg, struct err *e)
	__attribute__((warn_unused_result));
int config_load_hooks(struct conf *c, struct config *cfg, struct err *e)
	__attribute__((warn_unused_result));
int config_load_reboot(struct conf *c, struct config *cfg, struct err *e)
	__attribute__((warn_unused_result));

#endif
