/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/apply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "ignition-lite/files.h"
#include "ignition-lite/filesystem.h"
#include "ignition-lite/kargs.h"
#include "ignition-lite/units.h"
#include "ignition-lite/users.h"

enum { PRESETS_MAX = 4 << 20 };

static const char *step_path(const struct ign_step *s)
{
	switch ((int)s->kind) {
	case IGN_STEP_DIRECTORY:
		return s->directory->node.path;
	case IGN_STEP_FILE:
		return s->file->node.path;
	case IGN_STEP_SYMLINK:
	case IGN_STEP_HARDLINK:
		return s->link->node.path;
	default:
		return NULL;
	}
}

/* File systems are made, not mounted: what belongs on one must not end up below its mount point. */
static int check_below(const struct ign_plan *p, const struct ign_filesystem *fs, struct err *e)
{
	size_t n = fs->path ? strlen(fs->path) : 0;

	for (size_t i = 0; n > 1 && i < p->steps; i++) {
		const char *path = step_path(&p->step[i]);

		if (path && strncmp(path, fs->path, n) == 0 && path[n] == '/')
			return err_set(e, ERR_REFUSED, EOPNOTSUPP,
				       "'%s' would be on the file system at '%s', which is not "
				       "mounted yet; let a unit or tmpfiles.d make it",
				       path, fs->path);
	}
	return 0;
}

int ign_apply_check(const struct ign_apply *a, struct err *e)
{
	int r = ign_kargs_check(a->plan->config, a->cmdline, e);

	for (size_t i = 0; r == 0 && i < a->plan->steps; i++) {
		const struct ign_step *s = &a->plan->step[i];
		enum ign_format what;

		if (s->kind != IGN_STEP_FILESYSTEM)
			continue;
		r = check_below(a->plan, s->filesystem, e);
		if (r == 0)
			r = ign_filesystem_check(s->filesystem, &what, e);
	}
	return r;
}

/* --- taking stock --- */

static int stock_file(const struct ign_file *f, struct ign_undo *u, struct err *e)
{
	if (!f->contents.source && f->appends == 0)
		return ign_undo_add_meta(u, f->node.path, e);
	return ign_undo_add(u, f->node.path, f->node.overwrite == IGN_YES, e);
}

static int stock_step(const struct ign_root *root, const struct ign_step *s, struct ign_undo *u,
		      struct err *e)
{
	switch (s->kind) {
	case IGN_STEP_KARGS:
	case IGN_STEP_FILESYSTEM:
	case IGN_STEP_GROUP:
	case IGN_STEP_SSH_KEYS: /* with the user */
		return 0;
	case IGN_STEP_USER:
		return ign_users_stock_user(root, s->user, u, e);
	case IGN_STEP_DIRECTORY:
		return s->directory->node.overwrite == IGN_YES
			       ? ign_undo_add(u, s->directory->node.path, true, e)
			       : ign_undo_add_meta(u, s->directory->node.path, e);
	case IGN_STEP_FILE:
		return stock_file(s->file, u, e);
	case IGN_STEP_SYMLINK:
	case IGN_STEP_HARDLINK:
		return ign_undo_add(u, s->link->node.path, s->link->node.overwrite == IGN_YES, e);
	case IGN_STEP_UNIT:
	case IGN_STEP_DROPIN:
	case IGN_STEP_UNIT_MASK:
	case IGN_STEP_UNIT_UNMASK:
	case IGN_STEP_PRESET:
		return ign_units_stock(root, s, u, e);
	}
	return err_set(e, ERR_BUG, EINVAL, "step %d is not known", (int)s->kind);
}

static int stock(const struct ign_apply *a, struct ign_undo *u, struct err *e)
{
	const struct ign_config *c = a->plan->config;
	int r = ign_undo_add(u, IGN_RESULT, false, e);

	if (r == 0 && c->users + c->groups > 0)
		r = ign_users_stock(u, e);
	for (size_t i = 0; r == 0 && i < a->plan->steps; i++)
		r = stock_step(a->root, &a->plan->step[i], u, e);
	return r;
}

/* --- acting --- */

struct doing {
	const struct ign_apply *a;
	struct ign_place place;
	size_t blob; /* the next one */
	struct buf presets;
};

static void doing_done(struct doing *d)
{
	buf_done(&d->presets);
}

static int do_file(struct doing *d, const struct ign_file *f, struct err *e)
{
	size_t blobs = f->appends + (f->contents.source != NULL);
	int r;

	if (d->blob + blobs > ign_store_count(d->a->store) ||
	    (blobs > 0 && d->a->plan->fetch[d->blob].file != f))
		return err_set(e, ERR_BUG, EINVAL, "'%s' was not fetched", f->node.path);
	r = ign_files_file(&d->place, f, d->blob, e);
	d->blob += blobs;
	return r;
}

static int do_step(struct doing *d, const struct ign_step *s, struct err *e)
{
	const struct ign_root *root = d->a->root;

	switch (s->kind) {
	case IGN_STEP_KARGS: /* ign_apply_check() found them to be there */
		return 0;
	case IGN_STEP_FILESYSTEM:
		return ign_filesystem_make(s->filesystem, e);
	case IGN_STEP_GROUP:
		return ign_users_group(root, s->group, e);
	case IGN_STEP_USER:
		return ign_users_user(root, s->user, d->place.undo, e);
	case IGN_STEP_SSH_KEYS:
		return ign_users_keys(root, s->user, d->place.undo, e);
	case IGN_STEP_DIRECTORY:
		return ign_files_directory(&d->place, s->directory, e);
	case IGN_STEP_FILE:
		return do_file(d, s->file, e);
	case IGN_STEP_SYMLINK:
	case IGN_STEP_HARDLINK:
		return ign_files_link(&d->place, s->link, e);
	case IGN_STEP_UNIT:
	case IGN_STEP_DROPIN:
	case IGN_STEP_UNIT_MASK:
	case IGN_STEP_UNIT_UNMASK:
	case IGN_STEP_PRESET:
		return ign_units_step(root, s, d->place.undo, &d->presets, e);
	}
	return err_set(e, ERR_BUG, EINVAL, "step %d is not known", (int)s->kind);
}

static int act(const struct ign_apply *a, struct ign_undo *u, const struct ign_stamp *done,
	       struct err *e)
{
	__attribute__((cleanup(doing_done))) struct doing d = {
		.a = a,
		.place = { .root = a->root, .undo = u, .store = a->store },
		.presets = { .max = PRESETS_MAX },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->plan->steps; i++)
		r = do_step(&d, &a->plan->step[i], e);
	if (r == 0)
		r = ign_units_presets(a->root, &d.presets, u, e);
	if (r == 0)
		r = ign_result_write(a->root, done, a->user, u, e);
	return r < 0 ? r : ign_undo_sync(u, e);
}

static int go_back(struct ign_undo *u, int r, struct err *e)
{
	struct err back = ERR_INIT;
	size_t n;

	if (ign_undo_back(u, &back) >= 0 || !e)
		return r;
	n = strlen(e->text);
	(void)snprintf(e->text + n, sizeof(e->text) - n,
		       "; and what was done could not be taken back (%s): the next run tries again",
		       back.text);
	return r;
}

int ign_apply_run(const struct ign_apply *a, struct ign_stamp *done, struct err *e)
{
	AUTO_IGN_UNDO *u = NULL;
	int r = ign_apply_check(a, e);

	if (r == 0)
		r = ign_undo_new(a->root, &u, e);
	if (r == 0)
		r = stock(a, u, e);
	if (r < 0)
		return r;
	(void)snprintf(done->run, sizeof(done->run), "%s", ign_undo_run(u));
	r = ign_undo_begin(u, e);
	if (r == 0)
		r = act(a, u, done, e);
	if (r == 0)
		r = ign_stamp_write(a->root, done, e);
	if (r < 0)
		return go_back(u, r, e);
	return ign_undo_commit(u, e);
}

int ign_apply_settle(const struct ign_root *root, struct err *e)
{
	AUTO_IGN_UNDO *u = NULL;
	struct ign_stamp stamp = { .run = "" };
	int r = ign_undo_found(root, &u, e);

	if (r <= 0)
		return r < 0 ? err_wrap(e, r, "an earlier run did not end") : 0;
	r = ign_stamp_read(root, &stamp, e);
	if (r < 0)
		return r;
	if (r > 0 && strcmp(stamp.run, ign_undo_run(u)) == 0)
		r = ign_undo_commit(u, e);
	else
		r = ign_undo_back(u, e);
	return r < 0 ? err_wrap(e, r, "what an earlier run left") : 1;
}
