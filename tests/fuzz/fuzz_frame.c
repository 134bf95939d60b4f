/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "updater/image/seekable.h"
#include "updater/image/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
	const uint8_t *p;
	size_t n;
	uint64_t out;
	uint64_t sum; /* of what came out */
};

static int memory_begin(void *arg, const struct image_run *runs, size_t n, struct err *e)
{
	(void)arg;
	(void)runs;
	(void)n;
	(void)e;
	return 0;
}

static int memory_read(void *arg, void *p, size_t n, struct err *e)
{
	struct memory *m = arg;

	(void)e;
	if (n > m->n)
		abort();
	memcpy(p, m->p, n);
	m->p += n;
	m->n -= n;
	return 0;
}

static int memory_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct memory *m = arg;

	(void)e;
	for (size_t i = 0; i < n; i++)
		m->sum = m->sum * 31 + ((const uint8_t *)p)[i];
	m->out += n;
	return 0;
}

/*
 * The first 4 bytes are the raw size. A frame either fails or fills exactly that, never a byte
 * more (the buffer is exact); what decodes as a frame, the streaming decoder restores likewise.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_SEEKABLE_DECODER *d = NULL;
	struct memory one = { .p = NULL }, two = { .p = NULL };
	struct image_source src = { memory_begin, memory_read, &two, NULL };
	uint8_t *out;
	size_t raw;
	int r, u;

	if (size < 4)
		return 0;
	raw = 1 + le32_get(data) % SEEKABLE_RAW_MAX;
	data += 4;
	size -= 4;
	out = malloc(raw);
	if (!out || seekable_decoder_new(&d, NULL) < 0)
		abort();
	r = seekable_frame_decode(d, data, size, out, raw, NULL);
	two.p = data;
	two.n = size;
	u = image_unpack(&src, size, raw, memory_put, &two, NULL);
	if (two.out > raw || (u == 0 && two.out != raw) || (r == 0 && u < 0))
		abort();
	if (r == 0) {
		(void)memory_put(&one, out, raw, NULL);
		if (one.sum != two.sum)
			abort();
	}
	free(out);
	return 0;
}
