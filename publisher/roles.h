/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_ROLES_H
#define PUBLISHER_ROLES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "publisher/keys.h"
#include "publisher/repo.h"
#include "updater/release/offer.h"
#include "updater/tuf/metadata.h"

/* The signed metadata of a repository: read and verified, changed in memory, signed and written. */

enum { ROLES_CHANNELS_MAX = 64, ROLES_OFFERS_MAX = 4096 };

/* A channel's role; body is its "signed" object, doc the whole file as on disk (NULL: none yet). */
struct channel {
	char name[RELEASE_IMAGE_MAX];
	json_t *body, *doc;
	bool changed;
};

struct roles {
	struct tuf_md *root, *targets_md; /* as on disk: who may sign what; NULL: none yet */
	json_t *root_next;                /* the body of a new root, or NULL */
	json_t *targets, *snapshot, *timestamp;
	json_t *signed_by; /* role -> ids of the keys whose signatures counted */
	json_t *given;     /* role -> signatures brought from elsewhere, over the body as it is */
	bool targets_changed;
	struct channel channel[ROLES_CHANNELS_MAX];
	size_t n_channel;
	const char *propose; /* write a proposal to this file instead of publishing; borrowed */
	char note[240];      /* what roles_commit() wants a person to know, or empty */
};
#define ROLES_INIT                                                                                 \
	{                                                                                          \
		.root = NULL                                                                       \
	}
void roles_done(struct roles *m);
#define AUTO_ROLES __attribute__((cleanup(roles_done))) struct roles

/*
 * Reads all current roles; every one must be signed as the root reached from the pinned one
 * (root.h) or targets say and be the file the snapshot lists, so that nothing a stranger put there
 * is ever signed. Expiry is not judged.
 *
 * r->rebuild: timestamp and snapshot are made anew from the newest targets and channel files that
 * are signed as they must be, whatever timestamp.json says: the way back after their keys were
 * stolen, or after a kill between a new root and its timestamp.
 */
int roles_load(const struct repo *r, struct roles *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Empty bodies of all four roles for a new repository; no keys, nothing is written. */
int roles_create(struct roles *ret, struct err *e) __attribute__((warn_unused_result));

/* A name a channel can have: a-z 0-9 -, none of the four top-level roles. */
bool channel_name_valid(const char *name);
/* One of "root", "targets", "snapshot", "timestamp". */
bool roles_is_top(const char *name);
/* -ENOENT (ERR_INPUT) lists those that are there. */
int roles_channel(struct roles *m, const char *name, struct channel **ret, struct err *e)
	__attribute__((warn_unused_result));
/* Delegates every path below NAME/ to a role without keys yet. ERR_INPUT -EEXIST. */
int roles_channel_add(struct roles *m, const char *name, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Can what is marked as changed, and snapshot and timestamp, be signed with the keys at hand?
 * Always, when a proposal is what is wanted.
 */
int roles_check_keys(const struct roles *m, const struct keys *k, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Signs all that changed, verifies it as a client will, and only then writes it, in an order that
 * leaves a valid repository at every instant: channels, targets, snapshot, root, timestamp. (With
 * new timestamp keys clients wait between the last two.) Roles that did not change but are near
 * their end are signed again when their key is at hand. With m->propose the file is written and the
 * repository left alone.
 */
int roles_commit(const struct repo *r, struct roles *m, const struct keys *k, struct err *e)
	__attribute__((warn_unused_result));

/* The next version and a new expiry in the body of a role that is about to be signed. */
int roles_advance(const struct repo *r, const char *role, json_t *body, struct err *e)
	__attribute__((warn_unused_result));

/* {"length","hashes","version"} of a file, put under its name into a snapshot's or timestamp's
 * meta. */
int roles_list_file(json_t *meta, const char *name, const json_t *body, const void *p, size_t n,
		    struct err *e) __attribute__((warn_unused_result));

/* A body as an unsigned file, read back: its keys and roles. */
int roles_md(json_t *body, enum tuf_type type, const char *role, struct tuf_md **ret, struct err *e)
	__attribute__((warn_unused_result));

/* {"keyids","threshold"} of a top-level role or a channel, borrowed; NULL when unknown. */
json_t *roles_signers(const struct roles *m, const char *role);
/* Key id -> name, of the keys of that role, borrowed; may be NULL. */
#define ROLES_NAMES "x-proa-names"
json_t *roles_names(const struct roles *m, const char *role);
/* The body of a top-level role or a channel, borrowed; NULL when unknown. */
json_t *roles_body(const struct roles *m, const char *role);
/* Seconds from now after which a role should have been signed again; a third of its days. */
int64_t roles_margin(const struct repo *r, const char *role);

/* Seconds since 1970, or 0 when body has none. */
int64_t roles_expires(const json_t *body);

/* ---- a channel's releases ---- */

/* Reads the offer of a version; -ENOENT (ERR_INPUT) when the channel does not have it. */
int channel_offer(const struct channel *c, const char *image, const char *version,
		  struct release_offer *ret, struct err *e) __attribute__((warn_unused_result));
/* All of them, newest first; freed by the caller. */
int channel_offers(const struct channel *c, struct release_offer **ret, size_t *ret_n,
		   struct err *e) __attribute__((warn_unused_result));

/* Replaces what the channel says of o->path; manifest NULL: only `custom` changes. */
int channel_put(struct channel *c, const struct release_offer *o, const void *manifest, size_t n,
		struct err *e) __attribute__((warn_unused_result));
int channel_drop(struct channel *c, const struct release_offer *o, struct err *e)
	__attribute__((warn_unused_result));

/* The manifest file as signed for, checked against its hash. *ret is freed by the caller. */
int channel_manifest(const struct repo *r, const struct channel *c, const char *path, char **ret,
		     size_t *ret_n, struct err *e) __attribute__((warn_unused_result));
/* "<sha256>.<image>_<version>.json" from a target path and its hash. */
#define CHANNEL_FILE_MAX (SHA256_HEX_MAX + 1 + RELEASE_PATH_MAX)
void channel_file_name(const char *path, const uint8_t sha[SHA256_BYTES],
		       char out[CHANNEL_FILE_MAX]);

#endif
