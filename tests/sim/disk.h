/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/pages.h"

/* One state of all storage: files, directories and names; and the changes that lead to the next. */

enum sim_trait {
	/* Names of a directory reach the disk in the order they were changed; a rename is atomic.
	 */
	SIM_POSIX,
	/*
	 * Every change of a name can be lost on its own: a rename leaves old, new, both, neither,
	 * or a new name of no bytes. Sizes can be lost apart from data; what a size uncovers
	 * without its data is whatever lay there. Syncing the directory settles its names.
	 */
	SIM_FAT,
	/*
	 * As Linux's vfat does it: in a renamed entry, start and size are written with the *file's*
	 * inode, so that syncing the directory alone leaves a name of no bytes; and the clusters of
	 * a removed or replaced file can be free before its name is gone.
	 */
	SIM_FAT_STRICT,
};

enum { SIM_SECTOR = 512, SIM_NAME_MAX = 255 };

struct sim_node {
	bool used, dir, broken; /* broken: a name may be left, the clusters are free */
	enum sim_trait trait;
	uint32_t parent;   /* of a directory */
	uint64_t capacity; /* bytes below this directory; 0: no limit of its own */
	uint64_t size;
	struct sim_map map;
};

struct sim_name {
	uint32_t dir, node;
	bool bare; /* FAT: neither start nor size in the entry, reads as no bytes */
	char *name;
};

struct sim_disk {
	struct sim_node *node; /* [0] is the root directory */
	size_t nodes;
	struct sim_name *name;
	size_t names;
};

enum sim_op_kind {
	SIM_WRITE,  /* data; grows the file except on FAT */
	SIM_SIZE,   /* of a file */
	SIM_LINK,   /* name -> node */
	SIM_DROP,   /* name is gone */
	SIM_RENAME, /* name becomes to, in one step */
	SIM_FILL,   /* FAT: start and size of node are in the entry `name` */
	SIM_FREE,   /* FAT: the clusters of node are free */
};

struct sim_op {
	enum sim_op_kind kind;
	uint32_t node; /* the file or directory it names or changes */
	uint32_t dir;
	char *name, *to;
	bool bare;
	uint64_t off; /* SIM_SIZE: the new size */
	size_t n;
	struct sim_page **page; /* covering [off, off + n) from a page boundary on */
};

bool sim_is_fat(enum sim_trait t);

void sim_disk_clone(const struct sim_disk *from, struct sim_disk *to);
void sim_disk_done(struct sim_disk *d);
/* The names' index or SIZE_MAX; on FAT upper and lower case are the same. */
size_t sim_disk_find(const struct sim_disk *d, uint32_t dir, const char *name);
void sim_disk_link(struct sim_disk *d, uint32_t dir, const char *name, uint32_t node, bool bare);
void sim_disk_drop(struct sim_disk *d, uint32_t dir, const char *name);
void sim_node_resize(struct sim_node *n, uint64_t size);

/* Which bytes of an op arrive; a kept op is [0, n). */
struct sim_span {
	size_t from, to;
};
/* settled: all of the file's data came with it. */
void sim_disk_apply(struct sim_disk *d, const struct sim_op *op, struct sim_span span,
		    bool settled);

struct sim_op sim_op_clone(const struct sim_op *op);
void sim_op_done(struct sim_op *op);

#endif
