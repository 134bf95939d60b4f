/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "base/text.h"
#include "bootctl/secureboot.h"
#include "updater/audit/audit.h"

enum { NAME_MAX_ = 300, CERTS_MAX = 64 };

struct walk {
	json_t *list;
	struct sigdb_counts c;
	int64_t now;
	struct err *e;
};

static int put_name(json_t *o, const char *key, const X509_NAME *name, struct err *e)
{
	char raw[NAME_MAX_] = "", clean[NAME_MAX_];

	if (!X509_NAME_oneline(name, raw, sizeof(raw)))
		raw[0] = '\0';
	return json_put_str(o, key, text_clean(raw, strlen(raw), clean, sizeof(clean)), e);
}

static int put_time(json_t *o, const char *key, const ASN1_TIME *t, int64_t *ret, struct err *e)
{
	struct tm tm;

	if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
		return 0;
	*ret = (int64_t)timegm(&tm);
	return json_put_time(o, key, *ret, e);
}

static int put_cert(struct walk *w, const struct sb_sig *sig, json_t *o)
{
	const uint8_t *p = sig->p;
	X509 *x = d2i_X509(NULL, &p, (long)sig->n);
	uint8_t h[SHA256_BYTES];
	int64_t from = 0, to = INT64_MAX;
	int r;

	ERR_clear_error();
	sha256(sig->p, sig->n, h);
	r = json_put_hex(o, "sha256", h, sizeof(h), w->e);
	if (!x)
		return r < 0 ? r : json_put_str(o, "subject", "not a certificate", w->e);
	if (r >= 0)
		r = put_name(o, "subject", X509_get_subject_name(x), w->e);
	if (r >= 0)
		r = put_name(o, "issuer", X509_get_issuer_name(x), w->e);
	if (r >= 0)
		r = put_time(o, "not_before", X509_get0_notBefore(x), &from, w->e);
	if (r >= 0)
		r = put_time(o, "not_after", X509_get0_notAfter(x), &to, w->e);
	w->c.expired += to < w->now;
	X509_free(x);
	return r;
}

static int see(void *arg, const struct sb_sig *sig)
{
	struct walk *w = arg;
	AUTO_JSON *o = NULL;
	int r;

	w->c.sha256 += sig->kind == SB_SIG_SHA256;
	w->c.x509_sha256 += sig->kind == SB_SIG_X509_SHA256;
	if (sig->kind != SB_SIG_X509)
		return 0;
	if (++w->c.x509 > CERTS_MAX)
		return 0;
	o = json_object();
	r = put_cert(w, sig, o);
	return r < 0 ? r : json_push(w->list, json_incref(o), w->e);
}

int sigdb_describe(const uint8_t *p, size_t n, int64_t now, json_t **ret, struct sigdb_counts *c,
		   struct err *e)
{
	struct walk w = { .list = json_array(), .now = now, .e = e };
	int r = sb_siglist_walk(p, n, see, &w, e);

	if (r < 0) {
		json_decref(w.list);
		return r;
	}
	*ret = w.list;
	*c = w.c;
	return 0;
}
