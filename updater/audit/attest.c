/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/attest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "updater/audit/dsse.h"
#include "updater/audit/tpm.h"
#include "updater/record/chain.h"

static void pkey_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static int put_base64(json_t *o, const char *key, const void *p, size_t n, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = base64_put(p, n, &b, e);

	return r < 0 ? r : json_put_str(o, key, b.p, e);
}

static int put_pcrs(const struct audit *a, json_t *to, struct err *e)
{
	json_t *o = json_object();
	int r = json_put(to, "pcrs_sha256", o, e);

	for (unsigned i = 0; r >= 0 && i < TCG_PCRS; i++) {
		char key[4];

		(void)snprintf(key, sizeof(key), "%u", i);
		if (a->pcrs.have >> i & 1)
			r = json_put_hex(o, key, a->pcrs.value[i], 32, e);
	}
	return r;
}

static int put_quote(const struct attest_options *opt, json_t *to, struct err *e)
{
	json_t *o = json_object();
	struct tpm_quote q = { .message = { .n = 0 } };
	int r = json_put(to, "quote", o, e);

	if (r >= 0)
		r = tpm_quote(opt->tcti, opt->nonce, opt->nonce_n, ATTEST_PCRS, &q, e);
	if (r >= 0)
		r = put_base64(o, "message", q.message.p, q.message.n, e);
	if (r >= 0)
		r = put_base64(o, "signature", q.signature.p, q.signature.n, e);
	return r < 0 ? r : put_base64(o, "key", q.key.p, q.key.n, e);
}

static int put_attachments(struct audit *a, const struct attest_options *opt, struct err *e)
{
	AUTO_FREE char *history = NULL;
	json_t *o = json_object();
	size_t n = 0;
	int r = json_put(a->rep.doc, "attachments", o, e);

	if (r >= 0 && a->log_bytes.n)
		r = put_base64(o, "eventlog", a->log_bytes.p, a->log_bytes.n, e);
	if (r >= 0 && a->has_pcrs)
		r = put_pcrs(a, o, e);
	if (r >= 0 && a->ev.state >= 0 &&
	    file_read(a->ev.sys, a->ev.state, CHAIN_FILE, ATTEST_HISTORY_MAX, &history, &n, NULL) >=
		    0)
		r = put_base64(o, "history", history, n, e);
	return r >= 0 && opt->quote ? put_quote(opt, o, e) : r;
}

/* {"name":...,"digest":{algorithm: hex}} */
static int put_subject(json_t *list, const char *name, const char *alg, const char *hex,
		       struct err *e)
{
	json_t *o = json_object(), *digest = json_object();
	int r = json_push(list, o, e);

	if (r >= 0)
		r = json_put(o, "digest", digest, e);
	else
		json_decref(digest);
	if (r >= 0)
		r = json_put_str(o, "name", name, e);
	return r < 0 ? r : json_put_str(digest, alg, hex, e);
}

const struct attest_subject attest_subjects[ATTEST_SUBJECTS] = {
	{ "usr", "usr", "dmVeritySha256" },
	{ "uki", "uki", "sha256" },
	{ "uki_authenticode", "uki", "authenticodeSha256" },
	{ "loader_authenticode", "loader", "authenticodeSha256" },
};

static int make_statement(const struct audit *a, struct buf *out, struct err *e)
{
	AUTO_JSON *st = json_object();
	json_t *list = json_array();
	const json_t *from = json_object_get(a->rep.doc, "subjects");
	int r = json_put(st, "subject", list, e);

	if (r >= 0)
		r = json_put_str(st, "_type", "https://in-toto.io/Statement/v1", e);
	for (size_t i = 0; r >= 0 && i < ATTEST_SUBJECTS; i++) {
		const char *hex = json_string_value(json_object_get(from, attest_subjects[i].key));

		if (hex)
			r = put_subject(list, attest_subjects[i].name, attest_subjects[i].alg, hex,
					e);
	}
	if (r >= 0 && json_array_size(list) == 0)
		return err_set(e, ERR_HOST, ENODATA,
			       "there is nothing to attest to: neither /usr nor a UKI was found");
	if (r >= 0)
		r = json_put_str(st, "predicateType", REPORT_PREDICATE_TYPE, e);
	if (r >= 0)
		r = json_put(st, "predicate", json_incref(a->rep.doc), e);
	return r < 0 ? r : json_write(st, false, out, e);
}

/* TPMT_SIGNATURE with ECDSA: algorithm, hash, r and s with their sizes -> r and s, 32 bytes each */
static int raw_signature(const struct tpm_blob *b, struct dsse_signature *ret, struct err *e)
{
	size_t at = 4;

	memset(ret->sig, 0, 64);
	for (int i = 0; i < 2; i++) {
		size_t n = at + 2 <= b->n ? (size_t)b->p[at] << 8 | b->p[at + 1] : 0;

		if (n == 0 || n > 32 || at + 2 + n > b->n)
			return err_set(e, ERR_HOST, EBADMSG, "TPM: not an ECDSA signature");
		memcpy(ret->sig + 32 * (size_t)i + 32 - n, b->p + at + 2, n);
		at += 2 + n;
	}
	ret->n = 64;
	return 0;
}

static int sign_with_tpm(const struct attest_options *o, const struct buf *st, struct buf *out,
			 struct err *e)
{
	struct dsse_signature sig = { .keyid = "tpm" };
	struct tpm_blob key, s;
	AUTO_BUF pae = BUF_INIT;
	uint8_t digest[SHA256_BYTES];
	int r = dsse_pae(DSSE_IN_TOTO, st->p, st->n, &pae, e);

	if (r < 0)
		return r;
	sha256(pae.p, pae.n, digest);
	r = tpm_sign(o->tcti, digest, &key, &s, e);
	if (r >= 0)
		r = raw_signature(&s, &sig, e);
	return r < 0 ? r : dsse_write(DSSE_IN_TOTO, st->p, st->n, &sig, out, e);
}

int attest_write(struct audit *a, const struct attest_options *o, struct buf *out, struct err *e)
{
	__attribute__((cleanup(pkey_freep))) EVP_PKEY *k = NULL;
	AUTO_BUF st = BUF_INIT;
	int r = put_attachments(a, o, e);

	if (r >= 0)
		r = make_statement(a, &st, e);
	if (r < 0)
		return r;
	if (strcmp(o->key, "tpm") == 0)
		return sign_with_tpm(o, &st, out, e);
	r = dsse_key_load(o->key, &k, e);
	return r < 0 ? r : dsse_sign(DSSE_IN_TOTO, st.p, st.n, k, out, e);
}
