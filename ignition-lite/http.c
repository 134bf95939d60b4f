/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/buf.h"
#include "base/progress.h"
#include "base/text.h"
#include "ignition-lite/url.h"

enum { PAUSE_MAX_MS = 5000, CONNECT_S = 30, STALL_S = 60, HEADERS_MAX = 1 << 20 };

bool ign_http_again(enum ign_http_kind kind, unsigned status)
{
	if (status >= 500)
		return true;
	return kind == IGN_HTTP_IMDS && (status == 404 || status == 410 || status == 429);
}

unsigned ign_http_pause_ms(enum ign_http_kind kind, unsigned n)
{
	unsigned ms = kind == IGN_HTTP_IMDS ? 200 : 100;

	while (n-- > 2 && ms < PAUSE_MAX_MS)
		ms *= 2;
	return ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
}

static bool is_scheme(const char *url, const char *scheme)
{
	return strncasecmp(url, scheme, strlen(scheme)) == 0;
}

bool ign_http_may_follow(const char *from, const char *to)
{
	return is_scheme(to, "https://") ||
	       (is_scheme(to, "http://") && is_scheme(from, "http://"));
}

/* --- one request --- */

struct
try {
	const struct ign_http *h;
	const struct ign_http_sink *sink;
	CURL *easy;
	struct curl_slist *fields;
	struct err err; /* of the sink */
	size_t header_bytes;
	unsigned headers_s;
	uint64_t sent_ms; /* when the request was sent; 0: not yet */
	bool answered, slow, sunk;
	char text[CURL_ERROR_SIZE];
};

static void try_done(struct try *t)
{
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->fields);
}

static unsigned status_of(const struct try *t)
{
	long status = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return (unsigned)status;
}

static size_t on_header(const char *p, size_t size, size_t n, void *arg)
{
	struct try *t = arg;

	(void)p;
	t->answered = true;
	t->header_bytes += size * n;
	return t->header_bytes > HEADERS_MAX ? 0 : size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct try *t = arg;

	n *= size;
	/* an error page is not read: what it says is not for us */
	if (status_of(t) != 200)
		return 0;
	if (t->sink->add(t->sink->arg, p, n, &t->err) < 0) {
		t->sunk = true;
		return 0;
	}
	return n;
}

/* libcurl has no limit of its own for the time until an answer begins. */
static int on_time(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct try *t = arg;
	curl_off_t before = 0;

	(void)a, (void)b, (void)c, (void)d;
	if (t->answered || t->headers_s == 0)
		return 0;
	if (t->sent_ms == 0) {
		if (curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &before) == CURLE_OK &&
		    before > 0)
			t->sent_ms = clock_mono_ms();
		return 0;
	}
	t->slow = clock_mono_ms() - t->sent_ms > (uint64_t)t->headers_s * 1000;
	return t->slow;
}

static int add_field(struct try *t, const char *name, const char *value, struct err *e)
{
	AUTO_BUF line = { .max = HEADERS_MAX };
	struct curl_slist *more;
	/* libcurl: "Name;" sends a header without value, "Name:" would remove it */
	int r = value[0] ? buf_addf(&line, e, "%s: %s", name, value)
			 : buf_addf(&line, e, "%s;", name);

	if (r < 0)
		return r;
	more = curl_slist_append(t->fields, line.p);
	if (!more)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	t->fields = more;
	return 0;
}

static CURLcode set_proxy(struct try *t, const char *url)
{
	const char *proxy = is_scheme(url, "https:") ? t->h->proxy_https : t->h->proxy_http;
	AUTO_BUF none = { .max = HEADERS_MAX };
	CURLcode c = curl_easy_setopt(t->easy, CURLOPT_PROXY, proxy ? proxy : "");

	for (size_t i = 0; t->h->proxy_none && i < t->h->proxy_none->n; i++)
		if (buf_addf(&none, NULL, "%s%s", i ? "," : "", t->h->proxy_none->s[i]) < 0)
			return CURLE_OUT_OF_MEMORY;
	if (c == CURLE_OK)
		c = curl_easy_setopt(t->easy, CURLOPT_NOPROXY, none.n ? none.p : "");
	return c;
}

static CURLcode set_trust(struct try *t)
{
	static const CURLoption blobs[] = { CURLOPT_CAINFO_BLOB, CURLOPT_PROXY_CAINFO_BLOB };
	static const CURLoption paths[] = { CURLOPT_CAPATH, CURLOPT_PROXY_CAPATH };
	struct curl_blob ca = { .len = t->h->ca_n, .flags = CURL_BLOB_NOCOPY };
	CURLcode c = CURLE_OK;

	if (!t->h->ca)
		return CURLE_OK;
	memcpy(&ca.data, &t->h->ca, sizeof(ca.data)); /* is not written to */
	for (size_t i = 0; c == CURLE_OK && i < 2; i++) {
		c = curl_easy_setopt(t->easy, blobs[i], &ca);
		if (c == CURLE_OK)
			c = curl_easy_setopt(t->easy, paths[i], NULL);
	}
	return c;
}

static CURLcode set_all(struct try *t, const char *url, uint64_t left_ms)
{
	CURL *c = t->easy;
	CURLcode r = CURLE_OK;

#define SET(option, value)                                                                         \
	do {                                                                                       \
		if (r == CURLE_OK)                                                                 \
			r = curl_easy_setopt(c, option, value);                                    \
	} while (0)
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "ignition-lite/" PROA_VERSION);
	SET(CURLOPT_HTTPHEADER, t->fields);
	SET(CURLOPT_ERRORBUFFER, t->text);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_XFERINFOFUNCTION, on_time);
	SET(CURLOPT_XFERINFODATA, t);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
	SET(CURLOPT_TIMEOUT_MS, (long)left_ms);
	SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
	SET(CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
	SET(CURLOPT_HTTPPROXYTUNNEL, is_scheme(url, "https:") ? 1L : 0L);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
#undef SET
	if (r == CURLE_OK)
		r = set_proxy(t, url);
	return r == CURLE_OK ? set_trust(t) : r;
}

/* --- what came of it --- */

enum after { AFTER_DONE, AFTER_REDIRECT, AFTER_AGAIN };

/* Failures that the next try would meet again. */
static bool is_final(CURLcode c)
{
	static const CURLcode final[] = { CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE,
					  CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL,
					  CURLE_OUT_OF_MEMORY };

	for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
		if (final[i] == c)
			return true;
	return false;
}

static bool is_redirect(unsigned status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* An answer came, whole or not. */
static int judge_status(const struct ign_http_get *get, unsigned status, enum after *ret,
			struct err *e)
{
	*ret = is_redirect(status) ? AFTER_REDIRECT : AFTER_AGAIN;
	if (is_redirect(status))
		return 0;
	if (ign_http_again(get->kind, status))
		return err_set(e, ERR_RETRY, EAGAIN, "the server answers %u", status);
	return err_set(e, ERR_REFUSED, status == 404 ? ENOENT : EPROTO, "the server answers %u%s",
		       status,
		       status == 404                    ? " (not found)"
		       : status == 401 || status == 403 ? " (not allowed)"
							: "");
}

/* A proxy that made no tunnel; 0: that is not what went wrong. */
static int judge_proxy(const struct try *t, struct err *e)
{
	long status = 0;

	if (curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &status) != CURLE_OK ||
	    status == 0 || status / 100 == 2)
		return 0;
	return err_set(e, status >= 500 ? ERR_RETRY : ERR_REFUSED, EAGAIN, "the proxy answers %ld",
		       status);
}

static int judge(struct try *t, const struct ign_http_get *get, CURLcode c, enum after *ret,
		 struct err *e)
{
	const char *why = t->text[0] ? t->text : curl_easy_strerror(c);
	unsigned status = status_of(t);
	int r;

	if (t->sunk) {
		if (e)
			*e = t->err;
		return -t->err.os;
	}
	if (t->answered && status != 200 && status != 0)
		return judge_status(get, status, ret, e);
	*ret = AFTER_DONE;
	if (c == CURLE_OK && status == 200)
		return 0;
	*ret = AFTER_AGAIN;
	r = judge_proxy(t, e);
	if (r < 0)
		return r;
	if (t->slow)
		return err_set(e, ERR_RETRY, EAGAIN, "no answer within %u s", t->headers_s);
	if (is_final(c))
		return err_set(e, c == CURLE_OUT_OF_MEMORY ? ERR_HOST : ERR_REFUSED,
			       c == CURLE_OUT_OF_MEMORY ? ENOMEM : EACCES, "%s", why);
	return err_set(e, ERR_RETRY, EAGAIN, "%s", why);
}

static int where_to(const struct try *t, const char *url, struct buf *next, struct err *e)
{
	const char *to = NULL;

	if (curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || !to)
		return err_set(e, ERR_REFUSED, EPROTO, "the server redirects to nowhere");
	if (!ign_http_may_follow(url, to))
		return err_set(e, ERR_REFUSED, EPROTONOSUPPORT,
			       "the server redirects from https out of it, or to what is neither "
			       "http nor https; that is not followed");
	return buf_add(next, to, strlen(to), e);
}

static int set_fields(struct try *t, const struct ign_http_get *get, bool own, struct err *e)
{
	int r = 0;

	if (get->config)
		r = add_field(t, "Accept",
			      "application/vnd.coreos.ignition+json;version=3.5.0, */*;q=0.1", e);
	for (size_t i = 0; r == 0 && own && i < get->headers; i++)
		if (get->header[i].value)
			r = add_field(t, get->header[i].name, get->header[i].value, e);
	return r;
}

struct hop {
	const char *url;
	bool own_fields; /* the config's headers go to the server it names only */
	uint64_t left_ms;
	struct buf next; /* on AFTER_REDIRECT */
};

/* One GET. */
static int try_once(const struct ign_http *h, const struct ign_http_get *get, struct hop *hop,
		    const struct ign_http_sink *sink, enum after *ret, struct err *e)
{
	__attribute__((cleanup(try_done))) struct try t = {
		.h = h,
		.sink = sink,
		.headers_s = h->timeouts.has_headers ? h->timeouts.headers_s : IGN_HTTP_HEADERS_S,
	};
	int r = sink->begin(sink->arg, e);

	*ret = AFTER_DONE;
	if (r == 0)
		r = set_fields(&t, get, hop->own_fields, e);
	if (r < 0)
		return r;
	t.easy = curl_easy_init();
	if (!t.easy || set_all(&t, hop->url, hop->left_ms) != CURLE_OK)
		return err_set(e, ERR_HOST, ENOMEM, "libcurl does not start");
	r = judge(&t, get, curl_easy_perform(t.easy), ret, e);
	return r == 0 && *ret == AFTER_REDIRECT ? where_to(&t, hop->url, &hop->next, e) : r;
}

static void hop_done(struct hop *h)
{
	buf_done(&h->next);
}

/* A request with its redirects. */
static int try_chain(const struct ign_http *h, const struct ign_http_get *get, uint64_t end_ms,
		     const struct ign_http_sink *sink, struct err *e)
{
	AUTO_BUF url = { .max = HEADERS_MAX };
	int r = buf_add(&url, get->url, strlen(get->url), e);

	for (unsigned n = 0; r == 0 && n <= IGN_HTTP_REDIRECTS; n++) {
		uint64_t now = clock_mono_ms();
		__attribute__((cleanup(hop_done))) struct hop hop = {
			.url = url.p,
			.own_fields = n == 0,
			.left_ms = end_ms - now,
			.next = { .max = HEADERS_MAX },
		};
		enum after after;

		if (now >= end_ms)
			return err_set(e, ERR_RETRY, EAGAIN, "not done in time");
		r = try_once(h, get, &hop, sink, &after, e);
		if (r < 0 || after == AFTER_DONE)
			return r;
		url.n = 0;
		r = buf_add(&url, hop.next.p, hop.next.n, e);
	}
	return r < 0 ? r
		     : err_set(e, ERR_REFUSED, ELOOP, "more than %d redirects", IGN_HTTP_REDIRECTS);
}

static void note(const struct ign_http *h, const char *shown, const struct err *why, unsigned ms)
{
	char text[1024];

	if (!h->note)
		return;
	(void)snprintf(text, sizeof(text), "%s: %s; trying again in %u.%u s", shown, why->text,
		       ms / 1000, ms % 1000 / 100);
	h->note(h->note_arg, text);
}

int ign_http_get(const struct ign_http *h, const struct ign_http_get *get,
		 const struct ign_http_sink *sink, struct err *e)
{
	unsigned total = h->timeouts.has_total && h->timeouts.total_s ? h->timeouts.total_s
								      : IGN_HTTP_TOTAL_S;
	uint64_t end = clock_mono_ms() + (uint64_t)total * 1000;
	struct err why = ERR_INIT;
	char shown[256];

	(void)ign_url_show(get->url, shown, sizeof(shown));
	for (unsigned n = 2;; n++) {
		unsigned ms = ign_http_pause_ms(get->kind, n);
		struct timespec pause = { .tv_sec = ms / 1000,
					  .tv_nsec = (long)(ms % 1000) * 1000000 };
		int r = try_chain(h, get, end, sink, &why);

		if (r == 0)
			return 0;
		if (why.kind != ERR_RETRY)
			return err_set(e, why.kind, why.os, "%s: %s", shown, why.text);
		if (clock_mono_ms() + ms >= end)
			return err_set(e, ERR_RETRY, ETIMEDOUT, "%s: gave up after %u s: %s", shown,
				       total, why.text);
		note(h, shown, &why, ms);
		(void)nanosleep(&pause, NULL);
	}
}
