/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_HOOK_ASK_H
#define UPDATER_HOOK_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * What proad asks proa-hook to do, and what came of it: one packet of JSON each way on a
 * SOCK_SEQPACKET socket, then both hang up. Who hangs up earlier ends the hooks that run.
 */
#define HOOK_PACKET_MAX  8192u
#define HOOK_DIRS_MAX    512u /* of the directories, one blank between two */
#define HOOK_VALUE_MAX   65u  /* of a variable: printable ASCII */
#define HOOK_NAME_MAX    128u
#define HOOK_TEXT_MAX    401u
#define HOOK_SECONDS_MAX 86400u

enum hook_stage {
	HOOK_PRE_STAGE,     /* before a release is written; failing postpones it */
	HOOK_PRE_REBOOT,    /* before a reboot; failing postpones it */
	HOOK_POST_BOOT,     /* after a reboot that ended well, or one that was given up */
	HOOK_POST_FALLBACK, /* after the host fell back */
	HOOK_SENTINEL,      /* no hooks: makes or removes the file `dirs` */
};
const char *hook_stage_name(enum hook_stage s); /* "pre-stage", ... */

struct hook_ask {
	enum hook_stage stage;
	char dirs[HOOK_DIRS_MAX];     /* absolute; of files with one name the first counts */
	uint32_t timeout_s;           /* 1..HOOK_SECONDS_MAX, for all hooks of the stage together */
	char version[HOOK_VALUE_MAX]; /* PROA_VERSION; may be empty, as all of these */
	char from[HOOK_VALUE_MAX];    /* PROA_FROM */
	char reason[HOOK_VALUE_MAX];  /* PROA_REASON */
	char outcome[HOOK_VALUE_MAX]; /* PROA_OUTCOME; HOOK_SENTINEL: not empty makes the file */
};

struct hook_answer {
	bool ok;
	uint32_t ran;             /* hooks that were started */
	char name[HOOK_NAME_MAX]; /* which failed; empty: none, or all for the reason in text */
	char text[HOOK_TEXT_MAX]; /* a sentence why not */
};

/* Pure. Errors of parse: ERR_INPUT for what is none of these, or not within its bounds. */
int hook_ask_format(const struct hook_ask *a, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));
int hook_ask_parse(const void *p, size_t n, struct hook_ask *ret, struct err *e)
	__attribute__((warn_unused_result));
int hook_answer_format(const struct hook_answer *a, struct buf *b, struct err *e)
	__attribute__((warn_unused_result));
int hook_answer_parse(const void *p, size_t n, struct hook_answer *ret, struct err *e)
	__attribute__((warn_unused_result));

/* Are these directories as ask carries them: absolute paths, one blank between two? */
bool hook_dirs_valid(const char *s);

#endif
