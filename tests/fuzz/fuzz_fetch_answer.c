/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "updater/fetch/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct fetch_answer *a, const uint8_t *data, size_t size)
{
	while (size > 0) {
		const uint8_t *nl = memchr(data, '\n', size);
		size_t n = nl ? (size_t)(nl - data) + 1 : size;

		if (fetch_answer_line(a, (const char *)data, n))
			return;
		data += n;
		size -= n;
	}
}

static bool sound(const struct fetch_want *w, const struct fetch_answer *a,
		  const struct fetch_body *b)
{
	const struct wire_get *g = w->get;
	uint64_t end = g->length ? g->offset + g->length : b->total;

	if (b->start != 0 && (b->start != w->next || !w->ranged))
		return false;
	if (b->stop != WIRE_UNKNOWN && (b->stop < b->start || b->stop > b->total))
		return false;
	if (b->total != WIRE_UNKNOWN && b->total > g->max_bytes)
		return false;
	if (end != WIRE_UNKNOWN && b->stop < end)
		return false;
	return !g->etag[0] || strcmp(g->etag, a->etag) == 0;
}

/*
 * Three bytes say what is asked, the rest are header lines. Whatever they say: a body that is
 * taken starts where it was asked for or at 0, lies within the cap, and holds the range.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fetch_answer a = { .total = WIRE_UNKNOWN };
	struct wire_get g = { .max_bytes = 1000 };
	struct fetch_want w = { .get = &g, .total = WIRE_UNKNOWN, .etag = "" };
	struct fetch_body b;

	if (size < 3)
		return 0;
	g.offset = data[0];
	g.length = data[1];
	w.known = data[2] & 1;
	w.next = g.offset + (w.known && g.length ? g.length / 2 : 0);
	if (data[2] & 2)
		w.total = 600;
	if (data[2] & 4)
		(void)snprintf(g.etag, sizeof(g.etag), "\"a\"");
	w.ranged = w.next > 0 || g.length > 0;
	feed(&a, data + 3, size - 3);
	if (fetch_answer_judge(&a, &w, &b, NULL) == 0 && !sound(&w, &a, &b))
		abort();
	return 0;
}
