/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_CREDENTIAL_H
#define UPDATER_AUDIT_CREDENTIAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * Endorsement keys (EK) as an auditor sees them, without a TPM: the certificate that the TPM's
 * maker gave, and the challenge that only the TPM with that key can answer, and only for a key that
 * it holds itself (credential activation: TPM 2.0 part 1, 24; part 3, TPM2_MakeCredential).
 * RSA 2048, as template L-1 of the TCG EK Credential Profile makes it.
 */
enum { EK_CERT_MAX = 8192, CREDENTIAL_SECRET_MAX = 32, CREDENTIAL_NAME_MAX = 66 };

struct credential {
	struct buf blob; /* TPM2B_ID_OBJECT */
	struct buf seed; /* TPM2B_ENCRYPTED_SECRET */
};
void credential_done(struct credential *c);
#define AUTO_CREDENTIAL __attribute__((cleanup(credential_done))) struct credential

/*
 * A secret (1 to CREDENTIAL_SECRET_MAX bytes) for the key of that name in the TPM whose EK
 * certificate (DER) this is. Random. ERR_INPUT for a certificate of another kind of key.
 */
int credential_make(const struct buf *cert, const uint8_t *name, size_t name_n,
		    const uint8_t *secret, size_t secret_n, struct credential *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The first certificate in a text with PEM in it, as DER. ERR_INPUT -ENOENT without one. */
int ek_cert_read(const void *text, size_t n, struct buf *der, struct err *e)
	__attribute__((warn_unused_result));
/* The other way; bytes behind the certificate (NV indices are longer) are left out. */
int ek_cert_write(const void *der, size_t n, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Was the certificate issued by one of those in cas (PEM, all of them trusted), at time now? Its
 * issuer's name goes to *ret_issuer, cleaned. ERR_REFUSED -EKEYREJECTED when not, ERR_INPUT for
 * what is no certificate.
 */
int ek_cert_check(const void *der, size_t n, const void *cas, size_t cas_n, int64_t now,
		  char ret_issuer[256], struct err *e) __attribute__((warn_unused_result));

#endif
