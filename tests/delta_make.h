/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_DELTA_MAKE_H
#define TESTS_DELTA_MAKE_H

#include "tests/image_make.h"
#include "updater/image/diff.h"

/* Bytes of the kind `fill` chooses, as a block of a program would change: a few, or all. */
static inline void block_patch(uint8_t *p)
{
	for (uint64_t k = 1 + image_rnd(40); k > 0; k--)
		p[image_rnd(IMAGE_BLOCK)] = (uint8_t)image_rnd(256);
}

/* One of what happens to images between releases; *n in blocks, room for 2 * *n + 64. */
static inline void blocks_mutate(uint8_t *p, size_t *n)
{
	size_t at = (size_t)image_rnd(*n), len = 1 + (size_t)image_rnd(image_rnd(4) ? 8 : *n);
	size_t to = (size_t)image_rnd(*n);
	uint8_t *b = p + at * IMAGE_BLOCK;

	len = len < *n - at ? len : *n - at;
	switch (image_rnd(6)) {
	case 0: /* patched here and there */
		for (size_t i = 0; i < len; i += 1 + (size_t)image_rnd(3))
			block_patch(b + i * IMAGE_BLOCK);
		break;
	case 1: /* inserted: what follows moves */
		len = len < 32 ? len : 32;
		memmove(b + len * IMAGE_BLOCK, b, (*n - at) * IMAGE_BLOCK);
		image_fill(b, len * IMAGE_BLOCK);
		*n += len;
		break;
	case 2: /* deleted, but never all */
		len = len < *n ? len : *n - 1;
		memmove(b, b + len * IMAGE_BLOCK, (*n - at - len) * IMAGE_BLOCK);
		*n -= len;
		break;
	case 3: /* copied elsewhere */
		len = len < *n - to ? len : *n - to;
		memmove(p + to * IMAGE_BLOCK, b, len * IMAGE_BLOCK);
		break;
	case 4: /* moved by some bytes, as inside of a file that grew */
		if (len > 1)
			memmove(b + 16, b, len * IMAGE_BLOCK - 16);
		break;
	default:
		memset(b, 0, len * IMAGE_BLOCK);
		break;
	}
}

/* A later release of `from`, with the same salt. */
static inline void made_next(struct made *m, const struct made *from, unsigned changes)
{
	size_t n = from->n / IMAGE_BLOCK;

	memset(m, 0, sizeof(*m));
	m->id = from->id;
	m->data = malloc((n * 2 + 64) * IMAGE_BLOCK);
	CHECK(m->data, "memory");
	memcpy(m->data, from->data, from->n);
	for (size_t most = 2 * n; changes > 0; changes--)
		if (n + 32 <= most + 32 && n < most)
			blocks_mutate(m->data, &n);
	m->n = n * IMAGE_BLOCK;
	made_again(m);
}

static inline struct image_whole made_whole(const struct made *m)
{
	struct image_whole w = { .bytes = m->n };

	memcpy(w.id, m->id.root, sizeof(w.id));
	return w;
}

static inline int made_fd(const void *p, size_t n)
{
	int fd = mem_file(0);

	CHECK(sys_write_full(sys_linux(), fd, p, n, 0) == 0, "write");
	return fd;
}

/* The delta between two images, and what a manifest says about it. */
static inline void made_delta(const struct made *from, const struct made *to, unsigned threads,
			      struct buf *out, struct image_diff_stats *st,
			      struct image_delta_want *want)
{
	struct err e = ERR_INIT;
	struct image_diff_job job = { .sys = sys_linux(),
				      .unit = IMAGE_BLOCK,
				      .target = { .whole = made_whole(to) },
				      .sources = 1,
				      .source = { { .whole = made_whole(from) } },
				      .level = 1,
				      .threads = threads,
				      .put = buf_put,
				      .put_arg = out };

	/* the same for the same image: all sizes, and the one the publisher would choose */
	job.frame = to->n / IMAGE_BLOCK % 5 ? IMAGE_DELTA_FRAME_MIN << (to->n / IMAGE_BLOCK % 5 - 1)
					    : 0;
	job.target.fd = made_fd(to->data, to->n);
	job.source[0].fd = made_fd(from->data, from->n);
	CHECK(image_diff(&job, st, &e) == 0, "%s", e.text);
	CHECK(st->blob == out->n, "%llu", (unsigned long long)st->blob);
	*want = (struct image_delta_want){ .unit = IMAGE_BLOCK,
					   .target = job.target.whole,
					   .source = { job.source[0].whole },
					   .blob_bytes = out->n };
	(void)close(job.target.fd);
	(void)close(job.source[0].fd);
}

#endif
