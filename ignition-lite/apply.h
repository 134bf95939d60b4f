/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_APPLY_H
#define IGNITION_LITE_APPLY_H

#include <stdbool.h>

#include "base/err.h"
#include "ignition-lite/kargs.h"
#include "ignition-lite/plan.h"
#include "ignition-lite/root.h"
#include "ignition-lite/stamp.h"
#include "ignition-lite/store.h"

/* Walks a plan under a root, all of it or nothing of it (see undo.h). */
struct ign_apply {
	const struct ign_root *root;
	const struct ign_plan *plan;
	const struct ign_store *store;   /* one blob for every plan->fetch, in that order */
	const char *cmdline;             /* the running kernel's, for kernelArguments */
	const struct ign_booted *booted; /* for the same */
	bool user;                       /* a user config was given */
};

/* What can be refused without touching the root: kernel arguments, file systems. Changes nothing.
 */
int ign_apply_check(const struct ign_apply *a, struct err *e) __attribute__((warn_unused_result));

/*
 * Checks, applies, syncs, writes the result file, then the stamp (done: config and date given; run
 * is filled in). On failure the root is as it was before, except for file systems that were made;
 * if even going back fails, the sentence says so, and the log stays for the next run.
 */
int ign_apply_run(const struct ign_apply *a, struct ign_stamp *done, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Brings what an interrupted run left to an end: back to the beginning, or, when its stamp is
 * there, forward. 1 if there was something to do, 0 if not. Must come before anything looks at the
 * root.
 */
int ign_apply_settle(const struct ign_root *root, struct err *e)
	__attribute__((warn_unused_result));

#endif
