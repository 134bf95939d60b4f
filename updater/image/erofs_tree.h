/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_EROFS_TREE_H
#define UPDATER_IMAGE_EROFS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * For the publisher: every byte of an erofs that `proa-publish image` made, by the inode it belongs
 * to, so that all of it can be laid out anew. Read strictly: an image with anything in it that is
 * not understood here (compression, chunks, further devices, bytes that nobody owns) is refused,
 * since it would be lost.
 */
#define EROFS_SLOT_BYTES  32u /* inodes are counted in these */
#define EROFS_BLOCK_SLOTS 128u
#define EROFS_SUPER_SLOTS 36u /* boot sector and superblock */
#define EROFS_ROOT_MAX    65535u

struct erofs_item {
	uint64_t path;   /* hash of a path of it */
	uint32_t nid;    /* slot its inode begins in */
	uint32_t slots;  /* of inode, extended attributes and what lies inline */
	uint32_t block;  /* of its data, if blocks > 0 */
	uint32_t blocks; /* 0: no data but what is inline */
	uint32_t tail;   /* bytes of it that lie inline, at the end of the slots' bytes */
	uint32_t bytes;  /* of the slots, in use */
	uint32_t ino;    /* what stat(2) says on 32-bit hosts */
	uint64_t size;
	bool dir;
};

struct erofs_tree {
	const uint8_t *p;        /* the image, the caller's */
	uint64_t blocks;         /* as the superblock says; all lie in the image */
	struct erofs_item *item; /* item[0] is the root */
	size_t n;
	uint32_t *by_nid; /* indices of items */
	uint32_t *by_path;
	uint32_t fixed, fixed_slots; /* slots of shared extended attributes; they stay */
};
void erofs_tree_free(struct erofs_tree *t);
static inline void erofs_tree_freep(struct erofs_tree **t)
{
	erofs_tree_free(*t);
}
#define AUTO_EROFS_TREE __attribute__((cleanup(erofs_tree_freep))) struct erofs_tree

/*
 * p[0..n) is an image in memory, which must stay there. ERR_INPUT -ENOTSUP: not such an erofs, and
 * why; ERR_HOST -ENOMEM.
 */
int erofs_tree_new(const uint8_t *p, uint64_t n, struct erofs_tree **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Fills by_nid and by_path, room for n each, from the items. For whoever makes a tree by hand. */
void erofs_tree_sort(struct erofs_tree *t);

/* The item whose inode that is, or NULL. */
const struct erofs_item *erofs_tree_inode(const struct erofs_tree *t, uint64_t nid);
/* An item with that path, or NULL. */
const struct erofs_item *erofs_tree_path(const struct erofs_tree *t, uint64_t path);

/*
 * Calls fn for each entry of the directory blocks in p[0..n), one block or the end of one: its
 * place in p, the inode it names, its name. What fn returned if not 0; ERR_INPUT -EBADMSG.
 */
typedef int (*erofs_entry_fn)(void *arg, size_t at, uint64_t nid, const uint8_t *name, size_t n);
int erofs_entries(const uint8_t *p, size_t n, erofs_entry_fn fn, void *arg, struct err *e)
	__attribute__((warn_unused_result));

#endif
