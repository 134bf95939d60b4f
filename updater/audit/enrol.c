/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/enrol.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/hex.h"
#include "base/json.h"
#include "updater/audit/credential.h"
#include "updater/audit/quote.h"
#include "updater/audit/tpm.h"

#define KEY_LINE "attestation key: "

enum { TEXT_MAX = 64 << 10 };

/* ---- the keys ---- */

static int put_pem(EVP_PKEY *k, struct buf *out, struct err *e)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *pem = NULL;
	long n = b && PEM_write_bio_PUBKEY(b, k) == 1 ? BIO_get_mem_data(b, &pem) : 0;
	int r = n > 0 ? buf_add(out, pem, (size_t)n, e)
		      : err_set(e, ERR_HOST, EIO, "OpenSSL cannot write the key");

	(void)BIO_free(b);
	return r;
}

/* Not every TPM has one, and what needs it says so. */
static int put_cert(const char *tcti, struct buf *out, struct err *e)
{
	AUTO_BUF der = BUF_INIT;
	struct err why = ERR_INIT;
	int r = tpm_ek_certificate(tcti, &der, &why);

	if (r < 0)
		return buf_addf(out, e, "no EK certificate: %s\n", why.text);
	return ek_cert_write(der.p, der.n, out, e);
}

int enrol_keys(const char *tcti, struct buf *out, struct err *e)
{
	static const uint8_t nothing[32] = { 0 };
	AUTO_QUOTE_KEY ak = { .pkey = NULL }, sign = { .pkey = NULL };
	char name[2 * sizeof(ak.name) + 1];
	struct tpm_blob key = { .n = 0 }, sig = { .n = 0 };
	struct tpm_quote q = { .message = { .n = 0 } };
	int r = tpm_quote(tcti, nothing, sizeof(nothing), ATTEST_PCRS, &q, e);

	if (r >= 0)
		r = quote_key_read(q.key.p, q.key.n, &ak, e);
	if (r >= 0)
		r = tpm_sign(tcti, nothing, &key, &sig, e);
	if (r >= 0)
		r = quote_key_read(key.p, key.n, &sign, e);
	if (r < 0)
		return r;
	hex_format(ak.name, ak.name_n, name);
	r = buf_addf(out, e, KEY_LINE "%s\n", name);
	if (r >= 0)
		r = put_pem(sign.pkey, out, e);
	return r < 0 ? r : put_cert(tcti, out, e);
}

/* ---- the challenge ---- */

static int put_base64(json_t *o, const char *key, const struct buf *in, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = base64_put(in->p, in->n, &b, e);

	return r < 0 ? r : json_put_str(o, key, b.p, e);
}

static int get_base64(const json_t *o, const char *key, const char *what, struct buf *out,
		      struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, what, &s, e);

	return r < 0 ? r : base64_get(s, key, out, e);
}

static int read_form(const void *p, size_t n, const char *what, json_t **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = TEXT_MAX, .depth = 3 };
	AUTO_JSON *o = NULL;
	uint64_t form = 0;
	int r = json_read(p, n, &lim, what, &o, e);

	if (r >= 0)
		r = json_get_u64(o, what, what, UINT64_MAX >> 1, &form, e);
	if (r >= 0 && form != 1)
		return err_set(e, ERR_INPUT, EPROTO, "%s: of a form that is not known here", what);
	if (r >= 0)
		*ret = json_incref(o);
	return r;
}

/* The name behind KEY_LINE, as bytes. */
static int find_name(const char *text, uint8_t name[CREDENTIAL_NAME_MAX], size_t *ret_n,
		     struct err *e)
{
	const char *p = strstr(text, KEY_LINE);
	char hex[2 * CREDENTIAL_NAME_MAX + 1];
	size_t n;

	p = p ? p + strlen(KEY_LINE) : "";
	n = strspn(p, "0123456789abcdef");
	if (n < 4 || n % 2 || n >= sizeof(hex))
		return err_set(e, ERR_INPUT, ENOENT,
			       "there is no \"" KEY_LINE "...\" in it, as proa-audit keys prints");
	memcpy(hex, p, n);
	hex[n] = '\0';
	*ret_n = n / 2;
	return hex_parse(hex, "attestation key", name, n / 2, e);
}

static int format_challenge(const struct credential *c, struct buf *out, struct err *e)
{
	AUTO_JSON *o = json_object();
	int r = json_put_u64(o, "proa_challenge", 1, e);

	if (r >= 0)
		r = put_base64(o, "credential", &c->blob, e);
	if (r >= 0)
		r = put_base64(o, "seed", &c->seed, e);
	if (r >= 0)
		r = json_write(o, true, out, e);
	return r < 0 ? r : buf_add(out, "\n", 1, e);
}

static int format_secret(const uint8_t nonce[ATTEST_NONCE_MAX], const uint8_t *name, size_t name_n,
			 const struct buf *cert, struct buf *out, struct err *e)
{
	AUTO_JSON *o = json_object();
	int r = json_put_u64(o, "proa_challenge_secret", 1, e);

	if (r >= 0)
		r = json_put_hex(o, "nonce", nonce, ATTEST_NONCE_MAX, e);
	if (r >= 0)
		r = json_put_hex(o, "attestation_key", name, name_n, e);
	if (r >= 0)
		r = put_base64(o, "certificate", cert, e);
	if (r >= 0)
		r = json_write(o, true, out, e);
	return r < 0 ? r : buf_add(out, "\n", 1, e);
}

int enrol_challenge(const void *keys, size_t n, struct buf *challenge, struct buf *secret,
		    struct err *e)
{
	AUTO_CREDENTIAL c = { .blob = BUF_INIT, .seed = BUF_INIT };
	AUTO_BUF text = { .max = TEXT_MAX };
	AUTO_BUF cert = BUF_INIT;
	uint8_t name[CREDENTIAL_NAME_MAX], nonce[ATTEST_NONCE_MAX];
	size_t name_n = 0;
	int r = buf_add(&text, keys, n, e);

	if (r >= 0)
		r = find_name(text.p, name, &name_n, e);
	if (r >= 0)
		r = ek_cert_read(keys, n, &cert, e);
	if (r < 0)
		return r;
	if (RAND_bytes(nonce, sizeof(nonce)) != 1)
		return err_set(e, ERR_HOST, EIO, "OpenSSL has no random bytes");
	r = credential_make(&cert, name, name_n, nonce, sizeof(nonce), &c, e);
	if (r >= 0)
		r = format_challenge(&c, challenge, e);
	return r < 0 ? r : format_secret(nonce, name, name_n, &cert, secret, e);
}

int enrol_answer(const char *tcti, const void *challenge, size_t n, uint8_t nonce[ATTEST_NONCE_MAX],
		 size_t *ret_n, struct err *e)
{
	AUTO_CREDENTIAL c = { .blob = BUF_INIT, .seed = BUF_INIT };
	struct tpm_blob secret = { .n = 0 };
	AUTO_JSON *o = NULL;
	int r = read_form(challenge, n, "proa_challenge", &o, e);

	if (r >= 0)
		r = get_base64(o, "credential", "proa_challenge", &c.blob, e);
	if (r >= 0)
		r = get_base64(o, "seed", "proa_challenge", &c.seed, e);
	if (r >= 0)
		r = tpm_activate(tcti, &c.blob, &c.seed, &secret, e);
	if (r < 0)
		return r;
	if (secret.n < 8 || secret.n > ATTEST_NONCE_MAX)
		return err_set(e, ERR_INPUT, EPROTO, "the challenge holds no nonce");
	memcpy(nonce, secret.p, secret.n);
	*ret_n = secret.n;
	return 0;
}

void enrol_secret_done(struct enrol_secret *s)
{
	buf_done(&s->cert);
}

int enrol_secret_read(const void *p, size_t n, struct enrol_secret *ret, struct err *e)
{
	AUTO_ENROL_SECRET s = { .nonce_n = ATTEST_NONCE_MAX, .cert = BUF_INIT };
	const char *what = "proa_challenge_secret", *ak = NULL;
	AUTO_JSON *o = NULL;
	int r = read_form(p, n, what, &o, e);

	if (r >= 0)
		r = json_get_hex(o, "nonce", what, s.nonce, s.nonce_n, e);
	if (r >= 0)
		r = json_get_str(o, "attestation_key", what, &ak, e);
	if (r >= 0 && strlen(ak) >= sizeof(s.ak))
		return err_set(e, ERR_INPUT, EFBIG, "%s: attestation_key is too long", what);
	if (r >= 0)
		r = get_base64(o, "certificate", what, &s.cert, e);
	if (r < 0)
		return r;
	memcpy(s.ak, ak, strlen(ak) + 1);
	*ret = s;
	s.cert = (struct buf)BUF_INIT;
	return 0;
}
