/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_WRITE_CORE_H
#define UPDATER_IMAGE_WRITE_CORE_H

#include "updater/image/direct.h"
#include "updater/image/feed.h"
#include "updater/image/leaves.h"
#include "updater/image/write.h"

/* What write.c, write_group.c and write_slot.c share; nobody else includes it. */

#define GROUP_BLOCKS (IMAGE_GROUP / IMAGE_BLOCK)

/* 128 digests of 32 bytes behind one another are a leaf hash block as it lies on disk. */
_Static_assert(GROUP_BLOCKS *SHA256_BYTES == IMAGE_BLOCK, "a group fills one leaf hash block");

struct image_writer {
	const struct image_job *job;
	const struct image_index *x;
	struct image_stats *stats;
	struct verity_hasher *hasher;
	struct image_feed feed;
	struct image_plan *plan;
	struct image_direct data;   /* job->data */
	struct image_tree base;     /* of what runs; blocks 0: none that compares */
	size_t piece;               /* of the plan: no earlier one reaches the next group */
	uint8_t *group;             /* IMAGE_GROUP bytes, aligned */
	uint8_t leaf[IMAGE_BLOCK];  /* the digests of `group` */
	uint8_t zero[SHA256_BYTES]; /* that of a block of zeros */
	/*
	 * Blocks that are not in `group`: their digests come from the trees of both slots, which
	 * say that they lie where they must already. The proof of the group proves such digests,
	 * reading back proves the blocks.
	 */
	bool there[GROUP_BLOCKS];
	uint8_t *kept; /* a byte per group */
	/* what the slot's blocks hash to, cut; zero: not known */
	uint8_t *held;
	bool holds;            /* anything in `held` is known */
	uint64_t expected;     /* bytes to be fetched by this plan and those before */
	uint64_t right;        /* bytes of data in the slot that are proved */
	uint64_t there_copied; /* bytes of the base among those that need not be read */
	/* since the last sync: */
	uint64_t dirty;    /* bytes written through the page cache */
	uint64_t unsynced; /* ... and all that were written */
	uint64_t looked;   /* feed.looked then */
	uint64_t fetched;  /* feed.fetched then */
	uint64_t forgot;   /* data below is clean and forgotten */
	bool opened;       /* the old superblock is gone */
};

static inline size_t image_writer_blocks(const struct image_writer *w, size_t g)
{
	return verity_group_blocks(&w->x->super, &w->x->geometry, g);
}

/* --- write_slot.c: the medium --- */

int image_area_sync(struct sys *sys, const struct verity_area *a, struct err *e)
	__attribute__((warn_unused_result));
/* Advice only: where it does not work, the page cache stays larger. */
void image_area_forget(struct sys *sys, const struct verity_area *a, uint64_t off, uint64_t n);

/* ERR_INPUT -ENOSPC: the slot is too small for the image. */
int image_areas_check(const struct image_job *job, const struct image_id *id, struct err *e)
	__attribute__((warn_unused_result));

/* The superblock's block as it lies in the hash area. */
void image_super_block(const struct verity_super *s, uint8_t block[IMAGE_BLOCK]);

/*
 * Before the first change of the slot: its old superblock goes, durably, so that what is half one
 * tree and half another never looks whole.
 */
int image_slot_open(struct image_writer *w, struct err *e) __attribute__((warn_unused_result));

/* Data blocks [at, at + n) of the slot from p; at: a byte of the image. */
int image_slot_write(struct image_writer *w, uint64_t at, const void *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));
/* The leaf hash block of group g, which is w->leaf. */
int image_slot_leaf(struct image_writer *w, size_t g, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Keeps the page cache small: what was written becomes durable, then clean, then forgotten. The
 * tree goes with its data, so that after a power cut the two tell the same.
 */
int image_slot_flush(struct image_writer *w, uint64_t data_end, struct err *e)
	__attribute__((warn_unused_result));
/* The same, if there is enough that a power cut would take or that fills the memory. */
int image_slot_flush_some(struct image_writer *w, uint64_t data_end, struct err *e)
	__attribute__((warn_unused_result));

/* The leaves lie there by now: the levels above, and when all is durable, the superblock. */
int image_slot_finish(struct image_writer *w, struct err *e) __attribute__((warn_unused_result));

/* --- write_group.c --- */

/*
 * One missing group, made, proved and stored. 0: it came out wrong, but another way is left; what
 * is not proved never gets past verity_proof_group().
 */
int image_group_do(struct image_writer *w, size_t g, bool last, struct err *e)
	__attribute__((warn_unused_result));

/* A group whose data outlived its leaf hash block: so that nothing is fetched twice. */
int image_group_restore(struct image_writer *w, size_t g, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Is another way of no use? A server that is busy or gone will have the bytes later; one that says
 * it has none, or gives others than were asked for, is like a blob that is wrong.
 */
bool image_writer_final(const struct image_writer *w, const struct err *e)
	__attribute__((warn_unused_result));

#endif
