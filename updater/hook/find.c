/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/hook/find.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

static bool others_write(mode_t mode, uid_t owner, uid_t own)
{
	return (mode & (S_IWGRP | S_IWOTH)) != 0 || (owner != 0 && owner != own);
}

enum hook_verdict hook_judge(mode_t mode, uid_t owner, uid_t own)
{
	if (!S_ISREG(mode) || (mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
		return HOOK_SKIP;
	return others_write(mode, owner, own) ? HOOK_REFUSE : HOOK_RUN;
}

static void dir_closep(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

struct found {
	struct hook_file *file;
	bool run[HOOK_FILES_MAX]; /* else it only hides others of its name */
	size_t n;
};

static int refuse(const char *dir, const char *name, struct err *e)
{
	char clean[HOOK_NAME_MAX];

	return err_set(e, ERR_REFUSED, EPERM,
		       "%s%s%s can be changed by others than root: no hook is run (chmod go-w)",
		       dir, name[0] ? "/" : "",
		       text_clean(name, strlen(name), clean, sizeof(clean)));
}

static int take(struct found *f, const char *dir, const char *name, const struct stat *st,
		struct err *e)
{
	enum hook_verdict v = hook_judge(st->st_mode, st->st_uid, geteuid());

	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->file[i].name, name) == 0)
			return 0;
	if (v == HOOK_REFUSE)
		return refuse(dir, name, e);
	if (f->n == HOOK_FILES_MAX || strlen(name) >= HOOK_NAME_MAX)
		return err_set(e, ERR_INPUT, E2BIG,
			       "%s: more than %u hooks, or a name of more than %u bytes", dir,
			       HOOK_FILES_MAX, HOOK_NAME_MAX - 1);
	(void)snprintf(f->file[f->n].dir, sizeof(f->file[f->n].dir), "%s", dir);
	(void)snprintf(f->file[f->n].name, sizeof(f->file[f->n].name), "%s", name);
	f->run[f->n++] = v == HOOK_RUN;
	return 0;
}

static int read_dir(struct found *f, const char *dir, struct err *e)
{
	CLEANUP(dir_closep) DIR *d = opendir(dir);
	struct dirent *de;
	struct stat st;
	int r = 0;

	if (!d && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (!d || fstat(dirfd(d), &st) < 0)
		return err_set(e, ERR_HOST, errno, "%s: %s", dir, strerror(errno));
	if (others_write(st.st_mode, st.st_uid, geteuid()))
		return refuse(dir, "", e);
	for (errno = 0; r == 0 && (de = readdir(d)) != NULL; errno = 0) {
		size_t n = strlen(de->d_name);

		/* hidden, and what editors and package managers leave */
		if (de->d_name[0] == '.' || de->d_name[n - 1] == '~')
			continue;
		if (fstatat(dirfd(d), de->d_name, &st, 0) < 0)
			st = (struct stat){ .st_mode = 0 }; /* a dangling link masks too */
		r = take(f, dir, de->d_name, &st, e);
	}
	if (r == 0 && errno)
		return err_set(e, ERR_HOST, errno, "%s: %s", dir, strerror(errno));
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct hook_file *)a)->name, ((const struct hook_file *)b)->name);
}

int hook_find(const char *dirs, enum hook_stage stage, struct hook_file file[HOOK_FILES_MAX],
	      size_t *ret_n, struct err *e)
{
	struct found f = { .file = file };
	char dir[HOOK_DIRS_MAX];
	size_t n = 0;

	for (const char *p = dirs; *p;) {
		size_t len = strcspn(p, " ");
		int k = snprintf(dir, sizeof(dir), "%.*s/%s.d", (int)len, p,
				 hook_stage_name(stage));
		int r;

		if (k < 0 || (size_t)k >= sizeof(dir))
			return err_set(e, ERR_INPUT, ENAMETOOLONG, "%.200s: too long", p);
		r = read_dir(&f, dir, e);
		if (r < 0)
			return r;
		p += len;
		p += *p == ' ';
	}
	for (size_t i = 0; i < f.n; i++)
		if (f.run[i] && n++ != i)
			file[n - 1] = file[i];
	qsort(file, n, sizeof(*file), by_name);
	*ret_n = n;
	return 0;
}
