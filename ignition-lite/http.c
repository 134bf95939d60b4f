/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/buf.h"
#include "base/progress.h"
#include "ignition-lite/address.h"
#include "ignition-lite/exchange.h"
#include "ignition-lite/url.h"

enum { PAUSE_MAX_MS = 5000, HEADERS_MAX = 1 << 20 };

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
	const struct ign_http_sink *sink;
	struct err err; /* of the sink */
	bool sunk;
};

static int on_body(void *arg, const void *p, size_t n, struct err *e)
{
	struct try *t = arg;
	int r = t->sink->add(t->sink->arg, p, n, &t->err);

	t->sunk = r < 0;
	return r < 0 ? err_set(e, t->err.kind, t->err.os, "%s", t->err.text) : 0;
}

/* Does the config give this header itself? */
static bool gives(const struct ign_http_get *get, bool own, const char *name)
{
	for (size_t i = 0; own && i < get->headers; i++)
		if (get->header[i].value && strcasecmp(get->header[i].name, name) == 0)
			return true;
	return false;
}

static int add_field(struct buf *b, const char *name, const char *value, struct err *e)
{
	int r = buf_addf(b, e, "%s: %s\r\n", name, value);

	return r < 0 ? r : 0;
}

static int add_given(const struct ign_http_get *get, struct buf *b, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < get->headers; i++)
		if (get->header[i].value)
			r = add_field(b, get->header[i].name, get->header[i].value, e);
	return r;
}

static int set_fields(const struct ign_http_get *get, const struct ign_address *to, bool own,
		      struct buf *b, struct err *e)
{
	const char *accept =
		get->config ? "application/vnd.coreos.ignition+json;version=3.5.0, */*;q=0.1"
			    : "*/*";
	AUTO_BUF host = BUF_INIT;
	AUTO_BUF basic = BUF_INIT;
	int r = ign_address_host(to, false, &host, e);

	if (r == 0 && !gives(get, own, "Host"))
		r = add_field(b, "Host", host.p, e);
	if (r == 0 && !gives(get, own, "User-Agent"))
		r = add_field(b, "User-Agent", "ignition-lite/" PROA_VERSION, e);
	if (r == 0 && !gives(get, own, "Accept"))
		r = add_field(b, "Accept", accept, e);
	if (r == 0 && !gives(get, own, "Accept-Encoding"))
		r = add_field(b, "Accept-Encoding", "identity", e);
	if (r == 0 && to->user_n > 0 && !gives(get, own, "Authorization")) {
		r = ign_address_basic(to, &basic, e);
		if (r == 0)
			r = add_field(b, "Authorization", basic.p, e);
	}
	return r == 0 && own ? add_given(get, b, e) : r;
}

/* --- what came of it --- */

enum after { AFTER_DONE, AFTER_REDIRECT };

static bool is_redirect(unsigned status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static int judge(const struct ign_http_get *get, unsigned status, enum after *ret, struct err *e)
{
	*ret = is_redirect(status) ? AFTER_REDIRECT : AFTER_DONE;
	if (status == 200 || is_redirect(status))
		return 0;
	if (ign_http_again(get->kind, status))
		return err_set(e, ERR_RETRY, EAGAIN, "the server answers %u", status);
	return err_set(e, ERR_REFUSED, status == 404 ? ENOENT : EPROTO, "the server answers %u%s",
		       status,
		       status == 404                    ? " (not found)"
		       : status == 401 || status == 403 ? " (not allowed)"
							: "");
}

static int where_to(const struct ign_answer *a, const char *url, struct buf *next, struct err *e)
{
	int r;

	if (a->location.n == 0)
		return err_set(e, ERR_REFUSED, EPROTO, "the server redirects to nowhere");
	r = ign_address_resolve(url, a->location.p, next, e);
	if (r == 0 && !ign_http_may_follow(url, next->p))
		return err_set(e, ERR_REFUSED, EPROTONOSUPPORT,
			       "the server redirects from https out of it, or to what is neither "
			       "http nor https; that is not followed");
	return r;
}

struct hop {
	const char *url;
	bool own_fields; /* the config's headers go to the server it names only */
	uint64_t end_ms;
	struct buf next; /* on AFTER_REDIRECT */
};

static const char *proxy_for(const struct ign_http *h, const struct ign_address *to)
{
	const char *proxy = to->tls ? h->proxy_https : h->proxy_http;

	return proxy && *proxy && !ign_address_direct(to, h->proxy_none) ? proxy : NULL;
}

/* One GET. */
static int try_once(const struct ign_http *h, const struct ign_http_get *get, struct hop *hop,
		    const struct ign_http_sink *sink, enum after *ret, struct err *e)
{
	struct try t = { .sink = sink };
	const struct ign_answer_sink to_sink = { .add = on_body, .arg = &t };
	AUTO_IGN_ANSWER a = { .status = 0 };
	AUTO_BUF fields = { .max = HEADERS_MAX };
	struct ign_address to = { .user_n = 0 };
	struct ign_exchange x = {
		.url = hop->url,
		.ca = h->ca,
		.ca_n = h->ca_n,
		.headers_s = h->timeouts.has_headers ? h->timeouts.headers_s : IGN_HTTP_HEADERS_S,
		.end_ms = hop->end_ms,
	};
	int r = sink->begin(sink->arg, e);

	*ret = AFTER_DONE;
	if (r == 0)
		r = ign_address_read(hop->url, &to, e);
	if (r == 0)
		r = set_fields(get, &to, hop->own_fields, &fields, e);
	if (r < 0)
		return r;
	x.proxy = proxy_for(h, &to);
	x.fields = fields.p;
	r = ign_exchange(&x, &to_sink, &a, e);
	if (r < 0 && (t.sunk || !a.headed || a.status == 200))
		return r;
	r = judge(get, a.status, ret, e);
	return r == 0 && *ret == AFTER_REDIRECT ? where_to(&a, hop->url, &hop->next, e) : r;
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
		__attribute__((cleanup(hop_done))) struct hop hop = {
			.url = url.p,
			.own_fields = n == 0,
			.end_ms = end_ms,
			.next = { .max = HEADERS_MAX },
		};
		enum after after;

		if (clock_mono_ms() >= end_ms)
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
