/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "ignition-lite/config.h"
#include "ignition-lite/take.h"
#include "ignition-lite/tree.h"
#include "ignition-lite/url.h"

static const struct ign_at top = { .up = NULL };

static int refuse_resource(struct ign_read *r, const struct ign_at *at, const json_t *o,
			   struct err *e)
{
	const char *source = ign_str(o, "source");
	struct err ignored = ERR_INIT;
	enum ign_scheme scheme;

	if (!source || ign_url_check(source, &scheme, &ignored) < 0 || scheme != IGN_URL_REMOTE)
		return 0;
	return ign_say(r, IGN_REFUSED, at, "source", e,
		       "%.*s is not fetched by ignition-lite: serve it by https:// with "
		       "verification.hash, or put it into a data: URL",
		       (int)strcspn(source, ":"), source);
}

static int refuse_resources(struct ign_read *r, const struct ign_at *up, const json_t *o,
			    const char *key, struct err *e)
{
	const json_t *list = json_object_get(o, key), *v;
	struct ign_at at = { .up = up, .key = key };
	size_t i;
	int n = 0;

	json_array_foreach(list, i, v)
	{
		struct ign_at here = { .up = &at, .index = i };

		n = refuse_resource(r, &here, v, e);
		if (n < 0)
			return n;
	}
	return n;
}

static int refuse_in_ignition(struct ign_read *r, const json_t *root, struct err *e)
{
	static const struct ign_at at = { .up = &top, .key = "ignition" };
	static const struct ign_at config_at = { .up = &at, .key = "config" };
	static const struct ign_at replace_at = { .up = &config_at, .key = "replace" };
	static const struct ign_at security_at = { .up = &at, .key = "security" };
	static const struct ign_at tls_at = { .up = &security_at, .key = "tls" };
	const json_t *ignition = json_object_get(root, "ignition");
	const json_t *config = json_object_get(ignition, "config");
	const json_t *tls = json_object_get(json_object_get(ignition, "security"), "tls");
	int n = refuse_resources(r, &config_at, config, "merge", e);

	if (n >= 0)
		n = refuse_resource(r, &replace_at, json_object_get(config, "replace"), e);
	if (n >= 0)
		n = refuse_resources(r, &tls_at, tls, "certificateAuthorities", e);
	return n;
}

/*
 * What ignition-lite writes itself begins with ".ignition-lite", or "..ignition-lite" until it is
 * whole (undo.h): the log, the stamp, and what is kept or half written beside any path.
 */
static bool is_own_name(const char *path)
{
	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/'))
		if (strncmp(p + 1 + (strncmp(p + 1, "..", 2) == 0), ".ignition-lite", 14) == 0)
			return true;
	return false;
}

static int refuse_own_name(struct ign_read *r, const struct ign_at *at, const json_t *o,
			   const char *key, struct err *e)
{
	const char *path = ign_str(o, key);

	if (!path || !is_own_name(path))
		return 0;
	return ign_say(r, IGN_REFUSED, at, key, e,
		       "holds a name of ignition-lite's own: it keeps what begins with "
		       "'.ignition-lite' for itself");
}

/* The log and the stamp lie in /etc: it may be changed, but not replaced. */
static int refuse_node(struct ign_read *r, const struct ign_at *at, const json_t *o, bool directory,
		       struct err *e)
{
	const char *path = ign_str(o, "path");
	int n = refuse_own_name(r, at, o, "path", e);

	if (n < 0 || !path || strcmp(path, "/etc") != 0)
		return n;
	if (!directory)
		return ign_say(r, IGN_REFUSED, at, "path", e,
			       "must stay a directory: the log and the stamp of ignition-lite lie "
			       "in it");
	if (!ign_true(o, "overwrite"))
		return n;
	return ign_say(r, IGN_REFUSED, at, "overwrite", e,
		       "must not be true of /etc: the log and the stamp of ignition-lite would go "
		       "with it; overwrite what is in it by its own path");
}

static int refuse_nodes(struct ign_read *r, const struct ign_at *up, const json_t *storage,
			struct err *e)
{
	static const char *const keys[] = { "directories", "files", "links" };
	int n = 0;

	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		struct ign_at at = { .up = up, .key = keys[k] };
		const json_t *v;
		size_t i;

		json_array_foreach(json_object_get(storage, keys[k]), i, v)
		{
			struct ign_at here = { .up = &at, .index = i };

			n = refuse_node(r, &here, v, k == 0, e);
			if (n < 0)
				return n;
		}
	}
	return n;
}

static int refuse_homes(struct ign_read *r, const json_t *root, struct err *e)
{
	static const struct ign_at up = { .up = &top, .key = "passwd" };
	static const struct ign_at at = { .up = &up, .key = "users" };
	const json_t *v;
	size_t i;
	int n = 0;

	json_array_foreach(json_object_get(json_object_get(root, "passwd"), "users"), i, v)
	{
		struct ign_at here = { .up = &at, .index = i };

		n = refuse_own_name(r, &here, v, "homeDir", e);
		if (n < 0)
			return n;
	}
	return n;
}

static int refuse_in_files(struct ign_read *r, const struct ign_at *up, const json_t *storage,
			   struct err *e)
{
	const json_t *list = json_object_get(storage, "files"), *v;
	struct ign_at at = { .up = up, .key = "files" };
	size_t i;
	int n = 0;

	json_array_foreach(list, i, v)
	{
		struct ign_at here = { .up = &at, .index = i };
		struct ign_at contents = { .up = &here, .key = "contents" };

		n = refuse_resource(r, &contents, json_object_get(v, "contents"), e);
		if (n >= 0)
			n = refuse_resources(r, &here, v, "append", e);
		if (n < 0)
			return n;
	}
	return n;
}

static int refuse_mount(struct ign_read *r, const struct ign_at *at, const json_t *o, struct err *e)
{
	const char *path = ign_str(o, "path");
	int n = refuse_own_name(r, at, o, "path", e);

	if (n >= 0 && path && strcmp(path, "/") == 0)
		n = ign_say(r, IGN_REFUSED, at, "path", e,
			    "is mounted already, and is not made by ignition-lite: let "
			    "systemd-repart make the root");
	if (n >= 0 && path && strcmp(path, "/etc") == 0)
		n = ign_say(r, IGN_REFUSED, at, "path", e,
			    "must lie on the root, as the log and the stamp of ignition-lite do");
	return n;
}

static int refuse_filesystems(struct ign_read *r, const struct ign_at *up, const json_t *storage,
			      struct err *e)
{
	const json_t *list = json_object_get(storage, "filesystems"), *v;
	struct ign_at at = { .up = up, .key = "filesystems" };
	size_t i;
	int n = 0;

	json_array_foreach(list, i, v)
	{
		struct ign_at here = { .up = &at, .index = i };
		const char *format = ign_str(v, "format");

		if (format && strcmp(format, "swap") == 0)
			n = ign_say(r, IGN_REFUSED, &here, "format", e,
				    "ignition-lite makes no swap: let systemd-repart make the "
				    "partition with Format=swap");
		if (n >= 0)
			n = refuse_mount(r, &here, v, e);
		if (n < 0)
			return n;
	}
	return n;
}

/* Every entry of a list that is not done here at all. */
static int refuse_list(struct ign_read *r, const struct ign_at *up, const json_t *storage,
		       const char *key, const char *says, struct err *e)
{
	struct ign_at at = { .up = up, .key = key };
	int n = 0;

	for (size_t i = 0; i < ign_len(storage, key) && n >= 0; i++) {
		struct ign_at here = { .up = &at, .index = i };

		n = ign_say(r, IGN_REFUSED, &here, NULL, e, "%s", says);
	}
	return n;
}

static int refuse_in_storage(struct ign_read *r, const json_t *root, struct err *e)
{
	static const struct ign_at at = { .up = &top, .key = "storage" };
	const json_t *storage = json_object_get(root, "storage");
	int n = refuse_nodes(r, &at, storage, e);

	if (n >= 0)
		n = refuse_in_files(r, &at, storage, e);
	if (n >= 0)
		n = refuse_list(r, &at, storage, "disks",
				"ignition-lite does not partition disks: let systemd-repart do it, "
				"from /usr/lib/repart.d of the image",
				e);
	if (n >= 0)
		n = refuse_filesystems(r, &at, storage, e);
	if (n >= 0)
		n = refuse_list(r, &at, storage, "luks",
				"ignition-lite does not encrypt (nor speak to Tang or clevis): let "
				"systemd-repart do it with Encrypt=tpm2 or Encrypt=key-file",
				e);
	if (n >= 0)
		n = refuse_list(r, &at, storage, "raid",
				"ignition-lite does not make RAID arrays: make them before the "
				"first boot, or by a unit that runs mdadm",
				e);
	return n;
}

int ign_config_refuse(const struct ign_config *c, const void *text, size_t n, const char *what,
		      struct ign_report *rep, struct err *e)
{
	struct ign_read r = { .what = what, .text = text, .n = n, .report = rep };
	const json_t *root = ign_config_tree(c);
	const struct ign_issue *first;
	char line[sizeof(e->text)];
	int k = refuse_in_ignition(&r, root, e);

	if (k >= 0)
		k = refuse_in_storage(&r, root, e);
	if (k >= 0)
		k = refuse_homes(&r, root, e);
	if (k < 0 || rep->count[IGN_REFUSED] == 0)
		return k;
	first = ign_report_first(rep, IGN_REFUSED);
	return err_set(e, ERR_REFUSED, EOPNOTSUPP, "%s",
		       first ? ign_issue_format(first, what, line, sizeof(line)) : what);
}
