/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_VERBS_H
#define PUBLISHER_VERBS_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"
#include "publisher/keys.h"
#include "publisher/opts.h"
#include "publisher/repo.h"
#include "publisher/roles.h"

/* Verbs about keys and signatures; main.c has the others. All print on stdout what was done. */

/* Wrong usage: main.c ends with status 2. */
int verb_misused(const char *why, struct err *e) __attribute__((warn_unused_result));

/* The keys that the options name. */
int verb_keys(const struct opts *o, struct keys *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * The root to go by: --root FILE, or root.json of the first key directory that has one. NULL when
 * there is neither; with `must` that is an error. out holds the path.
 */
int verb_pin(const struct opts *o, bool must, char out[PATH_MAX], const char **ret, struct err *e)
	__attribute__((warn_unused_result));

/* Until this process ends: what is begun is finished or undone. */
void verb_hold_signals(void);

int verb_init(const struct opts *o, struct err *e) __attribute__((warn_unused_result));
int verb_key(const struct opts *o, struct err *e) __attribute__((warn_unused_result));
int verb_root(const struct opts *o, struct err *e) __attribute__((warn_unused_result));
/* channel propose, sign, submit */
bool verb_is_channel_step(const struct opts *o);
int verb_channel_step(const struct opts *o, struct err *e) __attribute__((warn_unused_result));

/* A new channel in m, with the keys of --add-key or one made in the first key directory. */
int verb_channel_add(const struct opts *o, const struct keys *k, struct roles *m, struct err *e)
	__attribute__((warn_unused_result));

int verb_image(const struct opts *o, struct err *e) __attribute__((warn_unused_result));
int verb_export(const struct opts *o, struct err *e) __attribute__((warn_unused_result));

/* What to do with a proposal that was written for m. */
void verb_print_proposed(const struct roles *m, const char *kind);

#endif
