/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sys_sim.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/walk.h"

static struct sim *sim_of(struct sys *s)
{
	return (struct sim *)s;
}

/* ---- gates: counting, crashing, failing ---- */

static int gate(struct sim *sim)
{
	if (sim->dead)
		return -ESHUTDOWN;
	sim->calls++;
	return sim->calls == sim->fail_at ? -sim->fail_errno : 0;
}

static int gate_change(struct sim *sim)
{
	if (sim->dead)
		return -ESHUTDOWN;
	if (++sim->changes == sim->crash_at && sim->on_crash)
		sim->on_crash(sim, sim->on_crash_arg);
	if (sim->changes == sim->crash_at) {
		sim->dead = true;
		return -ESHUTDOWN;
	}
	return gate(sim);
}

/* A call that fails by itself still counts, and may fail otherwise. */
static int refuse(struct sim *sim, int r)
{
	int g = gate(sim);

	return g < 0 ? g : r;
}

static struct sim_op *record(struct sim *sim, enum sim_op_kind kind, uint32_t node)
{
	struct sim_op *op;

	if (sim->ops == sim->ops_cap) {
		size_t cap = sim->ops_cap ? sim->ops_cap * 2 : 32;
		struct sim_op *p = realloc(sim->op, cap * sizeof(*p));

		if (!p)
			abort();
		sim->op = p;
		sim->ops_cap = cap;
	}
	op = &sim->op[sim->ops++];
	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->node = node;
	return op;
}

static struct sim_op *record_name(struct sim *sim, enum sim_op_kind kind, uint32_t dir,
				  const char *name, uint32_t node)
{
	struct sim_op *op = record(sim, kind, node);

	op->dir = dir;
	op->name = strdup(name);
	if (!op->name)
		abort();
	return op;
}

/* ---- descriptors ---- */

static int fd_new(struct sim *sim, uint32_t node, bool written)
{
	for (int i = 0; i < SIM_FDS; i++) {
		if (sim->fd[i].open)
			continue;
		sim->fd[i].open = true;
		sim->fd[i].node = node;
		sim->fd[i].written = written;
		return SIM_FD_FIRST + i;
	}
	return -EMFILE;
}

/* A descriptor nobody opened is a mistake of the program under test that must not be overlooked. */
static uint32_t fd_node(const struct sim *sim, int fd)
{
	if (fd == AT_FDCWD)
		return 0;
	if (fd < SIM_FD_FIRST || fd >= SIM_FD_FIRST + SIM_FDS || !sim->fd[fd - SIM_FD_FIRST].open) {
		(void)fprintf(stderr, "sim: descriptor %d is not open\n", fd);
		abort();
	}
	return sim->fd[fd - SIM_FD_FIRST].node;
}

static bool fd_written(const struct sim *sim, int fd)
{
	return sim->fd[fd - SIM_FD_FIRST].written;
}

/* ---- sizes ---- */

/*
 * Changes a size, live and in the log. On FAT, growth by many small writes is one change: the size
 * in the entry is written when the inode is.
 */
static void set_size(struct sim *sim, uint32_t node, uint64_t size)
{
	struct sim_node *n = &sim->live.node[node];
	bool grows = size > n->size;

	sim_node_resize(n, size);
	for (size_t i = sim->ops; grows && sim_is_fat(n->trait) && i-- > 0;) {
		struct sim_op *op = &sim->op[i];

		if (op->kind != SIM_SIZE || op->node != node)
			continue;
		if (op->off > 0 && op->off < size) {
			op->off = size;
			return;
		}
		break;
	}
	record(sim, SIM_SIZE, node)->off = size;
}

static uint64_t room(const struct sim *sim, uint32_t node)
{
	uint64_t room = UINT64_MAX;

	for (size_t i = 0; i < sim->live.nodes; i++) {
		const struct sim_node *d = &sim->live.node[i];
		uint64_t used;

		if (!d->used || !d->dir || d->capacity == 0 ||
		    !sim_walk_below(&sim->live, node, (uint32_t)i))
			continue;
		used = sim_walk_used(&sim->live, (uint32_t)i);
		if (used >= d->capacity)
			return 0;
		if (d->capacity - used < room)
			room = d->capacity - used;
	}
	return room;
}

static uint64_t clusters(uint64_t size)
{
	return (size + SIM_PAGE - 1) / SIM_PAGE * SIM_PAGE;
}

static bool fits(const struct sim *sim, uint32_t node, uint64_t size)
{
	uint64_t old = sim->live.node[node].size;

	return size <= old || clusters(size) == clusters(old) ||
	       clusters(size) - clusters(old) <= room(sim, node);
}

/* ---- calls ---- */

static int make_node(struct sim *sim, uint32_t dir, const char *name, bool is_dir)
{
	uint32_t node = sim_walk_node(sim, is_dir, dir);
	struct sim_op *op = record_name(sim, SIM_LINK, dir, name, node);

	sim_disk_apply(&sim->live, op, (struct sim_span){ 0, 0 }, true);
	return (int)node;
}

static int open_node(struct sim *sim, uint32_t node, int flags)
{
	bool written = (flags & O_ACCMODE) != O_RDONLY;

	if (sim->live.node[node].dir && written)
		return -EISDIR;
	if (!sim->live.node[node].dir && (flags & O_DIRECTORY))
		return -ENOTDIR;
	if ((flags & O_TRUNC) && written && sim->live.node[node].size > 0)
		set_size(sim, node, 0);
	return fd_new(sim, node, written);
}

/* Another descriptor for what `fd` is of. */
static int open_again(struct sim *sim, int fd, int flags)
{
	int r = gate(sim);

	assert(!(flags & (O_CREAT | O_TRUNC)));
	return r < 0 ? r : open_node(sim, fd_node(sim, fd), flags);
}

static int sim_open(struct sys *s, int dir, const char *name, int flags, mode_t mode)
{
	static const char by_fd[] = "/proc/self/fd/";
	struct sim *sim = sim_of(s);
	struct sim_spot at;
	int r;

	(void)mode;
	assert((flags & O_TMPFILE) != O_TMPFILE);
	if (sim->dead)
		return -ESHUTDOWN;
	if (strncmp(name, by_fd, strlen(by_fd)) == 0)
		return open_again(sim, (int)strtol(name + strlen(by_fd), NULL, 10), flags);
	r = sim_walk(&sim->live, fd_node(sim, dir), name, &at);
	if (r >= 0 && at.there && (flags & O_CREAT) && (flags & O_EXCL))
		r = -EEXIST;
	if (r >= 0 && !at.there && (!(flags & O_CREAT) || !at.name[0]))
		r = -ENOENT;
	if (r < 0)
		return refuse(sim, r);
	r = !at.there || (flags & O_TRUNC) ? gate_change(sim) : gate(sim);
	if (r < 0)
		return r;
	if (!at.there)
		at.node = (uint32_t)make_node(sim, at.dir, at.name, false);
	return open_node(sim, at.node, flags);
}

static ssize_t sim_pread(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	struct sim *sim = sim_of(s);
	int r = gate(sim);
	const struct sim_node *node;

	if (r < 0)
		return r;
	node = &sim->live.node[fd_node(sim, fd)];
	if (node->dir)
		return -EISDIR;
	if (off >= node->size)
		return 0;
	if (n > node->size - off)
		n = (size_t)(node->size - off);
	sim_map_read(&node->map, off, buf, n);
	return (ssize_t)n;
}

static void write_live(struct sim *sim, uint32_t node, const void *buf, size_t n, uint64_t off)
{
	struct sim_op *op = record(sim, SIM_WRITE, node);
	const uint8_t *p = buf;
	uint64_t first = off / SIM_PAGE;
	size_t pages = (size_t)((off + n - 1) / SIM_PAGE - first + 1);

	op->off = off;
	op->n = n;
	op->page = calloc(pages, sizeof(struct sim_page *));
	if (!op->page)
		abort();
	for (size_t i = 0, done = 0; i < pages; i++) {
		size_t at = i == 0 ? (size_t)(off % SIM_PAGE) : 0;
		size_t k = SIM_PAGE - at < n - done ? SIM_PAGE - at : n - done;

		op->page[i] = sim_page_new();
		memcpy(op->page[i]->b + at, p + done, k);
		done += k;
	}
	sim_disk_apply(&sim->live, op, (struct sim_span){ 0, n }, true);
	if (off + n > sim->live.node[node].size) /* FAT: a change of its own */
		set_size(sim, node, off + n);
}

static ssize_t sim_pwrite(struct sys *s, int fd, const void *buf, size_t n, uint64_t off)
{
	struct sim *sim = sim_of(s);
	int r = gate_change(sim);
	uint32_t node;

	if (r < 0)
		return r;
	node = fd_node(sim, fd);
	if (sim->live.node[node].dir || !fd_written(sim, fd))
		return -EBADF;
	if (n == 0)
		return 0;
	if (sim->write_max > 0 && n > sim->write_max)
		n = sim->write_max;
	if (!fits(sim, node, off + n))
		return -ENOSPC;
	write_live(sim, node, buf, n, off);
	sim->written += n;
	return (ssize_t)n;
}

static int sim_get_size(struct sys *s, int fd, uint64_t *ret)
{
	struct sim *sim = sim_of(s);
	int r = gate(sim);

	if (r < 0)
		return r;
	*ret = sim->live.node[fd_node(sim, fd)].size;
	return 0;
}

static int sim_truncate(struct sys *s, int fd, uint64_t n)
{
	struct sim *sim = sim_of(s);
	int r = gate_change(sim);
	uint32_t node;

	if (r < 0)
		return r;
	node = fd_node(sim, fd);
	if (sim->live.node[node].dir || !fd_written(sim, fd))
		return -EBADF;
	if (!fits(sim, node, n))
		return -ENOSPC;
	if (n != sim->live.node[node].size)
		set_size(sim, node, n);
	return 0;
}

/* Does syncing `node` make this change durable? */
static bool covered(const struct sim *sim, const struct sim_op *op, uint32_t node)
{
	const struct sim_node *n = &sim->live.node[node];

	switch (op->kind) {
	case SIM_WRITE:
	case SIM_SIZE:
		return op->node == node;
	case SIM_FILL:
		return op->node == node || (op->dir == node && n->trait == SIM_FAT);
	case SIM_FREE: /* any sync writes all of the allocation table */
		return sim_is_fat(n->trait);
	case SIM_LINK:
	case SIM_DROP:
	case SIM_RENAME:
		return op->dir == node;
	}
	return false;
}

/* The entry a FILL is for may still be volatile itself: then the FILL becomes part of it. */
static void fold_fill(struct sim *sim, const struct sim_op *fill)
{
	for (size_t i = 0; i < sim->ops; i++) {
		struct sim_op *op = &sim->op[i];

		if (op->kind == SIM_LINK && op->dir == fill->dir && op->node == fill->node &&
		    op->bare && strcmp(op->name, fill->name) == 0)
			op->bare = false;
	}
}

static void fold(struct sim *sim, uint32_t node, bool lose)
{
	size_t kept = 0;

	for (size_t i = 0; i < sim->ops; i++)
		if (sim->op[i].kind == SIM_FILL && covered(sim, &sim->op[i], node))
			fold_fill(sim, &sim->op[i]);
	for (size_t i = 0; i < sim->ops; i++) {
		struct sim_op *op = &sim->op[i];
		bool data = op->kind == SIM_WRITE || op->kind == SIM_SIZE;

		if (!covered(sim, op, node) || (lose && !data)) {
			sim->op[kept++] = *op;
			continue;
		}
		if (!lose)
			sim_disk_apply(&sim->base, op, (struct sim_span){ 0, op->n }, true);
		sim_op_done(op);
	}
	sim->ops = kept;
}

static int sim_sync(struct sys *s, int fd)
{
	struct sim *sim = sim_of(s);
	uint32_t node;
	int r;

	if (sim->dead)
		return -ESHUTDOWN;
	node = fd_node(sim, fd);
	r = gate_change(sim);
	if (r == -ESHUTDOWN)
		return r;
	/* as Linux does: after a failed fsync the pages are clean, but never reached the medium */
	fold(sim, node, r < 0);
	return r;
}

static uint32_t other_names(const struct sim_disk *d, uint32_t node)
{
	uint32_t n = 0;

	for (size_t i = 0; i < d->names; i++)
		n += d->name[i].node == node;
	return n;
}

/* The last name is gone: its clusters are free, before or after that is on the medium. */
static void release(struct sim *sim, uint32_t node)
{
	if (sim->live.node[node].trait == SIM_FAT_STRICT && other_names(&sim->live, node) == 0)
		(void)record(sim, SIM_FREE, node);
	else if (sim_is_fat(sim->live.node[node].trait) && other_names(&sim->live, node) > 0)
		sim->live.node[node].broken = true; /* a cross-link that nobody repaired */
}

/* vfat: a new entry without start and size, the old one removed, start and size filled in later. */
static void rename_fat(struct sim *sim, const struct sim_spot *from, const struct sim_spot *to)
{
	if (!to->there)
		record_name(sim, SIM_LINK, to->dir, to->name, from->node)->bare = true;
	(void)record_name(sim, SIM_FILL, to->dir, to->name, from->node);
	(void)record_name(sim, SIM_DROP, from->dir, from->name, from->node);
}

static int sim_rename(struct sys *s, int dir, const char *from, const char *to)
{
	struct sim *sim = sim_of(s);
	struct sim_spot a, b;
	struct sim_op *op;
	int r;

	if (sim->dead)
		return -ESHUTDOWN;
	r = sim_walk(&sim->live, fd_node(sim, dir), from, &a);
	if (r >= 0)
		r = sim_walk(&sim->live, fd_node(sim, dir), to, &b);
	if (r >= 0 && !a.there)
		r = -ENOENT;
	if (r >= 0 && b.there && sim->live.node[b.node].dir)
		r = -EISDIR;
	if (r < 0)
		return refuse(sim, r);
	assert(a.dir == b.dir); /* the contract of base/sys.h */
	r = gate_change(sim);
	if (r < 0 || (b.there && a.node == b.node && strcmp(from, to) == 0))
		return r;
	if (sim_is_fat(sim->live.node[a.dir].trait)) {
		rename_fat(sim, &a, &b);
	} else {
		op = record_name(sim, SIM_RENAME, a.dir, a.name, a.node);
		op->to = strdup(b.name);
		if (!op->to)
			abort();
	}
	sim_disk_drop(&sim->live, a.dir, a.name);
	sim_disk_link(&sim->live, b.dir, b.name, a.node, false);
	if (b.there && b.node != a.node)
		release(sim, b.node);
	return 0;
}

static int sim_unlink(struct sys *s, int dir, const char *name)
{
	struct sim *sim = sim_of(s);
	struct sim_spot at;
	int r;

	if (sim->dead)
		return -ESHUTDOWN;
	r = sim_walk(&sim->live, fd_node(sim, dir), name, &at);
	if (r >= 0 && !at.there)
		r = -ENOENT;
	if (r >= 0 && sim->live.node[at.node].dir)
		r = -EISDIR;
	if (r < 0)
		return refuse(sim, r);
	r = gate_change(sim);
	if (r < 0)
		return r;
	(void)record_name(sim, SIM_DROP, at.dir, at.name, at.node);
	sim_disk_drop(&sim->live, at.dir, at.name);
	release(sim, at.node);
	return 0;
}

static int sim_mkdir(struct sys *s, int dir, const char *name, mode_t mode)
{
	struct sim *sim = sim_of(s);
	struct sim_spot at;
	int r;

	(void)mode;
	if (sim->dead)
		return -ESHUTDOWN;
	r = sim_walk(&sim->live, fd_node(sim, dir), name, &at);
	if (r >= 0 && at.there)
		r = -EEXIST;
	if (r < 0)
		return refuse(sim, r);
	r = gate_change(sim);
	if (r >= 0)
		(void)make_node(sim, at.dir, at.name, true);
	return r < 0 ? r : 0;
}

static int sim_list(struct sys *s, int dir, sys_list_fn fn, void *arg)
{
	struct sim *sim = sim_of(s);
	int r = gate(sim);
	uint32_t node;
	char **names;
	size_t n = 0;

	if (r < 0)
		return r;
	node = fd_node(sim, dir);
	if (!sim->live.node[node].dir)
		return -ENOTDIR;
	/* a snapshot: fn may unlink and rename */
	names = calloc(sim->live.names + 1, sizeof(*names));
	for (size_t i = 0; names && i < sim->live.names; i++)
		if (sim->live.name[i].dir == node)
			names[n++] = strdup(sim->live.name[i].name);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = fn(arg, names[i]);
		free(names[i]);
	}
	free(names);
	return r;
}

static int sim_space(struct sys *s, int dir, uint64_t *ret)
{
	struct sim *sim = sim_of(s);
	int r = gate(sim);
	uint64_t n;

	if (r < 0)
		return r;
	n = room(sim, fd_node(sim, dir));
	*ret = n < INT64_MAX ? n : INT64_MAX;
	return 0;
}

/* The cache of clean pages goes: what a failed sync lost is seen to be lost. */
static int sim_forget(struct sys *s, int fd, uint64_t off, uint64_t n)
{
	struct sim *sim = sim_of(s);
	int r = gate(sim);
	uint32_t node;

	(void)off;
	(void)n;
	if (r < 0)
		return r;
	node = fd_node(sim, fd);
	sim_map_done(&sim->live.node[node].map);
	sim_map_clone(&sim->base.node[node].map, &sim->live.node[node].map);
	sim->live.node[node].size = sim->base.node[node].size;
	for (size_t i = 0; i < sim->ops; i++) {
		const struct sim_op *op = &sim->op[i];

		if (op->node == node && (op->kind == SIM_WRITE || op->kind == SIM_SIZE))
			sim_disk_apply(&sim->live, op, (struct sim_span){ 0, op->n }, true);
	}
	return 0;
}

static int sim_lock(struct sys *s, int fd)
{
	struct sim *sim = sim_of(s);
	int r = gate(sim);

	if (r >= 0)
		(void)fd_node(sim, fd);
	return r;
}

static int sim_close(struct sys *s, int fd)
{
	struct sim *sim = sim_of(s);

	(void)fd_node(sim, fd);
	sim->fd[fd - SIM_FD_FIRST].open = false;
	return 0;
}

/* ---- life ---- */

static const struct sys_ops ops = {
	.open = sim_open,
	.pread = sim_pread,
	.pwrite = sim_pwrite,
	.size = sim_get_size,
	.truncate = sim_truncate,
	.sync = sim_sync,
	.rename = sim_rename,
	.unlink = sim_unlink,
	.mkdir = sim_mkdir,
	.list = sim_list,
	.space = sim_space,
	.forget = sim_forget,
	.lock = sim_lock,
	.close = sim_close,
};

void sim_init(struct sim *sim)
{
	memset(sim, 0, sizeof(*sim));
	sim->sys.ops = &ops;
	sim->fail_errno = EIO;
	sim->base.node = calloc(1, sizeof(*sim->base.node));
	if (!sim->base.node)
		abort();
	sim->base.nodes = 1;
	sim->base.node[0] = (struct sim_node){ .used = true, .dir = true, .trait = SIM_POSIX };
	sim_disk_clone(&sim->base, &sim->live);
}

static void forget_ops(struct sim *sim)
{
	for (size_t i = 0; i < sim->ops; i++)
		sim_op_done(&sim->op[i]);
	sim->ops = 0;
}

void sim_done(struct sim *sim)
{
	forget_ops(sim);
	free(sim->op);
	sim_disk_done(&sim->base);
	sim_disk_done(&sim->live);
	memset(sim, 0, sizeof(*sim));
}

struct sys *sim_sys(struct sim *sim)
{
	return &sim->sys;
}

void sim_rearm(struct sim *sim)
{
	memset(sim->fd, 0, sizeof(sim->fd));
	sim->crash_at = sim->fail_at = 0;
	sim->calls = sim->changes = 0;
	sim->written = 0;
	sim->dead = false;
}

void sim_settle(struct sim *sim)
{
	forget_ops(sim);
	sim_disk_done(&sim->base);
	sim_disk_clone(&sim->live, &sim->base);
}

void sim_clone(const struct sim *from, struct sim *to)
{
	*to = *from;
	sim_disk_clone(&from->base, &to->base);
	sim_disk_clone(&from->live, &to->live);
	to->op = from->ops > 0 ? calloc(from->ops, sizeof(*to->op)) : NULL;
	to->ops_cap = from->ops;
	if (from->ops > 0 && !to->op)
		abort();
	for (size_t i = 0; i < from->ops; i++)
		to->op[i] = sim_op_clone(&from->op[i]);
	memset(to->fd, 0, sizeof(to->fd));
}
