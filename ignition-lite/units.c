/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/spawn.h"
#include "ignition-lite/files.h"

#define UNITS "/etc/systemd/system"

enum { PRESETS_MAX = 4 << 20, PATH_LEN = 1024 };

static const struct ign_attr unit_attr = { .mode = 0644 };

static int path_of(const struct ign_step *s, char out[PATH_LEN], struct err *e)
{
	int n;

	if (s->kind == IGN_STEP_PRESET)
		n = snprintf(out, PATH_LEN, IGN_PRESET_FILE);
	else if (s->kind == IGN_STEP_DROPIN)
		n = snprintf(out, PATH_LEN, UNITS "/%s.d/%s", s->unit->name, s->dropin->name);
	else
		n = snprintf(out, PATH_LEN, UNITS "/%s", s->unit->name);
	return n < 0 || n >= PATH_LEN
		       ? err_set(e, ERR_INPUT, ENAMETOOLONG, "a unit's name is too long")
		       : 0;
}

/* The i-th unit that a preset line names: "echo@a.service". */
static int preset_unit(const struct ign_preset *p, size_t i, char out[PATH_LEN], struct err *e)
{
	const char *at = strchr(p->unit, '@');
	int n;

	if (p->instances == 0 || !at)
		n = snprintf(out, PATH_LEN, "%s", p->unit);
	else
		n = snprintf(out, PATH_LEN, "%.*s%s%s", (int)(at + 1 - p->unit), p->unit,
			     p->instance[i], at + 1);
	return n < 0 || n >= PATH_LEN
		       ? err_set(e, ERR_INPUT, ENAMETOOLONG, "a unit's name is too long")
		       : 0;
}

/* --- taking stock --- */

static bool is_wants(const char *name)
{
	static const char *const ends[] = { ".wants", ".requires", ".upholds" };
	size_t n = strlen(name);

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t k = strlen(ends[i]);

		if (n > k && strcmp(name + n - k, ends[i]) == 0)
			return true;
	}
	return false;
}

static void dir_done(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int wants_stock(DIR *d, const char *unit, struct ign_undo *u, struct err *e)
{
	struct dirent *one;

	rewinddir(d);
	while ((one = readdir(d))) {
		char link[PATH_LEN];
		int n, r;

		if (!is_wants(one->d_name))
			continue;
		n = snprintf(link, sizeof(link), "%s/%s", one->d_name, unit);
		if (n < 0 || (size_t)n >= sizeof(link) ||
		    faccessat(dirfd(d), link, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		n = snprintf(link, sizeof(link), UNITS "/%s/%s", one->d_name, unit);
		if (n < 0 || (size_t)n >= sizeof(link))
			continue;
		r = ign_undo_add(u, link, false, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The links that `systemctl disable` may remove. */
static int disable_stock(const struct ign_root *root, const struct ign_preset *p,
			 struct ign_undo *u, struct err *e)
{
	__attribute__((cleanup(dir_done))) DIR *d = NULL;
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	int fd, r = ign_root_find(root, UNITS "/x", false, &s, e);

	if (r < 0 || s.dir < 0)
		return r;
	fd = fcntl(s.dir, F_DUPFD_CLOEXEC, 0);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d)
		return err_set(e, ERR_HOST, errno, "read '%s': %s", UNITS, strerror(errno));
	for (size_t i = 0; r == 0 && (i == 0 || i < p->instances); i++) {
		char unit[PATH_LEN];

		r = preset_unit(p, i, unit, e);
		if (r == 0)
			r = wants_stock(d, unit, u, e);
	}
	return r;
}

int ign_units_stock(const struct ign_root *root, const struct ign_step *s, struct ign_undo *u,
		    struct err *e)
{
	char path[PATH_LEN];
	int r = path_of(s, path, e);

	if (r == 0)
		r = ign_undo_add(u, path, s->kind == IGN_STEP_UNIT_MASK, e);
	if (r == 0 && s->kind == IGN_STEP_PRESET && !s->preset->enable)
		r = disable_stock(root, s->preset, u, e);
	return r;
}

/* --- acting --- */

static int mask(const char *path, struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	int r = ign_undo_find(u, path, true, &s, e);

	if (r == 0)
		r = ign_undo_clear(u, &s, e);
	if (r == 0 && symlinkat("/dev/null", s.dir, s.name) < 0)
		r = err_set(e, ERR_HOST, errno, "mask '%s': %s", path, strerror(errno));
	return r;
}

static int unmask(const char *path, struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	char target[16];
	ssize_t n;
	int r = ign_undo_find(u, path, false, &s, e);

	if (r < 0 || s.dir < 0)
		return r;
	n = readlinkat(s.dir, s.name, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	if (strcmp(target, "/dev/null") != 0)
		return 0;
	if (unlinkat(s.dir, s.name, 0) < 0)
		return err_set(e, ERR_HOST, errno, "unmask '%s': %s", path, strerror(errno));
	return 0;
}

static int disable(const struct ign_root *root, const struct ign_preset *p, struct err *e)
{
	bool in_root = strcmp(root->path, "/") != 0;

	for (size_t i = 0; i == 0 || i < p->instances; i++) {
		char unit[PATH_LEN];
		const char *argv[] = { "systemctl", "disable", unit, in_root ? "--root" : NULL,
				       root->path,  NULL };
		int r = preset_unit(p, i, unit, e);

		if (r == 0)
			r = spawn_check(argv, e);
		if (r < 0)
			return err_wrap(e, r, "disable '%s'", unit);
	}
	return 0;
}

int ign_units_step(const struct ign_root *root, const struct ign_step *s, struct ign_undo *u,
		   struct buf *presets, struct err *e)
{
	const char *text = s->kind == IGN_STEP_DROPIN ? s->dropin->contents : NULL;
	char path[PATH_LEN];
	int r = path_of(s, path, e);

	if (r < 0)
		return r;
	if (s->kind == IGN_STEP_UNIT)
		text = s->unit->contents;
	if (text)
		return ign_files_put(u, path, text, strlen(text), &unit_attr, e);
	if (s->kind == IGN_STEP_UNIT_MASK)
		return mask(path, u, e);
	if (s->kind == IGN_STEP_UNIT_UNMASK)
		return unmask(path, u, e);
	if (s->kind != IGN_STEP_PRESET)
		return err_set(e, ERR_BUG, EINVAL, "step %d is none of a unit", (int)s->kind);
	r = s->preset->enable ? 0 : disable(root, s->preset, e);
	return r < 0 ? r : buf_addf(presets, e, "%s\n", s->preset->line);
}

int ign_units_presets(const struct ign_root *root, const struct buf *presets, struct ign_undo *u,
		      struct err *e)
{
	AUTO_BUF text = { .max = PRESETS_MAX };
	AUTO_IGN_FD fd = -1;
	int r;

	if (presets->n == 0)
		return 0;
	r = ign_root_read_open(root, IGN_PRESET_FILE, &fd, e);
	while (r == 0 && fd >= 0) {
		ssize_t n;

		r = buf_reserve(&text, 4096, e);
		if (r < 0)
			break;
		n = read(fd, text.p + text.n, 4096);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			r = err_set(e, ERR_HOST, errno, "read '%s': %s", IGN_PRESET_FILE,
				    strerror(errno));
		text.n += n > 0 ? (size_t)n : 0;
	}
	if (r == 0)
		r = buf_add(&text, presets->p, presets->n, e);
	return r < 0 ? r : ign_files_put(u, IGN_PRESET_FILE, text.p, text.n, &unit_attr, e);
}
