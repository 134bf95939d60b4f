/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATER_IMAGE_EROFS_WRITE_H
#define UPDATER_IMAGE_EROFS_WRITE_H

#include "base/err.h"
#include "updater/image/erofs_layout.h"
#include "updater/image/unpack.h"

/*
 * The image that `t` was read from, every part at its new place: inodes say where their data and
 * directories where their inodes lie now; all else is as it was. put() gets it front to back.
 * ERR_HOST -ENOMEM; what put() fails with.
 */
int erofs_write(const struct erofs_tree *t, const struct erofs_layout *l, image_put_fn put,
		void *arg, struct err *e) __attribute__((warn_unused_result));

#endif
