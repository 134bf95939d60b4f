/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

enum { LINKS_MAX = 40, DEPTH_MAX = 512 };

static int open_beneath(int dir, const char *name, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.resolve = resolve | RESOLVE_NO_MAGICLINKS };
	long r;

	do
		r = syscall(SYS_openat2, dir, name, &how, sizeof(how));
	while (r < 0 && (errno == EINTR || errno == EAGAIN));
	return (int)r;
}

int ign_root_open(const char *path, struct ign_root *ret, struct err *e)
{
	AUTO_FREE char *real = realpath(path, NULL);
	int fd;

	if (!real || strlen(real) >= sizeof(ret->path))
		return err_set(e, ERR_INPUT, errno, "root '%s': %s", path, strerror(errno));
	fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, ERR_INPUT, errno, "root '%s': %s", path, strerror(errno));
	ret->fd = fd;
	(void)snprintf(ret->path, sizeof(ret->path), "%s", real);
	return 0;
}

void ign_root_done(struct ign_root *root)
{
	ign_fd_done(&root->fd);
	root->fd = -1;
}

void ign_spot_done(struct ign_spot *s)
{
	ign_fd_done(&s->dir);
	s->dir = -1;
}

/* --- walking --- */

struct walk {
	const struct ign_root *root;
	const char *asked; /* for sentences */
	int fd;
	char here[PATH_MAX]; /* "" is the root */
	char todo[PATH_MAX];
	unsigned links;
};

static void walk_done(struct walk *w)
{
	ign_fd_done(&w->fd);
	w->fd = -1;
}

static int walk_fail(const struct walk *w, int os, struct err *e)
{
	return err_set(e, ERR_HOST, os, "'%s': '%s': %s", w->asked, w->here[0] ? w->here : "/",
		       strerror(os));
}

/* To w->here, which holds no links. */
static int walk_jump(struct walk *w, struct err *e)
{
	int fd = open_beneath(w->root->fd, w->here[0] ? w->here : "/", O_RDONLY | O_DIRECTORY,
			      RESOLVE_IN_ROOT);

	if (fd < 0)
		return walk_fail(w, errno, e);
	walk_done(w);
	w->fd = fd;
	return 0;
}

static int walk_link(struct walk *w, const char *name, struct err *e)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n = readlinkat(w->fd, name, target, sizeof(target) - 1);
	int len;

	if (n < 0)
		return walk_fail(w, errno, e);
	target[n] = '\0';
	if (++w->links > LINKS_MAX)
		return err_set(e, ERR_HOST, ELOOP, "'%s': more than %d symbolic links lead there",
			       w->asked, LINKS_MAX);
	memcpy(rest, w->todo, sizeof(rest));
	len = snprintf(w->todo, sizeof(w->todo), "%s/%s", target, rest);
	if (len < 0 || (size_t)len >= sizeof(w->todo))
		return walk_fail(w, ENAMETOOLONG, e);
	if (target[0] != '/')
		return 0;
	w->here[0] = '\0';
	return walk_jump(w, e);
}

static int walk_up(struct walk *w, struct err *e)
{
	char *slash = strrchr(w->here, '/');

	if (!slash)
		return 0;
	*slash = '\0';
	return walk_jump(w, e);
}

static int walk_append(struct walk *w, const char *name, char out[PATH_MAX], struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", w->here, name);

	return n < 0 || n >= PATH_MAX ? walk_fail(w, ENAMETOOLONG, e) : 0;
}

static int walk_make(struct walk *w, const char *name, struct err *e)
{
	if (mkdirat(w->fd, name, 0755) < 0)
		return walk_fail(w, errno, e);
	/* whatever the umask is, a parent that we make can be entered */
	if (fchmodat(w->fd, name, 0755, 0) < 0)
		return walk_fail(w, errno, e);
	return 0;
}

static int walk_down(struct walk *w, const char *name, struct err *e)
{
	char next[PATH_MAX];
	int fd, r;

	r = walk_append(w, name, next, e);
	if (r < 0)
		return r;
	fd = open_beneath(w->fd, name, O_RDONLY | O_DIRECTORY,
			  RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	memcpy(w->here, next, sizeof(next));
	if (fd < 0)
		return walk_fail(w, errno, e);
	walk_done(w);
	w->fd = fd;
	return 0;
}

/* One component; 1 when it is missing and not made. */
static int walk_step(struct walk *w, const char *name, bool make, struct err *e)
{
	struct stat st;
	int r;

	if (name[0] == '\0' || strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0)
		return walk_up(w, e);
	if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return walk_fail(w, errno, e);
		if (!make)
			return 1;
		r = walk_make(w, name, e);
		return r < 0 ? r : walk_down(w, name, e);
	}
	return S_ISLNK(st.st_mode) ? walk_link(w, name, e) : walk_down(w, name, e);
}

/* Takes the first component of w->todo. */
static void walk_next(struct walk *w, char name[NAME_MAX + 1], bool *ret_too_long)
{
	size_t skip = strspn(w->todo, "/");
	size_t n = strcspn(w->todo + skip, "/");

	*ret_too_long = n > NAME_MAX;
	(void)snprintf(name, NAME_MAX + 1, "%.*s", (int)(n > NAME_MAX ? NAME_MAX : n),
		       w->todo + skip);
	memmove(w->todo, w->todo + skip + n, strlen(w->todo + skip + n) + 1);
}

static int path_append(const struct walk *w, char path[PATH_MAX], const char *name, struct err *e)
{
	size_t n = strlen(path);
	int len = snprintf(path + n, PATH_MAX - n, "/%s", name);

	return len < 0 || (size_t)len >= PATH_MAX - n ? walk_fail(w, ENAMETOOLONG, e) : 0;
}

/*
 * What is left to walk behind a directory that is missing is appended. ".." would lead back out of
 * it once it is made, to a place that nobody looked at.
 */
static int walk_rest(struct walk *w, const char *first, struct ign_spot *ret, struct err *e)
{
	char name[NAME_MAX + 1];
	bool too_long;
	int r = walk_append(w, first, ret->missing, e);

	if (r < 0)
		return r;
	memcpy(ret->path, ret->missing, sizeof(ret->path));
	while (r == 0 && w->todo[strspn(w->todo, "/")]) {
		walk_next(w, name, &too_long);
		if (too_long)
			return walk_fail(w, ENAMETOOLONG, e);
		if (strcmp(name, "..") == 0)
			return err_set(e, ERR_HOST, ENOENT,
				       "'%s': '%s' is missing, and the way leads through it",
				       w->asked, ret->missing);
		r = strcmp(name, ".") == 0 ? 0 : path_append(w, ret->path, name, e);
	}
	return r < 0 ? r : path_append(w, ret->path, ret->name, e);
}

static int walk_all(struct walk *w, bool make, struct ign_spot *ret, struct err *e)
{
	char name[NAME_MAX + 1];
	bool too_long;

	while (w->todo[strspn(w->todo, "/")]) {
		int r;

		walk_next(w, name, &too_long);
		if (too_long)
			return walk_fail(w, ENAMETOOLONG, e);
		r = walk_step(w, name, make, e);
		if (r < 0)
			return r;
		if (r > 0)
			return walk_rest(w, name, ret, e);
	}
	ret->missing[0] = '\0';
	ret->dir = w->fd;
	w->fd = -1;
	if (strcmp(ret->name, ".") == 0) {
		(void)snprintf(ret->path, sizeof(ret->path), "/");
		return 0;
	}
	return walk_append(w, ret->name, ret->path, e);
}

/* The last name of an absolute path into ret->name, the way to it into w->todo. */
static int walk_split(struct walk *w, const char *path, struct ign_spot *ret, struct err *e)
{
	size_t end = strlen(path), from;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (from = end; from > 0 && path[from - 1] != '/';)
		from--;
	if (path[0] != '/')
		return err_set(e, ERR_INPUT, EINVAL, "'%.200s' is no absolute path", path);
	if (end >= PATH_MAX || end - from > NAME_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "'%.200s' is too long for a path", path);
	(void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)(end - from), path + from);
	if (strcmp(ret->name, ".") == 0 || strcmp(ret->name, "..") == 0)
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%.200s' ends in '%s': the place must be named itself", path,
			       ret->name);
	if (end == 0)
		(void)snprintf(ret->name, sizeof(ret->name), ".");
	(void)snprintf(w->todo, sizeof(w->todo), "%.*s", (int)from, path);
	return 0;
}

int ign_root_find(const struct ign_root *root, const char *path, bool make, struct ign_spot *ret,
		  struct err *e)
{
	__attribute__((
		cleanup(walk_done))) struct walk w = { .root = root, .asked = path, .fd = -1 };
	int r;

	ign_spot_done(ret);
	r = walk_split(&w, path, ret, e);
	if (r == 0)
		r = walk_jump(&w, e);
	if (r == 0)
		r = walk_all(&w, make, ret, e);
	if (r < 0)
		ign_spot_done(ret);
	return r;
}

int ign_spot_stat(const struct ign_spot *s, struct stat *ret, struct err *e)
{
	if (s->dir < 0)
		return 0;
	if (fstatat(s->dir, s->name, ret, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	if (errno == ENOENT)
		return 0;
	return err_set(e, ERR_HOST, errno, "'%s': %s", s->path, strerror(errno));
}

int ign_root_read_open(const struct ign_root *root, const char *path, int *ret, struct err *e)
{
	struct stat st;
	int fd = open_beneath(root->fd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, RESOLVE_IN_ROOT);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		*ret = -1;
		return 0;
	}
	if (fd < 0)
		return err_set(e, ERR_HOST, errno, "read '%s': %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return err_set(e, ERR_HOST, EINVAL, "read '%s': it is no regular file", path);
	}
	*ret = fd;
	return 0;
}

/* --- removing --- */

/* A stack of open directories stands for the recursion: at most DEPTH_MAX of them. */
struct sweep {
	DIR *dir[DEPTH_MAX];
	char name[DEPTH_MAX][NAME_MAX + 1]; /* of dir[i] in dir[i - 1], or in the first directory */
	size_t n;
	const char *path;
};

static void sweep_free(struct sweep *s)
{
	if (!s)
		return;
	while (s->n > 0)
		(void)closedir(s->dir[--s->n]);
	free(s);
}
DEFINE_FREEP(sweep)

static int sweep_fail(const struct sweep *s, int os, struct err *e)
{
	if (os == EXDEV || os == EBUSY)
		return err_set(e, ERR_HOST, os,
			       "remove '%s': something is mounted there; unmount it first or "
			       "leave the path out of the config",
			       s->path);
	return err_set(e, ERR_HOST, os, "remove '%s': %s", s->path, strerror(os));
}

static int sweep_enter(struct sweep *s, int dir, const char *name, struct err *e)
{
	int fd;

	if (s->n == DEPTH_MAX)
		return sweep_fail(s, ELOOP, e);
	fd = open_beneath(dir, name, O_RDONLY | O_DIRECTORY,
			  RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
	if (fd < 0)
		return sweep_fail(s, errno, e);
	s->dir[s->n] = fdopendir(fd);
	if (!s->dir[s->n]) {
		(void)close(fd);
		return sweep_fail(s, ENOMEM, e);
	}
	(void)snprintf(s->name[s->n], sizeof(s->name[0]), "%s", name);
	s->n++;
	return 0;
}

/* One name in the deepest directory, or that directory itself when it is empty. */
static int sweep_one(struct sweep *s, int first, struct err *e)
{
	int dir = dirfd(s->dir[s->n - 1]), above = first;
	struct dirent *d = NULL;

	errno = 0;
	do
		d = readdir(s->dir[s->n - 1]);
	while (d && (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0));
	if (!d && errno)
		return sweep_fail(s, errno, e);
	if (d) {
		if (unlinkat(dir, d->d_name, 0) == 0 || errno == ENOENT)
			return 0;
		if (errno != EISDIR && errno != EPERM)
			return sweep_fail(s, errno, e);
		return sweep_enter(s, dir, d->d_name, e);
	}
	(void)closedir(s->dir[--s->n]);
	if (s->n > 0)
		above = dirfd(s->dir[s->n - 1]);
	if (unlinkat(above, s->name[s->n], AT_REMOVEDIR) < 0 && errno != ENOENT)
		return sweep_fail(s, errno, e);
	return 0;
}

int ign_root_remove(int dir, const char *name, const char *path, struct err *e)
{
	__attribute__((cleanup(sweep_freep))) struct sweep *s = NULL;
	int r;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_set(e, ERR_HOST, errno, "remove '%s': %s", path, strerror(errno));
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	s->path = path;
	r = sweep_enter(s, dir, name, e);
	while (r == 0 && s->n > 0)
		r = sweep_one(s, dir, e);
	return r;
}
