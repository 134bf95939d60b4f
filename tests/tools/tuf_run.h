/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TOOLS_TUF_RUN_H
#define TESTS_TOOLS_TUF_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sys.h"
#include "updater/tuf/reason.h"

/*
 * updater/tuf over a directory of metadata and one of targets: what tuf-client does for one command
 * line and tuf-batch for many.
 */
enum { TUF_RUN_NAMES_MAX = 64 };

/*
 * The file `name` below the URL `base`: at most max + 1 bytes of it, so that the library sees that
 * there is too much. ret_found is false, and nothing is given, when there is no such file.
 */
typedef int (*tuf_run_get)(void *arg, const char *base, const char *name, size_t max,
			   struct buf *ret, bool *ret_found, struct err *e);

struct tuf_run {
	const char *metadata_dir, *metadata_url, *target_dir, *target_url;
	const char *names[TUF_RUN_NAMES_MAX];
	size_t names_n;
	int64_t now;
	tuf_run_get get;
	void *arg;
	struct sys *sys;
	int dir; /* of the metadata; the callee's */
};

/*
 * verb: init (arg: file of the trusted root), refresh or download. why is written when the library
 * refused something.
 */
int tuf_run(struct tuf_run *c, const char *verb, const char *arg, enum tuf_reason *why,
	    struct err *e) __attribute__((warn_unused_result));

#endif
