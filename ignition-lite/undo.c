/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/undo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/sys.h"
#include "ignition-lite/mount.h"

enum { LOG_MAX = 64 << 20, ENTRIES_MAX = 1 << 20, RUN_BYTES = 16, NAME_LEN = 48 };

enum undo_kind {
	UNDO_NEW,
	UNDO_KEEP,
	UNDO_LINK,
	UNDO_DISPLACE,
	UNDO_META,
	UNDO_MOVE,
	UNDO_KINDS,
};

static const char *const kind_name[UNDO_KINDS] = {
	"new", "keep", "link", "displace", "meta", "move"
};

struct entry {
	enum undo_kind kind;
	char *path;
	char *from; /* UNDO_MOVE: its path; UNDO_LINK: the target */
	uint32_t mode, uid, gid;
	unsigned stage; /* how many of the mounts were there when it was found */
	bool aside;     /* UNDO_DISPLACE: in this run */
};

struct ign_undo {
	struct ign_root root;
	char run[IGN_RUN_TEXT];
	struct entry *entry;
	size_t n, cap;
	const struct entry **sorted; /* by path, from ign_undo_begin() on */
	bool spread;                 /* over more than the root's own file system */
	struct ign_mounts mounts;
	unsigned stage; /* of what is added */
	size_t kept;    /* entries whose hard links are made */
	bool begun;     /* there is a log */
};

void ign_undo_free(struct ign_undo *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->n; i++) {
		free(u->entry[i].path);
		free(u->entry[i].from);
	}
	free(u->sorted);
	free(u->entry);
	ign_mounts_done(&u->mounts);
	ign_root_done(&u->root);
	free(u);
}

int ign_undo_new(const struct ign_root *root, struct ign_undo **ret, struct err *e)
{
	AUTO_IGN_UNDO *u = calloc(1, sizeof(*u));
	uint8_t run[RUN_BYTES];
	int r;

	if (!u)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	u->root.fd = -1;
	r = ign_root_open(root->path, &u->root, e);
	if (r < 0)
		return r;
	random_bytes(run, sizeof(run));
	hex_format(run, sizeof(run), u->run);
	*ret = TAKE(u);
	return 0;
}

const char *ign_undo_run(const struct ign_undo *u)
{
	return u->run;
}

/* --- taking stock --- */

static int entry_add(struct ign_undo *u, const struct entry *like, struct err *e)
{
	struct entry *slot, *more;

	if (u->n == ENTRIES_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d paths are touched", ENTRIES_MAX);
	more = array_room(u->entry, u->n, &u->cap, sizeof(*more));
	if (!more)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	u->entry = more;
	slot = &u->entry[u->n];
	*slot = *like;
	slot->stage = u->stage;
	slot->path = strdup(like->path);
	slot->from = like->from ? strdup(like->from) : NULL;
	u->n++; /* from here ign_undo_free() frees it */
	if (!slot->path || (like->from && !slot->from))
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return 0;
}

static bool is_below(const char *path, const char *top)
{
	size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(path, top, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

int ign_undo_below(const struct ign_root *root, const char *path, struct err *e)
{
	AUTO_IGN_SPOT log = IGN_SPOT_INIT;
	int r = ign_root_find(root, IGN_UNDO_LOG, false, &log, e);

	/* both where it is and, when /etc is a link, the link that leads there */
	return r < 0 ? r : is_below(log.path, path) || is_below(IGN_UNDO_LOG, path);
}

static int check_overwrite(const struct ign_undo *u, const struct ign_spot *s, struct err *e)
{
	int r = ign_undo_below(&u->root, s->path, e);

	if (r <= 0)
		return r;
	return err_set(e, ERR_REFUSED, EBUSY,
		       "'%s' cannot be overwritten: the log and the stamp of ignition-lite would "
		       "go with it; overwrite what is in it by its own path",
		       s->path);
}

static bool spot_is_elsewhere(const struct ign_undo *u, const struct ign_spot *s)
{
	struct stat a, b;

	return fstat(u->root.fd, &a) < 0 || fstat(s->dir, &b) < 0 || a.st_dev != b.st_dev;
}

static int add_link(struct ign_undo *u, const struct entry *en, const struct ign_spot *s,
		    struct err *e)
{
	struct entry copy;
	char target[PATH_MAX];
	ssize_t n = readlinkat(s->dir, s->name, target, sizeof(target) - 1);

	if (n < 0)
		return err_set(e, ERR_HOST, errno, "read '%s': %s", s->path, strerror(errno));
	target[n] = '\0';
	copy = *en;
	copy.kind = UNDO_LINK;
	copy.from = target;
	return entry_add(u, &copy, e);
}

static int add(struct ign_undo *u, const char *path, bool meta, bool overwrite, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct entry en = { .path = s.path };
	struct stat st = { .st_mode = 0 };
	int r = ign_root_find(&u->root, path, false, &s, e);

	if (r < 0)
		return r;
	if (s.dir >= 0 && spot_is_elsewhere(u, &s))
		u->spread = true;
	r = ign_spot_stat(&s, &st, e);
	if (r < 0)
		return r;
	if (r == 0) {
		/* a directory that is missing above it is what goes again */
		if (s.missing[0])
			en.path = s.missing;
		return entry_add(u, &en, e);
	}
	en.mode = st.st_mode & 07777;
	en.uid = st.st_uid;
	en.gid = st.st_gid;
	if (strcmp(s.name, ".") == 0)
		overwrite = false; /* the root itself stays, whoever asks */
	r = overwrite ? check_overwrite(u, &s, e) : 0;
	if (r < 0)
		return r;
	if (S_ISLNK(st.st_mode))
		return add_link(u, &en, &s, e);
	if (!S_ISDIR(st.st_mode)) {
		en.kind = UNDO_KEEP;
		r = entry_add(u, &en, e);
		if (r < 0 || !meta)
			return r;
	}
	/* also of a directory that stands in the way: the step will say so itself */
	en.kind = overwrite && S_ISDIR(st.st_mode) ? UNDO_DISPLACE : UNDO_META;
	return entry_add(u, &en, e);
}

int ign_undo_add(struct ign_undo *u, const char *path, bool overwrite, struct err *e)
{
	return add(u, path, false, overwrite, e);
}

int ign_undo_add_meta(struct ign_undo *u, const char *path, struct err *e)
{
	return add(u, path, true, false, e);
}

static void dir_done(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

/* Owner and mode of what is at path, and the target of a link; nothing when there is nothing. */
static int add_owner(struct ign_undo *u, const char *path, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct entry en = { .kind = UNDO_META, .path = s.path };
	struct stat st = { .st_mode = 0 };
	int r = ign_root_find(&u->root, path, false, &s, e);

	if (r == 0)
		r = ign_spot_stat(&s, &st, e);
	if (r <= 0)
		return r;
	en.mode = st.st_mode & 07777;
	en.uid = st.st_uid;
	en.gid = st.st_gid;
	if (S_ISLNK(st.st_mode))
		return add_link(u, &en, &s, e);
	return entry_add(u, &en, e);
}

/* What is in the directory of an entry becomes entries; no directory is no error. */
static int add_below(struct ign_undo *u, const char *path, struct err *e)
{
	__attribute__((cleanup(dir_done))) DIR *d = NULL;
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct dirent *one;
	int fd, r = ign_root_find(&u->root, path, false, &s, e);

	if (r < 0 || s.dir < 0)
		return r;
	fd = openat(s.dir, s.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR || errno == ENOENT || errno == ELOOP
			       ? 0
			       : err_set(e, ERR_HOST, errno, "read '%s': %s", path,
					 strerror(errno));
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	while (r == 0 && (one = readdir(d))) {
		char child[PATH_MAX];
		int n = snprintf(child, sizeof(child), "%s/%s", path, one->d_name);

		if (strcmp(one->d_name, ".") == 0 || strcmp(one->d_name, "..") == 0)
			continue;
		if (n < 0 || n >= PATH_MAX)
			return err_set(e, ERR_HOST, ENAMETOOLONG, "'%.200s' is too deep", path);
		r = add_owner(u, child, e);
	}
	return r;
}

int ign_undo_add_tree(struct ign_undo *u, const char *path, struct err *e)
{
	size_t i = u->n;
	int r = add_owner(u, path, e);

	/* the entries are the queue: each is looked into, and what it holds comes behind */
	for (; r == 0 && i < u->n; i++) {
		AUTO_FREE char *at = strdup(u->entry[i].path);

		r = at ? add_below(u, at, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	return r;
}

int ign_undo_add_move(struct ign_undo *u, const char *from, const char *to, struct err *e)
{
	char *f = strdup(from), *t = strdup(to);
	struct entry en = { .kind = UNDO_MOVE, .path = t, .from = f };
	int r = f && t ? entry_add(u, &en, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	free(f);
	free(t);
	return r;
}

/* --- the log --- */

static int entry_write(const struct entry *en, json_t *list, struct err *e)
{
	AUTO_JSON *o = json_object();
	int r = json_put_str(o, "kind", kind_name[en->kind], e);

	if (r == 0)
		r = json_put_str(o, "path", en->path, e);
	if (r == 0 && en->from)
		r = json_put_str(o, "from", en->from, e);
	if (r == 0)
		r = json_put_u64(o, "mode", en->mode, e);
	if (r == 0)
		r = json_put_u64(o, "uid", en->uid, e);
	if (r == 0)
		r = json_put_u64(o, "gid", en->gid, e);
	if (r == 0 && en->stage > 0)
		r = json_put_u64(o, "stage", en->stage, e);
	return r < 0 ? r : json_push(list, TAKE(o), e);
}

static int log_text(const struct ign_undo *u, struct buf *b, struct err *e)
{
	AUTO_JSON *doc = json_object();
	json_t *list = json_array();
	int r = json_put_str(doc, "run", u->run, e);

	if (r == 0)
		r = json_put(doc, "spread", json_boolean(u->spread), e);
	if (r == 0 && u->mounts.n > 0)
		r = ign_mounts_write(&u->mounts, doc, "mounts", e);
	if (r == 0)
		r = json_put(doc, "entries", list, e);
	else
		json_decref(list);
	for (size_t i = 0; r == 0 && i < u->n; i++)
		r = entry_write(&u->entry[i], list, e);
	return r < 0 ? r : json_write(doc, false, b, e);
}

static int log_write(const struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	AUTO_BUF b = { .max = LOG_MAX };
	int r = ign_root_find(&u->root, IGN_UNDO_LOG, true, &s, e);

	if (r == 0)
		r = log_text(u, &b, e);
	if (r == 0)
		r = file_replace(sys_linux(), s.dir, s.name, b.p, b.n, e);
	/* paths may tell what a host is for */
	if (r == 0 && fchmodat(s.dir, s.name, 0600, 0) < 0)
		r = err_set(e, ERR_HOST, errno, "'%s': %s", s.path, strerror(errno));
	return r;
}

static int log_remove(struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	int r = ign_root_find(&u->root, IGN_UNDO_LOG, false, &s, e);

	return r < 0 || s.dir < 0 ? r : file_remove(sys_linux(), s.dir, s.name, e);
}

static int entry_read(struct ign_undo *u, const json_t *o, struct err *e)
{
	static const char what[] = "the log of an unfinished run, " IGN_UNDO_LOG;
	const char *kind, *path, *from;
	uint64_t mode, uid, gid, stage;
	struct entry en = { .kind = UNDO_KINDS };
	int r = json_get_str(o, "kind", what, &kind, e);

	if (r == 0)
		r = json_get_str(o, "path", what, &path, e);
	if (r == 0)
		r = json_get_str_opt(o, "from", what, &from, e);
	if (r == 0)
		r = json_get_u64(o, "mode", what, 07777, &mode, e);
	if (r == 0)
		r = json_get_u64(o, "uid", what, UINT32_MAX, &uid, e);
	if (r == 0)
		r = json_get_u64(o, "gid", what, UINT32_MAX, &gid, e);
	if (r == 0)
		r = json_get_u64_opt(o, "stage", what, u->mounts.n, 0, &stage, e);
	if (r < 0)
		return r;
	for (int k = 0; k < UNDO_KINDS; k++)
		if (strcmp(kind, kind_name[k]) == 0)
			en.kind = (enum undo_kind)k;
	if (en.kind == UNDO_KINDS || path[0] != '/' ||
	    (strcmp(path, "/") == 0 && en.kind != UNDO_META) ||
	    (en.kind == UNDO_MOVE && (!from || from[0] != '/')) || (en.kind == UNDO_LINK && !from))
		return err_set(e, ERR_HOST, EINVAL, "%s, is damaged", what);
	en.mode = (uint32_t)mode;
	en.uid = (uint32_t)uid;
	en.gid = (uint32_t)gid;
	u->stage = (unsigned)stage;
	/* entry_add() copies them */
	memcpy(&en.path, &path, sizeof(path));
	memcpy(&en.from, &from, sizeof(from));
	return entry_add(u, &en, e);
}

static int log_read(struct ign_undo *u, const char *text, size_t n, struct err *e)
{
	static const struct json_limits lim = { .bytes = LOG_MAX, .depth = 8 };
	AUTO_JSON *doc = NULL;
	uint8_t run[RUN_BYTES] = { 0 };
	json_t *list = NULL, *one;
	size_t i;
	int r = json_read(text, n, &lim, IGN_UNDO_LOG, &doc, e);

	if (r == 0)
		r = json_get_hex(doc, "run", IGN_UNDO_LOG, run, sizeof(run), e);
	if (r == 0)
		r = json_get_bool_opt(doc, "spread", IGN_UNDO_LOG, true, &u->spread, e);
	if (r == 0)
		r = ign_mounts_read(doc, "mounts", IGN_UNDO_LOG, &u->mounts, e);
	if (r == 0)
		r = json_get_arr(doc, "entries", IGN_UNDO_LOG, &list, e);
	if (r < 0)
		return r;
	hex_format(run, sizeof(run), u->run);
	u->begun = true;
	json_array_foreach(list, i, one)
	{
		r = entry_read(u, one, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int ign_undo_found(const struct ign_root *root, struct ign_undo **ret, struct err *e)
{
	AUTO_IGN_UNDO *u = NULL;
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	AUTO_FREE char *text = NULL;
	struct stat st = { .st_mode = 0 };
	size_t n;
	int r = ign_root_find(root, IGN_UNDO_LOG, false, &s, e);

	if (r == 0)
		r = ign_spot_stat(&s, &st, e);
	if (r <= 0)
		return r;
	r = file_read(sys_linux(), s.dir, s.name, LOG_MAX, &text, &n, e);
	if (r == 0)
		r = ign_undo_new(root, &u, e);
	if (r == 0)
		r = log_read(u, text, n, e);
	if (r < 0)
		return r;
	*ret = TAKE(u);
	return 1;
}

/* --- doing --- */

static void kept_name(const struct ign_undo *u, const struct entry *en, char out[NAME_LEN])
{
	(void)snprintf(out, NAME_LEN, ".ignition-lite-%zu", (size_t)(en - u->entry));
}

static int keep(struct ign_undo *u, const struct entry *en, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	char name[NAME_LEN];
	int r = ign_root_find(&u->root, en->path, false, &s, e);

	if (r < 0)
		return r;
	kept_name(u, en, name);
	if (linkat(s.dir, s.name, s.dir, name, 0) < 0)
		return err_set(e, ERR_HOST, errno, "keep '%s': %s", en->path, strerror(errno));
	return 0;
}

int ign_undo_sync(const struct ign_undo *u, struct err *e)
{
	if (u->spread)
		sync();
	if (syncfs(u->root.fd) < 0)
		return err_set(e, ERR_HOST, errno, "sync '%s': %s", u->root.path, strerror(errno));
	return 0;
}

static int by_path(const void *a, const void *b)
{
	const struct entry *const *x = a, *const *y = b;

	int r = strcmp((*x)->path, (*y)->path);

	/* mode and owner are those of what came back */
	if (r == 0)
		r = ((*x)->kind == UNDO_META) - ((*y)->kind == UNDO_META);
	return r ? r : (*x > *y) - (*x < *y);
}

static int sort_entries(struct ign_undo *u, struct err *e)
{
	free(u->sorted);
	u->sorted = calloc(u->n + 1, sizeof(const struct entry *));
	if (!u->sorted)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i < u->n; i++)
		u->sorted[i] = &u->entry[i];
	qsort(u->sorted, u->n, sizeof(void *), by_path);
	return 0;
}

/* The first entry of a path, in sorted order. */
static size_t first_of(const struct ign_undo *u, const char *path)
{
	size_t lo = 0, hi = u->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(u->sorted[mid]->path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Does going back with en bring what is below its path to where it was? */
static bool covers_below(const struct entry *en)
{
	return en->kind == UNDO_NEW || en->kind == UNDO_KEEP || en->kind == UNDO_LINK ||
	       (en->kind == UNDO_DISPLACE && en->aside);
}

static bool covers(const struct ign_undo *u, const char *path)
{
	char at[PATH_MAX];
	bool above = false;

	(void)snprintf(at, sizeof(at), "%s", path);
	for (;;) {
		char *slash = strrchr(at, '/');
		size_t i = first_of(u, at);

		for (; i < u->n && strcmp(u->sorted[i]->path, at) == 0; i++)
			if (!above || covers_below(u->sorted[i]))
				return true;
		if (!slash || slash == at)
			return false;
		*slash = '\0';
		above = true;
	}
}

int ign_undo_find(struct ign_undo *u, const char *path, bool make, struct ign_spot *ret,
		  struct err *e)
{
	int r = ign_root_find(&u->root, path, false, ret, e);

	if (r < 0)
		return r;
	if (!covers(u, ret->path))
		return err_set(
			e, ERR_INPUT, ELOOP,
			"'%s' leads to '%s', as the config itself changes a link on the way; "
			"name the place itself",
			path, ret->path);
	return ret->dir >= 0 || !make ? 0 : ign_root_find(&u->root, path, true, ret, e);
}

int ign_undo_begin(struct ign_undo *u, struct err *e)
{
	int r = sort_entries(u, e);

	if (r == 0)
		r = log_write(u, e);
	/* it may be there although it is not durable; a later run must not follow it */
	if (r < 0 && !u->begun)
		(void)!log_remove(u, NULL);
	u->begun = u->begun || r == 0;
	for (; r == 0 && u->kept < u->n; u->kept++)
		if (u->entry[u->kept].kind == UNDO_KEEP)
			r = keep(u, &u->entry[u->kept], e);
	return r < 0 ? r : ign_undo_sync(u, e);
}

int ign_undo_check_mount(const struct ign_root *root, const char *device, const char *path,
			 struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	int r = ign_root_find(root, path, false, &s, e);

	if (r == 0)
		r = ign_undo_below(root, s.path, e);
	if (r <= 0)
		return r;
	return err_set(
		e, ERR_REFUSED, EOPNOTSUPP,
		"'%s' cannot be mounted on '%s': the log and the stamp of ignition-lite must "
		"lie on the root",
		device, path);
}

int ign_undo_mount(struct ign_undo *u, const char *device, const char *path, const char *type,
		   const char *options, struct err *e)
{
	int r = ign_undo_check_mount(&u->root, device, path, e);

	if (r == 0)
		r = ign_undo_add_meta(u, path, e);
	if (r == 0)
		r = ign_mounts_add(&u->mounts, device, path, type, options, e);
	if (r == 0)
		r = ign_undo_begin(u, e);
	if (r == 0)
		r = ign_mount_attach(&u->root, &u->mounts.v[u->mounts.n - 1], e);
	u->spread = true;
	u->stage = (unsigned)u->mounts.n;
	return r;
}

/* Was anything on this mount touched, or may have been? */
static bool mount_matters(const struct ign_undo *u, size_t number)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->entry[i].stage > number)
			return true;
	return false;
}

/* An interrupted run's file systems. One that was never mounted may not even be whole. */
static int mount_all(struct ign_undo *u, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < u->mounts.n; i++)
		if (mount_matters(u, i))
			r = ign_mount_attach(&u->root, &u->mounts.v[i], e);
	return r;
}

int ign_undo_clear(struct ign_undo *u, const struct ign_spot *s, struct err *e)
{
	char name[NAME_LEN];
	struct stat st = { .st_mode = 0 };

	for (size_t i = 0; i < u->n; i++) {
		struct entry *en = &u->entry[i];

		if (en->kind != UNDO_DISPLACE || strcmp(en->path, s->path) != 0)
			continue;
		kept_name(u, en, name);
		en->aside = true;
		if (fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			break; /* is aside already; what stands here is of this run */
		if (renameat(s->dir, s->name, s->dir, name) == 0 || errno == ENOENT)
			return 0;
		return err_set(e, ERR_HOST, errno, "overwrite '%s': %s", s->path, strerror(errno));
	}
	return ign_root_remove(s->dir, s->name, s->path, e);
}

int ign_undo_commit(struct ign_undo *u, struct err *e)
{
	char name[NAME_LEN];
	int r = mount_all(u, e);

	for (size_t i = 0; r == 0 && i < u->n; i++) {
		const struct entry *en = &u->entry[i];
		AUTO_IGN_SPOT s = IGN_SPOT_INIT;

		if (en->kind != UNDO_KEEP && en->kind != UNDO_DISPLACE)
			continue;
		r = ign_root_find(&u->root, en->path, false, &s, e);
		if (r < 0)
			return r;
		kept_name(u, en, name);
		/* its directory went with one that was overwritten: so did this */
		r = s.dir < 0 ? 0 : ign_root_remove(s.dir, name, en->path, e);
	}
	for (size_t i = u->mounts.n; r == 0 && i-- > 0;)
		r = ign_mount_detach(&u->root, &u->mounts.v[i], e);
	return r < 0 ? r : log_remove(u, e);
}

static int back_kept(struct ign_undo *u, const struct entry *en, const struct ign_spot *s,
		     struct err *e)
{
	char name[NAME_LEN];
	struct stat st = { .st_mode = 0 };
	int r;

	kept_name(u, en, name);
	if (fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* was not touched yet, or is back already */
	/* rename(2) replaces a file, but not a directory, and no file by one */
	if (en->kind == UNDO_DISPLACE ||
	    (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))) {
		r = ign_root_remove(s->dir, s->name, s->path, e);
		if (r < 0)
			return r;
	}
	/* rename(2) leaves both names when they are links to one file */
	if (renameat(s->dir, name, s->dir, s->name) < 0 ||
	    (unlinkat(s->dir, name, 0) < 0 && errno != ENOENT))
		return err_set(e, ERR_HOST, errno, "put '%s' back: %s", s->path, strerror(errno));
	return 0;
}

static int back_link(const struct entry *en, const struct ign_spot *s, struct err *e)
{
	int r = ign_root_remove(s->dir, s->name, s->path, e);

	if (r < 0)
		return r;
	if (symlinkat(en->from, s->dir, s->name) < 0 ||
	    fchownat(s->dir, s->name, en->uid, en->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, ERR_HOST, errno, "put '%s' back: %s", s->path, strerror(errno));
	return 0;
}

static int back_move(struct ign_undo *u, const struct entry *en, const struct ign_spot *to,
		     struct err *e)
{
	AUTO_IGN_SPOT from = IGN_SPOT_INIT;
	struct stat st = { .st_mode = 0 };
	int r = ign_root_find(&u->root, en->from, false, &from, e);

	if (r < 0 || from.dir < 0)
		return r;
	/* both are there when it was cut while copying: nothing of them is ours to remove */
	r = ign_spot_stat(&from, &st, e);
	if (r != 0)
		return r < 0 ? r : 0;
	if (renameat(to->dir, to->name, from.dir, from.name) < 0 && errno != ENOENT)
		return err_set(e, ERR_HOST, errno, "move '%s' back to '%s': %s", en->path, en->from,
			       strerror(errno));
	return 0;
}

static int back_meta(const struct entry *en, const struct ign_spot *s, struct err *e)
{
	if (fchownat(s->dir, s->name, en->uid, en->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(s->dir, s->name, en->mode, 0) < 0)
		return err_set(e, ERR_HOST, errno, "put mode and owner of '%s' back: %s", s->path,
			       strerror(errno));
	return 0;
}

static int back_one(struct ign_undo *u, const struct entry *en, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st = { .st_mode = 0 };
	/* a directory of links goes when systemctl(1) takes the last one out */
	int r = ign_root_find(&u->root, en->path, en->kind == UNDO_LINK, &s, e);

	if (r < 0 || s.dir < 0)
		return r;
	if (unlinkat(s.dir, IGN_TMP, 0) < 0 && errno != ENOENT)
		return err_set(e, ERR_HOST, errno, "remove '%s' beside '%s': %s", IGN_TMP, s.path,
			       strerror(errno));
	switch (en->kind) {
	case UNDO_NEW:
		return ign_root_remove(s.dir, s.name, s.path, e);
	case UNDO_KEEP:
	case UNDO_DISPLACE:
		return back_kept(u, en, &s, e);
	case UNDO_LINK:
		return back_link(en, &s, e);
	case UNDO_MOVE:
		return back_move(u, en, &s, e);
	case UNDO_META:
		r = ign_spot_stat(&s, &st, e);
		return r > 0 && !S_ISLNK(st.st_mode) ? back_meta(en, &s, e) : r < 0 ? r : 0;
	case UNDO_KINDS:
		break;
	}
	return 0;
}

/* What was found with so many of the mounts there. */
static int back_stage(struct ign_undo *u, size_t stage, struct err *e)
{
	int r = 0;

	/* what was moved first of all, as the rest removes what is new */
	for (size_t i = 0; r == 0 && i < u->n; i++)
		if (u->entry[i].stage == stage && u->entry[i].kind == UNDO_MOVE)
			r = back_one(u, &u->entry[i], e);
	/* a directory comes back with what is in it, so it comes before that */
	for (size_t i = 0; r == 0 && i < u->n; i++)
		if (u->sorted[i]->stage == stage && u->sorted[i]->kind != UNDO_MOVE)
			r = back_one(u, u->sorted[i], e);
	return r;
}

int ign_undo_back(struct ign_undo *u, struct err *e)
{
	int r = u->begun ? sort_entries(u, e) : 0;

	if (r < 0 || !u->begun)
		return r;
	r = mount_all(u, e);
	for (size_t stage = u->mounts.n; r == 0; stage--) {
		r = back_stage(u, stage, e);
		if (stage == 0)
			break;
		if (r == 0)
			r = ign_mount_detach(&u->root, &u->mounts.v[stage - 1], e);
	}
	if (r < 0)
		return r;
	r = ign_undo_sync(u, e);
	return r < 0 ? r : log_remove(u, e);
}
