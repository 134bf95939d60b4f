/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "updater/agent/act_steps.h"

/* The UKI that waits in the state directory. */
struct saved {
	struct act *a;
	int fd;
	uint64_t total;
};

/* Feeds the saved UKI to the ESP store. */
static ssize_t saved_read(void *arg, void *buf, size_t n, uint64_t off, struct err *e)
{
	const struct saved *s = arg;
	struct sys *sys = s->a->host->sys;
	ssize_t k = sys->ops->pread(sys, s->fd, buf, n, off);

	if (k < 0)
		return err_set(e, ERR_HOST, (int)-k, "read the saved UKI");
	if (k == 0)
		return err_set(e, ERR_HOST, ENODATA, "the saved UKI is too short");
	return k;
}

static void saved_progress(void *arg, uint64_t done)
{
	const struct saved *s = arg;

	if (s->a->progress)
		(void)s->a->progress(s->a->arg, ACT_ESP, done, s->total);
}

/* A torn rename may have left the entry's name with nothing behind it. */
static int clear_torn(struct act *a, const char *id, struct err *e)
{
	struct host *h = a->host;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < h->n_entries; i++)
		if (h->entries[i].broken && boot_entry_is_called(&h->entries[i].name, id))
			r = esp_remove(h->sys, h->esp, id, e);
	return r < 0 ? r : 0;
}

/* Step 5. */
static int put_on_esp(struct act *a, const struct record *rec, const char *file, struct err *e)
{
	struct host *h = a->host;
	AUTO_SYS_FD f = { .sys = h->sys, .fd = -1 };
	AUTO_SYS_FD temp = { .sys = h->sys, .fd = -1 };
	struct saved from = { .a = a, .total = rec->target.uki_bytes };
	struct esp_source src = { .read = saved_read,
				  .progress = saved_progress,
				  .arg = &from,
				  .bytes = rec->target.uki_bytes };
	int r;

	memcpy(src.sha256, rec->target.uki_sha256, sizeof(src.sha256));
	f.fd = h->sys->ops->open(h->sys, h->state, HOST_SAVED_UKI, O_RDONLY, 0);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "%s/" HOST_SAVED_UKI ": %s (proactl stage)",
			       h->conf.state, strerror(-f.fd));
	from.fd = f.fd;
	r = esp_write_temp(h->sys, h->esp, file, &src, e);
	if (r != 0)
		return r;
	temp.fd = esp_open_temp(h->sys, h->esp, file, e);
	if (temp.fd < 0)
		return temp.fd;
	r = act_uki_judge(a, temp.fd, rec->target.version, rec->target.root, e);
	if (r < 0) {
		struct err ignored = ERR_INIT;

		if (esp_discard_temps(h->sys, h->esp, h->conf.image, &ignored) < 0)
			return err_wrap(e, r, "%s", ignored.text);
	}
	return r;
}

static int entry_file(const struct host *h, const struct record *rec, struct boot_entry_name *ret,
		      struct err *e)
{
	struct boot_entry_name en = { .type = BOOT_ENTRY_UKI,
				      .counted = true,
				      .left = h->conf.tries };

	host_release_name(h, rec->target.version, en.id);
	*ret = en;
	return boot_entry_name_format(ret, e);
}

/* The loader must choose the new entry; a default set by somebody may say otherwise. */
static int check_next(struct act *a, const struct boot_entry_name *name, struct err *e)
{
	struct host *h = a->host;
	int r = host_look(h, e);

	if (r < 0)
		return r;
	if (h->next < h->n_entries && boot_entry_same_id(&h->entries[h->next].name, name))
		return 0;
	if (h->next_why == CHOICE_UNSURE)
		r = err_set(e, ERR_HOST, EBUSY,
			    "what boots next is chosen by %s: clear that choice and apply again",
			    choice_why_text(h->next_why));
	else if (h->next == h->n_entries)
		r = err_set(e, ERR_HOST, ENOENT, "the loader would not show %s", name->file);
	else
		r = err_set(e, ERR_HOST, EBUSY,
			    "%s would still boot next, chosen by %s: clear that choice and apply "
			    "again",
			    h->entries[h->next].name.file, choice_why_text(h->next_why));
	/* what runs is condemned by now: this is the good one */
	if (!a->leave) {
		struct err ignored = ERR_INIT;

		if (esp_remove(h->sys, h->esp, name->id, &ignored) < 0)
			return err_wrap(e, r, "%s", ignored.text);
	}
	return r;
}

/* The slot must still be what was proved. */
static int check_slot(const struct host *h, const struct record *rec, struct err *e)
{
	enum slot_name slot;

	if (disk_slot_of(h->disk, rec->target.root, &slot, NULL) == 0 &&
	    slot_letter(slot) == rec->slot)
		return 0;
	return err_set(e, ERR_HOST, ESTALE,
		       "slot %c no longer carries the root hash of %s: run proactl stage again",
		       rec->slot, rec->target.version);
}

/* So must the UKI that waits, unless it is on the ESP already. */
static int check_saved(struct act *a, const struct record *rec, const struct machine_facts *f,
		       struct err *e)
{
	int r = act_uki_is_saved(a, &rec->target, e);

	if (r < 0)
		return r;
	if (r > 0 || f->target_entry != MACHINE_ENTRY_NONE)
		return 0;
	return err_set(e, ERR_HOST, ESTALE,
		       "%s/" HOST_SAVED_UKI " is no longer the UKI of %s: run proactl stage again",
		       a->host->conf.state, rec->target.version);
}

/* from: the version that ran when this began. */
static int record_applied(struct act *a, struct record *rec, const char *from, struct err *e)
{
	struct host *h = a->host;
	struct record_event ev = { .when = a->now, .kind = RECORD_EV_APPLIED };
	int r;

	rec->phase = RECORD_APPLIED;
	memcpy(rec->applied_boot_id, h->boot_id, sizeof(rec->applied_boot_id));
	(void)snprintf(ev.version, sizeof(ev.version), "%s", rec->target.version);
	(void)snprintf(ev.from, sizeof(ev.from), "%s", from);
	memcpy(ev.root, rec->target.root, sizeof(ev.root));
	memcpy(ev.boot_id, h->boot_id, sizeof(ev.boot_id));
	record_add_event(rec, &ev);
	r = act_record(a, rec, e);
	return r < 0 ? r : file_remove(h->sys, h->state, HOST_SAVED_UKI, e);
}

/* A default that somebody set would win over what is applied, and then it is too late to say so. */
static int check_free(const struct act *a, struct err *e)
{
	const struct host *h = a->host;

	if (a->leave && h->next_why == CHOICE_UNSURE)
		return err_set(e, ERR_HOST, EBUSY,
			       "what boots next is chosen by %s: clear that choice and go back "
			       "again",
			       choice_why_text(h->next_why));
	if (!a->leave || h->next == h->n_entries || h->next_why == CHOICE_FIRST)
		return 0;
	return err_set(
		e, ERR_HOST, EBUSY,
		"%s would still boot next, chosen by %s: clear that choice and go back again",
		h->entries[h->next].name.file, choice_why_text(h->next_why));
}

/* What is applied already boots next, unless going back to it was cut short. */
static int apply_again(struct act *a, struct record *rec, struct err *e)
{
	struct host *h = a->host;
	struct boot_entry_name name;
	int r = host_look(h, e);

	if (r == 0)
		r = entry_file(h, rec, &name, e);
	if (r < 0 || !a->leave ||
	    (h->next < h->n_entries && boot_entry_same_id(&h->entries[h->next].name, &name)))
		return r;
	r = check_free(a, e);
	if (r == 0)
		r = act_leave(a, rec, e);
	return r < 0 ? r : check_next(a, &name, e);
}

int act_apply(struct act *a, struct act_result *ret, struct err *e)
{
	struct host *h = a->host;
	AUTO_SYS_FD lock = { .sys = h->sys, .fd = -1 };
	struct act_result res = { .slot = SLOT_A };
	struct boot_entry_name name;
	struct machine_facts f;
	struct record rec;
	int r = act_enter(a, MACHINE_APPLY, &lock, &rec, &f, e);

	if (r < 0)
		return r;
	res.slot = rec.slot == 'B' ? SLOT_B : SLOT_A;
	res.uki_only = rec.uki_only;
	if (rec.phase == RECORD_APPLIED) {
		res.nothing = !a->leave;
		r = apply_again(a, &rec, e);
		if (r == 0)
			*ret = res;
		return r;
	}
	r = check_free(a, e);
	if (r == 0)
		r = check_slot(h, &rec, e);
	if (r == 0)
		r = check_saved(a, &rec, &f, e);
	if (r == 0)
		r = entry_file(h, &rec, &name, e);
	if (r == 0)
		r = clear_torn(a, name.id, e);
	if (r == 0)
		r = put_on_esp(a, &rec, name.file, e);
	if (r == 0)
		r = esp_publish(h->sys, h->esp, name.file, e);
	if (r == 0 && a->leave)
		r = act_leave(a, &rec, e);
	if (r < 0)
		return r;
	r = check_next(a, &name, e);
	if (r == 0)
		r = record_applied(a, &rec, f.running ? f.running_version : "", e);
	if (r < 0)
		return r;
	*ret = res;
	return 0;
}
