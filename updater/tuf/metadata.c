/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/tuf/metadata.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "updater/tuf/canon.h"
#include "updater/tuf/refuse.h"

/* What every parsing step needs to refuse with. */
struct ctx {
	const char *what;
	enum tuf_reason *why;
	struct err *e;
};

static const char *const type_names[] = { "root", "timestamp", "snapshot", "targets" };
enum { TOP_ROLES = 4 };

const char *tuf_type_name(enum tuf_type t)
{
	return type_names[t];
}

static int bad(const struct ctx *c, const char *problem)
{
	return TUF_REFUSE(c->why, TUF_REASON_MALFORMED, c->e, EBADMSG, "%s: %s", c->what, problem);
}

static int too_many(const struct ctx *c, const char *things, size_t max)
{
	return TUF_REFUSE(c->why, TUF_REASON_MALFORMED, c->e, EFBIG, "%s: more than %zu %s",
			  c->what, max, things);
}

static int no_memory(const struct ctx *c)
{
	tuf_why(c->why, TUF_REASON_INTERNAL);
	return err_set(c->e, ERR_HOST, ENOMEM, "%s: out of memory", c->what);
}

static int get_obj(const struct ctx *c, const json_t *o, const char *key, json_t **ret)
{
	int r = json_get_obj(o, key, c->what, ret, c->e);

	return r < 0 ? tuf_malformed(r, c->why, c->e) : 0;
}

static int get_arr(const struct ctx *c, const json_t *o, const char *key, json_t **ret)
{
	int r = json_get_arr(o, key, c->what, ret, c->e);

	return r < 0 ? tuf_malformed(r, c->why, c->e) : 0;
}

static int get_str(const struct ctx *c, const json_t *o, const char *key, const char **ret)
{
	int r = json_get_str(o, key, c->what, ret, c->e);

	return r < 0 ? tuf_malformed(r, c->why, c->e) : 0;
}

static int get_version(const struct ctx *c, const json_t *o, uint64_t *ret)
{
	uint64_t v;
	int r = json_get_u64(o, "version", c->what, TUF_VERSION_MAX, &v, c->e);

	if (r < 0)
		return tuf_malformed(r, c->why, c->e);
	if (v == 0)
		return bad(c, "version: must be at least 1");
	*ret = v;
	return 0;
}

/* An array of strings; later copies of one are dropped. */
static int get_strings(const struct ctx *c, const json_t *arr, size_t max, const char *things,
		       const char ***ret, size_t *ret_n)
{
	AUTO_JSON *seen = json_object();
	size_t n = json_array_size(arr), k = 0;
	AUTO_FREE const char **list = NULL;

	if (n > max)
		return too_many(c, things, max);
	list = calloc(n ? n : 1, sizeof(*list));
	if (!list || !seen)
		return no_memory(c);
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(arr, i));

		if (!s)
			return TUF_REFUSE(c->why, TUF_REASON_MALFORMED, c->e, EBADMSG,
					  "%s: %s: must be strings", c->what, things);
		if (json_object_get(seen, s))
			continue;
		if (json_object_set_new(seen, s, json_true()) < 0)
			return no_memory(c);
		list[k++] = s;
	}
	*ret = TAKE(list);
	*ret_n = k;
	return 0;
}

/* HASHES: unknown algorithms are legal and skipped. */
static int get_hashes(const struct ctx *c, const json_t *o, struct tuf_hashes *ret)
{
	const json_t *h = json_object_get(o, "hashes");
	struct tuf_hashes out = { .present = h != NULL };
	const json_t *v;

	if (h && !json_is_object(h))
		return bad(c, "hashes: must be an object");
	v = json_object_get(h, "sha256");
	if (v) {
		if (!json_is_string(v) || hex_parse(json_string_value(v), "sha256", out.sha256,
						    sizeof(out.sha256), NULL) < 0)
			return bad(c, "sha256: must be 64 hexadecimal digits");
		out.has256 = true;
	}
	v = json_object_get(h, "sha512");
	if (v) {
		if (!json_is_string(v) || hex_parse(json_string_value(v), "sha512", out.sha512,
						    sizeof(out.sha512), NULL) < 0)
			return bad(c, "sha512: must be 128 hexadecimal digits");
		out.has512 = true;
	}
	*ret = out;
	return 0;
}

static int get_listed(const struct ctx *c, const json_t *o, struct tuf_listed *ret)
{
	struct tuf_listed l = { .has_length = json_object_get(o, "length") != NULL };
	int r;

	if (!json_is_object(o))
		return bad(c, "meta: every file must have an object");
	r = get_version(c, o, &l.version);
	if (r < 0)
		return r;
	r = json_get_u64_opt(o, "length", c->what, (uint64_t)INT64_MAX, 0, &l.length, c->e);
	if (r < 0)
		return tuf_malformed(r, c->why, c->e);
	r = get_hashes(c, o, &l.hashes);
	if (r < 0)
		return r;
	*ret = l;
	return 0;
}

/* keyids and threshold, which root's roles and delegations share. */
static int get_signatories(const struct ctx *c, const json_t *o, struct tuf_role *role)
{
	json_t *ids;
	int r;

	if (!json_is_object(o))
		return bad(c, "every role must be an object");
	r = get_arr(c, o, "keyids", &ids);
	if (r < 0)
		return r;
	r = get_strings(c, ids, TUF_KEYS_MAX, "keyids of one role", &role->keyids, &role->keyids_n);
	if (r < 0)
		return r;
	r = json_get_u64(o, "threshold", c->what, TUF_VERSION_MAX, &role->threshold, c->e);
	if (r < 0)
		return tuf_malformed(r, c->why, c->e);
	if (role->threshold == 0)
		return bad(c, "threshold: must be at least 1");
	return 0;
}

static int read_keys(const struct ctx *c, json_t *keys, struct tuf_md *md)
{
	size_t n = json_object_size(keys);
	const char *name;
	json_t *key;

	if (n > TUF_KEYS_MAX)
		return too_many(c, "keys", TUF_KEYS_MAX);
	md->keys = calloc(n ? n : 1, sizeof(*md->keys));
	md->key_names = calloc(n ? n : 1, sizeof(*md->key_names));
	if (!md->keys || !md->key_names)
		return no_memory(c);
	json_object_foreach(keys, name, key)
	{
		if (!json_is_object(key))
			return bad(c, "keys: every key must be an object");
		if (tuf_key_read(key, name, &md->keys[md->keys_n], c->e) < 0)
			return no_memory(c);
		md->key_names[md->keys_n++] = name;
	}
	return 0;
}

static int read_root(const struct ctx *c, struct tuf_md *md)
{
	json_t *keys, *roles;
	int r;

	r = get_obj(c, md->body, "keys", &keys);
	if (r >= 0)
		r = get_obj(c, md->body, "roles", &roles);
	if (r >= 0)
		r = read_keys(c, keys, md);
	if (r < 0)
		return r;
	r = json_get_bool_opt(md->body, "consistent_snapshot", c->what, false,
			      &md->consistent_snapshot, c->e);
	if (r < 0)
		return tuf_malformed(r, c->why, c->e);
	md->roles = calloc(TOP_ROLES, sizeof(*md->roles));
	if (!md->roles)
		return no_memory(c);
	for (size_t i = 0; i < TOP_ROLES; i++) {
		json_t *o;

		r = get_obj(c, roles, type_names[i], &o);
		if (r < 0)
			return r;
		md->roles[i].name = type_names[i];
		md->roles_n = i + 1;
		r = get_signatories(c, o, &md->roles[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_timestamp(const struct ctx *c, struct tuf_md *md)
{
	json_t *meta, *o;
	int r;

	r = get_obj(c, md->body, "meta", &meta);
	if (r >= 0)
		r = get_obj(c, meta, "snapshot.json", &o);
	return r < 0 ? r : get_listed(c, o, &md->snapshot);
}

static int read_snapshot(const struct ctx *c, const struct tuf_md *md)
{
	struct tuf_listed l;
	const char *name;
	json_t *meta, *o;
	int r;

	r = get_obj(c, md->body, "meta", &meta);
	if (r < 0)
		return r;
	json_object_foreach(meta, name, o)
	{
		r = get_listed(c, o, &l);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_name(const struct ctx *c, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < TOP_ROLES; i++)
		if (strcmp(name, type_names[i]) == 0)
			return bad(c, "a delegated role takes the name of a top-level one");
	for (const char *p = name; *p && n <= TUF_ROLE_MAX; p++)
		n += isalnum((unsigned char)*p) || strchr("_.-~", *p) ? 1 : 3;
	if (n == 0 || n > TUF_ROLE_MAX)
		return bad(c, "a delegated role's name is empty or too long");
	return 0;
}

static int check_patterns(const struct ctx *c, const struct tuf_role *role)
{
	for (size_t i = 0; i < role->paths_n; i++)
		if (strnlen(role->paths[i], TUF_PATH_MAX + 1) > TUF_PATH_MAX)
			return bad(c, "paths: a pattern is too long");
	for (size_t i = 0; i < role->prefixes_n; i++)
		if (strspn(role->prefixes[i], "0123456789abcdef") != strlen(role->prefixes[i]) ||
		    strlen(role->prefixes[i]) >= SHA256_HEX_MAX)
			return bad(c, "path_hash_prefixes: must be lower-case hexadecimal digits");
	return 0;
}

static int read_delegation(const struct ctx *c, const json_t *o, struct tuf_role *role)
{
	const json_t *paths, *prefixes;
	int r;

	r = get_signatories(c, o, role);
	if (r >= 0)
		r = get_str(c, o, "name", &role->name);
	if (r >= 0)
		r = check_name(c, role->name);
	if (r < 0)
		return r;
	r = json_get_bool_opt(o, "terminating", c->what, false, &role->terminating, c->e);
	if (r < 0)
		return tuf_malformed(r, c->why, c->e);
	paths = json_object_get(o, "paths");
	prefixes = json_object_get(o, "path_hash_prefixes");
	role->by_prefix = prefixes != NULL;
	if (!paths == !prefixes || !json_is_array(paths ? paths : prefixes))
		return bad(c, "a delegation needs either a list of paths or of path_hash_prefixes");
	if (paths)
		r = get_strings(c, paths, TUF_PATTERNS_MAX, "paths", &role->paths, &role->paths_n);
	else
		r = get_strings(c, prefixes, TUF_PATTERNS_MAX, "path_hash_prefixes",
				&role->prefixes, &role->prefixes_n);
	return r < 0 ? r : check_patterns(c, role);
}

static int read_delegations(const struct ctx *c, json_t *o, struct tuf_md *md)
{
	AUTO_JSON *seen = json_object();
	json_t *keys, *roles;
	size_t n;
	int r;

	r = get_obj(c, o, "keys", &keys);
	if (r >= 0)
		r = get_arr(c, o, "roles", &roles);
	if (r >= 0)
		r = read_keys(c, keys, md);
	if (r < 0)
		return r;
	n = json_array_size(roles);
	if (n > TUF_DELEGATIONS_MAX)
		return too_many(c, "delegations", TUF_DELEGATIONS_MAX);
	md->roles = calloc(n ? n : 1, sizeof(*md->roles));
	if (!md->roles || !seen)
		return no_memory(c);
	for (size_t i = 0; i < n; i++) {
		md->roles_n = i + 1;
		r = read_delegation(c, json_array_get(roles, i), &md->roles[i]);
		if (r < 0)
			return r;
		if (json_object_get(seen, md->roles[i].name))
			return bad(c, "two delegations to one role");
		if (json_object_set_new(seen, md->roles[i].name, json_true()) < 0)
			return no_memory(c);
	}
	return 0;
}

static int get_target(const struct ctx *c, const char *path, const json_t *o,
		      struct tuf_target *ret)
{
	struct tuf_target t = { .path = path, .custom = json_object_get(o, "custom") };
	int r;

	if (!json_is_object(o))
		return bad(c, "targets: every target must have an object");
	if (path[0] == '\0' || strnlen(path, TUF_PATH_MAX + 1) > TUF_PATH_MAX)
		return bad(c, "targets: a path is empty or too long");
	r = json_get_u64(o, "length", c->what, (uint64_t)INT64_MAX, &t.length, c->e);
	if (r < 0)
		return tuf_malformed(r, c->why, c->e);
	r = get_hashes(c, o, &t.hashes);
	if (r < 0)
		return r;
	if (!t.hashes.present)
		return bad(c, "targets: a target has no hashes");
	if (t.custom && !json_is_object(t.custom))
		return bad(c, "targets: custom must be an object");
	*ret = t;
	return 0;
}

static int read_targets(const struct ctx *c, struct tuf_md *md)
{
	json_t *targets, *delegations = json_object_get(md->body, "delegations");
	struct tuf_target t;
	const char *path;
	json_t *o;
	int r;

	r = get_obj(c, md->body, "targets", &targets);
	if (r < 0)
		return r;
	json_object_foreach(targets, path, o)
	{
		r = get_target(c, path, o, &t);
		if (r < 0)
			return r;
	}
	if (!delegations)
		return 0;
	if (!json_is_object(delegations))
		return bad(c, "delegations: must be an object");
	return read_delegations(c, delegations, md);
}

/* 4.2.1: a key id must not appear twice, so that no signature is counted twice. */
static int check_signatures(const struct ctx *c, const json_t *sigs)
{
	AUTO_JSON *seen = json_object();
	size_t n = json_array_size(sigs);

	if (!seen)
		return no_memory(c);
	if (n > TUF_SIGNATURES_MAX)
		return too_many(c, "signatures", TUF_SIGNATURES_MAX);
	for (size_t i = 0; i < n; i++) {
		const json_t *s = json_array_get(sigs, i);
		const char *id = json_string_value(json_object_get(s, "keyid"));

		if (!id || !json_is_string(json_object_get(s, "sig")))
			return bad(c, "signatures: each needs the strings keyid and sig");
		if (json_object_get(seen, id))
			return TUF_REFUSE(c->why, TUF_REASON_DUPLICATE, c->e, EBADMSG,
					  "%s: two signatures under one key id", c->what);
		if (json_object_set_new(seen, id, json_true()) < 0)
			return no_memory(c);
	}
	return 0;
}

static int check_type(const struct ctx *c, const struct tuf_md *md)
{
	const char *type, *spec;
	int r;

	r = get_str(c, md->body, "_type", &type);
	if (r >= 0)
		r = get_str(c, md->body, "spec_version", &spec);
	if (r < 0)
		return r;
	if (strcmp(type, type_names[md->type]) != 0) {
		for (size_t i = 0; i < TOP_ROLES; i++)
			if (strcmp(type, type_names[i]) == 0)
				return TUF_REFUSE(c->why, TUF_REASON_WRONG_TYPE, c->e, EBADMSG,
						  "%s: is a %s file, not %s", c->what, type,
						  type_names[md->type]);
		return TUF_REFUSE(c->why, TUF_REASON_WRONG_TYPE, c->e, EBADMSG,
				  "%s: _type is unknown", c->what);
	}
	if (strncmp(spec, "1.", 2) != 0 || !isdigit((unsigned char)spec[2]))
		return bad(c, "spec_version: must be 1.x, this client knows no other");
	return 0;
}

static int read_body(const struct ctx *c, struct tuf_md *md)
{
	json_t *sigs;
	int r;

	if (!json_is_object(md->doc))
		return bad(c, "must be a JSON object");
	r = get_obj(c, md->doc, "signed", &md->body);
	if (r >= 0)
		r = get_arr(c, md->doc, "signatures", &sigs);
	if (r >= 0)
		r = check_signatures(c, sigs);
	if (r < 0)
		return r;
	r = tuf_canon(md->body, &md->canon, c->e);
	if (r < 0)
		return tuf_malformed(err_wrap(c->e, r, "%s", c->what), c->why, c->e);
	r = check_type(c, md);
	if (r >= 0)
		r = get_version(c, md->body, &md->version);
	if (r < 0)
		return r;
	r = json_get_time(md->body, "expires", c->what, &md->expires, c->e);
	return r < 0 ? tuf_malformed(r, c->why, c->e) : 0;
}

int tuf_md_read(const void *p, size_t n, enum tuf_type want, const char *what, struct tuf_md **ret,
		enum tuf_reason *ret_why, struct err *e)
{
	const struct ctx c = { .what = what, .why = ret_why, .e = e };
	const struct json_limits lim = { .bytes = n, .depth = TUF_DEPTH_MAX };
	AUTO_TUF_MD *md = calloc(1, sizeof(*md));
	int r;

	if (!md)
		return no_memory(&c);
	md->type = want;
	r = json_read(p, n, &lim, what, &md->doc, e);
	if (r < 0)
		return tuf_malformed(r, ret_why, e);
	r = read_body(&c, md);
	if (r < 0)
		return r;
	switch (want) {
	case TUF_ROOT:
		r = read_root(&c, md);
		break;
	case TUF_TIMESTAMP:
		r = read_timestamp(&c, md);
		break;
	case TUF_SNAPSHOT:
		r = read_snapshot(&c, md);
		break;
	case TUF_TARGETS:
		r = read_targets(&c, md);
		break;
	}
	if (r < 0)
		return r;
	*ret = TAKE(md);
	return 0;
}

void tuf_md_free(struct tuf_md *md)
{
	if (!md)
		return;
	for (size_t i = 0; i < md->keys_n; i++)
		tuf_key_done(&md->keys[i]);
	for (size_t i = 0; i < md->roles_n; i++) {
		free((void *)md->roles[i].keyids);
		free((void *)md->roles[i].paths);
		free((void *)md->roles[i].prefixes);
	}
	free(md->keys);
	free((void *)md->key_names);
	free(md->roles);
	buf_done(&md->canon);
	json_decref(md->doc);
	free(md);
}

const struct tuf_role *tuf_md_role(const struct tuf_md *md, const char *name)
{
	for (size_t i = 0; i < md->roles_n; i++)
		if (strcmp(md->roles[i].name, name) == 0)
			return &md->roles[i];
	return NULL;
}

int tuf_md_listed(const struct tuf_md *snapshot, const char *file, struct tuf_listed *ret,
		  struct err *e)
{
	const struct ctx c = { .what = "snapshot.json", .e = e };
	const json_t *o = json_object_get(json_object_get(snapshot->body, "meta"), file);

	if (!o)
		return err_set(e, ERR_REFUSED, ENOENT, "snapshot.json does not list %s", file);
	return get_listed(&c, o, ret);
}

int tuf_md_target(const struct tuf_md *md, const char *path, struct tuf_target *ret,
		  enum tuf_reason *ret_why, struct err *e)
{
	const struct ctx c = { .what = "targets", .why = ret_why, .e = e };
	json_t *all = json_object_get(md->body, "targets");
	void *it = json_object_iter_at(all, path);
	struct tuf_target t;
	int r;

	if (!it) {
		tuf_why(ret_why, TUF_REASON_NO_TARGET);
		return err_set(e, ERR_INPUT, ENOENT, "no such target");
	}
	/* the path is borrowed from md, as the caller's may go away */
	r = get_target(&c, json_object_iter_key(it), json_object_iter_value(it), &t);
	if (r < 0)
		return r;
	if (!t.hashes.has256 && !t.hashes.has512)
		return TUF_REFUSE(ret_why, TUF_REASON_UNKNOWN_HASH, e, EBADMSG,
				  "the target lists neither sha256 nor sha512");
	*ret = t;
	return 0;
}
