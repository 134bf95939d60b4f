/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "updater/agent/fetcher.h"
#include "updater/agent/fetcher_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * A proa-fetch that was taken over reads the agent's requests and answers them as the input says:
 * a byte for what and whom, a byte for how. Whatever it says, a byte that is read for an offset of
 * the blob is one that was sent for that offset, and what is held ahead stays within its bound.
 */
enum { BLOB = 4000000, MOVES_MAX = 4000 };

struct asked {
	uint32_t id; /* 0: free */
	uint64_t offset, end, first, at;
};

struct peer {
	int fd;
	const uint8_t *p;
	size_t n;
	struct fetcher *f;
	struct asked asked[WIRE_FLIGHT_MAX];
};

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * UINT64_C(2654435761) >> 11);
}

static void hear(struct peer *p)
{
	static uint8_t frame[WIRE_FRAME_MAX];
	static struct wire_msg m;

	while (wire_recv(p->fd, WIRE_AGENT, frame, &m, NULL) == 1) {
		for (size_t i = 0; m.type == WIRE_GET && i < WIRE_FLIGHT_MAX; i++) {
			if (p->asked[i].id)
				continue;
			p->asked[i] =
				(struct asked){ .id = m.id,
						.offset = m.get.offset,
						.first = m.get.offset,
						.at = m.get.offset,
						.end = m.get.length ? m.get.offset + m.get.length
								    : BLOB };
			break;
		}
	}
}

static void say_note(struct wire_msg *m)
{
	m->type = WIRE_NOTE;
	(void)snprintf(m->note.text, sizeof(m->note.text), "note");
}

static void say_data(struct asked *a, uint8_t how, bool lie, struct wire_msg *m)
{
	static uint8_t bytes[8192];
	uint64_t left = a->end > a->at ? a->end - a->at : 0;
	size_t n = how == 255 ? sizeof(bytes) : 1 + (size_t)how * 20;

	if (!lie && left == 0) {
		say_note(m);
		return;
	}
	if (!lie && n > left)
		n = (size_t)left;
	m->type = WIRE_DATA;
	m->data = (struct wire_data){ .offset = lie ? a->at + how : a->at, .p = bytes, .n = n };
	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(m->data.offset + i);
	a->at += n;
}

static void say_head(struct asked *a, uint8_t how, struct wire_msg *m)
{
	static const char *const etags[] = { "", "\"a\"", "\"b\"", "\"a\"" };

	m->type = WIRE_HEAD;
	m->head.total = how & 1 ? WIRE_UNKNOWN : how & 2 ? BLOB - 1 : BLOB;
	m->head.offset = how & 4 ? 0 : a->offset;
	m->head.ranged = !(how & 8);
	(void)snprintf(m->head.etag, sizeof(m->head.etag), "%s", etags[how >> 4 & 3]);
	a->first = a->at = m->head.offset;
}

/* One move of the peer; false when the input is over. */
static bool speak(struct peer *p)
{
	static struct wire_msg m;
	struct asked *a, none = { .id = 1 };
	uint8_t what, how;

	hear(p);
	if (p->n < 2)
		return false;
	what = p->p[0];
	how = p->p[1];
	p->p += 2;
	p->n -= 2;
	a = &p->asked[what & 31];
	if (a->id == 0)
		a = &none;
	m = (struct wire_msg){ .id = a->id };
	switch (what >> 5) {
	case 0:
		say_head(a, how, &m);
		break;
	case 1:
	case 2:
		say_data(a, how, what >> 5 == 2, &m);
		break;
	case 3:
		m.type = WIRE_END;
		m.end.bytes = a->at - a->first + (how & 1);
		a->id = 0;
		break;
	case 4:
		m.type = WIRE_FAIL;
		m.fail = (struct wire_fail){ .kind = ERR_RETRY + how % 4,
					     .status = how & 16 ? 404 : 0,
					     .changed = how >> 7,
					     .text = "no" };
		a->id = 0;
		break;
	case 5:
		say_note(&m);
		break;
	default:
		fetcher_pause(p->f, how & 1);
		return true;
	}
	(void)!wire_send(p->fd, &m, NULL);
	return true;
}

static int on_wait(void *arg, int fd, short events, int timeout_ms)
{
	(void)fd;
	(void)events;
	(void)timeout_ms;
	return speak(arg) ? 1 : -ECANCELED;
}

static void check(const struct fetcher *f)
{
	const struct fetcher_pass *p = &f->pass;
	uint64_t ahead = 0;

	if (p->flights > FETCHER_FLIGHTS)
		abort();
	for (size_t i = 0; i < p->flights; i++) {
		if (p->flight[i].at > p->flight[i].end)
			abort();
		if (i > 0)
			ahead += p->flight[i].ahead.n;
	}
	if (ahead > FETCHER_AHEAD)
		abort();
}

static int pass(struct fetcher *f, const struct image_source *s, uint8_t shape)
{
	static uint8_t got[5000];
	struct image_run runs[20];
	uint64_t at = (shape & 7) * 1000;
	int r;

	for (size_t i = 0; i < 20; i++) {
		runs[i] = (struct image_run){ at, (uint64_t)1 << (i * shape % 12 +
								  (i == shape % 20 ? 9 : 4)) };
		at += runs[i].len + 1 + i * 3000;
	}
	r = s->begin(s->arg, runs, 20, NULL);
	for (size_t i = 0; i < 20 && r == 0; i++) {
		for (uint64_t k = 0; k < runs[i].len && r == 0; k += sizeof(got)) {
			size_t n = runs[i].len - k < sizeof(got) ? (size_t)(runs[i].len - k)
								 : sizeof(got);

			r = s->read(s->arg, got, n, NULL);
			check(f);
			for (size_t b = 0; r == 0 && b < n; b++)
				if (got[b] != byte_at(runs[i].off + k + b))
					abort();
		}
	}
	return r;
}

/* At a path that is gone when both are connected. */
static struct fetcher *meet(struct peer *p, unsigned mirrors)
{
	static const char urls[] = "http://0/ http://1/ http://2/ http://3/";
	const struct wire_msg hello = { .type = WIRE_HELLO, .version = WIRE_VERSION };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char url[sizeof(urls)];
	struct fetcher_link link = { .socket = sa.sun_path, .url = url, .wait = on_wait, .arg = p };
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)snprintf(url, sizeof(url), "%.*s", (int)(mirrors * 10 - 1), urls);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/fuzz-fetcher-%d", (int)getpid());
	if (listener < 0 || bind(listener, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(listener, 1) < 0 || fetcher_new(&link, &p->f, NULL) < 0)
		abort();
	p->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	(void)unlink(sa.sun_path);
	(void)close(listener);
	if (p->fd < 0 || wire_send(p->fd, &hello, NULL) < 0)
		abort();
	return p->f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct peer p;
	struct image_source s;
	struct fetcher *f;

	if (size < 2 || size > 2 * MOVES_MAX)
		return 0;
	memset(&p, 0, sizeof(p));
	p.p = data + 2;
	p.n = size - 2;
	f = meet(&p, 1 + data[0] % 4);
	if (fetcher_source(f, "blobs/x", BLOB, &s, NULL) < 0)
		abort();
	/* lied to or not, it blames and goes on until nobody is left or the input is over */
	for (unsigned k = 0; k < 5; k++) {
		(void)!pass(f, &s, data[1]);
		if (!fetcher_blame(f, &s, "why"))
			break;
	}
	(void)close(p.fd);
	fetcher_free(f);
	return 0;
}
