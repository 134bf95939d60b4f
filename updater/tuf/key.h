/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TUF_KEY_H
#define TUF_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

struct evp_pkey_st;

#define TUF_KEYID_MAX SHA256_HEX_MAX /* 64 hex digits and NUL */

enum tuf_scheme { TUF_SCHEME_ED25519, TUF_SCHEME_ECDSA_P256, TUF_SCHEME_RSA_PSS };

/* A key that cannot be used stays in its file without harm: it only never counts. */
enum tuf_key_state {
	TUF_KEY_USABLE,
	TUF_KEY_WRONG_ID,    /* stands under an id that is not the hash of its canonical form */
	TUF_KEY_UNSUPPORTED, /* another key type, scheme or curve; RSA below 2048 bits; malformed */
};

struct tuf_key {
	enum tuf_key_state state;
	enum tuf_scheme scheme;
	char id[TUF_KEYID_MAX];            /* recomputed; empty unless USABLE */
	uint8_t fingerprint[SHA256_BYTES]; /* of the numbers: one key under two ids counts once */
	struct evp_pkey_st *pkey;          /* NULL unless USABLE */
};

/* Hex SHA-256 of the canonical form of the whole KEY object, unknown members included. */
int tuf_key_id(const json_t *key, char ret[TUF_KEYID_MAX], struct err *e)
	__attribute__((warn_unused_result));

/*
 * Reads the KEY object that stands under `id`: keytype/scheme ed25519/ed25519 (64 hex digits),
 * ecdsa/ecdsa-sha2-nistp256 (PEM; keytype ecdsa-sha2-nistp256 too, there also the hex of the
 * uncompressed point), rsa/rsassa-pss-sha256 (PEM, 2048 to 8192 bits). A key that cannot be used
 * is no error, see state; fails only for lack of memory. TUF 1.0.34 section 4.3.
 */
int tuf_key_read(const json_t *key, const char *id, struct tuf_key *ret, struct err *e)
	__attribute__((warn_unused_result));
void tuf_key_done(struct tuf_key *k);
#define AUTO_TUF_KEY __attribute__((cleanup(tuf_key_done))) struct tuf_key

/* True if sig_hex is k's signature over p[0..n). False for malformed hex and unusable keys. */
bool tuf_key_verify(const struct tuf_key *k, const void *p, size_t n, const char *sig_hex);

#endif
