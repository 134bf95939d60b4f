/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_TAKE_H
#define IGNITION_LITE_TAKE_H

#include "base/json.h"
#include "ignition-lite/config.h"

/*
 * The struct of a checked tree (see walk.h), which it keeps: root is taken over, on failure too.
 * Only out of memory can make it fail.
 */
int ign_take(json_t *root, struct ign_config **ret, struct err *e)
	__attribute__((warn_unused_result));

/* The tree it was taken from, borrowed. */
json_t *ign_config_tree(const struct ign_config *c);

#endif
