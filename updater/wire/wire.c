/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/wire/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/buf.h"

enum { MAGIC = 0x5750, HEADER = 8 };

/* --- what both directions agree on --- */

static bool text_plain(const char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e)
			return false;
	return true;
}

bool wire_url_names_user(const char *s)
{
	const char *host = strstr(s, "://");

	return host && strncmp(s, "http", 4) == 0 &&
	       memchr(host + 3, '@', strcspn(host + 3, "/?#"));
}

bool wire_url_valid(const char *s)
{
	const char *host;

	if (strlen(s) > WIRE_URL_MAX || !text_plain(s) || strchr(s, ' '))
		return false;
	if (strncmp(s, "file:///", 8) == 0)
		return s[8] != '\0';
	if (strncmp(s, "http://", 7) == 0)
		host = s + 7;
	else if (strncmp(s, "https://", 8) == 0)
		host = s + 8;
	else
		return false;
	return *host && *host != '/' && !wire_url_names_user(s);
}

/* RFC 9110 section 8.8.3, without obs-text. */
bool wire_etag_valid(const char *s)
{
	size_t n = strlen(s);

	if (n < 2 || n > WIRE_ETAG_MAX || s[0] != '"' || s[n - 1] != '"')
		return false;
	for (size_t i = 1; i < n - 1; i++)
		if (s[i] <= 0x20 || s[i] == '"' || s[i] > 0x7e)
			return false;
	return true;
}

void wire_text_set(char out[WIRE_TEXT_MAX + 1], const char *s)
{
	size_t n = strnlen(s, WIRE_TEXT_MAX);

	for (size_t i = 0; i < n; i++) {
		out[i] = '?';
		if (s[i] >= 0x20 && s[i] <= 0x7e)
			out[i] = s[i];
	}
	out[n] = '\0';
}

static bool get_valid(const struct wire_get *g)
{
	return wire_url_valid(g->url) && (!g->etag[0] || wire_etag_valid(g->etag)) &&
	       g->max_bytes > 0 && g->max_bytes <= WIRE_SIZE_MAX && g->offset <= WIRE_SIZE_MAX &&
	       (g->length == 0 ||
		(g->length <= g->max_bytes && g->offset <= g->max_bytes - g->length)) &&
	       (g->flags & ~WIRE_GET_RANGED_ONLY) == 0 && g->deadline_s <= WIRE_SECONDS_MAX &&
	       g->tries <= WIRE_TRIES_MAX;
}

static bool limit_valid(const struct wire_limit *l)
{
	return l->most <= WIRE_SIZE_MAX && l->least <= WIRE_SIZE_MAX &&
	       l->least_s <= WIRE_SECONDS_MAX && (l->least_s > 0 || l->least == 0);
}

static bool head_valid(const struct wire_head *h)
{
	return (h->total == WIRE_UNKNOWN || h->total <= WIRE_SIZE_MAX) &&
	       h->offset <= WIRE_SIZE_MAX && h->offset <= h->total &&
	       (!h->etag[0] || wire_etag_valid(h->etag));
}

static bool fail_valid(const struct wire_fail *f)
{
	return (f->kind == ERR_RETRY || f->kind == ERR_REFUSED || f->kind == ERR_INPUT ||
		f->kind == ERR_HOST) &&
	       f->status < 1000 && f->text[0] && text_plain(f->text);
}

static bool post_valid(const struct wire_post *p)
{
	return strncmp(p->url, "http", 4) == 0 && wire_url_valid(p->url) &&
	       (p->flags & ~WIRE_POST_FLEETLOCK) == 0 && p->deadline_s > 0 &&
	       p->deadline_s <= WIRE_SECONDS_MAX && p->n <= WIRE_BODY_MAX;
}

static bool tls_valid(const struct wire_tls *t)
{
	return t->ca.n <= WIRE_PEM_MAX && t->cert.n <= WIRE_PEM_MAX && t->key.n <= WIRE_PEM_MAX &&
	       (t->cert.n > 0 || t->key.n == 0);
}

static bool type_has_id(enum wire_type t)
{
	return t != WIRE_HELLO && t != WIRE_LIMIT && t != WIRE_TLS;
}

/* Everything about m that does not depend on its bytes. */
static bool msg_valid(const struct wire_msg *m)
{
	if ((m->id != 0) != type_has_id(m->type))
		return false;
	switch (m->type) {
	case WIRE_HELLO:
	case WIRE_CANCEL:
		return true;
	case WIRE_LIMIT:
		return limit_valid(&m->limit);
	case WIRE_GET:
		return get_valid(&m->get);
	case WIRE_HEAD:
		return head_valid(&m->head);
	case WIRE_DATA:
		return m->data.n > 0 && m->data.n <= WIRE_DATA_MAX &&
		       m->data.offset <= WIRE_SIZE_MAX - m->data.n;
	case WIRE_END:
		return m->end.bytes <= WIRE_SIZE_MAX;
	case WIRE_FAIL:
		return fail_valid(&m->fail);
	case WIRE_NOTE:
		return m->note.text[0] && text_plain(m->note.text);
	case WIRE_POST:
		return post_valid(&m->post);
	case WIRE_TLS:
		return tls_valid(&m->tls);
	case WIRE_REPLY:
		return m->reply.status >= 100 && m->reply.status < 1000 &&
		       m->reply.n <= WIRE_BODY_MAX;
	default:
		return false;
	}
}

/* --- writing --- */

struct out {
	uint8_t *p;
	size_t n, cap;
	bool full;
};

static uint8_t *out_room(struct out *o, size_t n)
{
	if (o->full || o->cap - o->n < n) {
		o->full = true;
		return NULL;
	}
	o->n += n;
	return o->p + o->n - n;
}

static void out_u16(struct out *o, size_t v)
{
	uint8_t *p = out_room(o, 2);

	if (p)
		le16_put(p, (uint16_t)v);
}

static void out_u32(struct out *o, uint32_t v)
{
	uint8_t *p = out_room(o, 4);

	if (p)
		le32_put(p, v);
}

static void out_u64(struct out *o, uint64_t v)
{
	uint8_t *p = out_room(o, 8);

	if (p)
		le64_put(p, v);
}

static void out_bytes(struct out *o, const void *s, size_t n)
{
	uint8_t *p = n ? out_room(o, n) : NULL;

	if (p)
		memcpy(p, s, n);
}

static void out_text(struct out *o, const char *s, uint16_t flags)
{
	size_t n = strlen(s);

	out_u16(o, n);
	out_u16(o, flags);
	out_bytes(o, s, n);
}

static void out_get(struct out *o, const struct wire_get *g)
{
	size_t url_n = strlen(g->url), etag_n = strlen(g->etag);

	out_u64(o, g->offset);
	out_u64(o, g->length);
	out_u64(o, g->max_bytes);
	out_u32(o, g->flags);
	out_u32(o, g->deadline_s);
	out_u32(o, g->tries);
	out_u16(o, url_n);
	out_u16(o, etag_n);
	out_bytes(o, g->url, url_n);
	out_bytes(o, g->etag, etag_n);
}

static void out_post(struct out *o, const struct wire_post *p)
{
	out_u32(o, p->deadline_s);
	out_u32(o, p->flags);
	out_text(o, p->url, 0);
}

static void out_tls(struct out *o, const struct wire_tls *t)
{
	out_u16(o, t->ca.n);
	out_u16(o, t->cert.n);
	out_u16(o, t->key.n);
	out_u16(o, 0);
}

/* The bytes behind what encode_head() writes. */
enum { TAILS = 3 };
static void tails(const struct wire_msg *m, struct wire_pem t[TAILS])
{
	memset(t, 0, TAILS * sizeof(*t));
	if (m->type == WIRE_DATA) {
		t[0] = (struct wire_pem){ m->data.p, m->data.n };
	} else if (m->type == WIRE_POST) {
		t[0] = (struct wire_pem){ m->post.p, m->post.n };
	} else if (m->type == WIRE_REPLY) {
		t[0] = (struct wire_pem){ m->reply.p, m->reply.n };
	} else if (m->type == WIRE_TLS) {
		t[0] = m->tls.ca;
		t[1] = m->tls.cert;
		t[2] = m->tls.key;
	}
}

/* All of m but its tails. */
static int encode_head(const struct wire_msg *m, struct out *o, struct err *e)
{
	if (!msg_valid(m))
		return err_set(e, ERR_BUG, EINVAL, "a wire message of type %d breaks its bounds",
			       (int)m->type);
	out_u16(o, MAGIC);
	out_u16(o, (size_t)m->type);
	out_u32(o, m->id);
	switch (m->type) {
	case WIRE_HELLO:
		out_u32(o, m->version);
		break;
	case WIRE_GET:
		out_get(o, &m->get);
		break;
	case WIRE_CANCEL:
		break;
	case WIRE_LIMIT:
		out_u64(o, m->limit.most);
		out_u64(o, m->limit.least);
		out_u32(o, m->limit.least_s);
		break;
	case WIRE_HEAD:
		out_u64(o, m->head.total);
		out_u64(o, m->head.offset);
		out_u32(o, m->head.ranged ? 1 : 0);
		out_text(o, m->head.etag, 0);
		break;
	case WIRE_DATA:
		out_u64(o, m->data.offset);
		break;
	case WIRE_END:
		out_u64(o, m->end.bytes);
		out_u32(o, m->end.requests);
		out_u32(o, m->end.retries);
		break;
	case WIRE_FAIL:
		out_u32(o, (uint32_t)m->fail.kind);
		out_u32(o, m->fail.status);
		out_text(o, m->fail.text, m->fail.changed ? 1 : 0);
		break;
	case WIRE_NOTE:
		out_text(o, m->note.text, 0);
		break;
	case WIRE_POST:
		out_post(o, &m->post);
		break;
	case WIRE_TLS:
		out_tls(o, &m->tls);
		break;
	case WIRE_REPLY:
		out_u32(o, m->reply.status);
		break;
	}
	if (o->full)
		return err_set(e, ERR_BUG, ENOBUFS, "no room for a wire message");
	return 0;
}

int wire_encode(const struct wire_msg *m, uint8_t *p, size_t cap, struct err *e)
{
	struct out o = { .cap = cap };
	struct wire_pem t[TAILS];
	int r;

	o.p = p;
	r = encode_head(m, &o, e);
	if (r < 0)
		return r;
	tails(m, t);
	for (size_t i = 0; i < TAILS; i++)
		out_bytes(&o, t[i].p, t[i].n);
	if (o.full)
		return err_set(e, ERR_BUG, ENOBUFS, "no room for a wire message");
	return (int)o.n;
}

/* --- reading --- */

struct in {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static const uint8_t *in_take(struct in *in, size_t n)
{
	if (in->bad || in->n < n) {
		in->bad = true;
		return NULL;
	}
	in->p += n;
	in->n -= n;
	return in->p - n;
}

static uint16_t in_u16(struct in *in)
{
	const uint8_t *p = in_take(in, 2);

	return p ? le16_get(p) : 0;
}

static uint32_t in_u32(struct in *in)
{
	const uint8_t *p = in_take(in, 4);

	return p ? le32_get(p) : 0;
}

static uint64_t in_u64(struct in *in)
{
	const uint8_t *p = in_take(in, 8);

	return p ? le64_get(p) : 0;
}

/* n characters into out[max + 1]; a NUL among them would hide what follows it. */
static void in_chars(struct in *in, size_t n, char *out, size_t max)
{
	const uint8_t *p = in_take(in, n);

	out[0] = '\0';
	if (!p)
		return;
	if (n > max || memchr(p, '\0', n)) {
		in->bad = true;
		return;
	}
	memcpy(out, p, n);
	out[n] = '\0';
}

/* Returns the flags; none is set that `known` has not. */
static uint16_t in_text(struct in *in, char *out, size_t max, uint16_t known)
{
	size_t n = in_u16(in);
	uint16_t flags = in_u16(in);

	if ((flags & ~known) != 0)
		in->bad = true;
	in_chars(in, n, out, max);
	return flags;
}

static void in_get(struct in *in, struct wire_get *g)
{
	size_t url_n, etag_n;

	g->offset = in_u64(in);
	g->length = in_u64(in);
	g->max_bytes = in_u64(in);
	g->flags = in_u32(in);
	g->deadline_s = in_u32(in);
	g->tries = in_u32(in);
	url_n = in_u16(in);
	etag_n = in_u16(in);
	in_chars(in, url_n, g->url, WIRE_URL_MAX);
	in_chars(in, etag_n, g->etag, WIRE_ETAG_MAX);
}

static void in_head(struct in *in, struct wire_head *h)
{
	uint32_t flags;

	h->total = in_u64(in);
	h->offset = in_u64(in);
	flags = in_u32(in);
	if (flags > 1)
		in->bad = true;
	h->ranged = flags == 1;
	(void)in_text(in, h->etag, WIRE_ETAG_MAX, 0);
}

/* Bytes that stay where they are. */
static struct wire_pem in_bytes(struct in *in, size_t n)
{
	struct wire_pem b = { .n = n };

	b.p = in_take(in, n);
	return b;
}

static void in_post(struct in *in, struct wire_post *p)
{
	struct wire_pem body;

	p->deadline_s = in_u32(in);
	p->flags = in_u32(in);
	(void)in_text(in, p->url, WIRE_URL_MAX, 0);
	body = in_bytes(in, in->n);
	p->p = body.p;
	p->n = body.n;
}

static void in_tls(struct in *in, struct wire_tls *t)
{
	size_t ca = in_u16(in), cert = in_u16(in), key = in_u16(in);

	if (in_u16(in) != 0)
		in->bad = true;
	t->ca = in_bytes(in, ca);
	t->cert = in_bytes(in, cert);
	t->key = in_bytes(in, key);
}

static void in_reply(struct in *in, struct wire_reply *y)
{
	struct wire_pem body;

	y->status = in_u32(in);
	body = in_bytes(in, in->n);
	y->p = body.p;
	y->n = body.n;
}

static void in_body(struct in *in, struct wire_msg *m)
{
	switch (m->type) {
	case WIRE_HELLO:
		m->version = in_u32(in);
		break;
	case WIRE_GET:
		in_get(in, &m->get);
		break;
	case WIRE_CANCEL:
		break;
	case WIRE_LIMIT:
		m->limit.most = in_u64(in);
		m->limit.least = in_u64(in);
		m->limit.least_s = in_u32(in);
		break;
	case WIRE_HEAD:
		in_head(in, &m->head);
		break;
	case WIRE_DATA:
		m->data.offset = in_u64(in);
		m->data.n = in->n;
		m->data.p = in_take(in, in->n);
		break;
	case WIRE_END:
		m->end.bytes = in_u64(in);
		m->end.requests = in_u32(in);
		m->end.retries = in_u32(in);
		break;
	case WIRE_FAIL:
		m->fail.kind = (enum err_kind)in_u32(in);
		m->fail.status = in_u32(in);
		m->fail.changed = in_text(in, m->fail.text, WIRE_TEXT_MAX, 1) != 0;
		break;
	case WIRE_NOTE:
		(void)in_text(in, m->note.text, WIRE_TEXT_MAX, 0);
		break;
	case WIRE_POST:
		in_post(in, &m->post);
		break;
	case WIRE_TLS:
		in_tls(in, &m->tls);
		break;
	case WIRE_REPLY:
		in_reply(in, &m->reply);
		break;
	default:
		in->bad = true;
		break;
	}
}

static bool type_from(enum wire_side from, unsigned type)
{
	if (type == WIRE_HELLO)
		return true;
	if (from == WIRE_AGENT)
		return type >= WIRE_GET && type <= WIRE_TLS;
	return type >= WIRE_HEAD && type <= WIRE_REPLY;
}

int wire_decode(enum wire_side from, const uint8_t *p, size_t n, struct wire_msg *ret,
		struct err *e)
{
	const char *who = from == WIRE_AGENT ? "the agent" : "proa-fetch";
	struct in in = { .p = p, .n = n };
	struct wire_msg m;
	unsigned type;

	if (n > WIRE_FRAME_MAX)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s sent a message of %zu bytes", who, n);
	if (in_u16(&in) != MAGIC)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s sent what is no wire message", who);
	type = in_u16(&in);
	if (!type_from(from, type))
		return err_set(e, ERR_REFUSED, EBADMSG, "%s may not send message type %u", who,
			       type);
	m.type = (enum wire_type)type;
	m.id = in_u32(&in);
	in_body(&in, &m);
	if (in.bad || in.n > 0 || !msg_valid(&m))
		return err_set(e, ERR_REFUSED, EBADMSG, "%s sent a malformed message of type %u",
			       who, type);
	*ret = m;
	return 0;
}

/* --- the socket --- */

int wire_send(int fd, const struct wire_msg *m, struct err *e)
{
	uint8_t head[WIRE_HEAD_MAX];
	struct out o = { .p = head, .cap = sizeof(head) };
	struct iovec iov[1 + TAILS] = { { .iov_base = head } };
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = 1 };
	struct wire_pem t[TAILS];
	ssize_t n;
	int r = encode_head(m, &o, e);

	if (r < 0)
		return r;
	iov[0].iov_len = o.n;
	tails(m, t);
	for (size_t i = 0; i < TAILS; i++) {
		struct iovec *v = &iov[h.msg_iovlen++];

		/* sendmsg() only reads, its type is older than const */
		memcpy(&v->iov_base, &t[i].p, sizeof(t[i].p));
		v->iov_len = t[i].n;
	}
	do
		n = sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno == EAGAIN || errno == ENOBUFS)
		return err_set(e, ERR_RETRY, EAGAIN, "the wire is full");
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		return err_set(e, ERR_HOST, EPIPE, "the other side of the wire is gone");
	return err_set(e, ERR_HOST, errno, "cannot send on the wire: %s", strerror(errno));
}

int wire_recv(int fd, enum wire_side from, uint8_t frame[WIRE_FRAME_MAX], struct wire_msg *ret,
	      struct err *e)
{
	ssize_t n;
	int r;

	/* recv() has no control buffer: descriptors that the other side attaches are closed */
	do
		n = recv(fd, frame, WIRE_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return 0;
	if (n < 0 && errno == EAGAIN)
		return err_set(e, ERR_RETRY, EAGAIN, "nothing on the wire");
	if (n < 0)
		return err_set(e, ERR_HOST, errno, "cannot read the wire: %s", strerror(errno));
	r = wire_decode(from, frame, (size_t)n, ret, e);
	return r < 0 ? r : 1;
}
