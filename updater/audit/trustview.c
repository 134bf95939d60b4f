/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/audit/trustview.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"

enum { NAMES_MAX = 4 << 20 };

void trustview_done(struct trustview *t)
{
	tuf_update_free(t->tuf);
	json_decref(t->names);
	t->tuf = NULL;
	t->names = NULL;
}

/* A host keeps "7.stable.json" as "stable.json"; roots keep their number. */
static const char *stored_name(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	if (digits > 0 && name[digits] == '.' && strcmp(name + digits, ".root.json") != 0)
		return name + digits + 1;
	return name;
}

/* docs/format.md: what a name may be. */
static bool is_name(const char *s)
{
	size_t n =
		s ? strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-")
		  : 0;

	return n >= 1 && n <= 32 && s[n] == '\0';
}

/*
 * Takes over the names in a root or targets file. A file that does not verify ends everything, so
 * what is used of them in the end was signed.
 */
static void note_names(struct trustview *t, const void *p, size_t n)
{
	const struct json_limits lim = { .bytes = NAMES_MAX, .depth = 32 };
	AUTO_JSON *doc = NULL;
	const char *id;
	json_t *names, *name;

	if (json_read(p, n, &lim, "metadata", &doc, NULL) < 0)
		return;
	names = json_object_get(json_object_get(doc, "signed"), "x-proa-names");
	json_object_foreach(names, id, name)
	{
		if (is_name(json_string_value(name)))
			(void)!json_put(t->names, id, json_incref(name), NULL);
	}
}

static int answer(struct trustview *t, const struct tuf_request *rq, bool local, struct err *e)
{
	AUTO_FREE char *data = NULL;
	char path[1024];
	struct err inner = ERR_INIT;
	size_t n = 0;
	int r;

	if (local && t->repository)
		return tuf_update_answer(t->tuf, false, NULL, 0, e);
	r = snprintf(path, sizeof(path), "%s%s", t->repository ? "metadata/" : "",
		     t->repository || local ? rq->name : stored_name(rq->name));
	if (r < 0 || (size_t)r >= sizeof(path))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "metadata file name too long");
	r = file_read(t->sys, t->dir, path, rq->max, &data, &n, &inner);
	if (r < 0 && r != -ENOENT)
		return err_set(e, inner.kind, -r, "%s: %s", path, inner.text);
	if (r >= 0 &&
	    (strcmp(stored_name(rq->name), "targets.json") == 0 || strstr(rq->name, "root.json")))
		note_names(t, data, n);
	return tuf_update_answer(t->tuf, r >= 0, data, n, e);
}

/* Runs the client's workflow with every answer from files; what it wants stored is not. */
static int run(struct trustview *t, struct err *e)
{
	for (;;) {
		struct tuf_request rq;
		int r = tuf_update_next(t->tuf, &rq, e);

		if (r <= 0)
			return r;
		if (r == TUF_LOAD || r == TUF_FETCH)
			r = answer(t, &rq, r == TUF_LOAD, e);
		if (r < 0)
			return r;
	}
}

static int refresh(struct trustview *t, const struct trustview_options *o, int64_t now,
		   struct err *e)
{
	enum tuf_reason why = TUF_REASON_NONE;
	int r = tuf_update_new(o->root, o->root_n, now, NULL, &t->tuf, &why, e);

	if (r >= 0)
		r = run(t, e);
	if (r >= 0)
		r = tuf_update_want_role(t->tuf, o->channel, e);
	return r < 0 ? r : run(t, e);
}

int trustview_open(const struct trustview_options *o, struct trustview *ret, struct err *e)
{
	struct trustview t = { .sys = o->sys, .dir = o->dir, .repository = o->repository };
	struct err first = ERR_INIT;
	int r;

	t.names = json_object();
	note_names(&t, o->root, o->root_n);
	r = refresh(&t, o, o->now, &first);

	if (r < 0 && t.tuf && tuf_update_reason(t.tuf) == TUF_REASON_EXPIRED) {
		/* signatures are as good as ever: look at them as of a time before */
		tuf_update_free(t.tuf);
		t.tuf = NULL;
		(void)snprintf(t.expired, sizeof(t.expired), "%.239s", first.text);
		r = refresh(&t, o, 1, &first);
	}
	if (r < 0) {
		trustview_done(&t);
		return err_set(e, first.kind, -r, "%s", first.text);
	}
	(void)snprintf(t.channel, sizeof(t.channel), "%.64s", o->channel);
	*ret = t;
	return 0;
}

/* ---- the manifest ---- */

struct search {
	const char *version;
	char path[512];
};

/* "<channel>/<image>_<version>.json" */
static int match(void *arg, const struct tuf_target *target)
{
	struct search *s = arg;
	const char *base = strrchr(target->path, '/'), *v;
	size_t n = strlen(s->version);

	base = base ? base + 1 : target->path;
	v = strchr(base, '_');
	if (!v || strncmp(v + 1, s->version, n) != 0 || strcmp(v + 1 + n, ".json") != 0 ||
	    strlen(target->path) >= sizeof(s->path))
		return 0;
	(void)snprintf(s->path, sizeof(s->path), "%s", target->path);
	return 1;
}

/* In a repository below targets/; on a host "<image>_<version>.manifest" in the trust store. */
static int manifest_path(const struct trustview *t, const struct tuf_target *target,
			 struct buf *out, struct err *e)
{
	const char *base = strrchr(target->path, '/');
	int r;

	if (t->repository) {
		r = buf_addf(out, e, "targets/");
		return r < 0 ? r : tuf_target_remote(target, tuf_update_consistent(t->tuf), out, e);
	}
	base = base ? base + 1 : target->path;
	return buf_addf(out, e, "%.*s.manifest", (int)(strlen(base) - strlen(".json")), base);
}

static int load_manifest(struct trustview *t, const struct tuf_target *target,
			 struct release_manifest *ret, struct err *e)
{
	AUTO_BUF path = BUF_INIT;
	AUTO_FREE char *data = NULL;
	struct err inner = ERR_INIT;
	enum tuf_reason why;
	size_t n = 0;
	int r = manifest_path(t, target, &path, e);

	if (r < 0)
		return r;
	r = file_read(t->sys, t->dir, path.p, RELEASE_MANIFEST_MAX, &data, &n, &inner);
	if (r == -ENOENT)
		return err_set(e, ERR_INPUT, ENOENT, "its manifest %s is not kept there", path.p);
	if (r < 0)
		return err_set(e, inner.kind, -r, "%s", inner.text);
	r = tuf_target_check(target, data, n, &why, e);
	return r < 0 ? r : release_manifest_parse(data, n, path.p, ret, e);
}

int trustview_manifest(struct trustview *t, const char *version, struct release_manifest *ret,
		       struct err *e)
{
	struct search s = { .version = version };
	struct tuf_target target;
	int r = tuf_update_role_each(t->tuf, match, &s, e);

	if (r < 0)
		return r;
	if (r == 0)
		return err_set(e, ERR_INPUT, ENOENT, "channel %s does not list %s", t->channel,
			       version);
	r = tuf_update_want_target(t->tuf, s.path, e);
	if (r >= 0)
		r = run(t, e);
	if (r >= 0)
		r = tuf_update_target(t->tuf, &target, e);
	return r < 0 ? r : load_manifest(t, &target, ret, e);
}

/* ---- the roles ---- */

static int put_signer(const struct trustview *t, const char *id, json_t *signers, json_t *names,
		      struct err *e)
{
	json_t *name = json_object_get(t->names, id);
	int r = json_push(signers, json_string(id), e);

	return r >= 0 && name ? json_put(names, id, json_incref(name), e) : r;
}

static int put_role(const struct trustview *t, const char *role, json_t *roles, struct err *e)
{
	json_t *o = json_object(), *signers = json_array(), *names = json_object();
	struct tuf_role_info info = { .version = 0 };
	int r = json_put(roles, role, o, e);

	if (r >= 0)
		r = json_put(o, "signers", signers, e);
	else
		json_decref(signers);
	if (r >= 0)
		r = json_put(o, "names", names, e);
	else
		json_decref(names);
	if (r >= 0)
		r = tuf_update_role_info(t->tuf, role, &info, e);
	if (r >= 0)
		r = json_put_u64(o, "version", info.version, e);
	if (r >= 0)
		r = json_put_time(o, "expires", info.expires, e);
	if (r >= 0)
		r = json_put_u64(o, "threshold", info.threshold, e);
	for (size_t i = 0; r >= 0 && i < info.signers.n && i < TUF_SIGNERS_MAX; i++)
		r = put_signer(t, info.signers.id[i], signers, names, e);
	return r;
}

int trustview_roles(const struct trustview *t, json_t **ret, struct err *e)
{
	const char *const roles[] = { "root", "timestamp", "snapshot", "targets", t->channel };
	AUTO_JSON *o = json_object();
	int r = 0;

	for (size_t i = 0; r >= 0 && i < sizeof(roles) / sizeof(roles[0]); i++)
		r = put_role(t, roles[i], o, e);
	if (r >= 0)
		*ret = json_incref(o);
	return r;
}
