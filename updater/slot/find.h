/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_SLOT_FIND_H
#define UPDATER_SLOT_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sys;
struct slot_part;

#define DISK_PATH_MAX 256

/*
 * For Disk=auto: the whole disk ("/dev/vda") behind `path`, which is either a block device (the
 * data device of the active dm-verity mapping) or anything inside a mounted file system (the ESP).
 * Asks sysfs. -ENODEV (HOST) when it lies on no partition of a disk.
 */
int disk_find(struct sys *sys, const char *path, char ret[DISK_PATH_MAX], struct err *e)
	__attribute__((warn_unused_result));

/* The same for a device number, with sysfs mounted at `sysfs`. */
int disk_find_number(struct sys *sys, const char *sysfs, unsigned major, unsigned minor,
		     char ret[DISK_PATH_MAX], struct err *e) __attribute__((warn_unused_result));

/* Whether fd is a block device; then its number and sector size. The only ioctl of the room. */
bool disk_device(int fd, unsigned *ret_major, unsigned *ret_minor, unsigned *ret_sector);

/*
 * The node ("/dev/vda2") of partition p of the disk with that number; "" when the kernel has made
 * none. -ESTALE (HOST) when the kernel's start or size differ from the table's: a reboot is due.
 * ret_major and ret_minor: what the node must be.
 */
struct disk_node {
	char path[DISK_PATH_MAX];
	unsigned major, minor;
};
int disk_part_node(struct sys *sys, const char *sysfs, unsigned major, unsigned minor,
		   const struct slot_part *p, struct disk_node *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
