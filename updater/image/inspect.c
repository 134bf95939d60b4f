/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "updater/image/encode.h"

/* erofs as the kernel's fs/erofs/erofs_fs.h lays it out, as far as it is needed here. */
#define SUPER_AT      1024u
#define SUPER_BYTES   128u
#define EROFS_MAGIC   0xE0F5E1E2u
#define SQUASH_MAGIC  0x73717368u
#define EXT4_MAGIC    0xEF53u
#define INODE_SLOT    32u
#define DIRENT_BYTES  12u
#define LAYOUT_PLAIN  0u
#define LAYOUT_INLINE 2u
/* lz4 0padding, compression configs, second algorithm, packed tails, fragments */
#define INCOMPAT_COMPRESSED (0x1u | 0x2u | 0x8u | 0x10u | 0x20u)

#define BLOCK_MAX   4096u
#define INODES_MAX  4096u /* looked at before it counts as free of inline data */
#define PENDING_MAX 1024u

struct walk {
	struct sys *sys;
	int fd;
	uint64_t meta; /* byte of inode 0 */
	uint32_t block;
	unsigned seen;
	size_t n;
	uint64_t nid[PENDING_MAX]; /* still to look at */
};

struct inode {
	uint16_t mode;
	unsigned layout;
	uint64_t size, data; /* data: byte of its first block */
	uint64_t tail;       /* byte behind the inode, where an inlined last block lies */
};

static int inode_read(const struct walk *w, uint64_t nid, struct inode *ret)
{
	uint64_t at = w->meta + nid * INODE_SLOT;
	uint8_t p[INODE_SLOT];
	uint16_t format, xattrs;
	int r = sys_read_full(w->sys, w->fd, p, sizeof(p), at);

	if (r < 0)
		return r;
	format = le16_get(p);
	xattrs = le16_get(p + 2);
	ret->layout = (format >> 1) & 7u;
	ret->mode = le16_get(p + 4);
	ret->size = format & 1 ? le64_get(p + 8) : le32_get(p + 8);
	ret->data = (uint64_t)le32_get(p + 16) * w->block;
	ret->tail = at + (format & 1 ? 2 * INODE_SLOT : INODE_SLOT) +
		    (xattrs ? 12u + (uint64_t)(xattrs - 1u) * 4u : 0);
	return 0;
}

/* Notes what the n bytes of one directory block name. */
static void block_note(struct walk *w, const uint8_t *p, size_t n)
{
	size_t count = n >= DIRENT_BYTES ? le16_get(p + 8) / DIRENT_BYTES : 0;

	for (size_t i = 0; i < count && (i + 1) * DIRENT_BYTES <= n; i++) {
		const uint8_t *d = p + i * DIRENT_BYTES;
		uint16_t name = le16_get(d + 8);
		bool dot = name < n && p[name] == '.' &&
			   (name + 1u == n || !p[name + 1] || p[name + 1] == '.' ||
			    (i + 1 < count && le16_get(d + DIRENT_BYTES + 8) == name + 1u));

		if (!dot && w->n < PENDING_MAX)
			w->nid[w->n++] = le64_get(d);
	}
}

static void dir_note(struct walk *w, const struct inode *dir)
{
	uint64_t blocks = dir->size / w->block + (dir->size % w->block != 0);
	uint8_t p[BLOCK_MAX];

	for (uint64_t b = 0; b < blocks && w->n < PENDING_MAX; b++) {
		bool last = b + 1 == blocks, tail = last && dir->layout == LAYOUT_INLINE;
		uint64_t at = tail ? dir->tail : dir->data + b * w->block;
		size_t n = last ? (size_t)(dir->size - b * w->block) : w->block;

		if (sys_read_full(w->sys, w->fd, p, n, at) < 0)
			return;
		block_note(w, p, n);
	}
}

/* Is there a regular file whose last bytes lie beside its inode? Gives up quietly on nonsense. */
static bool inline_found(struct walk *w)
{
	while (w->n > 0 && w->seen++ < INODES_MAX) {
		struct inode in;

		if (inode_read(w, w->nid[--w->n], &in) < 0)
			continue;
		if (S_ISREG(in.mode) && in.layout == LAYOUT_INLINE)
			return true;
		if (S_ISDIR(in.mode) && (in.layout == LAYOUT_PLAIN || in.layout == LAYOUT_INLINE))
			dir_note(w, &in);
	}
	return false;
}

static void erofs_inspect(struct sys *sys, int fd, const uint8_t *sb, struct image_facts *f)
{
	struct walk w = { .sys = sys, .fd = fd };

	f->kind = IMAGE_EROFS;
	f->compressed = le32_get(sb + 80) & INCOMPAT_COMPRESSED;
	if (sb[12] < 9 || sb[12] > 12)
		return;
	w.block = 1u << sb[12];
	f->fs_bytes = (uint64_t)le32_get(sb + 36) * w.block;
	w.meta = (uint64_t)le32_get(sb + 40) * w.block;
	w.nid[w.n++] = le16_get(sb + 14);
	f->inline_data = inline_found(&w);
}

int image_inspect(struct sys *sys, int fd, struct image_facts *ret, struct err *e)
{
	struct image_facts f = { .kind = IMAGE_UNKNOWN };
	uint8_t p[SUPER_AT + SUPER_BYTES];
	int r = sys_read_full(sys, fd, p, sizeof(p), 0);

	if (r < 0 && r != -ENODATA)
		return err_set(e, ERR_HOST, -r, "read the image: %s", strerror(-r));
	if (r >= 0 && le32_get(p + SUPER_AT) == EROFS_MAGIC)
		erofs_inspect(sys, fd, p + SUPER_AT, &f);
	else if (r >= 0 && le32_get(p) == SQUASH_MAGIC)
		f.kind = IMAGE_SQUASHFS;
	else if (r >= 0 && le16_get(p + SUPER_AT + 56) == EXT4_MAGIC)
		f.kind = IMAGE_EXT4;
	*ret = f;
	return 0;
}

const char *image_advice(const struct image_facts *f, unsigned i)
{
	const char *text[3] = { NULL };
	unsigned n = 0;

	switch (f->kind) {
	case IMAGE_SQUASHFS:
		text[n++] = "the image is squashfs: its blocks move with every change, so updates "
			    "cost nearly the whole image; build it as uncompressed erofs";
		break;
	case IMAGE_EXT4:
		text[n++] = "the image is ext4: mounting and time stamps change blocks, so equal "
			    "content gives unequal images; build it as uncompressed erofs";
		break;
	case IMAGE_EROFS:
		if (f->compressed)
			text[n++] = "the erofs is compressed: a small change moves all that "
				    "follows it; build it without -z, the download is compressed "
				    "anyway";
		if (f->inline_data)
			text[n++] = "files of the erofs have inline data: their ends share blocks "
				    "with inodes and change with them; build it with "
				    "-Enoinline_data";
		break;
	case IMAGE_UNKNOWN:
		text[n++] = "the image is no file system that is known here (erofs is advised)";
		break;
	}
	return i < n ? text[i] : NULL;
}
