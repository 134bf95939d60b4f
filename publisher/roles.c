/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/roles.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/version.h"
#include "publisher/root.h"
#include "updater/tuf/canon.h"
#include "updater/tuf/sign.h"

#define SPEC_VERSION "1.0.34"
enum { FILE_BYTES = TUF_ROLE_MAX + 32, TRIES_MAX = 1024 };

static const char *const top_roles[] = { "root", "timestamp", "snapshot", "targets" };
enum { TOP_ROLES = 4 };

void roles_done(struct roles *m)
{
	tuf_md_free(m->root);
	tuf_md_free(m->targets_md);
	json_decref(m->root_next);
	json_decref(m->targets);
	json_decref(m->snapshot);
	json_decref(m->timestamp);
	json_decref(m->signed_by);
	json_decref(m->given);
	for (size_t i = 0; i < m->n_channel; i++) {
		json_decref(m->channel[i].body);
		json_decref(m->channel[i].doc);
	}
	*m = (struct roles)ROLES_INIT;
}

int64_t roles_expires(const json_t *body)
{
	int64_t t = 0;

	return json_get_time(body, "expires", "", &t, NULL) < 0 ? 0 : t;
}

bool roles_is_top(const char *name)
{
	for (size_t i = 0; i < TOP_ROLES; i++)
		if (strcmp(name, top_roles[i]) == 0)
			return true;
	return false;
}

bool channel_name_valid(const char *name)
{
	return !roles_is_top(name) && image_id_valid(name);
}

static json_t *root_body(const struct roles *m)
{
	return m->root_next ? m->root_next : m->root ? m->root->body : NULL;
}

json_t *roles_signers(const struct roles *m, const char *role)
{
	json_t *arr = json_object_get(json_object_get(m->targets, "delegations"), "roles");
	json_t *top = json_object_get(json_object_get(root_body(m), "roles"), role);

	for (size_t i = 0; !top && i < json_array_size(arr); i++) {
		json_t *o = json_array_get(arr, i);
		const char *name = json_string_value(json_object_get(o, "name"));

		if (name && strcmp(name, role) == 0)
			return o;
	}
	return top;
}

json_t *roles_names(const struct roles *m, const char *role)
{
	return json_object_get(roles_is_top(role) ? root_body(m) : m->targets, ROLES_NAMES);
}

json_t *roles_body(const struct roles *m, const char *role)
{
	if (strcmp(role, "root") == 0)
		return root_body(m);
	if (strcmp(role, "targets") == 0)
		return m->targets;
	if (strcmp(role, "snapshot") == 0)
		return m->snapshot;
	if (strcmp(role, "timestamp") == 0)
		return m->timestamp;
	for (size_t i = 0; i < m->n_channel; i++)
		if (strcmp(m->channel[i].name, role) == 0)
			return m->channel[i].body;
	return NULL;
}

/* ---- reading ---- */

struct want {
	const char *file;
	enum tuf_type type;
	const struct tuf_md *keys_of;
	const char *role;
	const struct tuf_listed *listed; /* NULL: not listed anywhere */
};

static int note_signers(struct roles *m, const char *role, const struct tuf_signers *s,
			struct err *e)
{
	json_t *ids = json_array();
	int q = json_put(m->signed_by, role, ids, e);

	for (size_t i = 0; q >= 0 && i < s->n && i < TUF_SIGNERS_MAX; i++)
		q = json_push(ids, json_string(s->id[i]), e);
	return q;
}

static int read_role(const struct repo *r, struct roles *m, const struct want *w,
		     struct tuf_md **ret, struct err *e)
{
	AUTO_FREE struct tuf_signers *signers = malloc(sizeof(*signers));
	AUTO_FREE char *p = NULL;
	AUTO_TUF_MD *md = NULL;
	const struct tuf_role *role;
	size_t n;
	int q;

	if (!signers)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = file_read(sys_linux(), r->meta, w->file, REPO_META_MAX, &p, &n, e);
	if (q < 0)
		return err_wrap(e, q, "'%s/metadata'", r->path);
	if (w->listed) {
		q = tuf_listed_check(w->listed, p, n, w->file, NULL, e);
		if (q < 0)
			return q;
	}
	q = tuf_md_read(p, n, w->type, w->file, &md, NULL, e);
	if (q < 0)
		return q;
	role = tuf_md_role(w->keys_of, w->role);
	if (!role)
		return err_set(e, ERR_REFUSED, EKEYREJECTED, "%s: nobody may sign it", w->file);
	q = tuf_md_verify(md, w->keys_of, role, w->file, signers, NULL, e);
	if (q < 0)
		return q;
	if (w->listed && md->version != w->listed->version)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s: says it is version %" PRIu64, w->file,
			       md->version);
	q = note_signers(m, w->role, signers, e);
	if (q >= 0)
		*ret = TAKE(md);
	return q;
}

/* A body that may be changed, with whatever members it has. */
static int body_copy(const struct tuf_md *md, json_t **ret, struct err *e)
{
	*ret = json_deep_copy(md->body);
	return *ret ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* The newest N.<role>.json that is signed as it must be; what a stranger put beside is passed by.
 */
static int read_newest(const struct repo *r, struct roles *m, const char *role,
		       const struct tuf_md *keys_of, struct tuf_md **ret, struct err *e)
{
	uint64_t below = REPO_VERSION_MAX;
	char file[FILE_BYTES];

	for (unsigned i = 0; i < TRIES_MAX; i++) {
		const struct want w = {
			.file = file, .type = TUF_TARGETS, .keys_of = keys_of, .role = role
		};
		AUTO_TUF_MD *md = NULL;
		uint64_t n = 0;
		int q = repo_highest(r, role, below, &n, e);

		if (q < 0)
			return q;
		if (n == 0)
			break;
		(void)snprintf(file, sizeof(file), "%" PRIu64 ".%s.json", n, role);
		if (read_role(r, m, &w, &md, NULL) >= 0 && md->version == n) {
			*ret = TAKE(md);
			return 0;
		}
		below = n;
	}
	return err_set(e, ERR_REFUSED, ENOENT, "no metadata/N.%s.json is signed as it must be",
		       role);
}

/* A role of type targets: as the snapshot lists it, or without one the newest. */
static int read_listed(const struct repo *r, struct roles *m, const struct tuf_md *snapshot,
		       const char *role, const struct tuf_md *keys_of, struct tuf_md **ret,
		       struct err *e)
{
	struct tuf_listed listed;
	char file[FILE_BYTES];
	struct want w = { .file = file,
			  .type = TUF_TARGETS,
			  .keys_of = keys_of,
			  .role = role,
			  .listed = &listed };
	int q;

	if (!snapshot)
		return read_newest(r, m, role, keys_of, ret, e);
	(void)snprintf(file, sizeof(file), "%s.json", role);
	q = tuf_md_listed(snapshot, file, &listed, e);
	if (q < 0)
		return q;
	(void)snprintf(file, sizeof(file), "%" PRIu64 ".%s.json", listed.version, role);
	return read_role(r, m, &w, ret, e);
}

static int read_channel(const struct repo *r, struct roles *m, const struct tuf_md *snapshot,
			const char *name, struct err *e)
{
	struct channel *c = &m->channel[m->n_channel];
	AUTO_TUF_MD *md = NULL;
	int q;

	if (m->n_channel == ROLES_CHANNELS_MAX || !channel_name_valid(name))
		return err_set(e, ERR_INPUT, E2BIG,
			       "'%s': too many channels, or a strange name: "
			       "this repository was not made by proa-publish",
			       name);
	q = read_listed(r, m, snapshot, name, m->targets_md, &md, e);
	q = q < 0 ? q : body_copy(md, &c->body, e);
	if (q < 0)
		return q;
	c->doc = json_incref(md->doc);
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	m->n_channel++;
	return 0;
}

static int read_targets(const struct repo *r, struct roles *m, const struct tuf_md *snapshot,
			struct err *e)
{
	int q = read_listed(r, m, snapshot, "targets", m->root, &m->targets_md, e);

	q = q < 0 ? q : body_copy(m->targets_md, &m->targets, e);
	for (size_t i = 0; q >= 0 && i < m->targets_md->roles_n; i++)
		q = read_channel(r, m, snapshot, m->targets_md->roles[i].name, e);
	return q;
}

static int read_online(const struct repo *r, struct roles *m, struct tuf_md **snapshot,
		       struct err *e)
{
	AUTO_TUF_MD *timestamp = NULL;
	struct want w = { .file = "timestamp.json",
			  .type = TUF_TIMESTAMP,
			  .keys_of = m->root,
			  .role = "timestamp" };
	char file[FILE_BYTES];
	int q = read_role(r, m, &w, &timestamp, e);

	q = q < 0 ? q : body_copy(timestamp, &m->timestamp, e);
	if (q < 0)
		return q;
	(void)snprintf(file, sizeof(file), "%" PRIu64 ".snapshot.json",
		       timestamp->snapshot.version);
	w = (struct want){ file, TUF_SNAPSHOT, m->root, "snapshot", &timestamp->snapshot };
	q = read_role(r, m, &w, snapshot, e);
	return q < 0 ? q : body_copy(*snapshot, &m->snapshot, e);
}

/* ---- rebuilding ---- */

static int new_body(const char *type, json_t **ret, struct err *e)
{
	json_t *j = json_pack("{s:s,s:s,s:i}", "_type", type, "spec_version", SPEC_VERSION,
			      "version", 0);

	*ret = j;
	return j ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* The number of the timestamp that lies there, whoever signed it, so that the next is higher. */
static uint64_t last_timestamp(const struct repo *r)
{
	const struct json_limits lim = { .bytes = REPO_META_MAX, .depth = TUF_DEPTH_MAX };
	AUTO_FREE char *p = NULL;
	AUTO_JSON *j = NULL;
	uint64_t v = 0;
	size_t n;

	if (file_read(sys_linux(), r->meta, "timestamp.json", REPO_META_MAX, &p, &n, NULL) < 0 ||
	    json_read(p, n, &lim, "", &j, NULL) < 0 ||
	    json_get_u64(json_object_get(j, "signed"), "version", "", REPO_VERSION_MAX, &v, NULL) <
		    0)
		return 0;
	return v;
}

static int list_again(const struct repo *r, json_t *meta, const char *role, const json_t *body,
		      struct err *e)
{
	json_int_t v = json_integer_value(json_object_get(body, "version"));
	AUTO_FREE char *p = NULL;
	char file[FILE_BYTES];
	size_t n;
	int q;

	(void)snprintf(file, sizeof(file), "%" JSON_INTEGER_FORMAT ".%s.json", v, role);
	q = file_read(sys_linux(), r->meta, file, REPO_META_MAX, &p, &n, e);
	(void)snprintf(file, sizeof(file), "%s.json", role);
	return q < 0 ? q : roles_list_file(meta, file, body, p, n, e);
}

static int rebuild_online(const struct repo *r, struct roles *m, struct err *e)
{
	json_t *meta = json_object();
	int q = new_body("snapshot", &m->snapshot, e);

	if (q < 0) {
		json_decref(meta);
		return q;
	}
	q = json_put(m->snapshot, "meta", meta, e);
	q = q < 0 ? q : new_body("timestamp", &m->timestamp, e);
	q = q < 0 ? q : json_put(m->timestamp, "meta", json_object(), e);
	q = q < 0 ? q : json_put_u64(m->timestamp, "version", last_timestamp(r), e);
	q = q < 0 ? q : list_again(r, meta, "targets", m->targets, e);
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		q = list_again(r, meta, m->channel[i].name, m->channel[i].body, e);
	return q;
}

static int read_all(const struct repo *r, struct roles *m, struct err *e)
{
	AUTO_TUF_MD *snapshot = NULL;
	int q = r->rebuild ? 0 : read_online(r, m, &snapshot, e);

	q = q < 0 ? q : read_targets(r, m, snapshot, e);
	if (q >= 0 && r->rebuild)
		q = rebuild_online(r, m, e);
	return q;
}

static int begin(struct roles *m, struct err *e)
{
	m->signed_by = json_object();
	m->given = json_object();
	return m->signed_by && m->given ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

int roles_load(const struct repo *r, struct roles *ret, struct err *e)
{
	AUTO_FREE struct tuf_signers *signers = malloc(sizeof(*signers));
	AUTO_ROLES m = ROLES_INIT;
	int q = signers ? begin(&m, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	q = q < 0 ? q : root_load(r, &m.root, e);
	if (q < 0)
		return q;
	tuf_md_signers(m.root, m.root, tuf_md_role(m.root, "root"), signers);
	q = note_signers(&m, "root", signers, e);
	q = q < 0 ? q : read_all(r, &m, e);
	if (q < 0)
		return q;
	*ret = m;
	m = (struct roles)ROLES_INIT;
	return 0;
}

/* ---- a new repository ---- */

static int new_root_body(json_t **ret, struct err *e)
{
	AUTO_JSON *body = NULL;
	json_t *roles = json_object();
	int q = new_body("root", &body, e);

	if (q < 0) {
		json_decref(roles);
		return q;
	}
	q = json_put(body, "roles", roles, e);
	q = q < 0 ? q : json_put(body, "keys", json_object(), e);
	q = q < 0 ? q : json_put(body, "consistent_snapshot", json_true(), e);
	for (size_t i = 0; q >= 0 && i < TOP_ROLES; i++)
		q = json_put(roles, top_roles[i], json_pack("{s:[],s:i}", "keyids", "threshold", 1),
			     e);
	if (q >= 0)
		*ret = TAKE(body);
	return q;
}

int roles_create(struct roles *ret, struct err *e)
{
	AUTO_ROLES m = ROLES_INIT;
	int q = begin(&m, e);

	q = q < 0 ? q : new_root_body(&m.root_next, e);
	q = q < 0 ? q : new_body("targets", &m.targets, e);
	q = q < 0 ? q : new_body("snapshot", &m.snapshot, e);
	q = q < 0 ? q : new_body("timestamp", &m.timestamp, e);
	q = q < 0 ? q : json_put(m.targets, "targets", json_object(), e);
	q = q < 0 ? q
		  : json_put(m.targets, "delegations", json_pack("{s:{},s:[]}", "keys", "roles"),
			     e);
	q = q < 0 ? q : json_put(m.snapshot, "meta", json_object(), e);
	q = q < 0 ? q : json_put(m.timestamp, "meta", json_object(), e);
	if (q < 0)
		return q;
	m.targets_changed = true;
	*ret = m;
	m = (struct roles)ROLES_INIT;
	return 0;
}

int roles_md(json_t *body, enum tuf_type type, const char *role, struct tuf_md **ret, struct err *e)
{
	AUTO_JSON *env = NULL;
	AUTO_BUF b = BUF_INIT;
	int q = tuf_envelope_new(body, &env, e);

	q = q < 0 ? q : json_write(env, true, &b, e);
	return q < 0 ? q : tuf_md_read(b.p, b.n, type, role, ret, NULL, e);
}

/* ---- channels ---- */

int roles_channel(struct roles *m, const char *name, struct channel **ret, struct err *e)
{
	AUTO_BUF known = BUF_INIT;
	int q = 0;

	for (size_t i = 0; q >= 0 && i < m->n_channel; i++) {
		if (strcmp(m->channel[i].name, name) == 0) {
			*ret = &m->channel[i];
			return 0;
		}
		q = buf_addf(&known, e, "%s%s", i ? ", " : "", m->channel[i].name);
	}
	if (q < 0)
		return q;
	return err_set(e, ERR_INPUT, ENOENT,
		       "no channel '%s' here (%s%.200s): make it with proa-publish channel add",
		       name, known.n ? "there are: " : "there is none yet", known.n ? known.p : "");
}

int roles_channel_add(struct roles *m, const char *name, struct err *e)
{
	json_t *del = json_object_get(m->targets, "delegations");
	struct channel *c = &m->channel[m->n_channel];
	char pattern[RELEASE_IMAGE_MAX + 3];
	int q;

	if (!channel_name_valid(name))
		return err_set(
			e, ERR_INPUT, EINVAL,
			"'%s' cannot be a channel: 1 to 32 of a-z 0-9 -, a letter first, and "
			"none of root, targets, snapshot, timestamp",
			name);
	if (roles_signers(m, name))
		return err_set(e, ERR_INPUT, EEXIST, "there is a channel '%s' already", name);
	if (m->n_channel == ROLES_CHANNELS_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "more than %d channels", ROLES_CHANNELS_MAX);
	(void)snprintf(pattern, sizeof(pattern), "%s/*", name);
	q = json_push(json_object_get(del, "roles"),
		      json_pack("{s:s,s:[],s:i,s:[s],s:b}", "name", name, "keyids", "threshold", 1,
				"paths", pattern, "terminating", 1),
		      e);
	q = q < 0 ? q : new_body("targets", &c->body, e);
	if (q < 0)
		return q;
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	c->changed = true;
	m->n_channel++;
	m->targets_changed = true;
	return json_put(c->body, "targets", json_object(), e);
}
