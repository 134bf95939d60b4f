/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool sim_is_fat(enum sim_trait t)
{
	return t != SIM_POSIX;
}

static char *must_dup(const char *s)
{
	char *p = s ? strdup(s) : NULL;

	if (s && !p)
		abort();
	return p;
}

static void *must_copy(const void *p, size_t n)
{
	void *q = malloc(n > 0 ? n : 1);

	if (!q)
		abort();
	if (n > 0)
		memcpy(q, p, n);
	return q;
}

void sim_disk_clone(const struct sim_disk *from, struct sim_disk *to)
{
	to->nodes = from->nodes;
	to->names = from->names;
	to->node = must_copy(from->node, from->nodes * sizeof(*from->node));
	to->name = must_copy(from->name, from->names * sizeof(*from->name));
	for (size_t i = 0; i < to->nodes; i++)
		if (from->node[i].used)
			sim_map_clone(&from->node[i].map, &to->node[i].map);
	for (size_t i = 0; i < to->names; i++)
		to->name[i].name = must_dup(from->name[i].name);
}

void sim_disk_done(struct sim_disk *d)
{
	for (size_t i = 0; i < d->nodes; i++)
		sim_map_done(&d->node[i].map);
	for (size_t i = 0; i < d->names; i++)
		free(d->name[i].name);
	free(d->node);
	free(d->name);
	memset(d, 0, sizeof(*d));
}

size_t sim_disk_find(const struct sim_disk *d, uint32_t dir, const char *name)
{
	bool fat = sim_is_fat(d->node[dir].trait);

	for (size_t i = 0; i < d->names; i++)
		if (d->name[i].dir == dir &&
		    (fat ? strcasecmp(d->name[i].name, name) : strcmp(d->name[i].name, name)) == 0)
			return i;
	return SIZE_MAX;
}

void sim_disk_link(struct sim_disk *d, uint32_t dir, const char *name, uint32_t node, bool bare)
{
	size_t i = sim_disk_find(d, dir, name);

	if (i == SIZE_MAX) {
		struct sim_name *p = realloc(d->name, (d->names + 1) * sizeof(*p));

		if (!p)
			abort();
		d->name = p;
		i = d->names++;
		d->name[i] = (struct sim_name){ .dir = dir, .name = must_dup(name) };
	}
	d->name[i].node = node;
	d->name[i].bare = bare;
}

void sim_disk_drop(struct sim_disk *d, uint32_t dir, const char *name)
{
	size_t i = sim_disk_find(d, dir, name);

	if (i == SIZE_MAX)
		return;
	free(d->name[i].name);
	d->name[i] = d->name[--d->names];
}

void sim_node_resize(struct sim_node *n, uint64_t size)
{
	if (size < n->size)
		sim_map_cut(&n->map, size);
	n->size = size;
}

/* Pages that were never written, of a file that grew: what another file left there. */
static void uncover(struct sim_node *n, uint64_t from)
{
	static uint8_t stale[SIM_PAGE];

	memset(stale, 0xa5, sizeof(stale));
	for (uint64_t i = from / SIM_PAGE; i * SIM_PAGE < n->size; i++)
		if (!sim_map_page(&n->map, i))
			sim_map_write(&n->map, i * SIM_PAGE, stale, SIM_PAGE);
}

static void apply_write(struct sim_node *n, const struct sim_op *op, struct sim_span span)
{
	uint64_t first = op->off / SIM_PAGE, from = op->off + span.from, to = op->off + span.to;

	for (uint64_t at = from; at < to;) {
		uint64_t page = at / SIM_PAGE, end = (page + 1) * SIM_PAGE;
		struct sim_page *p = op->page[page - first];

		end = end < to ? end : to;
		if (end - at == SIM_PAGE)
			sim_map_share(&n->map, page, p);
		else
			sim_map_write(&n->map, at, p->b + at % SIM_PAGE, (size_t)(end - at));
		at = end;
	}
	if (!sim_is_fat(n->trait) && to > n->size && span.to > span.from)
		n->size = to;
}

static void apply_size(struct sim_node *n, uint64_t size, bool settled)
{
	uint64_t old = n->size;

	sim_node_resize(n, size);
	if (!settled && sim_is_fat(n->trait))
		uncover(n, old);
}

void sim_disk_apply(struct sim_disk *d, const struct sim_op *op, struct sim_span span, bool settled)
{
	struct sim_node *n = &d->node[op->node];
	size_t i;

	switch (op->kind) {
	case SIM_WRITE:
		apply_write(n, op, span);
		break;
	case SIM_SIZE:
		apply_size(n, op->off, settled);
		break;
	case SIM_LINK:
		sim_disk_link(d, op->dir, op->name, op->node, op->bare);
		break;
	case SIM_DROP:
		sim_disk_drop(d, op->dir, op->name);
		break;
	case SIM_RENAME:
		sim_disk_drop(d, op->dir, op->name);
		sim_disk_link(d, op->dir, op->to, op->node, false);
		break;
	case SIM_FILL:
		i = sim_disk_find(d, op->dir, op->name);
		if (i != SIZE_MAX) {
			d->name[i].node = op->node;
			d->name[i].bare = false;
		}
		break;
	case SIM_FREE:
		n->broken = true;
		break;
	}
}

static size_t op_pages(const struct sim_op *op)
{
	return op->n == 0 ? 0 : (size_t)((op->off + op->n - 1) / SIM_PAGE - op->off / SIM_PAGE + 1);
}

struct sim_op sim_op_clone(const struct sim_op *op)
{
	struct sim_op c = *op;
	size_t n = op->kind == SIM_WRITE ? op_pages(op) : 0;

	c.name = must_dup(op->name);
	c.to = must_dup(op->to);
	c.page = NULL;
	if (n > 0)
		c.page = must_copy(op->page, n * sizeof(struct sim_page *));
	for (size_t i = 0; i < n; i++)
		(void)sim_page_ref(op->page[i]);
	return c;
}

void sim_op_done(struct sim_op *op)
{
	for (size_t i = 0; op->page && i < op_pages(op); i++)
		sim_page_put(op->page[i]);
	free(op->page);
	free(op->name);
	free(op->to);
}
