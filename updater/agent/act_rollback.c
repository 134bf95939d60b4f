/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/sys.h"
#include "updater/agent/act_steps.h"

static void rolled_back(struct act *a, struct record *rec, const char *version,
			const uint8_t root[32], const char *reason)
{
	struct record_failure fail = { .when = a->now, .cause = RECORD_ROLLBACK };
	struct record_event ev = { .when = a->now, .kind = RECORD_EV_ROLLED_BACK };

	(void)snprintf(fail.version, sizeof(fail.version), "%s", version);
	memcpy(fail.root, root, sizeof(fail.root));
	(void)snprintf(fail.reason, sizeof(fail.reason), "rolled back by a person%s%s",
		       reason[0] ? ": " : "", reason);
	record_add_failure(rec, &fail);
	(void)snprintf(ev.version, sizeof(ev.version), "%s", version);
	memcpy(ev.root, root, sizeof(ev.root));
	(void)snprintf(ev.text, sizeof(ev.text), "%s", fail.reason);
	memcpy(ev.boot_id, a->host->boot_id, sizeof(ev.boot_id));
	record_add_event(rec, &ev);
}

/* Applied or staged, not booted: as if it had not been. The slot stays as it is. */
static int rollback_pending(struct act *a, struct record *rec, const char *reason, struct err *e)
{
	struct host *h = a->host;
	char name[HOST_RELEASE_MAX];
	int r;

	/* cut between these, settling finds a failed target without an entry and forgets it */
	rolled_back(a, rec, rec->target.version, rec->target.root, reason);
	r = act_record(a, rec, e);
	if (r < 0)
		return r;
	host_release_name(h, rec->target.version, name);
	r = esp_remove(h->sys, h->esp, name, e);
	if (r < 0)
		return r;
	machine_forget(rec);
	r = act_record(a, rec, e);
	return r < 0 ? r : file_remove(h->sys, h->state, HOST_SAVED_UKI, e);
}

const struct esp_entry *act_other_release(const struct host *h)
{
	enum slot_name slot;

	for (size_t i = 0; i < h->n_entries; i++) {
		const struct esp_entry *en = &h->entries[i];

		if (i != h->current && host_entry_ours(h, en) && !en->broken &&
		    en->uki.has_usrhash && !boot_entry_is_bad(&en->name) &&
		    disk_slot_of(h->disk, en->uki.usrhash, &slot, NULL) == 0)
			return en;
	}
	return NULL;
}

int act_leave(struct act *a, struct record *rec, struct err *e)
{
	struct host *h = a->host;
	int r;

	if (h->current == h->n_entries)
		return 0; /* it has no entry of its own to condemn */
	rolled_back(a, rec, h->version, h->root, a->leave);
	r = act_record(a, rec, e);
	return r < 0 ? r : esp_condemn(h->sys, h->esp, h->entries[h->current].name.id, e);
}

static int rollback_running(struct act *a, struct record *rec, const char *reason, struct err *e)
{
	struct host *h = a->host;
	int r;

	if (h->current == h->n_entries)
		return err_set(e, ERR_HOST, ENOENT,
			       "%s runs without a boot entry of its own: nothing to roll back",
			       h->version);
	if (!act_other_release(h))
		return err_set(e, ERR_HOST, ENOENT,
			       "there is no other bootable release to go back to (proactl status)");
	rolled_back(a, rec, h->version, h->root, reason);
	if (rec->phase == RECORD_APPLIED) /* it is the target that runs */
		machine_forget(rec);
	r = act_record(a, rec, e);
	if (r == 0)
		r = esp_condemn(h->sys, h->esp, h->entries[h->current].name.id, e);
	return r < 0 ? r : host_look(h, e);
}

int act_rollback(struct act *a, const char *reason, char ret_version[RECORD_VERSION_MAX],
		 struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->host->sys, .fd = -1 };
	char version[RECORD_VERSION_MAX];
	struct machine_facts f;
	struct record rec;
	bool pending;
	int r = act_enter(a, MACHINE_ROLLBACK, &lock, &rec, &f, e);

	if (r < 0)
		return r;
	pending = rec.phase != RECORD_IDLE && !machine_target_runs(&rec, &f);
	(void)snprintf(version, sizeof(version), "%s",
		       pending ? rec.target.version : a->host->version);
	r = pending ? rollback_pending(a, &rec, reason, e) : rollback_running(a, &rec, reason, e);
	if (r == 0)
		memcpy(ret_version, version, sizeof(version));
	return r;
}
