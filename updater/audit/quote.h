/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_QUOTE_H
#define UPDATER_AUDIT_QUOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/audit/hash.h"

struct evp_pkey_st;

/*
 * A TPM 2.0 quote as an auditor checks it, without a TPM: TPMS_ATTEST, TPMT_SIGNATURE and the
 * TPMT_PUBLIC of the attestation key (TPM 2.0 part 2: 10.12.8, 11.3.4, 12.2.4). Pure.
 */
enum { QUOTE_BYTES_MAX = 4096, QUOTE_BANKS_MAX = 8, QUOTE_NONCE_MAX = 64 };

struct quote {
	uint8_t nonce[QUOTE_NONCE_MAX]; /* of whoever asked: extraData */
	size_t nonce_n;
	uint64_t clock_ms;
	uint32_t resets, restarts;
	bool clock_safe;
	uint64_t firmware;
	size_t n_bank;
	struct {
		uint16_t alg;
		uint32_t pcrs; /* bit i: PCR i */
	} bank[QUOTE_BANKS_MAX];
	uint8_t digest[TCG_DIGEST_MAX]; /* of the quoted PCRs */
	size_t digest_n;
};

/* The bytes a TPM signed. ERR_INPUT -EBADMSG for what is no quote made by a TPM. */
int quote_read(const uint8_t *p, size_t n, struct quote *ret, struct err *e)
	__attribute__((warn_unused_result));

/* An attestation key's public area. */
struct quote_key {
	struct evp_pkey_st *pkey;
	uint8_t name[2 + TCG_DIGEST_MAX]; /* the TPM's name of it: algorithm and hash */
	size_t name_n;
	bool restricted; /* it signs only what the TPM itself made, and never left this TPM */
};
void quote_key_done(struct quote_key *k);
#define AUTO_QUOTE_KEY __attribute__((cleanup(quote_key_done))) struct quote_key

/*
 * TPMT_PUBLIC, or TPM2B_PUBLIC with its size in front: ECC P-256, or RSA with the usual exponent.
 * ERR_INPUT -EBADMSG, -EOPNOTSUPP for another kind.
 */
int quote_key_read(const uint8_t *p, size_t n, struct quote_key *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Is sig (TPMT_SIGNATURE) this key's over msg? ERR_REFUSED -EKEYREJECTED when it is not. */
int quote_verify(const struct quote_key *k, const uint8_t *msg, size_t msg_n, const uint8_t *sig,
		 size_t sig_n, struct err *e) __attribute__((warn_unused_result));

/*
 * Are the quoted PCRs those of the bank? The quote must select this one bank only, and at least the
 * PCRs whose bits are set: whoever asks the TPM chooses what is quoted, and the rest of the bank is
 * not the TPM's word. ERR_REFUSED: -EBADMSG when they are others, -EINVAL for another selection.
 * ERR_INPUT when the bank lacks one of them.
 */
int quote_check(const struct quote *q, const struct pcr_bank *bank, uint32_t least, struct err *e)
	__attribute__((warn_unused_result));

#endif
