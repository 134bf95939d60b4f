/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_PROPOSAL_H
#define PUBLISHER_PROPOSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "publisher/keys.h"
#include "publisher/repo.h"
#include "publisher/roles.h"
#include "updater/tuf/metadata.h"

/*
 * A change of root, targets or channels that waits for signatures: one JSON file which carries all
 * that is needed to read, check and sign it on a machine with neither repository nor network.
 *
 *	proa-proposal	1
 *	says		the change in words (words.h)
 *	now		role -> metadata file as published: root and targets, which say who may
 *			sign, and each channel that changes; empty for a new repository
 *	next		role -> metadata file to be published, with the signatures so far
 */
enum { PROPOSAL_MAX = 32 << 20, PROPOSAL_CHANGES_MAX = ROLES_CHANNELS_MAX + 2 };

struct proposal_change {
	const char *role;          /* borrowed from doc */
	json_t *file;              /* of next, borrowed: signatures are added here */
	struct tuf_md *now, *next; /* now NULL: the role is new */
};

struct proposal {
	json_t *doc;
	struct tuf_md *root, *targets; /* as they are now, or NULL */
	struct proposal_change change[PROPOSAL_CHANGES_MAX];
	size_t n;
};
#define PROPOSAL_INIT                                                                              \
	{                                                                                          \
		.doc = NULL                                                                        \
	}
void proposal_done(struct proposal *p);
#define AUTO_PROPOSAL __attribute__((cleanup(proposal_done))) struct proposal

/*
 * Reads p[0..n) and believes none of it: what is now must be signed, root by itself (and, with a
 * pinned root, be that or a later one that it signed), the others as it says; every next must be a
 * later version of the right type; every signature there must be good and by a key that may sign;
 * and the words must be those that the change itself gives. ERR_REFUSED: -EBADMSG it is not what it
 * claims, -EKEYREJECTED signatures, -ESTALE not from the pinned root.
 */
int proposal_read(const void *p, size_t n, const char *what, const struct tuf_md *pin,
		  struct proposal *ret, struct err *e) __attribute__((warn_unused_result));

/* The change of that role, or NULL. */
const struct proposal_change *proposal_of(const struct proposal *p, const char *role);

/* Signs every change with every key at hand that may; returns how many signatures were added. */
int proposal_sign(struct proposal *p, const struct keys *k, struct err *e)
	__attribute__((warn_unused_result));

/* Sentences on who signed what and who is missing; *ret_done when every threshold is reached. */
int proposal_tally(const struct proposal *p, json_t *out, bool *ret_done, struct err *e)
	__attribute__((warn_unused_result));

/* Takes over the signatures of another copy of the same change. ERR_INPUT -EBADMSG: it is another.
 */
int proposal_merge(struct proposal *p, const struct proposal *from, const char *what, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Puts the changes into m, for roles_commit(). A change that is published already is passed over,
 * so that a submit that was killed can be repeated; returns how many were not. ERR_INPUT: -ESTALE
 * the repository has moved on, -ETIME it would be expired, -ENOENT a release it adds is not in the
 * repository.
 */
int proposal_apply(const struct proposal *p, const struct repo *r, struct roles *m, struct err *e)
	__attribute__((warn_unused_result));

/* Makes the file m->propose of all that is marked as changed in m, signed with the keys at hand. */
int proposal_write(const struct repo *r, struct roles *m, const struct keys *k, struct err *e)
	__attribute__((warn_unused_result));

/* ERR_INPUT -EEXIST when there is such a file: it may hold signatures that people gave. */
int proposal_path_free(const char *path, struct err *e) __attribute__((warn_unused_result));

/* Writes doc durably in place of the file at path. */
int proposal_save(const json_t *doc, const char *path, struct err *e)
	__attribute__((warn_unused_result));

#endif
