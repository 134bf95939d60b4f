/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_OPTS_H
#define PUBLISHER_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "publisher/edit.h"
#include "publisher/release.h"

/* The command line of proa-publish. */

enum { OPTS_CHANNELS_MAX = 16, OPTS_WORDS_MAX = 36, OPTS_EDITS_MAX = 64 };

struct opts {
	const char *word[OPTS_WORDS_MAX]; /* the verb, REPO and what follows */
	size_t n_word;
	const char *image, *from, *to;
	const char *keys[KEYS_DIRS_MAX]; /* directories */
	size_t n_keys;
	const char *key, *pass_file, *root, *out, *propose, *name, *type, *since;
	struct edit edit[OPTS_EDITS_MAX];
	size_t n_edit;
	uint64_t warn_days; /* 0: a third of each role's */
	bool yes, rebuild, encrypt, no_passphrase;
	const char *channel[OPTS_CHANNELS_MAX];
	size_t n_channel;
	struct release_wish wish;
	uint64_t keep;
	bool json, dry_run;
};

/*
 * 0, or the exit status to end with plus one: 1 for --help and --version (printed), 3 for wrong
 * usage (said on stderr).
 */
int opts_parse(int argc, char **argv, struct opts *ret);

#endif
