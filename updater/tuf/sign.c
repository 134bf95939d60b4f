/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/tuf/sign.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "updater/tuf/canon.h"

enum { SIGNATURE_MAX = 1024, PEM_MAX = 8192, ED25519_BYTES = 32, RSA_BITS_MIN = 2048 };
enum { RSA_BITS_MAX = 8192 };

static void bio_freep(BIO **b)
{
	(void)BIO_free(*b);
}

static void ctx_freep(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

static int scheme_of(const EVP_PKEY *k, enum tuf_scheme *ret, struct err *e)
{
	char group[64];
	size_t n = 0;
	int bits = EVP_PKEY_get_bits(k);

	if (EVP_PKEY_is_a(k, "ED25519"))
		*ret = TUF_SCHEME_ED25519;
	else if (EVP_PKEY_is_a(k, "EC") &&
		 EVP_PKEY_get_group_name(k, group, sizeof(group), &n) == 1 &&
		 strcmp(group, "prime256v1") == 0)
		*ret = TUF_SCHEME_ECDSA_P256;
	else if (EVP_PKEY_is_a(k, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)
		*ret = TUF_SCHEME_RSA_PSS;
	else
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "a key must be Ed25519, ECDSA on P-256 or RSA of %d to %d bits",
			       RSA_BITS_MIN, RSA_BITS_MAX);
	return 0;
}

/* What OpenSSL says went wrong, in its own words. */
static int openssl_failed(const char *doing, struct err *e)
{
	unsigned long code = ERR_get_error();
	const char *why = code ? ERR_reason_error_string(code) : NULL;
	int r = err_set(e, ERR_HOST, EIO, "cannot %s: %s", doing, why ? why : "OpenSSL failed");

	ERR_clear_error();
	return r;
}

static int public_text(EVP_PKEY *k, enum tuf_scheme s, char *out, size_t cap, struct err *e)
{
	CLEANUP(bio_freep) BIO *b = NULL;
	uint8_t raw[ED25519_BYTES];
	size_t raw_n = sizeof(raw);
	int n;

	if (s == TUF_SCHEME_ED25519) {
		if (EVP_PKEY_get_raw_public_key(k, raw, &raw_n) != 1 || raw_n != sizeof(raw))
			return openssl_failed("read the public key", e);
		hex_format(raw, sizeof(raw), out);
		return 0;
	}
	b = BIO_new(BIO_s_mem());
	if (!b || PEM_write_bio_PUBKEY(b, k) != 1)
		return openssl_failed("write the public key", e);
	n = BIO_read(b, out, (int)cap - 1);
	if (n <= 0 || (size_t)n == cap - 1)
		return openssl_failed("write the public key", e);
	out[n] = '\0';
	return 0;
}

int tuf_key_to_json(struct evp_pkey_st *k, json_t **ret, struct err *e)
{
	static const char *const type[] = { "ed25519", "ecdsa", "rsa" };
	static const char *const scheme[] = { "ed25519", "ecdsa-sha2-nistp256",
					      "rsassa-pss-sha256" };
	AUTO_JSON *j = NULL;
	enum tuf_scheme s;
	char pub[PEM_MAX];
	int r;

	r = scheme_of(k, &s, e);
	if (r < 0)
		return r;
	r = public_text(k, s, pub, sizeof(pub), e);
	if (r < 0)
		return r;
	j = json_pack("{s:s,s:s,s:{s:s}}", "keytype", type[s], "scheme", scheme[s], "keyval",
		      "public", pub);
	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*ret = TAKE(j);
	return 0;
}

int tuf_sign(struct evp_pkey_st *k, const void *p, size_t n, struct buf *ret_hex, struct err *e)
{
	CLEANUP(ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	char hex[2 * SIGNATURE_MAX + 1];
	uint8_t sig[SIGNATURE_MAX];
	size_t sig_n = sizeof(sig);
	EVP_PKEY_CTX *pctx = NULL; /* belongs to ctx */
	enum tuf_scheme s;
	int r;

	r = scheme_of(k, &s, e);
	if (r < 0)
		return r;
	if (!ctx || EVP_DigestSignInit(ctx, &pctx, s == TUF_SCHEME_ED25519 ? NULL : EVP_sha256(),
				       NULL, k) != 1)
		return openssl_failed("sign", e);
	if (s == TUF_SCHEME_RSA_PSS &&
	    (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) <= 0 ||
	     EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, EVP_sha256()) <= 0 ||
	     EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) <= 0))
		return openssl_failed("sign", e);
	if (EVP_DigestSign(ctx, sig, &sig_n, p, n) != 1)
		return openssl_failed("sign (is this the private key?)", e);
	hex_format(sig, sig_n, hex);
	return buf_add(ret_hex, hex, 2 * sig_n, e);
}

int tuf_envelope_new(json_t *body, json_t **ret, struct err *e)
{
	json_t *j = json_pack("{s:[],s:O}", "signatures", "signed", body);

	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*ret = j;
	return 0;
}

static int own_id(struct evp_pkey_st *k, char ret[TUF_KEYID_MAX], struct err *e)
{
	AUTO_JSON *j = NULL;
	int r;

	r = tuf_key_to_json(k, &j, e);
	return r < 0 ? r : tuf_key_id(j, ret, e);
}

int tuf_envelope_sign(json_t *envelope, struct evp_pkey_st *k, const char *keyid, struct err *e)
{
	json_t *body = json_object_get(envelope, "signed");
	json_t *sigs = json_object_get(envelope, "signatures");
	AUTO_BUF canon = BUF_INIT;
	AUTO_BUF hex = BUF_INIT;
	char id[TUF_KEYID_MAX];
	json_t *one;
	int r;

	if (!json_is_object(body) || !json_is_array(sigs))
		return err_set(e, ERR_INPUT, EINVAL, "not a metadata file: no signed, signatures");
	if (!keyid) {
		r = own_id(k, id, e);
		if (r < 0)
			return r;
		keyid = id;
	}
	r = tuf_canon(body, &canon, e);
	if (r < 0)
		return r;
	r = tuf_sign(k, canon.p, canon.n, &hex, e);
	if (r < 0)
		return r;
	one = json_pack("{s:s,s:s}", "keyid", keyid, "sig", hex.p);
	if (!one)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = json_array_size(sigs); i > 0; i--) {
		const json_t *s = json_array_get(sigs, i - 1);
		const char *there = json_string_value(json_object_get(s, "keyid"));

		if (there && strcmp(there, keyid) == 0)
			(void)json_array_remove(sigs, i - 1);
	}
	return json_push(sigs, one, e);
}
