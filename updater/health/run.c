/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/health/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/progress.h"
#include "base/spawn.h"

#define CHECK_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *dir_of(bool etc)
{
	return etc ? "/etc/proa/health" : "/usr/lib/proa/health";
}

static const char *kind_of(bool required)
{
	return required ? "required.d" : "wanted.d";
}

static void dir_closep(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static enum health_file_kind look(DIR *d, const char *name)
{
	struct stat st;
	bool dev_null;

	if (fstatat(dirfd(d), name, &st, 0) < 0)
		return health_file_kind(name, 0, false);
	dev_null = S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
	return health_file_kind(name, st.st_mode, dev_null);
}

struct files {
	struct health_file *file;
	size_t n, cap;
};

static int add_file(struct files *f, const char *name, bool etc, enum health_file_kind kind,
		    struct err *e)
{
	if (kind == HEALTH_FILE_OTHER)
		return 0;
	if (f->n == f->cap)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d health checks in %s",
			       HEALTH_CHECKS_MAX, dir_of(etc));
	f->file[f->n] = (struct health_file){ .etc = etc, .kind = kind };
	(void)snprintf(f->file[f->n].name, HEALTH_NAME_MAX, "%s", name);
	f->n++;
	return 0;
}

static int read_dir(const char *root, bool required, bool etc, struct files *f, struct err *e)
{
	CLEANUP(dir_closep) DIR *d = NULL;
	char path[PATH_MAX];
	struct dirent *de;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s%s/%s", root, dir_of(etc), kind_of(required));
	d = opendir(path);
	if (!d && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (!d)
		return err_set(e, ERR_HOST, errno, "%s: %s", path, strerror(errno));
	for (errno = 0; r == 0 && (de = readdir(d)) != NULL; errno = 0)
		r = add_file(f, de->d_name, etc, look(d, de->d_name), e);
	if (r == 0 && errno)
		return err_set(e, ERR_HOST, errno, "%s: %s", path, strerror(errno));
	return r;
}

int health_find(const char *root, struct health_check check[HEALTH_CHECKS_MAX], size_t *ret_n,
		struct err *e)
{
	enum { BOTH = 2 * HEALTH_CHECKS_MAX };
	AUTO_FREE struct health_file *file = calloc(BOTH, sizeof(*file));
	size_t n = 0;
	int r = 0;

	if (!file)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (int wanted = 0; r == 0 && wanted < 2; wanted++) {
		struct files f = { .file = file, .cap = BOTH };

		r = read_dir(root, !wanted, false, &f, e);
		if (r == 0)
			r = read_dir(root, !wanted, true, &f, e);
		if (r == 0)
			r = health_merge(f.file, f.n, !wanted, check, &n, e);
	}
	if (r == 0)
		*ret_n = n;
	return r;
}

static void run_one(const struct health_run *h, struct health_check *c, uint64_t ms,
		    struct buf *out)
{
	char path[PATH_MAX], version[128];
	const char *argv[] = { path, NULL };
	const char *envp[] = { CHECK_PATH, "LANG=C.UTF-8", version, NULL };
	struct spawn s = { .argv = argv,
			   .envp = envp,
			   .deadline_ms = ms,
			   .out = out,
			   .out_max = HEALTH_OUTPUT_MAX };
	struct spawn_result res = { .end = SPAWN_EXIT, .code = 127 };
	struct err e = ERR_INIT;

	(void)snprintf(path, sizeof(path), "%s%s/%s/%s", h->root, dir_of(c->etc),
		       kind_of(c->required), c->name);
	(void)snprintf(version, sizeof(version), "PROA_VERSION=%s", h->version);
	if (spawn_run(&s, &res, &e) < 0) {
		c->end = HEALTH_FAILED;
		c->code = 127;
		health_last_line(e.text, strlen(e.text), c->last);
		return;
	}
	c->code = res.code;
	c->by_signal = res.end == SPAWN_SIGNAL;
	if (res.end == SPAWN_TIMEOUT)
		c->end = HEALTH_LATE;
	else
		c->end = res.end == SPAWN_EXIT && res.code == 0 ? HEALTH_PASSED : HEALTH_FAILED;
	if (out->n)
		health_last_line(out->p, out->n, c->last);
}

void health_run(const struct health_run *h, struct health_check *check, size_t n)
{
	uint64_t end = clock_mono_ms() + h->deadline_ms;

	for (size_t i = 0; i < n; i++) {
		AUTO_BUF out = BUF_INIT;
		uint64_t now = clock_mono_ms();

		check[i].end = health_turn(check, i, now < end);
		if (check[i].end == HEALTH_WAITING)
			run_one(h, &check[i], end - now, &out);
		if (h->ended)
			h->ended(h->arg, &check[i], out.p ? out.p : "", out.n);
	}
}
