/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_IMAGE_MAKE_H
#define TESTS_IMAGE_MAKE_H

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"
#include "tests/dice.h"
#include "tests/test.h"
#include "updater/image/encode.h"
#include "updater/image/split.h"

static inline uint64_t image_rnd(uint64_t below)
{
	return dice() % below;
}

/* n is a multiple of 8. */
static inline void image_noise(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = image_rnd(UINT64_MAX);

		memcpy(p + i, &v, sizeof(v));
	}
}

/* Blocks of all sorts: zeros, noise, text-like, copies of the one before. */
static inline void image_fill(uint8_t *p, size_t n)
{
	for (size_t at = 0; at < n; at += IMAGE_BLOCK) {
		switch (image_rnd(4)) {
		case 0:
			memset(p + at, 0, IMAGE_BLOCK);
			break;
		case 1:
			image_noise(p + at, IMAGE_BLOCK);
			break;
		case 2:
			for (size_t i = 0; i < IMAGE_BLOCK; i++)
				p[at + i] = (uint8_t)('a' + (i * i + at) % 17);
			break;
		default:
			if (at)
				memcpy(p + at, p + at - IMAGE_BLOCK, IMAGE_BLOCK);
			p[at] = (uint8_t)image_rnd(256);
			break;
		}
	}
}

static inline int mem_file(uint64_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)n) == 0, "memfd");
	return fd;
}

/* Frames of an image: as without any base, or as for bases that lack stretches of it. */
static inline void image_split_some(uint64_t seed, uint64_t blocks, struct image_split *ret)
{
	const uint64_t was = dice_state;
	uint8_t *lack = calloc(blocks, 1);
	struct err e = ERR_INIT;
	uint64_t odds, longest;

	dice_state = seed;
	odds = image_rnd(4);
	longest = 1 + image_rnd(image_rnd(2) ? 8 : 800);

	CHECK(lack, "memory");
	for (uint64_t at = 0, n; at < blocks; at += n) {
		n = 1 + image_rnd(longest);
		n = n < blocks - at ? n : blocks - at;
		memset(lack + at, (int)image_rnd(odds + 1), n);
	}
	dice_state = was;
	CHECK(image_split_make(lack, blocks, ret, &e) == 0, "%s", e.text);
	free(lack);
}

static inline int buf_put(void *arg, const void *p, size_t n, struct err *e)
{
	return buf_add(arg, p, n, e);
}

/* An image and its blobs, as a publisher makes them. */
struct made {
	uint8_t *data;
	size_t n;
	struct image_id id;
	uint64_t split_seed; /* where frames end: as in the one it is a copy of */
	struct buf full, index;
	int full_fd;
	uint64_t full_bytes;
};

/* Encodes m->data with the salt in m->id. */
static inline void made_again(struct made *m)
{
	struct err e = ERR_INIT;
	AUTO_IMAGE_SPLIT split = { NULL, 0 };
	struct image_encode_job job = { .sys = sys_linux(),
					.level = 1,
					.threads = 2,
					.split = &split,
					.put = buf_put,
					.put_arg = &m->full };

	job.fd = mem_file(0);
	job.bytes = m->n;
	image_split_some(m->split_seed, m->n / IMAGE_BLOCK, &split);
	CHECK(sys_write_full(sys_linux(), job.fd, m->data, m->n, 0) == 0, "write");
	CHECK(image_encode(&job, &m->id, &m->index, &m->full_bytes, &e) == 0, "%s", e.text);
	CHECK(m->full_bytes == m->full.n, "%llu", (unsigned long long)m->full_bytes);
	(void)close(job.fd);
	m->full_fd = mem_file(0);
	CHECK(sys_write_full(sys_linux(), m->full_fd, m->full.p, m->full.n, 0) == 0, "write");
}

static inline void made_new(struct made *m, size_t blocks)
{
	memset(m, 0, sizeof(*m));
	m->n = blocks * IMAGE_BLOCK;
	m->split_seed = image_rnd(UINT64_MAX);
	m->data = malloc(m->n);
	CHECK(m->data, "memory");
	image_fill(m->data, m->n);
	m->id.salt_n = (uint16_t)(image_rnd(3) ? 32 : image_rnd(VERITY_SALT_MAX + 1));
	for (size_t i = 0; i < m->id.salt_n; i++)
		m->id.salt[i] = (uint8_t)image_rnd(256);
	made_again(m);
}

/* The same image and salt, to be changed and encoded with made_again(). */
static inline void made_copy(struct made *m, const struct made *from)
{
	memset(m, 0, sizeof(*m));
	m->n = from->n;
	m->id = from->id;
	m->split_seed = from->split_seed;
	m->data = malloc(m->n);
	CHECK(m->data, "memory");
	memcpy(m->data, from->data, m->n);
}

static inline void made_done(struct made *m)
{
	free(m->data);
	buf_done(&m->full);
	buf_done(&m->index);
	(void)close(m->full_fd);
}

#endif
