/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/credential.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/text.h"
#include "updater/audit/dsse.h"

enum { CAS_MAX = 64, RSA_BITS = 2048, AES_BYTES = 16 };

static void x509_freep(X509 **x)
{
	X509_free(*x);
}
#define AUTO_X509 CLEANUP(x509_freep) X509

static void store_freep(X509_STORE **s)
{
	X509_STORE_free(*s);
}

static void store_ctx_freep(X509_STORE_CTX **c)
{
	X509_STORE_CTX_free(*c);
}

static void bio_freep(BIO **b)
{
	(void)BIO_free(*b);
}
#define AUTO_BIO CLEANUP(bio_freep) BIO

static void pkey_ctx_freep(EVP_PKEY_CTX **c)
{
	EVP_PKEY_CTX_free(*c);
}

static void cipher_ctx_freep(EVP_CIPHER_CTX **c)
{
	EVP_CIPHER_CTX_free(*c);
}

void credential_done(struct credential *c)
{
	buf_done(&c->blob);
	buf_done(&c->seed);
}

static X509 *parse(const void *der, size_t n)
{
	const uint8_t *p = der;
	X509 *x = n <= EK_CERT_MAX ? d2i_X509(NULL, &p, (long)n) : NULL;

	ERR_clear_error();
	return x;
}

static int no_certificate(struct err *e)
{
	return err_set(e, ERR_INPUT, EBADMSG, "what should be an EK certificate is none");
}

/* ---- certificates ---- */

/* A PEM reader over text; no password is ever asked. */
static X509 *next_cert(BIO *b)
{
	X509 *x = PEM_read_bio_X509(b, NULL, dsse_no_password, NULL);

	ERR_clear_error();
	return x;
}

static int put_der(X509 *x, struct buf *out, struct err *e)
{
	uint8_t *p = NULL;
	int n = i2d_X509(x, &p), r;

	if (n <= 0 || n > EK_CERT_MAX)
		r = no_certificate(e);
	else
		r = buf_add(out, p, (size_t)n, e);
	OPENSSL_free(p);
	return r;
}

int ek_cert_read(const void *text, size_t n, struct buf *der, struct err *e)
{
	AUTO_BIO *b = n < INT_MAX ? BIO_new_mem_buf(text, (int)n) : NULL;
	AUTO_X509 *x = b ? next_cert(b) : NULL;

	if (!x)
		return err_set(e, ERR_INPUT, ENOENT, "there is no certificate in it");
	return put_der(x, der, e);
}

int ek_cert_write(const void *der, size_t n, struct buf *out, struct err *e)
{
	AUTO_X509 *x = parse(der, n);
	AUTO_BIO *b = BIO_new(BIO_s_mem());
	char *pem = NULL;
	long len;

	if (!x)
		return no_certificate(e);
	len = b && PEM_write_bio_X509(b, x) == 1 ? BIO_get_mem_data(b, &pem) : 0;
	return len > 0 ? buf_add(out, pem, (size_t)len, e)
		       : err_set(e, ERR_HOST, EIO, "OpenSSL cannot write the certificate");
}

static int load_cas(X509_STORE *store, const void *cas, size_t n, struct err *e)
{
	AUTO_BIO *b = n < INT_MAX ? BIO_new_mem_buf(cas, (int)n) : NULL;
	int found = 0;

	for (; b && found < CAS_MAX; found++) {
		AUTO_X509 *ca = next_cert(b);

		if (!ca)
			break;
		if (X509_STORE_add_cert(store, ca) != 1)
			return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	return found ? 0 : err_set(e, ERR_INPUT, ENOENT, "there is no certificate of a CA in it");
}

int ek_cert_check(const void *der, size_t n, const void *cas, size_t cas_n, int64_t now,
		  char ret_issuer[256], struct err *e)
{
	AUTO_X509 *x = parse(der, n);
	CLEANUP(store_freep) X509_STORE *store = X509_STORE_new();
	CLEANUP(store_ctx_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	char name[256] = "";
	int r;

	if (!x)
		return no_certificate(e);
	if (!store || !ctx)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = load_cas(store, cas, cas_n, e);
	if (r < 0)
		return r;
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	if (X509_STORE_CTX_init(ctx, store, x, NULL) != 1)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	X509_STORE_CTX_set_time(ctx, 0, (time_t)now);
	r = X509_verify_cert(ctx);
	ERR_clear_error();
	if (r != 1)
		return err_set(e, ERR_REFUSED, EKEYREJECTED,
			       "the TPM's EK certificate does not come from that CA (%s)",
			       X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	(void)X509_NAME_oneline(X509_get_issuer_name(x), name, sizeof(name));
	(void)text_clean(name, strnlen(name, sizeof(name) - 1), ret_issuer, 256);
	return 0;
}

/* ---- credentials ---- */

/* KDFa (TPM 2.0 part 1, 11.4.10.2) with SHA-256, for at most one block of output. */
static int kdfa(const uint8_t seed[32], const char *label, const uint8_t *u, size_t u_n,
		size_t bytes, uint8_t ret[32], struct err *e)
{
	const uint8_t one[4] = { 0, 0, 0, 1 };
	const uint8_t bits[4] = { 0, 0, (uint8_t)(bytes * 8 >> 8), (uint8_t)(bytes * 8) };
	AUTO_BUF b = BUF_INIT;
	unsigned n = 32;
	int r = buf_add(&b, one, sizeof(one), e);

	if (r >= 0)
		r = buf_add(&b, label, strlen(label) + 1, e);
	if (r >= 0 && u_n > 0)
		r = buf_add(&b, u, u_n, e);
	if (r >= 0)
		r = buf_add(&b, bits, sizeof(bits), e);
	if (r < 0)
		return r;
	if (!HMAC(EVP_sha256(), seed, 32, (const uint8_t *)b.p, b.n, ret, &n))
		return err_set(e, ERR_HOST, EIO, "OpenSSL cannot make an HMAC");
	return 0;
}

static int put_sized(const void *p, size_t n, struct buf *out, struct err *e)
{
	const uint8_t size[2] = { (uint8_t)(n >> 8), (uint8_t)n };
	int r = buf_add(out, size, sizeof(size), e);

	return r < 0 ? r : buf_add(out, p, n, e);
}

/* The seed for the EK alone: RSAES-OAEP with its name algorithm, label "IDENTITY". */
static int wrap_seed(X509 *x, const uint8_t seed[32], struct buf *out, struct err *e)
{
	static const char label[] = "IDENTITY"; /* with its NUL */
	EVP_PKEY *key = X509_get0_pubkey(x);
	CLEANUP(pkey_ctx_freep) EVP_PKEY_CTX *c = NULL;
	uint8_t sealed[RSA_BITS / 8];
	size_t n = sizeof(sealed);
	void *copy;

	if (!key || !EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) != RSA_BITS)
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "the EK of that certificate is not an RSA key of 2048 bits");
	c = EVP_PKEY_CTX_new(key, NULL);
	copy = OPENSSL_memdup(label, sizeof(label));
	if (!c || EVP_PKEY_encrypt_init(c) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) != 1 ||
	    EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha256()) != 1 ||
	    EVP_PKEY_CTX_set_rsa_mgf1_md(c, EVP_sha256()) != 1 ||
	    EVP_PKEY_CTX_set0_rsa_oaep_label(c, copy, sizeof(label)) != 1) {
		OPENSSL_free(copy);
		return err_set(e, ERR_HOST, EIO, "OpenSSL cannot encrypt with the EK");
	}
	if (EVP_PKEY_encrypt(c, sealed, &n, seed, 32) != 1)
		return err_set(e, ERR_HOST, EIO, "OpenSSL cannot encrypt with the EK");
	return put_sized(sealed, n, out, e);
}

static int encrypt(const uint8_t key[AES_BYTES], const struct buf *in, uint8_t *out, struct err *e)
{
	static const uint8_t iv[AES_BYTES] = { 0 };
	CLEANUP(cipher_ctx_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0;

	if (!c || EVP_EncryptInit_ex(c, EVP_aes_128_cfb128(), NULL, key, iv) != 1 ||
	    EVP_EncryptUpdate(c, out, &n, (const uint8_t *)in->p, (int)in->n) != 1)
		return err_set(e, ERR_HOST, EIO, "OpenSSL cannot encrypt the secret");
	return 0;
}

/* TPMS_ID_OBJECT: the secret encrypted, and an HMAC that ties it to the key's name. */
static int seal(const uint8_t seed[32], const uint8_t *name, size_t name_n,
		const struct buf *secret, struct buf *out, struct err *e)
{
	uint8_t key[32], mac_key[32], mac[32], identity[2 + CREDENTIAL_SECRET_MAX];
	AUTO_BUF both = BUF_INIT;
	AUTO_BUF object = BUF_INIT;
	unsigned n = sizeof(mac);
	int r = kdfa(seed, "STORAGE", name, name_n, AES_BYTES, key, e);

	if (r >= 0)
		r = encrypt(key, secret, identity, e);
	if (r >= 0)
		r = kdfa(seed, "INTEGRITY", NULL, 0, sizeof(mac_key), mac_key, e);
	if (r >= 0)
		r = buf_add(&both, identity, secret->n, e);
	if (r >= 0)
		r = buf_add(&both, name, name_n, e);
	if (r < 0)
		return r;
	if (!HMAC(EVP_sha256(), mac_key, sizeof(mac_key), (const uint8_t *)both.p, both.n, mac, &n))
		return err_set(e, ERR_HOST, EIO, "OpenSSL cannot make an HMAC");
	r = put_sized(mac, sizeof(mac), &object, e);
	if (r >= 0)
		r = buf_add(&object, identity, secret->n, e);
	return r < 0 ? r : put_sized(object.p, object.n, out, e);
}

int credential_make(const struct buf *cert, const uint8_t *name, size_t name_n,
		    const uint8_t *secret, size_t secret_n, struct credential *ret, struct err *e)
{
	AUTO_X509 *x = parse(cert->p, cert->n);
	AUTO_CREDENTIAL c = { .blob = BUF_INIT, .seed = BUF_INIT };
	AUTO_BUF sized = BUF_INIT;
	uint8_t seed[32];
	int r;

	if (!x)
		return no_certificate(e);
	if (secret_n < 1 || secret_n > CREDENTIAL_SECRET_MAX || name_n > CREDENTIAL_NAME_MAX)
		return err_set(e, ERR_INPUT, EINVAL, "a credential holds 1 to %d bytes",
			       CREDENTIAL_SECRET_MAX);
	if (RAND_bytes(seed, sizeof(seed)) != 1)
		return err_set(e, ERR_HOST, EIO, "OpenSSL has no random bytes");
	r = wrap_seed(x, seed, &c.seed, e);
	if (r >= 0)
		r = put_sized(secret, secret_n, &sized, e);
	if (r >= 0)
		r = seal(seed, name, name_n, &sized, &c.blob, e);
	if (r < 0)
		return r;
	*ret = c;
	c.blob = c.seed = (struct buf)BUF_INIT;
	return 0;
}
