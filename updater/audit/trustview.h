/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_AUDIT_TRUSTVIEW_H
#define UPDATER_AUDIT_TRUSTVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "updater/release/manifest.h"
#include "updater/tuf/update.h"

struct sys;

/*
 * What a publisher's signatures say, read from files only: the trust store of a host (metadata as
 * it was received) or a copy of the repository. Everything goes through updater/tuf; nothing is
 * written.
 */
struct trustview {
	struct sys *sys;
	int dir;         /* borrowed: the trust store, or the repository */
	bool repository; /* dir has metadata/ and targets/ */
	struct tuf_update *tuf;
	char expired[240]; /* what has expired at the time given; "" nothing */
	char channel[65];
	json_t *names; /* key id to name, as root and targets say (x-proa-names); never trusted */
};

struct trustview_options {
	struct sys *sys;
	int dir;
	bool repository;
	const void *root; /* bytes of the trusted root */
	size_t root_n;
	const char *channel;
	int64_t now;
};

/* Verifies root, timestamp, snapshot, targets and the channel. Expiry is told, not refused. */
int trustview_open(const struct trustview_options *o, struct trustview *ret, struct err *e)
	__attribute__((warn_unused_result));
void trustview_done(struct trustview *t);
#define AUTO_TRUSTVIEW __attribute__((cleanup(trustview_done))) struct trustview

/*
 * The manifest of the release of that version, as the channel lists it: verified bytes parsed.
 * -ENOENT (INPUT): the channel does not list it, or its file is not there.
 */
int trustview_manifest(struct trustview *t, const char *version, struct release_manifest *ret,
		       struct err *e) __attribute__((warn_unused_result));

/*
 * {"root":{"version","expires","threshold","signers":[...],"names":{...}},...} for every role: the
 * ids of the keys whose signatures were good, and the publisher's names of those that have one.
 */
int trustview_roles(const struct trustview *t, json_t **ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
