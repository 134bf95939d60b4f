/* SPDX-License-Identifier: Apache-2.0 */
#include "bootctl/secureboot.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/sys.h"
#include "base/text.h"
#include "bootctl/loader_vars.h"
#include "bootctl/pe.h"

enum { LIST_HEAD = 28, OWNER = 16, WIN_CERT_PKCS7 = 2 };

static void p7_freep(PKCS7 **p)
{
	PKCS7_free(*p);
}
#define AUTO_P7 __attribute__((cleanup(p7_freep))) PKCS7
static void x509_freep(X509 **p)
{
	X509_free(*p);
}
#define AUTO_X509 __attribute__((cleanup(x509_freep))) X509
static void store_freep(X509_STORE **p)
{
	X509_STORE_free(*p);
}
#define AUTO_STORE __attribute__((cleanup(store_freep))) X509_STORE
static void bio_freep(BIO **p)
{
	(void)BIO_free(*p);
}
#define AUTO_BIO __attribute__((cleanup(bio_freep))) BIO
static void x509s_freep(STACK_OF(X509) * *p)
{
	sk_X509_free(*p);
}
#define AUTO_X509S __attribute__((cleanup(x509s_freep))) STACK_OF(X509)

/* ---- signature lists ---- */

static const struct {
	uint8_t guid[16];
	enum sb_sig_kind kind;
	uint32_t bytes; /* 0: any */
} sig_types[] = {
	{ { 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b,
	    0xf0, 0x72 },
	  SB_SIG_X509,
	  0 },
	{ { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93,
	    0x43, 0x28 },
	  SB_SIG_SHA256,
	  SHA256_BYTES },
	{ { 0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1,
	    0x03, 0xed },
	  SB_SIG_X509_SHA256,
	  SHA256_BYTES + 16 },
};

static int walk_list(const uint8_t *p, uint32_t size, uint32_t sig_size, sb_sig_fn fn, void *arg)
{
	size_t t = 0;

	while (t < 3 && memcmp(p - LIST_HEAD, sig_types[t].guid, 16) != 0)
		t++;
	if (t == 3 || (sig_types[t].bytes && sig_size != OWNER + sig_types[t].bytes))
		return 0;
	p += le32_get(p - LIST_HEAD + 20);
	for (uint32_t i = 0; i < size / sig_size; i++, p += sig_size) {
		struct sb_sig sig = { sig_types[t].kind, p + OWNER, sig_size - OWNER };
		int r = fn(arg, &sig);

		if (r != 0)
			return r;
	}
	return 0;
}

int sb_siglist_walk(const uint8_t *p, size_t n, sb_sig_fn fn, void *arg, struct err *e)
{
	while (n > 0) {
		uint32_t list, head, sig, room;
		int r;

		if (n < LIST_HEAD)
			return err_set(e, ERR_INPUT, EBADMSG, "signature list is cut off");
		list = le32_get(p + 16);
		head = le32_get(p + 20);
		sig = le32_get(p + 24);
		if (list < LIST_HEAD || list > n || head > list - LIST_HEAD || sig <= OWNER)
			return err_set(e, ERR_INPUT, EBADMSG, "signature list has wrong sizes");
		room = list - LIST_HEAD - head;
		if (room % sig != 0)
			return err_set(e, ERR_INPUT, EBADMSG, "signature list has wrong sizes");
		r = walk_list(p + LIST_HEAD, room, sig, fn, arg);
		if (r != 0)
			return r;
		p += list;
		n -= list;
	}
	return 0;
}

/* Looks for one hash of a kind: 32 bytes at the front of the signature. */
struct hash_search {
	enum sb_sig_kind kind;
	const uint8_t *hash;
};

static int hash_equal(void *arg, const struct sb_sig *sig)
{
	const struct hash_search *s = arg;

	return sig->kind == s->kind && memcmp(sig->p, s->hash, SHA256_BYTES) == 0;
}

static int hash_in(const uint8_t *list, size_t n, enum sb_sig_kind kind, const uint8_t *hash,
		   struct err *e)
{
	struct hash_search s = { kind, hash };

	return sb_siglist_walk(list, n, hash_equal, &s, e);
}

/* ---- one Authenticode signature ---- */

struct signature {
	PKCS7 *p7;
	const uint8_t *content; /* SpcIndirectDataContent without its own tag and length */
	size_t content_n;
	uint8_t digest[SHA256_BYTES]; /* of the image, as signed */
};

/* One DER element at *p: its tag, its content; *p moves behind it. */
static bool der_next(const uint8_t **p, const uint8_t *end, uint8_t *tag, const uint8_t **ret,
		     size_t *ret_n)
{
	const uint8_t *s = *p;
	size_t n, bytes;

	if (end - s < 2)
		return false;
	*tag = s[0];
	n = s[1];
	s += 2;
	if (n & 0x80) {
		bytes = n & 0x7f;
		if (bytes == 0 || bytes > 4 || (size_t)(end - s) < bytes)
			return false;
		for (n = 0; bytes > 0; bytes--)
			n = n << 8 | *s++;
	}
	if ((size_t)(end - s) < n)
		return false;
	*ret = s;
	*ret_n = n;
	*p = s + n;
	return true;
}

/* SEQUENCE { data, SEQUENCE { SEQUENCE { OID sha256, ... }, OCTET STRING digest } } */
static bool read_digest(struct signature *s)
{
	static const uint8_t sha256_oid[] = { 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
					      0x65, 0x03, 0x04, 0x02, 0x01 };
	const uint8_t *p = s->content, *end = p + s->content_n, *v, *alg;
	size_t n, alg_n;
	uint8_t tag;

	if (!der_next(&p, end, &tag, &v, &n) || tag != 0x30)
		return false;
	if (!der_next(&p, end, &tag, &v, &n) || tag != 0x30 || p != end)
		return false;
	p = v;
	end = v + n;
	if (!der_next(&p, end, &tag, &alg, &alg_n) || tag != 0x30 || alg_n < sizeof(sha256_oid) ||
	    memcmp(alg, sha256_oid, sizeof(sha256_oid)) != 0)
		return false;
	if (!der_next(&p, end, &tag, &v, &n) || tag != 0x04 || n != SHA256_BYTES || p != end)
		return false;
	memcpy(s->digest, v, SHA256_BYTES);
	return true;
}

static bool signature_open(const uint8_t *der, size_t n, struct signature *ret)
{
	const uint8_t *p = der, *seq, *end;
	struct signature s = { .p7 = NULL };
	AUTO_P7 *p7 = d2i_PKCS7(NULL, &p, (long)n);
	const ASN1_TYPE *other;
	char oid[64] = "";
	uint8_t tag;

	if (!p7 || !PKCS7_type_is_signed(p7) || !p7->d.sign || !p7->d.sign->contents)
		return false;
	(void)OBJ_obj2txt(oid, sizeof(oid), p7->d.sign->contents->type, 1);
	if (strcmp(oid, "1.3.6.1.4.1.311.2.1.4") != 0)
		return false;
	other = p7->d.sign->contents->d.other;
	if (!other || other->type != V_ASN1_SEQUENCE || !other->value.sequence)
		return false;
	seq = other->value.sequence->data;
	end = seq + other->value.sequence->length;
	if (!der_next(&seq, end, &tag, &s.content, &s.content_n) || tag != 0x30)
		return false;
	if (!read_digest(&s))
		return false;
	s.p7 = TAKE(p7);
	*ret = s;
	return true;
}

/* Common name of who signed, cleaned for a terminal; the whole subject when there is none. */
static void signer_name(PKCS7 *p7, char *out, size_t cap)
{
	AUTO_X509S *signers = PKCS7_get0_signers(p7, NULL, 0);
	X509 *x = signers ? sk_X509_value(signers, 0) : NULL;
	char text[256];
	int n = -1;

	if (x)
		n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text,
					      sizeof(text));
	if (x && n <= 0)
		n = X509_NAME_oneline(X509_get_subject_name(x), text, sizeof(text))
			    ? (int)strlen(text)
			    : -1;
	if (n <= 0)
		n = snprintf(text, sizeof(text), "an unknown signer");
	if ((size_t)n >= sizeof(text))
		n = sizeof(text) - 1;
	(void)text_clean(text, (size_t)n, out, cap);
}

/* Does the signature hold, with anchor as the only thing trusted? As EDK2 asks OpenSSL. */
static bool chains_to(const struct signature *s, X509 *anchor)
{
	AUTO_STORE *store = X509_STORE_new();
	AUTO_BIO *in = BIO_new_mem_buf(s->content, (int)s->content_n);
	bool ok = store && in && X509_STORE_add_cert(store, anchor) == 1 &&
		  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN |
						      X509_V_FLAG_NO_CHECK_TIME) == 1 &&
		  X509_STORE_set_purpose(store, X509_PURPOSE_ANY) == 1 &&
		  PKCS7_verify(s->p7, NULL, store, in, NULL, PKCS7_BINARY) == 1;

	ERR_clear_error();
	return ok;
}

static bool tbs_hash(X509 *x, uint8_t ret[SHA256_BYTES])
{
	unsigned char *der = NULL;
	int n = i2d_re_X509_tbs(x, &der);

	if (n <= 0)
		return false;
	sha256(der, (size_t)n, ret);
	OPENSSL_free(der);
	return true;
}

struct chain_search {
	const struct signature *s;
	const uint8_t *dbx; /* NULL while dbx itself is searched */
	size_t dbx_n;
	struct sb_sig found;
};

static int cert_vouches(void *arg, const struct sb_sig *sig)
{
	struct chain_search *c = arg;
	const uint8_t *p = sig->p;
	AUTO_X509 *x = NULL;
	uint8_t tbs[SHA256_BYTES];

	if (sig->kind != SB_SIG_X509)
		return 0;
	x = d2i_X509(NULL, &p, (long)sig->n);
	ERR_clear_error();
	if (!x || !chains_to(c->s, x))
		return 0;
	/* a certificate in db whose hash stands in dbx counts for nothing */
	if (c->dbx &&
	    (!tbs_hash(x, tbs) || hash_in(c->dbx, c->dbx_n, SB_SIG_X509_SHA256, tbs, NULL) != 0))
		return 0;
	c->found = *sig;
	return 1;
}

/* > 0 when dbx forbids a certificate of this signature. */
static int is_forbidden(const struct signature *s, const uint8_t *dbx, size_t dbx_n, struct err *e)
{
	struct chain_search c = { .s = s };
	const STACK_OF(X509) *certs = s->p7->d.sign->cert;
	int r = sb_siglist_walk(dbx, dbx_n, cert_vouches, &c, e);

	for (int i = 0; r == 0 && certs && i < sk_X509_num(certs); i++) {
		uint8_t tbs[SHA256_BYTES];

		if (!tbs_hash(sk_X509_value(certs, i), tbs))
			return 1;
		r = hash_in(dbx, dbx_n, SB_SIG_X509_SHA256, tbs, e);
	}
	return r;
}

/* ---- the verdict ---- */

struct dbs {
	const uint8_t *db, *dbx;
	size_t db_n, dbx_n;
	bool signer_only; /* the image's own digest is not known yet */
};

static int refuse(struct sb_verdict *v, const char *why)
{
	v->accepted = false;
	if (v->signer[0])
		(void)snprintf(v->text, sizeof(v->text), "its UKI is signed by \"%s\", %s",
			       v->signer, why);
	else
		(void)snprintf(v->text, sizeof(v->text), "its UKI %s", why);
	return 1;
}

/* 1: the verdict is final (dbx); 0: go on, v->accepted says what this signature brought. */
static int judge_signature(const struct pe *pe, const struct pe_cert *cert, const struct dbs *d,
			   const uint8_t hash[SHA256_BYTES], struct sb_verdict *v, struct err *e)
{
	AUTO_FREE uint8_t *der = malloc(cert->bytes ? cert->bytes : 1);
	struct signature s = { .p7 = NULL };
	AUTO_P7 *p7 = NULL;
	struct chain_search c = { .s = &s, .dbx = d->dbx, .dbx_n = d->dbx_n };
	struct sb_verdict now = { .accepted = false };
	int r;

	if (!der)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = sys_read_full(pe->sys, pe->fd, der, cert->bytes, cert->off);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "cannot read a signature: %s", strerror(-r));
	if (cert->type != WIN_CERT_PKCS7 || !signature_open(der, cert->bytes, &s)) {
		ERR_clear_error();
		if (!v->accepted && !v->text[0])
			(void)refuse(v, "has a signature that is not Authenticode with SHA-256");
		return 0;
	}
	p7 = s.p7;
	signer_name(p7, now.signer, sizeof(now.signer));
	if (!d->signer_only && memcmp(s.digest, hash, SHA256_BYTES) != 0) {
		(void)refuse(&now, "but was changed after that");
	} else {
		r = is_forbidden(&s, d->dbx, d->dbx_n, e);
		if (r < 0)
			return r;
		if (r > 0) {
			*v = now;
			return refuse(v, "which this firmware's dbx forbids");
		}
		r = sb_siglist_walk(d->db, d->db_n, cert_vouches, &c, e);
		if (r < 0)
			return r;
		now.accepted = r > 0;
		now.by = c.found.p;
		now.by_n = c.found.n;
		(void)snprintf(now.text, sizeof(now.text), "its UKI is signed by \"%s\", %s",
			       now.signer,
			       r > 0 ? "which this firmware's db vouches for"
				     : "which this firmware's db does not hold");
	}
	if (!v->accepted)
		*v = now;
	return 0;
}

/* Not by the signatures: by the image's own hash. */
static int judge_hash(const struct pe *pe, const struct dbs *d, uint8_t hash[SHA256_BYTES],
		      struct err *e)
{
	int r = d->signer_only ? 0 : pe_hash(pe, hash, e);

	if (r < 0 || d->signer_only)
		return r;
	return hash_in(d->dbx, d->dbx_n, SB_SIG_SHA256, hash, e);
}

static int is_hash(void *arg, const struct sb_sig *sig)
{
	(void)arg;
	return sig->kind == SB_SIG_SHA256;
}

static int judge(const struct pe *pe, const struct dbs *by, struct sb_verdict *ret, struct err *e)
{
	const struct dbs d = *by;
	struct sb_verdict v = { .accepted = false };
	struct pe_cert certs[PE_CERTS_MAX];
	uint8_t hash[SHA256_BYTES] = { 0 };
	size_t n = 0;
	int r = judge_hash(pe, &d, hash, e);

	if (r > 0) {
		(void)refuse(&v, "is forbidden by its hash in this firmware's dbx");
		*ret = v;
		return 0;
	}
	if (r == 0)
		r = pe_certs(pe, certs, &n, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = judge_signature(pe, &certs[i], &d, hash, &v, e);
	if (r < 0)
		return r;
	if (r == 0 && !v.accepted && d.signer_only) {
		r = sb_siglist_walk(d.db, d.db_n, is_hash, NULL, e);
		if (r < 0)
			return r;
		v.accepted = r > 0; /* it may be this image's */
		if (r == 0 && n == 0)
			(void)refuse(&v, "is not signed, and this firmware enforces Secure Boot");
	} else if (r == 0 && !v.accepted) {
		r = hash_in(d.db, d.db_n, SB_SIG_SHA256, hash, e);
		if (r < 0)
			return r;
		v.accepted = r > 0;
		if (r > 0)
			(void)snprintf(v.text, sizeof(v.text),
				       "its UKI's hash is in this firmware's db");
		else if (n == 0)
			(void)refuse(&v, "is not signed, and this firmware enforces Secure Boot");
	}
	*ret = v;
	return 0;
}

int sb_judge(const struct pe *pe, const uint8_t *db, size_t db_n, const uint8_t *dbx, size_t dbx_n,
	     struct sb_verdict *ret, struct err *e)
{
	const struct dbs d = { db, dbx ? dbx : (const uint8_t *)"", db_n, dbx_n, false };

	return judge(pe, &d, ret, e);
}

/* One flag byte of the firmware; absent is 0. */
static int read_flag(struct sys *sys, int efivars, const char *name, bool *ret, struct err *e)
{
	AUTO_FREE uint8_t *p = NULL;
	size_t n = 0;
	int r = efivar_read(sys, efivars, name, 16, &p, &n, e);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret = r >= 0 && n > 0 && p[0] == 1;
	return 0;
}

int sb_state_read(struct sys *sys, int efivars, struct sb_state *ret, struct err *e)
{
	struct sb_state s = { .efi = efivars >= 0 };
	int r = 0;

	if (s.efi)
		r = read_flag(sys, efivars, "SecureBoot-" EFI_GLOBAL_GUID, &s.enforced, e);
	if (r >= 0 && s.efi)
		r = read_flag(sys, efivars, "SetupMode-" EFI_GLOBAL_GUID, &s.setup_mode, e);
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

static int read_db(struct sys *sys, int efivars, const char *name, uint8_t **ret, size_t *ret_n,
		   struct err *e)
{
	int r = efivar_read(sys, efivars, name, SB_DB_BYTES_MAX, ret, ret_n, e);

	return r == -ENOENT ? 0 : r;
}

static int check(struct sys *sys, int efivars, int fd, bool signer_only, struct sb_verdict *ret,
		 struct err *e)
{
	AUTO_FREE uint8_t *db = NULL, *dbx = NULL;
	AUTO_FREE struct pe *pe = malloc(sizeof(*pe));
	struct dbs d = { .dbx = (const uint8_t *)"", .signer_only = signer_only };
	struct sb_verdict v = { .accepted = true };
	struct sb_state s;
	int r = sb_state_read(sys, efivars, &s, e);

	if (r < 0)
		return r;
	if (!pe)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!s.enforced) {
		(void)snprintf(
			v.text, sizeof(v.text), "%s",
			s.efi ? "Secure Boot is off, so the firmware starts any UKI"
			      : "this machine has no EFI variables, so nothing checks its UKI");
		*ret = v;
		return 0;
	}
	r = read_db(sys, efivars, "db-" EFI_DB_GUID, &db, &d.db_n, e);
	if (r >= 0)
		r = read_db(sys, efivars, "dbx-" EFI_DB_GUID, &dbx, &d.dbx_n, e);
	if (r >= 0)
		r = pe_open(sys, fd, pe, e);
	if (r < 0)
		return r;
	d.db = db;
	d.dbx = dbx ? dbx : d.dbx;
	r = judge(pe, &d, &v, e);
	if (r < 0)
		return r;
	v.by = NULL; /* db goes */
	v.by_n = 0;
	*ret = v;
	return 0;
}

int sb_check(struct sys *sys, int efivars, int fd, struct sb_verdict *ret, struct err *e)
{
	return check(sys, efivars, fd, false, ret, e);
}

int sb_check_signer(struct sys *sys, int efivars, int fd, struct sb_verdict *ret, struct err *e)
{
	return check(sys, efivars, fd, true, ret, e);
}
