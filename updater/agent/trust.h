/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AGENT_TRUST_H
#define UPDATER_AGENT_TRUST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "updater/release/manifest.h"
#include "updater/release/offer.h"
#include "updater/tuf/reason.h"
#include "updater/tuf/update.h"

struct sys;
struct fetcher;

/*
 * What the publisher's signatures vouch for: drives TUF (updater/tuf) with files from the fetcher
 * and the trust store, the directory "trust" in the state directory, where metadata lies byte for
 * byte as received.
 */
/* Manifests are kept in the store as "<image>_<version>.manifest", the newest of them. */
#define TRUST_MANIFEST      ".manifest"
#define TRUST_MANIFESTS_MAX 8
#define TRUST_OFFERS_MAX    512 /* of more, the newest */

struct trust {
	struct tuf_update *tuf;
	struct release_offer *offers; /* what the channel offers, verified */
	size_t n_offers, skipped;     /* skipped: of a form this Proa does not know */
	int64_t newest_time;          /* of what was verified; 0: none */
	enum tuf_reason why;          /* after a failure */
	struct tuf_expired expired;   /* when that is TUF_REASON_EXPIRED */
};

void trust_done(struct trust *t);
#define AUTO_TRUST __attribute__((cleanup(trust_done))) struct trust

struct trust_job {
	struct sys *sys;
	int state;              /* directory descriptor */
	const char *first_root; /* path of the root that came with the image */
	const char *channel;
	int64_t now;
	struct fetcher *fetch;
};

/*
 * A whole refresh and the channel's offers. Every mirror is asked, and the newest metadata that
 * verifies counts: one that is stale, away or lying cannot hold a host back while another is not.
 * Each refresh is of one mirror as a whole; the store, which they share, knows the newest version
 * ever verified, and so refuses those behind it. The fetcher then uses the mirror that was best,
 * and knows what is wrong with the others (fetcher_mirror()). On failure everything verified before
 * it is kept in the store and ret->why says which check refused; *ret must be given to trust_done()
 * either way. ERR_REFUSED for metadata that must not be trusted, ERR_RETRY for a network that
 * fails.
 */
int trust_refresh(const struct trust_job *job, struct trust *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * What the store holds, as the last refresh left it, verified anew but for the time; nothing is
 * fetched or changed, job->now and job->fetch are not used. Fails when there was none that went
 * well. *ret as above.
 */
int trust_known(const struct trust_job *job, struct trust *ret, struct err *e)
	__attribute__((warn_unused_result));

/* The manifest that an offer of t stands for, fetched and verified through t, and kept for audits.
 */
int trust_manifest(const struct trust_job *job, struct trust *t, const struct release_offer *offer,
		   struct release_manifest *ret, struct err *e) __attribute__((warn_unused_result));

#endif
