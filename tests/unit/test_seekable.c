/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <zstd.h>

#include "tests/image_make.h"
#include "tests/image_source.h"
#include "updater/image/seekable.h"
#include "updater/image/unpack.h"

static void expect_table(const uint8_t *p, size_t n, uint64_t blob, int want, const char *what)
{
	AUTO_SEEKABLE_TABLE *t = NULL;
	struct err e = ERR_INIT;
	int r = seekable_table_parse(p, n, blob, &t, &e);

	CHECK(r == want, "%s: r=%d %s", what, r, e.text);
	CHECK((r < 0) == (e.kind != ERR_NONE) && (r < 0) == (t == NULL), "%s", what);
	CHECK(r == 0 || e.kind == ERR_INPUT, "%s: kind %d", what, (int)e.kind);
}

/* frames of 100 packed and 200 raw bytes each */
static size_t table_make(uint8_t *p, size_t frames, bool sums)
{
	size_t entry = sums ? 12 : 8, n = 8 + frames * entry + 9;

	memset(p, 0, n);
	le32_put(p, 0x184D2A5Eu);
	le32_put(p + 4, (uint32_t)(n - 8));
	for (size_t i = 0; i < frames; i++) {
		le32_put(p + 8 + i * entry, 100);
		le32_put(p + 8 + i * entry + 4, 200);
	}
	le32_put(p + n - 9, (uint32_t)frames);
	p[n - 5] = sums ? 0x80 : 0;
	le32_put(p + n - 4, 0x8F92EAB1u);
	return n;
}

static void test_table(void)
{
	uint8_t p[256];
	size_t n = table_make(p, 5, true);

	expect_table(p, n, 500 + n, 0, "good");
	expect_table(p, n, 501 + n, -EINVAL, "a byte between frames and table");
	expect_table(p, n, 499 + n, -EINVAL, "frames longer than the blob");
	expect_table(p, n, n - 1, -EINVAL, "table longer than the blob");
	for (size_t k = 0; k < n; k++) {
		expect_table(p + k, n - k, 500 + n - k, k ? -EINVAL : 0, "cut in front");
		expect_table(p, k, 500 + k, -EINVAL, "cut behind");
	}
	p[n - 5] = 0x83;
	expect_table(p, n, 500 + n, 0, "bits 1-0 are to be ignored");
	for (unsigned bit = 2; bit < 7; bit++) {
		p[n - 5] = (uint8_t)(0x80 | 1u << bit);
		expect_table(p, n, 500 + n, -EINVAL, "reserved bit");
	}
	n = table_make(p, 5, false);
	expect_table(p, n, 500 + n, 0, "without checksums");
	p[n - 5] = 0x80;
	expect_table(p, n, 500 + n, -EINVAL, "entries of another size");
	n = table_make(p, 5, true);
	le32_put(p + n - 9, 0xffffffffu);
	expect_table(p, n, 500 + n, -EFBIG, "four billion frames");
	le32_put(p + n - 9, (uint32_t)SEEKABLE_FRAMES_MAX + 1);
	expect_table(p, n, 500 + n, -EFBIG, "one frame too many");
	le32_put(p + n - 9, 0);
	expect_table(p, n, 500 + n, -EINVAL, "no frames, but entries");
	n = table_make(p, 0, true);
	expect_table(p, n, n, -EINVAL, "no frames");
	n = table_make(p, 5, true);
	le32_put(p, 0x184D2A5Fu);
	expect_table(p, n, 500 + n, -EINVAL, "another skippable magic");
	n = table_make(p, 5, true);
	le32_put(p + 4, (uint32_t)n);
	expect_table(p, n, 500 + n, -EINVAL, "skippable size");
	n = table_make(p, 5, true);
	le32_put(p + 8 + 4, 0);
	expect_table(p, n, 500 + n, -EINVAL, "a frame of nothing");
	le32_put(p + 8 + 4, (uint32_t)SEEKABLE_RAW_MAX + 1);
	expect_table(p, n, 500 + n, -EINVAL, "a frame too large");
	n = table_make(p, 5, true);
	le32_put(p + 8, 0);
	expect_table(p, n, 400 + n, -EINVAL, "packed into nothing");
	le32_put(p + 8, 200 + 1025);
	expect_table(p, n, 400 + 1225 + n, -EINVAL, "packed larger than zstd can");
	le32_put(p + 8, 200 + 1024);
	expect_table(p, n, 400 + 1224 + n, 0, "as large as it can");
}

static void test_find(void)
{
	AUTO_SEEKABLE_TABLE *t = NULL;
	uint8_t entries[4 * 101];
	struct err e = ERR_INIT;
	uint64_t total = 0, longest = 0;

	for (size_t i = 0; i < 101; i++) {
		size_t raw = 4096 * (1 + image_rnd(512));

		le32_put(entries + 4 * i, seekable_entry(1 + image_rnd(raw + 1024), raw));
		total += i < 100 ? raw : 0;
		longest = i < 100 && raw > longest ? raw : longest;
	}
	CHECK(seekable_table_from_entries(entries, 99, total, &t, &e) == -EINVAL, "too few");
	CHECK(seekable_table_from_entries(entries, 101, total, &t, &e) == -EINVAL, "too many");
	CHECK(seekable_table_from_entries(entries, 0, 0, &t, &e) == -EINVAL, "none");
	CHECK(seekable_table_from_entries(entries, 100, total, &t, &e) == 0, "%s", e.text);
	CHECK(t->raw_max == longest, "longest");
	for (unsigned k = 0; k < 10000; k++) {
		uint64_t off = image_rnd(total);
		size_t f = seekable_find(t->raw, t->frames, off);

		CHECK(t->raw[f] <= off && off < t->raw[f + 1], "%llu", (unsigned long long)off);
	}
	CHECK(t->raw[100] == total && seekable_find(t->raw, 100, total - 1) == 99, "end");
}

/* Entries that no table may have. */
static void test_entries(void)
{
	static const struct {
		size_t packed, raw;
		int want;
	} of[] = {
		{ 1, 4096, 0 },
		{ 4096 + 1024, 4096, 0 },
		{ 4096 + 1025, 4096, -EINVAL },
		{ 0, 4096, -EINVAL },
		{ 1, 0, -EINVAL },
		{ SEEKABLE_RAW_MAX + 1024, SEEKABLE_RAW_MAX, 0 },
		{ 1, SEEKABLE_RAW_MAX + 4096, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		AUTO_SEEKABLE_TABLE *t = NULL;
		uint8_t entry[4];
		struct err e = ERR_INIT;
		int r;

		le32_put(entry, seekable_entry(of[i].packed, of[i].raw));
		r = seekable_table_from_entries(entry, 1, of[i].raw, &t, &e);
		CHECK(r == of[i].want, "%zu: %d %s", i, r, e.text);
		CHECK(r < 0 || (t->packed[1] == of[i].packed && t->raw[1] == of[i].raw), "%zu", i);
	}
}

static void check_frame(struct seekable_decoder *d, const struct made *m,
			const struct seekable_table *t, size_t f)
{
	size_t raw = (size_t)(t->raw[f + 1] - t->raw[f]);
	size_t n = (size_t)(t->packed[f + 1] - t->packed[f]);
	uint8_t *out = malloc(raw);
	struct err e = ERR_INIT;

	CHECK(out, "memory");
	CHECK(seekable_frame_decode(d, m->full.p + t->packed[f], n, out, raw, &e) == 0,
	      "frame %zu: %s", f, e.text);
	CHECK(memcmp(out, m->data + t->raw[f], raw) == 0, "frame %zu", f);
	free(out);
}

/* What our own encoder makes must be what a reader of the format expects. */
static void test_blob(void)
{
	AUTO_SEEKABLE_DECODER *d = NULL;
	struct err e = ERR_INIT;

	CHECK(seekable_decoder_new(&d, &e) == 0, "%s", e.text);
	for (unsigned k = 0; k < 12; k++) {
		AUTO_SEEKABLE_TABLE *t = NULL;
		struct made m;
		size_t frames, n;

		made_new(&m, 1 + image_rnd(400));
		frames = le32_get(m.full.p + m.full.n - 9);
		n = seekable_table_bytes(frames);
		CHECK(seekable_table_parse((uint8_t *)m.full.p + m.full.n - n, n, m.full.n, &t,
					   &e) == 0,
		      "%s", e.text);
		CHECK(t->frames == frames && t->raw[frames] == m.n, "%zu frames", t->frames);
		for (size_t f = 0; f < frames; f++)
			check_frame(d, &m, t, f);
		made_done(&m);
	}
}

static void refuse(struct seekable_decoder *d, const uint8_t *p, size_t n, size_t raw,
		   const char *what)
{
	uint8_t *out = malloc(raw ? raw : 1); /* exact, so that ASan sees one byte too many */
	struct err e = ERR_INIT;
	int r = seekable_frame_decode(d, p, n, out, raw, &e);

	CHECK(r == -EBADMSG && e.kind == ERR_REFUSED, "%s: r=%d %s", what, r, e.text);
	free(out);
}

static void test_frame_headers(struct seekable_decoder *d)
{
	/* magic, descriptor, window, block: last, RLE, 5 bytes of 'x' */
	static const uint8_t window[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x68, 5,
					  0,    0,    0,    0x2b, 0x00, 0x00, 'x' };
	static const uint8_t dict[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 5, 0x2b, 0x00, 0x00, 'x' };
	static const uint8_t nosize[] = {
		0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00, 0x2b, 0x00, 0x00, 'x'
	};
	static const uint8_t skip[] = {
		0x5e, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 'x', 'x', 'x', 'x', 'x'
	};
	uint8_t p[sizeof(window)], out[5];
	struct err e = ERR_INIT;

	memcpy(p, window, sizeof(p));
	CHECK(seekable_frame_decode(d, p, sizeof(p), out, 5, &e) == 0, "8 MiB window: %s", e.text);
	CHECK(memcmp(out, "xxxxx", 5) == 0, "content");
	p[5] = 0x69; /* 9 MiB */
	refuse(d, p, sizeof(p), 5, "window of 9 MiB");
	p[5] = 0xff;
	refuse(d, p, sizeof(p), 5, "largest window");
	refuse(d, dict, sizeof(dict), 5, "dictionary");
	refuse(d, nosize, sizeof(nosize), 5, "no declared size");
	refuse(d, skip, sizeof(skip), 5, "skippable frame");
	memcpy(p, window, sizeof(p));
	p[6] = 4; /* declares 4, holds 5 */
	refuse(d, p, sizeof(p), 4, "inflates past its declaration");
	p[6] = 6;
	refuse(d, p, sizeof(p), 6, "holds less than declared");
}

static void test_frame(void)
{
	AUTO_SEEKABLE_DECODER *d = NULL;
	uint8_t raw[3000], p[4096];
	struct err e = ERR_INIT;
	size_t n;

	CHECK(seekable_decoder_new(&d, &e) == 0, "%s", e.text);
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t)(i * i / 7);
	n = ZSTD_compress(p, sizeof(p) - 100, raw, sizeof(raw), 3);
	CHECK(!ZSTD_isError(n), "compress");
	CHECK(seekable_frame_decode(d, p, n, raw, sizeof(raw), &e) == 0, "%s", e.text);
	refuse(d, p, n, sizeof(raw) - 1, "declares more than allowed");
	refuse(d, p, n, sizeof(raw) + 1, "declares less than wanted");
	refuse(d, p, n + 1, sizeof(raw), "a byte behind");
	for (size_t k = 0; k < n; k++)
		refuse(d, p, k, sizeof(raw), "cut short");
	memcpy(p + n, p, 50);
	refuse(d, p, n + 50, sizeof(raw), "a second frame begun");
	n += ZSTD_compress(p + n, sizeof(p) - n, raw, 0, 3);
	refuse(d, p, n, sizeof(raw), "an empty second frame");
	test_frame_headers(d);
}

static int unpack(struct made *m, uint64_t packed, uint64_t raw, struct buf *out, struct err *e)
{
	struct file_source s;
	struct image_source src = file_source(&s, m->full_fd, m->full_bytes);

	return image_unpack(&src, packed, raw, buf_put, out, e);
}

static void test_unpack(void)
{
	for (unsigned k = 0; k < 8; k++) {
		AUTO_BUF out = BUF_INIT;
		AUTO_BUF no = BUF_INIT;
		struct err e = ERR_INIT;
		struct made m;
		uint64_t cut;

		made_new(&m, 1 + image_rnd(300));
		cut = 1 + image_rnd(m.full_bytes -
				    seekable_table_bytes(le32_get(m.full.p + m.full.n - 9)) - 1);
		CHECK(unpack(&m, m.full_bytes, m.n, &out, &e) == 0, "%s", e.text);
		CHECK(out.n == m.n && memcmp(out.p, m.data, m.n) == 0, "content");
		CHECK(unpack(&m, m.full_bytes, m.n - 1, &no, &e) == -EBADMSG, "larger than said");
		CHECK(no.n < m.n, "gave out %zu", no.n);
		CHECK(unpack(&m, m.full_bytes, m.n + 1, &no, &e) == -EBADMSG, "smaller than said");
		CHECK(unpack(&m, cut, m.n, &no, &e) == -EBADMSG, "cut at %llu",
		      (unsigned long long)cut);
		CHECK(unpack(&m, 0, m.n, &no, &e) == -EBADMSG, "empty");
		made_done(&m);
	}
}

int main(void)
{
	dice_seed();
	test_table();
	test_find();
	test_entries();
	test_blob();
	test_frame();
	test_unpack();
	return 0;
}
