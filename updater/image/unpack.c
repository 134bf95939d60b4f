/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/unpack.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "updater/image/seekable.h"

#define WINDOW_LOG 23 /* SEEKABLE_WINDOW_MAX */
#define IN_BYTES   ((size_t)64 << 10)
#define OUT_BYTES  ((size_t)128 << 10)

struct unpack {
	ZSTD_DCtx *ctx;
	uint8_t *in, *out;
	uint64_t left; /* raw bytes still allowed */
	image_put_fn put;
	void *arg;
	bool midframe;
};

static void unpack_done(struct unpack *u)
{
	(void)ZSTD_freeDCtx(u->ctx);
	free(u->in);
	free(u->out);
}

static int unpack_refuse(struct err *e, const char *why)
{
	return err_set(e, ERR_REFUSED, EBADMSG, "compressed blob refused: %s", why);
}

/* Decodes in[0..n) and hands on what comes out of it. */
static int unpack_chunk(struct unpack *u, size_t n, struct err *e)
{
	ZSTD_inBuffer in = { .src = u->in, .size = n };
	bool more = false; /* the output was filled: there may be more to come without input */

	while (in.pos < in.size || more) {
		ZSTD_outBuffer out = { .dst = u->out, .size = OUT_BYTES };
		size_t hint = ZSTD_decompressStream(u->ctx, &out, &in);
		int r;

		if (ZSTD_isError(hint))
			return unpack_refuse(e, ZSTD_getErrorName(hint));
		if (out.pos > u->left)
			return unpack_refuse(e, "it holds more than it was said to");
		u->left -= out.pos;
		u->midframe = hint != 0;
		more = out.pos == out.size && u->midframe;
		r = out.pos ? u->put(u->arg, out.dst, out.pos, e) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int unpack_new(struct unpack *u, struct err *e)
{
	u->ctx = ZSTD_createDCtx();
	u->in = malloc(IN_BYTES);
	u->out = malloc(OUT_BYTES);
	if (!u->ctx || !u->in || !u->out)
		return err_set(e, ERR_HOST, ENOMEM, "zstd decoder");
	if (ZSTD_isError(ZSTD_DCtx_setParameter(u->ctx, ZSTD_d_windowLogMax, WINDOW_LOG)))
		return err_set(e, ERR_BUG, EINVAL, "zstd refuses a window limit of 8 MiB");
	return 0;
}

int image_unpack(const struct image_source *src, uint64_t packed, uint64_t raw, image_put_fn put,
		 void *arg, struct err *e)
{
	CLEANUP(unpack_done) struct unpack u = { .left = raw, .put = put, .arg = arg };
	const struct image_run run = { .off = 0, .len = packed };
	int r;

	if (packed == 0)
		return unpack_refuse(e, "it is empty");
	r = unpack_new(&u, e);
	if (r < 0)
		return r;
	r = src->begin(src->arg, &run, 1, e);
	if (r < 0)
		return r;
	for (uint64_t at = 0; at < packed;) {
		size_t n = (size_t)(packed - at < IN_BYTES ? packed - at : IN_BYTES);

		r = src->read(src->arg, u.in, n, e);
		if (r < 0)
			return r;
		r = unpack_chunk(&u, n, e);
		if (r < 0)
			return r;
		at += n;
	}
	if (u.midframe)
		return unpack_refuse(e, "it ends in the middle of a frame");
	if (u.left)
		return unpack_refuse(e, "it holds less than it was said to");
	return 0;
}
