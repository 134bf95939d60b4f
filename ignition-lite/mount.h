/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_MOUNT_H
#define IGNITION_LITE_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "ignition-lite/root.h"

/*
 * File systems of the config, mounted below the root while the host is provisioned: each behind the
 * other, so that one may lie on the one before. At the end they are unmounted; who mounts them at
 * later boots is the image's or the config's units.
 */
struct ign_mount {
	char *device, *path, *type, *options; /* options: "" for none */
	bool active;
};

struct ign_mounts {
	struct ign_mount *v;
	size_t n;
};

enum { IGN_MOUNTS_MAX = 128 };

void ign_mounts_done(struct ign_mounts *m);

/* Copies them; it is not mounted yet. */
int ign_mounts_add(struct ign_mounts *m, const char *device, const char *path, const char *type,
		   const char *options, struct err *e) __attribute__((warn_unused_result));

/*
 * Mounts it, unless that device is mounted there already. Its directory is made; nothing on the way
 * leads outside of the root.
 */
int ign_mount_attach(const struct ign_root *root, struct ign_mount *m, struct err *e)
	__attribute__((warn_unused_result));
/* Syncs and unmounts it if it is mounted. */
int ign_mount_detach(const struct ign_root *root, struct ign_mount *m, struct err *e)
	__attribute__((warn_unused_result));

/* As an array, and back; what: for sentences. */
int ign_mounts_write(const struct ign_mounts *m, json_t *o, const char *key, struct err *e)
	__attribute__((warn_unused_result));
int ign_mounts_read(const json_t *o, const char *key, const char *what, struct ign_mounts *m,
		    struct err *e) __attribute__((warn_unused_result));

#endif
