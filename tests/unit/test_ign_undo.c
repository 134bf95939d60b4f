/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random trees, random log entries, random damage done between the beginning and the way back: the
 * tree is as it was, also when the way back is walked twice or from a log that was read again.
 */
#include "ignition-lite/undo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "ignition-lite/files.h"
#include "tests/dice.h"
#include "tests/test.h"

enum { NAMES = 5, ROUNDS = 150 };

/* A path of one to three names out of a few, so that they meet. */
static void any_path(char out[32])
{
	size_t n = 0;

	for (unsigned k = 1 + dice_below(3); k > 0; k--)
		n += (size_t)sprintf(out + n, "/%c", 'a' + (int)dice_below(NAMES));
}

static void put(const struct ign_spot *s, const char *text)
{
	int fd = openat(s->dir, s->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	if (fd < 0)
		return;
	CHECK(write(fd, text, strlen(text)) > 0, "%s", s->path);
	(void)close(fd);
}

static void build(const struct ign_root *root)
{
	for (int i = 0; i < 12; i++) {
		AUTO_IGN_SPOT s = IGN_SPOT_INIT;
		char path[32], to[32];

		any_path(path);
		any_path(to);
		if (ign_root_find(root, path, true, &s, NULL) < 0)
			continue;
		switch (dice_below(3)) {
		case 0:
			(void)!symlinkat(to, s.dir, s.name);
			break;
		case 1:
			(void)!mkdirat(s.dir, s.name, 0711);
			break;
		default:
			put(&s, to);
		}
	}
}

static void look(int dir, const char *at, struct buf *b);

static void look_one(int dir, const char *name, char path[512], struct buf *b)
{
	AUTO_IGN_FD fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[256] = "";
	struct stat st;

	CHECK(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0, "%s", path);
	(void)!readlinkat(dir, name, text, sizeof(text) - 1);
	if (S_ISREG(st.st_mode))
		CHECK(read(fd, text, sizeof(text) - 1) >= 0, "%s", path);
	CHECK(buf_addf(b, NULL, "%s %o %u '%s'\n", path, st.st_mode,
		       S_ISREG(st.st_mode) ? (unsigned)st.st_nlink : 0, text) == 0,
	      "memory");
	if (S_ISDIR(st.st_mode) && strlen(path) < 128)
		look(fd, path, b);
}

/* Everything below dir as text, names sorted by their first letter. */
static void look(int dir, const char *at, struct buf *b)
{
	for (char c = '!'; c < 127; c++) {
		int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
		DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
		struct dirent *one;

		CHECK(d, "%s", at);
		rewinddir(d);
		while ((one = readdir(d))) {
			char path[512];

			if (one->d_name[0] != c || strcmp(one->d_name, ".") == 0 ||
			    strcmp(one->d_name, "..") == 0)
				continue;
			(void)snprintf(path, sizeof(path), "%s/%.200s", at, one->d_name);
			look_one(dir, one->d_name, path, b);
		}
		(void)closedir(d);
	}
}

static const struct ign_attr attr = { .mode = 0600 };

/* What a step may do to a path that the log names. */
static void damage(struct ign_undo *u, const char *path, bool meta)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st;

	if (ign_undo_find(u, path, true, &s, NULL) < 0)
		return;
	if (!meta && dice_below(4) == 0)
		(void)!ign_files_put(u, path, "new", 3, &attr, NULL);
	if (meta && ign_spot_stat(&s, &st, NULL) > 0 && !S_ISLNK(st.st_mode))
		(void)!fchmodat(s.dir, s.name, 0700, 0);
	if (!meta && dice_below(2) == 0) {
		CHECK(ign_undo_clear(u, &s, NULL) == 0, "%s", path);
		if (dice_below(2) == 0)
			(void)!symlinkat("x", s.dir, s.name);
		else if (dice_below(2) == 0)
			(void)!mkdirat(s.dir, s.name, 0700);
	}
	/* cut while it was written */
	if (dice_below(8) == 0)
		(void)close(openat(s.dir, IGN_TMP, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void one_round(const struct ign_root *root)
{
	AUTO_IGN_UNDO *u = NULL;
	AUTO_IGN_UNDO *again = NULL;
	AUTO_BUF before = BUF_INIT;
	AUTO_BUF after = BUF_INIT;
	char paths[8][32];
	bool meta[8];
	unsigned n = 1 + dice_below(8);
	struct err e = ERR_INIT;

	build(root);
	CHECK(mkdirat(root->fd, "etc", 0755) == 0 || errno == EEXIST, "etc");
	look(root->fd, "", &before);
	CHECK(ign_undo_new(root, &u, &e) == 0, "%s", e.text);
	for (unsigned i = 0; i < n; i++) {
		any_path(paths[i]);
		/* a path that leads through a file has no step; the tree may hold such */
		meta[i] = dice_below(4) == 0;
		if ((meta[i] ? ign_undo_add_meta(u, paths[i], NULL)
			     : ign_undo_add(u, paths[i], true, NULL)) < 0)
			paths[i][0] = '\0';
	}
	CHECK(ign_undo_begin(u, &e) == 0, "%s", e.text);
	for (unsigned i = 0; i < n; i++)
		if (paths[i][0])
			damage(u, paths[i], meta[i]);
	CHECK(ign_undo_found(root, &again, &e) == 1, "%s", e.text);
	CHECK(strcmp(ign_undo_run(again), ign_undo_run(u)) == 0, "another run");
	CHECK(ign_undo_back(dice_below(2) ? again : u, &e) == 0, "%s", e.text);
	look(root->fd, "", &after);
	CHECK(before.n == after.n && memcmp(before.p, after.p, before.n) == 0,
	      "before:\n%s\nafter:\n%s", before.p, after.p);
	/* what the log held is gone, so this does nothing */
	CHECK(ign_undo_back(u, &e) == 0, "%s", e.text);
	buf_done(&after);
	after = (struct buf)BUF_INIT;
	look(root->fd, "", &after);
	CHECK(before.n == after.n && memcmp(before.p, after.p, before.n) == 0, "twice:\n%s",
	      after.p);
}

/* Nothing leads out of the root. */
static void confined(const struct ign_root *root)
{
	static const char *const links[] = { "/", "..", "../../../../../../..", "/etc", "/abs/x" };

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		AUTO_IGN_SPOT s = IGN_SPOT_INIT;
		AUTO_IGN_SPOT in = IGN_SPOT_INIT;
		struct err e = ERR_INIT;
		struct stat st, out;

		CHECK(ign_root_find(root, "/lnk", true, &s, &e) == 0, "%s", e.text);
		(void)unlinkat(s.dir, "lnk", 0);
		CHECK(symlinkat(links[i], s.dir, "lnk") == 0, "link");
		CHECK(ign_root_find(root, "/lnk/made/x", true, &in, &e) == 0, "%s", e.text);
		CHECK(strstr(in.path, "/made/x") && fstat(in.dir, &st) == 0, "%s", in.path);
		CHECK(lstat("/made", &out) < 0, "outside");
	}
	for (int i = 0; i < 2; i++) {
		AUTO_IGN_SPOT s = IGN_SPOT_INIT;
		struct err e = ERR_INIT;

		(void)unlinkat(root->fd, "lnk", 0);
		CHECK(symlinkat(i ? "lnk/lnk" : "lnk", root->fd, "lnk") == 0, "loop");
		CHECK(ign_root_find(root, "/lnk/x", true, &s, &e) < 0 && e.os == ELOOP, "%s",
		      e.text);
	}
}

/* What passwd(5) may hold as a home, and where it is; NULL: it is refused. */
static void spelled(const struct ign_root *root)
{
	static const struct {
		const char *path, *is;
	} table[] = {
		{ "/home/core", "/home/core" },
		{ "/home/core/", "/home/core" },
		{ "/home/core///", "/home/core" },
		{ "/home//core", "/home/core" },
		{ "//home/./core/", "/home/core" },
		{ "/home/x/../core", "/home/core" },
		{ "/missing//below/./it/", "/missing/below/it" },
		{ "/missing", "/missing" },
		{ "/", "/" },
		{ "//", "/" },
		{ "/home/core/.", NULL },
		{ "/.", NULL },
		{ "/./", NULL },
		{ "/..", NULL },
		{ "/home/core/../", NULL },
		/* with the missing one made it would lead to /home */
		{ "/missing/../home/core", NULL },
		{ "/lnk/core", NULL },
		{ "home/core", NULL },
		{ "", NULL },
	};

	CHECK(mkdirat(root->fd, "home", 0755) == 0 && mkdirat(root->fd, "home/core", 0755) == 0 &&
		      mkdirat(root->fd, "home/x", 0755) == 0,
	      "home");
	(void)unlinkat(root->fd, "lnk", 0);
	CHECK(symlinkat("missing/../home", root->fd, "lnk") == 0, "link");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		AUTO_IGN_SPOT s = IGN_SPOT_INIT;
		struct err e = ERR_INIT;
		int r = ign_root_find(root, table[i].path, false, &s, &e);

		CHECK((r == 0) == (table[i].is != NULL), "'%s': %s", table[i].path, e.text);
		CHECK(r < 0 || strcmp(s.path, table[i].is) == 0, "'%s' is '%s'", table[i].path,
		      s.path);
	}
}

int main(void)
{
	const char *rounds = getenv("PROA_RUNS");
	char dir[] = "/tmp/ign-undo.XXXXXX";
	AUTO_IGN_ROOT root = { .fd = -1 };
	unsigned long n = rounds ? strtoul(rounds, NULL, 0) : ROUNDS;
	struct err e = ERR_INIT;

	dice_seed();
	CHECK(mkdtemp(dir), "%s", dir);
	for (unsigned long i = 0; i < n; i++) {
		char one[64];

		(void)snprintf(one, sizeof(one), "%s/%lu", dir, i);
		CHECK(mkdir(one, 0755) == 0 && ign_root_open(one, &root, &e) == 0, "%s", e.text);
		if (i == 0)
			confined(&root), spelled(&root);
		else
			one_round(&root);
		ign_root_done(&root);
	}
	CHECK(ign_root_open("/tmp", &root, &e) == 0 &&
		      ign_root_remove(root.fd, dir + 5, dir, &e) == 0,
	      "%s", e.text);
	return 0;
}
