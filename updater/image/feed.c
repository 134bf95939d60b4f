/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "updater/image/bspatch.h"

static void prefixes_forget(struct image_feed *f)
{
	for (size_t i = 0; i < IMAGE_PREFIXES; i++)
		f->prefix[i].frame = SIZE_MAX;
}

int image_feed_new(struct image_feed *f, struct err *e)
{
	int r = seekable_decoder_new(&f->decoder, e);

	if (r < 0)
		return r;
	f->frame = SIZE_MAX;
	prefixes_forget(f);
	for (size_t i = 0; i < IMAGE_DELTA_SOURCES; i++)
		image_direct_open(&f->direct[i], f->sys, &f->source[i], false);
	return 0;
}

/* Room for a packed frame and a raw one; what they held is not needed any more. */
static int room_make(struct image_feed *f, size_t raw, struct err *e)
{
	if (raw <= f->raw_cap)
		return 0;
	free(f->packed);
	free(f->raw);
	f->raw_cap = 0;
	f->packed = malloc(SEEKABLE_PACKED_MAX(raw));
	f->raw = malloc(raw);
	if (!f->packed || !f->raw)
		return err_set(e, ERR_HOST, ENOMEM, "buffers for compressed frames");
	f->raw_cap = raw;
	return 0;
}

/* The same for what frames decode to that tell differences. */
static int mixed_make(struct image_feed *f, size_t longest, struct err *e)
{
	if (longest <= f->mixed_cap)
		return 0;
	free(f->mixed);
	f->mixed_cap = 0;
	f->mixed = malloc(longest);
	if (!f->mixed)
		return err_set(e, ERR_HOST, ENOMEM, "buffer for differences");
	f->mixed_cap = longest;
	return 0;
}

/* The same for prefixes. Memory that none is long enough to touch costs nothing. */
static int prefixes_make(struct image_feed *f, size_t longest, struct err *e)
{
	prefixes_forget(f);
	if (longest <= f->prefix_cap)
		return 0;
	f->prefix_cap = 0;
	for (size_t i = 0; i < IMAGE_PREFIXES; i++) {
		free(f->prefix[i].p);
		f->prefix[i].p = image_direct_alloc(longest);
		if (!f->prefix[i].p)
			return err_set(e, ERR_HOST, ENOMEM, "prefix of compressed frames");
	}
	f->prefix_cap = longest;
	return 0;
}

void image_feed_done(struct image_feed *f)
{
	seekable_decoder_free(f->decoder);
	for (size_t i = 0; i < IMAGE_DELTA_SOURCES; i++)
		image_direct_done(&f->direct[i]);
	free(f->packed);
	free(f->raw);
	free(f->mixed);
	for (size_t i = 0; i < IMAGE_PREFIXES; i++)
		free(f->prefix[i].p);
}

void image_feed_forget(struct image_feed *f)
{
	for (size_t i = 0; i < IMAGE_DELTA_SOURCES; i++)
		if (f->source[i].bytes)
			(void)f->sys->ops->forget(f->sys, f->source[i].fd, f->source[i].offset,
						  f->source[i].bytes);
}

int image_feed_begin(struct image_feed *f, const struct image_source *src,
		     const struct image_frames *frames, const struct image_run *runs, size_t n_runs,
		     struct err *e)
{
	int r = room_make(f, frames->most, e);

	if (r >= 0)
		r = prefixes_make(f, frames->delta ? frames->delta->prefix_max : 0, e);
	if (r >= 0)
		r = mixed_make(f, frames->delta ? frames->delta->mixed_max : 0, e);
	if (r < 0)
		return r;
	f->src = src;
	f->frames = *frames;
	f->runs = runs;
	f->n_runs = n_runs;
	f->run = 0;
	f->frame = SIZE_MAX;
	f->bad = f->lost = false;
	if (n_runs == 0)
		return 0;
	f->at = runs[0].off;
	r = src->begin(src->arg, runs, n_runs, e);
	f->lost = r < 0;
	return r < 0 ? err_wrap(e, r, "%s", src->name ? src->name : "the blob") : 0;
}

static int fetch(struct image_feed *f, size_t n, struct err *e)
{
	int r;

	if (f->lost)
		return err_set(e, ERR_REFUSED, EBADMSG, "the blob was given up before");
	r = f->src->read(f->src->arg, f->packed, n, e);
	if (r < 0) {
		f->lost = true;
		return r;
	}
	f->at += n;
	f->fetched += n;
	return 0;
}

static int fetch_skip(struct image_feed *f, uint64_t to, struct err *e)
{
	while (f->at < to) {
		uint64_t gap = to - f->at;
		int r = fetch(f, (size_t)(gap < f->raw_cap ? gap : f->raw_cap), e);

		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Moves the source on to byte `to` of the blob: it lies in this run or a later one. What is left of
 * a run (its last frames were for a group that failed before it came to them) is read away.
 */
static int fetch_seek(struct image_feed *f, uint64_t to, struct err *e)
{
	while (f->run < f->n_runs) {
		const struct image_run *run = &f->runs[f->run];
		int r;

		if (to < run->off + run->len)
			break;
		r = fetch_skip(f, run->off + run->len, e);
		if (r < 0)
			return r;
		if (++f->run < f->n_runs)
			f->at = f->runs[f->run].off;
	}
	if (f->run == f->n_runs || to < f->at)
		return err_set(e, ERR_BUG, EINVAL, "a frame that is in no run was asked for");
	return fetch_skip(f, to, e);
}

int image_feed_settle(struct image_feed *f, struct err *e)
{
	struct image_direct *d = &f->direct[f->wanted_from];
	size_t n = f->n_wanted;
	uint64_t first;
	int r;

	if (n == 0)
		return 0;
	f->n_wanted = 0;
	first = d->area.offset + f->wanted[0].off;
	r = image_direct_reads(d, f->wanted, n, &f->looked);
	return r < 0 ? err_set(e, ERR_HOST, -r, "read the base from byte %llu on: %s",
			       (unsigned long long)first, strerror(-r))
		     : 0;
}

/* Bytes of a source into p, by the next image_feed_settle(). */
static int source_want(struct image_feed *f, unsigned s, uint64_t off, void *p, size_t n,
		       struct err *e)
{
	int r = 0;

	if (!image_direct_has(&f->direct[s], off, n))
		return err_set(e, ERR_REFUSED, EBADMSG, "the base ends before byte %llu",
			       (unsigned long long)(off + n));
	if (f->n_wanted == SYS_READS_MAX || s != f->wanted_from)
		r = image_feed_settle(f, e);
	if (r < 0)
		return r;
	f->wanted_from = s;
	f->wanted[f->n_wanted++] = (struct sys_read){ .p = p, .n = n, .off = off };
	return 0;
}

/* The same as prefix_find(), in one of them; *gap is cut instead of *n where it begins later. */
static const uint8_t *prefix_look(const struct image_delta *d, const struct image_feed_prefix *kept,
				  const struct image_extent *want, uint64_t *n, uint64_t *gap)
{
	uint64_t before = 0;

	for (size_t i = d->first[kept->frame]; i < d->first[kept->frame + 1]; i++) {
		const struct image_extent *x = &d->extents[i];
		uint64_t end = x->off + x->len;

		if (x->source == want->source && end > want->off) {
			if (x->off <= want->off) {
				*n = end - want->off < *n ? end - want->off : *n;
				return kept->p + (before + want->off - x->off) * d->unit;
			}
			*gap = x->off - want->off < *gap ? x->off - want->off : *gap;
		}
		before += x->len;
	}
	return NULL;
}

/*
 * Where a kept prefix holds units [want->off, want->off + *n) of a source, *n cut to how many it
 * holds there. NULL when none holds the first; *n is cut to where one begins to.
 */
static const uint8_t *prefix_find(const struct image_feed *f, const struct image_extent *want,
				  uint64_t *n)
{
	uint64_t gap = *n;

	for (size_t k = 0; k < IMAGE_PREFIXES; k++) {
		const uint8_t *had = NULL;

		if (f->prefix[k].frame != SIZE_MAX)
			had = prefix_look(f->frames.delta, &f->prefix[k], want, n, &gap);
		if (had)
			return had;
	}
	*n = gap;
	return NULL;
}

/* The bytes of an extent: from the prefixes that are kept, and what they lack from the source. */
static int extent_load(struct image_feed *f, const struct image_extent *x, uint8_t *p,
		       struct err *e)
{
	const unsigned unit = f->frames.delta->unit;

	for (uint64_t at = 0, n; at < x->len; at += n) {
		const struct image_extent left = { x->off + at, (uint32_t)(x->len - at),
						   x->source };
		const uint8_t *had;
		int r = 0;

		n = left.len;
		had = prefix_find(f, &left, &n);
		if (had)
			memcpy(p + at * unit, had, n * unit);
		else
			r = source_want(f, x->source, left.off * unit, p + at * unit, n * unit, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Gathers the prefix of a frame; *ret stays as it is for one without. */
static int prefix_load(struct image_feed *f, size_t frame, struct seekable_prefix *ret,
		       struct err *e)
{
	struct image_feed_prefix *to = &f->prefix[f->oldest];
	const struct image_delta *d = f->frames.delta;
	size_t n = 0;
	int r;

	if (!d || d->first[frame] == d->first[frame + 1])
		return 0;
	to->frame = SIZE_MAX;
	for (size_t i = d->first[frame]; i < d->first[frame + 1]; i++) {
		r = extent_load(f, &d->extents[i], to->p + n, e);
		if (r < 0)
			return r;
		n += (size_t)d->extents[i].len * d->unit;
	}
	r = image_feed_settle(f, e);
	if (r < 0)
		return r;
	to->frame = frame;
	f->oldest = (f->oldest + 1) % IMAGE_PREFIXES;
	*ret = (struct seekable_prefix){ to->p, n };
	return 0;
}

static size_t frame_bytes(const struct image_feed *f, size_t frame)
{
	return (size_t)(image_frames_start(&f->frames, frame + 1) -
			image_frames_start(&f->frames, frame));
}

/* Decodes the packed frame, n bytes, behind its prefix. */
static int frame_unpack(struct image_feed *f, size_t frame, size_t n, struct seekable_prefix prefix,
			uint8_t *out, struct err *e)
{
	const struct image_delta *d = f->frames.delta;
	const size_t raw = frame_bytes(f, frame), control = d ? d->control[frame] : 0;
	const struct image_bspatch patch = { f->mixed, control, prefix.p, prefix.n };
	int r = seekable_frame_decode_behind(f->decoder, prefix, f->packed, n,
					     control ? f->mixed : out, raw + control, e);

	return r < 0 || control == 0 ? r : image_bspatch(&patch, out, raw, e);
}

/* Fetches a frame and decodes it to `out`. */
static int frame_decode(struct image_feed *f, size_t frame, uint8_t *out, struct err *e)
{
	const uint64_t *packed = f->frames.packed;
	size_t n = (size_t)(packed[frame + 1] - packed[frame]);
	struct seekable_prefix prefix = { NULL, 0 };
	int r = fetch_seek(f, packed[frame], e);

	if (r >= 0)
		r = fetch(f, n, e);
	if (r >= 0)
		r = prefix_load(f, frame, &prefix, e);
	if (r >= 0)
		r = frame_unpack(f, frame, n, prefix, out, e);
	return r < 0 ? err_wrap(e, r, "frame %zu (byte %llu of the blob)", frame,
				(unsigned long long)packed[frame])
		     : 0;
}

static int frame_load(struct image_feed *f, size_t frame, struct err *e)
{
	int r;

	if (frame == f->frame)
		return f->bad ? err_set(e, ERR_REFUSED, EBADMSG, "frame %zu was refused before",
					frame)
			      : 0;
	f->frame = frame;
	f->bad = true;
	r = frame_decode(f, frame, f->raw, e);
	f->bad = r < 0;
	return r;
}

/* Raw bytes [off, off + n) of the frames, counted through. */
static int frames_read(struct image_feed *f, uint64_t off, uint8_t *p, uint64_t n, struct err *e)
{
	while (n > 0) {
		size_t frame = image_frames_find(&f->frames, off);
		size_t skip = (size_t)(off - image_frames_start(&f->frames, frame));
		size_t len = frame_bytes(f, frame) - skip;
		int r;

		len = n < len ? (size_t)n : len;
		if (len == frame_bytes(f, frame) && frame != f->frame) {
			r = frame_decode(f, frame, p, e); /* nobody else wants any of it */
		} else {
			r = frame_load(f, frame, e);
			if (r >= 0)
				memcpy(p, f->raw + skip, len);
		}
		if (r < 0)
			return r;
		p += len;
		off += len;
		n -= len;
	}
	return 0;
}

static int part_load(struct image_feed *f, const struct image_part *part, uint8_t *p, struct err *e)
{
	const struct image_piece *piece = part->piece;
	uint64_t from = (piece->from + part->skip) * part->unit;
	size_t n = (size_t)part->n * part->unit;

	switch (piece->kind) {
	case IMAGE_PIECE_ZERO:
		memset(p, 0, n);
		return 0;
	case IMAGE_PIECE_COPY:
	case IMAGE_PIECE_COPY_SECOND:
		f->copied += n;
		return source_want(f, piece->kind == IMAGE_PIECE_COPY ? 0 : 1, from, p, n, e);
	case IMAGE_PIECE_FRAME:
		break;
	}
	return frames_read(f, from, p, n, e);
}

int image_feed_part(struct image_feed *f, const struct image_part *part, uint8_t *p, struct err *e)
{
	int r = part_load(f, part, p, e);

	if (r < 0)
		f->n_wanted = 0;
	return r;
}
