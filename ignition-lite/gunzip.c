/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/gunzip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"

enum { CHUNK = 32768, WINDOW_GZIP = 15 + 16 };

struct ign_gunzip {
	z_stream z;
	bool open, between; /* between two members */
	uint64_t left, max;
	ign_bytes_fn fn;
	void *arg;
	uint8_t out[CHUNK];
};

void ign_gunzip_free(struct ign_gunzip *g)
{
	if (g && g->open)
		(void)inflateEnd(&g->z);
	free(g);
}

int ign_gunzip_new(uint64_t max, ign_bytes_fn fn, void *arg, struct ign_gunzip **ret, struct err *e)
{
	struct ign_gunzip *g = calloc(1, sizeof(*g));

	if (!g)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (inflateInit2(&g->z, WINDOW_GZIP) != Z_OK) {
		free(g);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	g->open = true;
	g->left = g->max = max;
	g->fn = fn;
	g->arg = arg;
	*ret = g;
	return 0;
}

static int give(struct ign_gunzip *g, size_t n, struct err *e)
{
	if (n > g->left)
		return err_set(e, ERR_INPUT, EFBIG,
			       "it decompresses to more than %" PRIu64 " bytes", g->max);
	g->left -= n;
	return n > 0 ? g->fn(g->arg, g->out, n, e) : 0;
}

static int inflate_some(struct ign_gunzip *g, struct err *e)
{
	int z, r;

	g->between = false;
	g->z.next_out = g->out;
	g->z.avail_out = CHUNK;
	z = inflate(&g->z, Z_NO_FLUSH);
	if (z == Z_MEM_ERROR)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
		return err_set(e, ERR_INPUT, EINVAL, "it is no valid gzip: %s",
			       g->z.msg ? g->z.msg : "damaged");
	r = give(g, CHUNK - g->z.avail_out, e);
	if (r < 0)
		return r;
	if (z == Z_STREAM_END) {
		g->between = true;
		if (inflateReset(&g->z) != Z_OK)
			return err_set(e, ERR_BUG, EIO, "zlib does not start anew");
	}
	return 0;
}

int ign_gunzip_add(struct ign_gunzip *g, const void *p, size_t n, struct err *e)
{
	const uint8_t *from = p;

	while (n > 0) {
		uInt part = n > CHUNK ? CHUNK : (uInt)n;
		bool full;
		int r;

		/* zlib does not write to it */
		memcpy(&g->z.next_in, &from, sizeof(from));
		g->z.avail_in = part;
		do {
			r = inflate_some(g, e);
			if (r < 0)
				return r;
			full = g->z.avail_out == 0;
		} while (g->z.avail_in > 0 || (full && !g->between));
		from += part;
		n -= part;
	}
	return 0;
}

int ign_gunzip_end(struct ign_gunzip *g, struct err *e)
{
	if (!g->between)
		return err_set(e, ERR_INPUT, EINVAL, "it is no whole gzip: it ends too early");
	return 0;
}
