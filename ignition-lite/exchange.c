/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/progress.h"
#include "ignition-lite/address.h"
#include "ignition-lite/root.h"

enum { CONNECT_MS = 30000, STALL_MS = 60000, LOOK_MS = 200, PIECE = 64 << 10 };

/* A connection: TCP, perhaps TLS to a proxy over it, perhaps TLS to the server on top. */
struct line {
	int fd;
	SSL_CTX *ctx;
	SSL *proxy, *server;
	uint64_t end_ms;
};

static void line_done(struct line *l)
{
	SSL_free(l->server);
	SSL_free(l->proxy);
	SSL_CTX_free(l->ctx);
	ign_fd_done(&l->fd);
}

static SSL *line_top(const struct line *l)
{
	return l->server ? l->server : l->proxy;
}

static int late(const char *what, struct err *e)
{
	return err_set(e, ERR_RETRY, ETIMEDOUT, "%s", what);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- TCP --- */

/* 1 when the descriptor is ready, 0 when it is not by then. */
static int ready(int fd, short events, uint64_t end_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now;

	while ((now = clock_mono_ms()) < end_ms) {
		uint64_t left = sooner(end_ms - now, CONNECT_MS);
		int r = poll(&p, 1, (int)left);

		if (r > 0)
			return 1;
		if (r < 0 && errno != EINTR)
			return 0;
	}
	return 0;
}

/* Reads and writes wait this long at a time, and the clock is looked at in between. */
static void look_often(int fd)
{
	struct timeval tv = { .tv_usec = LOOK_MS * 1000L };
	int flags = fcntl(fd, F_GETFL);

	(void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

/* 0 or an errno. */
static int connect_one(const struct addrinfo *to, uint64_t end_ms, int *ret)
{
	int fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
			to->ai_protocol);
	int os = 0;
	socklen_t n = sizeof(os);

	if (fd < 0)
		return errno;
	if (connect(fd, to->ai_addr, to->ai_addrlen) < 0)
		os = errno;
	if (os == EINPROGRESS) {
		os = ETIMEDOUT;
		if (ready(fd, POLLOUT, end_ms) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &os, &n) < 0)
			os = errno;
	}
	if (os) {
		(void)close(fd);
		return os;
	}
	look_often(fd);
	*ret = fd;
	return 0;
}

static void addrinfo_done(struct addrinfo **a)
{
	if (*a)
		freeaddrinfo(*a);
}

static int line_connect(struct line *l, const struct ign_address *a, struct err *e)
{
	__attribute__((cleanup(addrinfo_done))) struct addrinfo *list = NULL;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	uint64_t now = clock_mono_ms(), end = sooner(l->end_ms, now + CONNECT_MS);
	unsigned left = 0;
	int r = getaddrinfo(a->host, a->port, &hints, &list), os = ETIMEDOUT;

	if (r != 0)
		return err_set(e, ERR_RETRY, EAGAIN, "host '%s' cannot be found: %s", a->host,
			       gai_strerror(r));
	for (const struct addrinfo *p = list; p; p = p->ai_next)
		left++;
	for (const struct addrinfo *p = list; p; p = p->ai_next, left--) {
		now = clock_mono_ms();
		if (now >= end)
			break;
		os = connect_one(p, now + (end - now) / left, &l->fd);
		if (os == 0)
			return 0;
	}
	return err_set(e, ERR_RETRY, EAGAIN, "cannot connect to '%s' port %s: %s", a->host, a->port,
		       strerror(os));
}

/* --- TLS --- */

static const char *tls_why(void)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	return why ? why : "the connection was closed";
}

static int trust_pem(X509_STORE *store, const char *pem, size_t n, struct err *e)
{
	BIO *bio = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	unsigned count = 0;
	X509 *x;

	while (bio && (x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL))) {
		count += X509_STORE_add_cert(store, x) == 1;
		X509_free(x);
	}
	BIO_free(bio);
	/* the end of the list is one, too */
	if (count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return err_set(e, ERR_REFUSED, EINVAL,
			       "the certificates to trust cannot be read: %s",
			       count ? tls_why() : "there is none");
	ERR_clear_error();
	return 0;
}

static int line_trust(struct line *l, const struct ign_exchange *x, struct err *e)
{
	X509_STORE *store;

	ERR_clear_error();
	l->ctx = SSL_CTX_new(TLS_client_method());
	if (!l->ctx || SSL_CTX_set_min_proto_version(l->ctx, TLS1_2_VERSION) != 1)
		return err_set(e, ERR_HOST, ENOMEM, "OpenSSL does not start: %s", tls_why());
	SSL_CTX_set_verify(l->ctx, SSL_VERIFY_PEER, NULL);
	store = SSL_CTX_get_cert_store(l->ctx);
	/* whatever is named is trusted, be it a root or not */
	(void)X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	if (x->ca)
		return trust_pem(store, x->ca, x->ca_n, e);
	(void)SSL_CTX_set_default_verify_paths(l->ctx);
	return 0;
}

static int tls_failed(SSL *ssl, const struct ign_address *a, struct err *e)
{
	long v = SSL_get_verify_result(ssl);

	if (v != X509_V_OK)
		return err_set(e, ERR_REFUSED, EACCES, "the certificate of '%s' is not trusted: %s",
			       a->host, X509_verify_cert_error_string(v));
	return err_set(e, ERR_RETRY, EPROTO, "TLS with '%s' fails: %s", a->host, tls_why());
}

static bool tls_waits(SSL *ssl, int r)
{
	int why = SSL_get_error(ssl, r);

	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* Speaks TLS to `a` over what l has so far; *ret is part of l, also on failure. */
static int line_tls(struct line *l, const struct ign_address *a, SSL **ret, struct err *e)
{
	SSL *below = line_top(l), *ssl = SSL_new(l->ctx);
	uint64_t end = sooner(l->end_ms, clock_mono_ms() + CONNECT_MS);
	BIO *bio = below ? BIO_new(BIO_f_ssl()) : BIO_new_socket(l->fd, BIO_NOCLOSE);
	bool named;
	int r;

	if (!ssl || !bio) {
		SSL_free(ssl);
		BIO_free(bio);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	if (below)
		(void)BIO_set_ssl(bio, below, BIO_NOCLOSE);
	SSL_set_bio(ssl, bio, bio);
	*ret = ssl;
	named = a->literal ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), a->host) == 1
			   : SSL_set1_host(ssl, a->host) == 1 &&
				     SSL_set_tlsext_host_name(ssl, a->host) == 1;
	if (!named)
		return err_set(e, ERR_REFUSED, EINVAL, "'%s' is no name for a certificate",
			       a->host);
	ERR_clear_error();
	while ((r = SSL_connect(ssl)) != 1) {
		if (!tls_waits(ssl, r))
			return tls_failed(ssl, a, e);
		if (clock_mono_ms() >= end)
			return late("TLS was not set up in time", e);
	}
	return 0;
}

/* --- bytes --- */

static int line_write(struct line *l, const char *p, size_t n, struct err *e)
{
	uint64_t end = sooner(l->end_ms, clock_mono_ms() + STALL_MS);
	SSL *ssl = line_top(l);

	ERR_clear_error();
	while (n > 0) {
		ssize_t w = ssl ? SSL_write(ssl, p, (int)(n < PIECE ? n : PIECE))
				: send(l->fd, p, n, MSG_NOSIGNAL);
		bool wait = w <= 0 &&
			    (ssl ? tls_waits(ssl, (int)w) : errno == EAGAIN || errno == EINTR);

		if (w <= 0 && !wait)
			return err_set(e, ERR_RETRY, EPIPE, "the request cannot be sent: %s",
				       ssl ? tls_why() : strerror(errno));
		if (wait && clock_mono_ms() >= end)
			return late("the server takes no request", e);
		if (w > 0) {
			p += w;
			n -= (size_t)w;
		}
	}
	return 0;
}

/* *ret is 0 at the end of the connection; late_text is said when nothing came by end_ms. */
static int line_read(struct line *l, char *p, size_t cap, uint64_t end_ms, const char *late_text,
		     size_t *ret, struct err *e)
{
	SSL *ssl = line_top(l);

	ERR_clear_error();
	for (;;) {
		ssize_t r = ssl ? SSL_read(ssl, p, (int)cap) : recv(l->fd, p, cap, 0);

		if (r > 0 || (r == 0 && !ssl) ||
		    (ssl && SSL_get_error(ssl, (int)r) == SSL_ERROR_ZERO_RETURN)) {
			*ret = r > 0 ? (size_t)r : 0;
			return 0;
		}
		if (ssl ? !tls_waits(ssl, (int)r) : errno != EAGAIN && errno != EINTR)
			return err_set(e, ERR_RETRY, EPIPE, "the connection broke: %s",
				       ssl ? tls_why() : strerror(errno));
		if (clock_mono_ms() >= end_ms)
			return late(late_text, e);
	}
}

/* --- request and answer --- */

/* Reads until the answer is whole, or needs no more; headers_s 0: no limit. */
static int hear(struct line *l, unsigned headers_s, const struct ign_answer_sink *sink,
		struct ign_answer *a, struct err *e)
{
	AUTO_FREE char *piece = malloc(PIECE);
	uint64_t head_end = clock_mono_ms() + (uint64_t)headers_s * 1000;
	char slow[64];
	size_t n = 1;
	int r = piece ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	(void)snprintf(slow, sizeof(slow), "no answer within %u s", headers_s);
	while (r == 0 && a->state != IGN_ANSWER_DONE && (!a->headed || a->status == 200)) {
		uint64_t end = sooner(l->end_ms, clock_mono_ms() + STALL_MS);
		bool head = !a->headed && headers_s > 0 && head_end < end;

		if (clock_mono_ms() >= l->end_ms)
			return late("not done in time", e);
		r = line_read(l, piece, PIECE, head ? head_end : end,
			      head ? slow : "the server sends nothing more", &n, e);
		if (r == 0 && n == 0)
			return ign_answer_end(a, e);
		if (r == 0)
			r = ign_answer_add(a, piece, n, sink, e);
		/* one that trickles its head in is late as well */
		if (r == 0 && head && !a->headed && clock_mono_ms() >= head_end)
			return late(slow, e);
	}
	return r;
}

static int no_body(void *arg, const void *p, size_t n, struct err *e)
{
	(void)arg, (void)p, (void)n, (void)e;
	return 0;
}

/* Asks a proxy for a way to the server (RFC 9110, 9.3.6). */
static int tunnel(struct line *l, const struct ign_exchange *x, const struct ign_address *to,
		  const struct ign_address *proxy, struct err *e)
{
	const struct ign_answer_sink none = { .add = no_body };
	AUTO_IGN_ANSWER a = { .connect = true };
	AUTO_BUF b = BUF_INIT;
	int r = buf_addf(&b, e, "CONNECT ");

	if (r >= 0)
		r = ign_address_host(to, true, &b, e);
	if (r >= 0)
		r = buf_addf(&b, e, " HTTP/1.1\r\nHost: ");
	if (r >= 0)
		r = ign_address_host(to, true, &b, e);
	if (r >= 0 && proxy->user_n > 0) {
		r = buf_addf(&b, e, "\r\nProxy-Authorization: ");
		if (r >= 0)
			r = ign_address_basic(proxy, &b, e);
	}
	if (r >= 0)
		r = buf_addf(&b, e, "\r\n\r\n");
	if (r >= 0)
		r = line_write(l, b.p, b.n, e);
	if (r >= 0)
		r = hear(l, x->headers_s, &none, &a, e);
	if (r < 0)
		return err_wrap(e, r, "proxy '%s'", proxy->host);
	return a.status / 100 == 2 ? 0
				   : err_set(e, a.status >= 500 ? ERR_RETRY : ERR_REFUSED, EPROTO,
					     "the proxy '%s' answers %u", proxy->host, a.status);
}

static int request(const struct ign_exchange *x, const struct ign_address *to,
		   const struct ign_address *proxy, struct buf *b, struct err *e)
{
	bool plain_proxy = proxy && !to->tls;
	int r = buf_addf(b, e, "GET ");

	if (r >= 0 && plain_proxy) {
		r = buf_addf(b, e, "http://");
		if (r >= 0)
			r = ign_address_host(to, false, b, e);
	}
	if (r >= 0)
		r = ign_address_path(to, b, e);
	if (r >= 0)
		r = buf_addf(b, e, " HTTP/1.1\r\n");
	if (r >= 0 && plain_proxy && proxy->user_n > 0) {
		r = buf_addf(b, e, "Proxy-Authorization: ");
		if (r >= 0)
			r = ign_address_basic(proxy, b, e);
		if (r >= 0)
			r = buf_addf(b, e, "\r\n");
	}
	if (r >= 0)
		r = buf_addf(b, e, "%sConnection: close\r\n\r\n", x->fields);
	return r < 0 ? r : 0;
}

static int way(struct line *l, const struct ign_exchange *x, const struct ign_address *to,
	       const struct ign_address *proxy, struct err *e)
{
	int r = line_connect(l, proxy ? proxy : to, e);

	if (r == 0 && (to->tls || (proxy && proxy->tls)))
		r = line_trust(l, x, e);
	if (r == 0 && proxy && proxy->tls)
		r = line_tls(l, proxy, &l->proxy, e);
	if (r == 0 && proxy && to->tls)
		r = tunnel(l, x, to, proxy, e);
	if (r == 0 && to->tls)
		r = line_tls(l, to, &l->server, e);
	return r;
}

static int exchange(const struct ign_exchange *x, const struct ign_answer_sink *sink,
		    struct ign_answer *ret, struct err *e)
{
	__attribute__((cleanup(line_done))) struct line l = { .fd = -1, .end_ms = x->end_ms };
	AUTO_BUF text = { .max = IGN_ANSWER_HEAD_MAX };
	struct ign_address to = { .user_n = 0 }, proxy = { .user_n = 0 };
	int r = ign_address_read(x->url, &to, e);

	if (r == 0 && x->proxy) {
		r = ign_address_read(x->proxy, &proxy, e);
		if (r < 0)
			return err_wrap(e, r, "proxy");
	}
	if (r == 0)
		r = request(x, &to, x->proxy ? &proxy : NULL, &text, e);
	if (r == 0)
		r = way(&l, x, &to, x->proxy ? &proxy : NULL, e);
	if (r == 0)
		r = line_write(&l, text.p, text.n, e);
	return r < 0 ? r : hear(&l, x->headers_s, sink, ret, e);
}

int ign_exchange(const struct ign_exchange *x, const struct ign_answer_sink *sink,
		 struct ign_answer *ret, struct err *e)
{
	/* OpenSSL writes with write(2) */
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction was;
	int r;

	(void)sigaction(SIGPIPE, &ignore, &was);
	r = exchange(x, sink, ret, e);
	(void)sigaction(SIGPIPE, &was, NULL);
	return r;
}
