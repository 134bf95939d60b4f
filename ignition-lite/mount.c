/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/spawn.h"
#include "ignition-lite/filesystem.h"

static void one_done(struct ign_mount *m)
{
	free(m->device);
	free(m->path);
	free(m->type);
	free(m->options);
}

void ign_mounts_done(struct ign_mounts *m)
{
	for (size_t i = 0; i < m->n; i++)
		one_done(&m->v[i]);
	free(m->v);
	m->v = NULL;
	m->n = 0;
}

int ign_mounts_add(struct ign_mounts *m, const char *device, const char *path, const char *type,
		   const char *options, struct err *e)
{
	struct ign_mount *more;

	if (m->n == IGN_MOUNTS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d file systems are to be mounted",
			       IGN_MOUNTS_MAX);
	more = realloc(m->v, (m->n + 1) * sizeof(*more));
	if (!more)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	m->v = more;
	more[m->n] = (struct ign_mount){ .device = strdup(device),
					 .path = strdup(path),
					 .type = strdup(type),
					 .options = strdup(options) };
	m->n++; /* from here ign_mounts_done() frees it */
	more = &more[m->n - 1];
	return more->device && more->path && more->type && more->options
		       ? 0
		       : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* --- mounting --- */

/* The place below the host's own root, for mount(8) and umount2(2). */
static int outer_path(const struct ign_root *root, const struct ign_spot *s, char out[PATH_MAX],
		      struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s%s", root->path[1] ? root->path : "", s->path);

	return n < 0 || n >= PATH_MAX
		       ? err_set(e, ERR_INPUT, ENAMETOOLONG, "'%.200s' is too long", s->path)
		       : 0;
}

static bool is_there(const struct ign_mount *m, const struct stat *at)
{
	struct stat dev;

	return stat(m->device, &dev) == 0 && S_ISBLK(dev.st_mode) && dev.st_rdev == at->st_dev;
}

static int make_place(const struct ign_mount *m, const struct ign_spot *s, struct stat *ret,
		      struct err *e)
{
	int there = ign_spot_stat(s, ret, e);

	if (there < 0)
		return there;
	if (there == 0 &&
	    (mkdirat(s->dir, s->name, 0755) < 0 || fchmodat(s->dir, s->name, 0755, 0) < 0 ||
	     fstatat(s->dir, s->name, ret, AT_SYMLINK_NOFOLLOW) < 0))
		return err_set(e, ERR_HOST, errno, "make '%s': %s", s->path, strerror(errno));
	if (!S_ISDIR(ret->st_mode))
		return err_set(e, ERR_INPUT, ENOTDIR,
			       "'%s' is no directory, so '%s' cannot be mounted there", m->path,
			       m->device);
	return 0;
}

int ign_mount_attach(const struct ign_root *root, struct ign_mount *m, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st = { .st_mode = 0 };
	char target[PATH_MAX];
	const char *argv[] = { "mount", "-t", m->type, "-o", m->options, m->device, target, NULL };
	int r;

	if (m->active)
		return 0;
	r = ign_filesystem_wait(m->device, e);
	if (r == 0)
		r = ign_root_find(root, m->path, true, &s, e);
	if (r == 0)
		r = make_place(m, &s, &st, e);
	if (r == 0)
		r = outer_path(root, &s, target, e);
	if (r < 0)
		return r;
	if (!is_there(m, &st)) {
		if (!*m->options)
			argv[4] = "rw";
		r = spawn_check(argv, e);
		if (r < 0)
			return err_wrap(e, r, "mount '%s' (%s) on '%s'", m->device, m->type,
					m->path);
	}
	m->active = true;
	return 0;
}

int ign_mount_detach(const struct ign_root *root, struct ign_mount *m, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	char target[PATH_MAX];
	int r;

	if (!m->active)
		return 0;
	r = ign_root_find(root, m->path, false, &s, e);
	if (r == 0)
		r = outer_path(root, &s, target, e);
	if (r < 0)
		return r;
	sync();
	/* busy with somebody else's business: it is synced, and goes when they do */
	if (umount2(target, UMOUNT_NOFOLLOW) < 0 &&
	    (errno != EBUSY || umount2(target, UMOUNT_NOFOLLOW | MNT_DETACH) < 0))
		return err_set(e, ERR_HOST, errno, "unmount '%s': %s", m->path, strerror(errno));
	m->active = false;
	return 0;
}

/* --- the log --- */

static int one_write(const struct ign_mount *m, json_t *list, struct err *e)
{
	AUTO_JSON *o = json_object();
	int r = json_put_str(o, "device", m->device, e);

	if (r == 0)
		r = json_put_str(o, "path", m->path, e);
	if (r == 0)
		r = json_put_str(o, "type", m->type, e);
	if (r == 0)
		r = json_put_str(o, "options", m->options, e);
	return r < 0 ? r : json_push(list, TAKE(o), e);
}

int ign_mounts_write(const struct ign_mounts *m, json_t *o, const char *key, struct err *e)
{
	json_t *list = json_array();
	int r = json_put(o, key, list, e);

	for (size_t i = 0; r == 0 && i < m->n; i++)
		r = one_write(&m->v[i], list, e);
	return r;
}

static int one_read(const json_t *o, const char *what, struct ign_mounts *m, struct err *e)
{
	const char *device = "", *path = "", *type = "", *options = "";
	int r = json_get_str(o, "device", what, &device, e);

	if (r == 0)
		r = json_get_str(o, "path", what, &path, e);
	if (r == 0)
		r = json_get_str(o, "type", what, &type, e);
	if (r == 0)
		r = json_get_str(o, "options", what, &options, e);
	if (r == 0 && (device[0] != '/' || path[0] != '/' || type[0] == '-' || type[0] == '\0'))
		r = err_set(e, ERR_HOST, EINVAL, "%s: a mount in it is damaged", what);
	return r < 0 ? r : ign_mounts_add(m, device, path, type, options, e);
}

int ign_mounts_read(const json_t *o, const char *key, const char *what, struct ign_mounts *m,
		    struct err *e)
{
	json_t *list = NULL, *one;
	size_t i;
	int r;

	if (!json_object_get(o, key))
		return 0; /* a log from before there were any */
	r = json_get_arr(o, key, what, &list, e);
	if (r < 0)
		return r;
	json_array_foreach(list, i, one)
	{
		r = one_read(one, what, m, e);
		if (r < 0)
			return r;
	}
	return 0;
}
