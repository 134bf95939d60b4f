/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/slot/disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/sys.h"
#include "base/text.h"
#include "updater/slot/arch.h"
#include "updater/slot/find.h"
#include "updater/slot/table.h"
#include "verity/image.h"

enum { SIZE_TEXT_MAX = 32, PART_FDS = 8 };

char slot_letter(enum slot_name s)
{
	return s == SLOT_A ? 'A' : 'B';
}

void slot_uuids(const uint8_t root[32], uint8_t data[16], uint8_t hash[16])
{
	memcpy(data, root, 16);
	memcpy(hash, root + 16, 16);
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < PART_FDS; i++)
		if (d->part_fd[i] >= 0)
			(void)d->sys->ops->close(d->sys, d->part_fd[i]);
	if (d->wfd >= 0)
		(void)d->sys->ops->close(d->sys, d->wfd);
	if (d->fd >= 0)
		(void)d->sys->ops->close(d->sys, d->fd);
	free(d->part);
	free(d->path);
	free(d);
}

/* The partitions of one type, in the order of their numbers; counts on beyond two. */
static unsigned of_type(const struct slot_part *part, unsigned n, const uint8_t type[16],
			const struct slot_part *ret[2])
{
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++) {
		if (memcmp(part[i].type, type, 16) != 0)
			continue;
		if (found < 2)
			ret[found] = &part[i];
		found++;
	}
	return found;
}

/* Pure: the two slots among the partitions of a disk. */
static int slots_pick(const struct slot_arch *arch, const struct slot_part *part, unsigned n,
		      struct slot ret[2], struct err *e)
{
	const struct slot_part *usr[2], *hash[2];
	uint8_t type[16];
	unsigned n_usr, n_hash;
	int r = uuid_parse(arch->usr, "type", type, e);

	if (r < 0)
		return r;
	n_usr = of_type(part, n, type, usr);
	r = uuid_parse(arch->usr_verity, "type", type, e);
	if (r < 0)
		return r;
	n_hash = of_type(part, n, type, hash);

	if (n_usr == 0)
		return err_set(e, ERR_HOST, ENXIO, "no /usr partition for %s (GPT type %s)",
			       arch->name, arch->usr);
	if (n_usr == 1)
		return err_set(e, ERR_HOST, ENXIO,
			       "only one /usr partition for %s (number %u), so there is no second "
			       "slot to update into: add another usr and usr-verity partition",
			       arch->name, usr[0]->number);
	if (n_usr > 2 || n_hash > 2)
		return err_set(e, ERR_HOST, E2BIG,
			       "%u usr and %u usr-verity partitions for %s, where slots A and B "
			       "are exactly two of each",
			       n_usr, n_hash, arch->name);
	if (n_hash < 2)
		return err_set(e, ERR_HOST, ENXIO,
			       "two usr partitions for %s (numbers %u and %u) but %s usr-verity "
			       "partition: add the missing hash partition (GPT type %s)",
			       arch->name, usr[0]->number, usr[1]->number,
			       n_hash == 0 ? "no" : "only one", arch->usr_verity);
	for (int i = 0; i < 2; i++)
		ret[i] = (struct slot){ .data = *usr[i], .hash = *hash[i] };
	return 0;
}

/* Takes over what a table says; d stays as it was on failure. */
static int adopt(struct disk *d, const struct gpt_table *t, struct err *e)
{
	AUTO_FREE struct slot_part *part = NULL;
	struct slot slot[2];
	unsigned n;
	int r = gpt_table_parts(t, &part, &n, e);

	if (r < 0)
		return r;
	r = slots_pick(d->arch, part, n, slot, e);
	if (r < 0)
		return r;
	memcpy(d->slot, slot, sizeof(slot));
	free(d->part);
	d->part = TAKE(part);
	d->n_part = n;
	d->primary_bad = !t->primary_ok;
	d->backup_bad = !t->backup_ok;
	return 0;
}

static int load(struct disk *d, struct gpt_table *t, struct err *e)
{
	return gpt_table_load(d->sys, d->fd, d->bytes, d->sector, t, e);
}

static int open_errors(const char *path, int r, struct err *e)
{
	if (r == -ENOENT || r == -ENXIO || r == -ENODEV)
		return err_set(e, ERR_HOST, -r, "no such disk");
	return err_set(e, ERR_HOST, -r, "open '%s': %s", path, strerror(-r));
}

static int setup(struct disk *d, struct err *e)
{
	AUTO_GPT_TABLE t = GPT_TABLE_INIT;
	unsigned major, minor;
	int r;

	d->fd = d->sys->ops->open(d->sys, AT_FDCWD, d->path, O_RDONLY, 0);
	if (d->fd < 0)
		return open_errors(d->path, d->fd, e);
	r = d->sys->ops->size(d->sys, d->fd, &d->bytes);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "it is neither a disk nor an image file: %s",
			       strerror(-r));
	(void)disk_device(d->fd, &major, &minor, &d->sector);
	if (d->sector != 0 && d->sector != 512 && d->sector != 4096)
		return err_set(e, ERR_HOST, EINVAL, "sectors of %u bytes; 512 or 4096 are known",
			       d->sector);
	r = load(d, &t, e);
	if (r < 0)
		return r;
	d->sector = t.sector;
	return adopt(d, &t, e);
}

int disk_open(struct sys *sys, const char *path, const char *arch, struct disk **ret, struct err *e)
{
	AUTO_DISK *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	d->sys = sys;
	d->fd = d->wfd = -1;
	for (size_t i = 0; i < PART_FDS; i++)
		d->part_fd[i] = -1;
	d->path = strdup(path);
	if (!d->path)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = slot_arch_by_name(arch, &d->arch, e);
	if (r < 0)
		return r;
	r = setup(d, e);
	if (r < 0)
		return err_wrap(e, r, "disk '%s'", path);
	*ret = TAKE(d);
	return 0;
}

void disk_protect(struct disk *d, enum slot_name s)
{
	d->protect[s] = true;
}

static bool part_is(const struct slot_part *p, const uint8_t uuid[16])
{
	return memcmp(p->uuid, uuid, 16) == 0;
}

int disk_slot_of(const struct disk *d, const uint8_t root[32], enum slot_name *ret, struct err *e)
{
	uint8_t data[16], hash[16];

	slot_uuids(root, data, hash);
	for (int i = 0; i < 2; i++) {
		if (part_is(&d->slot[i].data, data) && part_is(&d->slot[i].hash, hash)) {
			*ret = (enum slot_name)i;
			return 0;
		}
	}
	return err_set(e, ERR_HOST, ENOENT,
		       "disk '%s': neither slot has the PARTUUIDs of root hash %02x%02x%02x%02x",
		       d->path, root[0], root[1], root[2], root[3]);
}

static int part_fits(const struct disk *d, enum slot_name s, bool hash, uint64_t need,
		     struct err *e)
{
	const struct slot_part *p = hash ? &d->slot[s].hash : &d->slot[s].data;
	char has[SIZE_TEXT_MAX], needs[SIZE_TEXT_MAX], lack[SIZE_TEXT_MAX];

	if (need <= p->bytes)
		return 0;
	return err_set(e, ERR_HOST, ENOSPC,
		       "slot %c's %s partition (number %u) holds %s but the image needs %s: "
		       "%s short",
		       slot_letter(s), hash ? "hash" : "data", p->number,
		       text_bytes(p->bytes, has, sizeof(has)),
		       text_bytes(need, needs, sizeof(needs)),
		       text_bytes(need - p->bytes, lack, sizeof(lack)));
}

int disk_slot_fits(const struct disk *d, enum slot_name s, uint64_t data_bytes, uint64_t hash_bytes,
		   struct err *e)
{
	int r = part_fits(d, s, false, data_bytes, e);

	return r < 0 ? r : part_fits(d, s, true, hash_bytes, e);
}

enum slot_label_kind disk_slot_label(const struct slot *s, const char *image, char *ret_version)
{
	char a[65] = "", b[65] = "";
	enum slot_label_kind x = slot_label_parse(s->data.label, image, a);
	enum slot_label_kind y = slot_label_parse(s->hash.label, image, b);

	if (x == SLOT_LABEL_FOREIGN || y == SLOT_LABEL_FOREIGN)
		return SLOT_LABEL_FOREIGN;
	if (x == SLOT_LABEL_OURS && y == SLOT_LABEL_OURS && strcmp(a, b) == 0) {
		if (ret_version)
			memcpy(ret_version, a, sizeof(a));
		return SLOT_LABEL_OURS;
	}
	return x == SLOT_LABEL_FREE && y == SLOT_LABEL_FREE ? SLOT_LABEL_FREE : SLOT_LABEL_PARTIAL;
}

int disk_slot_check_ours(const struct disk *d, enum slot_name s, const char *image, struct err *e)
{
	const struct slot_part *part[2] = { &d->slot[s].data, &d->slot[s].hash };

	for (int i = 0; i < 2; i++) {
		if (slot_label_parse(part[i]->label, image, NULL) != SLOT_LABEL_FOREIGN)
			continue;
		return err_set(e, ERR_REFUSED, EPERM,
			       "disk '%s': partition %u (slot %c) is labelled '%s', which is not "
			       "a release of '%s'; if it may be overwritten, mark it as free: "
			       "sfdisk --part-label %s %u " SLOT_LABEL_EMPTY,
			       d->path, part[i]->number, slot_letter(s), part[i]->label, image,
			       d->path, part[i]->number);
	}
	return 0;
}

/* The disk open for writing, from now on. */
static int writer(struct disk *d, struct err *e)
{
	int fd;

	if (d->wfd >= 0)
		return d->wfd;
	fd = d->sys->ops->open(d->sys, AT_FDCWD, d->path, O_RDWR, 0);
	if (fd < 0)
		return err_set(e, ERR_HOST, -fd, "open for writing: %s", strerror(-fd));
	d->wfd = fd;
	return fd;
}

/*
 * Whoever edits a partition table holds this lock meanwhile, as systemd asks for block devices: it
 * keeps udev and other tools away. Its own descriptor, so that it ends with the edit.
 */
static int table_lock(struct disk *d, struct sys_fd *ret, struct err *e)
{
	AUTO_SYS_FD f = { .sys = d->sys, .fd = -1 };
	int r;

	f.fd = d->sys->ops->open(d->sys, AT_FDCWD, d->path, O_RDONLY, 0);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "open: %s", strerror(-f.fd));
	r = d->sys->ops->lock(d->sys, f.fd);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "lock the partition table: %s", strerror(-r));
	*ret = f;
	f.fd = -1;
	return 0;
}

/* Makes both copies whole when they are not. The good one is not touched before the bad one is. */
static int repair(struct disk *d, struct gpt_table *t, struct err *e)
{
	const bool primary_first = !t->primary_ok;
	int fd, r;

	if (t->primary_ok && t->backup_ok)
		return 0;
	fd = writer(d, e);
	if (fd < 0)
		return fd;
	r = gpt_table_edit(t, NULL, e);
	if (r < 0)
		return r;
	return gpt_table_store(d->sys, fd, t, primary_first, e);
}

/* The slot must lie where it lay when d was opened: someone may have edited the table since. */
static int same_places(const struct disk *d, const struct slot_part *part, unsigned n,
		       struct err *e)
{
	struct slot now[2];
	int r = slots_pick(d->arch, part, n, now, e);

	if (r < 0)
		return r;
	for (int i = 0; i < 2; i++) {
		const struct slot_part *p[2] = { &d->slot[i].data, &d->slot[i].hash };
		const struct slot_part *q[2] = { &now[i].data, &now[i].hash };

		for (int k = 0; k < 2; k++)
			if (p[k]->number != q[k]->number || p[k]->offset != q[k]->offset ||
			    p[k]->bytes != q[k]->bytes)
				return err_set(e, ERR_HOST, ESTALE,
					       "the partition table was changed by someone else; "
					       "try again");
	}
	return 0;
}

static int uuids_free(const struct slot_part *part, unsigned n, const struct gpt_mark m[2],
		      struct err *e)
{
	char text[UUID_TEXT_MAX];

	if (memcmp(m[0].uuid, m[1].uuid, 16) == 0)
		return err_set(e, ERR_REFUSED, EEXIST,
			       "the halves of the root hash are equal, so two partitions would "
			       "carry the same PARTUUID");
	for (unsigned i = 0; i < n; i++) {
		if (part[i].number == m[0].number || part[i].number == m[1].number)
			continue;
		for (int k = 0; k < 2; k++) {
			if (!part_is(&part[i], m[k].uuid))
				continue;
			uuid_format(m[k].uuid, text);
			return err_set(e, ERR_REFUSED, EEXIST,
				       "partition %u already carries PARTUUID %s", part[i].number,
				       text);
		}
	}
	return 0;
}

static int label_check(const char *label, struct err *e)
{
	const size_t n = strlen(label);

	if (n == 0 || n > SLOT_LABEL_CHARS)
		return err_set(e, ERR_REFUSED, ENAMETOOLONG,
			       "a partition label has 1 to %d characters, '%.100s' has %zu",
			       SLOT_LABEL_CHARS, label, n);
	for (size_t i = 0; i < n; i++)
		if (label[i] <= ' ' || label[i] > '~')
			return err_set(e, ERR_REFUSED, ENAMETOOLONG,
				       "a partition label is printable ASCII without spaces");
	return 0;
}

static void uuid_random(uint8_t ret[16])
{
	random_bytes(ret, 16);
	ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x40); /* RFC 9562 version 4 */
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

static int mark(struct disk *d, const struct gpt_mark m[2], struct err *e)
{
	AUTO_SYS_FD lock = { .sys = d->sys, .fd = -1 };
	AUTO_GPT_TABLE t = GPT_TABLE_INIT;
	AUTO_GPT_TABLE now = GPT_TABLE_INIT;
	AUTO_FREE struct slot_part *part = NULL;
	unsigned n;
	int fd, r = table_lock(d, &lock, e);

	if (r < 0)
		return r;
	r = load(d, &t, e);
	if (r < 0)
		return r;
	r = gpt_table_parts(&t, &part, &n, e);
	if (r < 0)
		return r;
	r = same_places(d, part, n, e);
	if (r < 0)
		return r;
	r = uuids_free(part, n, m, e);
	if (r < 0)
		return r;
	r = repair(d, &t, e);
	if (r < 0)
		return r;
	fd = writer(d, e);
	if (fd < 0)
		return fd;
	r = gpt_table_edit(&t, m, e);
	if (r < 0)
		return r;
	r = gpt_table_store(d->sys, fd, &t, false, e);
	if (r < 0)
		return r;
	r = load(d, &now, e);
	return r < 0 ? r : adopt(d, &now, e);
}

int disk_slot_mark(struct disk *d, enum slot_name s, const char *label, const uint8_t *root,
		   struct err *e)
{
	uint8_t data[16], hash[16];
	struct gpt_mark m[2] = {
		{ .number = d->slot[s].data.number, .label = label, .uuid = data },
		{ .number = d->slot[s].hash.number, .label = label, .uuid = hash },
	};
	int r;

	if (d->protect[s])
		return err_set(e, ERR_BUG, EPERM, "slot %c is running and is not to be changed",
			       slot_letter(s));
	r = label_check(label, e);
	if (r < 0)
		return r;
	if (root) {
		slot_uuids(root, data, hash);
	} else {
		uuid_random(data);
		uuid_random(hash);
	}
	r = mark(d, m, e);
	if (r < 0)
		return err_wrap(e, r, "disk '%s': mark slot %c as '%s'", d->path, slot_letter(s),
				label);
	return 0;
}

static int repair_locked(struct disk *d, struct err *e)
{
	AUTO_SYS_FD lock = { .sys = d->sys, .fd = -1 };
	AUTO_GPT_TABLE t = GPT_TABLE_INIT;
	AUTO_GPT_TABLE now = GPT_TABLE_INIT;
	int r = table_lock(d, &lock, e);

	if (r < 0)
		return r;
	r = load(d, &t, e);
	if (r < 0)
		return r;
	r = repair(d, &t, e);
	if (r < 0)
		return r;
	r = load(d, &now, e);
	return r < 0 ? r : adopt(d, &now, e);
}

int disk_repair(struct disk *d, struct err *e)
{
	int r;

	if (!d->primary_bad && !d->backup_bad)
		return 0;
	r = repair_locked(d, e);
	if (r < 0)
		return err_wrap(e, r, "disk '%s': repair the partition table", d->path);
	return 0;
}

/* The partition's own node, if the kernel has one: 1 and a descriptor in *ret, else 0. */
static int node_open(struct disk *d, const struct slot_part *p, bool write, int *ret, struct err *e)
{
	struct disk_node node;
	unsigned major, minor, sector;
	AUTO_SYS_FD f = { .sys = d->sys, .fd = -1 };
	int r;

	if (!disk_device(d->fd, &major, &minor, &sector))
		return 0;
	r = disk_part_node(d->sys, "/sys", major, minor, p, &node, e);
	if (r < 0)
		return r;
	if (node.path[0] == '\0')
		return 0;
	f.fd = d->sys->ops->open(d->sys, AT_FDCWD, node.path, write ? O_RDWR : O_RDONLY, 0);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "open '%s': %s", node.path, strerror(-f.fd));
	if (!disk_device(f.fd, &major, &minor, &sector) || major != node.major ||
	    minor != node.minor)
		return err_set(e, ERR_HOST, ESTALE, "'%s' is not the device that sysfs names",
			       node.path);
	*ret = f.fd;
	f.fd = -1;
	return 1;
}

static int area(struct disk *d, enum slot_name s, bool hash, bool write, struct verity_area *ret,
		struct err *e)
{
	const struct slot_part *p = hash ? &d->slot[s].hash : &d->slot[s].data;
	int *fd = &d->part_fd[(s == SLOT_B ? 4 : 0) + (hash ? 2 : 0) + (write ? 1 : 0)];
	int r;

	if (*fd < 0) {
		r = node_open(d, p, write, fd, e);
		if (r < 0)
			return r;
	}
	if (*fd >= 0) {
		*ret = (struct verity_area){ .fd = *fd, .offset = 0, .bytes = p->bytes };
		return 0;
	}
	r = write ? writer(d, e) : d->fd;
	if (r < 0)
		return r;
	*ret = (struct verity_area){ .fd = r, .offset = p->offset, .bytes = p->bytes };
	return 0;
}

int slot_area(struct disk *d, enum slot_name s, bool hash, bool write, struct verity_area *ret,
	      struct err *e)
{
	int r;

	if (write && d->protect[s])
		return err_set(e, ERR_BUG, EPERM, "slot %c is running and is not to be written",
			       slot_letter(s));
	r = area(d, s, hash, write, ret, e);
	if (r < 0)
		return err_wrap(e, r, "disk '%s': slot %c", d->path, slot_letter(s));
	return 0;
}
