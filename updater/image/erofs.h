/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_EROFS_H
#define UPDATER_IMAGE_EROFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * For the publisher: where the files of an uncompressed erofs lie (fs/erofs/erofs_fs.h of Linux).
 * The image is in memory and hostile: nothing outside of it is read, every directory is read once,
 * and what contradicts itself is left out.
 */
#define EROFS_FILES_MAX ((size_t)1 << 22)
#define EROFS_NAME_MAX  255u
#define EROFS_DEPTH_MAX 64u

/* Hashes of a path: as it is, and with every run of digits as one (that of other versions of it).
 */
struct erofs_path {
	uint64_t path, alike;
};
#define EROFS_PATH_ROOT                                                                            \
	{                                                                                          \
		0xcbf29ce484222325u, 0xcbf29ce484222325u                                           \
	}
/* Goes on with "/" and a name. */
void erofs_path_add(struct erofs_path *p, const uint8_t *name, size_t n);

/* Whole blocks of a regular file, or of a directory. */
struct erofs_file {
	uint64_t path;  /* hash of its path */
	uint64_t alike; /* hash of its path with every run of digits as one: other versions of it */
	uint32_t block, blocks; /* of 4096 bytes, in the image; blocks > 0 */
	uint64_t bytes;         /* of the file */
};

struct erofs_map {
	struct erofs_file *file; /* by block */
	size_t n;
};
void erofs_map_free(struct erofs_map *m);
static inline void erofs_map_freep(struct erofs_map **m)
{
	erofs_map_free(*m);
}
#define AUTO_EROFS_MAP __attribute__((cleanup(erofs_map_freep))) struct erofs_map

/*
 * 0 with a map (of no files, if it has none); *ret NULL when p[0..n) is no erofs that is understood
 * here (another file system, compressed, blocks of another size). ERR_HOST -ENOMEM.
 */
int erofs_map_new(const uint8_t *p, uint64_t n, struct erofs_map **ret, struct err *e)
	__attribute__((warn_unused_result));

/* The file that block b belongs to, or NULL. */
const struct erofs_file *erofs_map_at(const struct erofs_map *m, uint64_t b);

/* Called for each name with its inode's mode; not in any order. Non-zero ends the walk. */
typedef int (*erofs_name_fn)(void *arg, const char *name, size_t n, uint16_t mode, bool inlined);
/*
 * All names in the tree, for advice. inlined: a regular file whose last bytes lie beside its inode.
 * What fn returned; 0 as well when the image is not understood.
 */
int erofs_names(const uint8_t *p, uint64_t n, erofs_name_fn fn, void *arg);

/* An earlier image's files, to be looked up by path. */
struct erofs_index;
int erofs_index_new(const struct erofs_map *m, struct erofs_index **ret, struct err *e)
	__attribute__((warn_unused_result));
void erofs_index_free(struct erofs_index *x);
static inline void erofs_index_freep(struct erofs_index **x)
{
	erofs_index_free(*x);
}
#define AUTO_EROFS_INDEX __attribute__((cleanup(erofs_index_freep))) struct erofs_index

/*
 * The file with that path; else, among those that are alike, the one whose length is nearest. NULL:
 * none.
 */
const struct erofs_file *erofs_index_find(const struct erofs_index *x, const struct erofs_file *f);

#endif
