/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_REPORT_H
#define PUBLISHER_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "publisher/repo.h"
#include "publisher/roles.h"

/* What can be asked of a repository without changing what it says. */

/*
 * Roles with version, who signed and may sign, and expiry; channels with their releases. On stdout.
 * STATUS_SOON when a role expires within warn_days (0: a third of the days it is signed for),
 * STATUS_EXPIRED when one has.
 */
enum { STATUS_WELL = 0, STATUS_SOON = 1, STATUS_EXPIRED = 2 };
int status_print(const struct repo *r, const struct roles *m, uint64_t warn_days, bool json,
		 struct err *e) __attribute__((warn_unused_result));

/*
 * The whole repository as a client sees it: metadata through the TUF client workflow from
 * 1.root.json on, then every channel, manifest and blob; every full image is restored and its root
 * hash rebuilt, every UKI restored and read. ERR_REFUSED or ERR_RETRY says the first thing that is
 * wrong. Prints a line for each release. Folders only are used, not the configuration.
 */
int verify_run(const char *path, const char *pin, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Removes blobs, manifests and metadata that nothing names: neither what is current, nor the `keep`
 * versions of each role before it, which a client may be in the middle of. Roots always stay.
 */
struct gc_stats {
	uint64_t files, bytes;
};
int gc_run(const struct repo *r, const struct roles *m, uint64_t keep, bool dry_run,
	   struct gc_stats *ret, struct err *e) __attribute__((warn_unused_result));

#endif
