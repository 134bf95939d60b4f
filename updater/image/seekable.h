/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_SEEKABLE_H
#define UPDATER_IMAGE_SEEKABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The zstd seekable format 0.1.0: independent frames, then a skippable frame that lists their
 * sizes, so that `zstd -d` restores the whole and a reader of ranges any part of it. Proa's own
 * blobs have frames of 64 KiB raw for files (UKIs), the last one maybe shorter, and for images
 * frames of any length that split.h chooses. See docs/format.md.
 */
#define SEEKABLE_FILE_RAW   ((size_t)64 << 10) /* of a UKI, whose head is looked at alone */
#define SEEKABLE_RAW_MAX    ((size_t)2 << 20)  /* most raw bytes of a frame in any table */
#define SEEKABLE_FRAMES_MAX ((size_t)1 << 20)
#define SEEKABLE_WINDOW_MAX ((uint64_t)8 << 20)

/* No compressed frame of raw bytes is longer: what zstd needs when nothing can be compressed. */
#define SEEKABLE_PACKED_MAX(raw) ((size_t)(raw) + 1024)

/* Where frame i lies: packed bytes [packed[i], packed[i+1]) hold raw bytes [raw[i], raw[i+1]). */
struct seekable_table {
	size_t frames;    /* 1 or more */
	uint64_t *packed; /* frames + 1 offsets in the blob, rising */
	uint64_t *raw;    /* frames + 1 offsets in what it restores to, rising */
	size_t raw_max;   /* raw bytes of the largest */
};

void seekable_table_free(struct seekable_table *t);
static inline void seekable_table_freep(struct seekable_table **t)
{
	seekable_table_free(*t);
}
#define AUTO_SEEKABLE_TABLE __attribute__((cleanup(seekable_table_freep))) struct seekable_table

/* How long the table behind so many frames is, with checksums as Proa writes it. */
size_t seekable_table_bytes(size_t frames);

/*
 * Reads p[0..n), the last n bytes of a blob of blob_n bytes: it must be the table and nothing else,
 * at most SEEKABLE_FRAMES_MAX frames of 1 to SEEKABLE_RAW_MAX raw bytes, and the frames must fill
 * the blob up to the table exactly. Pure. ERR_INPUT -EINVAL says what is wrong; -EFBIG too many.
 */
int seekable_table_parse(const uint8_t *p, size_t n, uint64_t blob_n, struct seekable_table **ret,
			 struct err *e) __attribute__((warn_unused_result));

/*
 * The same from an index: a u32 little-endian for each frame, its packed bytes in the lower 22 bits
 * and above them its raw length in units of 4096 bytes, which must come to raw_total.
 */
#define SEEKABLE_UNIT 4096u
uint32_t seekable_entry(size_t packed, size_t raw);
int seekable_table_from_entries(const uint8_t *entries, size_t frames, uint64_t raw_total,
				struct seekable_table **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Of n frames that begin at the rising start[0..n], the one that holds `off` (below start[n]). */
size_t seekable_find(const uint64_t *start, size_t n, uint64_t off);

/* Restores single frames; reusable, about 160 KiB. Not for two threads at once. */
struct seekable_decoder;
int seekable_decoder_new(struct seekable_decoder **ret, struct err *e)
	__attribute__((warn_unused_result));
void seekable_decoder_free(struct seekable_decoder *d);
static inline void seekable_decoder_freep(struct seekable_decoder **d)
{
	seekable_decoder_free(*d);
}
#define AUTO_SEEKABLE_DECODER                                                                      \
	__attribute__((cleanup(seekable_decoder_freep))) struct seekable_decoder

/*
 * One frame p[0..n) into out[0..raw). Before a byte is decoded: p is exactly one frame (no
 * skippable one), it declares raw bytes of content, its window is at most SEEKABLE_WINDOW_MAX and
 * it asks for no dictionary. Never writes past raw. ERR_REFUSED -EBADMSG for all of that and for
 * what does not decode; out is then undefined.
 */
int seekable_frame_decode(struct seekable_decoder *d, const void *p, size_t n, void *out,
			  size_t raw, struct err *e) __attribute__((warn_unused_result));

/*
 * The same for a frame that was compressed behind a prefix (ZSTD_CCtx_refPrefix()): plain bytes,
 * never taken for a dictionary whatever they are. n may be 0.
 */
struct seekable_prefix {
	const void *p;
	size_t n;
};
int seekable_frame_decode_behind(struct seekable_decoder *d, struct seekable_prefix prefix,
				 const void *p, size_t n, void *out, size_t raw, struct err *e)
	__attribute__((warn_unused_result));

#endif
