/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workflow as a machine: order of steps, power cuts between them, what enumerating a channel
 * gives, and callers that break the protocol. Attacks on whole repositories are in
 * tests/integration/test_tuf.py.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "tests/test.h"
#include "updater/tuf/canon.h"
#include "updater/tuf/sign.h"
#include "updater/tuf/update.h"

enum { FILES_MAX = 64, NOW = 1800000000, LATER = NOW + 100000, KEYS = 6, TRACE_MAX = 4096 };

struct file {
	char name[64];
	char *p;
	size_t n;
};

struct dir {
	struct file f[FILES_MAX];
	size_t n;
};

static struct file *find(struct dir *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->f[i].name, name) == 0)
			return &d->f[i];
	return NULL;
}

static void put(struct dir *d, const char *name, const void *p, size_t n)
{
	struct file *f = find(d, name);

	if (!f) {
		CHECK(d->n < FILES_MAX, "too many files");
		f = &d->f[d->n++];
		(void)snprintf(f->name, sizeof(f->name), "%s", name);
		f->p = NULL;
	}
	free(f->p);
	f->p = malloc(n + 1);
	CHECK(f->p, "memory");
	memcpy(f->p, p, n);
	f->p[n] = '\0';
	f->n = n;
}

static void drop(struct dir *d, const char *name)
{
	struct file *f = find(d, name);

	if (!f)
		return;
	free(f->p);
	*f = d->f[--d->n];
}

static void clear(struct dir *d)
{
	while (d->n > 0)
		drop(d, d->f[0].name);
}

/* --- a repository --- */

struct repo {
	struct dir files;
	EVP_PKEY *keys[KEYS];
	unsigned root_key, ts_key, sn_key, tg_key; /* indices */
	unsigned root_v, ts_v, sn_v, tg_v, stable_v;
	json_t *delegations;      /* of targets, or NULL */
	json_t *targets, *stable; /* their "targets" members */
	int64_t ts_expires, sn_expires, tg_expires;
};

static json_t *key_json(EVP_PKEY *k, char id[TUF_KEYID_MAX])
{
	struct err e = ERR_INIT;
	json_t *j = NULL;

	CHECK(tuf_key_to_json(k, &j, &e) == 0 && tuf_key_id(j, id, &e) == 0, "%s", e.text);
	return j;
}

static void sign_put(struct repo *r, const char *name, json_t *body, const unsigned *signers,
		     size_t n)
{
	AUTO_JSON *owned = body;
	AUTO_JSON *env = NULL;
	AUTO_BUF out = BUF_INIT;
	struct err e = ERR_INIT;

	CHECK(body && tuf_envelope_new(body, &env, &e) == 0, "%s", e.text);
	for (size_t i = 0; i < n; i++)
		CHECK(tuf_envelope_sign(env, r->keys[signers[i]], NULL, &e) == 0, "%s", e.text);
	CHECK(json_write(env, true, &out, &e) == 0, "%s", e.text);
	put(&r->files, name, out.p, out.n);
	(void)owned;
}

static json_t *body(const char *type, unsigned version, int64_t expires)
{
	struct err e = ERR_INIT;
	json_t *j = json_pack("{s:s,s:s,s:i}", "_type", type, "spec_version", "1.0.34", "version",
			      (int)version);

	CHECK(j && json_put_time(j, "expires", expires, &e) == 0, "%s", e.text);
	return j;
}

static const char *name_of(char out[64], unsigned v, const char *rest)
{
	(void)snprintf(out, 64, "%u.%s", v, rest);
	return out;
}

/* signed by its own key and, when it was another, by the one before */
static void publish_root(struct repo *r, unsigned old_key)
{
	const unsigned who[4] = { r->root_key, r->ts_key, r->sn_key, r->tg_key };
	const unsigned signers[2] = { r->root_key, old_key };
	json_t *b = body("root", ++r->root_v, LATER);
	json_t *keys = json_object(), *roles = json_object();
	char name[64];

	for (unsigned i = 0; i < 4; i++) {
		char id[TUF_KEYID_MAX];
		json_t *k = key_json(r->keys[who[i]], id);

		(void)json_object_set_new(keys, id, k);
		(void)json_object_set_new(roles, tuf_type_name((enum tuf_type)i),
					  json_pack("{s:[s],s:i}", "keyids", id, "threshold", 1));
	}
	(void)json_object_set_new(b, "keys", keys);
	(void)json_object_set_new(b, "roles", roles);
	(void)json_object_set_new(b, "consistent_snapshot", json_true());
	sign_put(r, name_of(name, r->root_v, "root.json"), b, signers,
		 old_key == r->root_key ? 1 : 2);
}

static void publish_rest(struct repo *r)
{
	char name[64];
	json_t *b = body("targets", ++r->tg_v, r->tg_expires);
	json_t *meta = json_object();

	(void)json_object_set(b, "targets", r->targets);
	if (r->delegations)
		(void)json_object_set(b, "delegations", r->delegations);
	sign_put(r, name_of(name, r->tg_v, "targets.json"), b, &r->tg_key, 1);
	b = body("targets", ++r->stable_v, LATER);
	(void)json_object_set(b, "targets", r->stable);
	sign_put(r, name_of(name, r->stable_v, "stable.json"), b, &r->tg_key, 1);
	b = body("snapshot", ++r->sn_v, r->sn_expires);
	(void)json_object_set_new(meta, "targets.json",
				  json_pack("{s:i}", "version", (int)r->tg_v));
	(void)json_object_set_new(meta, "stable.json",
				  json_pack("{s:i}", "version", (int)r->stable_v));
	(void)json_object_set_new(b, "meta", meta);
	sign_put(r, name_of(name, r->sn_v, "snapshot.json"), b, &r->sn_key, 1);
	b = body("timestamp", ++r->ts_v, r->ts_expires);
	(void)json_object_set_new(b, "meta",
				  json_pack("{s:{s:i}}", "snapshot.json", "version", (int)r->sn_v));
	sign_put(r, "timestamp.json", b, &r->ts_key, 1);
}

static void repo_init(struct repo *r)
{
	*r = (struct repo){ .ts_key = 1,
			    .sn_key = 2,
			    .tg_key = 3,
			    .ts_expires = LATER,
			    .sn_expires = LATER,
			    .tg_expires = LATER };
	for (unsigned i = 0; i < KEYS; i++) {
		r->keys[i] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
		CHECK(r->keys[i], "keygen");
	}
	r->targets = json_object();
	r->stable = json_object();
	publish_root(r, 0);
	publish_rest(r);
}

static void repo_done(struct repo *r)
{
	clear(&r->files);
	for (unsigned i = 0; i < KEYS; i++)
		EVP_PKEY_free(r->keys[i]);
	json_decref(r->delegations);
	json_decref(r->targets);
	json_decref(r->stable);
}

static void add_target(json_t *to, const char *path)
{
	char hex[SHA256_HEX_MAX];
	uint8_t sum[SHA256_BYTES];

	sha256(path, strlen(path), sum);
	hex_format(sum, sizeof(sum), hex);
	(void)json_object_set_new(to, path,
				  json_pack("{s:i,s:{s:s},s:{s:s}}", "length", (int)strlen(path),
					    "hashes", "sha256", hex, "custom", "of", path));
}

static void delegate(struct repo *r, const char *role, const char *path, bool terminating)
{
	char id[TUF_KEYID_MAX];
	json_t *k = key_json(r->keys[r->tg_key], id);

	if (!r->delegations)
		r->delegations = json_pack("{s:{},s:[]}", "keys", "roles");
	(void)json_object_set_new(json_object_get(r->delegations, "keys"), id, k);
	(void)json_array_append_new(json_object_get(r->delegations, "roles"),
				    json_pack("{s:s,s:[s],s:i,s:b,s:[s]}", "name", role, "keyids",
					      id, "threshold", 1, "terminating", (int)terminating,
					      "paths", path));
}

/* --- a client --- */

struct client {
	struct dir store;
	char trace[TRACE_MAX]; /* "fetch 2.root.json,save root.json,..." */
	unsigned steps;
};

static void trace(struct client *c, const char *verb, const char *name)
{
	size_t n = strlen(c->trace);

	(void)snprintf(c->trace + n, sizeof(c->trace) - n, "%s%s %s", n ? "," : "", verb, name);
}

static int one_step(struct client *c, struct repo *r, struct tuf_update *u, int step,
		    const struct tuf_request *rq, struct err *e)
{
	struct file *f;

	switch ((enum tuf_step)step) {
	case TUF_LOAD:
		f = find(&c->store, rq->name);
		CHECK(rq->max > 0 && rq->may_be_absent, "load");
		return tuf_update_answer(u, f, f ? f->p : NULL, f ? f->n : 0, e);
	case TUF_FETCH:
		trace(c, "fetch", rq->name);
		f = find(&r->files, rq->name);
		CHECK(rq->max > 0, "fetch");
		return tuf_update_answer(u, f, f ? f->p : NULL, f ? f->n : 0, e);
	case TUF_SAVE:
		trace(c, "save", rq->name);
		put(&c->store, rq->name, rq->data, rq->n);
		return 0;
	case TUF_DROP:
		trace(c, "drop", rq->name);
		drop(&c->store, "timestamp.json");
		drop(&c->store, "snapshot.json");
		return 0;
	case TUF_DONE:
		break;
	}
	return 0;
}

/* Until TUF_DONE; or until `cut` steps were taken, then -ECANCELED. */
static int run(struct client *c, struct repo *r, struct tuf_update *u, unsigned cut, struct err *e)
{
	for (;;) {
		struct tuf_request rq;
		int step = tuf_update_next(u, &rq, e);

		if (step <= 0)
			return step;
		CHECK(rq.name && !strchr(rq.name, '/') && rq.role, "name");
		if (c->steps++ == cut)
			return err_set(e, ERR_RETRY, ECANCELED, "power cut");
		step = one_step(c, r, u, step, &rq, e);
		if (step < 0)
			return step;
	}
}

static struct tuf_update *begin(struct client *c, int64_t now)
{
	struct file *f = find(&c->store, "root.json");
	struct tuf_update *u = NULL;
	struct err e = ERR_INIT;

	c->trace[0] = '\0';
	c->steps = 0;
	CHECK(tuf_update_new(f->p, f->n, now, NULL, &u, NULL, &e) == 0, "%s", e.text);
	return u;
}

static void refresh_good(struct client *c, struct repo *r, const char *want)
{
	AUTO_TUF_UPDATE *u = begin(c, NOW);
	struct err e = ERR_INIT;

	CHECK(run(c, r, u, UINT32_MAX, &e) == 0, "%s", e.text);
	CHECK(!want || strcmp(c->trace, want) == 0, "steps: %s", c->trace);
	CHECK(tuf_update_reason(u) == TUF_REASON_NONE, "%s", tuf_reason_name(tuf_update_reason(u)));
}

static void client_init(struct client *c, struct repo *r)
{
	struct file *f = find(&r->files, "1.root.json");

	*c = (struct client){ .steps = 0 };
	put(&c->store, "root.json", f->p, f->n);
}

static void test_order(void)
{
	struct repo r;
	struct client c;

	repo_init(&r);
	client_init(&c, &r);
	refresh_good(&c, &r,
		     "fetch 2.root.json,fetch timestamp.json,save timestamp.json,"
		     "fetch 1.snapshot.json,save snapshot.json,fetch 1.targets.json,"
		     "save targets.json");
	refresh_good(&c, &r, "fetch 2.root.json,fetch timestamp.json");
	r.root_key = 4;
	publish_root(&r, 0);
	refresh_good(&c, &r,
		     "fetch 2.root.json,save root.json,fetch 3.root.json,fetch timestamp.json");
	/* fast-forward recovery forgets before the new root is there */
	r.ts_key = 5;
	publish_root(&r, 4);
	r.ts_v = r.sn_v = 0;
	publish_rest(&r);
	refresh_good(&c, &r,
		     "fetch 3.root.json,drop root.json,save root.json,fetch 4.root.json,"
		     "fetch timestamp.json,save timestamp.json,fetch 1.snapshot.json,"
		     "save snapshot.json,fetch 2.targets.json,save targets.json");
	clear(&c.store);
	repo_done(&r);
}

static bool same(struct dir *a, const char *name, struct dir *b, const char *other)
{
	const struct file *f = find(a, name), *g = find(b, other);

	return f && g && f->n == g->n && memcmp(f->p, g->p, f->n) == 0;
}

/*
 * Power fails before the given step of a fast-forward recovery; the next refresh ends with the
 * same store as an uncut one. 0 when the update was over before the cut.
 */
static int cut_at(unsigned cut)
{
	struct repo r;
	struct client c;
	struct err e = ERR_INIT;
	struct tuf_update *u;
	int done;

	repo_init(&r);
	client_init(&c, &r);
	r.ts_v = r.sn_v = 1000;
	publish_rest(&r);
	refresh_good(&c, &r, NULL);
	r.root_key = 4;
	r.sn_key = 5;
	publish_root(&r, 0);
	r.ts_v = r.sn_v = 1;
	publish_rest(&r);
	u = begin(&c, NOW);
	done = run(&c, &r, u, cut, &e);
	tuf_update_free(u);
	CHECK(done == 0 || done == -ECANCELED, "%s", e.text);
	refresh_good(&c, &r, NULL);
	CHECK(c.store.n == 4, "%zu files after cut %u", c.store.n, cut);
	CHECK(same(&c.store, "root.json", &r.files, "2.root.json") &&
		      same(&c.store, "timestamp.json", &r.files, "timestamp.json") &&
		      same(&c.store, "snapshot.json", &r.files, "2.snapshot.json") &&
		      same(&c.store, "targets.json", &r.files, "3.targets.json"),
	      "store after cut %u", cut);
	clear(&c.store);
	repo_done(&r);
	return done;
}

static void test_cuts(void)
{
	unsigned cuts = 0;

	while (cut_at(cuts) != 0)
		cuts++;
	printf("%u power cuts\n", cuts);
	CHECK(cuts > 10, "only %u cuts", cuts);
}

struct seen {
	char text[512];
	int stop;
};

static int on_target(void *arg, const struct tuf_target *t)
{
	struct seen *s = arg;
	size_t n = strlen(s->text);

	CHECK(strcmp(t->role, "stable") == 0 && t->hashes.has256, "%s", t->path);
	CHECK(strcmp(json_string_value(json_object_get(t->custom, "of")), t->path) == 0, "custom");
	(void)snprintf(s->text + n, sizeof(s->text) - n, "%s;", t->path);
	return s->stop;
}

static void test_channel(void)
{
	struct repo r;
	struct client c;
	struct err e = ERR_INIT;
	struct seen s = { .stop = 0 };
	struct tuf_role_info info;
	struct tuf_target t;

	repo_init(&r);
	delegate(&r, "other", "stable/o*", false);
	delegate(&r, "stable", "stable/*", false);
	add_target(r.targets, "stable/mine");
	add_target(r.stable, "stable/web_1.json");
	add_target(r.stable, "stable/web_2.json");
	add_target(r.stable, "stable/mine");     /* targets itself speaks for it */
	add_target(r.stable, "stable/of other"); /* an earlier delegation does */
	add_target(r.stable, "beta/web_3.json"); /* not its own */
	add_target(r.stable, "stable/x/web_3.json");
	publish_rest(&r);
	client_init(&c, &r);

	AUTO_TUF_UPDATE *u = begin(&c, NOW);
	CHECK(tuf_update_want_role(u, "stable", &e) < 0 && e.kind == ERR_BUG, "too early");
	CHECK(run(&c, &r, u, UINT32_MAX, &e) == 0, "%s", e.text);
	CHECK(tuf_update_role_each(u, on_target, &s, &e) < 0 && e.kind == ERR_BUG, "not wanted");
	CHECK(tuf_update_want_role(u, "beta", &e) == -ENOENT && e.kind == ERR_INPUT &&
		      tuf_update_reason(u) == TUF_REASON_NO_ROLE,
	      "beta");
	for (unsigned again = 0; again < 2; again++) {
		s.text[0] = '\0';
		CHECK(tuf_update_want_role(u, "stable", &e) == 0, "%s", e.text);
		CHECK(run(&c, &r, u, UINT32_MAX, &e) == 0, "%s", e.text);
		CHECK(tuf_update_role_each(u, on_target, &s, &e) == 0, "%s", e.text);
		CHECK(strcmp(s.text, "stable/web_1.json;stable/web_2.json;") == 0, "%s", s.text);
	}
	s.stop = 7;
	CHECK(tuf_update_role_each(u, on_target, &s, &e) == 7, "stop");
	CHECK(find(&c.store, "stable.json"), "not stored");
	CHECK(tuf_update_role_info(u, "stable", &info, &e) == 0 && info.version == 2 &&
		      info.expires == LATER && info.threshold == 1 && info.signers.n == 1 &&
		      strlen(info.signers.id[0]) == 64,
	      "%s", e.text);
	CHECK(tuf_update_role_info(u, "root", &info, &e) == 0 && info.version == 1, "%s", e.text);
	CHECK(tuf_update_role_info(u, "other", &info, &e) == -ENOENT, "never loaded");
	/* a single target by the search */
	CHECK(tuf_update_want_target(u, "stable/mine", &e) == 0, "%s", e.text);
	CHECK(run(&c, &r, u, UINT32_MAX, &e) == 0, "%s", e.text);
	CHECK(tuf_update_target(u, &t, &e) == 0 && strcmp(t.role, "targets") == 0, "%s", e.text);
	CHECK(tuf_target_check(&t, "stable/mine", 11, NULL, &e) == 0, "%s", e.text);
	CHECK(tuf_target_check(&t, "stable/mini", 11, NULL, &e) < 0, "wrong bytes");
	/* "other" was never published: it may have been the first to answer, so nobody does */
	CHECK(tuf_update_want_target(u, "stable/of other", &e) == 0, "%s", e.text);
	CHECK(run(&c, &r, u, UINT32_MAX, &e) < 0 && tuf_update_reason(u) == TUF_REASON_UNLISTED,
	      "%s", e.text);
	CHECK(tuf_update_want_target(u, "x", &e) < 0 && e.kind == ERR_BUG, "failed before");
	clear(&c.store);
	repo_done(&r);
}

static void test_protocol(void)
{
	struct repo r;
	struct client c;
	struct err e = ERR_INIT;
	struct tuf_request a, b;
	struct tuf_limits lim = TUF_LIMITS_DEFAULT;
	enum tuf_reason why = TUF_REASON_NONE;
	struct tuf_update *none = NULL;
	char big[600] = "";

	repo_init(&r);
	client_init(&c, &r);
	{
		AUTO_TUF_UPDATE *u = begin(&c, NOW);

		CHECK(tuf_update_next(u, &a, &e) == TUF_FETCH &&
			      tuf_update_next(u, &b, &e) == TUF_FETCH &&
			      strcmp(a.name, b.name) == 0 && a.may_be_absent,
		      "asking again repeats");
		CHECK(tuf_update_answer(u, false, NULL, 0, &e) == 0, "%s", e.text);
		CHECK(tuf_update_next(u, &a, &e) == TUF_LOAD, "load");
		CHECK(tuf_update_answer(u, false, NULL, 0, &e) == 0, "%s", e.text);
		CHECK(tuf_update_next(u, &a, &e) == TUF_FETCH && a.max == lim.timestamp &&
			      !a.may_be_absent && strcmp(a.role, "timestamp") == 0,
		      "timestamp");
		CHECK(tuf_update_answer(u, false, NULL, 0, &e) == -ENOENT && e.kind == ERR_RETRY &&
			      tuf_update_reason(u) == TUF_REASON_ABSENT,
		      "%s", e.text);
		CHECK(tuf_update_next(u, &a, &e) < 0 && e.kind == ERR_BUG, "goes on after failure");
		CHECK(tuf_update_answer(u, true, "", 0, &e) < 0 && e.kind == ERR_BUG, "answer");
	}
	lim.root = 100;
	CHECK(tuf_update_new(big, sizeof(big), NOW, &lim, &none, &why, &e) < 0 &&
		      why == TUF_REASON_TOO_LARGE,
	      "%s", e.text);
	CHECK(tuf_update_new(big, sizeof(big), NOW, NULL, &none, &why, &e) < 0 &&
		      why == TUF_REASON_MALFORMED && !none,
	      "%s", e.text);
	{
		AUTO_TUF_UPDATE *u = begin(&c, NOW);
		AUTO_FREE char *huge = calloc(1, (512u << 10) + 1);

		CHECK(huge && tuf_update_next(u, &a, &e) == TUF_FETCH, "fetch");
		CHECK(tuf_update_answer(u, true, huge, a.max + 1, &e) == -EFBIG &&
			      tuf_update_reason(u) == TUF_REASON_TOO_LARGE,
		      "%s", e.text);
	}
	CHECK(c.store.n == 1, "%zu files", c.store.n);
	clear(&c.store);
	repo_done(&r);
}

/* Who expired and when, in words and for programs. */
static void test_expired(void)
{
	struct repo r;
	struct client c;
	struct err e = ERR_INIT;

	repo_init(&r);
	client_init(&c, &r);
	{
		AUTO_TUF_UPDATE *u = begin(&c, LATER);
		struct tuf_expired x;

		CHECK(!tuf_update_expired(u, &x), "nothing expired yet");
		CHECK(run(&c, &r, u, UINT32_MAX, &e) == -ESTALE && e.kind == ERR_REFUSED &&
			      tuf_update_reason(u) == TUF_REASON_EXPIRED &&
			      strstr(e.text, "the root role expired 2027-01-16T"),
		      "%s", e.text);
		CHECK(tuf_update_expired(u, &x) && strcmp(x.role, "root") == 0 && x.version == 1 &&
			      x.expires == LATER,
		      "%s %lld", x.role, (long long)x.expires);
	}
	{
		AUTO_TUF_UPDATE *u = NULL;

		r.ts_expires = NOW - 19 * 86400 - 5;
		publish_rest(&r);
		u = begin(&c, NOW);
		CHECK(run(&c, &r, u, UINT32_MAX, &e) == -ESTALE && strstr(e.text, "19 days ago") &&
			      strstr(e.text, "proa-publish refresh"),
		      "%s", e.text);
	}
	CHECK(c.store.n == 1, "%zu files", c.store.n);
	clear(&c.store);
	repo_done(&r);
}

/* --- what a line can do to a file: every truncation, and a flipped bit in every byte --- */

/* The canonical form of what the file signs; empty when it is no JSON. */
static void signed_part(const char *p, size_t n, struct buf *out)
{
	const struct json_limits lim = { .bytes = 1 << 20, .depth = 32 };
	AUTO_JSON *j = NULL;

	if (json_read(p, n, &lim, "file", &j, NULL) == 0)
		CHECK(tuf_canon(json_object_get(j, "signed"), out, NULL) == 0, "canonical form");
}

struct damage {
	unsigned refused, harmless;
};

/* The file as damaged is refused, or what it signs is what was signed. */
static void try_damaged(struct repo *r, const char *name, const char *stored, const char *p,
			size_t n, struct damage *d)
{
	struct file *honest = find(&r->files, name);
	struct err e = ERR_INIT;
	struct client c;
	struct file was = *honest;
	enum tuf_reason why;
	int done;

	client_init(&c, r);
	honest->p = malloc(n + 1);
	CHECK(honest->p, "memory");
	memcpy(honest->p, p, n);
	honest->n = n;
	{
		AUTO_TUF_UPDATE *u = begin(&c, NOW);

		done = run(&c, r, u, UINT32_MAX, &e);
		why = tuf_update_reason(u);
	}
	free(honest->p);
	*honest = was;
	if (done < 0) {
		CHECK(why != TUF_REASON_NONE && why != TUF_REASON_INTERNAL && e.text[0], "%s: %s",
		      name, e.text);
		CHECK(!same(&c.store, stored, &r->files, name), "%s was stored", name);
		d->refused++;
	} else {
		AUTO_BUF a = BUF_INIT;
		AUTO_BUF b = BUF_INIT;

		signed_part(was.p, was.n, &a);
		signed_part(p, n, &b);
		CHECK(a.n > 0 && a.n == b.n && memcmp(a.p, b.p, a.n) == 0,
		      "%s: changed, yet accepted", name);
		d->harmless++;
	}
	clear(&c.store);
}

static void test_damage(void)
{
	static const char *const files[][2] = { { "2.root.json", "root.json" },
						{ "timestamp.json", "timestamp.json" },
						{ "1.snapshot.json", "snapshot.json" },
						{ "1.targets.json", "targets.json" } };
	struct damage cut = { 0 }, flip = { 0 };
	uint64_t seed = 88172645463325252u;
	struct repo r;

	repo_init(&r);
	publish_root(&r, 0);
	for (size_t k = 0; k < sizeof(files) / sizeof(files[0]); k++) {
		const struct file *f = find(&r.files, files[k][0]);
		size_t n = f->n;
		AUTO_FREE char *copy = malloc(n);

		CHECK(copy, "memory");
		memcpy(copy, f->p, n);
		for (size_t i = 0; i < n; i++) {
			char was = copy[i];

			try_damaged(&r, files[k][0], files[k][1], copy, i, &cut);
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			copy[i] = (char)(was ^ (1 << (seed >> 61)));
			try_damaged(&r, files[k][0], files[k][1], copy, n, &flip);
			copy[i] = was;
		}
	}
	printf("%u truncations refused; %u flipped bits refused, %u without meaning\n", cut.refused,
	       flip.refused, flip.harmless);
	CHECK(cut.harmless == 0 && cut.refused > 1000, "a truncated file was accepted");
	CHECK(flip.refused > 50 * flip.harmless, "hardly any flip was refused");
	repo_done(&r);
}

/* What is stored and listed may not be used past its date either, unless it is renewed. */
static int refresh_at(struct client *c, struct repo *r, int64_t now, enum tuf_reason *why)
{
	AUTO_TUF_UPDATE *u = begin(c, now);
	int done = run(c, r, u, UINT32_MAX, NULL);

	*why = tuf_update_reason(u);
	return done;
}

static void expire_one(unsigned which)
{
	enum tuf_reason why;
	struct client c;
	struct repo r;
	int64_t *date;

	repo_init(&r);
	date = which == 0 ? &r.ts_expires : which == 1 ? &r.sn_expires : &r.tg_expires;
	*date = NOW + 1;
	publish_rest(&r);
	client_init(&c, &r);
	refresh_good(&c, &r, NULL);
	CHECK(refresh_at(&c, &r, NOW + 1, &why) == -ESTALE && why == TUF_REASON_EXPIRED, "%u: %s",
	      which, tuf_reason_name(why));
	*date = LATER;
	publish_rest(&r);
	CHECK(refresh_at(&c, &r, NOW + 1, &why) == 0, "%u: %s", which, tuf_reason_name(why));
	clear(&c.store);
	repo_done(&r);
}

int main(void)
{
	for (unsigned i = 0; i < 3; i++)
		expire_one(i);
	test_damage();
	test_order();
	test_cuts();
	test_channel();
	test_protocol();
	test_expired();
	return 0;
}
