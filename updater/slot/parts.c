/* SPDX-License-Identifier: Apache-2.0 */
#include <blkid/blkid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/text.h"
#include "updater/slot/disk.h"
#include "updater/slot/table.h"

static void probe_done(blkid_probe *p)
{
	if (*p)
		blkid_free_probe(*p);
}

static int part_read(blkid_partition p, struct slot_part *ret, struct err *e)
{
	const char *uuid = blkid_partition_get_uuid(p), *type = blkid_partition_get_type_string(p);
	const char *name = blkid_partition_get_name(p);
	const long long start = blkid_partition_get_start(p), size = blkid_partition_get_size(p);
	const int number = blkid_partition_get_partno(p);
	int r;

	if (number <= 0 || start <= 0 || size <= 0 || start > INT64_MAX / 512 ||
	    size > INT64_MAX / 512)
		return err_set(e, ERR_HOST, ERANGE, "partition %d has no sensible place", number);
	ret->number = (unsigned)number;
	ret->offset = (uint64_t)start * 512; /* libblkid's unit, whatever the sector size */
	ret->bytes = (uint64_t)size * 512;
	ret->flags = blkid_partition_get_flags(p);
	r = uuid_parse(uuid ? uuid : "", "the PARTUUID of a partition", ret->uuid, e);
	if (r < 0)
		return r;
	r = uuid_parse(type ? type : "", "the type of a partition", ret->type, e);
	if (r < 0)
		return r;
	if (name)
		(void)text_clean(name, strlen(name), ret->label, sizeof(ret->label));
	return 0;
}

static int overlap_check(const struct slot_part *p, unsigned n, uint64_t bytes, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		if (p[i].offset > bytes || p[i].bytes > bytes - p[i].offset)
			return err_set(e, ERR_HOST, ERANGE, "partition %u ends behind the disk",
				       p[i].number);
		for (unsigned j = 0; j < i; j++) {
			if (p[i].offset < p[j].offset + p[j].bytes &&
			    p[j].offset < p[i].offset + p[i].bytes)
				return err_set(e, ERR_HOST, ERANGE, "partitions %u and %u overlap",
					       p[j].number, p[i].number);
		}
	}
	return 0;
}

static int parts_new(int n, struct slot_part **ret, struct err *e)
{
	struct slot_part *p;

	if (n < 0)
		return err_set(e, ERR_HOST, EINVAL,
			       "it has no GPT partition table, or no protective MBR before it");
	if ((unsigned)n > DISK_PARTS_MAX)
		return err_set(e, ERR_HOST, E2BIG, "%d partitions; at most %u are supported", n,
			       DISK_PARTS_MAX);
	p = calloc(n > 0 ? (size_t)n : 1, sizeof(*p));
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*ret = p;
	return 0;
}

int gpt_table_parts(const struct gpt_table *t, struct slot_part **ret, unsigned *ret_n,
		    struct err *e)
{
	static char gpt[] = "gpt";
	char *only[] = { gpt, NULL };
	__attribute__((cleanup(probe_done))) blkid_probe probe = blkid_new_probe();
	AUTO_FREE struct slot_part *part = NULL;
	blkid_partlist list;
	int n, r;

	if (!probe)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (blkid_probe_set_device(probe, t->mem.fd, 0, 0) != 0 ||
	    blkid_probe_set_sectorsize(probe, t->sector) != 0 ||
	    blkid_probe_enable_superblocks(probe, 0) != 0 ||
	    blkid_probe_enable_partitions(probe, 1) != 0 ||
	    blkid_probe_filter_partitions_type(probe, BLKID_FLTR_ONLYIN, only) != 0)
		return err_set(e, ERR_HOST, EIO, "libblkid cannot be used");
	list = blkid_probe_get_partitions(probe);
	n = list ? blkid_partlist_numof_partitions(list) : -1;
	r = parts_new(n, &part, e);
	if (r < 0)
		return r;
	for (int i = 0; i < n; i++) {
		r = part_read(blkid_partlist_get_partition(list, i), &part[i], e);
		if (r < 0)
			return r;
	}
	r = overlap_check(part, (unsigned)n, t->bytes, e);
	if (r < 0)
		return r;
	*ret = TAKE(part);
	*ret_n = (unsigned)n;
	return 0;
}
