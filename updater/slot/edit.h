/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_SLOT_EDIT_H
#define UPDATER_SLOT_EDIT_H

#include "base/err.h"

struct gpt_mark;

/*
 * libfdisk at work on fd, the copy of a partition table in memory (never a disk). marks: two, or
 * NULL to only write the table again, which makes its two copies whole and alike.
 */
int gpt_edit(int fd, unsigned sector, const struct gpt_mark *marks, struct err *e)
	__attribute__((warn_unused_result));

#endif
