/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile partition table. The first byte says how to use the rest, which is the first 512 bytes
 * of each of the sectors 0 to 3 and of the last three: bit 0 puts the checksums right, bit 1 makes
 * sectors of 4096 bytes. What opens must be sane; an edit must change slot B and nothing else.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/sys.h"
#include "updater/slot/disk.h"
#include "updater/slot/gpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DISK_BYTES = 256 << 10, PIECE = 512, HEAD = 4, TAIL = 3, FD = 7 };

struct mem {
	struct sys sys; /* first: mem_of() casts */
	uint8_t p[DISK_BYTES];
};

static struct mem *mem_of(struct sys *s)
{
	return (struct mem *)s;
}

static int mem_open(struct sys *s, int dir, const char *name, int flags, mode_t mode)
{
	(void)s;
	(void)dir;
	(void)name;
	(void)flags;
	(void)mode;
	return FD + 100000; /* a real descriptor of this process it must not be */
}

static ssize_t mem_pread(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	(void)fd;
	if (off >= DISK_BYTES)
		return 0;
	n = n < DISK_BYTES - off ? n : (size_t)(DISK_BYTES - off);
	memcpy(buf, mem_of(s)->p + off, n);
	return (ssize_t)n;
}

static ssize_t mem_pwrite(struct sys *s, int fd, const void *buf, size_t n, uint64_t off)
{
	(void)fd;
	if (off >= DISK_BYTES || n > DISK_BYTES - off)
		return -EFBIG;
	memcpy(mem_of(s)->p + off, buf, n);
	return (ssize_t)n;
}

static int mem_size(struct sys *s, int fd, uint64_t *ret)
{
	(void)s;
	(void)fd;
	*ret = DISK_BYTES;
	return 0;
}

static int mem_fd(struct sys *s, int fd)
{
	(void)s;
	(void)fd;
	return 0;
}

static const struct sys_ops mem_ops = {
	.open = mem_open,
	.pread = mem_pread,
	.pwrite = mem_pwrite,
	.size = mem_size,
	.sync = mem_fd,
	.lock = mem_fd,
	.close = mem_fd,
};

static void checksums_fix(struct mem *m, uint64_t header, unsigned sector)
{
	uint8_t *h = m->p + header;
	uint64_t at = le64_get(h + 72), n = (uint64_t)le32_get(h + 80) * 128;
	uint32_t size = le32_get(h + 12);

	if (at < DISK_BYTES / sector && n < DISK_BYTES - at * sector)
		le32_put(h + 88, gpt_crc32(m->p + at * sector, (size_t)n));
	if (size >= GPT_HEADER_BYTES && size <= sector) {
		le32_put(h + 16, 0);
		le32_put(h + 16, gpt_crc32(h, size));
	}
}

static unsigned build(struct mem *m, const uint8_t *data, size_t size)
{
	unsigned sector = data[0] & 2 ? 4096 : 512;

	m->sys.ops = &mem_ops;
	memset(m->p, 0, sizeof(m->p));
	for (size_t i = 0; i < HEAD + TAIL && i * PIECE < size - 1; i++) {
		size_t left = size - 1 - i * PIECE, n = left < PIECE ? left : PIECE;
		size_t lba = i < HEAD ? i : DISK_BYTES / sector - HEAD - TAIL + i;

		memcpy(m->p + lba * sector, data + 1 + i * PIECE, n);
	}
	if (data[0] & 1) {
		checksums_fix(m, sector, sector);
		checksums_fix(m, DISK_BYTES - sector, sector);
	}
	return sector;
}

static void sane(const struct disk *d)
{
	for (unsigned i = 0; i < d->n_part; i++) {
		const struct slot_part *p = &d->part[i];

		if (p->bytes == 0 || p->offset % d->sector || p->bytes % d->sector ||
		    p->offset < 2ull * d->sector || p->offset > DISK_BYTES ||
		    p->bytes > DISK_BYTES - p->offset || strlen(p->label) >= sizeof(p->label))
			abort();
		for (unsigned j = 0; j < i; j++)
			if (d->part[j].number >= p->number ||
			    (p->offset < d->part[j].offset + d->part[j].bytes &&
			     d->part[j].offset < p->offset + p->bytes))
				abort();
	}
}

static void other_parts_kept(const struct disk *a, const struct disk *b)
{
	if (a->n_part != b->n_part)
		abort();
	for (unsigned i = 0; i < a->n_part; i++) {
		struct slot_part x = a->part[i], y = b->part[i];
		bool marked = x.number == a->slot[SLOT_B].data.number ||
			      x.number == a->slot[SLOT_B].hash.number;

		if (x.number != y.number || x.offset != y.offset || x.bytes != y.bytes ||
		    memcmp(x.type, y.type, 16) != 0)
			abort();
		if (!marked && (x.flags != y.flags || memcmp(x.uuid, y.uuid, 16) != 0 ||
				strcmp(x.label, y.label) != 0))
			abort();
	}
}

/* No byte of any partition may differ. */
static void contents_kept(const struct disk *d, const uint8_t *before, const uint8_t *after)
{
	for (unsigned i = 0; i < d->n_part; i++)
		if (memcmp(before + d->part[i].offset, after + d->part[i].offset,
			   (size_t)d->part[i].bytes) != 0)
			abort();
}

static void edit(struct mem *m, const struct disk *was)
{
	static uint8_t before[DISK_BYTES];
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;
	enum slot_name s;
	uint8_t root[32];

	for (size_t i = 0; i < sizeof(root); i++)
		root[i] = (uint8_t)(i + 1);
	memcpy(before, m->p, sizeof(before));
	if (disk_open(&m->sys, "d", "x86-64", &d, NULL) < 0)
		abort();
	if (disk_slot_mark(d, SLOT_B, "web_1", root, &e) < 0) {
		contents_kept(was, before, m->p);
		return;
	}
	other_parts_kept(was, d);
	contents_kept(was, before, m->p);
	if (d->primary_bad || d->backup_bad || disk_slot_of(d, root, &s, NULL) < 0 || s != SLOT_B ||
	    strcmp(d->slot[SLOT_B].data.label, "web_1") != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mem m;
	AUTO_DISK *d = NULL;
	struct err e = ERR_INIT;

	if (size < 2)
		return 0;
	(void)build(&m, data, size);
	if (disk_open(&m.sys, "d", "x86-64", &d, &e) < 0) {
		if (e.kind == ERR_NONE || e.kind == ERR_BUG)
			abort();
		return 0;
	}
	sane(d);
	edit(&m, d);
	return 0;
}
