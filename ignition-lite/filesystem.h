/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_FILESYSTEM_H
#define IGNITION_LITE_FILESYSTEM_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "ignition-lite/config.h"

/*
 * File systems on partitions that exist (partitions are systemd-repart's work): one of the asked
 * format, label and UUID is reused, an empty partition is formatted, anything else only when
 * wipeFilesystem says so.
 */

/* What blkid(8) finds on a device; "" for nothing. */
struct ign_found {
	char type[32], label[256], uuid[64];
	bool table; /* a partition table: never formatted */
};

enum ign_format { IGN_FORMAT_REUSE, IGN_FORMAT_MAKE, IGN_FORMAT_WIPE };

/* Pure: "KEY=value" lines of `blkid -p -o export`. */
void ign_filesystem_parse(const char *text, size_t n, struct ign_found *ret);
/* Pure: reuse it, make it, wipe it (format "none"), or ERR_INPUT why none of them. */
int ign_filesystem_decide(const struct ign_filesystem *fs, const struct ign_found *found,
			  enum ign_format *ret, struct err *e) __attribute__((warn_unused_result));

/* Until the device is there, up to 30 s: a disk may be slow to come. */
int ign_filesystem_wait(const char *device, struct err *e) __attribute__((warn_unused_result));

/* Looks and decides; changes nothing. The device is waited for. */
int ign_filesystem_check(const struct ign_filesystem *fs, enum ign_format *ret, struct err *e)
	__attribute__((warn_unused_result));
/* Checks and makes. What it wipes cannot come back. */
int ign_filesystem_make(const struct ign_filesystem *fs, struct err *e)
	__attribute__((warn_unused_result));

#endif
