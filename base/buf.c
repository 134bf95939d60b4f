/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 128 };

void buf_done(struct buf *b)
{
	free(b->p);
	b->p = NULL;
	b->n = 0;
	b->cap = 0;
}

int buf_reserve(struct buf *b, size_t n, struct err *e)
{
	size_t max = b->max ? b->max : BUF_MAX, need, cap;
	char *p;

	if (b->n > max || n > max - b->n)
		return err_set(e, ERR_INPUT, EFBIG, "more than %zu bytes", max);
	need = b->n + n + 1; /* the NUL behind */
	if (b->p && need <= b->cap)
		return 0;
	cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap;
	while (cap < need)
		cap = cap < SIZE_MAX / 2 ? cap * 2 : need;
	p = realloc(b->p, cap);
	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	b->p = p;
	b->cap = cap;
	b->p[b->n] = '\0';
	return 0;
}

int buf_add(struct buf *b, const void *p, size_t n, struct err *e)
{
	int r = buf_reserve(b, n, e);

	if (r < 0)
		return r;
	if (n > 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
	return 0;
}

int buf_addf(struct buf *b, struct err *e, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return err_set(e, ERR_BUG, EINVAL, "format '%s'", fmt);
	r = buf_reserve(b, (size_t)n, e);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	(void)vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
	return 0;
}

uint16_t le16_get(const void *p)
{
	const uint8_t *u = p;

	return (uint16_t)(u[0] | (unsigned)u[1] << 8);
}

uint32_t le32_get(const void *p)
{
	const uint8_t *u = p;

	return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

uint64_t le64_get(const void *p)
{
	const uint8_t *u = p;

	return (uint64_t)le32_get(u) | (uint64_t)le32_get(u + 4) << 32;
}

void le16_put(void *p, uint16_t v)
{
	uint8_t *u = p;

	u[0] = (uint8_t)v;
	u[1] = (uint8_t)(v >> 8);
}

void le32_put(void *p, uint32_t v)
{
	uint8_t *u = p;

	le16_put(u, (uint16_t)v);
	le16_put(u + 2, (uint16_t)(v >> 16));
}

void le64_put(void *p, uint64_t v)
{
	uint8_t *u = p;

	le32_put(u, (uint32_t)v);
	le32_put(u + 4, (uint32_t)(v >> 32));
}
