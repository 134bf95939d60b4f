/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/users.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/spawn.h"
#include "ignition-lite/files.h"
#include "ignition-lite/names.h"

#define KEYS_DIR  ".ssh/authorized_keys.d"
#define KEYS_FILE KEYS_DIR "/ignition"

enum { LIST_MAX = 64 << 10, KEYS_MAX = 4 << 20, LINE_MAX_BYTES = 4096 };

/* --- arguments --- */

static void arg(struct ign_args *a, const char *s)
{
	if (a->n < IGN_ARGS_MAX - 1)
		a->v[a->n++] = s;
	a->v[a->n] = NULL;
}

static void arg_pair(struct ign_args *a, const char *option, const char *value)
{
	if (!value || !*value)
		return;
	arg(a, option);
	arg(a, value);
}

static void arg_flag(struct ign_args *a, const char *option, enum ign_tri t)
{
	if (t == IGN_YES)
		arg(a, option);
}

static void arg_id(struct ign_args *a, const char *option, bool has, uint32_t id)
{
	if (!has)
		return;
	(void)snprintf(a->id, sizeof(a->id), "%" PRIu32, id);
	arg_pair(a, option, a->id);
}

static void arg_tool(struct ign_args *a, const char *tool, const char *path)
{
	arg(a, tool);
	if (strcmp(path, "/") != 0)
		arg_pair(a, "--root", path);
}

int ign_users_group_args(const struct ign_group *g, bool exists, const char *path,
			 struct ign_args *a, struct err *e)
{
	a->n = 0;
	arg(a, NULL);
	a->n = 0;
	if (g->should_exist == IGN_NO) {
		arg_tool(a, "groupdel", path);
		arg(a, g->name);
		return exists ? 1 : 0;
	}
	if (exists)
		return err_set(e, ERR_INPUT, EEXIST,
			       "group '%s' exists already; leave it out of passwd.groups", g->name);
	arg_tool(a, "groupadd", path);
	arg_id(a, "--gid", g->has_gid, g->gid);
	arg_pair(a, "--password", g->password_hash && *g->password_hash ? g->password_hash : "*");
	arg_flag(a, "--system", g->system);
	arg(a, g->name);
	return 1;
}

static int join(const struct ign_strings *l, struct buf *b, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->n; i++)
		r = buf_addf(b, e, "%s%s", i ? "," : "", l->s[i]);
	return r;
}

int ign_users_user_args(const struct ign_user *u, bool exists, const char *path, struct ign_args *a,
			struct err *e)
{
	int r;

	a->n = 0;
	if (u->should_exist == IGN_NO) {
		arg_tool(a, "userdel", path);
		arg(a, u->name);
		return exists ? 1 : 0;
	}
	if (exists) {
		arg_tool(a, "usermod", path);
		arg_pair(a, "--home", u->home);
		if (u->home && *u->home)
			arg(a, "--move-home");
	} else {
		arg_tool(a, "useradd", path);
		arg_pair(a, "--home-dir", u->home);
		arg(a, u->no_create_home == IGN_YES ? "--no-create-home" : "--create-home");
		arg_flag(a, "--no-user-group", u->no_user_group);
		arg_flag(a, "--system", u->system);
		arg_flag(a, "--no-log-init", u->no_log_init);
	}
	if (u->password_hash)
		arg_pair(a, "--password", *u->password_hash ? u->password_hash : "*");
	else if (!exists)
		arg_pair(a, "--password", "*");
	arg_id(a, "--uid", u->has_uid, u->uid);
	arg_pair(a, "--comment", u->gecos);
	arg_pair(a, "--gid", u->primary_group);
	r = join(&u->groups, a->list, e);
	if (r < 0)
		return r;
	arg_pair(a, "--groups", a->list->p);
	arg_pair(a, "--shell", u->shell);
	arg(a, u->name);
	return 1;
}

/* --- taking stock --- */

int ign_users_stock(struct ign_undo *u, struct err *e)
{
	static const char *const files[] = { "passwd",  "shadow", "group",
					     "gshadow", "subuid", "subgid" };
	static const char *const behind[] = { "", "-", "+", ".lock" };
	int r = ign_undo_add(u, "/etc/.pwd.lock", false, e);

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		for (size_t k = 0; r == 0 && k < sizeof(behind) / sizeof(behind[0]); k++) {
			char path[32];

			(void)snprintf(path, sizeof(path), "/etc/%s%s", files[i], behind[k]);
			r = ign_undo_add(u, path, false, e);
		}
	return r;
}

/* HOME= of the root's /etc/default/useradd, where new homes are made. */
static int homes(const struct ign_root *root, char out[PATH_MAX], struct err *e)
{
	AUTO_IGN_FD fd = -1;
	char text[4096] = "\n";
	const char *at;
	ssize_t n;
	int r = ign_root_read_open(root, "/etc/default/useradd", &fd, e);

	(void)snprintf(out, PATH_MAX, "/home");
	if (r < 0 || fd < 0)
		return r;
	n = read(fd, text + 1, sizeof(text) - 2);
	text[n > 0 ? 1 + n : 1] = '\0';
	at = strstr(text, "\nHOME=/");
	if (at)
		(void)snprintf(out, PATH_MAX, "%.*s", (int)strcspn(at + 6, "\r\n"), at + 6);
	return 0;
}

static int home_join(const char *home, const char *below, char out[PATH_MAX], struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", home, below);

	return n < 0 || n >= PATH_MAX ? err_set(e, ERR_INPUT, ENAMETOOLONG,
						"home directory '%.200s' is too long", home)
				      : 0;
}

/* Is it a directory that a user may have taken away? 1, and where it is; never what /etc lies in.
 */
static int own_home(const struct ign_root *root, const char *home, struct ign_spot *ret,
		    struct err *e)
{
	int r;

	if (home[0] != '/')
		return 0;
	r = ign_root_find(root, home, false, ret, e);
	if (r == 0)
		r = ign_undo_below(root, ret->path, e);
	return r < 0 ? r : !r;
}

static int stock_removed(const struct ign_root *root, const struct ign_account *old,
			 struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	int r = own_home(root, old->home, &s, e);

	return r > 0 ? ign_undo_add(u, old->home, true, e) : r;
}

static int stock_moved(const struct ign_root *root, const char *from, const char *to,
		       struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	int r = own_home(root, from, &s, e);

	if (r == 0)
		return err_set(e, ERR_REFUSED, EBUSY,
			       "its home '%s' cannot be moved: /etc lies in it; leave homeDir out",
			       from);
	return r < 0 ? r : ign_undo_add_move(u, from, to, e);
}

/* usermod gives the files of a home to the new user and group, if the home is the old one's. */
static int stock_owner(const struct ign_root *root, const struct ign_account *old,
		       struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st = { .st_mode = 0 };
	int r = ign_root_find(root, old->home, false, &s, e);

	if (r == 0)
		r = ign_spot_stat(&s, &st, e);
	if (r <= 0)
		return r;
	if (strcmp(s.path, "/") != 0)
		return ign_undo_add_tree(u, old->home, e);
	return st.st_uid != old->uid
		       ? 0
		       : err_set(e, ERR_REFUSED, EBUSY,
				 "its home is '/', and usermod would change the owner of all below "
				 "'/'; leave uid and primaryGroup out");
}

/* What usermod does to the home of a user that is there already. */
static int stock_changed(const struct ign_root *root, const struct ign_user *user,
			 const struct ign_account *old, struct ign_undo *u, struct err *e)
{
	bool given = user->home && *user->home, owner = user->has_uid || user->primary_group;
	int r = 0;

	if (!old->home[0] || !(given || owner))
		return 0;
	if (old->home[0] != '/')
		return err_set(e, ERR_INPUT, EINVAL,
			       "the image's /etc/passwd has '%s' as its home, which is no absolute "
			       "path; leave uid, primaryGroup and homeDir out",
			       old->home);
	if (owner)
		r = stock_owner(root, old, u, e);
	if (r == 0 && given && strcmp(old->home, user->home) != 0)
		r = stock_moved(root, old->home, user->home, u, e);
	return r;
}

static int stock_home(const struct ign_root *root, const struct ign_user *user,
		      const struct ign_account *old, struct ign_undo *u, struct err *e)
{
	char home[PATH_MAX], base[PATH_MAX], keys[PATH_MAX];
	bool given = user->home && *user->home;
	int r = 0;

	if (user->should_exist == IGN_NO)
		return old ? stock_removed(root, old, u, e) : 0;
	if (given) {
		(void)snprintf(home, sizeof(home), "%s", user->home);
	} else if (old) {
		(void)snprintf(home, sizeof(home), "%s", old->home);
	} else {
		r = homes(root, base, e);
		if (r == 0)
			r = home_join(base, user->name, home, e);
	}
	if (r == 0)
		r = old ? stock_changed(root, user, old, u, e) : ign_undo_add_meta(u, home, e);
	if (r == 0 && user->ssh_keys.n > 0)
		r = home_join(home, KEYS_FILE, keys, e);
	if (r == 0 && user->ssh_keys.n > 0)
		r = ign_undo_add(u, keys, false, e);
	return r;
}

int ign_users_stock_user(const struct ign_root *root, const struct ign_user *user,
			 struct ign_undo *u, struct err *e)
{
	static const char *const spools[] = { "/var/mail/", "/var/spool/mail/" };
	struct ign_account old;
	char path[PATH_MAX];
	int there = ign_name_user(root, user->name, &old, e);
	int r = there < 0 ? there : 0;

	for (size_t i = 0; r == 0 && i < sizeof(spools) / sizeof(spools[0]); i++) {
		r = home_join(spools[i], user->name, path, e);
		if (r == 0)
			r = ign_undo_add(u, path, false, e);
	}
	if (r == 0)
		r = stock_home(root, user, there > 0 ? &old : NULL, u, e);
	return r < 0 ? err_wrap(e, r, "user '%s'", user->name) : 0;
}

/* --- acting --- */

/* What the tool says may be quoted: it repeats names, never the password it was given. */
static int run(const struct ign_args *a, const char *what, const char *name, struct err *e)
{
	int r = spawn_check(a->v, e);

	return r < 0 ? err_wrap(e, r, "%s '%s'", what, name) : 0;
}

int ign_users_group(const struct ign_root *root, const struct ign_group *g, struct err *e)
{
	AUTO_BUF list = { .max = LIST_MAX };
	struct ign_args a = { .list = &list };
	uint32_t gid;
	int r = ign_name_group(root, g->name, &gid, e);

	if (r >= 0)
		r = ign_users_group_args(g, r > 0, root->path, &a, e);
	return r > 0 ? run(&a, "group", g->name, e) : r;
}

/* What `userdel --remove` would remove, but so that it can come back. */
static int remove_home(const struct ign_root *root, const struct ign_account *old,
		       struct ign_undo *u, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st = { .st_mode = 0 };
	int r = own_home(root, old->home, &s, e);

	if (r > 0)
		r = ign_spot_stat(&s, &st, e);
	if (r <= 0 || st.st_uid != old->uid)
		return r < 0 ? r : 0;
	return ign_undo_clear(u, &s, e);
}

int ign_users_user(const struct ign_root *root, const struct ign_user *user, struct ign_undo *u,
		   struct err *e)
{
	AUTO_BUF list = { .max = LIST_MAX };
	struct ign_args a = { .list = &list };
	struct ign_account old = { .home = "" };
	int there = ign_name_user(root, user->name, &old, e), r = there;

	if (r >= 0)
		r = ign_users_user_args(user, there > 0, root->path, &a, e);
	if (r <= 0)
		return r;
	r = 0;
	/* usermod with nothing to change is no error, but says so */
	if (there == 0 || user->should_exist == IGN_NO || a.n > (root->path[1] ? 4u : 2u))
		r = run(&a, "user", user->name, e);
	if (r == 0 && there > 0 && user->should_exist == IGN_NO)
		r = remove_home(root, &old, u, e);
	return r;
}

static int own_dir(struct ign_undo *u, const char *path, const struct ign_account *a, struct err *e)
{
	AUTO_IGN_SPOT s = IGN_SPOT_INIT;
	struct stat st;
	int r = ign_undo_find(u, path, false, &s, e);

	if (r == 0)
		r = ign_spot_stat(&s, &st, e);
	if (r != 0)
		return r < 0 ? r : 0;
	if (s.dir < 0 || mkdirat(s.dir, s.name, 0700) < 0 ||
	    fchownat(s.dir, s.name, a->uid, a->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(s.dir, s.name, 0700, 0) < 0)
		return err_set(e, ERR_HOST, s.dir < 0 ? ENOENT : errno, "make '%s': %s", path,
			       strerror(s.dir < 0 ? ENOENT : errno));
	return 0;
}

static int keys_put(struct ign_undo *u, const struct ign_user *user, const struct ign_account *a,
		    struct err *e)
{
	const struct ign_attr attr = { .mode = 0600, .uid = a->uid, .gid = a->gid };
	AUTO_BUF text = { .max = KEYS_MAX };
	char path[PATH_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < user->ssh_keys.n; i++)
		r = buf_addf(&text, e, "%s\n", user->ssh_keys.s[i]);
	if (r == 0)
		r = home_join(a->home, ".ssh", path, e);
	if (r == 0)
		r = own_dir(u, path, a, e);
	if (r == 0)
		r = home_join(a->home, KEYS_DIR, path, e);
	if (r == 0)
		r = own_dir(u, path, a, e);
	if (r == 0)
		r = home_join(a->home, KEYS_FILE, path, e);
	if (r == 0)
		r = ign_files_put(u, path, text.p, text.n, &attr, e);
	return r;
}

int ign_users_keys(const struct ign_root *root, const struct ign_user *user, struct ign_undo *u,
		   struct err *e)
{
	AUTO_IGN_SPOT home = IGN_SPOT_INIT;
	struct ign_account a;
	struct stat st;
	int r = ign_name_user(root, user->name, &a, e);

	if (r < 0)
		return r;
	if (r == 0)
		return err_set(e, ERR_INPUT, ENOENT, "user '%s' is not there for its ssh keys",
			       user->name);
	r = ign_root_find(root, a.home, false, &home, e);
	if (r == 0)
		r = ign_spot_stat(&home, &st, e);
	if (r < 0)
		return r;
	if (r == 0)
		return err_set(e, ERR_INPUT, ENOENT,
			       "user '%s' has no home directory '%s' for its ssh keys; leave "
			       "noCreateHome away or make the directory",
			       user->name, a.home);
	r = keys_put(u, user, &a, e);
	return r < 0 ? err_wrap(e, r, "ssh keys of user '%s'", user->name) : 0;
}
