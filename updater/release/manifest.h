/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_RELEASE_MANIFEST_H
#define UPDATER_RELEASE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"

/*
 * The release manifest: one JSON document, a TUF target, that names everything a release consists
 * of (docs/format.md). Its root hash is the identity of the release.
 */
#define RELEASE_VERSION_MAX  65 /* with NUL; see version_valid() */
#define RELEASE_IMAGE_MAX    33
#define RELEASE_BLOBS_MAX    64
#define RELEASE_MANIFEST_MAX ((size_t)64 << 10)
#define RELEASE_NAME_MAX     (RELEASE_IMAGE_MAX + RELEASE_VERSION_MAX + 8)

enum release_blob_role {
	RELEASE_USR_FULL,  /* zstd seekable: the whole /usr image */
	RELEASE_USR_INDEX, /* tree levels above the leaves, cut leaf hashes */
	RELEASE_USR_DELTA, /* from the /usr whose root hash is base */
	RELEASE_UKI_FULL,  /* zstd seekable: the whole UKI */
	RELEASE_UKI_DELTA, /* from the UKI whose SHA-256 is base, or from /usr: its own root hash */
	RELEASE_SBOM,      /* as published */
};

struct release_blob {
	enum release_blob_role role;
	uint8_t sha256[SHA256_BYTES];
	uint64_t bytes;
	uint8_t base[SHA256_BYTES]; /* of a delta; else zero */
};

struct release_manifest {
	char image[RELEASE_IMAGE_MAX];
	char version[RELEASE_VERSION_MAX];
	char arch[16];              /* "x86-64", "arm64", ... as in updater/slot/arch.h */
	uint8_t root[SHA256_BYTES]; /* dm-verity root hash, SHA-256 */
	uint8_t salt[SHA256_BYTES];
	size_t salt_n;       /* 0 to 32 */
	uint32_t block_size; /* data and hash blocks; 4096 */
	uint64_t data_blocks;
	uint64_t hash_bytes; /* the tree with its superblock */
	uint8_t uki_sha256[SHA256_BYTES];
	uint64_t uki_bytes;
	char notes_url[513]; /* may be empty */
	struct release_blob blob[RELEASE_BLOBS_MAX];
	size_t n_blob;
};

/*
 * Strict: every member present and of its type, sizes that fit one another, one full blob and one
 * index for /usr and one full blob for the UKI. Unknown members are ignored, unknown blob roles
 * skipped, so that later publishers can add to it; another "proa" format number is refused.
 * ERR_INPUT; `what` leads the sentence.
 */
int release_manifest_parse(const void *p, size_t n, const char *what, struct release_manifest *ret,
			   struct err *e) __attribute__((warn_unused_result));

/* The document, appended to b. parse(format(m)) gives m again. */
int release_manifest_format(const struct release_manifest *m, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));

/* The first blob of that role (for a delta: from that base, may be NULL otherwise), or NULL. */
const struct release_blob *release_blob_find(const struct release_manifest *m,
					     enum release_blob_role role, const uint8_t *base);

/* "blobs/sha256/<hex>", where a publisher's repository keeps it. */
#define RELEASE_BLOB_PATH_MAX (sizeof("blobs/sha256/") + SHA256_HEX_MAX)
char *release_blob_path(const uint8_t sha256[SHA256_BYTES], char out[RELEASE_BLOB_PATH_MAX]);

/* "<image>_<version>": partition label, and the boot entry's id. */
char *release_name(const struct release_manifest *m, char out[RELEASE_NAME_MAX]);

#endif
