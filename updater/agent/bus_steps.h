/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_BUS_STEPS_H
#define UPDATER_AGENT_BUS_STEPS_H

#include "updater/agent/bus.h"

/* What the files bus*.c share; bus.h is for everybody else. */

/* ---- bus_power.c: who may call what ---- */

/* The kinds of power; all but BUS_READ are actions of polkit, org.proa.host1.<kind>. */
enum bus_power { BUS_READ, BUS_CHECK, BUS_STAGE, BUS_REBOOT, BUS_POLICY };

/* Answers the call; as a method handler of sd-bus. */
typedef int (*bus_granted_fn)(struct bus *b, sd_bus_message *m);

/*
 * Runs `run` now or later if the sender of m has that power: root and a peer have all, others what
 * org.freedesktop.PolicyKit1 says; where it is not there, none. Else m is answered with an error.
 * The loop goes on meanwhile, as a person may be asked for a password.
 */
int bus_power_ask(struct bus *b, enum bus_power p, sd_bus_message *m, bus_granted_fn run)
	__attribute__((warn_unused_result));

/* Drops the calls that wait, unanswered. */
void bus_power_close(struct bus *b);

/* ---- bus_props.c: the properties ---- */

int bus_props_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		  sd_bus_message *reply, void *arg, sd_bus_error *error);

/* Tells whoever listens which of them are others now. */
void bus_props_changed(struct bus *b);

#endif
