/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/roles.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/num.h"
#include "base/sys.h"
#include "base/version.h"
#include "updater/tuf/sign.h"

#define SPEC_VERSION "1.0.34"
enum { DAY = 24 * 3600, FILE_BYTES = TUF_ROLE_MAX + 32 };

static const char *const top_roles[] = { "root", "timestamp", "snapshot", "targets" };
enum { TOP_ROLES = 4 };

void roles_done(struct roles *m)
{
	tuf_md_free(m->root);
	tuf_md_free(m->targets_md);
	json_decref(m->targets);
	json_decref(m->snapshot);
	json_decref(m->timestamp);
	for (size_t i = 0; i < m->n_channel; i++)
		json_decref(m->channel[i].body);
	*m = (struct roles)ROLES_INIT;
}

int64_t roles_expires(const json_t *body)
{
	int64_t t = 0;

	return json_get_time(body, "expires", "", &t, NULL) < 0 ? 0 : t;
}

static uint64_t version_of(const json_t *body)
{
	return (uint64_t)json_integer_value(json_object_get(body, "version"));
}

bool channel_name_valid(const char *name)
{
	for (size_t i = 0; i < TOP_ROLES; i++)
		if (strcmp(name, top_roles[i]) == 0)
			return false;
	return image_id_valid(name);
}

json_t *roles_signers(const struct roles *m, const char *role)
{
	json_t *arr = json_object_get(json_object_get(m->targets, "delegations"), "roles");
	json_t *top = json_object_get(json_object_get(m->root->body, "roles"), role);

	for (size_t i = 0; !top && i < json_array_size(arr); i++) {
		json_t *o = json_array_get(arr, i);
		const char *name = json_string_value(json_object_get(o, "name"));

		if (name && strcmp(name, role) == 0)
			return o;
	}
	return top;
}

/* ---- reading ---- */

struct want {
	const char *file;
	enum tuf_type type;
	const struct tuf_md *keys_of; /* NULL: itself (root) */
	const char *role;
	const struct tuf_listed *listed; /* NULL: not listed anywhere */
};

static int read_role(const struct repo *r, const struct want *w, struct tuf_md **ret, struct err *e)
{
	AUTO_FREE char *p = NULL;
	AUTO_TUF_MD *md = NULL;
	const struct tuf_role *role;
	size_t n;
	int q;

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
	role = tuf_md_role(w->keys_of ? w->keys_of : md, w->role);
	if (!role)
		return err_set(e, ERR_REFUSED, EKEYREJECTED, "%s: nobody may sign it", w->file);
	q = tuf_md_verify(md, w->keys_of ? w->keys_of : md, role, w->file, NULL, NULL, e);
	if (q < 0)
		return q;
	if (w->listed && md->version != w->listed->version)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s: says it is version %" PRIu64, w->file,
			       md->version);
	*ret = TAKE(md);
	return 0;
}

static int read_root(const struct repo *r, struct roles *m, struct err *e)
{
	struct want w = { .type = TUF_ROOT, .role = "root" };
	char file[FILE_BYTES];
	uint64_t n;
	int q;

	q = repo_highest(r, "root", &n, e);
	if (q < 0)
		return q;
	(void)snprintf(file, sizeof(file), "%" PRIu64 ".root.json", n);
	w.file = file;
	return read_role(r, &w, &m->root, e);
}

/* A body that may be changed, with whatever members it has. */
static int body_copy(const struct tuf_md *md, json_t **ret, struct err *e)
{
	*ret = json_deep_copy(md->body);
	return *ret ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

static int read_channel(const struct repo *r, struct roles *m, const struct tuf_md *snapshot,
			const char *name, struct err *e)
{
	struct channel *c = &m->channel[m->n_channel];
	AUTO_TUF_MD *md = NULL;
	struct tuf_listed listed;
	struct want w = {
		.type = TUF_TARGETS, .keys_of = m->targets_md, .role = name, .listed = &listed
	};
	char file[FILE_BYTES];
	int q;

	if (m->n_channel == ROLES_CHANNELS_MAX || !channel_name_valid(name))
		return err_set(e, ERR_INPUT, E2BIG,
			       "'%s': too many channels, or a strange name: "
			       "this repository was not made by proa-publish",
			       name);
	(void)snprintf(file, sizeof(file), "%s.json", name);
	q = tuf_md_listed(snapshot, file, &listed, e);
	if (q < 0)
		return q;
	(void)snprintf(file, sizeof(file), "%" PRIu64 ".%s.json", listed.version, name);
	w.file = file;
	q = read_role(r, &w, &md, e);
	q = q < 0 ? q : body_copy(md, &c->body, e);
	if (q < 0)
		return q;
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	m->n_channel++;
	return 0;
}

static int read_targets(const struct repo *r, struct roles *m, const struct tuf_md *snapshot,
			struct err *e)
{
	struct tuf_listed listed;
	struct want w = {
		.type = TUF_TARGETS, .keys_of = m->root, .role = "targets", .listed = &listed
	};
	char file[FILE_BYTES];
	int q;

	q = tuf_md_listed(snapshot, "targets.json", &listed, e);
	if (q < 0)
		return q;
	(void)snprintf(file, sizeof(file), "%" PRIu64 ".targets.json", listed.version);
	w.file = file;
	q = read_role(r, &w, &m->targets_md, e);
	q = q < 0 ? q : body_copy(m->targets_md, &m->targets, e);
	for (size_t i = 0; q >= 0 && i < m->targets_md->roles_n; i++)
		q = read_channel(r, m, snapshot, m->targets_md->roles[i].name, e);
	return q;
}

int roles_load(const struct repo *r, struct roles *ret, struct err *e)
{
	AUTO_ROLES m = ROLES_INIT;
	AUTO_TUF_MD *timestamp = NULL;
	AUTO_TUF_MD *snapshot = NULL;
	struct want w = { .file = "timestamp.json", .type = TUF_TIMESTAMP, .role = "timestamp" };
	char file[FILE_BYTES];
	int q;

	q = read_root(r, &m, e);
	if (q < 0)
		return q;
	w.keys_of = m.root;
	q = read_role(r, &w, &timestamp, e);
	q = q < 0 ? q : body_copy(timestamp, &m.timestamp, e);
	if (q < 0)
		return q;
	(void)snprintf(file, sizeof(file), "%" PRIu64 ".snapshot.json",
		       timestamp->snapshot.version);
	w = (struct want){ file, TUF_SNAPSHOT, m.root, "snapshot", &timestamp->snapshot };
	q = read_role(r, &w, &snapshot, e);
	q = q < 0 ? q : body_copy(snapshot, &m.snapshot, e);
	q = q < 0 ? q : read_targets(r, &m, snapshot, e);
	if (q < 0)
		return q;
	*ret = m;
	m = (struct roles)ROLES_INIT;
	return 0;
}

/* ---- writing ---- */

static uint64_t days_of(const struct repo *r, const char *role)
{
	const struct repo_config *c = &r->config;

	if (strcmp(role, "root") == 0)
		return c->root_days;
	if (strcmp(role, "targets") == 0)
		return c->targets_days;
	if (strcmp(role, "snapshot") == 0)
		return c->snapshot_days;
	return strcmp(role, "timestamp") == 0 ? c->timestamp_days : c->channel_days;
}

/* Raises version and expiry. A number that was ever on disk is not used again: caches keep it. */
static int advance(const struct repo *r, const char *role, json_t *body, struct err *e)
{
	uint64_t n = 0;
	int q = 0;

	if (strcmp(role, "timestamp") != 0)
		q = repo_highest(r, role, &n, e);
	if (q >= 0)
		q = json_put_u64(body, "version", (n > version_of(body) ? n : version_of(body)) + 1,
				 e);
	if (q >= 0)
		q = json_put_time(body, "expires",
				  r->now + (int64_t)(days_of(r, role) * (uint64_t)DAY), e);
	return q;
}

static int sign_text(const struct keys *k, const char *role, const json_t *signers, json_t *body,
		     struct buf *out, struct err *e)
{
	AUTO_JSON *env = NULL;
	int q = tuf_envelope_new(body, &env, e);

	q = q < 0 ? q : keys_sign(k, role, signers, env, e);
	return q < 0 ? q : json_write(env, true, out, e);
}

/* {"length","hashes","version"} of a written file, put under key into meta. */
static int list_file(json_t *list, const char *key, const json_t *body, const struct buf *text,
		     struct err *e)
{
	uint8_t sum[SHA256_BYTES];
	json_t *o = json_object();
	json_t *hashes;
	int q = json_put(list, key, o, e);

	if (q < 0)
		return q;
	sha256(text->p, text->n, sum);
	hashes = json_object();
	q = json_put(o, "hashes", hashes, e);
	q = q < 0 ? q : json_put_hex(hashes, "sha256", sum, sizeof(sum), e);
	q = q < 0 ? q : json_put_u64(o, "length", text->n, e);
	return q < 0 ? q : json_put_u64(o, "version", version_of(body), e);
}

/* One role: new version, signed, written, and listed in `lister` (snapshot or timestamp). */
static int publish(const struct repo *r, struct roles *m, const struct keys *k, const char *role,
		   json_t *body, json_t *lister, struct err *e)
{
	char file[FILE_BYTES];
	AUTO_BUF text = BUF_INIT;
	json_t *signers = roles_signers(m, role);
	int q;

	if (!signers)
		return err_set(e, ERR_BUG, EINVAL, "nobody may sign role %s", role);
	q = advance(r, role, body, e);
	q = q < 0 ? q : sign_text(k, role, signers, body, &text, e);
	if (q < 0)
		return q;
	if (lister)
		(void)snprintf(file, sizeof(file), "%" PRIu64 ".%s.json", version_of(body), role);
	else
		(void)snprintf(file, sizeof(file), "%s.json", role);
	q = file_replace(sys_linux(), r->meta, file, text.p, text.n, e);
	if (q < 0 || !lister)
		return q;
	(void)snprintf(file, sizeof(file), "%s.json", role);
	return list_file(json_object_get(lister, "meta"), file, body, &text, e);
}

int roles_check_keys(const struct roles *m, const struct keys *k, struct err *e)
{
	int q = 0;

	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		if (m->channel[i].changed)
			q = keys_check(k, m->channel[i].name, roles_signers(m, m->channel[i].name),
				       e);
	if (q >= 0 && m->targets_changed)
		q = keys_check(k, "targets", roles_signers(m, "targets"), e);
	q = q < 0 ? q : keys_check(k, "snapshot", roles_signers(m, "snapshot"), e);
	return q < 0 ? q : keys_check(k, "timestamp", roles_signers(m, "timestamp"), e);
}

static bool near_end(const struct repo *r, const char *role, const json_t *body)
{
	return roles_expires(body) - r->now < (int64_t)(days_of(r, role) * (uint64_t)DAY / 3);
}

/* True if an unchanged role should be signed again now; else says so when it should and cannot. */
static bool renew(const struct repo *r, struct roles *m, const struct keys *k, const char *role,
		  const json_t *body)
{
	char end[NUM_TIME_MAX];
	size_t n = strlen(m->note);

	if (!near_end(r, role, body))
		return false;
	if (keys_check(k, role, roles_signers(m, role), NULL) >= 0)
		return true;
	num_format_time(roles_expires(body), end);
	(void)snprintf(m->note + n, sizeof(m->note) - n, "%srole %s %s %s and its key is not here",
		       n ? "; " : "", role, roles_expires(body) < r->now ? "expired" : "expires",
		       end);
	return false;
}

int roles_commit(const struct repo *r, struct roles *m, const struct keys *k, struct err *e)
{
	int q = roles_check_keys(m, k, e);

	for (size_t i = 0; q >= 0 && i < m->n_channel; i++) {
		struct channel *c = &m->channel[i];

		if (c->changed || renew(r, m, k, c->name, c->body))
			q = publish(r, m, k, c->name, c->body, m->snapshot, e);
		if (q >= 0)
			c->changed = false;
	}
	if (q >= 0 && (m->targets_changed || renew(r, m, k, "targets", m->targets)))
		q = publish(r, m, k, "targets", m->targets, m->snapshot, e);
	q = q < 0 ? q : publish(r, m, k, "snapshot", m->snapshot, m->timestamp, e);
	q = q < 0 ? q : publish(r, m, k, "timestamp", m->timestamp, NULL, e);
	if (q >= 0)
		m->targets_changed = false;
	if (q >= 0)
		(void)renew(r, m, &(struct keys){ .dir = NULL }, "root", m->root->body);
	return q;
}

/* ---- a new repository ---- */

static int new_body(const char *type, json_t **ret, struct err *e)
{
	json_t *j = json_pack("{s:s,s:s,s:i}", "_type", type, "spec_version", SPEC_VERSION,
			      "version", 0);

	*ret = j;
	return j ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

static int new_root_body(const struct keys *k, json_t **ret, struct err *e)
{
	AUTO_JSON *body = NULL;
	json_t *keys = json_object(), *roles = json_object();
	int q = new_body("root", &body, e);

	if (q < 0 || !keys || !roles) {
		json_decref(keys);
		json_decref(roles);
		return q < 0 ? q : err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	q = json_put(body, "keys", keys, e);
	if (q < 0) {
		json_decref(roles);
		return q;
	}
	q = json_put(body, "roles", roles, e);
	q = q < 0 ? q : json_put(body, "consistent_snapshot", json_true(), e);
	for (size_t i = 0; q >= 0 && i < TOP_ROLES; i++) {
		char id[TUF_KEYID_MAX];
		json_t *key = NULL;

		q = keys_create(k, top_roles[i], &key, e);
		if (q < 0)
			break;
		q = tuf_key_id(key, id, e);
		if (json_put(keys, q < 0 ? "" : id, key, e) < 0 && q >= 0)
			q = -ENOMEM;
		if (q >= 0)
			q = json_put(roles, top_roles[i],
				     json_pack("{s:[s],s:i}", "keyids", id, "threshold", 1), e);
	}
	if (q < 0)
		return q;
	*ret = TAKE(body);
	return 0;
}

static int new_root(const struct repo *r, const struct keys *k, struct roles *m, struct err *e)
{
	AUTO_JSON *body = NULL;
	AUTO_BUF text = BUF_INIT;
	int q = new_root_body(k, &body, e);

	q = q < 0 ? q : advance(r, "root", body, e);
	if (q < 0)
		return q;
	q = sign_text(k, "root", json_object_get(json_object_get(body, "roles"), "root"), body,
		      &text, e);
	q = q < 0 ? q : file_replace(sys_linux(), r->meta, "1.root.json", text.p, text.n, e);
	return q < 0 ? q : tuf_md_read(text.p, text.n, TUF_ROOT, "1.root.json", &m->root, NULL, e);
}

int roles_create(const struct repo *r, const struct keys *k, struct roles *ret, struct err *e)
{
	AUTO_ROLES m = ROLES_INIT;
	int q = new_root(r, k, &m, e);

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

int roles_channel_add(struct roles *m, const struct keys *k, const char *name, struct err *e)
{
	json_t *del = json_object_get(m->targets, "delegations");
	struct channel *c = &m->channel[m->n_channel];
	char id[TUF_KEYID_MAX], pattern[RELEASE_IMAGE_MAX + 3];
	AUTO_JSON *key = NULL;
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
	q = keys_check(k, "targets", roles_signers(m, "targets"), e);
	q = q < 0 ? q : keys_create(k, name, &key, e);
	q = q < 0 ? q : tuf_key_id(key, id, e);
	if (q < 0)
		return q;
	(void)snprintf(pattern, sizeof(pattern), "%s/*", name);
	q = json_put(json_object_get(del, "keys"), id, json_incref(key), e);
	q = q < 0 ? q
		  : json_push(json_object_get(del, "roles"),
			      json_pack("{s:s,s:[s],s:i,s:[s],s:b}", "name", name, "keyids", id,
					"threshold", 1, "paths", pattern, "terminating", 1),
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
