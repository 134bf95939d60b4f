/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "updater/image/encode.h"
#include "updater/image/erofs.h"

/* erofs as the kernel's fs/erofs/erofs_fs.h lays it out, as far as it is needed here. */
#define SUPER_AT     1024u
#define SUPER_BYTES  128u
#define EROFS_MAGIC  0xE0F5E1E2u
#define SQUASH_MAGIC 0x73717368u
#define EXT4_MAGIC   0xEF53u
/* lz4 0padding, compression configs, second algorithm, packed tails, fragments */
#define INCOMPAT_COMPRESSED (0x1u | 0x2u | 0x8u | 0x10u | 0x20u)

static bool ends(const char *name, size_t n, const char *with)
{
	size_t k = strlen(with);

	return n > k && memcmp(name + n - k, with, k) == 0;
}

static int name_note(void *arg, const char *name, size_t n, uint16_t mode, bool inlined)
{
	struct image_facts *f = arg;

	f->inline_data |= inlined;
	f->packed_modules |= S_ISREG(mode) && (ends(name, n, ".ko.xz") ||
					       ends(name, n, ".ko.zst") || ends(name, n, ".ko.gz"));
	return f->inline_data && f->packed_modules;
}

static int erofs_inspect(struct sys *sys, int fd, const uint8_t *sb, struct image_facts *f,
			 struct err *e)
{
	uint64_t n = 0;
	void *p;
	int r = sys->ops->size(sys, fd, &n);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "size of the image: %s", strerror(-r));
	f->kind = IMAGE_EROFS;
	f->compressed = le32_get(sb + 80) & INCOMPAT_COMPRESSED;
	if (sb[12] >= 9 && sb[12] <= 12)
		f->fs_bytes = (uint64_t)le32_get(sb + 36) << sb[12];
	p = mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, ERR_HOST, errno, "map the image: %s", strerror(errno));
	r = erofs_names(p, n, name_note, f);
	(void)munmap(p, (size_t)n);
	return r < 0 ? err_set(e, ERR_HOST, -r, "files of the image: %s", strerror(-r)) : 0;
}

int image_inspect(struct sys *sys, int fd, struct image_facts *ret, struct err *e)
{
	struct image_facts f = { .kind = IMAGE_UNKNOWN };
	uint8_t p[SUPER_AT + SUPER_BYTES];
	int r = sys_read_full(sys, fd, p, sizeof(p), 0);

	if (r < 0 && r != -ENODATA)
		return err_set(e, ERR_HOST, -r, "read the image: %s", strerror(-r));
	if (r >= 0 && le32_get(p + SUPER_AT) == EROFS_MAGIC)
		r = erofs_inspect(sys, fd, p + SUPER_AT, &f, e);
	else if (r >= 0 && le32_get(p) == SQUASH_MAGIC)
		f.kind = IMAGE_SQUASHFS;
	else if (r >= 0 && le16_get(p + SUPER_AT + 56) == EXT4_MAGIC)
		f.kind = IMAGE_EXT4;
	if (r < 0 && r != -ENODATA)
		return r;
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
		if (f->packed_modules)
			text[n++] = "kernel modules of the image are compressed: a small change "
				    "makes all of a module new; decompress them (and run depmod), "
				    "the download is compressed anyway";
		break;
	case IMAGE_UNKNOWN:
		text[n++] = "the image is no file system that is known here (erofs is advised)";
		break;
	}
	return i < n ? text[i] : NULL;
}
