/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/fuzz/mem_sys.h"
#include "updater/image/bspatch.h"
#include "updater/image/index.h"
#include "updater/image/patch.h"
#include "updater/image/seekable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AT_TARGET = 32, AT_RECIPE_RAW = 80, AT_RECIPE_PACKED = 84, AT_PACKED = 88, AT_SOURCE = 96 };

struct memory {
	const uint8_t *p;
	uint64_t n, at, out;
};

static int memory_begin(void *arg, const struct image_run *runs, size_t n, struct err *e)
{
	struct memory *m = arg;

	(void)e;
	if (n != 1 || runs[0].off > m->n || runs[0].len > m->n - runs[0].off)
		abort();
	m->at = runs[0].off;
	return 0;
}

static int memory_read(void *arg, void *p, size_t n, struct err *e)
{
	struct memory *m = arg;

	if (n > m->n - m->at)
		return err_set(e, ERR_RETRY, ECONNRESET, "behind the end");
	memcpy(p, m->p + m->at, n);
	m->at += n;
	return 0;
}

static int memory_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct memory *m = arg;

	(void)p;
	(void)e;
	m->out += n;
	return 0;
}

static bool inside(const struct image_delta *d, unsigned s, uint64_t from, uint64_t len)
{
	uint64_t n = s < d->sources ? d->source[s].bytes / d->unit : 0;

	return len <= n && from <= n - len;
}

static void check_pieces(const struct image_delta *d)
{
	uint64_t at = 0, fresh = 0;

	for (size_t i = 0; i < d->n_pieces; i++) {
		const struct image_piece *p = &d->pieces[i];

		if (p->at != at || p->len == 0)
			abort();
		at += p->len;
		if (p->kind >= IMAGE_PIECE_COPY &&
		    !inside(d, p->kind == IMAGE_PIECE_COPY_SECOND, p->from, p->len))
			abort();
		if (p->kind != IMAGE_PIECE_FRAME)
			continue;
		if (p->from != fresh)
			abort();
		fresh += p->len;
	}
	if (at * d->unit != d->target.bytes || fresh * d->unit != d->raw_bytes)
		abort();
}

/* What every parsed delta must be, whatever was given. */
static void check_delta(const struct image_delta *d)
{
	check_pieces(d);
	for (size_t i = 0; i < d->frames; i++) {
		size_t prefix = 0;

		for (size_t k = d->first[i]; k < d->first[i + 1]; k++) {
			const struct image_extent *x = &d->extents[k];

			prefix += (size_t)x->len * d->unit;
			if (!inside(d, x->source, x->off, x->len))
				abort();
		}
		if (prefix > d->prefix_max || d->prefix_max > IMAGE_PREFIX_MAX ||
		    d->packed[i + 1] <= d->packed[i])
			abort();
	}
	for (size_t i = 0; i < d->frames; i++) {
		size_t raw = image_delta_frame_bytes(d, i);

		if (d->control[i] > IMAGE_CONTROL_MAX(raw) ||
		    (d->control[i] > 0 && d->mixed_max < raw + d->control[i]))
			abort();
	}
	if (d->packed[d->frames] != d->blob_bytes)
		abort();
}

/* Written anew and read again it is the same; applied, it gives the target's length or fails. */
static void check_again(const struct image_delta *d, const struct image_delta_want *want,
			struct memory *m)
{
	AUTO_IMAGE_DELTA *e = NULL;
	AUTO_BUF out = BUF_INIT;
	struct image_delta_want w = *want;
	uint8_t base[4096];
	struct mem_sys sys = { .sys = { &mem_ops }, .p = base, .n = sizeof(base) };
	struct image_source src = { memory_begin, memory_read, m, NULL };
	struct image_patch_job job = {
		.sys = &sys.sys, .delta = d, .src = &src, .put = memory_put, .put_arg = m
	};

	if (image_delta_format(d, &out, NULL) < 0)
		abort();
	w.blob_bytes = out.n + d->packed[d->frames] - d->packed[0];
	if (image_delta_parse((uint8_t *)out.p, out.n, &w, &e, NULL) < 0 ||
	    e->n_pieces != d->n_pieces || e->frames != d->frames ||
	    e->prefix_max != d->prefix_max || e->mixed_max != d->mixed_max ||
	    memcmp(e->control, d->control, d->frames * sizeof(*d->control)) != 0 ||
	    memcmp(e->first, d->first, (d->frames + 1) * sizeof(*d->first)) != 0)
		abort();
	if (d->target.bytes > 1 << 20 || m->n < d->blob_bytes)
		return;
	memset(base, 7, sizeof(base));
	job.source[0].bytes = job.source[1].bytes = sizeof(base);
	if (image_patch(&job, NULL, NULL) == 0 ? m->out != d->target.bytes
					       : m->out > d->target.bytes)
		abort();
}

/*
 * A delta whose recipe is not packed yet (so that mutations meet the recipe and not zstd): header,
 * raw recipe, frames. What the manifest would say is taken from the header.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_IMAGE_DELTA *d = NULL;
	AUTO_FREE uint8_t *blob = NULL;
	struct image_delta_want want = { .unit = 0 };
	struct memory m = { .p = NULL };
	size_t raw, n, head;

	if (size < IMAGE_DELTA_HEADER)
		return 0;
	raw = le32_get(data + AT_RECIPE_RAW);
	raw = raw < size - IMAGE_DELTA_HEADER ? raw : size - IMAGE_DELTA_HEADER;
	blob = malloc(size + ZSTD_compressBound(raw));
	if (!blob)
		abort();
	memcpy(blob, data, IMAGE_DELTA_HEADER);
	n = ZSTD_compress(blob + IMAGE_DELTA_HEADER, ZSTD_compressBound(raw),
			  data + IMAGE_DELTA_HEADER, raw, 1);
	if (ZSTD_isError(n))
		abort();
	head = IMAGE_DELTA_HEADER + n;
	le32_put(blob + AT_RECIPE_RAW, (uint32_t)raw);
	le32_put(blob + AT_RECIPE_PACKED, (uint32_t)n);
	memcpy(blob + head, data + IMAGE_DELTA_HEADER + raw, size - IMAGE_DELTA_HEADER - raw);
	want.unit = le32_get(data + 12);
	memcpy(want.target.id, data + AT_TARGET, 32);
	want.target.bytes = le64_get(data + AT_TARGET + 32);
	for (size_t s = 0; s < IMAGE_DELTA_SOURCES; s++) {
		memcpy(want.source[s].id, data + AT_SOURCE + 40 * s, 32);
		want.source[s].bytes = le64_get(data + AT_SOURCE + 40 * s + 32);
	}
	want.blob_bytes = head + le64_get(data + AT_PACKED);
	m.p = blob;
	m.n = head + size - IMAGE_DELTA_HEADER - raw;
	if (image_delta_parse(blob, head, &want, &d, NULL) < 0)
		return 0;
	check_delta(d);
	check_again(d, &want, &m);
	return 0;
}
