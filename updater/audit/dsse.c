/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/dsse.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/text.h"
#include "updater/tuf/sign.h"

enum { RAW_P256 = 64 };

void dsse_free(struct dsse *d)
{
	if (d)
		buf_done(&d->payload);
	free(d);
}

int dsse_pae(const char *type, const void *p, size_t n, struct buf *out, struct err *e)
{
	int r = buf_addf(out, e, "DSSEv1 %zu %s %zu ", strlen(type), type, n);

	return r < 0 ? r : buf_add(out, p, n, e);
}

static int read_signature(const json_t *j, struct dsse *d, struct err *e)
{
	AUTO_BUF raw = { .max = DSSE_SIG_MAX + 8 };
	struct dsse_signature *s = &d->sig[d->n];
	const char *keyid, *sig;
	int r = json_get_str_opt(j, "keyid", "signature", &keyid, e);

	if (r >= 0)
		r = json_get_str(j, "sig", "signature", &sig, e);
	if (r < 0)
		return r;
	if (strlen(sig) > DSSE_SIG_MAX)
		return err_set(e, ERR_INPUT, EFBIG, "envelope: a signature is too long");
	r = base64_get(sig, "envelope: a signature", &raw, e);
	if (r < 0)
		return r;
	keyid = keyid ? keyid : "";
	(void)text_clean(keyid, strlen(keyid), s->keyid, sizeof(s->keyid));
	memcpy(s->sig, raw.p, raw.n);
	s->n = raw.n;
	d->n++;
	return 0;
}

static int read_members(const json_t *j, struct dsse *d, struct err *e)
{
	const char *type, *payload;
	json_t *sigs;
	int r = json_get_str(j, "payloadType", "envelope", &type, e);

	if (r >= 0)
		r = json_get_str(j, "payload", "envelope", &payload, e);
	if (r >= 0)
		r = json_get_arr(j, "signatures", "envelope", &sigs, e);
	if (r < 0)
		return r;
	if (strlen(type) >= sizeof(d->type) || json_array_size(sigs) > DSSE_SIGNATURES_MAX)
		return err_set(e, ERR_INPUT, EFBIG,
			       "envelope: its type is too long, or it has more than %d signatures",
			       DSSE_SIGNATURES_MAX);
	memcpy(d->type, type, strlen(type) + 1);
	r = base64_get(payload, "envelope: payload", &d->payload, e);
	for (size_t i = 0; r >= 0 && i < json_array_size(sigs); i++)
		r = read_signature(json_array_get(sigs, i), d, e);
	return r;
}

int dsse_read(const void *p, size_t n, struct dsse **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = DSSE_BYTES_MAX, .depth = 4 };
	AUTO_DSSE *d = calloc(1, sizeof(*d));
	AUTO_JSON *j = NULL;
	int r;

	if (!d)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_read(p, n, &lim, "envelope", &j, e);
	if (r >= 0)
		r = read_members(j, d, e);
	if (r < 0)
		return r;
	*ret = TAKE(d);
	return 0;
}

/* r and s behind one another, as some signers write ECDSA, to DER. */
static bool raw_to_der(const uint8_t raw[RAW_P256], struct buf *hex)
{
	ECDSA_SIG *s = ECDSA_SIG_new();
	BIGNUM *a = BN_bin2bn(raw, RAW_P256 / 2, NULL);
	BIGNUM *b = BN_bin2bn(raw + RAW_P256 / 2, RAW_P256 / 2, NULL);
	unsigned char *der = NULL;
	int n = -1;

	if (s && a && b && ECDSA_SIG_set0(s, a, b) == 1) {
		a = b = NULL;
		n = i2d_ECDSA_SIG(s, &der);
	}
	if (n > 0 && buf_reserve(hex, (size_t)n * 2 + 1, NULL) >= 0)
		hex_format(der, (size_t)n, hex->p);
	OPENSSL_free(der);
	ECDSA_SIG_free(s);
	BN_free(a);
	BN_free(b);
	return n > 0;
}

int dsse_verify(const struct dsse *d, const struct tuf_key *k, struct err *e)
{
	AUTO_BUF pae = BUF_INIT;
	int r = dsse_pae(d->type, d->payload.p, d->payload.n, &pae, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < d->n; i++) {
		AUTO_BUF hex = BUF_INIT;

		r = buf_reserve(&hex, d->sig[i].n * 2 + 1, e);
		if (r < 0)
			return r;
		hex_format(d->sig[i].sig, d->sig[i].n, hex.p);
		if (tuf_key_verify(k, pae.p, pae.n, hex.p))
			return 0;
		if (k->scheme == TUF_SCHEME_ECDSA_P256 && d->sig[i].n == RAW_P256 &&
		    raw_to_der(d->sig[i].sig, &hex) && tuf_key_verify(k, pae.p, pae.n, hex.p))
			return 0;
	}
	return err_set(e, ERR_REFUSED, EKEYREJECTED,
		       "none of the envelope's %zu signatures is by key %.16s", d->n, k->id);
}

int dsse_write(const char *type, const void *p, size_t n, const struct dsse_signature *sig,
	       struct buf *out, struct err *e)
{
	int r = buf_addf(out, e, "{\"payloadType\":\"%s\",\"payload\":\"", type);

	if (r >= 0)
		r = base64_put(p, n, out, e);
	if (r >= 0)
		r = buf_addf(out, e, "\",\"signatures\":[{\"keyid\":\"%s\",\"sig\":\"", sig->keyid);
	if (r >= 0)
		r = base64_put(sig->sig, sig->n, out, e);
	return r < 0 ? r : buf_addf(out, e, "\"}]}");
}

int dsse_sign(const char *type, const void *p, size_t n, struct evp_pkey_st *k, struct buf *out,
	      struct err *e)
{
	AUTO_BUF pae = BUF_INIT;
	AUTO_BUF hex = BUF_INIT;
	AUTO_JSON *key = NULL;
	struct dsse_signature sig = { .n = 0 };
	int r = tuf_key_to_json(k, &key, e);

	if (r >= 0)
		r = tuf_key_id(key, sig.keyid, e);
	if (r >= 0)
		r = dsse_pae(type, p, n, &pae, e);
	if (r >= 0)
		r = tuf_sign(k, pae.p, pae.n, &hex, e);
	if (r < 0)
		return r;
	sig.n = hex.n / 2;
	if (sig.n > sizeof(sig.sig))
		return err_set(e, ERR_INPUT, EFBIG, "the key's signatures are too long");
	r = hex_parse(hex.p, "signature", sig.sig, sig.n, e);
	return r < 0 ? r : dsse_write(type, p, n, &sig, out, e);
}

int dsse_key_load(const char *where, struct evp_pkey_st **ret, struct err *e)
{
	OSSL_STORE_CTX *store = OSSL_STORE_open(where, UI_OpenSSL(), NULL, NULL, NULL);
	EVP_PKEY *k = NULL;

	if (store)
		(void)OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY);
	while (store && !k && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);

		if (!info)
			break;
		if (OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			k = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	if (store)
		(void)OSSL_STORE_close(store);
	ERR_clear_error();
	if (!k)
		return err_set(e, ERR_INPUT, ENOKEY,
			       "'%s' holds no private key: give a PEM file or a store URI", where);
	*ret = k;
	return 0;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type */
int dsse_no_password(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

int dsse_key_read(const void *pem, size_t n, const char *what, struct tuf_key *ret, struct err *e)
{
	BIO *in = n <= 64 << 10 ? BIO_new_mem_buf(pem, (int)n) : NULL;
	EVP_PKEY *k = in ? PEM_read_bio_PUBKEY(in, NULL, dsse_no_password, NULL) : NULL;
	AUTO_JSON *j = NULL;
	char id[TUF_KEYID_MAX];
	int r;

	(void)BIO_free(in);
	ERR_clear_error();
	if (!k)
		return err_set(e, ERR_INPUT, EBADMSG, "%s is no public key in PEM", what);
	r = tuf_key_to_json(k, &j, e);
	EVP_PKEY_free(k);
	if (r >= 0)
		r = tuf_key_id(j, id, e);
	if (r >= 0)
		r = tuf_key_read(j, id, ret, e);
	return r < 0 ? err_wrap(e, r, "%s", what) : 0;
}
