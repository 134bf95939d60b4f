/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "updater/agent/act_steps.h"

/* What an interrupted download of a UKI left. */
static int drop_part(struct act *a, struct err *e)
{
	struct sys *sys = a->host->sys;
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };

	f.fd = sys->ops->open(sys, a->host->state, ACT_UKI_PART, O_RDONLY, 0);
	return f.fd == -ENOENT ? 0 : file_remove(sys, a->host->state, ACT_UKI_PART, e);
}

int act_settle(struct act *a, struct machine_settle *ret, struct err *e)
{
	struct host *h = a->host;
	AUTO_SYS_FD lock = { .sys = h->sys, .fd = -1 };
	char name[HOST_RELEASE_MAX];
	struct machine_settle s;
	struct machine_facts f;
	struct record rec;
	int r = record_lock(h->sys, h->state, &lock, e);

	if (r < 0)
		return r;
	r = record_load(h->sys, h->state, &rec, e);
	if (r < 0)
		return r;
	if (h->disk->primary_bad || h->disk->backup_bad)
		r = disk_repair(h->disk, e);
	if (r == 0)
		r = host_look(h, e);
	if (r < 0)
		return r;
	host_facts(h, &rec, a->now, &f);
	machine_settle(&rec, &f, &s);
	/* before the record forgets which entry it was; a condemned one settles the same way */
	if (s.condemn && f.target_entry != MACHINE_ENTRY_NONE) {
		host_release_name(h, s.version, name);
		r = esp_condemn(h->sys, h->esp, name, e);
	}
	if (r == 0 && s.changed)
		r = act_record(a, &rec, e);
	if (r == 0 && s.discard_temps)
		r = esp_discard_temps(h->sys, h->esp, h->conf.image, e);
	if (r == 0 && s.drop_saved)
		r = file_remove(h->sys, h->state, HOST_SAVED_UKI, e);
	if (r == 0)
		r = drop_part(a, e);
	if (r == 0)
		r = host_look(h, e);
	if (r == 0 && ret)
		*ret = s;
	return r;
}
