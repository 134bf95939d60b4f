/* SPDX-License-Identifier: Apache-2.0 */
/* Signs and writes what changed: the second half of roles.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/num.h"
#include "base/sys.h"
#include "publisher/proposal.h"
#include "publisher/roles.h"
#include "updater/tuf/sign.h"

enum { DAY = 24 * 3600, FILE_BYTES = TUF_ROLE_MAX + 32, READY_MAX = ROLES_CHANNELS_MAX + 4 };
enum { MARGIN_DIV = 3 };

static uint64_t version_of(const json_t *body)
{
	return (uint64_t)json_integer_value(json_object_get(body, "version"));
}

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

int64_t roles_margin(const struct repo *r, const char *role)
{
	return (int64_t)(days_of(r, role) * (uint64_t)DAY / MARGIN_DIV);
}

int roles_advance(const struct repo *r, const char *role, json_t *body, struct err *e)
{
	uint64_t now = version_of(body), n = 0;
	int q = 0;

	if (now >= REPO_VERSION_MAX)
		return err_set(e, ERR_REFUSED, EOVERFLOW,
			       "role %s is at version %" PRIu64
			       ", which no publisher reaches: somebody with its key pushed it up; "
			       "replace the keys and rebuild (proa-publish root propose --rebuild)",
			       role, now);
	/* a number that was ever on disk is not used again: caches keep it */
	if (strcmp(role, "timestamp") != 0)
		q = repo_highest(r, role, REPO_VERSION_MAX, &n, e);
	q = q < 0 ? q : json_put_u64(body, "version", (n > now ? n : now) + 1, e);
	return q < 0 ? q
		     : json_put_time(body, "expires",
				     r->now + (int64_t)(days_of(r, role) * (uint64_t)DAY), e);
}

int roles_list_file(json_t *meta, const char *name, const json_t *body, const void *p, size_t n,
		    struct err *e)
{
	uint8_t sum[SHA256_BYTES];
	json_t *o = json_object();
	json_t *hashes;
	int q = json_put(meta, name, o, e);

	if (q < 0)
		return q;
	sha256(p, n, sum);
	hashes = json_object();
	q = json_put(o, "hashes", hashes, e);
	q = q < 0 ? q : json_put_hex(hashes, "sha256", sum, sizeof(sum), e);
	q = q < 0 ? q : json_put_u64(o, "length", n, e);
	return q < 0 ? q : json_put_u64(o, "version", version_of(body), e);
}

/* ---- signing into memory ---- */

/* Files signed but not yet written, in the order they will be. */
struct ready {
	char file[FILE_BYTES];
	struct buf text;
};

struct batch {
	const struct repo *r;
	struct roles *m;
	const struct keys *k;
	struct ready *item;
	size_t n;
	struct tuf_md *root, *targets; /* new ones, or NULL */
};

static void batch_done(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		buf_done(&b->item[i].text);
	free(b->item);
	tuf_md_free(b->root);
	tuf_md_free(b->targets);
}

static const struct tuf_md *authority(const struct batch *b, const char *role)
{
	if (!roles_is_top(role))
		return b->targets ? b->targets : b->m->targets_md;
	return b->root ? b->root : b->m->root;
}

static enum tuf_type type_of(const char *role)
{
	if (strcmp(role, "root") == 0)
		return TUF_ROOT;
	if (strcmp(role, "timestamp") == 0)
		return TUF_TIMESTAMP;
	return strcmp(role, "snapshot") == 0 ? TUF_SNAPSHOT : TUF_TARGETS;
}

static int verify_by(const struct tuf_md *md, const struct tuf_md *by, const char *role,
		     struct err *e)
{
	const struct tuf_role *who = by ? tuf_md_role(by, role) : NULL;

	if (!who)
		return err_set(e, ERR_BUG, EINVAL, "nobody may sign role %s", role);
	return tuf_md_verify(md, by, who, role, NULL, NULL, e);
}

/* What a client will do with it, before it can see it. */
static int prove(struct batch *b, const char *role, const struct buf *text, struct tuf_md **ret,
		 struct err *e)
{
	AUTO_TUF_MD *md = NULL;
	int q = tuf_md_read(text->p, text->n, type_of(role), role, &md, NULL, e);

	if (q >= 0 && md->type == TUF_ROOT) {
		q = verify_by(md, md, role, e);
		if (q >= 0 && b->m->root)
			q = verify_by(md, b->m->root, role, e);
	} else if (q >= 0) {
		q = verify_by(md, authority(b, role), role, e);
	}
	if (q >= 0)
		*ret = TAKE(md);
	return q;
}

static int envelope_of(struct batch *b, const char *role, json_t *body, json_t **ret, struct err *e)
{
	json_t *given = json_object_get(b->m->given, role);
	AUTO_JSON *env = NULL;
	int q = given ? 0 : roles_advance(b->r, role, body, e);

	q = q < 0 ? q : tuf_envelope_new(body, &env, e);
	if (q >= 0 && given)
		q = json_put(env, "signatures", json_deep_copy(given), e);
	if (q >= 0)
		*ret = TAKE(env);
	return q;
}

/* A root needs the old keys' threshold and its own. */
static int sign_root(struct batch *b, json_t *env, struct err *e)
{
	json_t *body = b->m->root_next;
	struct keys_role own = { "root", json_object_get(json_object_get(body, "roles"), "root"),
				 json_object_get(body, ROLES_NAMES) };
	struct keys_role old = { "root", NULL, NULL };
	int q = 0;

	if (b->m->root) {
		body = b->m->root->body;
		old.signers = json_object_get(json_object_get(body, "roles"), "root");
		old.names = json_object_get(body, ROLES_NAMES);
		q = keys_sign(b->k, &old, env, e);
		if (q < 0)
			return err_wrap(e, q, "by the keys of root %" PRIu64, b->m->root->version);
	}
	q = keys_sign(b->k, &own, env, e);
	return q < 0 ? err_wrap(e, q, "by its own keys") : 0;
}

static int sign(struct batch *b, const char *role, json_t *env, struct err *e)
{
	const struct keys_role who = { role, roles_signers(b->m, role), roles_names(b->m, role) };

	if (strcmp(role, "root") == 0)
		return sign_root(b, env, e);
	if (!who.signers)
		return err_set(e, ERR_BUG, EINVAL, "nobody may sign role %s", role);
	return keys_sign(b->k, &who, env, e);
}

/* lister: the snapshot or timestamp that lists the file; NULL: nobody does. */
static int make_ready(struct batch *b, const char *role, json_t *body, json_t *lister,
		      struct tuf_md **ret, struct err *e)
{
	struct ready *x = &b->item[b->n];
	AUTO_TUF_MD *md = NULL;
	AUTO_JSON *env = NULL;
	int q = envelope_of(b, role, body, &env, e);

	q = q < 0 ? q : sign(b, role, env, e);
	q = q < 0 ? q : json_write(env, true, &x->text, e);
	if (q < 0)
		return q;
	b->n++;
	if (strcmp(role, "timestamp") == 0)
		(void)snprintf(x->file, sizeof(x->file), "timestamp.json");
	else
		(void)snprintf(x->file, sizeof(x->file), "%" PRIu64 ".%s.json", version_of(body),
			       role);
	q = prove(b, role, &x->text, &md, e);
	if (q >= 0 && ret)
		*ret = TAKE(md);
	if (q >= 0 && lister) {
		char name[FILE_BYTES];

		(void)snprintf(name, sizeof(name), "%s.json", role);
		q = roles_list_file(json_object_get(lister, "meta"), name, body, x->text.p,
				    x->text.n, e);
	}
	return q;
}

/* ---- what needs signing ---- */

static int check(const struct roles *m, const struct keys *k, const char *role, struct err *e)
{
	const struct keys_role who = { role, roles_signers(m, role), roles_names(m, role) };
	json_t *given = json_object_get(m->given, role);
	AUTO_JSON *env = given ? json_pack("{s:O}", "signatures", given) : NULL;

	return keys_check(k, &who, env, e);
}

int roles_check_keys(const struct roles *m, const struct keys *k, struct err *e)
{
	int q = 0;

	if (m->propose)
		return 0;
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		if (m->channel[i].changed)
			q = check(m, k, m->channel[i].name, e);
	if (q >= 0 && m->targets_changed)
		q = check(m, k, "targets", e);
	q = q < 0 ? q : check(m, k, "snapshot", e);
	return q < 0 ? q : check(m, k, "timestamp", e);
}

/* True if an unchanged role should be signed again now; else says so when it should and cannot. */
static bool renew(const struct repo *r, struct roles *m, const struct keys *k, const char *role)
{
	int64_t end = roles_expires(roles_body(m, role));
	size_t n = strlen(m->note);
	char t[NUM_TIME_MAX];

	if (end - r->now >= roles_margin(r, role))
		return false;
	if (k && check(m, k, role, NULL) >= 0)
		return true;
	num_format_time(end, t);
	(void)snprintf(m->note + n, sizeof(m->note) - n, "%srole %s %s %s and its key is not here",
		       n ? "; " : "", role, end < r->now ? "expired" : "expires", t);
	return false;
}

static void choose(const struct repo *r, struct roles *m, const struct keys *k)
{
	for (size_t i = 0; i < m->n_channel; i++)
		if (!m->channel[i].changed)
			m->channel[i].changed = renew(r, m, k, m->channel[i].name);
	if (!m->targets_changed)
		m->targets_changed = renew(r, m, k, "targets");
	if (!m->root_next)
		(void)renew(r, m, NULL, "root");
}

/* Who may sign comes first, as what is signed next is judged by it; then in the order of writing.
 */
static int make_all(struct batch *b, struct err *e)
{
	struct roles *m = b->m;
	int q = 0;

	if (m->root_next)
		q = make_ready(b, "root", m->root_next, NULL, &b->root, e);
	if (q >= 0 && m->targets_changed)
		q = make_ready(b, "targets", m->targets, m->snapshot, &b->targets, e);
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++)
		if (m->channel[i].changed)
			q = make_ready(b, m->channel[i].name, m->channel[i].body, m->snapshot, NULL,
				       e);
	q = q < 0 ? q : make_ready(b, "snapshot", m->snapshot, m->timestamp, NULL, e);
	return q < 0 ? q : make_ready(b, "timestamp", m->timestamp, NULL, NULL, e);
}

static int write_all(struct batch *b, struct err *e)
{
	size_t first = b->m->root_next ? 1 : 0;
	int q = 0;

	for (size_t i = first; q >= 0 && i < b->n; i++) {
		struct ready *x = &b->item[i];

		if (i + 1 == b->n && first) /* the timestamp: the new root just before it */
			q = file_replace(sys_linux(), b->r->meta, b->item[0].file,
					 b->item[0].text.p, b->item[0].text.n, e);
		if (q >= 0)
			q = file_replace(sys_linux(), b->r->meta, x->file, x->text.p, x->text.n, e);
	}
	return q;
}

/* What was new is now how it is. */
static void settle(struct batch *b)
{
	struct roles *m = b->m;

	if (b->root) {
		tuf_md_free(m->root);
		m->root = TAKE(b->root);
		json_decref(m->root_next);
		m->root_next = NULL;
	}
	if (b->targets) {
		tuf_md_free(m->targets_md);
		m->targets_md = TAKE(b->targets);
	}
	m->targets_changed = false;
	for (size_t i = 0; i < m->n_channel; i++)
		m->channel[i].changed = false;
	(void)json_object_clear(m->given);
}

int roles_commit(const struct repo *r, struct roles *m, const struct keys *k, struct err *e)
{
	CLEANUP(batch_done) struct batch b = { .r = r, .m = m, .k = k };
	int q;

	if (m->propose)
		return proposal_write(r, m, k, e);
	q = roles_check_keys(m, k, e);
	if (q < 0)
		return q;
	b.item = calloc(READY_MAX, sizeof(*b.item));
	if (!b.item)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	choose(r, m, k);
	q = make_all(&b, e);
	q = q < 0 ? q : write_all(&b, e);
	if (q >= 0)
		settle(&b);
	return q;
}
