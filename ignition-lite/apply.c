/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/apply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "ignition-lite/files.h"
#include "ignition-lite/filesystem.h"
#include "ignition-lite/units.h"
#include "ignition-lite/users.h"

enum { PRESETS_MAX = 4 << 20 };

/* Where a file system of the config goes; NULL: nowhere. */
static const char *mount_path(const struct ign_filesystem *fs)
{
	return fs->path && *fs->path && fs->format && strcmp(fs->format, "none") != 0 ? fs->path
										      : NULL;
}

int ign_apply_check(const struct ign_apply *a, struct err *e)
{
	int r = ign_kargs_check(a->plan->config, a->cmdline, a->booted, e);

	for (size_t i = 0; r == 0 && i < a->plan->steps; i++) {
		const struct ign_step *s = &a->plan->step[i];
		enum ign_format what;

		if (s->kind != IGN_STEP_FILESYSTEM)
			continue;
		if (mount_path(s->filesystem))
			r = ign_undo_check_mount(a->root, s->filesystem->device,
						 mount_path(s->filesystem), e);
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

	if (r == 0)
		r = ign_undo_add(u, IGN_STAMP, false, e); /* an earlier run's comes back */
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
	case IGN_STEP_KARGS:      /* ign_apply_check() found them to be there */
	case IGN_STEP_FILESYSTEM: /* see make_filesystems() */
		return 0;
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

/* Behind what failed: what could not be done then, and what comes of it. */
static void add_words(struct err *e, const char *what, const struct err *why, const char *so)
{
	size_t n = e ? strlen(e->text) : 0;

	if (e)
		(void)snprintf(e->text + n, sizeof(e->text) - n, "; and %s (%s): %s", what,
			       why->text, so);
}

static int go_back(struct ign_undo *u, int r, struct err *e)
{
	struct err why = ERR_INIT;

	if (ign_undo_back(u, &why) < 0)
		add_words(e, "what was done could not be taken back", &why,
			  "the next run tries again");
	return r;
}

/*
 * The stamp may be on the medium although its writing failed. While that is so a way back must not
 * begin: what there is now is whole with the stamp, and the log leads back without.
 */
static int go_back_stamped(const struct ign_apply *a, struct ign_undo *u, int r, struct err *e)
{
	struct err why = ERR_INIT;

	if (ign_stamp_withdraw(a->root, ign_undo_run(u), &why) == 0)
		return go_back(u, r, e);
	add_words(e, "the stamp could not be removed", &why,
		  "what was done is left; the next run takes it back, or keeps it if it finds the "
		  "stamp");
	return r;
}

static int join(const struct ign_strings *l, struct buf *b, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < l->n; i++)
		r = buf_addf(b, e, "%s%s", i ? "," : "", l->s[i]);
	return r < 0 ? r : 0;
}

static int mount_one(struct ign_undo *u, const struct ign_filesystem *fs, struct err *e)
{
	AUTO_BUF options = BUF_INIT;
	int r = join(&fs->mount_options, &options, e);

	return r < 0 ? r
		     : ign_undo_mount(u, fs->device, mount_path(fs), fs->format,
				      options.n ? options.p : "", e);
}

static int by_mount_path(const void *a, const void *b)
{
	const struct ign_filesystem *const *x = a, *const *y = b;

	/* what lies above another sorts before it */
	return strcmp((*x)->path, (*y)->path);
}

/*
 * All of them are made before the tree is looked at, as what is put on them is part of it then.
 * That cannot be undone anyway.
 */
static int make_filesystems(const struct ign_apply *a, struct ign_undo *u, struct err *e)
{
	const struct ign_config *c = a->plan->config;
	AUTO_FREE const struct ign_filesystem **mounts =
		calloc(c->filesystems + 1, sizeof(const struct ign_filesystem *));
	size_t n = 0;
	int r = mounts ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	for (size_t i = 0; r == 0 && i < c->filesystems; i++) {
		r = ign_filesystem_make(&c->filesystem[i], e);
		if (r == 0 && mount_path(&c->filesystem[i]))
			mounts[n++] = &c->filesystem[i];
	}
	if (r < 0)
		return r;
	qsort(mounts, n, sizeof(void *), by_mount_path);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = mount_one(u, mounts[i], e);
	return r;
}

int ign_apply_run(const struct ign_apply *a, struct ign_stamp *done, struct err *e)
{
	AUTO_IGN_UNDO *u = NULL;
	int r = ign_apply_check(a, e);

	if (r == 0)
		r = ign_undo_new(a->root, &u, e);
	if (r < 0)
		return r;
	(void)snprintf(done->run, sizeof(done->run), "%s", ign_undo_run(u));
	r = make_filesystems(a, u, e);
	if (r == 0)
		r = stock(a, u, e);
	if (r == 0)
		r = ign_undo_begin(u, e);
	if (r == 0)
		r = act(a, u, done, e);
	if (r < 0)
		return go_back(u, r, e);
	r = ign_stamp_write(a->root, done, e);
	return r < 0 ? go_back_stamped(a, u, r, e) : ign_undo_commit(u, e);
}

/* What file_replace() leaves when it is cut off. */
static int remove_halves(const struct ign_root *root, struct err *e)
{
	static const char *const halves[] = { "/etc/..ignition-lite.undo.new",
					      "/etc/..ignition-lite.done.new" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(halves) / sizeof(halves[0]); i++) {
		AUTO_IGN_SPOT s = IGN_SPOT_INIT;

		r = ign_root_find(root, halves[i], false, &s, e);
		if (r == 0 && s.dir >= 0)
			r = ign_root_remove(s.dir, s.name, s.path, e);
	}
	return r;
}

int ign_apply_settle(const struct ign_root *root, struct err *e)
{
	AUTO_IGN_UNDO *u = NULL;
	struct ign_stamp stamp = { .run = "" };
	int r = remove_halves(root, e);

	if (r == 0)
		r = ign_undo_found(root, &u, e);
	if (r <= 0)
		return r < 0 ? err_wrap(e, r, "an earlier run did not end") : 0;
	r = ign_stamp_read(root, &stamp, e);
	if (r < 0)
		return r;
	if (r > 0 && strcmp(stamp.run, ign_undo_run(u)) == 0) {
		r = ign_undo_commit(u, e);
	} else {
		r = ign_stamp_withdraw(root, ign_undo_run(u), e);
		if (r == 0)
			r = ign_undo_back(u, e);
	}
	return r < 0 ? err_wrap(e, r, "what an earlier run left") : 1;
}
