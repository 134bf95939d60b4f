/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_MIRROR_H
#define UPDATER_AGENT_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Which mirror is asked for one blob, and what its failures mean. None is trusted: each may be
 * slow, away, stale or lying. Pure.
 *
 * First each is asked with few tries, so that one that is down costs little; when all have failed,
 * those that may be back are asked once more with all tries. Real progress forgives failures. A
 * mirror that gave wrong bytes is never asked for that blob again.
 */
#define MIRRORS_MAX     8u
#define MIRROR_PROGRESS ((uint64_t)1 << 20) /* bytes that forgive earlier failures */

/*
 * A group that is proved takes at most so many bytes of a blob, gaps that are read over included:
 * wrong ones are among the last so many that were read.
 */
#define MIRROR_DOUBT ((uint64_t)2 << 20)

struct mirror_course {
	unsigned n, now;   /* mirrors; the one to be asked */
	uint32_t wrong;    /* bit per mirror: gave wrong bytes */
	uint32_t failed;   /* bit per mirror: since real progress */
	uint32_t final;    /* bit per mirror: in a way that does not pass */
	uint32_t before;   /* bit per mirror: gave some of the bytes just before those of `now` */
	bool patient;      /* ask with all tries */
	uint64_t got;      /* bytes from `now` since it was chosen */
	uint64_t progress; /* bytes since the last failure */
};

/*
 * A new pass over the blob, at mirror `first` if nothing speaks against it. *c all zero before the
 * first one; what was wrong stays wrong. False: every mirror gave wrong bytes.
 */
bool mirror_course_begin(struct mirror_course *c, unsigned n, unsigned first)
	__attribute__((warn_unused_result));

/* Bytes were read. */
void mirror_course_got(struct mirror_course *c, uint64_t bytes);

/*
 * c->now failed; passing: it may do better later. True: ask c->now, which may be the same one.
 * False: all have failed.
 */
bool mirror_course_failed(struct mirror_course *c, bool passing)
	__attribute__((warn_unused_result));

/*
 * What was read last is wrong. The mirrors that are to blame for it (a bit each): c->now; but when
 * bytes of others that failed meanwhile are among them, these, and c->now is given one more pass
 * alone. At least one is blamed, so this ends.
 */
uint32_t mirror_course_wrong(struct mirror_course *c);

/* Whether any is left that did not give wrong bytes. */
bool mirror_course_left(const struct mirror_course *c);

#endif
