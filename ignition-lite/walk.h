/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_WALK_H
#define IGNITION_LITE_WALK_H

#include "ignition-lite/tree.h"

/* The walks over a config by its schema. Their depth is the schema's, never the input's. */

/*
 * Brings root to the form the rest works on: what the schema of r->minor does not know is reported
 * and dropped, null is dropped (in a list: "" or {}, as Ignition takes it), and every value that
 * is left has the type of its field; where not, that is an error. Returns 0 or -ENOMEM.
 */
int ign_walk_types(struct ign_read *r, json_t *root, struct err *e)
	__attribute__((warn_unused_result));

/* Entries of lists that are there twice, and the checks of the schema; 0 or -ENOMEM. */
int ign_walk_checks(struct ign_read *r, const json_t *root, struct err *e)
	__attribute__((warn_unused_result));

#endif
