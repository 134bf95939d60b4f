/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/store.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/store.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { OBJECTS_MAX = 1024 };

static void pkey_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void store_freep(OSSL_STORE_CTX **c)
{
	(void)OSSL_STORE_close(*c);
}

bool store_is_uri(const char *s)
{
	size_t n = 0;

	while (isalnum((unsigned char)s[n]) || s[n] == '+' || s[n] == '-' || s[n] == '.')
		n++;
	return n > 1 && s[n] == ':' && access(s, F_OK) < 0;
}

static int take_key(OSSL_STORE_CTX *c, EVP_PKEY **ret, struct err *e)
{
	CLEANUP(pkey_freep) EVP_PKEY *k = NULL;

	for (unsigned i = 0; i < OBJECTS_MAX && !OSSL_STORE_eof(c); i++) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(c);
		EVP_PKEY *one = NULL;

		if (!info)
			continue;
		if (OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			one = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
		if (one && k) {
			EVP_PKEY_free(one);
			return err_set(e, ERR_INPUT, E2BIG, "the URI names several keys");
		}
		if (one)
			k = one;
	}
	if (!k)
		return err_set(e, ERR_INPUT, ENOENT, "there is no private key");
	*ret = TAKE(k);
	return 0;
}

static int no_loader(const char *uri, struct err *e)
{
	return err_set(e, ERR_INPUT, EOPNOTSUPP,
		       "nothing here reads '%.*s:' keys: activate a provider in openssl.cnf",
		       (int)strcspn(uri, ":"), uri);
}

int store_load(const char *uri, struct ui_method_st *ui, void *ui_arg, struct engine_st **engine,
	       struct evp_pkey_st **ret, struct err *e)
{
	CLEANUP(store_freep) OSSL_STORE_CTX *c = NULL;
	bool pkcs11 = strncasecmp(uri, "pkcs11:", 7) == 0;
	int q;

	c = OSSL_STORE_open_ex(uri, NULL, NULL, ui, ui_arg, NULL, NULL, NULL);
	ERR_clear_error();
	if (!c)
		return pkcs11 ? engine_load(uri, ui, ui_arg, engine, ret, e) : no_loader(uri, e);
	if (OSSL_STORE_expect(c, OSSL_STORE_INFO_PKEY) != 1)
		ERR_clear_error();
	q = take_key(c, ret, e);
	ERR_clear_error();
	return q;
}
