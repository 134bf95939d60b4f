/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_AGENT_STEPS_H
#define UPDATER_AGENT_AGENT_STEPS_H

#include "updater/agent/agent.h"
#include "updater/agent/reboot.h"
#include "updater/hook/ask.h"

/* What the files agent*.c share; agent.h is for everybody else. */

/* ---- agent.c: the host, and one verb at a time on it ---- */

/* The status of the host as agent_open() found it. */
int agent_look_status(struct agent *a, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* ---- agent_work.c: what act_*.c need of this agent for one verb ---- */

struct agent_work {
	struct agent *agent;
	struct fetcher *fetch;
};
struct act agent_act(struct agent *a, struct agent_work *w);

/* Seconds since 1970, by a clock that cannot be behind what is known to be past. */
int64_t agent_now(const struct agent *a);

/* The caller, or the end of this program, wants the verb to end. */
bool agent_cancelled(struct agent *a);

/* ---- agent_check.c: metadata refreshed and verified, the decision made and recorded ---- */

struct agent_check {
	struct agent *agent;
	struct fetcher *fetch;
	struct trust trust;
	struct trust_job job;
	struct release_decision decision;
	const char *to;  /* a person goes back to this one; NULL: what policy says */
	char clock[240]; /* a sentence when the clock is behind; else empty */
};
void agent_check_done(struct agent_check *c);
#define AUTO_AGENT_CHECK __attribute__((cleanup(agent_check_done))) struct agent_check

int agent_check(struct agent *a, struct agent_check *c, struct err *e)
	__attribute__((warn_unused_result));
int agent_check_json(struct agent *a, const struct agent_check *c, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Why there is no decision. */
int agent_check_put_error(const struct agent_check *c, const struct err *bad, json_t *o,
			  struct err *e) __attribute__((warn_unused_result));

/* What MaxDownload= comes to for this release; 0: any number of bytes. */
uint64_t agent_max_fetch(const struct config *conf, const struct release_manifest *m);

/* ---- agent_reboot.c: lock, hooks, reboot, hooks, unlock ---- */

/* Hooks with the configuration's directories and deadline; failing to ask is an answer too. */
void agent_hooks(struct agent *a, const struct hook_ask *what, struct hook_answer *ret);

/* What is owed because of an earlier boot; nothing on most. Later again what fails. */
int agent_reboot_owed(struct agent *a, struct err *e) __attribute__((warn_unused_result));

/* Settling had news: the hooks that belong to it are owed, whoever rebooted. */
int agent_reboot_heard(struct agent *a, const struct machine_settle *s, struct err *e)
	__attribute__((warn_unused_result));

/* A person allows another try: a place that was kept since it failed is given back. */
int agent_reboot_forgiven(struct agent *a, const char *version, struct err *e)
	__attribute__((warn_unused_result));

/* Adds "reboot_wait" to the status when there is something to say. */
int agent_reboot_status(struct agent *a, json_t *status, struct err *e)
	__attribute__((warn_unused_result));

/* ---- the verbs; *ret: a fresh object for the caller ---- */

int agent_run_check(struct agent *a, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int agent_run_plan(struct agent *a, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int agent_run_stage(struct agent *a, bool any_size, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int agent_run_apply(struct agent *a, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
/*
 * Back to the release before, or to args->version; then this host is pinned to that. A release that
 * lies in no slot is fetched as any other, if the channel still offers it and no floor forbids it.
 */
int agent_run_rollback(struct agent *a, const struct agent_args *args, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int agent_run_forgive(struct agent *a, const char *version, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int agent_run_reboot(struct agent *a, enum reboot_by by, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* For whoever reboots this host in our place (kured); failing to say so fails nothing. */
void agent_sentinel(struct agent *a, bool on);

/* ---- agent_policy.c: what a person says of this host, kept in CONFIG_OVERRIDE ---- */

/* version empty: no pin. */
int agent_run_pin(struct agent *a, const char *version, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int agent_run_hold(struct agent *a, bool hold, const char *reason, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* ---- agent_last.c: the last decision, kept in the state directory for who may not look ---- */

/* bad: why there is none, or NULL. */
int agent_last_save(struct agent *a, const struct agent_check *c, const struct err *bad,
		    struct err *e) __attribute__((warn_unused_result));
/* What it says is no longer so. */
int agent_last_drop(struct agent *a, struct err *e) __attribute__((warn_unused_result));
/* ERR_INPUT -ENOENT when nothing was looked at yet. */
int agent_last_load(struct agent *a, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* The decision beside the status, so that one answer explains everything. */
int agent_run_why(struct agent *a, json_t **ret, struct err *e) __attribute__((warn_unused_result));

#endif
