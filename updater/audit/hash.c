/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

static const struct {
	uint16_t alg;
	uint8_t bytes;
	const char *name, *evp;
} algs[] = {
	{ TCG_SHA1, 20, "sha1", "SHA1" },
	{ TCG_SHA256, 32, "sha256", "SHA256" },
	{ TCG_SHA384, 48, "sha384", "SHA384" },
	{ TCG_SHA512, 64, "sha512", "SHA512" },
};

static size_t find(uint16_t alg)
{
	size_t i = 0;

	while (i < sizeof(algs) / sizeof(algs[0]) && algs[i].alg != alg)
		i++;
	return i;
}

size_t tcg_digest_size(uint16_t alg)
{
	size_t i = find(alg);

	return i < sizeof(algs) / sizeof(algs[0]) ? algs[i].bytes : 0;
}

const char *tcg_digest_name(uint16_t alg)
{
	size_t i = find(alg);

	return i < sizeof(algs) / sizeof(algs[0]) ? algs[i].name : "?";
}

int tcg_hash(uint16_t alg, const void *p, size_t n, uint8_t out[TCG_DIGEST_MAX], struct err *e)
{
	size_t i = find(alg), got = 0;

	if (i == sizeof(algs) / sizeof(algs[0]))
		return err_set(e, ERR_INPUT, EOPNOTSUPP, "hash algorithm 0x%04x is not known here",
			       alg);
	if (EVP_Q_digest(NULL, algs[i].evp, NULL, p, n, out, &got) != 1 || got != algs[i].bytes)
		return err_set(e, ERR_HOST, EIO, "OpenSSL cannot hash with %s", algs[i].name);
	return 0;
}

int tcg_extend(uint16_t alg, uint8_t pcr[TCG_DIGEST_MAX], const uint8_t *digest, struct err *e)
{
	uint8_t both[2 * TCG_DIGEST_MAX];
	size_t n = tcg_digest_size(alg);

	memcpy(both, pcr, n);
	memcpy(both + n, digest, n);
	return tcg_hash(alg, both, 2 * n, pcr, e);
}
