/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that uses OpenSSL's engines: Debian 12 has no PKCS#11 provider, only an engine. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <errno.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "publisher/store.h"

enum { MODULE_MAX = 1024 };

/* The value of module-path=, which RFC 7512 puts behind the '?'; false when there is none. */
static bool module_path(const char *uri, char out[MODULE_MAX])
{
	const char *p = strstr(uri, "module-path=");
	size_t n;

	if (!p)
		return false;
	p += strlen("module-path=");
	n = strcspn(p, "&;");
	if (n == 0 || n >= MODULE_MAX)
		return false;
	(void)snprintf(out, MODULE_MAX, "%.*s", (int)n, p);
	return true;
}

static int engine_open(const char *uri, ENGINE **ret, struct err *e)
{
	char path[MODULE_MAX];
	ENGINE *g;

	ENGINE_load_builtin_engines();
	g = ENGINE_by_id("pkcs11");
	if (g && module_path(uri, path) && !ENGINE_ctrl_cmd_string(g, "MODULE_PATH", path, 0)) {
		(void)ENGINE_free(g);
		g = NULL;
	}
	if (g) /* it would write to stderr by itself */
		(void)ENGINE_ctrl_cmd_string(g, "QUIET", NULL, 0);
	if (g && !ENGINE_init(g)) {
		(void)ENGINE_free(g);
		ERR_clear_error();
		return err_set(e, ERR_INPUT, ELIBACC,
			       "the PKCS#11 library cannot be used: name it with "
			       "$PKCS11_MODULE_PATH");
	}
	ERR_clear_error();
	if (!g)
		return err_set(e, ERR_INPUT, EOPNOTSUPP,
			       "pkcs11: keys need a provider in openssl.cnf or the engine (package "
			       "libengine-pkcs11-openssl)");
	*ret = g;
	return 0;
}

int engine_load(const char *uri, struct ui_method_st *ui, void *ui_arg, struct engine_st **engine,
		struct evp_pkey_st **ret, struct err *e)
{
	EVP_PKEY *k;
	int q = *engine ? 0 : engine_open(uri, engine, e);

	if (q < 0)
		return q;
	k = ENGINE_load_private_key(*engine, uri, ui, ui_arg);
	ERR_clear_error();
	if (!k)
		return err_set(
			e, ERR_INPUT, ENOENT,
			"the token has no such RSA or P-256 key, is not there, or the PIN is "
			"wrong (the engine knows no Ed25519)");
	*ret = k;
	return 0;
}

void store_close(struct engine_st **engine)
{
	if (*engine) {
		(void)ENGINE_finish(*engine);
		(void)ENGINE_free(*engine);
	}
	*engine = NULL;
}
