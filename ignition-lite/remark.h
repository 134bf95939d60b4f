/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_REMARK_H
#define IGNITION_LITE_REMARK_H

#include "base/err.h"
#include "ignition-lite/plan.h"
#include "ignition-lite/root.h"

/*
 * What a person should know of this root though all of the config can be done: units that no first
 * boot will enable (machine-id(5) is set, so systemd applies no presets), and an SELinux policy,
 * for which nothing is labelled here. Each is one sentence; changes nothing.
 */
int ign_remarks(const struct ign_root *root, const struct ign_plan *p,
		void (*say)(void *arg, const char *text), void *arg, struct err *e)
	__attribute__((warn_unused_result));

#endif
