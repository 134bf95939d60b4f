/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/edit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "base/version.h"
#include "publisher/keys.h"
#include "updater/tuf/sign.h"

enum { ID_PREFIX_MIN = 8, ROLES_ALL = ROLES_CHANNELS_MAX + 4 };

int edit_split(const char *arg, const char *def, char role[RELEASE_IMAGE_MAX], const char **value,
	       struct err *e)
{
	const char *eq = strchr(arg, '=');
	size_t n = eq ? (size_t)(eq - arg) : 0;

	if (eq && n < RELEASE_IMAGE_MAX) {
		(void)snprintf(role, RELEASE_IMAGE_MAX, "%.*s", (int)n, arg);
		if (image_id_valid(role)) {
			*value = eq + 1;
			return 0;
		}
	}
	if (!def)
		return err_set(e, ERR_INPUT, EINVAL, "'%s': say for which role, as ROLE=VALUE",
			       arg);
	(void)snprintf(role, RELEASE_IMAGE_MAX, "%s", def);
	*value = arg;
	return 0;
}

int edit_root(struct roles *m, struct err *e)
{
	if (!m->root_next)
		m->root_next = json_deep_copy(m->root->body);
	return m->root_next ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

/* The body that says who may sign role, made ready for a change. */
static int delegator(struct roles *m, const char *role, json_t **body, json_t **keys, struct err *e)
{
	int q;

	if (roles_is_top(role)) {
		q = edit_root(m, e);
		if (q < 0)
			return q;
		*body = m->root_next;
		*keys = json_object_get(m->root_next, "keys");
		return 0;
	}
	if (!roles_signers(m, role)) {
		struct channel *none;

		return roles_channel(m, role, &none, e);
	}
	m->targets_changed = true;
	*body = m->targets;
	*keys = json_object_get(json_object_get(m->targets, "delegations"), "keys");
	return 0;
}

int edit_key_put(struct roles *m, const char *role, const json_t *pub, struct err *e)
{
	json_t *key = json_object_get(pub, "key"), *name = json_object_get(pub, "name");
	json_t *body = NULL, *keys = NULL, *names;
	char id[TUF_KEYID_MAX];
	int q = delegator(m, role, &body, &keys, e);

	q = q < 0 ? q : tuf_key_id(key, id, e);
	if (q < 0)
		return q;
	if (keys_role_has(roles_signers(m, role), id))
		return err_set(e, ERR_INPUT, EEXIST, "role %s has key %s (%.8s) already", role,
			       json_string_value(name), id);
	if (json_array_size(json_object_get(roles_signers(m, role), "keyids")) >= KEYS_PER_ROLE)
		return err_set(e, ERR_INPUT, E2BIG, "role %s: more than %d keys", role,
			       KEYS_PER_ROLE);
	names = json_object_get(body, ROLES_NAMES);
	if (!names) {
		names = json_object();
		q = json_put(body, ROLES_NAMES, names, e);
	}
	q = q < 0 ? q : json_put(names, id, json_copy(name), e);
	q = q < 0 ? q : json_put(keys, id, json_deep_copy(key), e);
	return q < 0 ? q
		     : json_push(json_object_get(roles_signers(m, role), "keyids"), json_string(id),
				 e);
}

int edit_threshold_put(struct roles *m, const char *role, uint64_t n, struct err *e)
{
	json_t *body = NULL, *keys = NULL;
	int q = delegator(m, role, &body, &keys, e);

	return q < 0 ? q : json_put_u64(roles_signers(m, role), "threshold", n, e);
}

/* ---- removing ---- */

/* Every role's name: the four, then the channels. */
static size_t all_roles(const struct roles *m, const char *out[ROLES_ALL])
{
	static const char *const top[] = { "root", "targets", "snapshot", "timestamp" };
	size_t n = 0;

	for (size_t i = 0; i < sizeof(top) / sizeof(top[0]); i++)
		out[n++] = top[i];
	for (size_t i = 0; i < m->n_channel; i++)
		out[n++] = m->channel[i].name;
	return n;
}

static bool is_meant(const struct roles *m, const char *role, const char *id, const char *value)
{
	const char *name = json_string_value(json_object_get(roles_names(m, role), id));
	size_t n = strlen(value);

	return (name && strcmp(name, value) == 0) ||
	       (n >= ID_PREFIX_MIN && strncmp(id, value, n) == 0);
}

/* -ENOENT: the role has no such key; several: ERR_INPUT -E2BIG. */
static int find(const struct roles *m, const char *role, const char *value, size_t *ret,
		struct err *e)
{
	const json_t *ids = json_object_get(roles_signers(m, role), "keyids");
	size_t found = 0;

	for (size_t i = 0; i < json_array_size(ids); i++) {
		if (!is_meant(m, role, json_string_value(json_array_get(ids, i)), value))
			continue;
		if (found++ == 0)
			*ret = i;
	}
	if (found > 1)
		return err_set(e, ERR_INPUT, E2BIG,
			       "role %s has several keys '%s': give more digits of the id", role,
			       value);
	return found ? 0 : err_set(e, ERR_INPUT, ENOENT, "role %s has no key '%s'", role, value);
}

static bool used(const struct roles *m, const char *id, bool top)
{
	const char *role[ROLES_ALL];
	size_t n = all_roles(m, role);

	for (size_t i = 0; i < n; i++)
		if (roles_is_top(role[i]) == top && keys_role_has(roles_signers(m, role[i]), id))
			return true;
	return false;
}

static int key_drop(struct roles *m, const char *role, const char *value, struct err *e)
{
	json_t *body = NULL, *keys = NULL, *ids;
	char id[TUF_KEYID_MAX];
	size_t at = 0;
	int q = find(m, role, value, &at, e);

	q = q < 0 ? q : delegator(m, role, &body, &keys, e);
	if (q < 0)
		return q;
	ids = json_object_get(roles_signers(m, role), "keyids");
	(void)snprintf(id, sizeof(id), "%s", json_string_value(json_array_get(ids, at)));
	(void)json_array_remove(ids, at);
	if (!used(m, id, roles_is_top(role))) {
		(void)json_object_del(keys, id);
		(void)json_object_del(json_object_get(body, ROLES_NAMES), id);
	}
	return 0;
}

static int revoke(struct roles *m, const char *value, struct err *e)
{
	const char *role[ROLES_ALL];
	size_t n = all_roles(m, role), at, hits = 0;
	int q = 0;

	for (size_t i = 0; q >= 0 && i < n; i++) {
		q = find(m, role[i], value, &at, e);
		if (q == -ENOENT) {
			q = 0;
			continue;
		}
		q = q < 0 ? q : key_drop(m, role[i], value, e);
		hits++;
	}
	if (q >= 0 && hits == 0)
		return err_set(e, ERR_INPUT, ENOENT,
			       "no role has a key '%s' (proa-publish status lists them)", value);
	return q;
}

static int one(struct roles *m, const struct edit *x, const char *def, struct err *e)
{
	char role[RELEASE_IMAGE_MAX];
	AUTO_JSON *pub = NULL;
	const char *value;
	uint64_t n = 0;
	int q;

	if (x->kind == EDIT_KEY_REVOKE)
		return revoke(m, x->arg, e);
	q = edit_split(x->arg, def, role, &value, e);
	if (q < 0)
		return q;
	if (x->kind == EDIT_KEY_REMOVE)
		return key_drop(m, role, value, e);
	if (x->kind == EDIT_KEY_ADD) {
		q = keys_public_read(value, &pub, e);
		return q < 0 ? q : edit_key_put(m, role, pub, e);
	}
	q = num_parse(value, strlen(value), 1, KEYS_PER_ROLE, "--threshold", &n, e);
	return q < 0 ? q : edit_threshold_put(m, role, n, e);
}

/* ---- what follows ---- */

static int within_reach(const struct roles *m, const char *role, struct err *e)
{
	const json_t *s = roles_signers(m, role);
	size_t n = json_array_size(json_object_get(s, "keyids"));
	json_int_t t = json_integer_value(json_object_get(s, "threshold"));

	if (t >= 1 && (size_t)t <= n)
		return 0;
	return err_set(e, ERR_INPUT, ERANGE,
		       "role %s would have %zu key%s for a threshold of %lld: add one (--add-key "
		       "%s=FILE) or lower it (--threshold %s=N)",
		       role, n, n == 1 ? "" : "s", (long long)t, role, role);
}

static bool still_good(json_t *doc, const struct tuf_md *by, const char *role)
{
	const struct tuf_role *who = tuf_md_role(by, role);
	AUTO_TUF_MD *md = NULL;
	AUTO_BUF b = BUF_INIT;

	return who && doc && json_write(doc, true, &b, NULL) >= 0 &&
	       tuf_md_read(b.p, b.n, TUF_TARGETS, role, &md, NULL, NULL) >= 0 &&
	       tuf_md_verify(md, by, who, role, NULL, NULL, NULL) >= 0;
}

int edit_settle(struct roles *m, struct err *e)
{
	const char *role[ROLES_ALL];
	size_t n = all_roles(m, role);
	AUTO_TUF_MD *root = NULL;
	AUTO_TUF_MD *targets = NULL;
	int q = 0;

	for (size_t i = 0; q >= 0 && i < n; i++)
		q = within_reach(m, role[i], e);
	if (q >= 0 && m->root_next && m->targets_md) {
		q = roles_md(m->root_next, TUF_ROOT, "root", &root, e);
		if (q >= 0 && !still_good(m->targets_md->doc, root, "targets"))
			m->targets_changed = true;
	}
	if (q >= 0 && m->targets_changed && m->targets_md) {
		q = roles_md(m->targets, TUF_TARGETS, "targets", &targets, e);
		for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
			if (!still_good(m->channel[i].doc, targets, m->channel[i].name))
				m->channel[i].changed = true;
	}
	return q;
}

int edit_apply(struct roles *m, const struct edit *l, size_t n, const char *def, struct err *e)
{
	int q = 0;

	for (size_t i = 0; q >= 0 && i < n; i++)
		q = one(m, &l[i], def, e);
	return q < 0 ? q : edit_settle(m, e);
}
