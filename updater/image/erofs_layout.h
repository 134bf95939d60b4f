/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_EROFS_LAYOUT_H
#define UPDATER_IMAGE_EROFS_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/erofs_tree.h"

/*
 * For the publisher: where the parts of an image go, so that little moves from one release to the
 * next: what has not moved is neither fetched nor written. Inodes and directories lie together at
 * the start of the image (the head), data behind.
 *
 * Like an earlier image: inodes keep their place and number, files that hold the same keep their
 * blocks, large ones also when they changed. Other data lies together: in holes of a mebibyte or
 * more, or at the end, so that few frames of the full image hold old and new. Holes are zero.
 * When more than a sixteenth of the image would be holes, changed files go back to their places and
 * small holes are filled too; when more than a tenth would still be, it is laid out afresh.
 */
#define EROFS_HOLES_WISH 16u /* at most 1/n of the image's blocks */
#define EROFS_HOLES_MOST 10u

struct erofs_place {
	uint32_t nid, block, ino; /* block counts only when the item has blocks */
};

struct erofs_layout {
	struct erofs_place *place; /* of each item */
	size_t n;
	uint32_t blocks; /* of the image */
	uint32_t head;   /* blocks of it */
	uint32_t holes;  /* free blocks behind the head */
	bool afresh;     /* not like the earlier one, though it was asked for */
};
void erofs_layout_free(struct erofs_layout *l);
static inline void erofs_layout_freep(struct erofs_layout **l)
{
	erofs_layout_free(*l);
}
#define AUTO_EROFS_LAYOUT __attribute__((cleanup(erofs_layout_freep))) struct erofs_layout

/*
 * like: the earlier image, or NULL. same[i]: how many blocks of now->item[i] hold what the blocks
 * at the same place of the same file did (NULL without `like`). Pure: the same trees give the same
 * layout. ERR_INPUT -EFBIG: the image would be too large; ERR_HOST -ENOMEM.
 */
int erofs_layout_new(const struct erofs_tree *now, const struct erofs_tree *like,
		     const uint32_t *same, struct erofs_layout **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Counts those: `same` for erofs_layout_new(), now->n of them, 0 for directories. */
void erofs_layout_compare(const struct erofs_tree *now, const struct erofs_tree *like,
			  uint32_t *same);

#endif
