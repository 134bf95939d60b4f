/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/check.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static int out_of_memory(struct err *e)
{
	return err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* ---- paths ---- */

const char *ign_path_fault(const char *s)
{
	size_t name = 0;

	if (!*s)
		return "is missing: a path is needed";
	if (*s != '/')
		return "must be an absolute path";
	if (strlen(s) >= PATH_MAX)
		return "is longer than the 4095 bytes Linux takes";
	for (const char *p = s + 1;; p++) {
		if (*p && *p != '/') {
			name++;
			continue;
		}
		if (name == 0 && s[1])
			return "must be a clean path: without // and without / at its end";
		if ((name == 1 && p[-1] == '.') || (name == 2 && p[-1] == '.' && p[-2] == '.'))
			return "must be a clean path: without . and ..";
		if (name > NAME_MAX)
			return "holds a name of more than the 255 bytes Linux takes";
		if (!*p)
			return NULL;
		name = 0;
	}
}

int ign_check_path(struct ign_read *r, const struct ign_at *at, const json_t *o, const char *key,
		   struct err *e)
{
	const char *s = ign_str(o, key);
	const char *fault = ign_path_fault(s ? s : "");

	return fault ? ign_say(r, IGN_ERROR, at, key, e, "%s", fault) : 0;
}

bool ign_has_control(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return true;
	return false;
}

/* ---- files, directories, links ---- */

int ign_check_owner(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	json_int_t id;
	int n = 0;

	if (!ign_int(o, "id", &id))
		return 0;
	if (ign_str_set(o, "name"))
		n = ign_say(r, IGN_ERROR, at, NULL, e, "has both id and name: leave one of them");
	/* the last one is what chown() takes for "leave it" */
	if (n >= 0 && (id < 0 || id >= UINT32_MAX))
		n = ign_say(r, IGN_ERROR, at, "id", e, "must be from 0 to 4294967294");
	return n;
}

static int check_mode(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	json_int_t mode;

	if (!ign_int(o, "mode", &mode))
		return 0;
	if (mode < 0 || mode > 07777)
		return ign_say(r, IGN_ERROR, at, "mode", e,
			       "must be from 0 to 4095; JSON has no octal numbers: 0644 is written "
			       "420");
	if (mode & 07000)
		return ign_say(r, IGN_WARNING, at, "mode", e,
			       "has setuid, setgid or sticky bits, which Ignition itself does not "
			       "set before spec 3.6.0; they are set here");
	return 0;
}

static int check_node(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	int n = ign_check_path(r, at, o, "path", e);

	return n < 0 ? n : check_mode(r, at, o, e);
}

static int refuse_root_path(struct ign_read *r, const struct ign_at *at, const json_t *o,
			    struct err *e)
{
	const char *path = ign_str(o, "path");

	if (!path || strcmp(path, "/") != 0)
		return 0;
	return ign_say(r, IGN_ERROR, at, "path", e, "is a directory on every host");
}

int ign_check_directory(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	return check_node(r, at, o, e);
}

int ign_check_file(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	int n = check_node(r, at, o, e);

	if (n >= 0)
		n = refuse_root_path(r, at, o, e);
	if (n >= 0 && ign_true(o, "overwrite") &&
	    !ign_str(json_object_get(o, "contents"), "source"))
		n = ign_say(r, IGN_ERROR, at, "overwrite", e,
			    "must be false as there is no contents.source");
	return n;
}

int ign_check_link(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *target = ign_str_set(o, "target");
	int n = check_node(r, at, o, e);

	if (n >= 0)
		n = refuse_root_path(r, at, o, e);
	if (n >= 0 && !target)
		n = ign_say(r, IGN_ERROR, at, "target", e, "is missing: a link needs a target");
	if (n >= 0 && target && strlen(target) >= PATH_MAX)
		n = ign_say(r, IGN_ERROR, at, "target", e,
			    "is longer than the 4095 bytes Linux takes");
	return n;
}

/* ---- between entries ---- */

int ign_names_of(const json_t *o, const char *list, const char *key, json_t **ret, struct err *e)
{
	AUTO_JSON *set = json_object();
	json_t *v;
	size_t i;

	if (!set)
		return out_of_memory(e);
	json_array_foreach(json_object_get(o, list), i,
			   v) if (json_object_set_new(set, ign_str(v, key) ? ign_str(v, key) : "",
						      json_incref(v)) < 0) return out_of_memory(e);
	*ret = json_incref(set);
	return 0;
}

/* Is one of the directories above path among the links? */
static bool lies_below(const json_t *links, const char *path)
{
	char up[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(up))
		return false; /* an error of its own */
	memcpy(up, path, n + 1);
	for (char *slash = strrchr(up, '/'); slash && slash > up; slash = strrchr(up, '/')) {
		*slash = '\0';
		if (json_object_get(links, up))
			return true;
	}
	return false;
}

static bool is_one_of(const json_t *paths, const char *path)
{
	return json_object_get(paths, path) != NULL;
}

/* Says why of each entry of a list whose path is such a one. */
struct path_fault {
	bool (*is)(const json_t *paths, const char *path);
	const char *key, *why; /* key NULL: of the whole entry */
};

static int check_paths(struct ign_read *r, const struct ign_at *up, const json_t *o,
		       const char *list, const json_t *paths, const struct path_fault *fault,
		       struct err *e)
{
	struct ign_at at = { .up = up, .key = list };
	const json_t *v;
	size_t i;
	int n = 0;

	json_array_foreach(json_object_get(o, list), i, v)
	{
		struct ign_at here = { .up = &at, .index = i };
		const char *path = ign_str(v, "path");

		if (path && fault->is(paths, path))
			n = ign_say(r, IGN_ERROR, &here, fault->key, e, "%s", fault->why);
		if (n < 0)
			return n;
	}
	return 0;
}

/* Directories, files and links share their paths. */
static int check_nodes(struct ign_read *r, const struct ign_at *up, const json_t *o,
		       const json_t *paths, const struct path_fault *fault, struct err *e)
{
	static const char *const lists[] = { "directories", "files", "links" };
	int n = 0;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]) && n >= 0; i++)
		n = check_paths(r, up, o, lists[i], paths, fault, e);
	return n;
}

/* Takes . and .. and double slashes out of s, in place; s is absolute. */
static void clean_path(char *s)
{
	char *out = s;
	const char *p = s;

	while (*p) {
		size_t n;

		while (*p == '/')
			p++;
		n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (out > s && *--out != '/')
				;
		} else if (n > 0 && !(n == 1 && p[0] == '.')) {
			*out++ = '/';
			memmove(out, p, n);
			out += n;
		}
		p += n;
	}
	if (out == s)
		*out++ = '/';
	*out = '\0';
}

/* A relative target of a hard link starts from the link itself, as it does in Ignition. */
static int hard_target(const json_t *link, struct buf *b, struct err *e)
{
	const char *path = ign_str(link, "path"), *target = ign_str(link, "target");
	int r;

	if (*target == '/')
		r = buf_addf(b, e, "%s", target);
	else
		r = buf_addf(b, e, "%s/%s", path, target);
	if (r >= 0)
		clean_path(b->p);
	return r;
}

static int check_hard_link(struct ign_read *r, const struct ign_at *at, const json_t *link,
			   const json_t *directories, struct err *e)
{
	static const char *const who[] = { "user", "group" };
	AUTO_BUF b = BUF_INIT;
	int n;

	if (!ign_str_set(link, "target") || !ign_str(link, "path") || *ign_str(link, "path") != '/')
		return 0; /* an error of its own */
	n = hard_target(link, &b, e);
	if (n >= 0 && json_object_get(directories, b.p))
		n = ign_say(r, IGN_ERROR, at, NULL, e,
			    "is a hard link to a directory: make it a symbolic one");
	for (size_t i = 0; i < 2 && n >= 0; i++)
		if (json_object_size(json_object_get(link, who[i])) > 0)
			n = ign_say(r, IGN_WARNING, at, who[i], e,
				    "is ignored: a hard link has the owner of its target");
	return n;
}

static int check_hard_links(struct ign_read *r, const struct ign_at *up, const json_t *o,
			    struct err *e)
{
	struct ign_at at = { .up = up, .key = "links" };
	AUTO_JSON *directories = NULL;
	const json_t *v;
	size_t i;
	int n = ign_names_of(o, "directories", "path", &directories, e);

	if (n < 0)
		return n;
	json_array_foreach(json_object_get(o, "links"), i, v)
	{
		struct ign_at here = { .up = &at, .index = i };

		n = ign_true(v, "hard") ? check_hard_link(r, &here, v, directories, e) : 0;
		if (n < 0)
			return n;
	}
	return 0;
}

static int check_wiped(struct ign_read *r, const struct ign_at *up, const json_t *o, struct err *e)
{
	struct ign_at at = { .up = up, .key = "filesystems" };
	AUTO_JSON *disks = NULL;
	const json_t *v;
	size_t i;
	int n = ign_names_of(o, "disks", "device", &disks, e);

	if (n < 0)
		return n;
	json_array_foreach(json_object_get(o, "filesystems"), i, v)
	{
		struct ign_at here = { .up = &at, .index = i };
		const json_t *disk =
			json_object_get(disks, ign_str(v, "device") ? ign_str(v, "device") : "");

		if (ign_len(disk, "partitions") > 0)
			n = ign_say(r, IGN_WARNING, &here, "device", e,
				    "is a disk whose partitions this file system overwrites");
		else if (!ign_true(v, "wipeFilesystem") && ign_true(disk, "wipeTable"))
			n = ign_say(r, IGN_WARNING, &here, "device", e,
				    "is wiped together with the partition table of its disk");
		if (n < 0)
			return n;
	}
	return 0;
}

int ign_check_storage(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	static const struct path_fault below = {
		lies_below, NULL,
		"lies below a link of this config: give the path the link leads to"
	};
	AUTO_JSON *links = NULL;
	int n = ign_names_of(o, "links", "path", &links, e);

	if (n >= 0)
		n = check_nodes(r, at, o, links, &below, e);
	if (n >= 0)
		n = check_hard_links(r, at, o, e);
	return n < 0 ? n : check_wiped(r, at, o, e);
}

/* ---- units against files ---- */

static int add_name(json_t *set, const char *dir, const char *unit, const char *dropin,
		    struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int n = buf_addf(&b, e, "%s/%s%s%s", dir, unit, dropin ? ".d/" : "", dropin ? dropin : "");

	if (n < 0)
		return n;
	return json_object_set_new(set, b.p, json_true()) < 0 ? out_of_memory(e) : 0;
}

static int unit_paths(const json_t *root, json_t *set, struct err *e)
{
	static const char dir[] = "/etc/systemd/system";
	const json_t *units = json_object_get(json_object_get(root, "systemd"), "units"), *u, *d;
	size_t i, k;
	int n = 0;

	json_array_foreach(units, i, u)
	{
		const char *name = ign_str_set(u, "name");

		if (!name)
			continue;
		if (ign_str_set(u, "contents"))
			n = add_name(set, dir, name, NULL, e);
		json_array_foreach(json_object_get(u, "dropins"), k,
				   d) if (n >= 0 && ign_str_set(d, "contents") &&
					  ign_str_set(d, "name")) n =
			add_name(set, dir, name, ign_str(d, "name"), e);
		if (n < 0)
			return n;
	}
	return 0;
}

int ign_check_root(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	static const struct path_fault twice = {
		is_one_of, "path", "is written by systemd.units too: leave one of them"
	};
	struct ign_at storage = { .up = at, .key = "storage" };
	AUTO_JSON *units = json_object();
	int n = units ? unit_paths(o, units, e) : out_of_memory(e);

	return n < 0 ? n
		     : check_nodes(r, &storage, json_object_get(o, "storage"), units, &twice, e);
}
