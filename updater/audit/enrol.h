/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_ENROL_H
#define UPDATER_AUDIT_ENROL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/audit/attest.h"

/*
 * Getting to know a machine's TPM. Its keys are noted once (enrol_keys). A challenge, made from
 * them elsewhere, carries a nonce that only this TPM can read, and only while it holds the
 * attestation key that was noted: a quote that answers the nonce comes from the TPM with that EK
 * certificate.
 */

/*
 * Appends, as text: the name of the attestation key, the public part of the signing key in PEM, and
 * the TPM's EK certificate in PEM, if it has one for RSA 2048.
 */
int enrol_keys(const char *tcti, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/*
 * From what enrol_keys() printed: the challenge for the machine, JSON
 * {"proa_challenge":1,"credential":...,"seed":...} in base64, and what its maker keeps to himself,
 * {"proa_challenge_secret":1,"nonce":hex,"attestation_key":hex,"certificate":base64}.
 * ERR_INPUT when the text holds no key or no certificate.
 */
int enrol_challenge(const void *keys, size_t n, struct buf *challenge, struct buf *secret,
		    struct err *e) __attribute__((warn_unused_result));

/* The nonce of a challenge, by the TPM it was made for. ERR_HOST -EIO: it is for another one. */
int enrol_answer(const char *tcti, const void *challenge, size_t n, uint8_t nonce[ATTEST_NONCE_MAX],
		 size_t *ret_n, struct err *e) __attribute__((warn_unused_result));

struct enrol_secret {
	uint8_t nonce[ATTEST_NONCE_MAX];
	size_t nonce_n;
	char ak[2 * 66 + 1]; /* name in hex */
	struct buf cert;     /* DER */
};
int enrol_secret_read(const void *p, size_t n, struct enrol_secret *ret, struct err *e)
	__attribute__((warn_unused_result));
void enrol_secret_done(struct enrol_secret *s);
#define AUTO_ENROL_SECRET __attribute__((cleanup(enrol_secret_done))) struct enrol_secret

#endif
