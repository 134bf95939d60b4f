/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_RELEASE_H
#define PUBLISHER_RELEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "publisher/delta.h"
#include "publisher/keys.h"
#include "publisher/layout.h"
#include "publisher/policy.h"
#include "publisher/repo.h"
#include "publisher/roles.h"

/* What a person asked for with `proa-publish release`; NULL: not given. */
struct release_wish {
	const char *version, *channel, *arch;
	const char *usr;  /* image or directory */
	const char *like; /* image to be laid out like, "none"; NULL: the newest base */
	const char *uki;  /* finished, or else: */
	const char *kernel, *initrd, *stub, *cmdline, *os_release, *uname;
	const char *sign_key, *sign_cert;
	const char *salt; /* hex; NULL: the product's */
	const char *sbom; /* file */
	const char *notes_url;
	struct policy_wish policy;
	struct delta_wish delta; /* its level is that of all blobs */
	bool allow_older;
};

/* What came of it, for the summary. */
struct release_report {
	uint64_t usr_bytes, full_bytes, uki_bytes, uki_packed_bytes;
	uint8_t root[SHA256_BYTES];
	char was[RELEASE_VERSION_MAX]; /* newest of the channel before; empty: none */
	bool built;
	struct layout_report layout;    /* when built */
	char like[RELEASE_VERSION_MAX]; /* it was laid out like that release; empty: --like */
	struct delta_report delta[DELTA_BASES_MAX];
	size_t n_delta;
	uint64_t uki_own_bytes; /* of the UKI's delta from its own /usr; 0: none */
	const char *advice[4];  /* sentences about an image that makes updates large */
};

/*
 * Builds, packs and signs. Nothing a client can see changes before all blobs are on the medium.
 * ERR_INPUT -EEXIST: the version is published with other content; -EBADMSG: a UKI that does not
 * belong to the image. -ECANCELED when a signal asked to stop.
 */
int release_make(const struct repo *r, struct roles *m, const struct keys *k,
		 const struct release_wish *wish, struct release_report *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Puts wish->version, as channel `from` has it, into channel `to` too: the same manifest, with the
 * policy of wish. The caller commits.
 */
int release_promote(const struct repo *r, struct roles *m, const char *from, const char *to,
		    const struct release_wish *wish, struct err *e)
	__attribute__((warn_unused_result));

#endif
