/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/post.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "updater/fetch/transfer.h"

/* --- TLS --- */

static int copy(const struct wire_pem *from, uint8_t **p, size_t *n, struct err *e)
{
	uint8_t *mem = from->n ? malloc(from->n) : NULL;

	if (from->n && !mem)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (mem)
		memcpy(mem, from->p, from->n);
	*p = mem;
	*n = from->n;
	return 0;
}

void fetch_tls_done(struct fetch_tls *t)
{
	if (t->key)
		explicit_bzero(t->key, t->key_n);
	free(t->ca);
	free(t->cert);
	free(t->key);
	memset(t, 0, sizeof(*t));
}

int fetch_tls_set(struct fetch_tls *t, const struct wire_tls *m, struct err *e)
{
	int r;

	fetch_tls_done(t);
	r = copy(&m->ca, &t->ca, &t->ca_n, e);
	if (r == 0)
		r = copy(&m->cert, &t->cert, &t->cert_n, e);
	if (r == 0)
		r = copy(&m->key, &t->key, &t->key_n, e);
	return r;
}

static CURLcode set_blob(CURL *h, CURLoption what, const uint8_t *p, size_t n)
{
	struct curl_blob b = { .len = n, .flags = CURL_BLOB_COPY };

	memcpy(&b.data, &p, sizeof(p)); /* its type is older than const; it is copied */
	return curl_easy_setopt(h, what, &b);
}

static CURLcode set_tls(CURL *h, const struct fetch_settings *s, const struct fetch_tls *t)
{
	CURLcode c = curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);

	if (t->ca) {
		/* those named and nobody else */
		c |= set_blob(h, CURLOPT_CAINFO_BLOB, t->ca, t->ca_n);
		c |= curl_easy_setopt(h, CURLOPT_CAINFO, NULL);
		c |= curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
	} else if (s->ca) {
		c |= curl_easy_setopt(h, CURLOPT_CAINFO, s->ca);
		c |= curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
	}
	if (t->cert) {
		c |= set_blob(h, CURLOPT_SSLCERT_BLOB, t->cert, t->cert_n);
		c |= set_blob(h, CURLOPT_SSLKEY_BLOB, t->key ? t->key : t->cert,
			      t->key ? t->key_n : t->cert_n);
	}
	return c;
}

/* --- asking --- */

static size_t on_answer(char *data, size_t size, size_t n, void *arg)
{
	struct fetch_post *p = arg;

	n *= size;
	if (n > WIRE_BODY_MAX - p->n) {
		p->too_long = true;
		return 0;
	}
	memcpy(p->answer + p->n, data, n);
	p->n += n;
	return n;
}

static CURLcode set_fields(struct fetch_post *p, uint32_t flags)
{
	/* no "100-continue": a round trip more, and not every server knows it */
	static const char *const lines[] = { "Content-Type: application/json",
					     "Expect:", "fleet-lock-protocol: true" };
	size_t n = flags & WIRE_POST_FLEETLOCK ? 3 : 2;

	for (size_t i = 0; i < n; i++) {
		struct curl_slist *more = curl_slist_append(p->fields, lines[i]);

		if (!more)
			return CURLE_OUT_OF_MEMORY;
		p->fields = more;
	}
	return curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, p->fields);
}

static CURLcode set_post(struct fetch_post *p, const struct fetch_settings *s,
			 const struct wire_post *m)
{
	CURL *h = p->easy;
	CURLcode c = set_fields(p, m->flags);

	c |= curl_easy_setopt(h, CURLOPT_URL, m->url);
	c |= curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	c |= curl_easy_setopt(h, CURLOPT_USERAGENT, FETCH_AGENT);
	c |= curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	c |= curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
	c |= curl_easy_setopt(h, CURLOPT_FORBID_REUSE, 1L);
	c |= curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)s->connect_s);
	c |= curl_easy_setopt(h, CURLOPT_TIMEOUT, (long)m->deadline_s);
	c |= curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, (long)m->n);
	c |= curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, m->n ? (const char *)m->p : "");
	c |= curl_easy_setopt(h, CURLOPT_ERRORBUFFER, p->text);
	c |= curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_answer);
	c |= curl_easy_setopt(h, CURLOPT_WRITEDATA, p);
	return c;
}

void fetch_post_start(struct fetch_post *p, CURLM *multi, const struct fetch_settings *s,
		      const struct fetch_tls *t, const struct wire_msg *m)
{
	memset(p, 0, sizeof(*p));
	p->id = m->id;
	(void)snprintf(p->url, sizeof(p->url), "%s", m->post.url);
	p->answer = malloc(WIRE_BODY_MAX);
	p->easy = curl_easy_init();
	if (!p->answer || !p->easy || set_post(p, s, &m->post) != CURLE_OK ||
	    set_tls(p->easy, s, t) != CURLE_OK || curl_multi_add_handle(multi, p->easy) != CURLM_OK)
		fetch_post_fail(p, multi, ERR_HOST, "libcurl refuses to send (out of memory?)");
}

/* --- what came of it --- */

static void drop_handle(struct fetch_post *p, CURLM *multi)
{
	if (p->easy) {
		(void)curl_multi_remove_handle(multi, p->easy);
		curl_easy_cleanup(p->easy);
	}
	curl_slist_free_all(p->fields);
	p->easy = NULL;
	p->fields = NULL;
}

void fetch_post_fail(struct fetch_post *p, CURLM *multi, enum err_kind kind, const char *why)
{
	char text[WIRE_TEXT_MAX + 1];

	if (p->id == 0 || p->over)
		return;
	drop_handle(p, multi);
	(void)snprintf(text, sizeof(text), "%.170s: %.220s", p->url, why);
	p->last = (struct wire_msg){ .type = WIRE_FAIL, .id = p->id };
	p->last.fail.kind = kind;
	wire_text_set(p->last.fail.text, text);
	p->over = true;
}

void fetch_post_done(struct fetch_post *p, CURLM *multi, CURLcode code)
{
	struct err e = ERR_INIT;
	long status = 0;

	if (p->too_long) {
		fetch_post_fail(p, multi, ERR_REFUSED, "its answer is longer than 64 KiB");
		return;
	}
	if (code != CURLE_OK) {
		(void)!fetch_curl_err(code, p->text, &e);
		fetch_post_fail(p, multi, e.kind, e.text);
		return;
	}
	if (curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK ||
	    status < 100 || status > 999) {
		fetch_post_fail(p, multi, ERR_REFUSED, "its answer has no status");
		return;
	}
	drop_handle(p, multi);
	p->last = (struct wire_msg){ .type = WIRE_REPLY, .id = p->id };
	p->last.reply =
		(struct wire_reply){ .status = (uint32_t)status, .p = p->answer, .n = p->n };
	p->over = true;
}

int fetch_post_flush(struct fetch_post *p, int wire, struct err *e)
{
	int r = p->over ? wire_send(wire, &p->last, e) : 0;

	if (r < 0 || !p->over)
		return r;
	free(p->answer);
	memset(p, 0, sizeof(*p));
	return 0;
}

void fetch_post_stop(struct fetch_post *p, CURLM *multi)
{
	drop_handle(p, multi);
	free(p->answer);
	memset(p, 0, sizeof(*p));
}
