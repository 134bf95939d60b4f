/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/tpm.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tctildr.h>

/* What is used of the three libraries, and the TPM behind them. */
struct tpm {
	void *esys, *mu, *ldr;
	__typeof__(Tss2_TctiLdr_Initialize) *open;
	__typeof__(Tss2_TctiLdr_Finalize) *close;
	__typeof__(Esys_Initialize) *init;
	__typeof__(Esys_Finalize) *fini;
	__typeof__(Esys_CreatePrimary) *create;
	__typeof__(Esys_FlushContext) *flush;
	__typeof__(Esys_Quote) *quote;
	__typeof__(Esys_Sign) *sign;
	__typeof__(Esys_TR_FromTPMPublic) *at;
	__typeof__(Esys_NV_DefineSpace) *nv_define;
	__typeof__(Esys_NV_Extend) *nv_extend;
	__typeof__(Esys_NV_Read) *nv_read;
	__typeof__(Esys_NV_ReadPublic) *nv_public;
	__typeof__(Esys_StartAuthSession) *session;
	__typeof__(Esys_PolicySecret) *policy;
	__typeof__(Esys_ActivateCredential) *activate;
	__typeof__(Esys_Free) *free;
	__typeof__(Tss2_MU_TPMT_PUBLIC_Marshal) *put_public;
	__typeof__(Tss2_MU_TPMT_SIGNATURE_Marshal) *put_signature;
	TSS2_TCTI_CONTEXT *tcti;
	ESYS_CONTEXT *ctx;
	ESYS_TR key, ek, auth;
};

static void tpm_done(struct tpm *t)
{
	if (t->ctx && t->key != ESYS_TR_NONE)
		(void)t->flush(t->ctx, t->key);
	if (t->ctx && t->ek != ESYS_TR_NONE)
		(void)t->flush(t->ctx, t->ek);
	if (t->ctx && t->auth != ESYS_TR_NONE)
		(void)t->flush(t->ctx, t->auth);
	if (t->ctx)
		t->fini(&t->ctx);
	if (t->tcti)
		t->close(&t->tcti);
	/* the libraries stay: their logging keeps state that a second loading would leak */
}
#define AUTO_TPM __attribute__((cleanup(tpm_done))) struct tpm

static bool find(void *lib, const char *name, void *ret)
{
	void *p = lib ? dlsym(lib, name) : NULL;

	memcpy(ret, &p, sizeof(p));
	return p != NULL;
}

static bool find_all(struct tpm *t)
{
	const struct {
		void *lib;
		const char *name;
		void *to;
	} all[] = {
		{ t->ldr, "Tss2_TctiLdr_Initialize", &t->open },
		{ t->ldr, "Tss2_TctiLdr_Finalize", &t->close },
		{ t->esys, "Esys_Initialize", &t->init },
		{ t->esys, "Esys_Finalize", &t->fini },
		{ t->esys, "Esys_CreatePrimary", &t->create },
		{ t->esys, "Esys_FlushContext", &t->flush },
		{ t->esys, "Esys_Quote", &t->quote },
		{ t->esys, "Esys_Sign", &t->sign },
		{ t->esys, "Esys_TR_FromTPMPublic", &t->at },
		{ t->esys, "Esys_NV_DefineSpace", &t->nv_define },
		{ t->esys, "Esys_NV_Extend", &t->nv_extend },
		{ t->esys, "Esys_NV_Read", &t->nv_read },
		{ t->esys, "Esys_NV_ReadPublic", &t->nv_public },
		{ t->esys, "Esys_StartAuthSession", &t->session },
		{ t->esys, "Esys_PolicySecret", &t->policy },
		{ t->esys, "Esys_ActivateCredential", &t->activate },
		{ t->esys, "Esys_Free", &t->free },
		{ t->mu, "Tss2_MU_TPMT_PUBLIC_Marshal", &t->put_public },
		{ t->mu, "Tss2_MU_TPMT_SIGNATURE_Marshal", &t->put_signature },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!find(all[i].lib, all[i].name, all[i].to))
			return false;
	return true;
}

static int load(struct tpm *t, struct err *e)
{
	t->esys = dlopen("libtss2-esys.so.0", RTLD_NOW | RTLD_LOCAL);
	t->mu = dlopen("libtss2-mu.so.0", RTLD_NOW | RTLD_LOCAL);
	t->ldr = dlopen("libtss2-tctildr.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!find_all(t))
		return err_set(e, ERR_HOST, ENOTSUP,
			       "tpm2-tss is not installed (libtss2-esys, libtss2-mu, "
			       "libtss2-tctildr)");
	return 0;
}

static int said(TSS2_RC rc, const char *doing, struct err *e)
{
	return err_set(e, ERR_HOST, EIO, "TPM: cannot %s: response code 0x%08x", doing, rc);
}

static int tpm_open(const char *tcti, struct tpm *t, struct err *e)
{
	TSS2_RC rc;
	int r = load(t, e);

	t->key = t->ek = t->auth = ESYS_TR_NONE;
	if (r < 0)
		return r;
	rc = t->open(tcti ? tcti : TPM_TCTI_DEFAULT, &t->tcti);
	if (rc != TSS2_RC_SUCCESS)
		return said(rc, "reach it", e);
	rc = t->init(&t->ctx, t->tcti, NULL);
	return rc == TSS2_RC_SUCCESS ? 0 : said(rc, "speak to it", e);
}

/* See tpm.h for the template; it must never change, or auditors see another key. */
static int make_key(struct tpm *t, bool restricted, struct tpm_blob *ret, struct err *e)
{
	const TPM2B_SENSITIVE_CREATE sensitive = { .size = 0 };
	const TPM2B_DATA outside = { .size = 0 };
	const TPML_PCR_SELECTION none = { .count = 0 };
	const TPM2B_PUBLIC template = {
		.publicArea = {
			.type = TPM2_ALG_ECC,
			.nameAlg = TPM2_ALG_SHA256,
			.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
					    TPMA_OBJECT_SENSITIVEDATAORIGIN |
					    TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SIGN_ENCRYPT |
					    (restricted ? TPMA_OBJECT_RESTRICTED : 0),
			.parameters.eccDetail = {
				.symmetric = { .algorithm = TPM2_ALG_NULL },
				.scheme = { .scheme = TPM2_ALG_ECDSA,
					    .details.ecdsa = { .hashAlg = TPM2_ALG_SHA256 } },
				.curveID = TPM2_ECC_NIST_P256,
				.kdf = { .scheme = TPM2_ALG_NULL },
			},
		},
	};
	TPM2B_PUBLIC *out = NULL;
	size_t n = 0;
	TSS2_RC rc = t->create(t->ctx, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE,
			       ESYS_TR_NONE, &sensitive, &template, &outside, &none, &t->key, &out,
			       NULL, NULL, NULL);

	if (rc != TSS2_RC_SUCCESS)
		return said(rc, "make its key", e);
	rc = t->put_public(&out->publicArea, ret->p, sizeof(ret->p), &n);
	t->free(out);
	ret->n = n;
	return rc == TSS2_RC_SUCCESS ? 0 : said(rc, "write its key down", e);
}

static int put_signature(struct tpm *t, TPMT_SIGNATURE *sig, struct tpm_blob *ret, struct err *e)
{
	size_t n = 0;
	TSS2_RC rc = t->put_signature(sig, ret->p, sizeof(ret->p), &n);

	t->free(sig);
	ret->n = n;
	return rc == TSS2_RC_SUCCESS ? 0 : said(rc, "write its signature down", e);
}

static int do_quote(struct tpm *t, const uint8_t *nonce, size_t n, uint32_t pcrs,
		    struct tpm_quote *q, struct err *e)
{
	/* cppcheck-suppress legacyUninitvar ; it is set right here */
	const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
	TPML_PCR_SELECTION sel = { .count = 1 };
	TPM2B_DATA data = { .size = (UINT16)n };
	TPM2B_ATTEST *message = NULL;
	TPMT_SIGNATURE *sig = NULL;
	TSS2_RC rc;

	sel.pcrSelections[0].hash = TPM2_ALG_SHA256;
	sel.pcrSelections[0].sizeofSelect = 3;
	for (unsigned i = 0; i < 3; i++)
		sel.pcrSelections[0].pcrSelect[i] = (BYTE)(pcrs >> (8 * i));
	memcpy(data.buffer, nonce, n);
	rc = t->quote(t->ctx, t->key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &data, &scheme,
		      &sel, &message, &sig);
	if (rc != TSS2_RC_SUCCESS)
		return said(rc, "quote", e);
	q->message.n = message->size < TPM_BLOB_MAX ? message->size : 0;
	memcpy(q->message.p, message->attestationData, q->message.n);
	t->free(message);
	return put_signature(t, sig, &q->signature, e);
}

int tpm_quote(const char *tcti, const uint8_t *nonce, size_t n, uint32_t pcrs,
	      struct tpm_quote *ret, struct err *e)
{
	AUTO_TPM t = { .ctx = NULL };
	struct tpm_quote q = { .message = { .n = 0 } };
	int r = tpm_open(tcti, &t, e);

	if (r >= 0 && n > 32)
		return err_set(e, ERR_INPUT, EINVAL, "a nonce has at most 32 bytes");
	if (r >= 0)
		r = make_key(&t, true, &q.key, e);
	if (r >= 0)
		r = do_quote(&t, nonce, n, pcrs, &q, e);
	if (r >= 0)
		*ret = q;
	return r;
}

int tpm_sign(const char *tcti, const uint8_t digest[32], struct tpm_blob *ret_key,
	     struct tpm_blob *ret_signature, struct err *e)
{
	/* cppcheck-suppress legacyUninitvar ; it is set right here */
	const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
	const TPMT_TK_HASHCHECK ticket = { .tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL };
	TPM2B_DIGEST d = { .size = 32 };
	TPMT_SIGNATURE *sig = NULL;
	AUTO_TPM t = { .ctx = NULL };
	TSS2_RC rc;
	int r = tpm_open(tcti, &t, e);

	if (r >= 0)
		r = make_key(&t, false, ret_key, e);
	if (r < 0)
		return r;
	memcpy(d.buffer, digest, 32);
	rc = t.sign(t.ctx, t.key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &d, &scheme,
		    &ticket, &sig);
	return rc == TSS2_RC_SUCCESS ? put_signature(&t, sig, ret_signature, e)
				     : said(rc, "sign", e);
}

/* ---- the endorsement key ---- */

#define EK_CERT_INDEX 0x01c00002u
enum { NV_STEP = 512 };

/* The index of a maker is readable with its own, empty, authorization. */
static int read_index(struct tpm *t, ESYS_TR nv, size_t size, struct buf *out, struct err *e)
{
	for (size_t at = 0; at < size;) {
		UINT16 n = (UINT16)(size - at < NV_STEP ? size - at : NV_STEP);
		TPM2B_MAX_NV_BUFFER *data = NULL;
		TSS2_RC rc = t->nv_read(t->ctx, nv, nv, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					ESYS_TR_NONE, n, (UINT16)at, &data);
		int r;

		if (rc != TSS2_RC_SUCCESS)
			return said(rc, "read its EK certificate", e);
		r = data->size == n ? buf_add(out, data->buffer, n, e)
				    : said(0, "read its whole EK certificate", e);
		t->free(data);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

int tpm_ek_certificate(const char *tcti, struct buf *out, struct err *e)
{
	AUTO_TPM t = { .ctx = NULL };
	TPM2B_NV_PUBLIC *public = NULL;
	TPM2B_NAME *name = NULL;
	ESYS_TR nv = ESYS_TR_NONE;
	size_t size;
	TSS2_RC rc;
	int r = tpm_open(tcti, &t, e);

	if (r < 0)
		return r;
	rc = t.at(t.ctx, EK_CERT_INDEX, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &nv);
	if (rc == TSS2_RC_SUCCESS)
		rc = t.nv_public(t.ctx, nv, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public,
				 &name);
	if (rc != TSS2_RC_SUCCESS)
		return err_set(e, ERR_HOST, ENOENT, "the TPM holds none for RSA 2048");
	size = public->nvPublic.dataSize;
	t.free(public);
	t.free(name);
	return read_index(&t, nv, size, out, e);
}

/* Template L-1: what the maker's certificate is for. */
static int make_ek(struct tpm *t, struct err *e)
{
	static const uint8_t policy[32] = {
		0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc,
		0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
		0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
	};
	const TPM2B_SENSITIVE_CREATE sensitive = { .size = 0 };
	const TPM2B_DATA outside = { .size = 0 };
	const TPML_PCR_SELECTION none = { .count = 0 };
	TPM2B_PUBLIC template = {
		.publicArea = {
			.type = TPM2_ALG_RSA,
			.nameAlg = TPM2_ALG_SHA256,
			.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
					    TPMA_OBJECT_SENSITIVEDATAORIGIN |
					    TPMA_OBJECT_ADMINWITHPOLICY | TPMA_OBJECT_RESTRICTED |
					    TPMA_OBJECT_DECRYPT,
			.authPolicy.size = sizeof(policy),
			.parameters.rsaDetail = {
				.symmetric = { .algorithm = TPM2_ALG_AES,
					       .keyBits.aes = 128,
					       .mode.aes = TPM2_ALG_CFB },
				.keyBits = 2048,
			},
			.unique.rsa.size = 256,
		},
	};
	TSS2_RC rc;

	template.publicArea.parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
	memcpy(template.publicArea.authPolicy.buffer, policy, sizeof(policy));
	rc = t->create(t->ctx, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
		       &sensitive, &template, &outside, &none, &t->ek, NULL, NULL, NULL, NULL);
	return rc == TSS2_RC_SUCCESS ? 0 : said(rc, "make its endorsement key", e);
}

/* The EK's policy: whoever may use the endorsement hierarchy may use it. */
static int allow_ek(struct tpm *t, struct err *e)
{
	const TPMT_SYM_DEF sym = { .algorithm = TPM2_ALG_NULL };
	const TPM2B_NONCE nonce = { .size = 0 };
	const TPM2B_DIGEST cp = { .size = 0 };
	TSS2_RC rc =
		t->session(t->ctx, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
			   ESYS_TR_NONE, NULL, TPM2_SE_POLICY, &sym, TPM2_ALG_SHA256, &t->auth);

	if (rc == TSS2_RC_SUCCESS)
		rc = t->policy(t->ctx, ESYS_TR_RH_ENDORSEMENT, t->auth, ESYS_TR_PASSWORD,
			       ESYS_TR_NONE, ESYS_TR_NONE, &nonce, &cp, &nonce, 0, NULL, NULL);
	return rc == TSS2_RC_SUCCESS ? 0 : said(rc, "allow its endorsement key", e);
}

/* Two bytes of size and as many bytes; to max. */
static bool sized(const struct buf *b, uint8_t *to, size_t max, UINT16 *ret_n)
{
	size_t n = b->n >= 2 ? (size_t)(uint8_t)b->p[0] << 8 | (uint8_t)b->p[1] : max + 1;

	if (n > max || b->n != n + 2)
		return false;
	memcpy(to, b->p + 2, n);
	*ret_n = (UINT16)n;
	return true;
}

int tpm_activate(const char *tcti, const struct buf *credential, const struct buf *seed,
		 struct tpm_blob *ret, struct err *e)
{
	TPM2B_ID_OBJECT object = { .size = 0 };
	TPM2B_ENCRYPTED_SECRET sealed = { .size = 0 };
	AUTO_TPM t = { .ctx = NULL };
	TPM2B_DIGEST *secret = NULL;
	struct tpm_blob key;
	TSS2_RC rc;
	int r;

	if (!sized(credential, object.credential, sizeof(object.credential), &object.size) ||
	    !sized(seed, sealed.secret, sizeof(sealed.secret), &sealed.size))
		return err_set(e, ERR_INPUT, EBADMSG, "what should be a credential is none");
	r = tpm_open(tcti, &t, e);
	if (r >= 0)
		r = make_key(&t, true, &key, e);
	if (r >= 0)
		r = make_ek(&t, e);
	if (r >= 0)
		r = allow_ek(&t, e);
	if (r < 0)
		return r;
	rc = t.activate(t.ctx, t.key, t.ek, ESYS_TR_PASSWORD, t.auth, ESYS_TR_NONE, &object,
			&sealed, &secret);
	if (rc != TSS2_RC_SUCCESS)
		return said(rc, "answer the challenge: it was made for another TPM or key", e);
	ret->n = secret->size;
	memcpy(ret->p, secret->buffer, secret->size);
	t.free(secret);
	return 0;
}

/* ---- the anchor ---- */

/* A format-one response code with its handle, parameter or session number taken out. */
static bool is_code(TSS2_RC rc, TSS2_RC want)
{
	return (rc & 0xffu) == (want & 0xffu) && (rc & TPM2_RC_FMT1) == (want & TPM2_RC_FMT1);
}

/* ESYS_TR_NONE when there is no such index. */
static int find_anchor(struct tpm *t, ESYS_TR *ret, struct err *e)
{
	TSS2_RC rc = t->at(t->ctx, TPM_ANCHOR_INDEX, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ret);

	if (rc == TSS2_RC_SUCCESS)
		return 0;
	*ret = ESYS_TR_NONE;
	return (rc & (TPM2_RC_FMT1 | 0x3f)) == TPM2_RC_HANDLE ? 0 : said(rc, "find the anchor", e);
}

static int make_anchor(struct tpm *t, ESYS_TR *ret, struct err *e)
{
	const TPM2B_AUTH none = { .size = 0 };
	const TPM2B_NV_PUBLIC index = {
		.nvPublic = {
			.nvIndex = TPM_ANCHOR_INDEX,
			.nameAlg = TPM2_ALG_SHA256,
			.attributes = (TPM2_NT_EXTEND << TPMA_NV_TPM2_NT_SHIFT) | TPMA_NV_AUTHREAD |
				      TPMA_NV_AUTHWRITE | TPMA_NV_OWNERREAD | TPMA_NV_NO_DA,
			.dataSize = 32,
		},
	};
	TSS2_RC rc = t->nv_define(t->ctx, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
				  ESYS_TR_NONE, &none, &index, ret);

	return rc == TSS2_RC_SUCCESS ? 0 : said(rc, "make the anchor", e);
}

int tpm_anchor_read(const char *tcti, uint8_t ret[32], bool *ret_found, struct err *e)
{
	AUTO_TPM t = { .ctx = NULL };
	TPM2B_MAX_NV_BUFFER *data = NULL;
	ESYS_TR nv = ESYS_TR_NONE;
	TSS2_RC rc;
	bool whole;
	int r = tpm_open(tcti, &t, e);

	if (r >= 0)
		r = find_anchor(&t, &nv, e);
	if (r < 0)
		return r;
	*ret_found = nv != ESYS_TR_NONE;
	memset(ret, 0, 32);
	if (!*ret_found)
		return 0;
	rc = t.nv_read(t.ctx, nv, nv, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, 32, 0, &data);
	if (is_code(rc, TPM2_RC_NV_UNINITIALIZED))
		return 0;
	if (rc != TSS2_RC_SUCCESS)
		return said(rc, "read the anchor", e);
	whole = data->size == 32;
	if (whole)
		memcpy(ret, data->buffer, 32);
	t.free(data);
	return whole ? 0 : said(0, "read the whole anchor", e);
}

int tpm_anchor_extend(const char *tcti, const uint8_t (*hash)[32], size_t n, struct err *e)
{
	TPM2B_MAX_NV_BUFFER data = { .size = 32 };
	AUTO_TPM t = { .ctx = NULL };
	ESYS_TR nv = ESYS_TR_NONE;
	int r = tpm_open(tcti, &t, e);

	if (r >= 0)
		r = find_anchor(&t, &nv, e);
	if (r >= 0 && nv == ESYS_TR_NONE)
		r = make_anchor(&t, &nv, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		TSS2_RC rc;

		memcpy(data.buffer, hash[i], 32);
		rc = t.nv_extend(t.ctx, nv, nv, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
				 &data);
		if (rc != TSS2_RC_SUCCESS)
			r = said(rc, "extend the anchor", e);
	}
	return r;
}
