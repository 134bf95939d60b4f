/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_EXPORT_H
#define PUBLISHER_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "publisher/repo.h"
#include "publisher/roles.h"

/*
 * A part of a repository for hosts without a network, verified by them exactly as the origin is:
 * metadata byte for byte, the manifests and blobs of some releases. proa-export.json at its top
 * tells people and `verify` what it holds; hosts do not read it and nothing in it is trusted:
 *
 *	proa-export	1
 *	complete	false while it is made, or was broken off
 *	channels	names
 *	since		version, or absent
 *	left_out	SHA-256 of deltas that manifests name but that only older hosts need
 */
#define EXPORT_NAME "proa-export.json"

struct export_wish {
	const char *const *channel;
	size_t n_channel;
	const char *since; /* only releases after it, and deltas from it or later; NULL: all */
};

struct export_stats {
	size_t releases;
	uint64_t files, bytes;     /* copied now */
	uint64_t kept, kept_bytes; /* there already */
	uint64_t removed;          /* files of an earlier export that are no part of this one */
};

/*
 * Makes or completes the export in dir, an empty directory or an earlier export. Data comes before
 * what names it and the timestamp last, so hosts see the earlier state until all is there.
 * ERR_INPUT -ENOTEMPTY: something else lies there; ERR_REFUSED: the repository's files are not as
 * signed.
 */
int export_run(const struct repo *r, struct roles *m, const struct export_wish *w, const char *dir,
	       struct export_stats *ret, struct err *e) __attribute__((warn_unused_result));

/*
 * Reads proa-export.json of the tree at dir: 0 and NULL when there is none. ERR_INPUT -EINPROGRESS
 * when it says that the export is not complete.
 */
int export_read(int dir, json_t **ret, struct err *e) __attribute__((warn_unused_result));
bool export_has_channel(const json_t *export, const char *channel);
bool export_has_release(const json_t *export, const char *version);
bool export_left_out(const json_t *export, const uint8_t sha256[SHA256_BYTES]);

#endif
