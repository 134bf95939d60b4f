/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/address.h"
#include "ignition-lite/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int keep(void *arg, const void *p, size_t n, struct err *e)
{
	return buf_add(arg, p, n, e);
}

/* 0 or -errno; status in *status, body in *body. */
static int whole(const uint8_t *data, size_t size, size_t piece, struct ign_answer *a,
		 struct buf *body)
{
	const struct ign_answer_sink sink = { .add = keep, .arg = body };
	int r = 0;

	for (size_t i = 0; r == 0 && i < size; i += piece)
		r = ign_answer_add(a, (const char *)data + i, size - i < piece ? size - i : piece,
				   &sink, NULL);
	return r == 0 ? ign_answer_end(a, NULL) : r;
}

/* Where a redirect leads is a URL or refused, and resolves to itself. */
static void follow(const char *location)
{
	AUTO_BUF once = BUF_INIT;
	AUTO_BUF twice = BUF_INIT;
	struct ign_address a;

	if (ign_address_resolve("http://h:1/a/b?c#d", location, &once, NULL) < 0 || once.n == 0)
		return;
	if (strchr(once.p, '#') || strchr(once.p, ' '))
		abort();
	if (ign_address_read(once.p, &a, NULL) < 0)
		return;
	if (ign_address_resolve(once.p, "", &twice, NULL) < 0 || strcmp(once.p, twice.p) != 0)
		abort();
	if (a.path < once.p || a.path + a.path_n > once.p + once.n || strlen(a.host) == 0)
		abort();
}

/* However the bytes arrive the outcome is one, and no more comes out than went in. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_IGN_ANSWER one = { .status = 0 };
	AUTO_IGN_ANSWER two = { .status = 0 };
	AUTO_BUF a = BUF_INIT;
	AUTO_BUF b = BUF_INIT;
	int ra = whole(data, size, size ? size : 1, &one, &a);
	int rb = whole(data, size, size ? 1 + data[0] % 7 : 1, &two, &b);

	if (ra != rb || a.n > size || one.status != two.status || one.headed != two.headed)
		abort();
	if (ra == 0 && (a.n != b.n || (a.n && memcmp(a.p, b.p, a.n) != 0)))
		abort();
	if (one.headed && (one.status < 101 || one.status > 999))
		abort();
	if (one.headed && one.location.n > 0)
		follow(one.location.p);
	return 0;
}
