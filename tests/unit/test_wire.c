/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/dice.h"
#include "tests/test.h"

static uint64_t rnd_size(void)
{
	return (dice() >> 1) >> (dice() % 63);
}

static void rnd_text(char *out, size_t min, size_t max)
{
	size_t n = min + (size_t)(dice() % (max - min + 1));

	for (size_t i = 0; i < n; i++)
		out[i] = (char)('#' + dice() % 90);
	out[n] = '\0';
}

static void rnd_etag(char *out)
{
	size_t n;

	out[0] = '\0';
	if (dice() % 2)
		return;
	rnd_text(out, 2, WIRE_ETAG_MAX);
	n = strlen(out);
	out[0] = out[n - 1] = '"';
}

static void rnd_get(struct wire_get *g)
{
	static const char *const scheme[] = { "http://h/", "https://h/", "file:///" };
	const char *s = scheme[dice() % 3];

	(void)snprintf(g->url, sizeof(g->url), "%s", s);
	rnd_text(g->url + strlen(s), 1, WIRE_URL_MAX - strlen(s));
	g->url[strlen(s)] = 'h';
	rnd_etag(g->etag);
	g->max_bytes = rnd_size() | 1;
	g->length = dice() % (g->max_bytes + 1);
	g->offset = g->length ? dice() % (g->max_bytes - g->length + 1) : rnd_size();
	g->flags = (uint32_t)(dice() % 2);
	g->deadline_s = (uint32_t)(dice() % (WIRE_SECONDS_MAX + 1));
	g->tries = (uint32_t)(dice() % (WIRE_TRIES_MAX + 1));
}

static uint8_t data[WIRE_DATA_MAX];

static struct wire_pem rnd_pem(void)
{
	struct wire_pem p = { .p = data };

	p.n = dice() % 2 ? (size_t)(dice() % (WIRE_PEM_MAX + 1)) : 0;
	return p;
}

static void rnd_post(struct wire_post *p)
{
	const char *s = dice() % 2 ? "http://h/" : "https://h/";

	(void)snprintf(p->url, sizeof(p->url), "%s", s);
	rnd_text(p->url + strlen(s), 1, WIRE_URL_MAX - strlen(s));
	p->flags = (uint32_t)(dice() % 2);
	p->deadline_s = 1 + (uint32_t)(dice() % WIRE_SECONDS_MAX);
	p->p = data;
	p->n = (size_t)(dice() % (WIRE_BODY_MAX + 1)) / (dice() % 2 ? 1 : 1000);
}

/* A valid message that `from` may send. */
static void rnd_msg(enum wire_side from, struct wire_msg *m)
{
	static const enum wire_type agent[] = { WIRE_HELLO, WIRE_GET,  WIRE_CANCEL,
						WIRE_LIMIT, WIRE_POST, WIRE_TLS };
	static const enum wire_type fetch[] = { WIRE_HELLO, WIRE_HEAD, WIRE_DATA, WIRE_END,
						WIRE_FAIL,  WIRE_NOTE, WIRE_REPLY };
	uint64_t total = rnd_size();

	memset(m, 0, sizeof(*m));
	m->type = from == WIRE_AGENT ? agent[dice() % 6] : fetch[dice() % 7];
	m->id = m->type == WIRE_HELLO || m->type == WIRE_LIMIT || m->type == WIRE_TLS
			? 0
			: (uint32_t)dice() | 1;
	switch (m->type) {
	case WIRE_HELLO:
		m->version = (uint32_t)dice();
		break;
	case WIRE_GET:
		rnd_get(&m->get);
		break;
	case WIRE_CANCEL:
		break;
	case WIRE_LIMIT:
		m->limit.most = rnd_size();
		m->limit.least_s = (uint32_t)(dice() % (WIRE_SECONDS_MAX + 1));
		m->limit.least = m->limit.least_s ? rnd_size() : 0;
		break;
	case WIRE_HEAD:
		m->head.total = dice() % 4 ? total : WIRE_UNKNOWN;
		m->head.offset = dice() % (total + 1);
		m->head.ranged = dice() % 2;
		rnd_etag(m->head.etag);
		break;
	case WIRE_DATA:
		m->data.n = 1 + (size_t)(dice() % WIRE_DATA_MAX) / (dice() % 2 ? 1 : 1000);
		m->data.p = data;
		m->data.offset = rnd_size() / 2;
		break;
	case WIRE_END:
		m->end = (struct wire_end){ rnd_size(), (uint32_t)dice(), (uint32_t)dice() };
		break;
	case WIRE_FAIL:
		m->fail.kind = (enum err_kind)(ERR_RETRY + dice() % 4);
		m->fail.status = (uint32_t)(dice() % 1000);
		m->fail.changed = dice() % 2;
		rnd_text(m->fail.text, 1, WIRE_TEXT_MAX);
		break;
	case WIRE_NOTE:
		rnd_text(m->note.text, 1, WIRE_TEXT_MAX);
		break;
	case WIRE_POST:
		rnd_post(&m->post);
		break;
	case WIRE_TLS:
		m->tls.ca = rnd_pem();
		m->tls.cert = rnd_pem();
		if (m->tls.cert.n > 0)
			m->tls.key = rnd_pem();
		break;
	case WIRE_REPLY:
		m->reply.status = 100 + (uint32_t)(dice() % 900);
		m->reply.p = data;
		m->reply.n = (size_t)(dice() % (WIRE_BODY_MAX + 1)) / (dice() % 2 ? 1 : 1000);
		break;
	}
}

static uint8_t frame[WIRE_FRAME_MAX], second[WIRE_FRAME_MAX];

static void test_round_trip(void)
{
	for (unsigned k = 0; k < 20000; k++) {
		enum wire_side from = dice() % 2 ? WIRE_AGENT : WIRE_FETCH;
		struct wire_msg m, back;
		struct err e = ERR_INIT;
		int n, n2;

		rnd_msg(from, &m);
		n = wire_encode(&m, frame, sizeof(frame), &e);
		CHECK(n > 0, "type %d: %s", (int)m.type, e.text);
		CHECK(wire_decode(from, frame, (size_t)n, &back, &e) == 0, "type %d: %s",
		      (int)m.type, e.text);
		n2 = wire_encode(&back, second, sizeof(second), &e);
		CHECK(n2 == n && memcmp(frame, second, (size_t)n) == 0, "type %d changed",
		      (int)m.type);
		/* one byte more or less is another message, or none */
		CHECK(wire_decode(from, frame, (size_t)n - 1, &back, NULL) < 0 ||
			      m.type == WIRE_DATA || (m.type == WIRE_POST && m.post.n > 0) ||
			      (m.type == WIRE_REPLY && m.reply.n > 0),
		      "type %d cut short passes", (int)m.type);
		CHECK(wire_encode(&m, frame, (size_t)n - 1, NULL) == -ENOBUFS, "no bound");
		/* and the other side may not say it */
		if (m.type != WIRE_HELLO)
			CHECK(wire_decode(from == WIRE_AGENT ? WIRE_FETCH : WIRE_AGENT, frame,
					  (size_t)n, &back, NULL) == -EBADMSG,
			      "type %d from the wrong side", (int)m.type);
	}
}

static void test_urls(void)
{
	static const struct {
		const char *url;
		bool ok;
	} urls[] = {
		{ "http://a", true },
		{ "https://a/b?c", true },
		{ "file:///a", true },
		{ "http:///a", false },
		{ "http://", false },
		{ "file://host/a", false },
		{ "ftp://a", false },
		{ "HTTP://a", false },
		{ "http://a b", false },
		{ "http://a\nb", false },
		{ "", false },
		{ "http://\xc3\xa9", false },
		{ "file:///", false },
		{ "http://a\x7f", false },
		{ "http://u:p@a", false },
		{ "https://u@a/", false },
		{ "http://a/u@b", true },
		{ "http://a?u@b", true },
		{ "http://@a", false },
		{ "http://a\\@b/", false },
		{ "file:///u@b", true },
		{ "https://a:1/@", true },
	};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
		CHECK(wire_url_valid(urls[i].url) == urls[i].ok, "'%s'", urls[i].url);
}

static void test_bounds(void)
{
	static const struct {
		const char *etag;
		bool ok;
	} etags[] = {
		{ "\"\"", true },     { "\"a-1\"", true },    { "W/\"a\"", false },
		{ "\"", false },      { "a", false },         { "\"a\"b\"", false },
		{ "\"a b\"", false }, { "\"a\r\n\"", false },
	};
	struct wire_msg m = { .type = WIRE_GET, .id = 1 };

	for (size_t i = 0; i < sizeof(etags) / sizeof(etags[0]); i++)
		CHECK(wire_etag_valid(etags[i].etag) == etags[i].ok, "'%s'", etags[i].etag);

	(void)snprintf(m.get.url, sizeof(m.get.url), "http://a");
	m.get.max_bytes = 100;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) > 0, "plain get");
	m.get.offset = 90;
	m.get.length = 11;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "past max_bytes");
	m.get.offset = UINT64_MAX;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "overflow");
	m.get.offset = m.get.length = 0;
	m.get.max_bytes = 0;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "no cap");
	m.get.max_bytes = 100;
	m.get.flags = 2;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "unknown flag");
	m.get.flags = 0;
	m.get.tries = WIRE_TRIES_MAX + 1;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "too many tries");
	m.get.tries = 0;
	m.get.deadline_s = WIRE_SECONDS_MAX + 1;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a deadline after a year");
	m = (struct wire_msg){ .type = WIRE_LIMIT, .limit = { .least = 1 } };
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a rate over no time");
	m.limit.least_s = WIRE_SECONDS_MAX + 1;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a rate over years");
	m.limit.least_s = 1;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == 8 + 20, "a limit");
	m = (struct wire_msg){ .type = WIRE_POST, .id = 1, .post = { .deadline_s = 1 } };
	(void)snprintf(m.post.url, sizeof(m.post.url), "http://a/");
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == 8 + 12 + 9, "a post");
	(void)snprintf(m.post.url, sizeof(m.post.url), "file:///a");
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a post to a file");
	(void)snprintf(m.post.url, sizeof(m.post.url), "http://a/");
	m.post.n = WIRE_BODY_MAX + 1;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a long body");
	m.post.n = m.post.deadline_s = 0;
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a post for ever");
	m = (struct wire_msg){ .type = WIRE_TLS, .tls = { .key = { data, 1 } } };
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a key alone");
	m.tls.cert = (struct wire_pem){ data, WIRE_PEM_MAX + 1 };
	CHECK(wire_encode(&m, frame, sizeof(frame), NULL) == -EINVAL, "a long certificate");
}

static void test_text(void)
{
	char out[WIRE_TEXT_MAX + 1], in[1000];

	wire_text_set(out, "a\033[31mb\n\xff");
	CHECK(strcmp(out, "a?[31mb??") == 0, "%s", out);
	memset(in, 'x', sizeof(in) - 1);
	in[sizeof(in) - 1] = '\0';
	wire_text_set(out, in);
	CHECK(strlen(out) == WIRE_TEXT_MAX, "%zu", strlen(out));
}

/* A full socket says so, a descriptor slipped in is dropped, a closed peer is an end. */
static void test_socket(void)
{
	struct wire_msg m = { .type = WIRE_DATA, .id = 7 }, got;
	struct err e = ERR_INIT;
	unsigned sent = 0, seen = 0;
	int pair[2], r;

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	m.data = (struct wire_data){ .offset = 0, .p = data, .n = WIRE_DATA_MAX };
	while ((r = wire_send(pair[0], &m, &e)) == 0) {
		m.data.offset += WIRE_DATA_MAX;
		sent++;
	}
	CHECK(r == -EAGAIN && sent > 0, "%d after %u: %s", r, sent, e.text);
	while ((r = wire_recv(pair[1], WIRE_FETCH, frame, &got, &e)) == 1) {
		CHECK(got.data.offset == (uint64_t)seen * WIRE_DATA_MAX, "order");
		CHECK(memcmp(got.data.p, data, WIRE_DATA_MAX) == 0, "bytes");
		seen++;
	}
	CHECK(r == -EAGAIN && seen == sent, "%u of %u", seen, sent);
	CHECK(send(pair[0], second, sizeof(second), 0) == (ssize_t)sizeof(second), "send");
	CHECK(wire_recv(pair[1], WIRE_FETCH, frame, &got, &e) == -EBADMSG, "noise passes");
	(void)close(pair[0]);
	CHECK(wire_recv(pair[1], WIRE_FETCH, frame, &got, &e) == 0, "hang-up");
	CHECK(wire_send(pair[1], &m, &e) == -EPIPE, "send to nobody");
	(void)close(pair[1]);
}

int main(void)
{
	dice_seed();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)dice();
	test_round_trip();
	test_urls();
	test_bounds();
	test_text();
	memset(second, 0xa5, sizeof(second));
	test_socket();
	return 0;
}
