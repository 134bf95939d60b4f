/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_DSSE_H
#define UPDATER_AUDIT_DSSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "updater/tuf/key.h"

struct evp_pkey_st;

/*
 * Dead Simple Signing Envelope 1.0: payload, its type, signatures over both (PAE). Keys are those
 * of updater/tuf/key.h: Ed25519, ECDSA P-256 with SHA-256, RSA-PSS; a key id is that of TUF.
 */
enum { DSSE_BYTES_MAX = 32 << 20, DSSE_SIGNATURES_MAX = 16, DSSE_SIG_MAX = 1024 };

#define DSSE_IN_TOTO "application/vnd.in-toto+json"

struct dsse_signature {
	char keyid[128]; /* a hint only */
	uint8_t sig[DSSE_SIG_MAX];
	size_t n;
};

struct dsse {
	char type[128];
	struct buf payload; /* the bytes that were signed: never parse anything else */
	struct dsse_signature sig[DSSE_SIGNATURES_MAX];
	size_t n;
};

void dsse_free(struct dsse *d);
static inline void dsse_freep(struct dsse **d)
{
	dsse_free(*d);
}
#define AUTO_DSSE __attribute__((cleanup(dsse_freep))) struct dsse

/* Appends "DSSEv1 <len> <type> <len> <payload>". */
int dsse_pae(const char *type, const void *p, size_t n, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/* ERR_INPUT: -EBADMSG what is no envelope, -EFBIG beyond the limits. Nothing is verified. */
int dsse_read(const void *p, size_t n, struct dsse **ret, struct err *e)
	__attribute__((warn_unused_result));

/* 0 if one of the signatures is k's. ERR_REFUSED -EKEYREJECTED else. */
int dsse_verify(const struct dsse *d, const struct tuf_key *k, struct err *e)
	__attribute__((warn_unused_result));

/* An envelope around one signature, appended as JSON. */
int dsse_write(const char *type, const void *p, size_t n, const struct dsse_signature *sig,
	       struct buf *out, struct err *e) __attribute__((warn_unused_result));

/* The same, signed by k. */
int dsse_sign(const char *type, const void *p, size_t n, struct evp_pkey_st *k, struct buf *out,
	      struct err *e) __attribute__((warn_unused_result));

/*
 * A private key from a PEM file or an OpenSSL store URI ("pkcs11:..."). The caller frees it with
 * EVP_PKEY_free(). ERR_INPUT when there is none.
 */
int dsse_key_load(const char *where, struct evp_pkey_st **ret, struct err *e)
	__attribute__((warn_unused_result));

/* A public key in PEM ("BEGIN PUBLIC KEY") as a key to verify with; tuf_key_done() frees it. */
int dsse_key_read(const void *pem, size_t n, const char *what, struct tuf_key *ret, struct err *e)
	__attribute__((warn_unused_result));

/* For OpenSSL's readers of what is public: no password, where its own callback asks at a terminal.
 */
int dsse_no_password(char *buf, int size, int writing, void *arg);

#endif
