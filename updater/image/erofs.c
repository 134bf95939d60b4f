/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/erofs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/cleanup.h"

#define BLOCK        4096u
#define SUPER_AT     1024u
#define SUPER_BYTES  128u
#define MAGIC        0xE0F5E1E2u
#define BLOCK_LOG    12u
#define INODE_SLOT   32u
#define DIRENT_BYTES 12u
#define FNV_PRIME    0x100000001b3u
/* lz4 0padding, compression configs, second algorithm, packed tails, fragments */
#define INCOMPAT_COMPRESSED (0x1u | 0x2u | 0x8u | 0x10u | 0x20u)

enum layout { LAYOUT_PLAIN = 0, LAYOUT_INLINE = 2 };

struct inode {
	uint16_t mode;
	unsigned layout;
	uint64_t bytes;
	uint64_t data; /* its first block */
	uint64_t tail; /* byte behind the inode, where an inlined end lies */
};

/* A directory still to be read. */
struct pending {
	uint64_t nid;
	struct erofs_path path;
	unsigned depth;
};

struct walk {
	const uint8_t *p;
	uint64_t n;
	uint64_t meta;     /* byte of inode 0 */
	uint8_t *seen;     /* a bit per inode slot: directories that were taken */
	uint64_t dir_left; /* bytes of directories that may still be read */
	struct pending *stack;
	size_t n_stack, cap_stack;
	/* what is wanted of it */
	struct erofs_map *map;
	size_t cap_map;
	erofs_name_fn fn;
	void *arg;
};

void erofs_map_free(struct erofs_map *m)
{
	if (!m)
		return;
	free(m->file);
	free(m);
}

static void walk_done(struct walk *w)
{
	free(w->seen);
	free(w->stack);
}

static bool understood(const uint8_t *p, uint64_t n)
{
	const uint8_t *sb = p + SUPER_AT;

	return n >= SUPER_AT + SUPER_BYTES && le32_get(sb) == MAGIC && sb[12] == BLOCK_LOG &&
	       (le32_get(sb + 80) & INCOMPAT_COMPRESSED) == 0;
}

static bool inode_read(const struct walk *w, uint64_t nid, struct inode *ret)
{
	uint64_t at = w->meta + nid * INODE_SLOT;
	uint16_t format, xattrs;
	const uint8_t *p;

	if (nid > w->n / INODE_SLOT || at > w->n - INODE_SLOT)
		return false;
	p = w->p + at;
	format = le16_get(p);
	xattrs = le16_get(p + 2);
	ret->layout = (format >> 1) & 7u;
	ret->mode = le16_get(p + 4);
	ret->bytes = format & 1 ? le64_get(p + 8) : le32_get(p + 8);
	ret->data = le32_get(p + 16);
	ret->tail = at + (format & 1 ? 2 * INODE_SLOT : INODE_SLOT) +
		    (xattrs ? 12u + (uint64_t)(xattrs - 1u) * 4u : 0);
	if (ret->layout != LAYOUT_PLAIN && ret->layout != LAYOUT_INLINE)
		return false;
	return ret->bytes <= w->n && ret->tail <= w->n;
}

/* Blocks that are the inode's alone; 0 when they do not lie in the image. */
static uint64_t inode_blocks(const struct walk *w, const struct inode *in)
{
	uint64_t blocks = in->bytes / BLOCK;

	if (in->layout == LAYOUT_PLAIN && in->bytes % BLOCK)
		blocks++;
	return blocks <= w->n / BLOCK && in->data <= w->n / BLOCK - blocks ? blocks : 0;
}

static bool map_add(struct walk *w, const struct inode *in, const struct erofs_path *path)
{
	uint64_t blocks = inode_blocks(w, in);
	struct erofs_file *more;

	if (blocks == 0 || w->map->n == EROFS_FILES_MAX)
		return true;
	more = array_room(w->map->file, w->map->n, &w->cap_map, sizeof(*more));
	if (!more)
		return false;
	w->map->file = more;
	w->map->file[w->map->n++] =
		(struct erofs_file){ path->path, path->alike, (uint32_t)in->data, (uint32_t)blocks,
				     in->bytes };
	return true;
}

static bool dir_push(struct walk *w, const struct pending *d)
{
	uint8_t bit = (uint8_t)(1u << (d->nid % 8));
	struct pending *more;

	if (d->nid > w->n / INODE_SLOT || w->seen[d->nid / 8] & bit || d->depth > EROFS_DEPTH_MAX)
		return true;
	more = array_room(w->stack, w->n_stack, &w->cap_stack, sizeof(*more));
	if (!more)
		return false;
	w->stack = more;
	w->seen[d->nid / 8] |= bit;
	w->stack[w->n_stack++] = *d;
	return true;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

void erofs_path_add(struct erofs_path *p, const uint8_t *name, size_t n)
{
	p->path = (p->path ^ '/') * FNV_PRIME;
	p->alike = (p->alike ^ '/') * FNV_PRIME;
	for (size_t i = 0; i < n; i++) {
		p->path = (p->path ^ name[i]) * FNV_PRIME;
		if (!is_digit(name[i]))
			p->alike = (p->alike ^ name[i]) * FNV_PRIME;
		else if (i == 0 || !is_digit(name[i - 1]))
			p->alike = (p->alike ^ '0') * FNV_PRIME;
	}
}

/* One name of a directory. 0, what fn returned, or -ENOMEM. */
static int entry_take(struct walk *w, const struct pending *dir, uint64_t nid, const uint8_t *name,
		      size_t n)
{
	struct pending d = *dir;
	struct inode in;
	int r = 0;

	if (n == 0 || n > EROFS_NAME_MAX || (n == 1 && name[0] == '.') ||
	    (n == 2 && name[0] == '.' && name[1] == '.') || !inode_read(w, nid, &in))
		return 0;
	d.nid = nid;
	d.depth++;
	erofs_path_add(&d.path, name, n);
	if (w->fn)
		r = w->fn(w->arg, (const char *)name, n, in.mode,
			  S_ISREG(in.mode) && in.layout == LAYOUT_INLINE && in.bytes % BLOCK);
	if (r != 0)
		return r;
	if (S_ISDIR(in.mode) && !dir_push(w, &d))
		r = -ENOMEM;
	if (w->map && (S_ISDIR(in.mode) || S_ISREG(in.mode)) && !map_add(w, &in, &d.path))
		r = -ENOMEM;
	return r;
}

/* The names in n bytes of one directory block: entries, then names in their order. */
static int block_read(struct walk *w, const struct pending *dir, const uint8_t *p, size_t n)
{
	size_t count = n >= DIRENT_BYTES ? le16_get(p + 8) / DIRENT_BYTES : 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count && (i + 1) * DIRENT_BYTES <= n; i++) {
		const uint8_t *d = p + i * DIRENT_BYTES;
		size_t from = le16_get(d + 8), to = n;

		if (i + 1 < count && (i + 2) * DIRENT_BYTES <= n)
			to = le16_get(d + DIRENT_BYTES + 8);
		if (from < count * DIRENT_BYTES || from > to || to > n)
			return 0;
		r = entry_take(w, dir, le64_get(d), p + from,
			       strnlen((const char *)p + from, to - from));
	}
	return r;
}

static int dir_read(struct walk *w, const struct pending *dir)
{
	struct inode in;
	uint64_t blocks, whole;
	int r = 0;

	if (!inode_read(w, dir->nid, &in))
		return 0;
	blocks = in.bytes / BLOCK + (in.bytes % BLOCK != 0);
	whole = inode_blocks(w, &in);
	for (uint64_t b = 0; r == 0 && b < blocks; b++) {
		uint64_t left = in.bytes - b * BLOCK, at = (in.data + b) * BLOCK;
		size_t n = left < BLOCK ? (size_t)left : BLOCK;

		if (n > w->dir_left)
			return 0;
		w->dir_left -= n;
		if (b >= whole)
			at = in.layout == LAYOUT_INLINE && n < BLOCK ? in.tail : w->n;
		if (at <= w->n && n <= w->n - at)
			r = block_read(w, dir, w->p + at, n);
	}
	return r;
}

static int tree_walk(struct walk *w)
{
	const uint8_t *sb = w->p + SUPER_AT;
	const struct pending root = { le16_get(sb + 14), EROFS_PATH_ROOT, 0 };
	int r = 0;

	w->meta = (uint64_t)le32_get(sb + 40) * BLOCK;
	w->dir_left = w->n; /* every byte belongs to one directory */
	w->seen = calloc((size_t)(w->n / INODE_SLOT / 8) + 1, 1);
	if (!w->seen || !dir_push(w, &root))
		r = -ENOMEM;
	while (r == 0 && w->n_stack > 0) {
		const struct pending dir = w->stack[--w->n_stack];

		r = dir_read(w, &dir);
	}
	return r;
}

static int by_block(const void *a, const void *b)
{
	const struct erofs_file *x = a, *y = b;

	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return (x->path > y->path) - (x->path < y->path);
}

/* Hard links, and whatever claims blocks of another: the first stays. */
static void map_sort(struct erofs_map *m)
{
	size_t k = 0;

	if (m->n > 0)
		qsort(m->file, m->n, sizeof(*m->file), by_block);
	for (size_t i = 0; i < m->n; i++)
		if (k == 0 || m->file[i].block - m->file[k - 1].block >= m->file[k - 1].blocks)
			m->file[k++] = m->file[i];
	m->n = k;
}

int erofs_map_new(const uint8_t *p, uint64_t n, struct erofs_map **ret, struct err *e)
{
	CLEANUP(walk_done) struct walk w = { .p = p, .n = n };
	AUTO_EROFS_MAP *m = NULL;

	if (!understood(p, n)) {
		*ret = NULL;
		return 0;
	}
	m = calloc(1, sizeof(*m));
	w.map = m;
	if (!m || tree_walk(&w) < 0)
		return err_set(e, ERR_HOST, ENOMEM, "files of an image");
	map_sort(m);
	*ret = TAKE(m);
	return 0;
}

int erofs_names(const uint8_t *p, uint64_t n, erofs_name_fn fn, void *arg)
{
	CLEANUP(walk_done) struct walk w = { .p = p, .n = n, .fn = fn, .arg = arg };

	return understood(p, n) ? tree_walk(&w) : 0;
}

const struct erofs_file *erofs_map_at(const struct erofs_map *m, uint64_t b)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->file[mid].block <= b)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && b - m->file[low - 1].block < m->file[low - 1].blocks ? &m->file[low - 1]
									       : NULL;
}

/* ---- by path ---- */

struct entry {
	const struct erofs_file *f;
};

struct erofs_index {
	size_t n;
	struct entry *path, *alike; /* sorted by that */
};

void erofs_index_free(struct erofs_index *x)
{
	if (!x)
		return;
	free(x->path);
	free(x->alike);
	free(x);
}

static int by_path(const void *a, const void *b)
{
	const struct erofs_file *x = ((const struct entry *)a)->f;
	const struct erofs_file *y = ((const struct entry *)b)->f;

	if (x->path != y->path)
		return x->path < y->path ? -1 : 1;
	return (x->block > y->block) - (x->block < y->block);
}

static int by_alike(const void *a, const void *b)
{
	const struct erofs_file *x = ((const struct entry *)a)->f;
	const struct erofs_file *y = ((const struct entry *)b)->f;

	if (x->alike != y->alike)
		return x->alike < y->alike ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	return (x->block > y->block) - (x->block < y->block);
}

int erofs_index_new(const struct erofs_map *m, struct erofs_index **ret, struct err *e)
{
	AUTO_EROFS_INDEX *x = calloc(1, sizeof(*x));

	if (x) {
		x->path = calloc(m->n + 1, sizeof(*x->path));
		x->alike = calloc(m->n + 1, sizeof(*x->alike));
	}
	if (!x || !x->path || !x->alike)
		return err_set(e, ERR_HOST, ENOMEM, "files of an image");
	x->n = m->n;
	for (size_t i = 0; i < m->n; i++)
		x->path[i].f = x->alike[i].f = &m->file[i];
	qsort(x->path, x->n, sizeof(*x->path), by_path);
	qsort(x->alike, x->n, sizeof(*x->alike), by_alike);
	*ret = TAKE(x);
	return 0;
}

/* The first of t[0..n) that does not come before f. */
static size_t first_of(const struct entry *t, size_t n, const struct erofs_file *f,
		       int (*order)(const void *a, const void *b))
{
	const struct entry key = { f };
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (order(&t[mid], &key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct erofs_file *erofs_index_find(const struct erofs_index *x, const struct erofs_file *f)
{
	const struct erofs_file *more = NULL, *less = NULL;
	struct erofs_file key = *f;
	size_t i;

	key.block = 0;
	i = first_of(x->path, x->n, &key, by_path);
	if (i < x->n && x->path[i].f->path == f->path)
		return x->path[i].f;
	i = first_of(x->alike, x->n, &key, by_alike);
	if (i < x->n && x->alike[i].f->alike == f->alike)
		more = x->alike[i].f;
	if (i > 0 && x->alike[i - 1].f->alike == f->alike)
		less = x->alike[i - 1].f;
	if (more && less)
		return more->bytes - f->bytes < f->bytes - less->bytes ? more : less;
	return more ? more : less;
}
