/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ignition-lite/names.h"

enum { MODE_DIR = 0755, MODE_FILE = 0644, COPY_PIECE = 1 << 20 };

static int fail(const char *verb, const char *path, struct err *e)
{
	return err_set(e, ERR_HOST, errno, "%s '%s': %s", verb, path, strerror(errno));
}

/* Who owns it: what the config says, else what is there (was, root when it is new). */
static int owner(const struct ign_root *root, const struct ign_node *n, uint32_t *uid,
		 uint32_t *gid, struct err *e)
{
	struct ign_account a;
	int r = 1;

	if (n->user.has_id)
		*uid = n->user.id;
	if (n->group.has_id)
		*gid = n->group.id;
	if (n->user.name) {
		r = ign_name_user(root, n->user.name, &a, e);
		if (r > 0)
			*uid = a.uid;
	}
	if (r == 0)
		return err_set(
			e, ERR_INPUT, ENOENT,
			"'%s': there is no user '%s' on this system; name one that the image "
			"or the config has, or give user.id",
			n->path, n->user.name);
	if (r > 0 && n->group.name)
		r = ign_name_group(root, n->group.name, gid, e);
	if (r == 0)
		return err_set(e, ERR_INPUT, ENOENT,
			       "'%s': there is no group '%s' on this system; name one that the "
			       "image or the config has, or give group.id",
			       n->path, n->group.name);
	return r < 0 ? r : 0;
}

static bool names_owner(const struct ign_node *n)
{
	return n->user.has_id || n->user.name || n->group.has_id || n->group.name;
}

static int in_the_way(const char *path, const char *what, struct err *e)
{
	return err_set(e, ERR_INPUT, EEXIST,
		       "'%s': %s exists there already and overwrite is not true", path, what);
}

/* Where it goes, its directories made: 1 and *st when something is there, else 0. */
static int look(const struct ign_place *p, const struct ign_node *n, struct ign_spot *s,
		struct stat *st, struct err *e)
{
	int r = ign_undo_find(p->undo, n->path, true, s, e);

	return r < 0 ? r : ign_spot_stat(s, st, e);
}

/* --- directories --- */

static int dir_set(const struct ign_place *p, const struct ign_directory *d,
		   const struct ign_spot *s, const struct stat *st, struct err *e)
{
	uint32_t uid = st ? st->st_uid : 0, gid = st ? st->st_gid : 0;
	mode_t mode = d->mode >= 0 ? (mode_t)d->mode : st ? st->st_mode & 07777 : MODE_DIR;
	int r = owner(p->root, &d->node, &uid, &gid, e);

	if (r < 0)
		return r;
	if (fchownat(s->dir, s->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return fail("own", s->path, e);
	if (fchmodat(s->dir, s->name, mode, 0) < 0)
		return fail("set the mode of", s->path, e);
	return 0;
}

int ign_files_directory(const struct ign_place *p, const struct ign_directory *d, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st;
	int there = look(p, &d->node, &s, &st, e), r;

	if (there < 0)
		return there;
	if (there > 0 && d->node.overwrite == IGN_YES) {
		if (strcmp(s.path, "/") == 0)
			return err_set(e, ERR_INPUT, EBUSY, "'/' cannot be overwritten");
		r = ign_undo_clear(p->undo, &s, e);
		if (r < 0)
			return r;
		there = 0;
	}
	if (there > 0 && !S_ISDIR(st.st_mode))
		return in_the_way(d->node.path, "something that is no directory", e);
	if (there == 0 && mkdirat(s.dir, s.name, 0700) < 0)
		return fail("make", s.path, e);
	return dir_set(p, d, &s, there > 0 ? &st : NULL, e);
}

/* --- files --- */

static int put_all(int fd, const char *text, size_t n, const char *path, struct err *e)
{
	while (n > 0) {
		ssize_t w = write(fd, text, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return fail("write", path, e);
		text += w;
		n -= (size_t)w;
	}
	return 0;
}

static int tmp_open(const struct ign_spot *s, int *ret, struct err *e)
{
	int fd;

	if (unlinkat(s->dir, IGN_TMP, 0) < 0 && errno != ENOENT)
		return fail("write", s->path, e);
	fd = openat(s->dir, IGN_TMP, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail("write", s->path, e);
	*ret = fd;
	return 0;
}

static int tmp_place(const struct ign_spot *s, int fd, mode_t mode, uint32_t uid, uint32_t gid,
		     struct err *e)
{
	int r = 0;

	/* chown clears the set-id bits, so the mode comes last */
	if (fchown(fd, uid, gid) < 0)
		r = fail("own", s->path, e);
	else if (fchmod(fd, mode) < 0)
		r = fail("set the mode of", s->path, e);
	else if (renameat(s->dir, IGN_TMP, s->dir, s->name) < 0)
		r = fail("write", s->path, e);
	if (r < 0)
		(void)unlinkat(s->dir, IGN_TMP, 0);
	return r;
}

static int tmp_copy(const struct ign_spot *s, int to, struct err *e)
{
	AUTO_IGN_FD from = openat(s->dir, s->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char chunk[16384];
	int r;

	if (from < 0)
		return fail("read", s->path, e);
	for (;;) {
		ssize_t n = read(from, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail("read", s->path, e);
		if (n == 0)
			return 0;
		r = put_all(to, chunk, (size_t)n, s->path, e);
		if (r < 0)
			return r;
	}
}

/* old: what is there and is kept below what is appended, or NULL. */
static int file_write(const struct ign_place *p, const struct ign_file *f, const struct ign_spot *s,
		      const struct stat *old, size_t blob, struct err *e)
{
	uint32_t uid = old ? old->st_uid : 0, gid = old ? old->st_gid : 0;
	mode_t mode = f->mode >= 0 ? (mode_t)f->mode : old ? old->st_mode & 07777 : MODE_FILE;
	size_t blobs = f->appends + (f->contents.source != NULL);
	AUTO_IGN_FD fd = -1;
	int r = owner(p->root, &f->node, &uid, &gid, e);

	if (r == 0)
		r = tmp_open(s, &fd, e);
	if (r < 0)
		return r;
	if (old)
		r = tmp_copy(s, fd, e);
	for (size_t i = 0; r == 0 && i < blobs; i++)
		r = ign_store_write(p->store, blob + i, fd, s->path, e);
	if (r < 0) {
		(void)unlinkat(s->dir, IGN_TMP, 0);
		return r;
	}
	return tmp_place(s, fd, mode, uid, gid, e);
}

static int file_set(const struct ign_place *p, const struct ign_file *f, const struct ign_spot *s,
		    const struct stat *st, struct err *e)
{
	uint32_t uid = st->st_uid, gid = st->st_gid;
	mode_t mode = f->mode >= 0 ? (mode_t)f->mode : st->st_mode & 07777;
	int r = owner(p->root, &f->node, &uid, &gid, e);

	if (r < 0)
		return r;
	if (fchownat(s->dir, s->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return fail("own", s->path, e);
	if (fchmodat(s->dir, s->name, mode, 0) < 0)
		return fail("set the mode of", s->path, e);
	return 0;
}

int ign_files_file(const struct ign_place *p, const struct ign_file *f, size_t first_blob,
		   struct err *e)
{
	bool source = f->contents.source != NULL;
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st;
	int there = look(p, &f->node, &s, &st, e), r;

	if (there < 0)
		return there;
	if (there > 0 && source && f->node.overwrite == IGN_YES) {
		/* a file is replaced by the rename: its name never dangles */
		r = S_ISREG(st.st_mode) ? 0 : ign_undo_clear(p->undo, &s, e);
		if (r < 0)
			return r;
		there = 0;
	}
	if (there == 0)
		return file_write(p, f, &s, NULL, first_blob, e);
	if (source)
		return in_the_way(f->node.path, "a file", e);
	if (!S_ISREG(st.st_mode))
		return in_the_way(f->node.path, "something that is no regular file", e);
	if (f->appends == 0)
		return file_set(p, f, &s, &st, e);
	return file_write(p, f, &s, &st, first_blob, e);
}

/* --- links --- */

static void clean_copy(const char *path, char out[PATH_MAX])
{
	size_t n = 0;

	/* as far as it matters for comparing: doubled and trailing slashes, "./" */
	for (const char *c = path; *c && n < PATH_MAX - 1; c++) {
		bool begins = n == 0 || out[n - 1] == '/';

		if (*c == '/' && n > 0 && out[n - 1] == '/')
			continue;
		if (*c == '.' && begins && (c[1] == '/' || c[1] == '\0') && (n > 0 || c[1])) {
			c += c[1] == '/';
			continue;
		}
		out[n++] = *c;
	}
	while (n > 1 && out[n - 1] == '/')
		n--;
	out[n] = '\0';
}

/* Is the link there already? */
static int link_same(const struct ign_link *l, const struct ign_spot *s, const struct stat *st,
		     const struct ign_spot *target, struct err *e)
{
	char got[PATH_MAX], a[PATH_MAX], b[PATH_MAX];
	struct stat to;
	ssize_t n;
	int r;

	if (l->hard) {
		r = ign_spot_stat(target, &to, e);
		if (r <= 0)
			return r;
		return st->st_dev == to.st_dev && st->st_ino == to.st_ino;
	}
	if (!S_ISLNK(st->st_mode))
		return 0;
	n = readlinkat(s->dir, s->name, got, sizeof(got) - 1);
	if (n < 0)
		return fail("read", s->path, e);
	got[n] = '\0';
	clean_copy(got, a);
	clean_copy(l->target, b);
	return strcmp(a, b) == 0;
}

static int link_make(const struct ign_link *l, const struct ign_spot *s,
		     const struct ign_spot *target, struct err *e)
{
	if (!l->hard)
		return symlinkat(l->target, s->dir, s->name) < 0 ? fail("link", s->path, e) : 0;
	if (target->dir < 0 || linkat(target->dir, target->name, s->dir, s->name, 0) < 0) {
		if (target->dir < 0)
			errno = ENOENT;
		return err_set(e, ERR_INPUT, errno, "hard link '%s' to '%s': %s", s->path,
			       l->target, strerror(errno));
	}
	return 0;
}

static int link_own(const struct ign_place *p, const struct ign_link *l, const struct ign_spot *s,
		    struct err *e)
{
	struct stat st;
	uint32_t uid, gid;
	int r = ign_spot_stat(s, &st, e);

	/* a hard link is its target's, whatever owner it names: so does Ignition */
	if (r <= 0 || l->hard || !names_owner(&l->node))
		return r < 0 ? r : 0;
	uid = st.st_uid;
	gid = st.st_gid;
	r = owner(p->root, &l->node, &uid, &gid, e);
	if (r < 0)
		return r;
	return fchownat(s->dir, s->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0
		       ? fail("own", s->path, e)
		       : 0;
}

int ign_files_link(const struct ign_place *p, const struct ign_link *l, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	AUTO_IGN_SPOT target = IGN_SPOT_INIT;
	struct stat st;
	int there, same = 0, r;

	r = ign_undo_find(p->undo, l->node.path, true, &s, e);
	if (r == 0 && l->hard)
		r = ign_root_find(p->root, l->target, false, &target, e);
	if (r < 0)
		return r;
	there = ign_spot_stat(&s, &st, e);
	if (there > 0)
		same = link_same(l, &s, &st, &target, e);
	if (there < 0 || same < 0)
		return there < 0 ? there : same;
	if (there > 0 && !same) {
		if (l->node.overwrite != IGN_YES)
			return in_the_way(l->node.path, "something else", e);
		r = ign_undo_clear(p->undo, &s, e);
		if (r < 0)
			return r;
	}
	r = same ? 0 : link_make(l, &s, &target, e);
	return r < 0 ? r : link_own(p, l, &s, e);
}

/* --- texts of our own --- */

int ign_files_put(struct ign_undo *u, const char *path, const char *text, size_t n,
		  const struct ign_attr *a, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	AUTO_IGN_FD fd = -1;
	int r = ign_undo_find(u, path, true, &s, e);

	if (r == 0)
		r = tmp_open(&s, &fd, e);
	if (r < 0)
		return r;
	r = put_all(fd, text, n, s.path, e);
	if (r == 0)
		return tmp_place(&s, fd, a->mode, a->uid, a->gid, e);
	(void)unlinkat(s.dir, IGN_TMP, 0);
	return r;
}
