/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/act.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "bootctl/secureboot.h"
#include "updater/agent/machine.h"
#include "updater/image/index.h"
#include "updater/image/unpack.h"
#include "updater/slot/label.h"

#define UKI_PART    "uki.part"
#define TELL_STEP   ((uint64_t)1 << 20)
#define STATE_SPARE ((uint64_t)1 << 20) /* for the record and the trust store */

static int tell(struct act *a, enum act_phase phase, uint64_t done, uint64_t total, struct err *e)
{
	int r = a->progress ? a->progress(a->arg, phase, done, total) : 0;

	return r < 0 ? err_set(e, ERR_RETRY, ECANCELED, "cancelled") : 0;
}

static void image_id_of(const struct release_manifest *m, struct image_id *ret)
{
	*ret = (struct image_id){ .data_blocks = m->data_blocks, .salt_n = (uint16_t)m->salt_n };
	memcpy(ret->root, m->root, sizeof(ret->root));
	memcpy(ret->salt, m->salt, m->salt_n);
}

static bool runs_already(const struct host *h, const struct release_manifest *m)
{
	return h->running && memcmp(h->root, m->root, sizeof(h->root)) == 0 &&
	       strcmp(h->version, m->version) == 0;
}

/* The slot that may be written: not the running one; on a disk with none, a free one. */
static enum slot_name pick_slot(const struct host *h)
{
	if (h->has_slot)
		return slot_other(h->slot);
	if (disk_slot_label(&h->disk->slot[SLOT_A], h->conf.image, NULL) != SLOT_LABEL_FREE &&
	    disk_slot_label(&h->disk->slot[SLOT_B], h->conf.image, NULL) == SLOT_LABEL_FREE)
		return SLOT_B;
	return SLOT_A;
}

/* Bytes that step 2 will free on the ESP: UKIs of ours that are neither running nor being added. */
static uint64_t removable(const struct host *h)
{
	uint64_t n = 0;

	for (size_t i = 0; i < h->n_entries; i++)
		if (i != h->current && host_entry_ours(h, &h->entries[i]))
			n += h->entries[i].bytes;
	return n;
}

/* The UKI waits in the state directory; what an interrupted download left there makes room. */
static int check_state_space(struct act *a, const struct release_manifest *m, struct err *e)
{
	struct host *h = a->host;
	struct sys *sys = h->sys;
	AUTO_SYS_FD part = { .sys = sys, .fd = -1 };
	uint64_t room, left = 0;
	int r = sys->ops->space(sys, h->state, &room);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "free space of %s: %s", h->conf.state,
			       strerror(-r));
	part.fd = sys->ops->open(sys, h->state, UKI_PART, O_RDONLY, 0);
	if (part.fd >= 0 && sys->ops->size(sys, part.fd, &left) == 0)
		room += left;
	if (room >= m->uki_bytes + STATE_SPARE)
		return 0;
	return err_set(e, ERR_HOST, ENOSPC,
		       "%s has %llu KB free, %s needs %llu KB there while it is staged",
		       h->conf.state, (unsigned long long)room / 1000, m->version,
		       (unsigned long long)(m->uki_bytes + STATE_SPARE) / 1000);
}

static int check_fits(struct act *a, const struct release_manifest *m, enum slot_name slot,
		      bool uki_only, struct err *e)
{
	struct host *h = a->host;
	char label[SLOT_LABEL_CHARS + 1];
	struct image_id id;
	uint64_t freed = removable(h);
	int r;

	r = slot_label_format(h->conf.image, m->version, label, e);
	if (r < 0)
		return r;
	image_id_of(m, &id);
	if (image_hash_bytes(&id) != m->hash_bytes)
		return err_set(e, ERR_INPUT, EINVAL,
			       "manifest of %s: hash_bytes does not fit data_blocks", m->version);
	if (!uki_only) {
		r = disk_slot_check_ours(h->disk, slot, h->conf.image, e);
		if (r == 0)
			r = disk_slot_fits(h->disk, slot, image_data_bytes(&id), m->hash_bytes, e);
	}
	if (r == 0)
		r = esp_check_space(h->sys, h->esp, m->uki_bytes > freed ? m->uki_bytes - freed : 0,
				    e);
	return r;
}

/* Receives the restored UKI into the state directory. */
struct uki_sink {
	struct act *a;
	int fd;
	uint64_t at, total, told;
	struct digest *sum;
};

static int uki_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct uki_sink *s = arg;
	struct sys *sys = s->a->host->sys;
	int r = sys_write_full(sys, s->fd, p, n, s->at);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "write %s/" UKI_PART ": %s", s->a->host->conf.state,
			       strerror(-r));
	digest_add(s->sum, p, n);
	s->at += n;
	if (s->at - s->told >= TELL_STEP) {
		s->told = s->at;
		return tell(s->a, ACT_UKI, s->at, s->total, e);
	}
	return 0;
}

static int uki_download(struct act *a, const struct release_manifest *m, struct act_result *res,
			struct err *e)
{
	const struct release_blob *b = release_blob_find(m, RELEASE_UKI_FULL, NULL);
	struct sys *sys = a->host->sys;
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };
	AUTO_DIGEST *sum = NULL;
	struct uki_sink sink = { .a = a, .total = m->uki_bytes };
	struct image_source src;
	uint8_t got[SHA256_BYTES];
	int r;

	r = digest_new(DIGEST_SHA256, NULL, 0, &sum, e);
	if (r == 0)
		r = a->blob(a->arg, b, &src, e);
	if (r < 0)
		return r;
	f.fd = sys->ops->open(sys, a->host->state, UKI_PART, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "create %s/" UKI_PART ": %s",
			       a->host->conf.state, strerror(-f.fd));
	sink.fd = f.fd;
	sink.sum = sum;
	r = image_unpack(&src, b->bytes, m->uki_bytes, uki_put, &sink, e);
	if (r == 0)
		r = tell(a, ACT_UKI, m->uki_bytes, m->uki_bytes, e);
	if (r < 0)
		return err_wrap(e, r, "UKI of %s", m->version);
	res->uki_fetched = b->bytes;
	digest_end(sum, got);
	if (memcmp(got, m->uki_sha256, sizeof(got)) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "UKI of %s: %s is not what the signed manifest says; nothing was "
			       "written (tell the publisher)",
			       m->version, src.name ? src.name : "the blob");
	r = sys->ops->sync(sys, f.fd);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "sync " UKI_PART ": %s", strerror(-r));
	return 0;
}

/* Is this the UKI of that release, and would this machine's firmware start it? */
static int uki_judge(struct act *a, int fd, const char *version, const uint8_t root[32],
		     struct err *e)
{
	struct host *h = a->host;
	struct sb_verdict v;
	struct uki uki;
	int r = uki_read_fd(h->sys, fd, &uki, e);

	if (r < 0)
		return err_wrap(e, r, "UKI of %s", version);
	if (!uki.has_usrhash || memcmp(uki.usrhash, root, 32) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the UKI of %s would mount another /usr: its usrhash= is not the "
			       "release's root hash (tell the publisher)",
			       version);
	if (strcmp(uki.image_id, h->conf.image) != 0 || strcmp(uki.version, version) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "the UKI of %s calls itself %s %s (tell the publisher)", version,
			       uki.image_id, uki.version);
	r = sb_check(h->sys, h->efivars, fd, &v, e);
	if (r < 0)
		return err_wrap(e, r, "UKI of %s", version);
	if (!v.accepted)
		return err_set(
			e, ERR_REFUSED, EKEYREJECTED,
			"%s would not start here: %s. Nothing was changed. Enrol the key, or "
			"ask the publisher.",
			version, v.text);
	return 0;
}

/* 1 when the state directory holds exactly this UKI. */
static int uki_is_saved(struct act *a, const struct record_release *t, struct err *e)
{
	struct sys *sys = a->host->sys;
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };
	uint8_t got[SHA256_BYTES];
	uint64_t n;
	int r;

	f.fd = sys->ops->open(sys, a->host->state, HOST_SAVED_UKI, O_RDONLY, 0);
	if (f.fd == -ENOENT)
		return 0;
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "open " HOST_SAVED_UKI ": %s", strerror(-f.fd));
	r = sys->ops->size(sys, f.fd, &n);
	if (r < 0 || n != t->uki_bytes)
		return 0;
	r = sha256_fd(sys, f.fd, n, got, e);
	if (r < 0)
		return r;
	return memcmp(got, t->uki_sha256, sizeof(got)) == 0;
}

static int judge_file(struct act *a, const char *file, const char *version, const uint8_t root[32],
		      struct err *e)
{
	struct sys *sys = a->host->sys;
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };

	f.fd = sys->ops->open(sys, a->host->state, file, O_RDONLY, 0);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "open %s/%s: %s", a->host->conf.state, file,
			       strerror(-f.fd));
	return uki_judge(a, f.fd, version, root, e);
}

/* Step 0: the UKI waits in the state directory, judged. */
static int uki_save(struct act *a, const struct release_manifest *m, const struct record_release *t,
		    struct act_result *res, struct err *e)
{
	struct sys *sys = a->host->sys;
	int r = uki_is_saved(a, t, e);

	if (r > 0)
		return judge_file(a, HOST_SAVED_UKI, m->version, m->root, e);
	if (r == 0)
		r = check_state_space(a, m, e);
	if (r < 0)
		return r;
	r = uki_download(a, m, res, e);
	if (r == 0)
		r = judge_file(a, UKI_PART, m->version, m->root, e);
	if (r < 0) {
		/* that it stays is no second failure: settling removes it */
		(void)!file_remove(sys, a->host->state, UKI_PART, NULL);
		return r;
	}
	r = sys->ops->rename(sys, a->host->state, UKI_PART, HOST_SAVED_UKI);
	if (r == 0)
		r = sys->ops->sync(sys, a->host->state);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "keep the UKI in %s: %s", a->host->conf.state,
			       strerror(-r));
	return 0;
}

static int record_change(struct act *a, struct record *rec, struct err *e)
{
	return record_store(a->host->sys, a->host->state, rec, e);
}

static bool same_release(const struct record_release *x, const struct record_release *y)
{
	return strcmp(x->version, y->version) == 0 && x->uki_bytes == y->uki_bytes &&
	       memcmp(x->root, y->root, sizeof(x->root)) == 0 &&
	       memcmp(x->uki_sha256, y->uki_sha256, sizeof(x->uki_sha256)) == 0;
}

/* Step 1. An update that goes on where it stopped finds its own words there already. */
static int begin_writing(struct act *a, struct record *rec, const struct record_release *t,
			 const struct act_result *res, struct err *e)
{
	char slot = slot_letter(res->slot);

	if (rec->phase == RECORD_WRITING && rec->slot == slot && same_release(&rec->target, t) &&
	    rec->uki_only == res->uki_only)
		return 0;
	rec->phase = RECORD_WRITING;
	rec->target = *t;
	rec->slot = slot;
	rec->uki_only = res->uki_only;
	rec->applied_boot_id[0] = '\0';
	return record_change(a, rec, e);
}

/* Step 2a: only the running release's UKI stays on the ESP. */
static int clear_esp(struct act *a, struct err *e)
{
	struct host *h = a->host;
	int r = esp_discard_temps(h->sys, h->esp, h->conf.image, e);

	for (size_t i = 0; r == 0 && i < h->n_entries; i++) {
		const struct esp_entry *en = &h->entries[i];

		if (i == h->current || !host_entry_ours(h, en))
			continue;
		if (h->current < h->n_entries &&
		    boot_entry_same_id(&en->name, &h->entries[h->current].name))
			continue;
		r = esp_remove(h->sys, h->esp, en->name.file, e);
		r = r > 0 ? 0 : r;
	}
	if (r < 0)
		return err_wrap(e, r, "cannot remove the old UKI from the ESP");
	return host_look(h, e);
}

static int slot_progress(void *arg, enum image_phase phase, uint64_t done, uint64_t total)
{
	static const enum act_phase map[] = {
		[IMAGE_SCAN] = ACT_SCAN,
		[IMAGE_FETCH] = ACT_FETCH,
		[IMAGE_WRITE] = ACT_WRITE,
		[IMAGE_PROVE] = ACT_PROVE,
	};
	struct act *a = arg;

	return a->progress ? a->progress(a->arg, map[phase], done, total) : 0;
}

static int fetch_index(struct act *a, const struct release_manifest *m, struct buf *b,
		       struct image_index **ret, struct err *e)
{
	const struct release_blob *idx = release_blob_find(m, RELEASE_USR_INDEX, NULL);
	const struct release_blob *full = release_blob_find(m, RELEASE_USR_FULL, NULL);
	struct image_source src;
	struct image_run run = { .off = 0 };
	struct image_id id;
	int r;

	image_id_of(m, &id);
	run.len = image_index_bytes(&id, IMAGE_INDEX_FRAMES);
	if (run.len == 0 || run.len > idx->bytes)
		return err_set(e, ERR_INPUT, EINVAL,
			       "manifest of %s: the index blob cannot be that short", m->version);
	r = a->blob(a->arg, idx, &src, e);
	if (r == 0)
		r = buf_reserve(b, run.len, e);
	if (r == 0)
		r = src.begin(src.arg, &run, 1, e);
	if (r == 0)
		r = src.read(src.arg, b->p, run.len, e);
	if (r < 0)
		return err_wrap(e, r, "index of %s", m->version);
	b->n = run.len;
	r = image_index_parse((const uint8_t *)b->p, b->n, &id, full->bytes, ret, e);
	if (r < 0)
		return err_wrap(e, r, "index of %s (%s)", m->version, src.name ? src.name : "");
	return 0;
}

/* Step 3. */
static int write_slot(struct act *a, const struct release_manifest *m, struct act_result *res,
		      bool resume, struct err *e)
{
	struct host *h = a->host;
	AUTO_IMAGE_INDEX *index = NULL;
	AUTO_BUF bytes = BUF_INIT;
	struct image_stats st = { .fetched = 0 };
	struct image_source src;
	struct image_job job = { .sys = h->sys,
				 .full = &src,
				 .resume = resume,
				 .threads = a->threads,
				 .progress = slot_progress,
				 .arg = a };
	int r;

	r = fetch_index(a, m, &bytes, &index, e);
	if (r == 0)
		r = slot_area(h->disk, res->slot, false, true, &job.data, e);
	if (r == 0)
		r = slot_area(h->disk, res->slot, true, true, &job.hash, e);
	if (r == 0)
		r = a->blob(a->arg, release_blob_find(m, RELEASE_USR_FULL, NULL), &src, e);
	if (r < 0)
		return r;
	job.index = index;
	r = image_write(&job, &st, e);
	res->fetched = st.fetched + bytes.n;
	res->written = st.written;
	res->kept = st.kept;
	res->hashed = st.hashed;
	return r;
}

/* Steps 2b to 4 for a release with a new /usr. */
static int fill_slot(struct act *a, const struct release_manifest *m, struct act_result *res,
		     bool resume, struct err *e)
{
	struct host *h = a->host;
	char label[SLOT_LABEL_CHARS + 1];
	int r = slot_label_format(h->conf.image, m->version, label, e);

	if (r < 0)
		return r;
	if (disk_slot_label(&h->disk->slot[res->slot], h->conf.image, NULL) != SLOT_LABEL_FREE) {
		r = disk_slot_mark(h->disk, res->slot, SLOT_LABEL_EMPTY, NULL, e);
		if (r < 0)
			return err_wrap(e, r, "cannot mark slot %c as empty",
					slot_letter(res->slot));
	}
	r = write_slot(a, m, res, resume, e);
	if (r < 0)
		return err_wrap(e, r, "slot %c", slot_letter(res->slot));
	r = disk_slot_mark(h->disk, res->slot, label, m->root, e);
	if (r < 0)
		return err_wrap(e, r, "cannot label slot %c", slot_letter(res->slot));
	return 0;
}

static int record_staged(struct act *a, struct record *rec, const struct act_result *res,
			 struct err *e)
{
	struct record_event ev = { .when = a->now, .kind = RECORD_EV_STAGED };

	rec->phase = RECORD_STAGED;
	(void)snprintf(ev.version, sizeof(ev.version), "%s", rec->target.version);
	(void)snprintf(ev.from, sizeof(ev.from), "%s", a->host->running ? a->host->version : "");
	memcpy(ev.root, rec->target.root, sizeof(ev.root));
	ev.fetched = res->fetched + res->uki_fetched;
	ev.written = res->written;
	memcpy(ev.boot_id, a->host->boot_id, sizeof(ev.boot_id));
	record_add_event(rec, &ev);
	return record_change(a, rec, e);
}

static void target_of(const struct release_manifest *m, struct record_release *t)
{
	memset(t, 0, sizeof(*t));
	(void)snprintf(t->version, sizeof(t->version), "%s", m->version);
	memcpy(t->root, m->root, sizeof(t->root));
	memcpy(t->uki_sha256, m->uki_sha256, sizeof(t->uki_sha256));
	t->uki_bytes = m->uki_bytes;
}

/* May the slot hold parts of m already? The record knows, or its PARTUUIDs say so. */
static bool worth_scanning(const struct host *h, const struct record *rec,
			   const struct record_release *t, enum slot_name slot)
{
	enum slot_name holds;

	if (rec->phase != RECORD_IDLE && rec->slot == slot_letter(slot) && !rec->uki_only &&
	    memcmp(rec->target.root, t->root, sizeof(t->root)) == 0)
		return true;
	return disk_slot_of(h->disk, t->root, &holds, NULL) == 0 && holds == slot;
}

/* 1 when the record says that t is staged or applied, and what it was staged from is still there.
 */
static int done_already(struct act *a, const struct record *rec, const struct machine_facts *f,
			const struct record_release *t, struct err *e)
{
	if (!same_release(&rec->target, t))
		return 0;
	if (rec->phase == RECORD_APPLIED)
		return f->target_in_slot && f->target_entry != MACHINE_ENTRY_NONE;
	if (rec->phase != RECORD_STAGED || !f->target_in_slot)
		return 0;
	return uki_is_saved(a, t, e);
}

static int stage_locked(struct act *a, const struct release_manifest *m, struct record *rec,
			const struct machine_facts *f, struct act_result *res, struct err *e)
{
	struct host *h = a->host;
	struct record_release t;
	bool resume;
	int r;

	target_of(m, &t);
	res->uki_only = h->has_slot && memcmp(h->root, m->root, sizeof(h->root)) == 0;
	res->slot = res->uki_only ? h->slot : pick_slot(h);
	r = done_already(a, rec, f, &t, e);
	if (r != 0) {
		res->nothing = r > 0;
		return r < 0 ? r : 0;
	}
	r = check_fits(a, m, res->slot, res->uki_only, e);
	if (r == 0)
		r = uki_save(a, m, &t, res, e);
	if (r < 0)
		return r;
	resume = worth_scanning(h, rec, &t, res->slot);
	r = begin_writing(a, rec, &t, res, e);
	if (r == 0)
		r = clear_esp(a, e);
	if (r == 0 && !res->uki_only)
		r = fill_slot(a, m, res, resume, e);
	if (r < 0)
		return r;
	return record_staged(a, rec, res, e);
}

/* Lock, load, facts, and whether the verb is allowed. */
static int enter(struct act *a, enum machine_verb v, struct sys_fd *lock, struct record *rec,
		 struct machine_facts *f, struct err *e)
{
	int r = record_lock(a->host->sys, a->host->state, lock, e);

	if (r < 0)
		return r;
	r = record_load(a->host->sys, a->host->state, rec, e);
	if (r < 0)
		return r;
	r = host_look(a->host, e);
	if (r < 0)
		return r;
	host_facts(a->host, rec, a->now, f);
	return machine_may(rec, f, v, e);
}

int act_stage(struct act *a, const struct release_manifest *m, struct act_result *ret,
	      struct err *e)
{
	AUTO_SYS_FD lock = { .sys = a->host->sys, .fd = -1 };
	struct act_result res = { .slot = SLOT_A };
	struct machine_facts f;
	struct record rec;
	int r = enter(a, MACHINE_STAGE, &lock, &rec, &f, e);

	if (r < 0)
		return r;
	if (runs_already(a->host, m))
		return err_set(e, ERR_BUG, EALREADY, "%s runs already", m->version);
	r = stage_locked(a, m, &rec, &f, &res, e);
	*ret = res; /* on failure too: what was fetched and written until then */
	return r;
}

/* Feeds the saved UKI to the ESP store. */
static ssize_t saved_read(void *arg, void *buf, size_t n, uint64_t off, struct err *e)
{
	const struct uki_sink *s = arg;
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
	const struct uki_sink *s = arg;

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
	struct uki_sink from = { .a = a, .total = rec->target.uki_bytes };
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
	r = uki_judge(a, temp.fd, rec->target.version, rec->target.root, e);
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
	if (h->next == h->n_entries)
		r = err_set(e, ERR_HOST, ENOENT, "the loader would not show %s", name->file);
	else
		r = err_set(e, ERR_HOST, EBUSY,
			    "%s would still boot next, chosen by %s: clear that choice and apply "
			    "again",
			    h->entries[h->next].name.file, choice_why_text(h->next_why));
	{
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
	int r = uki_is_saved(a, &rec->target, e);

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
	r = record_change(a, rec, e);
	return r < 0 ? r : file_remove(h->sys, h->state, HOST_SAVED_UKI, e);
}

int act_apply(struct act *a, struct act_result *ret, struct err *e)
{
	struct host *h = a->host;
	AUTO_SYS_FD lock = { .sys = h->sys, .fd = -1 };
	struct act_result res = { .slot = SLOT_A };
	struct boot_entry_name name;
	struct machine_facts f;
	struct record rec;
	int r = enter(a, MACHINE_APPLY, &lock, &rec, &f, e);

	if (r < 0)
		return r;
	res.slot = rec.slot == 'B' ? SLOT_B : SLOT_A;
	res.uki_only = rec.uki_only;
	if (rec.phase == RECORD_APPLIED) {
		res.nothing = true;
		*ret = res;
		return 0;
	}
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
	r = record_change(a, rec, e);
	if (r < 0)
		return r;
	host_release_name(h, rec->target.version, name);
	r = esp_remove(h->sys, h->esp, name, e);
	if (r < 0)
		return r;
	machine_forget(rec);
	r = record_change(a, rec, e);
	return r < 0 ? r : file_remove(h->sys, h->state, HOST_SAVED_UKI, e);
}

/* An entry of ours other than the running one that is whole, not bad, and whose slot fits. */
static const struct esp_entry *other_release(const struct host *h)
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

static int rollback_running(struct act *a, struct record *rec, const char *reason, struct err *e)
{
	struct host *h = a->host;
	int r;

	if (h->current == h->n_entries)
		return err_set(e, ERR_HOST, ENOENT,
			       "%s runs without a boot entry of its own: nothing to roll back",
			       h->version);
	if (!other_release(h))
		return err_set(e, ERR_HOST, ENOENT,
			       "there is no other bootable release to go back to (proactl status)");
	rolled_back(a, rec, h->version, h->root, reason);
	if (rec->phase == RECORD_APPLIED) /* it is the target that runs */
		machine_forget(rec);
	r = record_change(a, rec, e);
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
	int r = enter(a, MACHINE_ROLLBACK, &lock, &rec, &f, e);

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

/* What an interrupted download of a UKI left. */
static int drop_part(struct act *a, struct err *e)
{
	struct sys *sys = a->host->sys;
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };

	f.fd = sys->ops->open(sys, a->host->state, UKI_PART, O_RDONLY, 0);
	return f.fd == -ENOENT ? 0 : file_remove(sys, a->host->state, UKI_PART, e);
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
		r = record_change(a, &rec, e);
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
