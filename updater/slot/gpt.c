/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/slot/gpt.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"

uint32_t gpt_crc32(const void *p, size_t n)
{
	/* by half bytes: small enough to be a constant, fast enough for a few KiB */
	static const uint32_t half[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	const uint8_t *b = p;
	uint32_t c = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		c = half[(c ^ b[i]) & 15] ^ (c >> 4);
		c = half[(c ^ (uint32_t)(b[i] >> 4)) & 15] ^ (c >> 4);
	}
	return ~c;
}

size_t gpt_table_bytes(const struct gpt_header *h)
{
	return (size_t)h->n_entries * GPT_ENTRY_BYTES;
}

uint64_t gpt_table_sectors(const struct gpt_header *h, unsigned sector)
{
	return (gpt_table_bytes(h) + sector - 1) / sector;
}

/* Whether [from, from + n) lies before what partitions may use, but behind the protective MBR. */
static bool before(const struct gpt_header *h, uint64_t from, uint64_t n)
{
	return from >= GPT_LBA_PRIMARY && n <= h->first_usable && from <= h->first_usable - n;
}

/* Whether it lies behind, on a disk that ends with the sector last. */
static bool behind(const struct gpt_header *h, uint64_t from, uint64_t n, uint64_t last)
{
	return from > h->last_usable && n <= last && from <= last - n + 1;
}

static bool covers(uint64_t from, uint64_t n, uint64_t lba)
{
	return lba >= from && lba - from < n;
}

static int places_check(const struct gpt_header *h, unsigned sector, uint64_t last, struct err *e)
{
	const uint64_t n = gpt_table_sectors(h, sector);
	const bool first = h->my == GPT_LBA_PRIMARY;

	if (h->first_usable > h->last_usable || h->last_usable >= last)
		return err_set(e, ERR_HOST, EINVAL,
			       "the range that partitions may use does not fit this disk");
	if (!before(h, first ? h->my : h->alternate, 1) ||
	    !behind(h, first ? h->alternate : h->my, 1, last))
		return err_set(e, ERR_HOST, EINVAL, "the place of the other copy is wrong");
	if (!(first ? before(h, h->entries, n) : behind(h, h->entries, n, last)) ||
	    covers(h->entries, n, h->my))
		return err_set(e, ERR_HOST, EINVAL, "the place of the entries is wrong");
	return 0;
}

int gpt_header_parse(const uint8_t *p, unsigned sector, uint64_t lba, uint64_t last,
		     struct gpt_header *ret, struct err *e)
{
	uint8_t copy[GPT_SECTOR_MAX];
	struct gpt_header h;
	uint32_t size;
	int r;

	assert(sector >= 512 && sector <= GPT_SECTOR_MAX);

	if (memcmp(p, "EFI PART", 8) != 0)
		return err_set(e, ERR_HOST, EINVAL, "no signature");
	size = le32_get(p + 12);
	if (size < GPT_HEADER_BYTES || size > sector)
		return err_set(e, ERR_HOST, EINVAL, "a header of %u bytes", size);
	memcpy(copy, p, size);
	le32_put(copy + 16, 0);
	if (gpt_crc32(copy, size) != le32_get(p + 16))
		return err_set(e, ERR_HOST, EINVAL, "the checksum of the header is wrong");
	if (le32_get(p + 84) != GPT_ENTRY_BYTES)
		return err_set(e, ERR_HOST, EINVAL, "entries of %u bytes; only 128 is supported",
			       le32_get(p + 84));

	h = (struct gpt_header){
		.my = le64_get(p + 24),
		.alternate = le64_get(p + 32),
		.first_usable = le64_get(p + 40),
		.last_usable = le64_get(p + 48),
		.entries = le64_get(p + 72),
		.n_entries = le32_get(p + 80),
		.entries_crc = le32_get(p + 88),
	};
	memcpy(h.disk_uuid, p + 56, sizeof(h.disk_uuid));
	if (h.my != lba)
		return err_set(e, ERR_HOST, EINVAL, "a header that belongs to another sector");
	if (h.n_entries == 0 || h.n_entries > GPT_TABLE_MAX / GPT_ENTRY_BYTES)
		return err_set(e, ERR_HOST, EINVAL, "a table of %u entries", h.n_entries);
	r = places_check(&h, sector, last, e);
	if (r < 0)
		return r;
	*ret = h;
	return 0;
}

bool gpt_copies_agree(const struct gpt_header *a, const struct gpt_header *b)
{
	return a->my == b->alternate && a->alternate == b->my &&
	       a->first_usable == b->first_usable && a->last_usable == b->last_usable &&
	       a->n_entries == b->n_entries && a->entries_crc == b->entries_crc &&
	       memcmp(a->disk_uuid, b->disk_uuid, sizeof(a->disk_uuid)) == 0;
}

/* Type, start, end and all flags but the two that mark may set are the same. */
static bool entry_kept(const uint8_t *x, const uint8_t *y)
{
	const uint64_t may = GPT_FLAG_GROW | GPT_FLAG_READONLY;

	return memcmp(x, y, 16) == 0 && memcmp(x + 32, y + 32, 16) == 0 &&
	       ((le64_get(x + 48) ^ le64_get(y + 48)) & ~may) == 0;
}

bool gpt_only_marked(const uint8_t *before, const uint8_t *after, uint32_t n, unsigned a,
		     unsigned b)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *x = before + (size_t)i * GPT_ENTRY_BYTES;
		const uint8_t *y = after + (size_t)i * GPT_ENTRY_BYTES;

		if (i + 1 == a || i + 1 == b) {
			if (!entry_kept(x, y))
				return false;
		} else if (memcmp(x, y, GPT_ENTRY_BYTES) != 0) {
			return false;
		}
	}
	return true;
}
