/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_KEYS_H
#define PUBLISHER_KEYS_H

#include "base/err.h"
#include "base/json.h"
#include "updater/tuf/key.h"

/*
 * Private keys: PEM files <role>.pem in one directory; a role with several keys has <role>.2.pem to
 * <role>.9.pem too. Nothing else in this room knows where a key lives.
 */
struct keys {
	const char *dir;
};

/*
 * Makes an Ed25519 key <role>.pem, mode 0600, in the directory (made with mode 0700 when absent),
 * and gives its KEY object. -EEXIST (ERR_INPUT) when the file is there: keys are never overwritten.
 */
int keys_create(const struct keys *k, const char *role, json_t **ret_key, struct err *e)
	__attribute__((warn_unused_result));

/* 0 when the role has no key file yet, else the -EEXIST of keys_create(). */
int keys_absent(const struct keys *k, const char *role, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Signs envelope with every key at hand that `signers` ({"keyids":[..],"threshold":N}) names.
 * ERR_INPUT when that does not reach the threshold: -ENOENT no key file, -EKEYREJECTED a key that
 * the role does not know.
 */
int keys_sign(const struct keys *k, const char *role, const json_t *signers, json_t *envelope,
	      struct err *e) __attribute__((warn_unused_result));

/* The same judgement without signing anything: to fail before long work. */
int keys_check(const struct keys *k, const char *role, const json_t *signers, struct err *e)
	__attribute__((warn_unused_result));

#endif
