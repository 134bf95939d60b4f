/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "updater/wire/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OFFSET = 10, LENGTH = 20, MAX = 100 };

/*
 * A hostile proa-fetch: packets of u16 length and bytes. Whatever it says, the client hands out
 * only bytes 0..30 of request 1 and 0..100 of request 2, in order, once, and one answer to the POST
 * that is request 3.
 */
struct seen {
	uint64_t next[3];
	bool head[3];
	bool answered;
};

static void look(struct seen *s, const struct wire_msg *m)
{
	if (m->id < 1 || m->id > 3)
		abort();
	if (m->id == 3) {
		if (s->answered ||
		    (m->type != WIRE_REPLY && m->type != WIRE_FAIL && m->type != WIRE_NOTE))
			abort();
		s->answered = m->type != WIRE_NOTE;
		return;
	}
	if (m->type == WIRE_REPLY)
		abort();
	if (m->type == WIRE_HEAD) {
		if (s->head[m->id])
			abort();
		s->head[m->id] = true;
		s->next[m->id] = m->head.offset;
	} else if (m->type == WIRE_DATA) {
		if (!s->head[m->id] || m->data.offset != s->next[m->id])
			abort();
		s->next[m->id] += m->data.n;
		if (s->next[m->id] > (m->id == 1 ? OFFSET + LENGTH : MAX))
			abort();
	} else if (m->type == WIRE_END && m->id == 1 && s->next[1] != OFFSET + LENGTH) {
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_get a = { .url = "http://h/a",
			      .offset = OFFSET,
			      .length = LENGTH,
			      .max_bytes = MAX },
			b = { .url = "http://h/b", .max_bytes = MAX };
	const struct wire_msg *m;
	struct wire_client *c;
	struct wire_post p = { .url = "http://h/p", .deadline_s = 1 };
	struct seen seen = { { 0 }, { false }, false };
	uint32_t id;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
	    wire_client_new(pair[0], &c, NULL) < 0 || wire_client_get(c, &a, &id, NULL) < 0 ||
	    wire_client_get(c, &b, &id, NULL) < 0 || wire_client_post(c, &p, &id, NULL) < 0 ||
	    wire_client_post(c, &p, &id, NULL) != -EBUSY)
		abort();
	while (size >= 2) {
		size_t n = le16_get(data);

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		if (n > 0 && send(pair[1], data, n, MSG_NOSIGNAL) < 0)
			break;
		data += n;
		size -= n;
		r = wire_client_next(c, 0, &m, NULL);
		if (r < 0)
			break;
		if (r > 0)
			look(&seen, m);
	}
	(void)close(pair[1]);
	wire_client_free(c);
	return 0;
}
