/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_FILES_H
#define IGNITION_LITE_FILES_H

#include <stdint.h>

#include "base/err.h"
#include "ignition-lite/config.h"
#include "ignition-lite/root.h"
#include "ignition-lite/store.h"
#include "ignition-lite/undo.h"

/*
 * Directories, files and links, by Ignition's rules: what is there already is left alone or is an
 * error unless `overwrite` says otherwise. Contents are written to a file of mode 0600 beside the
 * place, get owner and mode, and are renamed into it. Each error is a sentence that names the path.
 */
struct ign_place {
	const struct ign_root *root;
	struct ign_undo *undo;
	const struct ign_store *store;
};

int ign_files_directory(const struct ign_place *p, const struct ign_directory *d, struct err *e)
	__attribute__((warn_unused_result));
/* first_blob: of its contents, or of its first append when it has none; the others follow. */
int ign_files_file(const struct ign_place *p, const struct ign_file *f, size_t first_blob,
		   struct err *e) __attribute__((warn_unused_result));
int ign_files_link(const struct ign_place *p, const struct ign_link *l, struct err *e)
	__attribute__((warn_unused_result));

struct ign_attr {
	mode_t mode;
	uint32_t uid, gid;
};

/* Makes path hold text[0..n), replacing a file or link; its directories are made. */
int ign_files_put(struct ign_undo *u, const char *path, const char *text, size_t n,
		  const struct ign_attr *a, struct err *e) __attribute__((warn_unused_result));

#endif
