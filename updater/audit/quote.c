/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/quote.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/cleanup.h"

#define MAGIC     0xff544347u
#define ST_QUOTE  0x8018u
#define ALG_RSA   0x0001u
#define ALG_ECC   0x0023u
#define ALG_NULL  0x0010u
#define ALG_PSS   0x0016u
#define ALG_SSA   0x0014u
#define ALG_ECDSA 0x0018u
#define P256      0x0003u

#define FIXED_TPM    (1u << 1)
#define FIXED_PARENT (1u << 4)
#define ORIGIN       (1u << 5)
#define RESTRICTED   (1u << 16)
#define SIGN         (1u << 18)

enum { RSA_BYTES_MAX = 512, DER_MAX = 80 };
#define COORD ((size_t)32)

/* Big-endian, as everything of a TPM; `bad` once something was not there. */
struct in {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static uint64_t take(struct in *in, unsigned bytes)
{
	uint64_t v = 0;

	if (in->n < bytes)
		in->bad = true;
	if (in->bad)
		return 0;
	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | in->p[i];
	in->p += bytes;
	in->n -= bytes;
	return v;
}

/* TPM2B: 16 bits of size and so many bytes. */
static const uint8_t *take_sized(struct in *in, size_t max, size_t *ret_n)
{
	size_t n = (size_t)take(in, 2);
	const uint8_t *p = in->p;

	*ret_n = 0;
	if (in->bad || n > max || n > in->n) {
		in->bad = true;
		return NULL;
	}
	in->p += n;
	in->n -= n;
	*ret_n = n;
	return p;
}

static void take_selection(struct in *in, struct quote *q)
{
	uint64_t count = take(in, 4);

	if (count > QUOTE_BANKS_MAX)
		in->bad = true;
	for (q->n_bank = 0; !in->bad && q->n_bank < count; q->n_bank++) {
		size_t bytes;

		q->bank[q->n_bank].alg = (uint16_t)take(in, 2);
		q->bank[q->n_bank].pcrs = 0;
		bytes = (size_t)take(in, 1);
		if (bytes > 4)
			in->bad = true;
		for (size_t i = 0; !in->bad && i < bytes; i++)
			q->bank[q->n_bank].pcrs |= (uint32_t)take(in, 1) << (8 * i);
	}
}

int quote_read(const uint8_t *p, size_t n, struct quote *ret, struct err *e)
{
	struct in in = { p, n, n > QUOTE_BYTES_MAX };
	struct quote q = { .n_bank = 0 };
	uint32_t magic = (uint32_t)take(&in, 4), type = (uint32_t)take(&in, 2);
	const uint8_t *s;
	size_t len;

	if (!in.bad && (magic != MAGIC || type != ST_QUOTE))
		return err_set(e, ERR_INPUT, EBADMSG,
			       "quote: these bytes are none that a TPM makes for a quote");
	(void)take_sized(&in, 128, &len); /* qualified signer */
	s = take_sized(&in, QUOTE_NONCE_MAX, &q.nonce_n);
	if (s)
		memcpy(q.nonce, s, q.nonce_n);
	q.clock_ms = take(&in, 8);
	q.resets = (uint32_t)take(&in, 4);
	q.restarts = (uint32_t)take(&in, 4);
	q.clock_safe = take(&in, 1) == 1;
	q.firmware = take(&in, 8);
	take_selection(&in, &q);
	s = take_sized(&in, TCG_DIGEST_MAX, &q.digest_n);
	if (s)
		memcpy(q.digest, s, q.digest_n);
	if (in.bad || in.n != 0)
		return err_set(e, ERR_INPUT, EBADMSG, "quote: cut off, or longer than it says");
	*ret = q;
	return 0;
}

/* ---- the key ---- */

void quote_key_done(struct quote_key *k)
{
	EVP_PKEY_free(k->pkey);
	k->pkey = NULL;
}

static EVP_PKEY *make_key(const char *kind, OSSL_PARAM_BLD *bld)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY *k = NULL;

	if (!ctx || !params || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &k, EVP_PKEY_PUBLIC_KEY, params) != 1)
		k = NULL;
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(ctx);
	return k;
}

static EVP_PKEY *ecc_key(const uint8_t *x, size_t x_n, const uint8_t *y, size_t y_n)
{
	uint8_t point[1 + 2 * COORD] = { 4 };
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY *k = NULL;

	memcpy(point + 1 + COORD - x_n, x, x_n);
	memcpy(point + 1 + 2 * COORD - y_n, y, y_n);
	if (bld &&
	    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) ==
		    1 &&
	    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) ==
		    1)
		k = make_key("EC", bld);
	OSSL_PARAM_BLD_free(bld);
	return k;
}

static EVP_PKEY *rsa_key(const uint8_t *modulus, size_t n, uint32_t exponent)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM *m = BN_bin2bn(modulus, (int)n, NULL), *x = BN_new();
	EVP_PKEY *k = NULL;

	if (bld && m && x && BN_set_word(x, exponent ? exponent : 65537) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, m) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, x) == 1)
		k = make_key("RSA", bld);
	OSSL_PARAM_BLD_free(bld);
	BN_free(m);
	BN_free(x);
	return k;
}

/* A scheme of a public area: the algorithm, and a hash unless it is none. */
static uint32_t take_scheme(struct in *in)
{
	uint32_t scheme = (uint32_t)take(in, 2);

	if (scheme != ALG_NULL)
		(void)take(in, 2);
	return scheme;
}

static EVP_PKEY *take_ecc(struct in *in)
{
	const uint8_t *x, *y;
	size_t x_n, y_n;

	(void)take_scheme(in);
	if (take(in, 2) != P256)
		in->bad = true;
	if (take(in, 2) != ALG_NULL) /* key derivation */
		(void)take(in, 2);
	x = take_sized(in, COORD, &x_n);
	y = take_sized(in, COORD, &y_n);
	return x && y && !in->bad ? ecc_key(x, x_n, y, y_n) : NULL;
}

static EVP_PKEY *take_rsa(struct in *in)
{
	uint32_t exponent;
	const uint8_t *m;
	size_t n;

	(void)take_scheme(in);
	(void)take(in, 2); /* bits */
	exponent = (uint32_t)take(in, 4);
	m = take_sized(in, RSA_BYTES_MAX, &n);
	return m && n >= 256 && !in->bad ? rsa_key(m, n, exponent) : NULL;
}

static bool starts_with_size(const uint8_t *p, size_t n)
{
	return n >= 2 && ((size_t)p[0] << 8 | p[1]) == n - 2;
}

int quote_key_read(const uint8_t *p, size_t n, struct quote_key *ret, struct err *e)
{
	const uint32_t wanted = FIXED_TPM | FIXED_PARENT | ORIGIN | RESTRICTED | SIGN;
	struct in in = { p, n, n > QUOTE_BYTES_MAX };
	AUTO_QUOTE_KEY k = { .pkey = NULL };
	uint8_t h[TCG_DIGEST_MAX];
	uint32_t type, name_alg, attributes;
	size_t len;
	int r;

	if (starts_with_size(p, n))
		(void)take(&in, 2);
	p = in.p;
	n = in.n;
	type = (uint32_t)take(&in, 2);
	name_alg = (uint32_t)take(&in, 2);
	attributes = (uint32_t)take(&in, 4);
	(void)take_sized(&in, TCG_DIGEST_MAX, &len); /* policy */
	if (take(&in, 2) != ALG_NULL)                /* no symmetric part: it does not decrypt */
		in.bad = true;
	if (!in.bad && type == ALG_ECC)
		k.pkey = take_ecc(&in);
	else if (!in.bad && type == ALG_RSA)
		k.pkey = take_rsa(&in);
	ERR_clear_error();
	if (in.bad || in.n != 0 || !k.pkey)
		return err_set(e, ERR_INPUT, EBADMSG,
			       "attestation key: no TPM public area of a signing key on P-256 or "
			       "with RSA");
	r = tcg_hash((uint16_t)name_alg, p, n, h, e);
	if (r < 0)
		return err_wrap(e, r, "attestation key");
	k.restricted = (attributes & wanted) == wanted;
	k.name[0] = (uint8_t)(name_alg >> 8);
	k.name[1] = (uint8_t)name_alg;
	memcpy(k.name + 2, h, tcg_digest_size((uint16_t)name_alg));
	k.name_n = 2 + tcg_digest_size((uint16_t)name_alg);
	*ret = k;
	k.pkey = NULL;
	return 0;
}

/* ---- the signature ---- */

static size_t ecdsa_der(struct in *in, uint8_t out[DER_MAX])
{
	size_t r_n, s_n;
	const uint8_t *r = take_sized(in, COORD, &r_n), *s = take_sized(in, COORD, &s_n);
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *a = r ? BN_bin2bn(r, (int)r_n, NULL) : NULL;
	BIGNUM *b = s ? BN_bin2bn(s, (int)s_n, NULL) : NULL;
	int n = 0;

	if (sig && a && b && ECDSA_SIG_set0(sig, a, b) == 1) {
		a = b = NULL;
		n = i2d_ECDSA_SIG(sig, &out);
	}
	BN_free(a);
	BN_free(b);
	ECDSA_SIG_free(sig);
	return n > 0 ? (size_t)n : 0;
}

static bool check(EVP_PKEY *pkey, uint32_t scheme, const char *hash, const uint8_t *sig, size_t n,
		  const uint8_t *msg, size_t msg_n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	bool ok = ctx && EVP_DigestVerifyInit_ex(ctx, &pctx, hash, NULL, NULL, pkey, NULL) == 1;

	if (ok && scheme == ALG_PSS)
		ok = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_AUTO) == 1;
	ok = ok && EVP_DigestVerify(ctx, sig, n, msg, msg_n) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

int quote_verify(const struct quote_key *k, const uint8_t *msg, size_t msg_n, const uint8_t *sig,
		 size_t sig_n, struct err *e)
{
	struct in in = { sig, sig_n, sig_n > QUOTE_BYTES_MAX };
	uint32_t scheme = (uint32_t)take(&in, 2);
	uint16_t hash = (uint16_t)take(&in, 2);
	uint8_t der[DER_MAX];
	const uint8_t *s = der;
	size_t n = 0;
	bool ec = EVP_PKEY_is_a(k->pkey, "EC") == 1;

	if (scheme == ALG_ECDSA && ec)
		n = ecdsa_der(&in, der);
	else if ((scheme == ALG_PSS || scheme == ALG_SSA) && !ec)
		s = take_sized(&in, RSA_BYTES_MAX, &n);
	if (in.bad || in.n != 0 || n == 0 || hash == TCG_SHA1 || tcg_digest_size(hash) == 0)
		return err_set(e, ERR_REFUSED, EKEYREJECTED,
			       "quote: its signature is none that this key can make");
	if (!check(k->pkey, scheme, tcg_digest_name(hash), s, n, msg, msg_n))
		return err_set(e, ERR_REFUSED, EKEYREJECTED,
			       "quote: its signature is not by this attestation key, or it was "
			       "changed");
	return 0;
}

int quote_check(const struct quote *q, const struct pcr_bank *bank, uint32_t least, struct err *e)
{
	uint8_t all[TCG_PCRS * TCG_DIGEST_MAX], h[TCG_DIGEST_MAX];
	size_t size = tcg_digest_size(bank->alg), n = 0;
	int r;

	if (q->n_bank != 1 || q->bank[0].alg != bank->alg || q->bank[0].pcrs == 0)
		return err_set(e, ERR_REFUSED, EINVAL, "quote: it is not over the %s PCRs alone",
			       tcg_digest_name(bank->alg));
	for (unsigned i = 0; i < 32; i++)
		if ((least >> i & 1) && !(q->bank[0].pcrs >> i & 1))
			return err_set(e, ERR_REFUSED, EINVAL,
				       "quote: it leaves out PCR %u, which is only the node's word "
				       "then",
				       i);
	for (unsigned i = 0; i < 32; i++) {
		if (!(q->bank[0].pcrs >> i & 1))
			continue;
		if (i >= TCG_PCRS || !(bank->have >> i & 1))
			return err_set(e, ERR_INPUT, ENOENT,
				       "quote: PCR %u is quoted, but its value is not there", i);
		memcpy(all + n, bank->value[i], size);
		n += size;
	}
	/* the hash of the signing scheme: SHA-256 wherever the digest has its size */
	for (uint16_t alg = TCG_SHA256; alg <= TCG_SHA512; alg++) {
		if (tcg_digest_size(alg) != q->digest_n)
			continue;
		r = tcg_hash(alg, all, n, h, e);
		if (r < 0)
			return r;
		if (memcmp(h, q->digest, q->digest_n) == 0)
			return 0;
	}
	return err_set(e, ERR_REFUSED, EBADMSG,
		       "quote: the PCRs that the TPM quoted have other values");
}
