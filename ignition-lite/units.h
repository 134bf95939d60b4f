/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_UNITS_H
#define IGNITION_LITE_UNITS_H

#include "base/buf.h"
#include "base/err.h"
#include "ignition-lite/plan.h"
#include "ignition-lite/root.h"
#include "ignition-lite/undo.h"

/* systemd units as Ignition leaves them: in /etc/systemd/system, enabled by a preset file. */
#define IGN_PRESET_FILE "/etc/systemd/system-preset/20-ignition.preset"

/* What a step of the kinds from IGN_STEP_UNIT on may touch goes into the undo log. */
int ign_units_stock(const struct ign_root *root, const struct ign_step *s, struct ign_undo *u,
		    struct err *e) __attribute__((warn_unused_result));

/*
 * Does such a step. Lines of the preset file are collected in presets and written at once by
 * ign_units_presets(), behind what the file holds.
 */
int ign_units_step(const struct ign_root *root, const struct ign_step *s, struct ign_undo *u,
		   struct buf *presets, struct err *e) __attribute__((warn_unused_result));
int ign_units_presets(const struct ign_root *root, const struct buf *presets, struct ign_undo *u,
		      struct err *e) __attribute__((warn_unused_result));

#endif
