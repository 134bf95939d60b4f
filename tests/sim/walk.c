/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/walk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One component; n is its length. */
static int step(const struct sim_disk *d, struct sim_spot *at, const char *p, size_t n)
{
	size_t i;

	if (n > SIM_NAME_MAX)
		return -ENAMETOOLONG;
	if (!at->there)
		return -ENOENT;
	if (!d->node[at->node].dir)
		return -ENOTDIR;
	if (n == 1 && p[0] == '.')
		return 0;
	assert(!(n == 2 && p[0] == '.' && p[1] == '.')); /* nobody here may need it */
	at->dir = at->node;
	memcpy(at->name, p, n);
	at->name[n] = '\0';
	i = sim_disk_find(d, at->dir, at->name);
	at->there = i != SIZE_MAX;
	if (at->there)
		at->node = d->name[i].node;
	return 0;
}

int sim_walk(const struct sim_disk *d, uint32_t from, const char *path, struct sim_spot *ret)
{
	struct sim_spot at = { .node = path[0] == '/' ? 0 : from, .there = true };

	if (!path[0])
		return -ENOENT;
	while (*path) {
		size_t n = strcspn(path, "/");
		int r = n > 0 ? step(d, &at, path, n) : 0;

		if (r < 0)
			return r;
		path += n;
		path += strspn(path, "/");
	}
	*ret = at;
	return 0;
}

bool sim_walk_below(const struct sim_disk *d, uint32_t node, uint32_t dir)
{
	uint32_t at = node;

	if (!d->node[node].dir) {
		at = 0;
		for (size_t i = 0; i < d->names; i++)
			if (d->name[i].node == node)
				at = d->name[i].dir;
	}
	while (at != dir && at != 0)
		at = d->node[at].parent;
	return at == dir;
}

uint64_t sim_walk_used(const struct sim_disk *d, uint32_t dir)
{
	uint64_t used = 0;

	for (size_t i = 0; i < d->names; i++) {
		uint32_t node = d->name[i].node;

		if (!d->node[node].dir && sim_walk_below(d, d->name[i].dir, dir))
			used += (d->node[node].size + SIM_PAGE - 1) / SIM_PAGE * SIM_PAGE;
	}
	return used;
}

/* ---- nodes ---- */

static void mark(const struct sim_disk *d, bool *seen)
{
	for (size_t i = 0; i < d->names; i++)
		seen[d->name[i].node] = seen[d->name[i].dir] = true;
}

/* Gives back the nodes that no name, change or descriptor leads to. */
static void collect(struct sim *sim)
{
	size_t n = sim->live.nodes;
	bool *seen = calloc(n, sizeof(*seen));

	if (!seen)
		abort();
	seen[0] = true;
	mark(&sim->live, seen);
	mark(&sim->base, seen);
	for (size_t i = 0; i < sim->ops; i++)
		seen[sim->op[i].node] = seen[sim->op[i].dir] = true;
	for (size_t i = 0; i < SIM_FDS; i++)
		if (sim->fd[i].open)
			seen[sim->fd[i].node] = true;
	for (size_t i = 0; i < n; i++) {
		if (seen[i])
			continue;
		sim_map_done(&sim->live.node[i].map);
		sim_map_done(&sim->base.node[i].map);
		sim->live.node[i] = sim->base.node[i] = (struct sim_node){ .used = false };
	}
	free(seen);
}

static void grow(struct sim_disk *d, size_t n)
{
	struct sim_node *p = realloc(d->node, n * sizeof(*p));

	if (!p)
		abort();
	memset(p + d->nodes, 0, (n - d->nodes) * sizeof(*p));
	d->node = p;
	d->nodes = n;
}

static uint32_t free_node(const struct sim_disk *d)
{
	for (size_t i = 1; i < d->nodes; i++)
		if (!d->node[i].used)
			return (uint32_t)i;
	return 0;
}

uint32_t sim_walk_node(struct sim *sim, bool is_dir, uint32_t dir)
{
	uint32_t i = free_node(&sim->live);
	struct sim_node fresh = {
		.used = true, .dir = is_dir, .trait = sim->live.node[dir].trait, .parent = dir
	};

	if (i == 0) {
		collect(sim);
		i = free_node(&sim->live);
	}
	if (i == 0) {
		i = (uint32_t)sim->live.nodes;
		grow(&sim->live, sim->live.nodes + 32);
		grow(&sim->base, sim->base.nodes + 32);
	}
	sim->live.node[i] = sim->base.node[i] = fresh;
	return i;
}

/* ---- furniture and looking ---- */

/* Both disks get it, whatever is volatile meanwhile. */
static uint32_t place(struct sim *sim, const struct sim_spot *at, bool is_dir)
{
	uint32_t node = sim_walk_node(sim, is_dir, at->dir);

	sim_disk_link(&sim->live, at->dir, at->name, node, false);
	sim_disk_link(&sim->base, at->dir, at->name, node, false);
	return node;
}

void sim_dir(struct sim *sim, const char *path, enum sim_trait trait)
{
	char part[4096];

	assert(path[0] == '/' && strlen(path) < sizeof(part));
	for (size_t n = 1; n <= strlen(path); n++) {
		struct sim_spot at;
		uint32_t node;

		if (path[n] != '/' && path[n] != '\0')
			continue;
		memcpy(part, path, n);
		part[n] = '\0';
		if (sim_walk(&sim->live, 0, part, &at) < 0)
			abort();
		if (at.there)
			continue;
		node = place(sim, &at, true);
		sim->live.node[node].trait = sim->base.node[node].trait = trait;
	}
}

/* What must be there. */
static struct sim_spot spot(const struct sim *sim, const char *path)
{
	struct sim_spot at = { 0 };

	if (sim_walk(&sim->live, 0, path, &at) < 0 || !at.there) {
		(void)fprintf(stderr, "sim: no '%s'\n", path);
		abort();
	}
	return at;
}

void sim_capacity(struct sim *sim, const char *path, uint64_t bytes)
{
	struct sim_spot at = spot(sim, path);

	sim->live.node[at.node].capacity = sim->base.node[at.node].capacity = bytes;
}

/* The file at path, made with its directory when it is not there. */
static uint32_t file_at(struct sim *sim, const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];
	struct sim_spot at;

	assert(slash && (size_t)(slash - path) < sizeof(dir));
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	if (slash > path && !sim_exists(sim, dir))
		sim_dir(sim, dir, SIM_POSIX);
	if (sim_walk(&sim->live, 0, path, &at) < 0)
		abort();
	return at.there ? at.node : place(sim, &at, false);
}

static void fill(struct sim_node *n, const void *data, size_t size)
{
	sim_node_resize(n, 0);
	sim_map_write(&n->map, 0, data, size);
	n->size = size;
	n->broken = false;
}

void sim_file(struct sim *sim, const char *path, const void *data, size_t n)
{
	uint32_t node = file_at(sim, path);

	fill(&sim->live.node[node], data, n);
	fill(&sim->base.node[node], data, n);
}

void sim_sparse(struct sim *sim, const char *path, uint64_t size)
{
	uint32_t node = file_at(sim, path);

	sim_node_resize(&sim->live.node[node], size);
	sim_node_resize(&sim->base.node[node], size);
}

void sim_poke(struct sim *sim, const char *path, uint64_t off, const void *data, size_t n)
{
	struct sim_spot at = spot(sim, path);

	assert(off + n <= sim->live.node[at.node].size);
	sim_map_write(&sim->live.node[at.node].map, off, data, n);
	sim_map_write(&sim->base.node[at.node].map, off, data, n);
}

bool sim_exists(const struct sim *sim, const char *path)
{
	struct sim_spot at;

	return sim_walk(&sim->live, 0, path, &at) >= 0 && at.there;
}

int64_t sim_size(const struct sim *sim, const char *path)
{
	return sim_exists(sim, path) ? (int64_t)sim->live.node[spot(sim, path).node].size : -1;
}

size_t sim_read_at(const struct sim *sim, const char *path, uint64_t off, void *p, size_t n)
{
	const struct sim_node *node = &sim->live.node[spot(sim, path).node];

	if (off >= node->size)
		return 0;
	if (n > node->size - off)
		n = (size_t)(node->size - off);
	sim_map_read(&node->map, off, p, n);
	return n;
}

void *sim_read(const struct sim *sim, const char *path, size_t *ret_n)
{
	int64_t size = sim_size(sim, path);
	char *p;

	if (size < 0)
		return NULL;
	p = calloc(1, (size_t)size + 1);
	if (!p)
		abort();
	*ret_n = sim_read_at(sim, path, 0, p, (size_t)size);
	return p;
}

void sim_names(const struct sim *sim, const char *path, void (*fn)(void *arg, const char *name),
	       void *arg)
{
	uint32_t dir = spot(sim, path).node;

	for (size_t i = 0; i < sim->live.names; i++)
		if (sim->live.name[i].dir == dir)
			fn(arg, sim->live.name[i].name);
}

unsigned sim_open_fds(const struct sim *sim)
{
	unsigned n = 0;

	for (size_t i = 0; i < SIM_FDS; i++)
		n += sim->fd[i].open;
	return n;
}

size_t sim_volatile(const struct sim *sim)
{
	return sim->ops;
}
