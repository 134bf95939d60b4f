/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_STORE_H
#define PUBLISHER_STORE_H

#include <stdbool.h>

#include "base/err.h"

struct evp_pkey_st;
struct ui_method_st;
struct engine_st;

/*
 * Keys that are named by a URI, through OpenSSL's store (ossl_store(7)) and whatever providers
 * openssl.cnf activates. What has no loader there but is a pkcs11: URI (RFC 7512) goes through the
 * engine of libp11, which is what Debian 12 has for OpenSSL 3.0; $PKCS11_MODULE_PATH or the URI's
 * module-path names the token's library.
 */

/* True for "scheme:rest" that is not the name of a file. */
bool store_is_uri(const char *s);

/*
 * The one private key the URI names. ui asks for PIN or passphrase, with ui_arg. *engine (NULL at
 * first) is kept open from call to call, as its keys need it; store_close() ends it.
 * ERR_INPUT -ENOENT: no key; -E2BIG: several; -EOPNOTSUPP: nothing here reads that scheme.
 */
int store_load(const char *uri, struct ui_method_st *ui, void *ui_arg, struct engine_st **engine,
	       struct evp_pkey_st **ret, struct err *e) __attribute__((warn_unused_result));
void store_close(struct engine_st **engine);

/* engine.c: the older door. */
int engine_load(const char *uri, struct ui_method_st *ui, void *ui_arg, struct engine_st **engine,
		struct evp_pkey_st **ret, struct err *e) __attribute__((warn_unused_result));

#endif
