/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "bootctl/loader_vars.h"
#include "updater/slot/find.h"
#include "verity/device.h"

#define OS_RELEASE "/usr/lib/os-release"
#define BOOT_ID    "/proc/sys/kernel/random/boot_id"

static void read_boot_id(struct sys *sys, char out[RECORD_BOOT_ID_MAX])
{
	AUTO_FREE char *text = NULL;
	size_t n, k = 0;

	out[0] = '\0';
	if (file_read(sys, AT_FDCWD, BOOT_ID, 64, &text, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n && k + 1 < RECORD_BOOT_ID_MAX; i++)
		if (text[i] != '-' && text[i] != '\n')
			out[k++] = text[i];
	out[k] = '\0';
}

static void read_os_version(struct sys *sys, char out[RECORD_VERSION_MAX])
{
	AUTO_FREE char *text = NULL;
	struct uki os = { .bytes = 0 };
	size_t n;

	out[0] = '\0';
	if (file_read(sys, AT_FDCWD, OS_RELEASE, UKI_OSREL_MAX, &text, &n, NULL) == 0 &&
	    uki_parse_osrel(text, n, &os, NULL) == 0)
		(void)snprintf(out, RECORD_VERSION_MAX, "%.64s", os.version);
}

/* True if the two paths are the same block device. */
static bool same_device(const char *a, const char *b)
{
	struct stat sa, sb;

	return stat(a, &sa) == 0 && stat(b, &sb) == 0 && S_ISBLK(sa.st_mode) &&
	       S_ISBLK(sb.st_mode) && sa.st_rdev == sb.st_rdev;
}

int host_live_read(struct sys *sys, const struct config *conf, struct host_live *ret, struct err *e)
{
	struct host_live l = { .live = false };
	struct verity_device dev;
	struct err inner = ERR_INIT;
	struct stat st;

	if (conf->disk[0] && stat(conf->disk, &st) == 0 && S_ISREG(st.st_mode)) {
		*ret = l;
		return 0;
	}
	if (verity_device_read("usr", &dev, &inner) < 0) {
		if (conf->disk[0]) { /* a block device, seen from another system */
			*ret = l;
			return 0;
		}
		return err_set(e, ERR_HOST, ENODEV,
			       "this machine does not run from a dm-verity /usr (%s): set [Host] "
			       "Disk= and ESP= to work on an image or another disk",
			       inner.text);
	}
	if (dev.root_n != sizeof(l.root))
		return err_set(e, ERR_HOST, EOPNOTSUPP, "/usr is not protected with SHA-256");
	if (disk_find(sys, dev.data_path, l.disk, e) < 0)
		return err_wrap(e, -ENODEV, "cannot find the disk that holds /usr");
	if (!conf->disk[0] || same_device(conf->disk, l.disk)) {
		l.live = l.has_root = true;
		memcpy(l.root, dev.root, sizeof(l.root));
		read_boot_id(sys, l.boot_id);
		read_os_version(sys, l.os_version);
	}
	*ret = l;
	return 0;
}

void host_release_name(const struct host *h, const char *version, char out[HOST_RELEASE_MAX])
{
	(void)snprintf(out, HOST_RELEASE_MAX, "%s_%s", h->conf.image, version);
}

bool host_entry_ours(const struct host *h, const struct esp_entry *en)
{
	size_t n = strlen(h->conf.image);

	return en->name.type == BOOT_ENTRY_UKI && strncasecmp(en->name.id, h->conf.image, n) == 0 &&
	       en->name.id[n] == '_';
}

static bool entry_holds(const struct esp_entry *en, const uint8_t root[32])
{
	return en->name.type == BOOT_ENTRY_UKI && !en->broken && en->uki.has_usrhash &&
	       memcmp(en->uki.usrhash, root, 32) == 0;
}

/* The entry the loader says it started, if it fits the root hash; else the first that fits. */
static size_t find_current(struct host *h)
{
	char selected[LOADER_VAR_MAX];
	size_t first = h->n_entries;

	if (h->efivars < 0 ||
	    loader_var_read(h->sys, h->efivars, LOADER_ENTRY_SELECTED, selected, NULL) < 0)
		selected[0] = '\0';
	for (size_t i = 0; i < h->n_entries; i++) {
		const struct esp_entry *en = &h->entries[i];

		if (!entry_holds(en, h->root))
			continue;
		if (selected[0] && boot_entry_is_called(&en->name, selected))
			return i;
		if (first == h->n_entries)
			first = i;
	}
	return first;
}

static void look_live(struct host *h)
{
	h->current = find_current(h);
	if (h->current < h->n_entries && h->entries[h->current].uki.version[0])
		(void)snprintf(h->version, sizeof(h->version), "%.64s",
			       h->entries[h->current].uki.version);
}

/* From outside: what would boot next counts as running, and its slot is not touched. */
static void look_image(struct host *h)
{
	const struct esp_entry *en;

	h->running = false;
	h->current = h->next;
	if (h->next == h->n_entries)
		return;
	en = &h->entries[h->next];
	if (!host_entry_ours(h, en) || !en->uki.has_usrhash)
		return;
	h->running = true;
	memcpy(h->root, en->uki.usrhash, sizeof(h->root));
	(void)snprintf(h->version, sizeof(h->version), "%.64s", en->uki.version);
}

int host_look(struct host *h, struct err *e)
{
	struct esp_entry *entries;
	size_t n;
	int r = esp_list(h->sys, h->esp, &entries, &n, e);

	if (r < 0)
		return r;
	free(h->entries);
	h->entries = entries;
	h->n_entries = h->next = h->current = n;
	r = esp_next(h->sys, h->esp, h->efivars, entries, n, &h->next, &h->next_why, e);
	if (r < 0)
		return r;
	if (h->live)
		look_live(h);
	else
		look_image(h);
	h->has_slot = h->running && disk_slot_of(h->disk, h->root, &h->slot, NULL) == 0;
	if (h->has_slot)
		disk_protect(h->disk, h->slot);
	return 0;
}

static int open_dirs(struct host *h, struct err *e)
{
	struct sys *sys = h->sys;
	int r;

	if (!h->live && !h->conf.esp[0])
		return err_set(e, ERR_INPUT, EINVAL,
			       "[Host] ESP= must be set to work on an image or another disk");
	r = esp_open(sys, h->conf.esp[0] ? h->conf.esp : NULL, &h->esp, NULL, e);
	if (r < 0)
		return r;
	h->state = sys->ops->open(sys, AT_FDCWD, h->conf.state, O_RDONLY | O_DIRECTORY, 0);
	if (h->state < 0)
		return err_set(e, ERR_HOST, -h->state,
			       "state directory %s: %s ([Host] State= in proa.conf)", h->conf.state,
			       strerror(-h->state));
	if (h->live || h->conf.efivars[0])
		return efivars_open(sys, h->conf.efivars[0] ? h->conf.efivars : NULL, &h->efivars,
				    e);
	return 0;
}

int host_open(struct sys *sys, const struct config *conf, const struct host_live *live,
	      struct host **ret, struct err *e)
{
	AUTO_HOST *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	h->sys = sys;
	h->conf = *conf;
	h->esp = h->state = h->efivars = -1;
	h->live = live->live;
	h->running = live->has_root;
	memcpy(h->root, live->root, sizeof(h->root));
	memcpy(h->boot_id, live->boot_id, sizeof(h->boot_id));
	memcpy(h->version, live->os_version, sizeof(h->version));
	r = open_dirs(h, e);
	if (r == 0)
		r = disk_open(sys, conf->disk[0] ? conf->disk : live->disk,
			      conf->arch[0] ? conf->arch : NULL, &h->disk, e);
	if (r == 0)
		r = host_look(h, e);
	if (r == 0 && h->live && !h->has_slot)
		r = err_set(e, ERR_HOST, ENODEV,
			    "the running /usr is in no slot of %s: its PARTUUIDs do not carry the "
			    "root hash",
			    h->disk->path);
	if (r < 0)
		return r;
	*ret = TAKE(h);
	return 0;
}

void host_close(struct host *h)
{
	if (!h)
		return;
	disk_close(h->disk);
	free(h->entries);
	if (h->esp >= 0)
		(void)h->sys->ops->close(h->sys, h->esp);
	if (h->state >= 0)
		(void)h->sys->ops->close(h->sys, h->state);
	if (h->efivars >= 0)
		(void)h->sys->ops->close(h->sys, h->efivars);
	free(h);
}

static enum machine_entry entry_state(const struct boot_entry_name *name)
{
	if (boot_entry_is_good(name))
		return MACHINE_ENTRY_GOOD;
	return boot_entry_is_bad(name) ? MACHINE_ENTRY_BAD : MACHINE_ENTRY_COUNTED;
}

static bool saved_whole(struct host *h, uint64_t bytes)
{
	AUTO_SYS_FD f = { .sys = h->sys, .fd = -1 };
	uint64_t n;

	f.fd = h->sys->ops->open(h->sys, h->state, HOST_SAVED_UKI, O_RDONLY, 0);
	return f.fd >= 0 && h->sys->ops->size(h->sys, f.fd, &n) == 0 && n == bytes;
}

static void target_facts(struct host *h, const struct record *rec, struct machine_facts *f)
{
	char name[HOST_RELEASE_MAX];
	enum slot_name slot;

	host_release_name(h, rec->target.version, name);
	for (size_t i = 0; i < h->n_entries; i++) {
		const struct esp_entry *en = &h->entries[i];

		if (!entry_holds(en, rec->target.root) || !boot_entry_is_called(&en->name, name))
			continue;
		f->target_entry = entry_state(&en->name);
		f->target_left = en->name.left;
		f->target_done = en->name.done;
		break;
	}
	f->target_in_slot = disk_slot_of(h->disk, rec->target.root, &slot, NULL) == 0;
	f->target_saved = saved_whole(h, rec->target.uki_bytes);
}

void host_facts(struct host *h, const struct record *rec, int64_t now, struct machine_facts *ret)
{
	struct machine_facts f = { .live = h->live, .now = now, .running = h->running };

	memcpy(f.boot_id, h->boot_id, sizeof(f.boot_id));
	memcpy(f.running_version, h->version, sizeof(f.running_version));
	memcpy(f.running_root, h->root, sizeof(f.running_root));
	if (h->current < h->n_entries)
		f.running_entry = entry_state(&h->entries[h->current].name);
	if (rec->phase != RECORD_IDLE)
		target_facts(h, rec, &f);
	*ret = f;
}
