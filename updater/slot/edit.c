/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/slot/edit.h"

#include <errno.h>
#include <libfdisk.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/hex.h"
#include "updater/slot/table.h"

static void context_done(struct fdisk_context **c)
{
	if (*c)
		fdisk_unref_context(*c);
}

static void partition_done(struct fdisk_partition **p)
{
	if (*p)
		fdisk_unref_partition(*p);
}

/* libfdisk reports a damaged copy of the table as a message; whoever calls knows that already. */
static int ask_nothing(struct fdisk_context *c, struct fdisk_ask *ask, void *arg)
{
	(void)c;
	(void)arg;
	switch (fdisk_ask_get_type(ask)) {
	case FDISK_ASKTYPE_INFO:
	case FDISK_ASKTYPE_WARN:
	case FDISK_ASKTYPE_WARNX:
		return 0;
	default:
		return -1; /* libfdisk takes that for "cancelled" */
	}
}

static int mark(struct fdisk_context *c, const struct gpt_mark *m, struct err *e)
{
	__attribute__((cleanup(partition_done))) struct fdisk_partition *p = fdisk_new_partition();
	char uuid[UUID_TEXT_MAX];
	uint64_t flags;
	int r;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	uuid_format(m->uuid, uuid);
	r = fdisk_partition_set_name(p, m->label);
	if (r == 0)
		r = fdisk_partition_set_uuid(p, uuid);
	if (r == 0)
		r = fdisk_set_partition(c, m->number - 1, p);
	if (r == 0)
		r = fdisk_gpt_get_partition_attrs(c, m->number - 1, &flags);
	if (r == 0)
		r = fdisk_gpt_set_partition_attrs(c, m->number - 1,
						  (flags & ~GPT_FLAG_GROW) | GPT_FLAG_READONLY);
	if (r != 0)
		return err_set(e, ERR_HOST, r < 0 ? -r : EINVAL, "change partition %u: %s",
			       m->number, strerror(r < 0 ? -r : EINVAL));
	return 0;
}

int gpt_edit(int fd, unsigned sector, const struct gpt_mark *marks, struct err *e)
{
	__attribute__((cleanup(context_done))) struct fdisk_context *c = fdisk_new_context();
	int r;

	if (!c)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	(void)fdisk_disable_dialogs(c, 1);
	(void)fdisk_set_ask(c, ask_nothing, NULL);
	r = fdisk_save_user_sector_size(c, sector, sector);
	if (r == 0)
		r = fdisk_assign_device_by_fd(c, fd, "partition table", 0);
	if (r != 0)
		return err_set(e, ERR_HOST, r < 0 ? -r : EINVAL, "read the partition table: %s",
			       strerror(r < 0 ? -r : EINVAL));
	if (!fdisk_is_labeltype(c, FDISK_DISKLABEL_GPT))
		return err_set(e, ERR_HOST, EINVAL, "libfdisk finds no GPT");
	for (size_t i = 0; marks && i < 2; i++) {
		r = mark(c, &marks[i], e);
		if (r < 0)
			return r;
	}
	r = fdisk_write_disklabel(c);
	if (r != 0)
		return err_set(e, ERR_HOST, r < 0 ? -r : EINVAL, "edit the partition table: %s",
			       strerror(r < 0 ? -r : EINVAL));
	(void)fdisk_deassign_device(c, 1);
	return 0;
}
