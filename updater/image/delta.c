/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/delta.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/varint.h"
#include "updater/image/bspatch.h"
#include "updater/image/index.h"
#include "updater/image/seekable.h"

#define DELTA_VERSION 2u
#define RECIPE_LEVEL  19
#define WHOLE_BYTES   ((size_t)40)

enum {
	AT_VERSION = 8,
	AT_UNIT = 12,
	AT_FRAME_RAW = 16,
	AT_SOURCES = 20,
	AT_PIECES = 24,
	AT_FRAMES = 28,
	AT_TARGET = 32,
	AT_NEW = 72,
	AT_RECIPE_RAW = 80,
	AT_RECIPE_PACKED = 84,
	AT_PACKED = 88,
	AT_SOURCE = 96,
	AT_REST = 176,
};

static const char magic[8] = { 'p', 'r', 'o', 'a', '-', 'd', 'l', 't' };

void image_delta_free(struct image_delta *d)
{
	if (!d)
		return;
	free(d->pieces);
	free(d->packed);
	free(d->control);
	free(d->first);
	free(d->extents);
	free(d);
}

size_t image_delta_frame_bytes(const struct image_delta *d, size_t i)
{
	uint64_t left = d->raw_bytes - (uint64_t)i * d->frame;

	return left < d->frame ? (size_t)left : d->frame;
}

bool image_delta_frame_fits(uint64_t bytes)
{
	return bytes >= IMAGE_DELTA_FRAME_MIN && bytes <= IMAGE_DELTA_FRAME_MAX &&
	       (bytes & (bytes - 1)) == 0;
}

static int refuse(struct err *e, const char *why)
{
	return err_set(e, ERR_REFUSED, EBADMSG, "delta refused: %s", why);
}

/* Appends a number to the recipe. */
static int number_put(struct buf *b, uint64_t v, struct err *e)
{
	uint8_t p[VARINT_MAX];

	return buf_add(b, p, varint_put(p, v), e);
}

static uint64_t units(const struct image_delta *d, const struct image_whole *w)
{
	return w->bytes / d->unit;
}

/* Is [off, off + len) of source s inside it? */
static bool source_holds(const struct image_delta *d, unsigned s, uint64_t off, uint64_t len)
{
	uint64_t n = s < d->sources ? units(d, &d->source[s]) : 0;

	return len <= n && off <= n - len;
}

static bool is_copy(enum image_piece_kind kind)
{
	return kind == IMAGE_PIECE_COPY || kind == IMAGE_PIECE_COPY_SECOND;
}

/*
 * Piece: varint of len * 4 + kind; for a copy, how its distance (source minus target) differs from
 * that of the copy before from the same source.
 */
static int pieces_read(struct image_delta *d, struct varint_reader *rd, struct err *e)
{
	uint64_t left = units(d, &d->target), at = 0, fresh = 0;
	uint64_t distance[IMAGE_DELTA_SOURCES] = { 0 };

	for (size_t i = 0; i < d->n_pieces; i++) {
		struct image_piece *p = &d->pieces[i];
		uint64_t v = varint_get(rd), len = v >> 2;

		if (rd->bad || len == 0 || len > left)
			return refuse(e, "its pieces are not those of the target");
		p->kind = (enum image_piece_kind)(v & 3);
		p->at = (uint32_t)at;
		p->len = (uint32_t)len;
		if (is_copy(p->kind)) {
			unsigned s = p->kind == IMAGE_PIECE_COPY ? 0 : 1;

			distance[s] += varint_unzigzag(varint_get(rd));
			p->from = at + distance[s];
			if (rd->bad || !source_holds(d, s, p->from, len))
				return refuse(e, "it copies from outside of its source");
		} else if (p->kind == IMAGE_PIECE_FRAME) {
			p->from = fresh;
			fresh += len;
		}
		at += len;
		left -= len;
	}
	if (left != 0)
		return refuse(e, "its pieces do not fill the target");
	if (fresh * d->unit != d->raw_bytes)
		return refuse(e, "its frames do not hold what its pieces take");
	return 0;
}

/* The extents of one frame, appended behind *n ones. */
static int extents_read(struct image_delta *d, struct varint_reader *rd, size_t *n, uint64_t *hint,
			struct err *e)
{
	uint64_t count = varint_get(rd), total = 0;

	if (rd->bad || count > IMAGE_EXTENTS_MAX || count > (uint64_t)(rd->end - rd->p))
		return refuse(e, "a prefix has too many parts");
	for (uint64_t i = 0; i < count; i++) {
		struct image_extent *x = &d->extents[*n];
		uint64_t v = varint_get(rd), len = v >> 1;

		*hint += varint_unzigzag(varint_get(rd));
		if (rd->bad || len == 0 || len > IMAGE_PREFIX_MAX / d->unit)
			return refuse(e, "a prefix has a part of impossible length");
		if (!source_holds(d, v & 1, *hint, len))
			return refuse(e, "a prefix lies outside of its source");
		*x = (struct image_extent){ *hint, (uint32_t)len, (uint32_t)(v & 1) };
		total += len * d->unit;
		*hint += len;
		(*n)++;
	}
	if (total > IMAGE_PREFIX_MAX)
		return refuse(e, "a prefix is longer than 2 MiB");
	if (total > d->prefix_max)
		d->prefix_max = (size_t)total;
	return 0;
}

/*
 * Frame: varints of its packed bytes, of its bytes of control and of the number of extents; each of
 * those: varint of units * 2 + source, and where it begins as difference from the end of the extent
 * before.
 */
static int frames_read(struct image_delta *d, struct varint_reader *rd, struct err *e)
{
	uint64_t hint = 0;
	size_t n = 0;

	for (size_t i = 0; i < d->frames; i++) {
		const size_t raw = image_delta_frame_bytes(d, i);
		uint64_t packed = varint_get(rd), control = varint_get(rd);
		int r;

		if (rd->bad || packed == 0 || packed > SEEKABLE_PACKED_MAX(raw))
			return refuse(e, "a frame has an impossible size");
		if (control > IMAGE_CONTROL_MAX(raw))
			return refuse(e, "a frame has too much control");
		if (control > 0 && raw + control > d->mixed_max)
			d->mixed_max = raw + (size_t)control;
		d->packed[i + 1] = d->packed[i] + packed;
		d->control[i] = (uint32_t)control;
		d->first[i] = (uint32_t)n;
		r = extents_read(d, rd, &n, &hint, e);
		if (r < 0)
			return r;
	}
	d->first[d->frames] = (uint32_t)n;
	if (rd->p != rd->end)
		return refuse(e, "there is something behind its recipe");
	if (d->packed[d->frames] != d->blob_bytes)
		return refuse(e, "its frames do not fill the blob");
	return 0;
}

static int tables_new(struct image_delta *d, size_t recipe, struct err *e)
{
	/* a piece takes a byte or more, an extent two, a frame three: so this is bounded */
	if (d->n_pieces > recipe || d->frames > recipe / 3)
		return refuse(e, "its recipe is too short");
	d->pieces = calloc(d->n_pieces + 1, sizeof(*d->pieces));
	d->packed = calloc(d->frames + 1, sizeof(*d->packed));
	d->control = calloc(d->frames + 1, sizeof(*d->control));
	d->first = calloc(d->frames + 1, sizeof(*d->first));
	d->extents = calloc(recipe / 2 + 1, sizeof(*d->extents));
	if (!d->pieces || !d->packed || !d->control || !d->first || !d->extents)
		return err_set(e, ERR_HOST, ENOMEM, "recipe of a delta");
	return 0;
}

static void whole_read(const uint8_t *p, struct image_whole *w)
{
	memcpy(w->id, p, sizeof(w->id));
	w->bytes = le64_get(p + sizeof(w->id));
}

static void whole_write(uint8_t *p, const struct image_whole *w)
{
	memcpy(p, w->id, sizeof(w->id));
	le64_put(p + sizeof(w->id), w->bytes);
}

static bool whole_same(const struct image_whole *a, const struct image_whole *b)
{
	return a->bytes == b->bytes && memcmp(a->id, b->id, sizeof(a->id)) == 0;
}

int image_delta_head_bytes(const uint8_t p[IMAGE_DELTA_HEADER], uint64_t *ret, struct err *e)
{
	uint32_t packed = le32_get(p + AT_RECIPE_PACKED), raw = le32_get(p + AT_RECIPE_RAW);

	if (memcmp(p, magic, sizeof(magic)) != 0)
		return refuse(e, "the blob is no delta");
	if (le32_get(p + AT_VERSION) != DELTA_VERSION)
		return err_set(e, ERR_REFUSED, EOPNOTSUPP,
			       "delta of version %u, only %u is known here",
			       le32_get(p + AT_VERSION), DELTA_VERSION);
	if (raw == 0 || raw > IMAGE_DELTA_RECIPE_MAX || packed > SEEKABLE_PACKED_MAX(raw))
		return refuse(e, "its recipe has an impossible size");
	*ret = (uint64_t)IMAGE_DELTA_HEADER + packed;
	return 0;
}

static bool unit_fits(const struct image_delta *d)
{
	uint64_t most = d->unit == 1 ? IMAGE_DELTA_FILE_MAX : IMAGE_BLOCKS_MAX * IMAGE_BLOCK;

	if (d->unit != 1 && d->unit != IMAGE_BLOCK)
		return false;
	if (d->target.bytes == 0 || d->target.bytes > most || d->target.bytes % d->unit != 0)
		return false;
	for (unsigned s = 0; s < d->sources; s++)
		if (d->source[s].bytes == 0 || d->source[s].bytes % d->unit != 0 ||
		    d->source[s].bytes > IMAGE_BLOCKS_MAX * IMAGE_BLOCK)
			return false;
	return true;
}

static int header_read(struct image_delta *d, const uint8_t *p, const struct image_delta_want *want,
		       struct err *e)
{
	static const uint8_t zero[IMAGE_DELTA_HEADER];

	d->unit = le32_get(p + AT_UNIT);
	d->sources = le32_get(p + AT_SOURCES);
	d->frame = le32_get(p + AT_FRAME_RAW);
	d->n_pieces = le32_get(p + AT_PIECES);
	d->frames = le32_get(p + AT_FRAMES);
	d->raw_bytes = le64_get(p + AT_NEW);
	d->blob_bytes = want->blob_bytes;
	whole_read(p + AT_TARGET, &d->target);
	for (unsigned s = 0; s < IMAGE_DELTA_SOURCES; s++)
		whole_read(p + AT_SOURCE + s * WHOLE_BYTES, &d->source[s]);
	if (d->sources < 1 || d->sources > IMAGE_DELTA_SOURCES ||
	    (d->sources == 1 && memcmp(p + AT_SOURCE + WHOLE_BYTES, zero, WHOLE_BYTES) != 0))
		return refuse(e, "it names no possible sources");
	if (!unit_fits(d) || !image_delta_frame_fits(d->frame) ||
	    memcmp(p + AT_REST, zero, IMAGE_DELTA_HEADER - AT_REST) != 0)
		return refuse(e, "its header is malformed");
	if (d->unit != want->unit || !whole_same(&d->target, &want->target))
		return refuse(e, "it makes something else");
	for (unsigned s = 0; s < d->sources; s++)
		if (!whole_same(&d->source[s], &want->source[s]))
			return refuse(e, "it is from another base");
	if (d->n_pieces == 0 || d->n_pieces > IMAGE_DELTA_PIECES_MAX ||
	    d->raw_bytes > d->target.bytes || d->frames != (d->raw_bytes + d->frame - 1) / d->frame)
		return refuse(e, "its header contradicts itself");
	return 0;
}

static int recipe_unpack(const uint8_t *p, size_t n, uint8_t *out, size_t raw, struct err *e)
{
	AUTO_SEEKABLE_DECODER *dec = NULL;
	int r = seekable_decoder_new(&dec, e);

	if (r < 0)
		return r;
	r = seekable_frame_decode(dec, p, n, out, raw, e);
	return r < 0 ? err_wrap(e, r, "recipe of a delta") : 0;
}

int image_delta_parse(const uint8_t *p, size_t n, const struct image_delta_want *want,
		      struct image_delta **ret, struct err *e)
{
	AUTO_IMAGE_DELTA *d = calloc(1, sizeof(*d));
	AUTO_FREE uint8_t *recipe = NULL;
	uint64_t head = 0, end = 0;
	size_t raw;
	int r;

	if (!d)
		return err_set(e, ERR_HOST, ENOMEM, "delta");
	if (n < IMAGE_DELTA_HEADER)
		return refuse(e, "it is cut short");
	r = image_delta_head_bytes(p, &head, e);
	if (r < 0)
		return r;
	r = header_read(d, p, want, e);
	if (r < 0)
		return r;
	end = head + le64_get(p + AT_PACKED);
	if (n != head || end < head || end != want->blob_bytes)
		return refuse(e, "it has another length");
	raw = le32_get(p + AT_RECIPE_RAW);
	r = tables_new(d, raw, e);
	if (r < 0)
		return r;
	recipe = malloc(raw);
	if (!recipe)
		return err_set(e, ERR_HOST, ENOMEM, "recipe of a delta");
	r = recipe_unpack(p + IMAGE_DELTA_HEADER, n - IMAGE_DELTA_HEADER, recipe, raw, e);
	if (r < 0)
		return r;

	struct varint_reader rd = { .p = recipe, .end = recipe + raw };

	r = pieces_read(d, &rd, e);
	if (r < 0)
		return r;
	d->packed[0] = head;
	r = frames_read(d, &rd, e);
	if (r < 0)
		return r;
	*ret = TAKE(d);
	return 0;
}

static int part_read(const struct image_source *src, uint64_t off, uint8_t *p, size_t n,
		     struct err *e)
{
	const struct image_run run = { .off = off, .len = n };
	int r = src->begin(src->arg, &run, 1, e);

	return r < 0 ? r : src->read(src->arg, p, n, e);
}

int image_delta_fetch(const struct image_source *src, const struct image_delta_want *want,
		      struct image_delta **ret, uint64_t *ret_fetched, struct err *e)
{
	AUTO_FREE uint8_t *p = NULL;
	uint8_t header[IMAGE_DELTA_HEADER];
	uint64_t n = 0;
	int r;

	if (want->blob_bytes < sizeof(header))
		return refuse(e, "it is cut short");
	r = part_read(src, 0, header, sizeof(header), e);
	if (r < 0)
		return r;
	*ret_fetched = sizeof(header);
	r = image_delta_head_bytes(header, &n, e);
	if (r < 0)
		return r;
	if (n > want->blob_bytes || n == sizeof(header))
		return refuse(e, "its recipe does not lie in it");
	p = malloc((size_t)n);
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "recipe of a delta");
	memcpy(p, header, sizeof(header));
	r = part_read(src, sizeof(header), p + sizeof(header), (size_t)n - sizeof(header), e);
	if (r < 0)
		return r;
	*ret_fetched = n;
	return image_delta_parse(p, (size_t)n, want, ret, e);
}

static int pieces_write(const struct image_delta *d, struct buf *b, struct err *e)
{
	uint64_t distance[IMAGE_DELTA_SOURCES] = { 0 };

	for (size_t i = 0; i < d->n_pieces; i++) {
		const struct image_piece *p = &d->pieces[i];
		unsigned s = p->kind == IMAGE_PIECE_COPY_SECOND;
		int r = number_put(b, (uint64_t)p->len << 2 | p->kind, e);

		if (r < 0)
			return r;
		if (!is_copy(p->kind))
			continue;
		r = number_put(b, varint_zigzag(p->from - p->at - distance[s]), e);
		if (r < 0)
			return r;
		distance[s] = p->from - p->at;
	}
	return 0;
}

static int frames_write(const struct image_delta *d, struct buf *b, struct err *e)
{
	uint64_t hint = 0;

	for (size_t i = 0; i < d->frames; i++) {
		int r = number_put(b, d->packed[i + 1] - d->packed[i], e);

		if (r >= 0)
			r = number_put(b, d->control[i], e);
		if (r >= 0)
			r = number_put(b, d->first[i + 1] - d->first[i], e);
		for (size_t k = d->first[i]; r >= 0 && k < d->first[i + 1]; k++) {
			const struct image_extent *x = &d->extents[k];

			r = number_put(b, (uint64_t)x->len << 1 | x->source, e);
			if (r >= 0)
				r = number_put(b, varint_zigzag(x->off - hint), e);
			hint = x->off + x->len;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static void header_write(const struct image_delta *d, size_t raw, size_t packed, uint8_t *h)
{
	memset(h, 0, IMAGE_DELTA_HEADER);
	memcpy(h, magic, sizeof(magic));
	le32_put(h + AT_VERSION, DELTA_VERSION);
	le32_put(h + AT_UNIT, d->unit);
	le32_put(h + AT_FRAME_RAW, (uint32_t)d->frame);
	le32_put(h + AT_SOURCES, d->sources);
	le32_put(h + AT_PIECES, (uint32_t)d->n_pieces);
	le32_put(h + AT_FRAMES, (uint32_t)d->frames);
	whole_write(h + AT_TARGET, &d->target);
	le64_put(h + AT_NEW, d->raw_bytes);
	le32_put(h + AT_RECIPE_RAW, (uint32_t)raw);
	le32_put(h + AT_RECIPE_PACKED, (uint32_t)packed);
	le64_put(h + AT_PACKED, d->packed[d->frames] - d->packed[0]);
	for (unsigned s = 0; s < d->sources; s++)
		whole_write(h + AT_SOURCE + s * WHOLE_BYTES, &d->source[s]);
}

int image_delta_format(const struct image_delta *d, struct buf *out, struct err *e)
{
	AUTO_BUF recipe = { .max = IMAGE_DELTA_RECIPE_MAX };
	AUTO_FREE uint8_t *packed = NULL;
	uint8_t header[IMAGE_DELTA_HEADER];
	size_t n;
	int r = pieces_write(d, &recipe, e);

	if (r >= 0)
		r = frames_write(d, &recipe, e);
	if (r < 0)
		return err_wrap(e, r, "recipe of a delta");
	packed = malloc(SEEKABLE_PACKED_MAX(recipe.n) + recipe.n / 128);
	if (!packed)
		return err_set(e, ERR_HOST, ENOMEM, "recipe of a delta");
	n = ZSTD_compress(packed, SEEKABLE_PACKED_MAX(recipe.n), recipe.p, recipe.n, RECIPE_LEVEL);
	if (ZSTD_isError(n))
		return err_set(e, ERR_BUG, EIO, "recipe of a delta: %s", ZSTD_getErrorName(n));
	header_write(d, recipe.n, n, header);
	r = buf_add(out, header, sizeof(header), e);
	return r < 0 ? r : buf_add(out, packed, n, e);
}
