/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_STORE_H
#define IGNITION_LITE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ignition-lite/config.h"

/*
 * What was fetched and verified and waits for its step. Up to IGN_STORE_MEM bytes stay in memory,
 * the rest lies in one file without a name (O_TMPFILE, 0600), so nothing is left behind however
 * the program ends.
 */
struct ign_store;

enum { IGN_STORE_MEM = 2 << 20 };
#define IGN_BLOB_MAX ((uint64_t)1 << 30) /* one file, decompressed */

/*
 * dir: an open directory whose file system takes what does not stay in memory. Borrowed. max: the
 * largest blob in bytes, decompressed.
 */
int ign_store_new(int dir, uint64_t max, struct ign_store **ret, struct err *e)
	__attribute__((warn_unused_result));
void ign_store_free(struct ign_store *s);
static inline void ign_store_freep(struct ign_store **s)
{
	ign_store_free(*s);
}
#define AUTO_IGN_STORE __attribute__((cleanup(ign_store_freep))) struct ign_store

/*
 * One blob after the other: begin, bytes as they come from the network, end. They are decompressed
 * and verified as res says. ign_store_begin() while one is open throws that one away (a second try
 * of a transfer). Blobs are numbered from 0 in the order of their ends.
 */
int ign_store_begin(struct ign_store *s, const struct ign_resource *res, struct err *e)
	__attribute__((warn_unused_result));
int ign_store_add(struct ign_store *s, const void *p, size_t n, struct err *e)
	__attribute__((warn_unused_result));
/* ERR_REFUSED when the hash is another one, ERR_INPUT for a gzip that is none. */
int ign_store_end(struct ign_store *s, struct err *e) __attribute__((warn_unused_result));

size_t ign_store_count(const struct ign_store *s);
uint64_t ign_store_size(const struct ign_store *s, size_t blob);

/* Writes a blob to the end of descriptor fd. what: a path, for the sentence. */
int ign_store_write(const struct ign_store *s, size_t blob, int fd, const char *what, struct err *e)
	__attribute__((warn_unused_result));

/* A small blob (at most max bytes) appended to out. */
struct buf;
int ign_store_read(const struct ign_store *s, size_t blob, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

#endif
