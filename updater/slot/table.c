/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/slot/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "updater/slot/edit.h"

enum {
	CHUNK = 16 << 10,  /* on the stack */
	HEAD_SECTORS = 34, /* what the smallest table of UEFI takes with 512-byte sectors */
	DISK_MIN = 128 << 10,
};

void gpt_table_done(struct gpt_table *t)
{
	sys_fd_done(&t->mem);
}

static int mem_new(uint64_t bytes, struct sys_fd *ret, struct err *e)
{
	struct sys *sys = sys_linux();
	AUTO_SYS_FD f = { .sys = sys, .fd = memfd_create("partition table", MFD_CLOEXEC) };
	int r;

	if (f.fd < 0)
		return err_set(e, ERR_HOST, errno, "no memory file for the partition table: %s",
			       strerror(errno));
	r = sys->ops->truncate(sys, f.fd, bytes);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "no memory file for the partition table: %s",
			       strerror(-r));
	*ret = f;
	f.fd = -1;
	return 0;
}

/* Disk to memory. */
static int fetch(struct sys *sys, int fd, const struct gpt_table *t, uint64_t off, uint64_t n,
		 struct err *e)
{
	char p[CHUNK];

	for (uint64_t done = 0; done < n;) {
		const size_t m = n - done < CHUNK ? (size_t)(n - done) : CHUNK;
		int r = sys_read_full(sys, fd, p, m, off + done);

		if (r < 0)
			return err_set(e, ERR_HOST, -r, "read the partition table: %s",
				       strerror(-r));
		r = sys_write_full(t->mem.sys, t->mem.fd, p, m, off + done);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "copy the partition table: %s",
				       strerror(-r));
		done += m;
	}
	return 0;
}

static int mem_read(const struct gpt_table *t, void *p, size_t n, uint64_t off, struct err *e)
{
	int r = sys_read_full(t->mem.sys, t->mem.fd, p, n, off);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "read the copy of the partition table: %s",
			       strerror(-r));
	return 0;
}

static uint64_t last_lba(const struct gpt_table *t)
{
	return t->bytes / t->sector - 1;
}

static int entries_read(const struct gpt_table *t, const struct gpt_header *h, uint8_t **ret,
			struct err *e)
{
	const size_t n = gpt_table_bytes(h);
	AUTO_FREE uint8_t *p = malloc(n);
	int r;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = mem_read(t, p, n, h->entries * t->sector, e);
	if (r < 0)
		return r;
	*ret = TAKE(p);
	return 0;
}

/* Header and entries of one copy of the table in memory; -EINVAL says what is wrong with it. */
static int copy_check(const struct gpt_table *t, uint64_t lba, struct gpt_header *ret,
		      struct err *e)
{
	AUTO_FREE uint8_t *entries = NULL;
	uint8_t p[GPT_SECTOR_MAX];
	struct gpt_header h;
	int r = mem_read(t, p, t->sector, lba * t->sector, e);

	if (r < 0)
		return r;
	r = gpt_header_parse(p, t->sector, lba, last_lba(t), &h, e);
	if (r < 0)
		return r;
	r = entries_read(t, &h, &entries, e);
	if (r < 0)
		return r;
	if (gpt_crc32(entries, gpt_table_bytes(&h)) != h.entries_crc)
		return err_set(e, ERR_HOST, EINVAL, "the checksum of the entries is wrong");
	*ret = h;
	return 0;
}

/* Fetches header and entries at lba; *ret_ok says whether the copy is whole. */
static int copy_load(struct sys *sys, int fd, const struct gpt_table *t, uint64_t lba,
		     struct gpt_header *ret, bool *ret_ok, struct err *e)
{
	struct err why = ERR_INIT;
	uint8_t p[GPT_SECTOR_MAX];
	struct gpt_header h;
	int r = fetch(sys, fd, t, lba * t->sector, t->sector, e);

	*ret_ok = false;
	if (r < 0)
		return r;
	r = mem_read(t, p, t->sector, lba * t->sector, e);
	if (r < 0)
		return r;
	if (gpt_header_parse(p, t->sector, lba, last_lba(t), &h, &why) < 0)
		return 0;
	r = fetch(sys, fd, t, h.entries * t->sector, gpt_table_sectors(&h, t->sector) * t->sector,
		  e);
	if (r < 0)
		return r;
	r = copy_check(t, lba, ret, &why);
	if (r < 0 && r != -EINVAL && e)
		*e = why;
	*ret_ok = r == 0;
	return r == -EINVAL ? 0 : r;
}

/*
 * On a disk that grew the backup is not at the end. The copy ends where the table says the disk
 * does: then the libraries leave the backup where it is, as moving it is not an updater's business.
 */
static int mem_cut(struct gpt_table *t, struct err *e)
{
	const uint64_t bytes = (t->primary.alternate + 1) * t->sector;
	int r;

	if (!t->primary_ok || t->primary.alternate >= last_lba(t))
		return 0;
	if (t->primary.alternate <= t->primary.last_usable)
		return err_set(e, ERR_HOST, EINVAL,
			       "the backup table is not behind the partitions");
	r = t->mem.sys->ops->truncate(t->mem.sys, t->mem.fd, bytes);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "copy the partition table: %s", strerror(-r));
	t->bytes = bytes;
	return 0;
}

/*
 * Blanks the header of a copy that is damaged, out of date, or sane to nobody but its checksum, so
 * that the libraries neither mix it into their work nor allocate what it claims.
 */
static int header_hide(struct gpt_table *t, uint64_t lba, struct err *e)
{
	static const uint8_t zero[GPT_SECTOR_MAX];
	int r = sys_write_full(t->mem.sys, t->mem.fd, zero, t->sector, lba * t->sector);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "copy the partition table: %s", strerror(-r));
	return 0;
}

static int load_sector(struct sys *sys, int fd, struct gpt_table *t, struct err *e)
{
	uint64_t head = (uint64_t)HEAD_SECTORS * 512;
	uint64_t at;
	int r;

	gpt_table_done(t);
	r = mem_new(t->bytes, &t->mem, e);
	if (r < 0)
		return r;
	r = fetch(sys, fd, t, 0, head, e);
	if (r < 0)
		return r;
	r = copy_load(sys, fd, t, GPT_LBA_PRIMARY, &t->primary, &t->primary_ok, e);
	if (r < 0)
		return r;
	/* a damaged primary cannot be asked where its backup is: then it is the last sector */
	at = t->primary_ok ? t->primary.alternate : last_lba(t);
	r = copy_load(sys, fd, t, at, &t->backup, &t->backup_ok, e);
	if (r < 0)
		return r;
	if (t->primary_ok)
		t->backup_ok = t->backup_ok && gpt_copies_agree(&t->primary, &t->backup);
	else
		t->backup_ok = t->backup_ok && t->backup.alternate == GPT_LBA_PRIMARY;
	if (!t->primary_ok) {
		r = header_hide(t, GPT_LBA_PRIMARY, e);
		if (r < 0)
			return r;
	}
	if (!t->backup_ok) {
		r = header_hide(t, at, e);
		if (r < 0)
			return r;
	}
	return mem_cut(t, e);
}

int gpt_table_load(struct sys *sys, int fd, uint64_t bytes, unsigned sector, struct gpt_table *t,
		   struct err *e)
{
	static const unsigned sizes[] = { 512, 4096 };
	unsigned backup_only = 0;

	t->bytes = bytes;
	if (bytes < DISK_MIN)
		return err_set(e, ERR_HOST, EINVAL, "%llu bytes are too few for a partition table",
			       (unsigned long long)bytes);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int r;

		if (sector && sector != sizes[i])
			continue;
		t->sector = sizes[i];
		r = load_sector(sys, fd, t, e);
		if (r < 0)
			return r;
		if (t->primary_ok)
			return 0;
		if (t->backup_ok && !backup_only)
			backup_only = sizes[i];
	}
	if (!backup_only)
		return err_set(e, ERR_HOST, EINVAL,
			       "no GPT partition table is whole, neither the one at the start nor "
			       "the backup at the end");
	t->sector = backup_only;
	return load_sector(sys, fd, t, e);
}

/* Where the primary was whole, an edit may change the checksum in its header and nothing else. */
static bool header_kept(const struct gpt_table *old, const struct gpt_table *new)
{
	struct gpt_header h = new->primary;

	if (!old->primary_ok)
		return h.n_entries == old->backup.n_entries &&
		       h.first_usable == old->backup.first_usable &&
		       h.last_usable == old->backup.last_usable;
	h.entries_crc = old->primary.entries_crc;
	if (!old->backup_ok)
		h.alternate = old->primary.alternate;
	return h.my == old->primary.my && h.entries == old->primary.entries &&
	       h.n_entries == old->primary.n_entries && h.alternate == old->primary.alternate &&
	       h.first_usable == old->primary.first_usable &&
	       h.last_usable == old->primary.last_usable &&
	       memcmp(h.disk_uuid, old->primary.disk_uuid, sizeof(h.disk_uuid)) == 0;
}

int gpt_table_edit(struct gpt_table *t, const struct gpt_mark marks[2], struct err *e)
{
	AUTO_FREE uint8_t *before = NULL;
	AUTO_FREE uint8_t *after = NULL;
	const struct gpt_table old = *t;
	int r = entries_read(t, t->primary_ok ? &t->primary : &t->backup, &before, e);

	if (r < 0)
		return r;
	r = gpt_edit(t->mem.fd, t->sector, marks, e);
	if (r < 0)
		return r;
	r = copy_check(t, GPT_LBA_PRIMARY, &t->primary, e);
	if (r < 0)
		return err_wrap(e, r, "the edited partition table");
	r = copy_check(t, t->primary.alternate, &t->backup, e);
	if (r < 0)
		return err_wrap(e, r, "the backup of the edited partition table");
	t->primary_ok = t->backup_ok = true;
	r = entries_read(t, &t->primary, &after, e);
	if (r < 0)
		return r;
	if (!gpt_copies_agree(&t->primary, &t->backup) || !header_kept(&old, t) ||
	    !gpt_only_marked(before, after, t->primary.n_entries, marks ? marks[0].number : 0,
			     marks ? marks[1].number : 0))
		return err_set(e, ERR_BUG, EINVAL,
			       "libfdisk changed more than was asked; nothing was written");
	return 0;
}

/* Writes the runs of sectors in p that differ from the disk's in q. */
static int runs_write(struct sys *sys, int fd, const uint8_t *p, const uint8_t *q, size_t n,
		      unsigned sector, uint64_t off)
{
	for (size_t i = 0; i < n;) {
		size_t j = i;
		int r;

		while (j < n && memcmp(p + j, q + j, sector) != 0)
			j += sector;
		if (j == i) {
			i += sector;
			continue;
		}
		r = sys_write_full(sys, fd, p + i, j - i, off + i);
		if (r < 0)
			return r;
		i = j;
	}
	return 0;
}

static int range_store(struct sys *sys, int fd, const struct gpt_table *t, uint64_t lba,
		       uint64_t sectors, struct err *e)
{
	const uint64_t off = lba * t->sector, n = sectors * t->sector;
	uint8_t p[CHUNK], q[CHUNK];

	assert(lba >= GPT_LBA_PRIMARY);
	for (uint64_t done = 0; done < n;) {
		const size_t m = n - done < CHUNK ? (size_t)(n - done) : CHUNK;
		int r = mem_read(t, p, m, off + done, e);

		if (r < 0)
			return r;
		r = sys_read_full(sys, fd, q, m, off + done);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "read the partition table: %s",
				       strerror(-r));
		r = runs_write(sys, fd, p, q, m, t->sector, off + done);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "write the partition table: %s",
				       strerror(-r));
		done += m;
	}
	return 0;
}

static int copy_store(struct sys *sys, int fd, const struct gpt_table *t,
		      const struct gpt_header *h, struct err *e)
{
	int r = range_store(sys, fd, t, h->entries, gpt_table_sectors(h, t->sector), e);

	if (r < 0)
		return r;
	r = range_store(sys, fd, t, h->my, 1, e);
	if (r < 0)
		return r;
	r = sys->ops->sync(sys, fd);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "sync the partition table: %s", strerror(-r));
	return 0;
}

int gpt_table_store(struct sys *sys, int fd, const struct gpt_table *t, bool primary_first,
		    struct err *e)
{
	int r = copy_store(sys, fd, t, primary_first ? &t->primary : &t->backup, e);

	if (r < 0)
		return r;
	return copy_store(sys, fd, t, primary_first ? &t->backup : &t->primary, e);
}
