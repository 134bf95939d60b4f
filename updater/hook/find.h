/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HOOK_FIND_H
#define UPDATER_HOOK_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "updater/hook/ask.h"

#define HOOK_FILES_MAX 64u

struct hook_file {
	char name[HOOK_NAME_MAX];
	char dir[HOOK_DIRS_MAX]; /* where it lies: one of the directories and "/<stage>.d" */
};

/* What to do with a file of that mode and owner, for a program that runs as `own`. Pure. */
enum hook_verdict {
	HOOK_RUN,
	HOOK_SKIP,   /* no regular file, or not executable: a README, a mask */
	HOOK_REFUSE, /* somebody else could change it */
};
enum hook_verdict hook_judge(mode_t mode, uid_t owner, uid_t own);

/*
 * The hooks of a stage, sorted by name. A name in an earlier directory stands before the same in a
 * later one, also when it is not executable or a link to /dev/null, which masks it. Absent
 * directories are no error; -EPERM (ERR_REFUSED) for a hook, or a directory of hooks, that others
 * may write; -E2BIG (ERR_INPUT).
 */
int hook_find(const char *dirs, enum hook_stage stage, struct hook_file file[HOOK_FILES_MAX],
	      size_t *ret_n, struct err *e) __attribute__((warn_unused_result));

#endif
