/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_TPM_H
#define UPDATER_AUDIT_TPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * The only door to tpm2-tss, loaded when it is needed: a host without a TPM needs no such library.
 *
 * Keys are primary keys of the endorsement hierarchy, ECC P-256 with ECDSA and SHA-256, from a
 * fixed template with an empty `unique`: a TPM makes the same key each time, stores nothing, and
 * loses it only with its endorsement seed. The attestation key has the attributes fixedTPM,
 * fixedParent, sensitiveDataOrigin, userWithAuth, restricted and sign; the signing key has them all
 * but restricted.
 */
enum { TPM_BLOB_MAX = 2048 };

struct tpm_blob {
	uint8_t p[TPM_BLOB_MAX];
	size_t n;
};

#define TPM_TCTI_DEFAULT "device:/dev/tpmrm0"

struct tpm_quote {
	struct tpm_blob message;   /* TPMS_ATTEST */
	struct tpm_blob signature; /* TPMT_SIGNATURE */
	struct tpm_blob key;       /* TPMT_PUBLIC of the attestation key */
};

/*
 * A quote over the SHA-256 PCRs whose bits are set, with the nonce (at most 32 bytes). tcti as in
 * tss2-tctildr(7), NULL the default. ERR_HOST: -ENOTSUP no tpm2-tss, -EIO what the TPM said.
 */
int tpm_quote(const char *tcti, const uint8_t *nonce, size_t n, uint32_t pcrs,
	      struct tpm_quote *ret, struct err *e) __attribute__((warn_unused_result));

/* The signing key's TPMT_PUBLIC, and its TPMT_SIGNATURE over a SHA-256 digest. */
int tpm_sign(const char *tcti, const uint8_t digest[32], struct tpm_blob *ret_key,
	     struct tpm_blob *ret_signature, struct err *e) __attribute__((warn_unused_result));

/*
 * What lies in NV index 0x01c00002: the EK certificate for template L-1 (RSA 2048) of the TCG EK
 * Credential Profile, as it lies there, perhaps with bytes behind it. ERR_HOST without one.
 */
int tpm_ek_certificate(const char *tcti, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/*
 * TPM2_ActivateCredential with the attestation key and the EK of template L-1: the secret that was
 * sealed for the two of them, from TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. ERR_HOST -EIO when
 * it was sealed for others.
 */
int tpm_activate(const char *tcti, const struct buf *credential, const struct buf *seed,
		 struct tpm_blob *ret, struct err *e) __attribute__((warn_unused_result));

/*
 * The anchor of the history: an NV index that can only be extended, of 32 bytes, named SHA-256. It
 * holds H(...H(H(zeros || line 1) || line 2)...) over the hashes of the lines, as a PCR would.
 */
#define TPM_ANCHOR_INDEX 0x01805052u

/* *ret_found false: there is none yet; then 32 zeros. */
int tpm_anchor_read(const char *tcti, uint8_t ret[32], bool *ret_found, struct err *e)
	__attribute__((warn_unused_result));

/* Extends it by n hashes in order, and makes it if need be. */
int tpm_anchor_extend(const char *tcti, const uint8_t (*hash)[32], size_t n, struct err *e)
	__attribute__((warn_unused_result));

#endif
