/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_SPOOL_H
#define UPDATER_AGENT_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/image/source.h"

struct sys;

/*
 * What was fetched of one release, in the state directory, so that a small update that is cut off
 * does not fetch it again: bytes become part of the slot in groups of 512 KiB, which is a large
 * part of a small update. Each piece carries its SHA-256; what is torn is not there. It is as
 * little trusted as the server it came from. Large passes are not kept: little of them is lost.
 *
 *   0 u8[8] "proa-spl"; u8[32] of which release
 *   then pieces: u8[32] SHA-256 of all that follows; u8[32] blob; u64 offset in it; u32 n; n bytes
 */
#define SPOOL_FILE      "fetched.part"
#define SPOOL_MAX       ((size_t)8 << 20) /* of the file, and of a pass that is kept */
#define SPOOL_PIECE_MAX ((size_t)64 << 10)
#define SPOOL_PIECES    1024u
#define SPOOL_ID        32u

struct spool;

/*
 * The spool of release `id`, with what is there of it already. What is of another release, or
 * damaged, is thrown away. ERR_HOST -ENOMEM only: where the directory cannot be written, nothing is
 * kept.
 */
int spool_open(struct sys *sys, int dir, const uint8_t id[SPOOL_ID], struct spool **ret,
	       struct err *e) __attribute__((warn_unused_result));
/* What is there is durable then. */
void spool_free(struct spool *s);
static inline void spool_freep(struct spool **s)
{
	spool_free(*s);
}
#define AUTO_SPOOL __attribute__((cleanup(spool_freep))) struct spool

/* Staging is done: the file goes. */
void spool_remove(struct sys *sys, int dir);

/*
 * A pass over runs of a blob from `in`, with what is here taken from here; one at a time. in and
 * runs must live as long. spool_read() gives exactly n bytes; *ret_fetched grows by what came from
 * `in`, which is kept. Errors of `in`, and ERR_HOST when the file cannot be read or written; that
 * there is no room for it is no error.
 */
int spool_begin(struct spool *s, const uint8_t blob[SPOOL_ID], const struct image_source *in,
		const struct image_run *runs, size_t n, struct err *e)
	__attribute__((warn_unused_result));
int spool_read(struct spool *s, void *p, size_t n, uint64_t *ret_fetched, struct err *e)
	__attribute__((warn_unused_result));

/*
 * What was read turned out to be wrong, and nobody knows which byte: all that is here is thrown
 * away. True if any of it was read since the spool was opened (or since this was called): it may
 * be what was wrong, and who is asked now need not have sent it.
 */
bool spool_drop(struct spool *s);

#endif
