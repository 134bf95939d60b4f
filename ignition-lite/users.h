/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_USERS_H
#define IGNITION_LITE_USERS_H

#include "base/err.h"
#include "ignition-lite/config.h"
#include "ignition-lite/root.h"
#include "ignition-lite/undo.h"

/*
 * Users and groups. Like Ignition, this calls the shadow tools with --root: which ids are free,
 * what a home directory holds and which of passwd, shadow, gshadow, subuid there are is for them
 * and the root's login.defs and useradd to say, so the results are the same. They are the initrd's;
 * the root needs none.
 */

/* What ign_users_group() and its like may touch goes into the undo log. Once for all of them. */
int ign_users_stock(struct ign_undo *u, struct err *e) __attribute__((warn_unused_result));
int ign_users_stock_user(const struct ign_root *root, const struct ign_user *user,
			 struct ign_undo *u, struct err *e) __attribute__((warn_unused_result));

int ign_users_group(const struct ign_root *root, const struct ign_group *g, struct err *e)
	__attribute__((warn_unused_result));
int ign_users_user(const struct ign_root *root, const struct ign_user *user, struct ign_undo *u,
		   struct err *e) __attribute__((warn_unused_result));
/* ~/.ssh/authorized_keys.d/ignition, 0600, in directories of mode 0700, all the user's. */
int ign_users_keys(const struct ign_root *root, const struct ign_user *user, struct ign_undo *u,
		   struct err *e) __attribute__((warn_unused_result));

/*
 * Pure: the arguments of the tool, NULL at the end; borrowed from what is given. path: the root,
 * "/" for none. scratch holds numbers and joined lists.
 */
enum { IGN_ARGS_MAX = 32 };
struct buf;
struct ign_args {
	const char *v[IGN_ARGS_MAX];
	size_t n;
	char id[16];
	struct buf *list;
};
int ign_users_group_args(const struct ign_group *g, bool exists, const char *path,
			 struct ign_args *a, struct err *e) __attribute__((warn_unused_result));
int ign_users_user_args(const struct ign_user *u, bool exists, const char *path, struct ign_args *a,
			struct err *e) __attribute__((warn_unused_result));

#endif
