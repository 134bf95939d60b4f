/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/erofs_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "updater/image/erofs.h"

#define BLOCK        4096u
#define SUPER_AT     1024u
#define SUPER_BYTES  128u
#define MAGIC        0xE0F5E1E2u
#define BLOCK_LOG    12u
#define DIRENT_BYTES 12u
#define COMPAT_KNOWN 0x7u /* checksum, mtime, filter of names of extended attributes */
#define IBODY_BYTES  12u  /* header of an inode's extended attributes */

enum layout { LAYOUT_PLAIN = 0, LAYOUT_INLINE = 2 };

struct pending {
	uint32_t item;
	unsigned depth;
	struct erofs_path path;
};

struct reader {
	struct erofs_tree *t;
	uint64_t slots;    /* of the image */
	uint8_t *used;     /* a bit per slot */
	uint32_t *item_of; /* slot to item plus one */
	size_t cap;
	struct pending *stack;
	size_t n_stack, cap_stack;
	struct pending dir; /* that is being read */
	uint64_t shared;    /* byte where shared extended attributes are counted from */
	uint64_t low, high; /* and where those that are used lie */
	struct err *e;
};

void erofs_tree_free(struct erofs_tree *t)
{
	if (!t)
		return;
	free(t->item);
	free(t->by_nid);
	free(t->by_path);
	free(t);
}

static void reader_done(struct reader *r)
{
	free(r->used);
	free(r->item_of);
	free(r->stack);
}

static int refuse(const struct reader *r, const char *why)
{
	return err_set(r->e, ERR_INPUT, ENOTSUP,
		       "it is not laid out as `proa-publish image` does it: %s", why);
}

static int no_memory(const struct reader *r)
{
	return err_set(r->e, ERR_HOST, ENOMEM, "out of memory for the files of an image");
}

/* Claims slots for one owner: overlap is refused. */
static int claim(struct reader *r, uint64_t from, uint64_t n)
{
	if (from > r->slots || n > r->slots - from)
		return refuse(r, "it is cut off");
	for (uint64_t i = from; i < from + n; i++) {
		uint8_t bit = (uint8_t)(1u << (i % 8));

		if (r->used[i / 8] & bit)
			return refuse(r, "parts of it overlap");
		r->used[i / 8] |= bit;
	}
	return 0;
}

/* One shared extended attribute: the bytes it takes. */
static int shared_note(struct reader *r, uint32_t id)
{
	uint64_t at = r->shared + 4 * (uint64_t)id, end = r->slots * EROFS_SLOT_BYTES;
	const uint8_t *p;
	uint64_t n;

	if (at > end - 4)
		return refuse(r, "it is cut off");
	p = r->t->p + at;
	n = (4u + (uint64_t)p[0] + le16_get(p + 2) + 3u) & ~(uint64_t)3;
	if (n > end - at)
		return refuse(r, "it is cut off");
	r->low = at < r->low ? at : r->low;
	r->high = at + n > r->high ? at + n : r->high;
	return 0;
}

static int xattrs_note(struct reader *r, const uint8_t *p, uint64_t n)
{
	int q = 0;

	if (n == 0)
		return 0;
	if (IBODY_BYTES + 4u * (uint64_t)p[4] > n)
		return refuse(r, "extended attributes contradict themselves");
	for (unsigned i = 0; q == 0 && i < p[4]; i++)
		q = shared_note(r, le32_get(p + IBODY_BYTES + 4 * (size_t)i));
	return q;
}

/* Whether data is inline, how much of it, and what lies in blocks. */
static int data_read(struct reader *r, struct erofs_item *x, const uint8_t *p, uint16_t mode)
{
	unsigned layout = (le16_get(p) >> 1) & 7u;

	if (!S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode))
		return x->size == 0 ? 0 : refuse(r, "a special file has data");
	if (layout != LAYOUT_PLAIN && layout != LAYOUT_INLINE)
		return refuse(r, "files are compressed or in chunks");
	if (x->size > r->slots * EROFS_SLOT_BYTES)
		return refuse(r, "it is cut off");
	x->blocks = (uint32_t)(x->size / BLOCK);
	if (layout == LAYOUT_INLINE)
		x->tail = (uint32_t)(x->size % BLOCK);
	else
		x->blocks += x->size % BLOCK != 0;
	x->block = le32_get(p + 16);
	return x->blocks ? claim(r, (uint64_t)x->block * EROFS_BLOCK_SLOTS,
				 (uint64_t)x->blocks * EROFS_BLOCK_SLOTS)
			 : 0;
}

static int inode_read(struct reader *r, uint64_t nid, struct erofs_item *x)
{
	uint64_t head, xattrs, end;
	const uint8_t *p;
	uint16_t mode;
	int q;

	if (nid >= r->slots)
		return refuse(r, "it is cut off");
	p = r->t->p + nid * EROFS_SLOT_BYTES;
	if (le16_get(p) & 1 && nid + 1 == r->slots)
		return refuse(r, "it is cut off");
	if (le16_get(p) & ~0xfu)
		return refuse(r, "an inode is of a newer kind");
	head = le16_get(p) & 1 ? 2 * EROFS_SLOT_BYTES : EROFS_SLOT_BYTES;
	xattrs = le16_get(p + 2) ? IBODY_BYTES + 4u * (le16_get(p + 2) - 1u) : 0;
	mode = le16_get(p + 4);
	x->nid = (uint32_t)nid;
	x->ino = le32_get(p + 20);
	x->size = head == EROFS_SLOT_BYTES ? le32_get(p + 8) : le64_get(p + 8);
	x->dir = S_ISDIR(mode);
	q = data_read(r, x, p, mode);
	if (q < 0)
		return q;
	end = head + xattrs + x->tail;
	x->bytes = (uint32_t)end;
	x->slots = (uint32_t)((end + EROFS_SLOT_BYTES - 1) / EROFS_SLOT_BYTES);
	if ((nid * EROFS_SLOT_BYTES + head + xattrs) % BLOCK + x->tail > BLOCK)
		return refuse(r, "inline data crosses a block");
	if (x->slots > EROFS_BLOCK_SLOTS ||
	    nid / EROFS_BLOCK_SLOTS != (nid + x->slots - 1) / EROFS_BLOCK_SLOTS)
		return refuse(r, "an inode crosses a block");
	q = claim(r, nid, x->slots);
	return q < 0 ? q : xattrs_note(r, p + head, xattrs);
}

/* An inode that was named: read when it is new, put on the stack when it is a directory. */
static int item_add(struct reader *r, uint64_t nid, const struct erofs_path *path, unsigned depth)
{
	struct erofs_item x = { .path = path->path };
	struct erofs_item *items;
	struct pending *stack;
	int q;

	if (nid < r->slots && r->item_of[nid])
		return r->t->item[r->item_of[nid] - 1].dir ? refuse(r, "a directory has two names")
							   : 0;
	if (depth > EROFS_DEPTH_MAX || r->t->n == EROFS_FILES_MAX)
		return refuse(r, "it is too deep or has too many files");
	q = inode_read(r, nid, &x);
	if (q < 0)
		return q;
	items = array_room(r->t->item, r->t->n, &r->cap, sizeof(*items));
	if (!items)
		return no_memory(r);
	r->t->item = items;
	r->t->item[r->t->n++] = x;
	r->item_of[nid] = (uint32_t)r->t->n;
	if (!x.dir)
		return 0;
	stack = array_room(r->stack, r->n_stack, &r->cap_stack, sizeof(*stack));
	if (!stack)
		return no_memory(r);
	r->stack = stack;
	r->stack[r->n_stack++] = (struct pending){ (uint32_t)r->t->n - 1, depth, *path };
	return 0;
}

static int entries_wrong(struct err *e)
{
	return err_set(e, ERR_INPUT, EBADMSG, "a directory contradicts itself");
}

int erofs_entries(const uint8_t *p, size_t n, erofs_entry_fn fn, void *arg, struct err *e)
{
	size_t first = n >= DIRENT_BYTES ? le16_get(p + 8) : 0, from = first;
	int q = 0;

	if (first == 0 || first % DIRENT_BYTES != 0 || first > n)
		return entries_wrong(e);
	for (size_t at = 0; q == 0 && at < first; at += DIRENT_BYTES) {
		size_t to = at + DIRENT_BYTES < first ? le16_get(p + at + DIRENT_BYTES + 8) : n;

		if (le16_get(p + at + 8) != from || to <= from || to > n)
			return entries_wrong(e);
		q = fn(arg, at, le64_get(p + at), p + from,
		       strnlen((const char *)p + from, to - from));
		from = to;
	}
	return q;
}

static int entry_take(void *arg, size_t at, uint64_t nid, const uint8_t *name, size_t n)
{
	struct reader *r = arg;
	struct erofs_path path = r->dir.path;

	(void)at;
	if (n == 0 || n > EROFS_NAME_MAX)
		return refuse(r, "a name is too long, or empty");
	if (n <= 2 && memcmp(name, "..", n) == 0) {
		if (nid < r->slots && r->item_of[nid] && r->t->item[r->item_of[nid] - 1].dir)
			return 0;
		return refuse(r, "a directory leads elsewhere");
	}
	erofs_path_add(&path, name, n);
	return item_add(r, nid, &path, r->dir.depth + 1);
}

static int dir_read(struct reader *r)
{
	const struct erofs_item x = r->t->item[r->dir.item];
	const uint8_t *p = r->t->p + (x.blocks ? (uint64_t)x.block * BLOCK : 0);
	uint64_t left = x.size;
	int q = 0;

	for (uint32_t b = 0; q == 0 && b < x.blocks; b++) {
		size_t n = left < BLOCK ? (size_t)left : BLOCK;

		q = erofs_entries(p + (size_t)b * BLOCK, n, entry_take, r, r->e);
		left -= n;
	}
	if (q == 0 && x.tail)
		q = erofs_entries(r->t->p + (uint64_t)x.nid * EROFS_SLOT_BYTES + x.bytes - x.tail,
				  x.tail, entry_take, r, r->e);
	return q == -EBADMSG ? refuse(r, "a directory contradicts itself") : q;
}

static int super_read(struct reader *r, uint64_t n)
{
	const uint8_t *sb = r->t->p + SUPER_AT;

	if (n < SUPER_AT + SUPER_BYTES || le32_get(sb) != MAGIC)
		return refuse(r, "it is no erofs");
	if (sb[12] != BLOCK_LOG || sb[13] != 0 || le32_get(sb + 8) & ~COMPAT_KNOWN ||
	    le32_get(sb + 80) != 0 || le16_get(sb + 86) != 0)
		return refuse(r, "it is compressed, in chunks, or of a newer kind");
	if (le32_get(sb + 40) != 0)
		return refuse(r, "its inodes are not counted from its start");
	r->t->blocks = le32_get(sb + 36);
	if (r->t->blocks == 0 || r->t->blocks > n / BLOCK)
		return refuse(r, "it is cut off");
	if (r->t->blocks > UINT32_MAX / EROFS_BLOCK_SLOTS)
		return refuse(r, "it is larger than 128 GiB");
	r->slots = r->t->blocks * EROFS_BLOCK_SLOTS;
	r->shared = (uint64_t)le32_get(sb + 44) * BLOCK;
	r->low = UINT64_MAX;
	r->used = calloc((size_t)r->slots / 8, 1);
	r->item_of = calloc((size_t)r->slots, sizeof(*r->item_of));
	return r->used && r->item_of ? claim(r, 0, EROFS_SUPER_SLOTS) : no_memory(r);
}

/* Bytes that belong to nothing that was found would be lost. */
static int rest_check(struct reader *r)
{
	static const uint8_t zero[EROFS_SLOT_BYTES];

	for (uint64_t i = 0; i < r->slots; i++)
		if (!(r->used[i / 8] & 1u << (i % 8)) &&
		    memcmp(r->t->p + i * EROFS_SLOT_BYTES, zero, sizeof(zero)) != 0)
			return refuse(r, "it holds bytes that belong to no file");
	return 0;
}

static int all_read(struct reader *r, uint64_t n)
{
	struct erofs_path root = EROFS_PATH_ROOT;
	int q = super_read(r, n);

	q = q < 0 ? q : item_add(r, le16_get(r->t->p + SUPER_AT + 14), &root, 0);
	if (q == 0 && !r->t->item[0].dir)
		return refuse(r, "its root is no directory");
	while (q == 0 && r->n_stack > 0) {
		r->dir = r->stack[--r->n_stack];
		q = dir_read(r);
	}
	if (q == 0 && r->high > 0) {
		r->t->fixed = (uint32_t)(r->low / EROFS_SLOT_BYTES);
		r->t->fixed_slots =
			(uint32_t)((r->high + EROFS_SLOT_BYTES - 1) / EROFS_SLOT_BYTES) -
			r->t->fixed;
		q = claim(r, r->t->fixed, r->t->fixed_slots);
	}
	return q < 0 ? q : rest_check(r);
}

/* ---- finding ---- */

typedef uint64_t (*key_fn)(const struct erofs_item *x);

static uint64_t nid_of(const struct erofs_item *x)
{
	return x->nid;
}

static uint64_t path_of(const struct erofs_item *x)
{
	return x->path;
}

struct order {
	const struct erofs_item *item;
	key_fn key;
};

static int by_key(const void *a, const void *b, void *arg)
{
	const struct order *o = arg;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	uint64_t x = o->key(&o->item[i]), y = o->key(&o->item[j]);

	return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

static void table_sort(const struct erofs_tree *t, uint32_t *table, key_fn key)
{
	struct order o = { t->item, key };

	for (size_t i = 0; i < t->n; i++)
		table[i] = (uint32_t)i;
	qsort_r(table, t->n, sizeof(*table), by_key, &o);
}

void erofs_tree_sort(struct erofs_tree *t)
{
	table_sort(t, t->by_nid, nid_of);
	table_sort(t, t->by_path, path_of);
}

/* The first item with that key, or NULL. */
static const struct erofs_item *find(const struct erofs_tree *t, const uint32_t *table, key_fn key,
				     uint64_t want)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (key(&t->item[table[mid]]) < want)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->n && key(&t->item[table[low]]) == want ? &t->item[table[low]] : NULL;
}

const struct erofs_item *erofs_tree_inode(const struct erofs_tree *t, uint64_t nid)
{
	return find(t, t->by_nid, nid_of, nid);
}

const struct erofs_item *erofs_tree_path(const struct erofs_tree *t, uint64_t path)
{
	return find(t, t->by_path, path_of, path);
}

int erofs_tree_new(const uint8_t *p, uint64_t n, struct erofs_tree **ret, struct err *e)
{
	AUTO_EROFS_TREE *t = calloc(1, sizeof(*t));
	CLEANUP(reader_done) struct reader r = { .t = t, .e = e };
	int q;

	if (!t)
		return no_memory(&r);
	t->p = p;
	q = all_read(&r, n);
	if (q < 0)
		return q;
	t->by_nid = calloc(t->n, sizeof(*t->by_nid));
	t->by_path = calloc(t->n, sizeof(*t->by_path));
	if (!t->by_nid || !t->by_path)
		return no_memory(&r);
	erofs_tree_sort(t);
	*ret = TAKE(t);
	return 0;
}
