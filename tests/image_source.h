/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_IMAGE_SOURCE_H
#define TESTS_IMAGE_SOURCE_H

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "tests/test.h"
#include "updater/image/source.h"

/* A blob in a file, with the faults a network has. Checks that it is asked as source.h promises. */
struct file_source {
	int fd;
	uint64_t bytes;   /* of the blob */
	uint64_t dies_at; /* total bytes after which reads fail (UINT64_MAX: never) */
	uint64_t flip_at; /* byte of the blob that arrives wrong (UINT64_MAX: none) */
	uint64_t given;   /* bytes given out so far */
	unsigned begun;   /* calls of begin() */
	size_t runs_n, run;
	const struct image_run *runs;
	uint64_t at; /* in the run */
};

static inline int file_source_begin(void *arg, const struct image_run *runs, size_t n,
				    struct err *e)
{
	struct file_source *s = arg;

	(void)e;
	CHECK(n > 0, "no runs");
	for (size_t i = 0; i < n; i++)
		CHECK(runs[i].len > 0 && runs[i].off + runs[i].len <= s->bytes &&
			      (i == 0 || runs[i].off > runs[i - 1].off + runs[i - 1].len),
		      "run %zu: %llu+%llu of %llu", i, (unsigned long long)runs[i].off,
		      (unsigned long long)runs[i].len, (unsigned long long)s->bytes);
	s->runs = runs;
	s->runs_n = n;
	s->run = 0;
	s->at = 0;
	s->begun++;
	return 0;
}

static inline int file_source_read(void *arg, void *p, size_t n, struct err *e)
{
	struct file_source *s = arg;
	uint8_t *out = p;

	if (n > s->dies_at - s->given)
		return err_set(e, ERR_RETRY, ECONNRESET, "the source died");
	s->given += n;
	while (n > 0) {
		const struct image_run *r = &s->runs[s->run];
		uint64_t off = r->off + s->at, left = r->len - s->at;
		size_t m = left < n ? (size_t)left : n;

		CHECK(s->run < s->runs_n, "read behind the last run");
		CHECK(pread(s->fd, out, m, (off_t)off) == (ssize_t)m, "blob is short");
		if (s->flip_at >= off && s->flip_at - off < m)
			out[s->flip_at - off] ^= 0x40;
		out += m;
		n -= m;
		s->at += m;
		if (s->at == r->len) {
			s->run++;
			s->at = 0;
		}
	}
	return 0;
}

static inline struct image_source file_source(struct file_source *s, int fd, uint64_t bytes)
{
	*s = (struct file_source){
		.fd = fd, .bytes = bytes, .dies_at = UINT64_MAX, .flip_at = UINT64_MAX
	};
	return (struct image_source){
		.begin = file_source_begin, .read = file_source_read, .arg = s, .name = "blob"
	};
}

#endif
