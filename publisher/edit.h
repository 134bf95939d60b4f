/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_EDIT_H
#define PUBLISHER_EDIT_H

#include <stddef.h>

#include "base/err.h"
#include "publisher/roles.h"

/* Changes of who may sign what, made in memory; roles_commit() or a proposal takes them from there.
 */

enum edit_kind { EDIT_KEY_ADD, EDIT_KEY_REMOVE, EDIT_KEY_REVOKE, EDIT_THRESHOLD };

/*
 * arg is [ROLE=]VALUE; the value is the file of a public key (add), a key's name or the first eight
 * or more digits of its id (remove, revoke), a number (threshold). Revoking is for every role that
 * has the key and takes no ROLE=.
 */
struct edit {
	enum edit_kind kind;
	const char *arg;
};

/* The role of [ROLE=]VALUE, or def when it names none. */
int edit_split(const char *arg, const char *def, char role[RELEASE_IMAGE_MAX], const char **value,
	       struct err *e) __attribute__((warn_unused_result));

/* Puts a public key ({"key","name"}) among those of a role. ERR_INPUT -EEXIST. */
int edit_key_put(struct roles *m, const char *role, const json_t *pub, struct err *e)
	__attribute__((warn_unused_result));
int edit_threshold_put(struct roles *m, const char *role, uint64_t n, struct err *e)
	__attribute__((warn_unused_result));

/* Makes the root's body one that will be published as a new version. */
int edit_root(struct roles *m, struct err *e) __attribute__((warn_unused_result));

/*
 * Makes all edits, def being the role where none is named, then edit_settle(). ERR_INPUT: no such
 * role or key, a threshold out of reach.
 */
int edit_apply(struct roles *m, const struct edit *l, size_t n, const char *def, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Every role's threshold must be within its keys. What is published of targets and of a channel and
 * would not verify any more under the new keys is marked as changed, so that it is signed again.
 */
int edit_settle(struct roles *m, struct err *e) __attribute__((warn_unused_result));

#endif
