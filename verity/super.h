/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VERITY_SUPER_H
#define VERITY_SUPER_H

#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

/* The dm-verity superblock, version 1 (cryptsetup, lib/verity/verity.c). */
#define VERITY_SUPER_BYTES 512
#define VERITY_SALT_MAX    256
#define VERITY_BLOCK_MIN   512
#define VERITY_BLOCK_MAX   4096

struct verity_super {
	uint32_t hash_type; /* 1: H(salt || block), digests padded; 0 (Chrome OS): H(block || salt)
			     */
	uint8_t uuid[16];   /* in text order */
	enum digest_kind algorithm;
	uint32_t data_block, hash_block; /* bytes; powers of two, VERITY_BLOCK_MIN to _MAX */
	uint64_t data_blocks;            /* 1 or more */
	uint16_t salt_n;                 /* 0 to VERITY_SALT_MAX */
	uint8_t salt[VERITY_SALT_MAX];
};

/*
 * Reads a superblock of version 1, hash type 0 or 1. ERR_INPUT: -EINVAL not a superblock or values
 * that contradict each other, -EOPNOTSUPP another version, algorithm or block size than above.
 */
int verity_super_parse(const uint8_t p[VERITY_SUPER_BYTES], struct verity_super *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The same checks for one made by hand: what passes here, every other function accepts. */
int verity_super_check(const struct verity_super *s, struct err *e)
	__attribute__((warn_unused_result));

/* The bytes `veritysetup format` would write. s must have passed verity_super_check(). */
void verity_super_format(const struct verity_super *s, uint8_t out[VERITY_SUPER_BYTES]);

#endif
