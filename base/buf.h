/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A byte buffer that grows up to a limit. p[n] is always NUL, so that text can be used as such. */
struct buf {
	char *p;
	size_t n, cap;
	size_t max; /* 0: BUF_MAX */
};

#define BUF_MAX ((size_t)64 << 20)
#define BUF_INIT                                                                                   \
	{                                                                                          \
		.p = NULL                                                                          \
	}

void buf_done(struct buf *b);
#define AUTO_BUF __attribute__((cleanup(buf_done))) struct buf

/* Appends; -EFBIG beyond max, -ENOMEM. What was there before stays intact. */
int buf_add(struct buf *b, const void *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));
int buf_addf(struct buf *b, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), warn_unused_result));

/* Room for n more bytes behind b->n; they are counted only when the caller adds to b->n. */
int buf_reserve(struct buf *b, size_t n, struct err *e) __attribute__((warn_unused_result));

/* Little-endian integers at p, alignment-free. */
uint16_t le16_get(const void *p);
uint32_t le32_get(const void *p);
uint64_t le64_get(const void *p);
void le16_put(void *p, uint16_t v);
void le32_put(void *p, uint32_t v);
void le64_put(void *p, uint64_t v);

#endif
