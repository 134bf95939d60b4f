/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_STAMP_H
#define IGNITION_LITE_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/num.h"
#include "ignition-lite/root.h"
#include "ignition-lite/undo.h"

/*
 * What a provisioned root carries: the result file that Ignition writes, with the config's hash
 * added, and a stamp. The stamp is written last; a root that has it is never provisioned again
 * unless somebody asks for it.
 */
#define IGN_RESULT "/etc/.ignition-result.json"
#define IGN_STAMP  "/etc/.ignition-lite.done"

struct ign_stamp {
	char run[IGN_RUN_TEXT];      /* names the undo log of the run */
	char config[SHA256_HEX_MAX]; /* SHA-256 of the user's config as it came, or "" */
	char date[NUM_TIME_MAX];
};

/* 1 and *ret, or 0 if there is none. A damaged stamp is an error. */
int ign_stamp_read(const struct ign_root *root, struct ign_stamp *ret, struct err *e)
	__attribute__((warn_unused_result));
/* Durable when it returns. */
int ign_stamp_write(const struct ign_root *root, const struct ign_stamp *s, struct err *e)
	__attribute__((warn_unused_result));

/*
 * Removes the stamp of this run, one of another run stays: on the medium no stamp of this run is
 * left when it returns. Comes before every way back, which a cut would else leave half done at a
 * root that counts as provisioned.
 */
int ign_stamp_withdraw(const struct ign_root *root, const char *run, struct err *e)
	__attribute__((warn_unused_result));

/* The result file, 0600; an earlier one is kept in it as previousReport. user: a config was given.
 */
int ign_result_write(const struct ign_root *root, const struct ign_stamp *s, bool user,
		     struct ign_undo *u, struct err *e) __attribute__((warn_unused_result));

#endif
