/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TUF_SIGN_H
#define TUF_SIGN_H

/* The other side of key.h, for publishers. Private keys may live in a store (PKCS#11). */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "updater/tuf/key.h"

struct evp_pkey_st;

/*
 * The KEY object of an Ed25519, P-256 or RSA (2048 to 8192 bits) key, public part only.
 * -EOPNOTSUPP (ERR_INPUT) for another kind.
 */
int tuf_key_to_json(struct evp_pkey_st *k, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Appends the hex signature of k over p[0..n) by the scheme of its kind. */
int tuf_sign(struct evp_pkey_st *k, const void *p, size_t n, struct buf *ret_hex, struct err *e)
	__attribute__((warn_unused_result));

/* {"signatures":[],"signed":body}; takes a new reference to body. */
int tuf_envelope_new(json_t *body, json_t **ret, struct err *e) __attribute__((warn_unused_result));

/*
 * Adds k's signature over the canonical form of envelope.signed; one that is there under the same
 * key id is replaced. keyid NULL: the id of tuf_key_to_json(k); given when the role's KEY object
 * carries unknown members and so has another id.
 */
int tuf_envelope_sign(json_t *envelope, struct evp_pkey_st *k, const char *keyid, struct err *e)
	__attribute__((warn_unused_result));

#endif
