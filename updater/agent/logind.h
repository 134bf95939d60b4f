/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_LOGIND_H
#define UPDATER_AGENT_LOGIND_H

#include <systemd/sd-bus.h>

#include "updater/agent/agent.h"

/* org.freedesktop.login1(5), for what a reboot needs of it. */

/* Who blocks shutdown, and how many people are logged in; nobody where logind is not there. */
void logind_look(sd_bus *bus, struct agent_session *ret);

/*
 * Reboots, never by kexec: now, or after delay_s with a message to all terminals. force: whoever
 * inhibits it; else -EBUSY (ERR_RETRY) when somebody does. A host without logind is rebooted by
 * systemd itself.
 */
int logind_reboot(sd_bus *bus, uint32_t delay_s, bool force, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Has proa-reboot@.service started at that time, by a transient timer; asking for the same time
 * twice is fine. Failures are not told: proa-update.timer looks too, only later.
 */
void logind_wake(sd_bus *bus, int64_t at);

#endif
