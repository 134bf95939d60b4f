/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_LOCKER_H
#define UPDATER_AGENT_LOCKER_H

#include "updater/agent/config_reboot.h"
#include "updater/agent/fetcher.h"
#include "updater/agent/reboot.h"

/* Takes and gives back a place: updater/lock's calls, carried by proa-fetch. */

struct locker {
	const struct config_lock *conf; /* certificates and timeout */
	struct fetcher_link link;       /* socket, program, wait, arg */
	struct sys *sys;
};

/*
 * Asks one member of the server after the other until one answers. REBOOT_NO: text says who has the
 * places, as far as the server tells. REBOOT_TROUBLE: text says why it is not known; e too, whose
 * kind is that of the failure.
 */
enum reboot_end locker_run(const struct locker *l, const struct reboot_place *p,
			   enum lock_verb verb, char text[REBOOT_TEXT_MAX], struct err *e);

#endif
