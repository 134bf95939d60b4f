/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void *must_calloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		abort();
	return p;
}

struct sim_page *sim_page_new(void)
{
	struct sim_page *p = must_calloc(1, sizeof(*p));

	p->refs = 1;
	return p;
}

struct sim_page *sim_page_ref(struct sim_page *p)
{
	p->refs++;
	return p;
}

void sim_page_put(struct sim_page *p)
{
	if (p && --p->refs == 0)
		free(p);
}

static void chunk_put(struct sim_chunk *c)
{
	if (!c || --c->refs > 0)
		return;
	for (size_t i = 0; i < SIM_CHUNK; i++)
		sim_page_put(c->page[i]);
	free(c);
}

void sim_map_clone(const struct sim_map *from, struct sim_map *to)
{
	to->n = from->n;
	to->chunk = from->n > 0 ? must_calloc(from->n, sizeof(struct sim_chunk *)) : NULL;
	for (size_t i = 0; i < from->n; i++) {
		to->chunk[i] = from->chunk[i];
		if (to->chunk[i])
			to->chunk[i]->refs++;
	}
}

void sim_map_done(struct sim_map *m)
{
	for (size_t i = 0; i < m->n; i++)
		chunk_put(m->chunk[i]);
	free(m->chunk);
	m->chunk = NULL;
	m->n = 0;
}

const struct sim_page *sim_map_page(const struct sim_map *m, uint64_t index)
{
	uint64_t c = index / SIM_CHUNK;

	return c < m->n && m->chunk[c] ? m->chunk[c]->page[index % SIM_CHUNK] : NULL;
}

/* The chunk that holds this page, ours alone. */
static struct sim_chunk *own_chunk(struct sim_map *m, uint64_t index)
{
	size_t c = (size_t)(index / SIM_CHUNK);
	struct sim_chunk *old, *fresh;

	if (c >= m->n) {
		struct sim_chunk **p = realloc(m->chunk, (c + 1) * sizeof(struct sim_chunk *));

		if (!p)
			abort();
		for (size_t i = m->n; i <= c; i++)
			p[i] = NULL;
		m->chunk = p;
		m->n = c + 1;
	}
	old = m->chunk[c];
	if (old && old->refs == 1)
		return old;
	fresh = must_calloc(1, sizeof(*fresh));
	fresh->refs = 1;
	for (size_t i = 0; old && i < SIM_CHUNK; i++)
		if (old->page[i])
			fresh->page[i] = sim_page_ref(old->page[i]);
	chunk_put(old);
	m->chunk[c] = fresh;
	return fresh;
}

void sim_map_share(struct sim_map *m, uint64_t index, struct sim_page *p)
{
	struct sim_page **at = &own_chunk(m, index)->page[index % SIM_CHUNK];
	struct sim_page *old = *at;

	*at = p ? sim_page_ref(p) : NULL;
	sim_page_put(old);
}

static void write_page(struct sim_map *m, uint64_t index, size_t at, const void *p, size_t n)
{
	struct sim_page **slot = &own_chunk(m, index)->page[index % SIM_CHUNK];

	if (!*slot || (*slot)->refs > 1) {
		struct sim_page *fresh = sim_page_new();

		if (*slot)
			memcpy(fresh->b, (*slot)->b, SIM_PAGE);
		sim_page_put(*slot);
		*slot = fresh;
	}
	memcpy((*slot)->b + at, p, n);
}

void sim_map_write(struct sim_map *m, uint64_t off, const void *p, size_t n)
{
	const uint8_t *from = p;

	while (n > 0) {
		size_t at = (size_t)(off % SIM_PAGE);
		size_t k = SIM_PAGE - at < n ? SIM_PAGE - at : n;

		write_page(m, off / SIM_PAGE, at, from, k);
		off += k;
		from += k;
		n -= k;
	}
}

void sim_map_read(const struct sim_map *m, uint64_t off, void *p, size_t n)
{
	uint8_t *to = p;

	while (n > 0) {
		size_t at = (size_t)(off % SIM_PAGE);
		size_t k = SIM_PAGE - at < n ? SIM_PAGE - at : n;
		const struct sim_page *page = sim_map_page(m, off / SIM_PAGE);

		if (page)
			memcpy(to, page->b + at, k);
		else
			memset(to, 0, k);
		off += k;
		to += k;
		n -= k;
	}
}

void sim_map_cut(struct sim_map *m, uint64_t size)
{
	static const uint8_t zeros[SIM_PAGE];
	uint64_t pages = (uint64_t)m->n * SIM_CHUNK;
	size_t tail = (size_t)(size % SIM_PAGE);

	if (tail > 0 && sim_map_page(m, size / SIM_PAGE))
		write_page(m, size / SIM_PAGE, tail, zeros, SIM_PAGE - tail);
	for (uint64_t i = size / SIM_PAGE + (tail > 0); i < pages; i++) {
		if (i % SIM_CHUNK == 0) {
			chunk_put(m->chunk[i / SIM_CHUNK]);
			m->chunk[i / SIM_CHUNK] = NULL;
			i += SIM_CHUNK - 1;
		} else if (sim_map_page(m, i)) {
			sim_map_share(m, i, NULL);
		}
	}
}
