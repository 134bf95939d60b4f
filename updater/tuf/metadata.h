/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TUF_METADATA_H
#define TUF_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "updater/tuf/key.h"
#include "updater/tuf/reason.h"

/* One metadata file, parsed and shape-checked. Nothing in it is trusted before tuf_md_verify(). */

#define TUF_KEYS_MAX        1024
#define TUF_DELEGATIONS_MAX 4096
#define TUF_SIGNATURES_MAX  256
#define TUF_PATTERNS_MAX    4096 /* per delegation */
#define TUF_ROLE_MAX        240  /* bytes of a role's name, percent-encoded */
#define TUF_PATH_MAX        1024 /* bytes of a target's path */
#define TUF_VERSION_MAX     ((uint64_t)1 << 53)

enum tuf_type { TUF_ROOT, TUF_TIMESTAMP, TUF_SNAPSHOT, TUF_TARGETS };
const char *tuf_type_name(enum tuf_type t); /* "root", ... */

struct tuf_hashes {
	bool present; /* the member is there, perhaps with unknown algorithms only */
	bool has256, has512;
	uint8_t sha256[32], sha512[64];
};

/* What timestamp lists of snapshot, and snapshot of targets files (METAFILES, 4.4, 4.5). */
struct tuf_listed {
	uint64_t version;
	bool has_length;
	uint64_t length;
	struct tuf_hashes hashes;
};

/* Who may sign: a role of root, or one delegation. Strings are borrowed from the document. */
struct tuf_role {
	const char *name;
	const char **keyids; /* duplicates removed */
	size_t keyids_n;
	uint64_t threshold;
	/* delegations only: exactly one of the two lists is there */
	const char **paths;
	size_t paths_n;
	const char **prefixes;
	size_t prefixes_n;
	bool by_prefix, terminating;
};

struct tuf_md {
	enum tuf_type type;
	json_t *doc;      /* whole file */
	json_t *body;     /* "signed", borrowed from doc */
	struct buf canon; /* canonical form of body */
	uint64_t version;
	int64_t expires;            /* seconds */
	bool consistent_snapshot;   /* root */
	struct tuf_listed snapshot; /* timestamp: what it lists */
	/* root: its keys and the four roles in the order of enum tuf_type; targets: delegations */
	struct tuf_key *keys;
	const char **key_names;
	size_t keys_n;
	struct tuf_role *roles;
	size_t roles_n;
};

/*
 * Parses p[0..n) as the file of a role of type `want`. `what` (a file name) leads every sentence.
 * Refuses (ERR_REFUSED): -EBADMSG for what is not strict JSON, has a wrong shape or type, or is of
 * another specification than 1.x; -EFBIG for counts beyond the limits above.
 */
int tuf_md_read(const void *p, size_t n, enum tuf_type want, const char *what, struct tuf_md **ret,
		enum tuf_reason *ret_why, struct err *e) __attribute__((warn_unused_result));
void tuf_md_free(struct tuf_md *md);
static inline void tuf_md_freep(struct tuf_md **md)
{
	tuf_md_free(*md);
}
#define AUTO_TUF_MD __attribute__((cleanup(tuf_md_freep))) struct tuf_md

/* The role of that name in a root's or targets' md; NULL when it has none. */
const struct tuf_role *tuf_md_role(const struct tuf_md *md, const char *name);

/* Key ids whose signatures were good and counted, each standing for another key. */
#define TUF_SIGNERS_MAX 32
struct tuf_signers {
	size_t n;        /* all that counted; only the first TUF_SIGNERS_MAX are kept */
	size_t claimed;  /* signatures in the file */
	size_t wrong_id; /* keys of the role that stand under an id not their own */
	char id[TUF_SIGNERS_MAX][TUF_KEYID_MAX];
};

/* Counts, without judging against the threshold. keys_of holds the KEY objects of role. */
void tuf_md_signers(const struct tuf_md *md, const struct tuf_md *keys_of,
		    const struct tuf_role *role, struct tuf_signers *ret);

/*
 * 0 if a threshold of role's keys signed md. -EKEYREJECTED (ERR_REFUSED) else; duplicate key ids
 * in the signatures were refused by tuf_md_read(). A bad signature beside enough good ones does no
 * harm; one key under two ids counts once. ret (may be NULL) is filled in either case.
 */
int tuf_md_verify(const struct tuf_md *md, const struct tuf_md *keys_of,
		  const struct tuf_role *role, const char *what, struct tuf_signers *ret,
		  enum tuf_reason *ret_why, struct err *e) __attribute__((warn_unused_result));

/* What a snapshot lists for a file ("targets.json", "<role>.json"); -ENOENT when it does not. */
int tuf_md_listed(const struct tuf_md *snapshot, const char *file, struct tuf_listed *ret,
		  struct err *e) __attribute__((warn_unused_result));

/*
 * Length (when given) and every known hash of data[0..n) against what was listed. -EBADMSG, also
 * for hashes of which none is known.
 */
int tuf_listed_check(const struct tuf_listed *l, const void *data, size_t n, const char *what,
		     enum tuf_reason *ret_why, struct err *e) __attribute__((warn_unused_result));

/* True if the delegation covers the path: '*' and '?' never match '/'; or by hash prefix. */
bool tuf_role_covers(const struct tuf_role *delegation, const char *path);
/* One pattern, in linear space and at most |pattern| * |path| steps. */
bool tuf_path_match(const char *pattern, const char *path);

/* Appends s with every byte but A-Z a-z 0-9 _ . - ~ (and those in safe) as %XX. */
int tuf_quote(const char *s, const char *safe, struct buf *out, struct err *e)
	__attribute__((warn_unused_result));

/* One target file (4.5 TARGETS); strings and custom are borrowed from md. */
struct tuf_target {
	const char *path;
	const char *role; /* who vouches for it */
	uint64_t length;
	struct tuf_hashes hashes; /* at least one of the two */
	const json_t *custom;     /* NULL when absent */
};

/* What md itself (type targets) lists for path; -ENOENT when it does not. role is left NULL. */
int tuf_md_target(const struct tuf_md *md, const char *path, struct tuf_target *ret,
		  enum tuf_reason *ret_why, struct err *e) __attribute__((warn_unused_result));

/* Length and every known hash. -EBADMSG (ERR_REFUSED). */
int tuf_target_check(const struct tuf_target *t, const void *data, size_t n,
		     enum tuf_reason *ret_why, struct err *e) __attribute__((warn_unused_result));

/*
 * Appends the file's name below the targets URL, percent-encoded except '/': the path, or with
 * consistent snapshots dir/HASH.basename (HASH: SHA-256 if listed, else SHA-512).
 */
int tuf_target_remote(const struct tuf_target *t, bool consistent_snapshot, struct buf *out,
		      struct err *e) __attribute__((warn_unused_result));

#endif
