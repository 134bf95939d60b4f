/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* SHA-1 (old verity superblocks only), SHA-256, SHA-512 through OpenSSL's EVP. */
enum digest_kind { DIGEST_SHA1, DIGEST_SHA256, DIGEST_SHA512 };

#define DIGEST_MAX     64
#define SHA256_BYTES   32
#define SHA256_HEX_MAX 65 /* with NUL */

size_t digest_size(enum digest_kind k); /* 20, 32, 64 */
const char *digest_name(enum digest_kind k);
/* "sha1", "sha256", "sha512"; -EOPNOTSUPP (INPUT) for another name. */
int digest_by_name(const char *name, enum digest_kind *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * One running hash, reusable: the prefix given to digest_new() (a salt, may be empty) is hashed
 * once and every digest starts behind it. Not for two threads at once.
 */
struct digest;
int digest_new(enum digest_kind k, const void *prefix, size_t n, struct digest **ret, struct err *e)
	__attribute__((warn_unused_result));
void digest_free(struct digest *d);
static inline void digest_freep(struct digest **d)
{
	digest_free(*d);
}
#define AUTO_DIGEST __attribute__((cleanup(digest_freep))) struct digest

void digest_add(struct digest *d, const void *p, size_t n);
/* Writes digest_size() bytes and starts anew behind the prefix. */
void digest_end(struct digest *d, uint8_t *out);
/*
 * Of `count` messages of n bytes that lie behind one another, each behind the prefix; digests
 * behind one another. SHA-256 twice as fast as one by one where the processor has SHA extensions.
 */
void digest_each(struct digest *d, const void *p, size_t n, size_t count, uint8_t *out);

/* One call for one buffer; about 1 us on top of the hashing, so not for loops. Aborts only if
 * OpenSSL has no SHA-256, as nothing could be trusted. */
void sha256(const void *p, size_t n, uint8_t out[SHA256_BYTES]);

struct sys;
/* SHA-256 of [0, n) of a descriptor; reads 64 KiB at a time. */
int sha256_fd(struct sys *sys, int fd, uint64_t n, uint8_t out[SHA256_BYTES], struct err *e)
	__attribute__((warn_unused_result));

#endif
