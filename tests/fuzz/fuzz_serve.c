/* SPDX-License-Identifier: Apache-2.0 */
/* proa-fetch's side of the wire, before an agent that sends anything. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "updater/fetch/serve.h"
#include "updater/fetch/settings.h"
#include "updater/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The agent's frames: two bytes of length before each. A cut one is as long as there is data. */
static void send_frames(int fd, const uint8_t *data, size_t size)
{
	while (size >= 2) {
		size_t n = (size_t)data[0] | (size_t)data[1] << 8;

		data += 2;
		size -= 2;
		n = n > size ? size : n;
		/* an empty packet is the end, for a reader of SOCK_SEQPACKET */
		if (n > 0 && send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		data += n;
		size -= n;
	}
}

/* A greeting of this version, so that what follows is looked at. */
static void greet(int fd)
{
	struct wire_msg hello = { .type = WIRE_HELLO, .version = WIRE_VERSION };
	uint8_t frame[64];
	int n = wire_encode(&hello, frame, sizeof(frame), NULL);

	if (n < 0 || send(fd, frame, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		abort();
}

/* True if proa-fetch could take some of it for something to ask a network for. */
static bool speaks_of_http(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 4 <= size; i++)
		if (strncasecmp((const char *)data + i, "http", 4) == 0)
			return true;
	return false;
}

/* As many harmless messages as proa-fetch hears in one turn: then it speaks before it hears the
 * end. */
static void fill_turn(int fd)
{
	struct wire_msg cancel = { .type = WIRE_CANCEL, .id = UINT32_MAX };
	uint8_t frame[64];
	int n = wire_encode(&cancel, frame, sizeof(frame), NULL);

	for (unsigned i = 0; n > 0 && i < 64; i++)
		(void)!send(fd, frame, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Whatever it said in return is what proa-fetch may say. */
static void check_answers(int fd)
{
	static uint8_t frame[WIRE_FRAME_MAX];
	struct wire_msg m;
	int r;

	while ((r = wire_recv(fd, WIRE_FETCH, frame, &m, NULL)) > 0)
		;
	if (r != 0 && r != -EAGAIN && r != -ECONNRESET)
		abort();
}

/* No frame makes proa-fetch crash, hang or say what it must not; what is no protocol is refused. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fetch_settings settings = FETCH_SETTINGS_INIT;
	struct err e = ERR_INIT;
	int fd[2], r;

	if (size < 1)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
		abort();
	if (data[0] & 1)
		greet(fd[0]);
	send_frames(fd[0], data + 1, size - 1);
	if ((data[0] & 3) == 3 && !speaks_of_http(data, size))
		fill_turn(fd[0]);
	/* it hangs up before anything could go to a network */
	(void)shutdown(fd[0], SHUT_WR);
	r = fetch_serve(fd[1], &settings, &e);
	(void)close(fd[1]);
	if (r > 0 || (r < 0 && e.kind != ERR_REFUSED && e.kind != ERR_HOST))
		abort();
	check_answers(fd[0]);
	(void)close(fd[0]);
	return 0;
}
