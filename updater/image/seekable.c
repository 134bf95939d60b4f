/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/seekable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define SKIPPABLE_MAGIC  0x184D2A5Eu
#define SEEKABLE_MAGIC   0x8F92EAB1u
#define FRAME_MAGIC      0xFD2FB528u
#define TABLE_HEADER     8u
#define TABLE_FOOTER     9u
#define FLAG_CHECKSUM    0x80u
#define FLAGS_RESERVED   0x7Cu
#define ENTRY_BARE       8u
#define ENTRY_CHECKSUMED 12u
#define PACKED_BITS      22

void seekable_table_free(struct seekable_table *t)
{
	if (!t)
		return;
	free(t->packed);
	free(t->raw);
	free(t);
}

static struct seekable_table *table_new(size_t frames)
{
	AUTO_SEEKABLE_TABLE *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->frames = frames;
	t->packed = calloc(frames + 1, sizeof(*t->packed));
	t->raw = calloc(frames + 1, sizeof(*t->raw));
	return t->packed && t->raw ? TAKE(t) : NULL;
}

size_t seekable_table_bytes(size_t frames)
{
	return TABLE_HEADER + frames * ENTRY_CHECKSUMED + TABLE_FOOTER;
}

/* Sums stay far below 2^64: at most 2^20 frames of little more than 2^21 bytes. */
static int table_add(struct seekable_table *t, size_t i, uint32_t packed, uint32_t raw,
		     struct err *e)
{
	if (raw == 0 || raw > SEEKABLE_RAW_MAX)
		return err_set(e, ERR_INPUT, EINVAL,
			       "seek table: frame %zu declares %u raw bytes, 1 to %zu are allowed",
			       i, raw, SEEKABLE_RAW_MAX);
	if (packed == 0 || packed > SEEKABLE_PACKED_MAX(raw))
		return err_set(e, ERR_INPUT, EINVAL,
			       "seek table: frame %zu takes %u packed bytes for %u raw ones", i,
			       packed, raw);
	t->packed[i + 1] = t->packed[i] + packed;
	t->raw[i + 1] = t->raw[i] + raw;
	t->raw_max = raw > t->raw_max ? raw : t->raw_max;
	return 0;
}

/* Checks header and footer of p[0..n); gives the number of frames and the size of an entry. */
static int table_frame_parse(const uint8_t *p, size_t n, size_t *ret_frames, size_t *ret_entry,
			     struct err *e)
{
	const uint8_t *footer = p + n - TABLE_FOOTER;
	size_t frames, entry;

	if (n < TABLE_HEADER + TABLE_FOOTER)
		return err_set(e, ERR_INPUT, EINVAL, "seek table of %zu bytes is cut short", n);
	if (le32_get(footer + 5) != SEEKABLE_MAGIC)
		return err_set(e, ERR_INPUT, EINVAL, "no seek table at the end of the blob");
	if (footer[4] & FLAGS_RESERVED)
		return err_set(e, ERR_INPUT, EINVAL, "seek table has reserved flags %#x",
			       (unsigned)footer[4]);
	frames = le32_get(footer);
	entry = footer[4] & FLAG_CHECKSUM ? ENTRY_CHECKSUMED : ENTRY_BARE;
	if (frames > SEEKABLE_FRAMES_MAX)
		return err_set(e, ERR_INPUT, EFBIG, "seek table of %zu frames, at most %zu", frames,
			       SEEKABLE_FRAMES_MAX);
	if (frames == 0 || n != TABLE_HEADER + frames * entry + TABLE_FOOTER)
		return err_set(e, ERR_INPUT, EINVAL, "seek table of %zu bytes names %zu frames", n,
			       frames);
	if (le32_get(p) != SKIPPABLE_MAGIC || le32_get(p + 4) != n - TABLE_HEADER)
		return err_set(e, ERR_INPUT, EINVAL,
			       "seek table does not lie in a skippable frame of its size");
	*ret_frames = frames;
	*ret_entry = entry;
	return 0;
}

int seekable_table_parse(const uint8_t *p, size_t n, uint64_t blob_n, struct seekable_table **ret,
			 struct err *e)
{
	AUTO_SEEKABLE_TABLE *t = NULL;
	size_t frames = 0, entry = 0;
	int r;

	r = table_frame_parse(p, n, &frames, &entry, e);
	if (r < 0)
		return r;
	t = table_new(frames);
	if (!t)
		return err_set(e, ERR_HOST, ENOMEM, "seek table of %zu frames", frames);
	for (size_t i = 0; i < frames; i++) {
		const uint8_t *at = p + TABLE_HEADER + i * entry;

		r = table_add(t, i, le32_get(at), le32_get(at + 4), e);
		if (r < 0)
			return r;
	}
	if (blob_n < n || t->packed[frames] != blob_n - n)
		return err_set(e, ERR_INPUT, EINVAL,
			       "seek table names %llu packed bytes in a blob of %llu",
			       (unsigned long long)t->packed[frames], (unsigned long long)blob_n);
	*ret = TAKE(t);
	return 0;
}

uint32_t seekable_entry(size_t packed, size_t raw)
{
	return (uint32_t)(packed | raw / SEEKABLE_UNIT << PACKED_BITS);
}

int seekable_table_from_entries(const uint8_t *entries, size_t frames, uint64_t raw_total,
				struct seekable_table **ret, struct err *e)
{
	AUTO_SEEKABLE_TABLE *t = NULL;
	int r;

	if (frames == 0 || frames > SEEKABLE_FRAMES_MAX)
		return err_set(e, ERR_INPUT, EINVAL, "%zu frames, 1 to %zu are possible", frames,
			       SEEKABLE_FRAMES_MAX);
	t = table_new(frames);
	if (!t)
		return err_set(e, ERR_HOST, ENOMEM, "table of %zu frames", frames);
	for (size_t i = 0; i < frames; i++) {
		uint32_t entry = le32_get(entries + 4 * i);

		r = table_add(t, i, entry & ((1u << PACKED_BITS) - 1),
			      (entry >> PACKED_BITS) * SEEKABLE_UNIT, e);
		if (r < 0)
			return r;
	}
	if (t->raw[frames] != raw_total)
		return err_set(e, ERR_INPUT, EINVAL,
			       "frames of %llu raw bytes for an image of %llu",
			       (unsigned long long)t->raw[frames], (unsigned long long)raw_total);
	*ret = TAKE(t);
	return 0;
}

size_t seekable_find(const uint64_t *start, size_t n, uint64_t off)
{
	size_t lo = 0, hi = n;

	/* start[lo] <= off < start[hi] */
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (start[mid] <= off)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

struct seekable_decoder {
	ZSTD_DCtx *ctx;
};

int seekable_decoder_new(struct seekable_decoder **ret, struct err *e)
{
	AUTO_SEEKABLE_DECODER *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ERR_HOST, ENOMEM, "zstd decoder");
	d->ctx = ZSTD_createDCtx();
	if (!d->ctx)
		return err_set(e, ERR_HOST, ENOMEM, "zstd decoder");
	*ret = TAKE(d);
	return 0;
}

void seekable_decoder_free(struct seekable_decoder *d)
{
	if (!d)
		return;
	(void)ZSTD_freeDCtx(d->ctx);
	free(d);
}

/* RFC 8878, 3.1.1.1: the window a frame declares; 0 for a single segment, whose content it is. */
static uint64_t frame_window(const uint8_t *p)
{
	uint64_t base;

	if (p[4] & 0x20)
		return 0;
	base = (uint64_t)1 << (10 + (p[5] >> 3));
	return base + base / 8 * (p[5] & 7);
}

static int frame_refuse(struct err *e, const char *why)
{
	return err_set(e, ERR_REFUSED, EBADMSG, "compressed frame refused: %s", why);
}

static int frame_check(const void *p, size_t n, size_t raw, struct err *e)
{
	if (n < 6 || le32_get(p) != FRAME_MAGIC)
		return frame_refuse(e, "not a zstd frame");
	if (ZSTD_getFrameContentSize(p, n) != raw)
		return frame_refuse(e, "it does not declare the size it must have");
	if (frame_window(p) > SEEKABLE_WINDOW_MAX)
		return frame_refuse(e, "it needs a window of more than 8 MiB");
	if (ZSTD_getDictID_fromFrame(p, n) != 0)
		return frame_refuse(e, "it needs a dictionary");
	if (ZSTD_findFrameCompressedSize(p, n) != n)
		return frame_refuse(e, "it does not end where it must");
	return 0;
}

int seekable_frame_decode_behind(struct seekable_decoder *d, struct seekable_prefix prefix,
				 const void *p, size_t n, void *out, size_t raw, struct err *e)
{
	size_t got;
	int r = frame_check(p, n, raw, e);

	if (r < 0)
		return r;
	/* an empty one also takes back a prefix that a failure may have left behind */
	if (ZSTD_isError(ZSTD_DCtx_refPrefix(d->ctx, prefix.n ? prefix.p : NULL, prefix.n)))
		return err_set(e, ERR_HOST, ENOMEM, "zstd decoder");
	got = ZSTD_decompressDCtx(d->ctx, out, raw, p, n);
	if (ZSTD_isError(got))
		return frame_refuse(e, ZSTD_getErrorName(got));
	if (got != raw)
		return frame_refuse(e, "it holds less than it declares");
	return 0;
}

int seekable_frame_decode(struct seekable_decoder *d, const void *p, size_t n, void *out,
			  size_t raw, struct err *e)
{
	return seekable_frame_decode_behind(d, (struct seekable_prefix){ NULL, 0 }, p, n, out, raw,
					    e);
}
