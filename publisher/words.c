/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/words.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "publisher/keys.h"
#include "publisher/roles.h"

enum { LABEL_MAX = RELEASE_IMAGE_MAX + TUF_PATH_MAX + 16 };

static int say(json_t *out, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), warn_unused_result));

/* One sentence, never cut; whatever stands in metadata cannot fool a terminal. */
static int say(json_t *out, struct err *e, const char *fmt, ...)
{
	AUTO_FREE char *clean = NULL;
	AUTO_FREE char *raw = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&raw, fmt, ap);
	va_end(ap);
	if (n < 0) {
		raw = NULL;
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	clean = malloc((size_t)n + 1);
	if (!clean)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return json_push(out, json_string(text_clean(raw, (size_t)n, clean, (size_t)n + 1)), e);
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "?";
}

/* A value as JSON, the whole of it: what is cut cannot be read before it is signed. */
static char *show(const json_t *v)
{
	return v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS)
		 : strdup("nothing");
}

static int say_change(const char *label, const char *key, const json_t *now, const json_t *next,
		      json_t *out, struct err *e)
{
	AUTO_FREE char *a = show(now);
	AUTO_FREE char *b = show(next);

	if (!a || !b)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	return now ? say(out, e, "%s: %s: %s (was %s)", label, key, b, a)
		   : say(out, e, "%s: %s: %s", label, key, b);
}

static bool listed(const char *key, const char *const *known)
{
	for (size_t i = 0; known[i]; i++)
		if (strcmp(key, known[i]) == 0)
			return true;
	return false;
}

/* Members but the known ones that differ. */
static int others(const char *label, json_t *now, json_t *next, const char *const *known,
		  json_t *out, struct err *e)
{
	json_t *all = json_object(), *v;
	const char *key;
	int q = 0;

	if (!all || (now && json_object_update(all, now) < 0) ||
	    (next && json_object_update(all, next) < 0)) {
		json_decref(all);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	json_object_foreach(all, key, v)
	{
		const json_t *x = json_object_get(now, key), *y = json_object_get(next, key);

		if (q >= 0 && !listed(key, known) && !(x && y && json_equal(x, y)))
			q = say_change(label, key, x, y, out, e);
	}
	json_decref(all);
	return q;
}

static int headline(const char *label, const json_t *now, const json_t *next, json_t *out,
		    struct err *e)
{
	long long v = (long long)json_integer_value(json_object_get(next, "version"));

	if (!now)
		return say(out, e, "%s: new, version %lld, expires %s", label, v,
			   str(next, "expires"));
	return say(out, e, "%s: version %lld -> %lld, expires %s (was %s)", label,
		   (long long)json_integer_value(json_object_get(now, "version")), v,
		   str(next, "expires"), str(now, "expires"));
}

/* ---- who may sign ---- */

/* One side of a change: a role, and the keys and names it refers to. */
struct side {
	json_t *role, *keys, *names;
};

static int say_key(const char *role, const struct side *s, const char *id, const char *what,
		   json_t *out, struct err *e)
{
	const json_t *key = json_object_get(s->keys, id);
	const char *name = json_string_value(json_object_get(s->names, id));

	/* the whole id: a key whose first digits are another's is quickly made */
	return say(out, e, "%s: key %s %s, %s %s", role, name ? name : "without a name", what,
		   str(key, "keytype"), id);
}

static int say_keys(const char *role, const struct side *from, const struct side *to,
		    const char *what, json_t *out, struct err *e)
{
	const json_t *ids = json_object_get(to->role, "keyids");
	int q = 0;

	for (size_t i = 0; q >= 0 && i < json_array_size(ids); i++) {
		const char *id = json_string_value(json_array_get(ids, i));

		if (id && !keys_role_has(from->role, id))
			q = say_key(role, to, id, what, out, e);
	}
	return q;
}

static int signers(const char *role, const struct side *now, const struct side *next, json_t *out,
		   struct err *e)
{
	static const char *const known[] = { "keyids", "threshold", "name", NULL };
	const json_t *t0 = json_object_get(now->role, "threshold");
	const json_t *t1 = json_object_get(next->role, "threshold");
	size_t n0 = json_array_size(json_object_get(now->role, "keyids"));
	size_t n1 = json_array_size(json_object_get(next->role, "keyids"));
	int q = say_keys(role, now, next, "added", out, e);

	q = q < 0 ? q : say_keys(role, next, now, "removed", out, e);
	if (q >= 0 && (!now->role || (t0 != t1 && !json_equal(t0, t1)) || n0 != n1))
		q = now->role ? say(out, e, "%s: threshold %lld of %zu (was %lld of %zu)", role,
				    (long long)json_integer_value(t1), n1,
				    (long long)json_integer_value(t0), n0)
			      : say(out, e, "%s: threshold %lld of %zu", role,
				    (long long)json_integer_value(t1), n1);
	return q < 0 ? q : others(role, now->role, next->role, known, out, e);
}

static bool used(const struct side *roles, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (keys_role_has(roles[i].role, id))
			return true;
	return false;
}

/* Key objects that are another under the same id, or that no role refers to. */
static int strange_keys(const char *label, const struct side *now, const struct side *next,
			size_t n, json_t *out, struct err *e)
{
	json_t *a = n ? now[0].keys : NULL, *b = n ? next[0].keys : NULL, *v;
	const char *id;
	int q = 0;

	json_object_foreach(b, id, v)
	{
		json_t *old = json_object_get(a, id);

		if (q >= 0 && !(old && json_equal(old, v)) && (old || !used(next, n, id)))
			q = say_change(label, id, old, v, out, e);
	}
	json_object_foreach(a, id, v)
	{
		if (q >= 0 && !json_object_get(b, id) && !used(now, n, id))
			q = say_change(label, id, v, NULL, out, e);
	}
	return q;
}

/* The last resort: nothing was said but the headline, and yet they differ. */
static int unsaid(const char *label, json_t *now, json_t *next, size_t lines, json_t *out,
		  struct err *e)
{
	json_t *a = json_copy(now), *b = json_copy(next);
	bool same;

	for (size_t i = 0; i < 2; i++) {
		(void)json_object_del(i ? a : b, "version");
		(void)json_object_del(i ? a : b, "expires");
	}
	same = !now || (a && b && json_equal(a, b));
	json_decref(a);
	json_decref(b);
	if (same || json_array_size(out) > lines)
		return 0;
	return say(out, e, "%s: written in another order or with names nobody uses", label);
}

/* A key that stays under its id is the same key, but its name is only said beside it. */
static int renamed(const json_t *now, const json_t *next, json_t *out, struct err *e)
{
	const json_t *n0 = json_object_get(now, ROLES_NAMES);
	json_t *n1 = json_object_get(next, ROLES_NAMES), *v;
	const char *id;
	int q = 0;

	json_object_foreach(n1, id, v)
	{
		const json_t *old = json_object_get(n0, id);

		if (q >= 0 && old && !json_equal(old, v))
			q = say(out, e, "key %.8s: called %s (was %s)", id, str(n1, id),
				str(n0, id));
	}
	return q;
}

int words_root(json_t *now, json_t *next, json_t *out, struct err *e)
{
	static const char *const known[] = { "version", "expires",   "keys",
					     "roles",   ROLES_NAMES, NULL };
	static const char *const first[] = { "version", "expires",      "keys",      "roles",
					     "_type",   "spec_version", ROLES_NAMES, NULL };
	static const char *const top[] = { "root", "targets", "snapshot", "timestamp", NULL };
	enum { TOP = 4 };
	struct side a[TOP] = { { NULL } }, b[TOP] = { { NULL } };
	size_t lines = json_array_size(out) + 1;
	int q = headline("root", now, next, out, e);

	for (size_t i = 0; q >= 0 && i < TOP; i++) {
		a[i] = (struct side){ json_object_get(json_object_get(now, "roles"), top[i]),
				      json_object_get(now, "keys"),
				      json_object_get(now, ROLES_NAMES) };
		b[i] = (struct side){ json_object_get(json_object_get(next, "roles"), top[i]),
				      json_object_get(next, "keys"),
				      json_object_get(next, ROLES_NAMES) };
		q = signers(top[i], &a[i], &b[i], out, e);
	}
	q = q < 0 ? q : strange_keys("root: key", a, b, TOP, out, e);
	q = q < 0 ? q : renamed(now, next, out, e);
	q = q < 0 ? q
		  : others("root: role", json_object_get(now, "roles"),
			   json_object_get(next, "roles"), top, out, e);
	q = q < 0 ? q : others("root", now, next, now ? known : first, out, e);
	return q < 0 ? q : unsaid("root", now, next, lines, out, e);
}

/* ---- targets ---- */

static json_t *delegation(const json_t *body, const char *name, size_t *at)
{
	const json_t *arr = json_object_get(json_object_get(body, "delegations"), "roles");

	for (size_t i = 0; i < json_array_size(arr); i++) {
		json_t *o = json_array_get(arr, i);

		if (strcmp(str(o, "name"), name) == 0) {
			*at = i;
			return o;
		}
	}
	return NULL;
}

static void side_of(const json_t *body, json_t *role, struct side *ret)
{
	*ret = (struct side){ role, json_object_get(json_object_get(body, "delegations"), "keys"),
			      json_object_get(body, ROLES_NAMES) };
}

static int delegations(const json_t *now, const json_t *next, json_t *out, struct err *e)
{
	const json_t *arr = json_object_get(json_object_get(next, "delegations"), "roles");
	const json_t *old = json_object_get(json_object_get(now, "delegations"), "roles");
	int q = 0;

	for (size_t i = 0; q >= 0 && i < json_array_size(arr); i++) {
		const char *name = str(json_array_get(arr, i), "name");
		size_t was = i;
		struct side a, b;

		side_of(now, delegation(now, name, &was), &a);
		side_of(next, json_array_get(arr, i), &b);
		if (now && !a.role)
			q = say(out, e, "channel %s added", name);
		else if (a.role && was != i)
			q = say(out, e, "channel %s: place %zu of those that may speak (was %zu)",
				name, i + 1, was + 1);
		q = q < 0 ? q : signers(name, &a, &b, out, e);
	}
	for (size_t i = 0; q >= 0 && i < json_array_size(old); i++) {
		const char *name = str(json_array_get(old, i), "name");
		size_t at;

		if (!delegation(next, name, &at))
			q = say(out, e, "channel %s removed: no host can follow it any more", name);
	}
	return q;
}

/* As strange_keys(), over all delegations. */
static int targets_keys(const json_t *now, const json_t *next, json_t *out, struct err *e)
{
	const json_t *old = json_object_get(json_object_get(now, "delegations"), "roles");
	const json_t *new = json_object_get(json_object_get(next, "delegations"), "roles");
	size_t n0 = json_array_size(old), n1 = json_array_size(new), n = n0 > n1 ? n0 : n1;
	AUTO_FREE struct side *a = calloc(n + 1, sizeof(*a));
	AUTO_FREE struct side *b = calloc(n + 1, sizeof(*b));

	if (!a || !b)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i <= n; i++) {
		side_of(now, json_array_get(old, i), &a[i]);
		side_of(next, json_array_get(new, i), &b[i]);
	}
	return strange_keys("targets: key", a, b, n + 1, out, e);
}

int words_targets(json_t *now, json_t *next, json_t *out, struct err *e)
{
	static const char *const known[] = { "version",     "expires", "_type",     "spec_version",
					     "delegations", "targets", ROLES_NAMES, NULL };
	static const char *const inner[] = { "keys", "roles", NULL };
	static const char *const none[] = { NULL };
	size_t lines = json_array_size(out) + 1;
	int q = headline("targets", now, next, out, e);

	q = q < 0 ? q : delegations(now, next, out, e);
	q = q < 0 ? q : targets_keys(now, next, out, e);
	q = q < 0 ? q : renamed(now, next, out, e);
	q = q < 0 ? q
		  : others("targets: delegations", json_object_get(now, "delegations"),
			   json_object_get(next, "delegations"), inner, out, e);
	q = q < 0 ? q
		  : others("targets itself lists", json_object_get(now, "targets"),
			   json_object_get(next, "targets"), none, out, e);
	q = q < 0 ? q : others("targets", now, next, known, out, e);
	return q < 0 ? q : unsaid("targets", now, next, lines, out, e);
}

/* ---- a channel's releases ---- */

/* "stable/web_1.2.0.json" -> "web 1.2.0", if it looks like that. */
static void release_label(const char *channel, const char *path, const json_t *entry,
			  char out[LABEL_MAX])
{
	const json_t *custom = json_object_get(entry, "custom");
	const char *image = json_string_value(json_object_get(custom, "image"));
	const char *version = json_string_value(json_object_get(custom, "version"));
	char want[LABEL_MAX];

	(void)snprintf(want, sizeof(want), "%s/%s_%s.json", channel, image ? image : "",
		       version ? version : "");
	if (strcmp(want, path) == 0)
		(void)snprintf(out, LABEL_MAX, "%s: release %s", channel, version);
	else
		(void)snprintf(out, LABEL_MAX, "%s: %s", channel, path);
}

static int entry_words(const char *label, json_t *now, json_t *next, json_t *out, struct err *e)
{
	static const char *const known[] = { "custom", NULL };
	static const char *const fixed[] = { "image", "version", "architecture", NULL };
	static const char *const none[] = { NULL };
	static const char *const told[] = { "custom", "hashes", "length", NULL };
	const char *sha = str(json_object_get(next, "hashes"), "sha256");
	int q = 0;

	if (!now) {
		q = say(out, e, "%s added, manifest sha256 %s", label, sha);
		q = q < 0 ? q : others(label, NULL, json_object_get(next, "custom"), fixed, out, e);
		return q < 0 ? q : others(label, NULL, next, told, out, e);
	}
	if (!next)
		return say(out, e, "%s withdrawn", label);
	q = others(label, json_object_get(now, "custom"), json_object_get(next, "custom"), none,
		   out, e);
	return q < 0 ? q : others(label, now, next, known, out, e);
}

static int releases(const char *name, const json_t *from, json_t *to, bool gone, json_t *out,
		    struct err *e)
{
	const char *path;
	json_t *v;
	int q = 0;

	json_object_foreach(to, path, v)
	{
		json_t *old = json_object_get(from, path);
		char label[LABEL_MAX];

		release_label(name, path, v, label);
		if (q < 0 || (gone && old))
			continue;
		q = gone ? entry_words(label, v, NULL, out, e) : entry_words(label, old, v, out, e);
	}
	return q;
}

int words_channel(const char *name, json_t *now, json_t *next, json_t *out, struct err *e)
{
	static const char *const known[] = { "version", "expires", "targets", NULL };
	static const char *const first[] = { "version", "expires",      "targets",
					     "_type",   "spec_version", NULL };
	json_t *a = json_object_get(now, "targets"), *b = json_object_get(next, "targets");
	size_t lines = json_array_size(out) + 1;
	int q = headline(name, now, next, out, e);

	q = q < 0 ? q : releases(name, a, b, false, out, e);
	q = q < 0 ? q : releases(name, b, a, true, out, e);
	q = q < 0 ? q : others(name, now, next, now ? known : first, out, e);
	return q < 0 ? q : unsaid(name, now, next, lines, out, e);
}
