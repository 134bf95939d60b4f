/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/health/fall_back.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "bootctl/loader_vars.h"

const char *health_verdict_text(enum health_verdict v)
{
	static const char *const texts[] = {
		[HEALTH_FALL_BACK] = "another release boots instead",
		[HEALTH_STAY_UNKNOWN] =
			"the boot loader does not say which entry was started, so none is given up",
		[HEALTH_STAY_GOOD] = "this release was proved healthy before, so a reboot would "
				     "only bring it back (proactl rollback goes to the other one)",
		[HEALTH_STAY_ONLY] = "no other release on the ESP can boot",
		[HEALTH_STAY_PINNED] = "the boot loader would start this entry again: it is set as "
				       "default in loader.conf or an EFI variable",
	};

	return texts[v];
}

/* "\EFI\Linux\os_1+2-1.efi" -> "os_1+2-1.efi" */
static const char *base_name(const char *path)
{
	const char *a = strrchr(path, '\\'), *b = strrchr(path, '/');
	const char *last = a > b ? a : b;

	return last ? last + 1 : path;
}

size_t health_running(const struct esp_entry *entries, size_t n, const char *selected,
		      const char *count_path)
{
	const char *called = selected[0] ? selected : base_name(count_path);

	for (size_t i = 0; called[0] && i < n; i++)
		if (boot_entry_is_called(&entries[i].name, called))
			return i;
	return n;
}

size_t health_other(const struct esp_entry *entries, size_t n, size_t running)
{
	for (size_t i = 0; running < n && i < n; i++) {
		const struct esp_entry *en = &entries[i], *run = &entries[running];

		if (boot_entry_same_id(&en->name, &run->name) || en->name.type != BOOT_ENTRY_UKI ||
		    en->broken || !en->shown || boot_entry_is_bad(&en->name))
			continue;
		if (en->uki.has_usrhash && strcmp(en->uki.image_id, run->uki.image_id) == 0)
			return i;
	}
	return n;
}

enum health_verdict health_verdict(const struct esp_entry *entries, size_t n, size_t running,
				   size_t other)
{
	if (running >= n)
		return HEALTH_STAY_UNKNOWN;
	if (boot_entry_is_good(&entries[running].name))
		return HEALTH_STAY_GOOD;
	return other < n ? HEALTH_FALL_BACK : HEALTH_STAY_ONLY;
}

static void read_var(const struct health_boot *b, enum loader_var v, char out[LOADER_VAR_MAX])
{
	if (b->efivars < 0 || loader_var_read(b->sys, b->efivars, v, out, NULL) < 0)
		out[0] = '\0';
}

int health_boot_read(struct sys *sys, const char *esp, const char *efivars, struct health_boot *ret,
		     struct err *e)
{
	char selected[LOADER_VAR_MAX], count_path[LOADER_VAR_MAX];
	int r;

	*ret = (struct health_boot){ .sys = sys, .esp = -1, .efivars = -1 };
	r = esp_open(sys, esp, &ret->esp, NULL, e);
	if (r >= 0)
		r = efivars_open(sys, efivars, &ret->efivars, e);
	if (r >= 0)
		r = esp_list(sys, ret->esp, &ret->entries, &ret->n_entries, e);
	if (r < 0)
		return r;
	read_var(ret, LOADER_ENTRY_SELECTED, selected);
	read_var(ret, LOADER_BOOT_COUNT_PATH, count_path);
	ret->running = health_running(ret->entries, ret->n_entries, selected, count_path);
	ret->other = health_other(ret->entries, ret->n_entries, ret->running);
	return 0;
}

void health_boot_done(struct health_boot *b)
{
	free(b->entries);
	b->entries = NULL;
	b->n_entries = 0;
	if (b->esp >= 0)
		(void)b->sys->ops->close(b->sys, b->esp);
	if (b->efivars >= 0)
		(void)b->sys->ops->close(b->sys, b->efivars);
	b->esp = b->efivars = -1;
}

/* The event of this failure in this boot is there already. */
static bool noted(const struct record *rec, const struct health_failure_note *f)
{
	for (size_t i = rec->n_event; i > 0; i--) {
		const struct record_event *ev = &rec->event[i - 1];

		if (ev->kind == RECORD_EV_FAILED && strcmp(ev->version, f->version) == 0 &&
		    strcmp(ev->boot_id, f->boot_id) == 0)
			return true;
	}
	return false;
}

bool health_note(struct record *rec, const struct health_failure_note *f)
{
	struct record_failure fail = { .when = f->now, .cause = RECORD_HEALTH };
	struct record_event ev = { .when = f->now, .kind = RECORD_EV_FAILED };

	if (noted(rec, f) && (!f->failed || record_failed(rec, f->version)))
		return false;
	(void)snprintf(fail.version, sizeof(fail.version), "%s", f->version);
	(void)snprintf(fail.reason, sizeof(fail.reason), "%s", f->reason);
	(void)snprintf(ev.version, sizeof(ev.version), "%s", f->version);
	(void)snprintf(ev.text, sizeof(ev.text), "%s", f->reason);
	(void)snprintf(ev.boot_id, sizeof(ev.boot_id), "%s", f->boot_id);
	if (f->root) {
		memcpy(fail.root, f->root, sizeof(fail.root));
		memcpy(ev.root, f->root, sizeof(ev.root));
	}
	if (f->failed)
		record_add_failure(rec, &fail);
	if (!noted(rec, f))
		record_add_event(rec, &ev);
	return true;
}

int health_record(struct sys *sys, const char *state, const struct health_failure_note *f,
		  struct err *e)
{
	AUTO_FREE struct record *rec = calloc(1, sizeof(*rec));
	AUTO_SYS_FD dir = { .sys = sys, .fd = -1 };
	AUTO_SYS_FD lock = { .sys = sys, .fd = -1 };
	int r;

	if (!rec)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	dir.fd = sys->ops->open(sys, AT_FDCWD, state, O_RDONLY | O_DIRECTORY, 0);
	if (dir.fd < 0)
		return err_set(e, ERR_HOST, -dir.fd, "state directory %s: %s", state,
			       strerror(-dir.fd));
	r = record_lock(sys, dir.fd, &lock, e);
	if (r >= 0)
		r = record_load(sys, dir.fd, rec, e);
	if (r < 0)
		return r;
	return health_note(rec, f) ? record_store(sys, dir.fd, rec, e) : 0;
}

int health_condemn(struct health_boot *b, enum health_verdict *ret, struct err *e)
{
	struct boot_entry_name name = b->entries[b->running].name;
	struct esp_entry *entries;
	enum choice_why why;
	size_t n, next;
	int r = esp_condemn(b->sys, b->esp, name.id, e);

	if (r < 0)
		return r;
	r = esp_list(b->sys, b->esp, &entries, &n, e);
	if (r < 0)
		return r;
	free(b->entries);
	b->entries = entries;
	b->n_entries = n;
	b->running = health_running(entries, n, name.file, "");
	b->other = health_other(entries, n, b->running);
	r = esp_next(b->sys, b->esp, b->efivars, entries, n, &next, &why, e);
	if (r < 0)
		return r;
	/* not sure: a reboot might bring up the same again, for ever */
	*ret = why == CHOICE_UNSURE || (next < n && boot_entry_same_id(&entries[next].name, &name))
		       ? HEALTH_STAY_PINNED
		       : HEALTH_FALL_BACK;
	return 0;
}
