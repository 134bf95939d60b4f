/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_HASH_H
#define UPDATER_AUDIT_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Hash algorithms by their number in the TCG Algorithm Registry, and PCRs made of them. */
#define TCG_SHA1   0x0004u
#define TCG_SHA256 0x000bu
#define TCG_SHA384 0x000cu
#define TCG_SHA512 0x000du

#define TCG_DIGEST_MAX 64
#define TCG_PCRS       24

/* Bytes of a digest; 0 for an algorithm that is not one of the four. */
size_t tcg_digest_size(uint16_t alg);
/* "sha1", "sha256", "sha384", "sha512", "?" */
const char *tcg_digest_name(uint16_t alg);

/* tcg_digest_size(alg) bytes to out. -EOPNOTSUPP (INPUT) for an algorithm not known here. */
int tcg_hash(uint16_t alg, const void *p, size_t n, uint8_t out[TCG_DIGEST_MAX], struct err *e)
	__attribute__((warn_unused_result));

/* pcr = H(pcr || digest), TPM 2.0 part 1, 17.2. */
int tcg_extend(uint16_t alg, uint8_t pcr[TCG_DIGEST_MAX], const uint8_t *digest, struct err *e)
	__attribute__((warn_unused_result));

/* The PCRs of one bank; bit i of `have` says that value[i] is known. */
struct pcr_bank {
	uint16_t alg;
	uint32_t have;
	uint8_t value[TCG_PCRS][TCG_DIGEST_MAX];
};

#endif
