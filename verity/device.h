/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VERITY_DEVICE_H
#define VERITY_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "verity/super.h"

/* What the kernel enforces for an active dm-verity mapping. */
struct verity_device {
	struct verity_super super; /* uuid is zero: the kernel does not know it */
	uint8_t root[DIGEST_MAX];
	size_t root_n;
	char data_path[256], hash_path[256]; /* /dev/vda2 */
	uint64_t data_offset, hash_offset; /* bytes; hash_offset is that of the superblock's area */
	bool verified;                     /* the kernel checked a signature of the root hash */
	enum verity_on_corruption {
		VERITY_CORRUPTION_EIO,
		VERITY_CORRUPTION_IGNORE,
		VERITY_CORRUPTION_RESTART,
		VERITY_CORRUPTION_PANIC,
	} on_corruption;
	bool corrupted; /* the kernel has already met a bad block */
};

/*
 * Asks device-mapper (libcryptsetup) for the mapping called name ("usr"). -ENODEV (ERR_HOST) when
 * there is no such mapping or it is not dm-verity.
 */
int verity_device_read(const char *name, struct verity_device *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
