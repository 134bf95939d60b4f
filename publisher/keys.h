/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_KEYS_H
#define PUBLISHER_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "updater/tuf/key.h"

enum { KEYS_DIRS_MAX = 4, KEYS_PER_ROLE = 32 };
#define KEYS_NAME_MAX 33 /* with NUL */

/*
 * Private keys. In a directory, role R's are R.pem and R.2.pem to R.9.pem (PEM, encrypted or not),
 * and R.uri and R.2.uri to R.9.uri, whose first line is a store URI (store.h). Or a single one: a
 * PEM file or a URI, for whatever role it belongs to. Nothing else in this room knows where a key
 * lives. Each is loaded, and asked a passphrase for, once.
 */
struct keys_cache;
struct keys {
	const char *dir[KEYS_DIRS_MAX];
	size_t n_dir;
	const char *one;
	const char *pass_file; /* see passphrase.h */
	struct keys_cache *cache;
};
#define KEYS_INIT                                                                                  \
	{                                                                                          \
		.n_dir = 0                                                                         \
	}
int keys_open(struct keys *k, struct err *e) __attribute__((warn_unused_result));
void keys_done(struct keys *k);
#define AUTO_KEYS __attribute__((cleanup(keys_done))) struct keys

/* A role and who may sign it: {"keyids":[..],"threshold":N}; names: key id -> name, or NULL. */
struct keys_role {
	const char *name;
	const json_t *signers, *names;
};

/* "ada (12345678)", or the eight digits alone for a key without a name. */
int keys_label(const json_t *names, const char *id, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/* True if the role has that key. */
bool keys_role_has(const json_t *signers, const char *id);

enum keys_type { KEYS_ED25519, KEYS_ECDSA, KEYS_RSA };
struct keys_new {
	enum keys_type type;
	bool encrypt; /* with passphrase_new() */
};

/*
 * Makes the private key dir/name.pem, mode 0600, and its public half dir/name.pub; the directory is
 * made with mode 0700 when absent. Gives the KEY object. -EEXIST (ERR_INPUT) when the file is
 * there: keys are never overwritten.
 */
int keys_create(const struct keys *k, const char *dir, const char *name, const struct keys_new *how,
		json_t **ret_key, struct err *e) __attribute__((warn_unused_result));
/* 0 when there is no such key file yet, else the -EEXIST of keys_create(). */
int keys_absent(const char *dir, const char *name, struct err *e)
	__attribute__((warn_unused_result));

/* 1 to 32 of A-Z a-z 0-9 . _ @ -, a letter or digit first. */
bool keys_name_valid(const char *name);

/*
 * The public half of a key as others need it: {"key":KEY,"name":NAME}. From such a file, from a PEM
 * public key (the name is that of the file), or from the single private key of k.
 */
int keys_public_read(const char *path, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));
int keys_public_of(const struct keys *k, const char *name, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Adds a signature by every key at hand that the role has and that has not signed yet; returns how
 * many were added. No key at hand is no error.
 */
int keys_add(const struct keys *k, const struct keys_role *r, json_t *envelope, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The same, and fails when the signatures in the envelope, which the caller has verified, and those
 * of the keys at hand do not reach the threshold. ERR_INPUT: -ENOENT no key file, -EKEYREJECTED too
 * few; the sentence names who is missing.
 */
int keys_sign(const struct keys *k, const struct keys_role *r, json_t *envelope, struct err *e)
	__attribute__((warn_unused_result));

/* The same judgement without signing anything: to fail before long work. envelope may be NULL. */
int keys_check(const struct keys *k, const struct keys_role *r, const json_t *envelope,
	       struct err *e) __attribute__((warn_unused_result));

#endif
