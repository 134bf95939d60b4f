/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUBLISHER_WORDS_H
#define PUBLISHER_WORDS_H

#include "base/err.h"
#include "base/json.h"

/*
 * What a change of metadata says, in sentences for people, appended to the array `out`. now and
 * next are bodies ("signed") of the same role; now NULL: it is the first. Nothing that differs goes
 * unsaid: members this program does not know are named too. Pure.
 */
int words_root(json_t *now, json_t *next, json_t *out, struct err *e)
	__attribute__((warn_unused_result));
int words_targets(json_t *now, json_t *next, json_t *out, struct err *e)
	__attribute__((warn_unused_result));
int words_channel(const char *name, json_t *now, json_t *next, json_t *out, struct err *e)
	__attribute__((warn_unused_result));

#endif
