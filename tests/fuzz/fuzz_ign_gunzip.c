/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/gunzip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_LIMIT = 1 << 16 };

static int keep(void *arg, const void *p, size_t n, struct err *e)
{
	return buf_add(arg, p, n, e);
}

/* 0 or -errno; the bytes in *out. */
static int whole(const uint8_t *data, size_t size, size_t piece, struct buf *out)
{
	__attribute__((cleanup(ign_gunzip_freep))) struct ign_gunzip *g = NULL;
	int r = ign_gunzip_new(OUT_LIMIT, keep, out, &g, NULL);

	for (size_t i = 0; r == 0 && i < size; i += piece)
		r = ign_gunzip_add(g, data + i, size - i < piece ? size - i : piece, NULL);
	return r == 0 ? ign_gunzip_end(g, NULL) : r;
}

/* However the bytes arrive, the outcome is one; and never more comes out than the limit. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF a = BUF_INIT;
	AUTO_BUF b = BUF_INIT;
	int ra, rb;

	ra = whole(data, size, size ? size : 1, &a);
	rb = whole(data, size, size ? 1 + data[0] % 7 : 1, &b);
	if (a.n > OUT_LIMIT || b.n > OUT_LIMIT)
		abort();
	if ((ra == 0) != (rb == 0))
		abort();
	if (ra == 0 && (a.n != b.n || (a.n && memcmp(a.p, b.p, a.n) != 0)))
		abort();
	return 0;
}
