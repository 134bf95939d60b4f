/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_AGENT_H
#define UPDATER_AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "updater/agent/act.h"
#include "updater/agent/config.h"
#include "updater/agent/fetcher.h"
#include "updater/agent/host.h"
#include "updater/agent/trust.h"

/* The verbs of org.proa.Host1 as functions: each does its work and answers JSON for the caller. */

enum agent_verb {
	AGENT_NONE,
	AGENT_CHECK,
	AGENT_STAGE,
	AGENT_APPLY,
	AGENT_ROLLBACK,
	AGENT_FORGIVE,
	AGENT_WHY,
	AGENT_REBOOT,
	AGENT_PLAN,
	AGENT_REBOOT_ALLOWED, /* by itself: when Reboot=, window, lock, hooks and others let it */
	AGENT_REBOOT_NOW,     /* whatever stands in the way */
	AGENT_PIN,
	AGENT_HOLD,
	AGENT_UNHOLD,
};
const char *agent_verb_name(enum agent_verb v); /* "check", ... */

/* What a verb is told; empty texts where it takes none. */
struct agent_args {
	char version[RECORD_VERSION_MAX];
	char reason[CONFIG_REASON_MAX];
	bool any_size; /* stage: however much that fetches */
};

/* Who else has a say in when this machine goes down. */
struct agent_session {
	char inhibitor[300]; /* "who (pid): why"; empty: nobody */
	unsigned users;      /* people who are logged in */
};

struct agent {
	struct sys *sys;
	const struct host_live *live; /* NULL: as this machine shows; a test may say */
	const char *config_file;      /* NULL: the host's */
	const char *fetch_program;    /* NULL: the service */
	const char *hook_program;     /* with fetch_program: proa-hook as a child */
	struct host *host;            /* NULL until opened */

	/* what happens, for status and progress */
	enum agent_verb busy;
	bool acting; /* phase, done and total mean something */
	enum act_phase phase;
	uint64_t done, total;
	bool paused;           /* the verb that runs waits for agent_pause(false) */
	struct fetcher *fetch; /* while a verb uses it */
	json_t *status;        /* last describe, served while busy */
	uint64_t told;         /* events with ids from here on are news, see agent_news() */

	enum machine_state state; /* as of the last describe */
	bool opened, warned;      /* settled once; unknown keys were said */
	bool counted;             /* the record counts the failure of this verb already */
	int64_t verified, built;  /* the clock's lower bounds, see machine_clock() */

	/* given by the loop; all may be NULL */
	wire_wait_fn wait;
	int (*pump)(void *arg); /* negative: cancelled */
	void (*progress)(void *arg, enum agent_verb v, enum act_phase phase, uint64_t done,
			 uint64_t total);
	void (*note)(void *arg, const char *text);
	void (*changed)(void *arg); /* what describe says of the state is another now */
	/* delay_s: for people to end their work; force: whoever inhibits it */
	int (*reboot)(void *arg, uint32_t delay_s, bool force, struct err *e);
	void (*session)(void *arg, struct agent_session *ret);
	void (*wake)(void *arg, int64_t at); /* have AGENT_REBOOT_ALLOWED run then */
	int64_t (*next_check)(void *arg); /* when this host looks again by itself; 0: not known */
	void *arg;
};

/* "uki", "scan", "fetch", "write", "prove", "esp" */
const char *agent_phase_name(enum act_phase p);

/*
 * Looks at the host anew: its configuration, its disk, its ESP. The first time it is settled too,
 * unless another proad works on it. Not while a verb runs.
 */
int agent_open(struct agent *a, struct err *e) __attribute__((warn_unused_result));
void agent_done(struct agent *a);

/* After a boot: what is owed to hooks and the lock server because of it. Opens the host. */
int agent_finish(struct agent *a, struct err *e) __attribute__((warn_unused_result));

/*
 * Holds the verb that runs, or lets it go on: reading, writing and downloading. False: none runs.
 * The verb's `pump` must not return while `paused` is set.
 */
bool agent_pause(struct agent *a, bool paused);

/* Another bandwidth limit (bytes per second, 0: none) for the verb that runs; false: none does. */
bool agent_limit(struct agent *a, uint64_t limit);

/*
 * Runs a verb to its end; args NULL: it takes none. ERR_RETRY -EBUSY: another proad works on this
 * host; -ECANCELED. *ret: a fresh object for the caller, org.proa.Host1(5). Errors are those of the
 * rooms below.
 */
int agent_run(struct agent *a, enum agent_verb v, const struct agent_args *args, json_t **ret,
	      struct err *e) __attribute__((warn_unused_result));

/*
 * Events that were added to the record since the last call, oldest first, each once: state changes.
 * halted: with this one so many fallbacks in a row that nothing new is taken.
 */
typedef void (*agent_news_fn)(void *arg, const struct record_event *ev, bool halted);
void agent_news(struct agent *a, agent_news_fn fn, void *arg);

/* Metrics and the login message, publish.h. Does nothing before agent_open(). */
int agent_publish(struct agent *a, struct err *e) __attribute__((warn_unused_result));

/* The results of the health checks, publish_health(). */
int agent_health(struct agent *a, json_t **ret, struct err *e) __attribute__((warn_unused_result));

/* Status and history; while a verb runs the status is the one from before, with its progress. */
int agent_describe(struct agent *a, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int agent_history(struct agent *a, json_t **ret, struct err *e) __attribute__((warn_unused_result));

/* What the last `check` or `why` said and when, beside the status of now. Looks nowhere. */
int agent_explain(struct agent *a, json_t **ret, struct err *e) __attribute__((warn_unused_result));

/* The configuration: every mistake, and what is in force from which file and line. */
int agent_config(struct agent *a, json_t **ret, struct err *e) __attribute__((warn_unused_result));

/* ERR_RETRY -EBUSY when another proad works on this host now. */
int agent_alone(struct agent *a, struct err *e) __attribute__((warn_unused_result));

#endif
