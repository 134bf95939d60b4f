/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_ROOT_H
#define PUBLISHER_ROOT_H

#include "base/err.h"
#include "publisher/repo.h"
#include "updater/tuf/metadata.h"

/* Which root a repository is judged by. */

/*
 * Goes from the pinned root (r->pin) through every N.root.json of the repository, each signed by a
 * threshold of the one before and of itself (TUF 1.0.34, 5.3), to the newest. Expiry is not judged.
 * ERR_REFUSED: -EKEYREJECTED one that is not signed so; -ESTALE the repository ends before the
 * pinned version, or has a gap. ERR_INPUT -ENOENT: no root at all.
 */
int root_load(const struct repo *r, struct tuf_md **ret, struct err *e)
	__attribute__((warn_unused_result));

/* A root file by itself: its own threshold must have signed it. */
int root_read(const char *path, struct tuf_md **ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The pin of a key directory is its root.json. This moves it on to the root reached, as a client
 * would; a directory that cannot be written is left as it is.
 */
#define ROOT_PIN_NAME "root.json"
void root_pin_save(const char *dir, const struct tuf_md *root);

#endif
