/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sha256_lanes.h"
#include "base/sys.h"

enum { PREFIX_SHORT = 256, LANES_MIN = 64, READ_BYTES = 64 << 10 };

/*
 * A short prefix (every verity salt is one) is fed again for each digest: that is a copy of a few
 * bytes, while copying an EVP context allocates. A long one is kept hashed in `salted`.
 */
struct digest {
	enum digest_kind kind;
	EVP_MD *md;
	EVP_MD_CTX *ctx, *salted;
	bool lanes; /* SHA-256 of several messages at once */
	size_t n;
	uint8_t prefix[PREFIX_SHORT];
};

_Static_assert((size_t)PREFIX_SHORT <= SHA256_LANES_HEAD, "what is short is so for both");

static const struct {
	const char *name, *evp;
	size_t size;
} kinds[] = {
	[DIGEST_SHA1] = { "sha1", "SHA1", 20 },
	[DIGEST_SHA256] = { "sha256", "SHA256", 32 },
	[DIGEST_SHA512] = { "sha512", "SHA512", 64 },
};

size_t digest_size(enum digest_kind k)
{
	return kinds[k].size;
}

const char *digest_name(enum digest_kind k)
{
	return kinds[k].name;
}

int digest_by_name(const char *name, enum digest_kind *ret, struct err *e)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, name) == 0) {
			*ret = (enum digest_kind)i;
			return 0;
		}
	}
	return err_set(e, ERR_INPUT, EOPNOTSUPP,
		       "hash '%.40s' is not supported (sha1, sha256, sha512)", name);
}

/* Behind the prefix again. OpenSSL cannot fail here unless memory ran out; a wrong hash would lie.
 */
static void restart(struct digest *d)
{
	if (d->salted) {
		if (EVP_MD_CTX_copy_ex(d->ctx, d->salted) != 1)
			abort();
		return;
	}
	if (EVP_DigestInit_ex2(d->ctx, NULL, NULL) != 1 ||
	    EVP_DigestUpdate(d->ctx, d->prefix, d->n) != 1)
		abort();
}

static int set_up(struct digest *d, const void *prefix, size_t n)
{
	d->md = EVP_MD_fetch(NULL, kinds[d->kind].evp, NULL);
	d->ctx = EVP_MD_CTX_new();
	if (!d->md || !d->ctx || EVP_DigestInit_ex2(d->ctx, d->md, NULL) != 1)
		return -ENOTSUP;
	if (n <= PREFIX_SHORT) {
		if (n > 0)
			memcpy(d->prefix, prefix, n);
		d->n = n;
		d->lanes = d->kind == DIGEST_SHA256 && sha256_lanes_here();
		return 0;
	}
	d->salted = EVP_MD_CTX_new();
	if (!d->salted || EVP_DigestInit_ex2(d->salted, d->md, NULL) != 1 ||
	    EVP_DigestUpdate(d->salted, prefix, n) != 1)
		return -ENOTSUP;
	return 0;
}

int digest_new(enum digest_kind k, const void *prefix, size_t n, struct digest **ret, struct err *e)
{
	AUTO_DIGEST *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	d->kind = k;
	if (set_up(d, prefix, n) < 0)
		return err_set(e, ERR_HOST, ENOTSUP, "OpenSSL has no working %s here",
			       digest_name(k));
	restart(d);
	*ret = TAKE(d);
	return 0;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->salted);
	EVP_MD_CTX_free(d->ctx);
	EVP_MD_free(d->md);
	free(d);
}

void digest_add(struct digest *d, const void *p, size_t n)
{
	if (n > 0 && EVP_DigestUpdate(d->ctx, p, n) != 1)
		abort();
}

void digest_end(struct digest *d, uint8_t *out)
{
	if (EVP_DigestFinal_ex(d->ctx, out, NULL) != 1)
		abort();
	restart(d);
}

/* The last lanes hash the last message again when there are not enough. */
static void each_lanes(const struct digest *d, const uint8_t *p, size_t n, size_t count,
		       uint8_t *out)
{
	for (size_t i = 0; i < count; i += SHA256_LANES) {
		const uint8_t *from[SHA256_LANES];
		uint8_t *to[SHA256_LANES];

		for (size_t l = 0; l < SHA256_LANES; l++) {
			size_t k = i + l < count ? i + l : count - 1;

			from[l] = p + k * n;
			to[l] = out + k * SHA256_BYTES;
		}
		sha256_lanes(d->prefix, d->n, from, n, to);
	}
}

void digest_each(struct digest *d, const void *p, size_t n, size_t count, uint8_t *out)
{
	const uint8_t *from = p;

	if (d->lanes && count > 1 && n >= LANES_MIN) {
		each_lanes(d, from, n, count, out);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		digest_add(d, from + i * n, n);
		digest_end(d, out + i * digest_size(d->kind));
	}
}

void sha256(const void *p, size_t n, uint8_t out[SHA256_BYTES])
{
	if (EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL) != 1)
		abort();
}

int sha256_fd(struct sys *sys, int fd, uint64_t n, uint8_t out[SHA256_BYTES], struct err *e)
{
	AUTO_FREE uint8_t *p = malloc(READ_BYTES);
	AUTO_DIGEST *d = NULL;
	int r;

	if (!p)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = digest_new(DIGEST_SHA256, NULL, 0, &d, e);
	if (r < 0)
		return r;
	for (uint64_t off = 0; off < n;) {
		size_t m = n - off < READ_BYTES ? (size_t)(n - off) : READ_BYTES;

		r = sys_read_full(sys, fd, p, m, off);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "read at byte %ju: %s", (uintmax_t)off,
				       r == -ENODATA ? "file ends early" : strerror(-r));
		digest_add(d, p, m);
		off += m;
	}
	digest_end(d, out);
	return 0;
}
