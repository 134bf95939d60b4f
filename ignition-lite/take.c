/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/take.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "ignition-lite/tree.h"

/* Arrays of one config, freed together. */
struct block {
	struct block *next;
	max_align_t data[];
};

struct ign_tree {
	json_t *root;
	struct block *blocks;
};

struct take {
	struct ign_tree *tree;
	bool failed; /* out of memory */
};

static void *take_zeroed(struct take *t, size_t n, size_t size)
{
	struct block *b = NULL;

	if (n == 0)
		return NULL;
	if (n <= (SIZE_MAX - sizeof(*b)) / size)
		b = calloc(1, sizeof(*b) + n * size);
	if (!b) {
		t->failed = true;
		return NULL;
	}
	b->next = t->tree->blocks;
	t->tree->blocks = b;
	return b->data;
}

/* The list `key` of o, and an array for it: *ret_n is 0 when there is none. */
static void *take_list(struct take *t, const json_t *o, const char *key, size_t size, size_t *ret_n,
		       const json_t **ret_list)
{
	void *p;

	*ret_list = json_object_get(o, key);
	p = take_zeroed(t, json_array_size(*ret_list), size);
	*ret_n = p ? json_array_size(*ret_list) : 0;
	return p;
}

static struct ign_strings take_strings(struct take *t, const json_t *o, const char *key)
{
	struct ign_strings s = { 0 };
	const json_t *list;

	s.s = take_list(t, o, key, sizeof(*s.s), &s.n, &list);
	for (size_t i = 0; i < s.n; i++)
		s.s[i] = json_string_value(json_array_get(list, i));
	return s;
}

static enum ign_tri take_tri(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (!v)
		return IGN_UNSET;
	return json_is_true(v) ? IGN_YES : IGN_NO;
}

static bool take_id(const json_t *o, const char *key, uint32_t *ret)
{
	json_int_t n;

	if (!ign_int(o, key, &n))
		return false;
	*ret = (uint32_t)n;
	return true;
}

static int take_mode(const json_t *o)
{
	json_int_t n;

	return ign_int(o, "mode", &n) ? (int)n : -1;
}

/* "sha512-<hex>", as checked */
static void take_hash(const json_t *verification, struct ign_resource *r)
{
	const char *s = ign_str(verification, "hash");
	const char *dash = s ? strchr(s, '-') : NULL;
	struct err ignored = ERR_INIT;

	if (!dash)
		return;
	r->hash_kind = strncmp(s, "sha256-", 7) == 0 ? DIGEST_SHA256 : DIGEST_SHA512;
	r->has_hash =
		hex_parse(dash + 1, "hash", r->hash, digest_size(r->hash_kind), &ignored) >= 0;
}

static struct ign_resource take_resource(struct take *t, const json_t *o)
{
	struct ign_resource r = { .source = ign_str(o, "source") };
	const char *compression = ign_str(o, "compression");
	const json_t *list;

	r.gzip = compression && strcmp(compression, "gzip") == 0;
	take_hash(json_object_get(o, "verification"), &r);
	r.header = take_list(t, o, "httpHeaders", sizeof(*r.header), &r.headers, &list);
	r.headers = 0;
	for (size_t i = 0; r.header && i < json_array_size(list); i++) {
		const json_t *h = json_array_get(list, i);

		/* without a value it only removes the parent's */
		if (ign_str(h, "value"))
			r.header[r.headers++] =
				(struct ign_header){ ign_str(h, "name"), ign_str(h, "value") };
	}
	return r;
}

static struct ign_resource *take_resources(struct take *t, const json_t *o, const char *key,
					   size_t *ret_n)
{
	const json_t *list;
	struct ign_resource *r = take_list(t, o, key, sizeof(*r), ret_n, &list);

	for (size_t i = 0; i < *ret_n; i++)
		r[i] = take_resource(t, json_array_get(list, i));
	return r;
}

static struct ign_owner take_owner(const json_t *o)
{
	struct ign_owner w = { 0 };

	w.has_id = take_id(o, "id", &w.id);
	if (!w.has_id)
		w.name = ign_str_set(o, "name");
	return w;
}

static struct ign_node take_node(const json_t *o)
{
	return (struct ign_node){
		.path = ign_str(o, "path"),
		.user = take_owner(json_object_get(o, "user")),
		.group = take_owner(json_object_get(o, "group")),
		.overwrite = take_tri(o, "overwrite"),
	};
}

static void take_nodes(struct take *t, const json_t *storage, struct ign_config *c)
{
	const json_t *list;

	c->directory =
		take_list(t, storage, "directories", sizeof(*c->directory), &c->directories, &list);
	for (size_t i = 0; i < c->directories; i++) {
		const json_t *o = json_array_get(list, i);

		c->directory[i].node = take_node(o);
		c->directory[i].mode = take_mode(o);
	}
	c->file = take_list(t, storage, "files", sizeof(*c->file), &c->files, &list);
	for (size_t i = 0; i < c->files; i++) {
		const json_t *o = json_array_get(list, i);
		struct ign_file *f = &c->file[i];

		f->node = take_node(o);
		f->mode = take_mode(o);
		f->contents = take_resource(t, json_object_get(o, "contents"));
		f->append = take_resources(t, o, "append", &f->appends);
	}
	c->link = take_list(t, storage, "links", sizeof(*c->link), &c->links, &list);
	for (size_t i = 0; i < c->links; i++) {
		const json_t *o = json_array_get(list, i);

		c->link[i].node = take_node(o);
		c->link[i].target = ign_str(o, "target");
		c->link[i].hard = ign_true(o, "hard");
	}
}

static void take_filesystems(struct take *t, const json_t *storage, struct ign_config *c)
{
	const json_t *list;

	c->filesystem = take_list(t, storage, "filesystems", sizeof(*c->filesystem),
				  &c->filesystems, &list);
	for (size_t i = 0; i < c->filesystems; i++) {
		const json_t *o = json_array_get(list, i);
		struct ign_filesystem *f = &c->filesystem[i];

		f->device = ign_str(o, "device");
		f->format = ign_str_set(o, "format");
		f->label = ign_str_set(o, "label");
		f->uuid = ign_str_set(o, "uuid");
		f->path = ign_str_set(o, "path");
		f->options = take_strings(t, o, "options");
		f->mount_options = take_strings(t, o, "mountOptions");
		f->wipe = take_tri(o, "wipeFilesystem");
	}
}

static void take_units(struct take *t, const json_t *systemd, struct ign_config *c)
{
	const json_t *list, *dropins;

	c->unit = take_list(t, systemd, "units", sizeof(*c->unit), &c->units, &list);
	for (size_t i = 0; i < c->units; i++) {
		const json_t *o = json_array_get(list, i);
		struct ign_unit *u = &c->unit[i];

		u->name = ign_str(o, "name");
		u->contents = ign_str(o, "contents");
		u->enabled = take_tri(o, "enabled");
		u->mask = take_tri(o, "mask");
		u->dropin = take_list(t, o, "dropins", sizeof(*u->dropin), &u->dropins, &dropins);
		for (size_t k = 0; k < u->dropins; k++) {
			const json_t *d = json_array_get(dropins, k);

			u->dropin[k].name = ign_str(d, "name");
			u->dropin[k].contents = ign_str(d, "contents");
		}
	}
}

static void take_user(struct take *t, const json_t *o, struct ign_user *u)
{
	u->name = ign_str(o, "name");
	u->password_hash = ign_str(o, "passwordHash");
	u->gecos = ign_str(o, "gecos");
	u->home = ign_str(o, "homeDir");
	u->shell = ign_str(o, "shell");
	u->primary_group = ign_str(o, "primaryGroup");
	u->groups = take_strings(t, o, "groups");
	u->ssh_keys = take_strings(t, o, "sshAuthorizedKeys");
	u->has_uid = take_id(o, "uid", &u->uid);
	u->should_exist = take_tri(o, "shouldExist");
	u->system = take_tri(o, "system");
	u->no_create_home = take_tri(o, "noCreateHome");
	u->no_user_group = take_tri(o, "noUserGroup");
	u->no_log_init = take_tri(o, "noLogInit");
}

static void take_passwd(struct take *t, const json_t *passwd, struct ign_config *c)
{
	const json_t *list;

	c->user = take_list(t, passwd, "users", sizeof(*c->user), &c->users, &list);
	for (size_t i = 0; i < c->users; i++)
		take_user(t, json_array_get(list, i), &c->user[i]);
	c->group = take_list(t, passwd, "groups", sizeof(*c->group), &c->groups, &list);
	for (size_t i = 0; i < c->groups; i++) {
		const json_t *o = json_array_get(list, i);
		struct ign_group *g = &c->group[i];

		g->name = ign_str(o, "name");
		g->password_hash = ign_str(o, "passwordHash");
		g->has_gid = take_id(o, "gid", &g->gid);
		g->should_exist = take_tri(o, "shouldExist");
		g->system = take_tri(o, "system");
	}
}

static void take_ignition(struct take *t, const json_t *ignition, struct ign_config *c)
{
	const json_t *config = json_object_get(ignition, "config");
	const json_t *proxy = json_object_get(ignition, "proxy");
	const json_t *timeouts = json_object_get(ignition, "timeouts");
	const json_t *tls = json_object_get(json_object_get(ignition, "security"), "tls");
	json_int_t n;

	c->merge = take_resources(t, config, "merge", &c->merges);
	c->replace = take_resource(t, json_object_get(config, "replace"));
	c->ca = take_resources(t, tls, "certificateAuthorities", &c->cas);
	c->timeouts.has_headers = ign_int(timeouts, "httpResponseHeaders", &n);
	if (c->timeouts.has_headers)
		c->timeouts.headers_s = (unsigned)n;
	c->timeouts.has_total = ign_int(timeouts, "httpTotal", &n);
	if (c->timeouts.has_total)
		c->timeouts.total_s = (unsigned)n;
	c->proxy.http = ign_str(proxy, "httpProxy");
	c->proxy.https = ign_str(proxy, "httpsProxy");
	c->proxy.none = take_strings(t, proxy, "noProxy");
}

static void take_all(struct take *t, struct ign_config *c)
{
	const json_t *root = t->tree->root;
	const json_t *kargs = json_object_get(root, "kernelArguments");
	const json_t *storage = json_object_get(root, "storage");

	take_ignition(t, json_object_get(root, "ignition"), c);
	c->kargs_exist = take_strings(t, kargs, "shouldExist");
	c->kargs_absent = take_strings(t, kargs, "shouldNotExist");
	take_nodes(t, storage, c);
	take_filesystems(t, storage, c);
	take_units(t, json_object_get(root, "systemd"), c);
	take_passwd(t, json_object_get(root, "passwd"), c);
}

int ign_take(json_t *root, struct ign_config **ret, struct err *e)
{
	AUTO_JSON *hold = root;
	AUTO_IGN_CONFIG *c = calloc(1, sizeof(*c));
	struct take t = { .tree = calloc(1, sizeof(*t.tree)) };

	if (!c || !t.tree) {
		free(t.tree);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	c->tree = t.tree;
	c->tree->root = json_incref(hold);
	take_all(&t, c);
	if (t.failed)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*ret = c;
	c = NULL;
	return 0;
}

json_t *ign_config_tree(const struct ign_config *c)
{
	return c->tree->root;
}

void ign_config_free(struct ign_config *c)
{
	if (!c)
		return;
	while (c->tree && c->tree->blocks) {
		struct block *b = c->tree->blocks;

		c->tree->blocks = b->next;
		free(b);
	}
	if (c->tree)
		json_decref(c->tree->root);
	free(c->tree);
	free(c);
}
