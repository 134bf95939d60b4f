/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"
#include "updater/agent/bus.h"
#include "updater/agent/logind.h"

/* The system bus also where proactl is spoken to on a socket pair; NULL: there is none. */
static sd_bus *system_bus(struct bus *b)
{
	sd_bus *bus = NULL;

	if (!b->peer)
		return sd_bus_ref(b->bus);
	return sd_bus_open_system(&bus) < 0 ? NULL : bus;
}

static void closep(sd_bus **bus)
{
	/* the loop's own is only let go of */
	(void)sd_bus_flush(*bus);
	(void)sd_bus_unref(*bus);
}
#define AUTO_BUS __attribute__((cleanup(closep))) sd_bus

int bus_reboot(struct bus *b, uint32_t delay_s, bool force, struct err *e)
{
	/* a recovery shell without a bus: systemctl reaches the manager without */
	static const char *const systemctl[] = { "systemctl", "reboot", NULL };
	AUTO_BUS *bus = system_bus(b);
	int r;

	if (bus)
		return logind_reboot(bus, delay_s, force, e);
	r = spawn_check(systemctl, e);
	return r < 0 ? err_wrap(e, r, "cannot reboot") : 0;
}

void bus_session(struct bus *b, struct agent_session *ret)
{
	AUTO_BUS *bus = system_bus(b);

	if (bus)
		logind_look(bus, ret);
}

void bus_wake(struct bus *b, int64_t at)
{
	AUTO_BUS *bus = system_bus(b);

	if (bus)
		logind_wake(bus, at);
}
