/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/tuf/key.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "updater/tuf/canon.h"

enum {
	ED25519_BYTES = 32,
	P256_POINT_BYTES = 65,
	RSA_BITS_MIN = 2048,
	RSA_BITS_MAX = 8192,
	PEM_MAX = 8192,
	SIGNATURE_MAX = 1024, /* bytes; RSA of 8192 bits */
	DIGITS_MAX = 2 * SIGNATURE_MAX,
	MATERIAL_MAX = 2048,
};

static void bio_freep(BIO **b)
{
	(void)BIO_free(*b);
}

static void ctx_freep(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

static void bn_freep(BIGNUM **b)
{
	BN_free(*b);
}

static void pkey_ctx_freep(EVP_PKEY_CTX **c)
{
	EVP_PKEY_CTX_free(*c);
}

int tuf_key_id(const json_t *key, char ret[TUF_KEYID_MAX], struct err *e)
{
	AUTO_BUF canon = BUF_INIT;
	uint8_t sum[SHA256_BYTES];
	int r;

	r = tuf_canon(key, &canon, e);
	if (r < 0)
		return r;
	sha256(canon.p, canon.n, sum);
	hex_format(sum, sizeof(sum), ret);
	return 0;
}

/* A PEM file can claim to be encrypted; nobody is asked for a passphrase. */
/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type */
static int no_passphrase(char *out, int cap, int rw, void *arg)
{
	(void)out;
	(void)cap;
	(void)rw;
	(void)arg;
	return -1;
}

static EVP_PKEY *read_pem(const char *pem)
{
	size_t n = strnlen(pem, PEM_MAX + 1);
	CLEANUP(bio_freep) BIO *b = NULL;

	if (n > PEM_MAX)
		return NULL;
	b = BIO_new_mem_buf(pem, (int)n);
	return b ? PEM_read_bio_PUBKEY(b, NULL, no_passphrase, NULL) : NULL;
}

static EVP_PKEY *read_ed25519(const char *hex)
{
	uint8_t raw[ED25519_BYTES];

	if (hex_parse(hex, "key", raw, sizeof(raw), NULL) < 0)
		return NULL;
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, sizeof(raw));
}

/* The hex of an uncompressed P-256 point, as some repositories wrote it in 2021. */
static EVP_PKEY *read_point(const char *hex)
{
	CLEANUP(pkey_ctx_freep) EVP_PKEY_CTX *ctx = NULL;
	uint8_t raw[P256_POINT_BYTES];
	char group[] = "prime256v1";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, raw, sizeof(raw)),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *k = NULL;

	if (hex_parse(hex, "key", raw, sizeof(raw), NULL) < 0)
		return NULL;
	ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (!ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
	    EVP_PKEY_fromdata(ctx, &k, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		return NULL;
	return k;
}

static bool is_p256(const EVP_PKEY *k)
{
	char group[64];
	size_t n = 0;

	return EVP_PKEY_is_a(k, "EC") &&
	       EVP_PKEY_get_group_name(k, group, sizeof(group), &n) == 1 &&
	       strcmp(group, "prime256v1") == 0;
}

static bool is_rsa(const EVP_PKEY *k)
{
	int bits = EVP_PKEY_get_bits(k);

	return EVP_PKEY_is_a(k, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
}

static EVP_PKEY *read_public(const json_t *key, enum tuf_scheme *ret)
{
	const char *type = json_string_value(json_object_get(key, "keytype"));
	const char *scheme = json_string_value(json_object_get(key, "scheme"));
	const char *pub =
		json_string_value(json_object_get(json_object_get(key, "keyval"), "public"));
	EVP_PKEY *k = NULL;
	bool good = false;

	if (!type || !scheme || !pub)
		return NULL;
	if (strcmp(type, "ed25519") == 0 && strcmp(scheme, "ed25519") == 0) {
		*ret = TUF_SCHEME_ED25519;
		return read_ed25519(pub);
	}
	if (strcmp(type, "rsa") == 0 && strcmp(scheme, "rsassa-pss-sha256") == 0) {
		*ret = TUF_SCHEME_RSA_PSS;
		k = read_pem(pub);
		good = k && is_rsa(k);
	} else if (strcmp(scheme, "ecdsa-sha2-nistp256") == 0 &&
		   (strcmp(type, "ecdsa") == 0 || strcmp(type, "ecdsa-sha2-nistp256") == 0)) {
		*ret = TUF_SCHEME_ECDSA_P256;
		k = strncmp(pub, "04", 2) == 0 ? read_point(pub) : read_pem(pub);
		good = k && is_p256(k);
	}
	if (good)
		return k;
	EVP_PKEY_free(k);
	return NULL;
}

/* Appends the big-endian bytes of a key's number. */
static bool add_number(const EVP_PKEY *k, const char *name, uint8_t *out, size_t *n)
{
	CLEANUP(bn_freep) BIGNUM *b = NULL;
	size_t len;

	if (EVP_PKEY_get_bn_param(k, name, &b) != 1)
		return false;
	len = (size_t)BN_num_bytes(b);
	if (len + 2 > MATERIAL_MAX - *n)
		return false;
	le16_put(out + *n, (uint16_t)len);
	(void)BN_bn2bin(b, out + *n + 2);
	*n += len + 2;
	return true;
}

/*
 * From the numbers of the key, not from its encoding: the same point can be written compressed or
 * not, and would then pass for two keys.
 */
static bool fingerprint(const EVP_PKEY *k, enum tuf_scheme s, uint8_t out[SHA256_BYTES])
{
	uint8_t m[MATERIAL_MAX] = { (uint8_t)s };
	size_t n = 1, len = ED25519_BYTES;
	bool ok = false;

	switch (s) {
	case TUF_SCHEME_ED25519:
		ok = EVP_PKEY_get_raw_public_key(k, m + n, &len) == 1;
		n += len;
		break;
	case TUF_SCHEME_ECDSA_P256:
		ok = add_number(k, OSSL_PKEY_PARAM_EC_PUB_X, m, &n) &&
		     add_number(k, OSSL_PKEY_PARAM_EC_PUB_Y, m, &n);
		break;
	case TUF_SCHEME_RSA_PSS:
		ok = add_number(k, OSSL_PKEY_PARAM_RSA_N, m, &n) &&
		     add_number(k, OSSL_PKEY_PARAM_RSA_E, m, &n);
		break;
	}
	if (ok)
		sha256(m, n, out);
	return ok;
}

int tuf_key_read(const json_t *key, const char *id, struct tuf_key *ret, struct err *e)
{
	AUTO_TUF_KEY k = { .state = TUF_KEY_UNSUPPORTED };
	char real[TUF_KEYID_MAX];
	int r;

	r = tuf_key_id(key, real, e);
	if (r < 0)
		return r;
	if (strcmp(real, id) != 0) {
		k.state = TUF_KEY_WRONG_ID;
	} else {
		k.pkey = read_public(key, &k.scheme);
		if (k.pkey && fingerprint(k.pkey, k.scheme, k.fingerprint)) {
			k.state = TUF_KEY_USABLE;
			memcpy(k.id, real, sizeof(k.id));
		} else {
			tuf_key_done(&k);
		}
		ERR_clear_error();
	}
	*ret = k;
	k.pkey = NULL;
	return 0;
}

void tuf_key_done(struct tuf_key *k)
{
	EVP_PKEY_free(k->pkey);
	k->pkey = NULL;
}

static bool verify_raw(const struct tuf_key *k, const void *p, size_t n, const uint8_t *sig,
		       size_t sig_n)
{
	CLEANUP(ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *md = k->scheme == TUF_SCHEME_ED25519 ? NULL : EVP_sha256();
	EVP_PKEY_CTX *pctx = NULL; /* belongs to ctx */

	if (!ctx || EVP_DigestVerifyInit(ctx, &pctx, md, NULL, k->pkey) != 1)
		return false;
	if (k->scheme == TUF_SCHEME_RSA_PSS &&
	    (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) <= 0 ||
	     EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, EVP_sha256()) <= 0 ||
	     EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_AUTO) <= 0))
		return false;
	return EVP_DigestVerify(ctx, sig, sig_n, p, n) == 1;
}

bool tuf_key_verify(const struct tuf_key *k, const void *p, size_t n, const char *sig_hex)
{
	size_t digits = strnlen(sig_hex, DIGITS_MAX + 1);
	uint8_t sig[SIGNATURE_MAX];
	bool good;

	if (k->state != TUF_KEY_USABLE || digits == 0 || digits > DIGITS_MAX || digits % 2 != 0 ||
	    hex_parse(sig_hex, "signature", sig, digits / 2, NULL) < 0)
		return false;
	good = verify_raw(k, p, n, sig, digits / 2);
	ERR_clear_error();
	return good;
}
