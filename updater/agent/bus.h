/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_BUS_H
#define UPDATER_AGENT_BUS_H

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/err.h"
#include "updater/agent/agent.h"

/*
 * org.proa.Host1 on the system bus, or peer to peer on a socket pair (--direct): the same object.
 * One verb runs at a time; it is taken by the loop, not run inside the method call, so that others
 * can read the status and cancel meanwhile.
 */
#define BUS_NAME      "org.proa.Host1"
#define BUS_PATH      "/org/proa/Host1"
#define BUS_INTERFACE "org.proa.Host1"

struct bus_ask;

struct bus {
	struct agent *agent;
	sd_event *event;
	sd_bus *bus;
	/* the verb that waits for the loop or runs */
	enum agent_verb verb;
	sd_bus_message *call; /* to be answered when it ends */
	sd_bus_track *caller; /* cancels a verb that only looks when it has gone */
	struct agent_args args;
	bool cancel;
	bool peer;               /* not the system bus */
	uint64_t note_ms, notes; /* see bus_note() */
	/* of the last Progress of each phase: two of them go on together */
	struct {
		uint64_t ms;
		bool ended;
	} told[ACT_PHASES];
	struct bus_ask *asks; /* calls that wait to be allowed */
	json_t *props;        /* as last told */
	uint64_t props_ms;
};

/* fd -1: the system bus, with the name taken; else a peer on fd (taken over). */
int bus_open(struct bus *b, struct agent *a, sd_event *event, int fd, struct err *e)
	__attribute__((warn_unused_result));
void bus_close(struct bus *b);

/* Runs the verb that waits and answers its call; the error that it was answered with. */
int bus_run(struct bus *b, struct err *e) __attribute__((warn_unused_result));

/*
 * Gives the name back, so that who calls from now on starts another proad. True: nobody had called
 * before that, this one may end. Else a verb waits, and the name is asked for again.
 */
bool bus_leave(struct bus *b);

/* For struct agent: signals to whoever listens. arg: the struct bus. */
void bus_progress(void *arg, enum agent_verb v, enum act_phase phase, uint64_t done,
		  uint64_t total);
void bus_note(void *arg, const char *text); /* a flood is thinned out */
void bus_changed(void *arg);
/* Through logind. */
int bus_reboot(struct bus *b, uint32_t delay_s, bool force, struct err *e)
	__attribute__((warn_unused_result));
void bus_session(struct bus *b, struct agent_session *ret);
void bus_wake(struct bus *b, int64_t at);
/* When proa-update.timer elapses next, seconds since 1970; 0: not known. */
int64_t bus_next_check(void *arg);

#endif
