/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/proposal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "publisher/words.h"
#include "updater/tuf/canon.h"
#include "updater/tuf/sign.h"

enum { FORMAT = 1, DEPTH = TUF_DEPTH_MAX + 4 };

void proposal_done(struct proposal *p)
{
	for (size_t i = 0; i < p->n; i++) {
		tuf_md_free(p->change[i].now);
		tuf_md_free(p->change[i].next);
	}
	tuf_md_free(p->root);
	tuf_md_free(p->targets);
	json_decref(p->doc);
	*p = (struct proposal)PROPOSAL_INIT;
}

const struct proposal_change *proposal_of(const struct proposal *p, const char *role)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->change[i].role, role) == 0)
			return &p->change[i];
	return NULL;
}

/* Root or targets as they will be. */
static const struct tuf_md *after(const struct proposal *p, const char *role)
{
	const struct proposal_change *c = proposal_of(p, role);

	if (c)
		return c->next;
	return strcmp(role, "root") == 0 ? p->root : p->targets;
}

/* Who must sign a change: one or two files that name its signers. */
static size_t authorities(const struct proposal *p, const struct proposal_change *c,
			  const struct tuf_md *out[2])
{
	size_t n = 0;

	if (strcmp(c->role, "root") == 0) {
		if (p->root)
			out[n++] = p->root;
		out[n++] = c->next;
	} else {
		const struct tuf_md *by =
			after(p, strcmp(c->role, "targets") == 0 ? "root" : "targets");

		if (by)
			out[n++] = by;
	}
	return n;
}

static const json_t *names_of(const struct tuf_md *by)
{
	return json_object_get(by->body, ROLES_NAMES);
}

/* ---- reading ---- */

static int read_file(json_t *file, const char *role, const char *what, struct tuf_md **ret,
		     struct err *e)
{
	enum tuf_type type = strcmp(role, "root") == 0 ? TUF_ROOT : TUF_TARGETS;
	AUTO_BUF b = BUF_INIT;
	int q = json_write(file, true, &b, e);

	q = q < 0 ? q : tuf_md_read(b.p, b.n, type, role, ret, NULL, e);
	return q < 0 ? err_wrap(e, q, "%s", what) : 0;
}

static int verify(const struct tuf_md *md, const struct tuf_md *by, const char *role,
		  const char *what, struct err *e)
{
	const struct tuf_role *who = tuf_md_role(by, role);
	int q = who ? tuf_md_verify(md, by, who, role, NULL, NULL, e)
		    : err_set(e, ERR_REFUSED, EKEYREJECTED, "nobody may sign role %s", role);

	return q < 0 ? err_wrap(e, q, "%s: what it calls the present", what) : 0;
}

static int check_pin(const struct proposal *p, const struct tuf_md *pin, const char *what,
		     struct err *e)
{
	if (!p->root)
		return err_set(e, ERR_REFUSED, ESTALE,
			       "%s is for a new repository, but root %" PRIu64 " is pinned", what,
			       pin->version);
	if (p->root->version == pin->version && p->root->canon.n == pin->canon.n &&
	    memcmp(p->root->canon.p, pin->canon.p, pin->canon.n) == 0)
		return 0;
	if (p->root->version > pin->version &&
	    tuf_md_verify(p->root, pin, tuf_md_role(pin, "root"), what, NULL, NULL, NULL) >= 0)
		return 0;
	return err_set(e, ERR_REFUSED, ESTALE,
		       "%s starts from a root %" PRIu64 " that the pinned root %" PRIu64
		       " did not sign: it is for another repository, forged, or the pin is old",
		       what, p->root->version, pin->version);
}

static int read_now(struct proposal *p, const struct tuf_md *pin, const char *what, struct err *e)
{
	json_t *now = json_object_get(p->doc, "now");
	json_t *root = json_object_get(now, "root"), *targets = json_object_get(now, "targets");
	int q = 0;

	if (!root != !targets)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: it must hold both the present root and targets, or neither",
			       what);
	if (root) {
		q = read_file(root, "root", what, &p->root, e);
		q = q < 0 ? q : read_file(targets, "targets", what, &p->targets, e);
		q = q < 0 ? q : verify(p->root, p->root, "root", what, e);
		q = q < 0 ? q : verify(p->targets, p->root, "targets", what, e);
	}
	return q >= 0 && pin ? check_pin(p, pin, what, e) : q;
}

/* What a channel is now; a channel that has a file now must show it. */
static int channel_now(struct proposal *p, struct proposal_change *c, const char *what,
		       struct err *e)
{
	json_t *file = json_object_get(json_object_get(p->doc, "now"), c->role);
	int q;

	if (!p->targets || !tuf_md_role(p->targets, c->role)) {
		return file ? err_set(e, ERR_REFUSED, EBADMSG, "%s: there is no channel %s yet",
				      what, c->role)
			    : 0;
	}
	if (!file)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s: it does not show channel %s as it is",
			       what, c->role);
	q = read_file(file, c->role, what, &c->now, e);
	return q < 0 ? q : verify(c->now, p->targets, c->role, what, e);
}

/* The version before; root and targets are kept where all can see them. */
static const struct tuf_md *before(const struct proposal *p, const struct proposal_change *c)
{
	if (strcmp(c->role, "root") == 0)
		return p->root;
	return strcmp(c->role, "targets") == 0 ? p->targets : c->now;
}

static int check_version(const struct proposal *p, const struct proposal_change *c,
			 const char *what, struct err *e)
{
	const struct tuf_md *now = before(p, c);
	bool root = strcmp(c->role, "root") == 0;

	if (now && c->next->version <= now->version)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: %s goes from version %" PRIu64 " to %" PRIu64, what, c->role,
			       now->version, c->next->version);
	if (root && c->next->version != (now ? now->version + 1 : 1))
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: root must be version %" PRIu64 ", not %" PRIu64, what,
			       now ? now->version + 1 : 1, c->next->version);
	if (c->next->version >= REPO_VERSION_MAX)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s: no publisher reaches version %" PRIu64,
			       what, c->next->version);
	return 0;
}

static int read_change(struct proposal *p, const char *role, json_t *file, const char *what,
		       struct err *e)
{
	struct proposal_change *c = &p->change[p->n];
	bool top = strcmp(role, "root") == 0 || strcmp(role, "targets") == 0;
	int q = 0;

	if (p->n == PROPOSAL_CHANGES_MAX || (!top && !channel_name_valid(role)))
		return err_set(e, ERR_REFUSED, EBADMSG, "%s: '%.64s' cannot be proposed", what,
			       role);
	c->role = role;
	c->file = file;
	c->now = c->next = NULL;
	p->n++;
	if (!top)
		q = channel_now(p, c, what, e);
	q = q < 0 ? q : read_file(file, role, what, &c->next, e);
	return q < 0 ? q : check_version(p, c, what, e);
}

static int read_next(struct proposal *p, const char *what, struct err *e)
{
	json_t *next, *file;
	const char *role;
	int q = json_get_obj(p->doc, "next", what, &next, e);

	if (q >= 0 && json_object_size(next) == 0)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s: it changes nothing", what);
	if (q < 0)
		return q;
	json_object_foreach(next, role, file)
	{
		q = read_change(p, role, file, what, e);
		if (q < 0)
			return q;
	}
	if (!after(p, "root") || !after(p, "targets"))
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: a new repository needs both root and targets", what);
	return 0;
}

/* ---- words ---- */

static int say(const struct proposal *p, const char *role, json_t *out, struct err *e)
{
	const struct proposal_change *c = proposal_of(p, role);
	json_t *now = before(p, c) ? before(p, c)->body : NULL;

	if (strcmp(role, "root") == 0)
		return words_root(now, c->next->body, out, e);
	if (strcmp(role, "targets") == 0)
		return words_targets(now, c->next->body, out, e);
	return words_channel(role, now, c->next->body, out, e);
}

/* Root first, then targets: who may sign comes before what is signed. */
static int words(const struct proposal *p, json_t *out, struct err *e)
{
	int q = 0;

	if (proposal_of(p, "root"))
		q = say(p, "root", out, e);
	if (q >= 0 && proposal_of(p, "targets"))
		q = say(p, "targets", out, e);
	for (size_t i = 0; q >= 0 && i < p->n; i++)
		if (channel_name_valid(p->change[i].role))
			q = say(p, p->change[i].role, out, e);
	return q;
}

static int check_words(const struct proposal *p, const char *what, struct err *e)
{
	AUTO_JSON *own = json_array();
	int q = own ? words(p, own, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	if (q >= 0 && !json_equal(own, json_object_get(p->doc, "says")))
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s is not what it claims: its words are not those of its change",
			       what);
	return q;
}

/* ---- signatures ---- */

static bool counts(const struct proposal *p, const struct proposal_change *c, const char *id)
{
	const struct tuf_md *by[2];
	size_t n = authorities(p, c, by);
	bool found = false;

	for (size_t i = 0; i < n && !found; i++) {
		const struct tuf_role *who = tuf_md_role(by[i], c->role);
		AUTO_FREE struct tuf_signers *s = malloc(sizeof(*s));

		if (!who || !s)
			continue;
		tuf_md_signers(c->next, by[i], who, s);
		for (size_t j = 0; j < s->n && j < TUF_SIGNERS_MAX; j++)
			found = found || strcmp(s->id[j], id) == 0;
	}
	return found;
}

static int check_signatures(const struct proposal *p, const char *what, struct err *e)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct proposal_change *c = &p->change[i];
		const json_t *sigs = json_object_get(c->next->doc, "signatures");

		for (size_t j = 0; j < json_array_size(sigs); j++) {
			const char *id = json_string_value(
				json_object_get(json_array_get(sigs, j), "keyid"));

			if (!id || !counts(p, c, id))
				return err_set(e, ERR_REFUSED, EKEYREJECTED,
					       "%s: the signature of key %.8s over %s is not good, "
					       "or that key may not sign it: take this file out",
					       what, id ? id : "?", c->role);
		}
	}
	return 0;
}

int proposal_read(const void *p, size_t n, const char *what, const struct tuf_md *pin,
		  struct proposal *ret, struct err *e)
{
	const struct json_limits lim = { .bytes = PROPOSAL_MAX, .depth = DEPTH };
	AUTO_FREE struct proposal *x = calloc(1, sizeof(*x));
	uint64_t format = 0;
	int q;

	if (!x)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	q = json_read(p, n, &lim, what, &x->doc, e);
	if (q >= 0 && !json_is_object(x->doc))
		q = err_set(e, ERR_INPUT, EINVAL, "%s is no proposal", what);
	if (q >= 0 && json_get_u64(x->doc, "proa-proposal", what, FORMAT, &format, NULL) < 0)
		q = err_set(e, ERR_INPUT, EINVAL, "%s is no proposal this program knows", what);
	q = q < 0 ? q : read_now(x, pin, what, e);
	q = q < 0 ? q : read_next(x, what, e);
	q = q < 0 ? q : check_words(x, what, e);
	q = q < 0 ? q : check_signatures(x, what, e);
	if (q < 0) {
		proposal_done(x);
		return q;
	}
	*ret = *x;
	return 0;
}

/* {"keyids","threshold"} of all who may sign a change, whichever file says so. */
static int all_signers(const struct proposal *p, const struct proposal_change *c, json_t **ret,
		       struct err *e)
{
	AUTO_JSON *j = json_pack("{s:[],s:i}", "keyids", "threshold", 1);
	const struct tuf_md *by[2];
	size_t n = authorities(p, c, by);
	int q = j ? 0 : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	for (size_t i = 0; q >= 0 && i < n; i++) {
		const struct tuf_role *who = tuf_md_role(by[i], c->role);

		for (size_t k = 0; who && q >= 0 && k < who->keyids_n; k++)
			if (!keys_role_has(j, who->keyids[k]))
				q = json_push(json_object_get(j, "keyids"),
					      json_string(who->keyids[k]), e);
	}
	if (q >= 0)
		*ret = TAKE(j);
	return q;
}

int proposal_sign(struct proposal *p, const struct keys *k, struct err *e)
{
	int n = 0;

	for (size_t i = 0; i < p->n; i++) {
		struct proposal_change *c = &p->change[i];
		AUTO_JSON *signers = NULL;
		struct keys_role who = { .name = c->role };
		int q = all_signers(p, c, &signers, e);

		who.signers = signers;
		q = q < 0 ? q : keys_add(k, &who, c->file, e);
		if (q < 0)
			return q;
		n += q;
		if (q == 0)
			continue;
		tuf_md_free(c->next);
		c->next = NULL;
		q = read_file(c->file, c->role, "the signed file", &c->next, e);
		if (q < 0)
			return q;
	}
	return n;
}

/* Who of a role's keys signed, and who did not, by name. */
static int divide(const struct tuf_md *by, const struct tuf_role *who, const struct tuf_signers *s,
		  struct buf *have, struct buf *missing, struct err *e)
{
	int q = 0;

	for (size_t i = 0; q >= 0 && i < who->keyids_n; i++) {
		struct buf *b = missing;

		for (size_t j = 0; j < s->n && j < TUF_SIGNERS_MAX; j++)
			b = strcmp(s->id[j], who->keyids[i]) == 0 ? have : b;
		q = buf_addf(b, e, "%s", b->n ? ", " : "");
		q = q < 0 ? q : keys_label(names_of(by), who->keyids[i], b, e);
	}
	return q;
}

/* One line of the tally: c by the keys that `by` names. */
static int count(const struct proposal_change *c, const struct tuf_md *by, const char *label,
		 json_t *out, bool *done, struct err *e)
{
	const struct tuf_role *who = tuf_md_role(by, c->role);
	AUTO_FREE struct tuf_signers *s = calloc(1, sizeof(*s));
	AUTO_BUF have = BUF_INIT;
	AUTO_BUF missing = BUF_INIT;
	AUTO_BUF line = BUF_INIT;
	int q;

	if (!s || !who) /* a role nobody may sign is never done */
		*done = false;
	if (!s)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (!who)
		return json_push(out, json_sprintf("%s: nobody may sign it", c->role), e);
	tuf_md_signers(c->next, by, who, s);
	q = divide(by, who, s, &have, &missing, e);
	q = q < 0 ? q
		  : buf_addf(&line, e, "%s %" PRIu64 "%s: %zu of %" PRIu64 " signatures: %s",
			     c->role, c->next->version, label, s->n, who->threshold,
			     have.n ? have.p : "none");
	if (q >= 0 && s->n < who->threshold) {
		*done = false;
		q = buf_addf(&line, e, "; missing %" PRIu64 " of: %s", who->threshold - s->n,
			     missing.n ? missing.p : "keys");
	}
	return q < 0 ? q : json_push(out, json_string(line.p), e);
}

int proposal_tally(const struct proposal *p, json_t *out, bool *ret_done, struct err *e)
{
	bool done = true;
	int q = 0;

	for (size_t i = 0; q >= 0 && i < p->n; i++) {
		const struct proposal_change *c = &p->change[i];
		const struct tuf_md *by[2];
		size_t n = authorities(p, c, by);
		char label[64] = "";

		for (size_t j = 0; q >= 0 && j < n; j++) {
			if (n == 2)
				(void)snprintf(label, sizeof(label),
					       " by the keys of root %" PRIu64, by[j]->version);
			q = count(c, by[j], label, out, &done, e);
		}
	}
	if (q >= 0)
		*ret_done = done;
	return q;
}

static int merge_one(struct proposal_change *c, const struct proposal_change *from, struct err *e)
{
	json_t *to = json_object_get(c->file, "signatures");
	const json_t *sigs = json_object_get(from->file, "signatures");
	int q = 0;

	for (size_t i = 0; q >= 0 && i < json_array_size(sigs); i++) {
		json_t *s = json_array_get(sigs, i);
		bool there = false;

		for (size_t j = 0; j < json_array_size(to); j++)
			there = there || json_equal(json_object_get(json_array_get(to, j), "keyid"),
						    json_object_get(s, "keyid"));
		if (!there)
			q = json_push(to, json_deep_copy(s), e);
	}
	if (q < 0)
		return q;
	tuf_md_free(c->next);
	c->next = NULL;
	return read_file(c->file, c->role, "the merged file", &c->next, e);
}

int proposal_merge(struct proposal *p, const struct proposal *from, const char *what, struct err *e)
{
	int q = 0;

	if (p->n != from->n)
		return err_set(e, ERR_INPUT, EBADMSG, "%s is another proposal than the first",
			       what);
	for (size_t i = 0; q >= 0 && i < p->n; i++) {
		const struct proposal_change *o = proposal_of(from, p->change[i].role);

		if (!o || !json_equal(o->next->body, p->change[i].next->body))
			return err_set(e, ERR_INPUT, EBADMSG,
				       "%s is another proposal than the first: its %s differs",
				       what, p->change[i].role);
		q = merge_one(&p->change[i], o, e);
	}
	return q;
}

/* ---- into the repository ---- */

static bool same(const struct tuf_md *a, const json_t *doc)
{
	const json_t *body = json_object_get(doc, "signed");

	return a ? body && json_equal(a->body, body) : !body;
}

/* The file of a role as the repository has it. */
static json_t *there(const struct roles *m, const char *role)
{
	if (strcmp(role, "root") == 0)
		return m->root ? m->root->doc : NULL;
	if (strcmp(role, "targets") == 0)
		return m->targets_md ? m->targets_md->doc : NULL;
	for (size_t i = 0; i < m->n_channel; i++)
		if (strcmp(m->channel[i].name, role) == 0)
			return m->channel[i].doc;
	return NULL;
}

/* What a release it adds consists of must lie in the repository before hosts are told of it. */
static int check_release(const struct repo *r, const struct channel *c, const char *path,
			 struct err *e)
{
	AUTO_FREE struct release_manifest *m = malloc(sizeof(*m));
	AUTO_FREE char *p = NULL;
	char blob[RELEASE_BLOB_PATH_MAX];
	size_t n;
	int q = m ? channel_manifest(r, c, path, &p, &n, e)
		  : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	q = q < 0 ? q : release_manifest_parse(p, n, path, m, e);
	for (size_t i = 0; q >= 0 && i < m->n_blob; i++) {
		release_blob_path(m->blob[i].sha256, blob);
		if (faccessat(r->dir, blob, F_OK, 0) < 0)
			q = err_set(e, ERR_INPUT, ENOENT, "%s: its %s is not in '%s'", path, blob,
				    r->path);
	}
	return q;
}

static int check_releases(const struct repo *r, const struct proposal_change *x,
			  const struct channel *c, struct err *e)
{
	const json_t *old = x->now ? json_object_get(x->now->body, "targets") : NULL;
	json_t *targets = json_object_get(c->body, "targets"), *entry;
	const char *path;
	int q = 0;

	json_object_foreach(targets, path, entry)
	{
		const json_t *was = json_object_get(old, path);

		if (q >= 0 && !(was && json_equal(json_object_get(was, "hashes"),
						  json_object_get(entry, "hashes"))))
			q = check_release(r, c, path, e);
	}
	return q;
}

static struct channel *channel_slot(struct roles *m, const char *name)
{
	for (size_t i = 0; i < m->n_channel; i++)
		if (strcmp(m->channel[i].name, name) == 0)
			return &m->channel[i];
	if (m->n_channel == ROLES_CHANNELS_MAX)
		return NULL;
	(void)snprintf(m->channel[m->n_channel].name, sizeof(m->channel[0].name), "%s", name);
	return &m->channel[m->n_channel++];
}

static int put(const struct repo *r, struct roles *m, const struct proposal_change *x,
	       struct err *e)
{
	json_t *body = json_deep_copy(x->next->body), **to;
	struct channel *c = NULL;
	bool root = strcmp(x->role, "root") == 0;
	bool targets = strcmp(x->role, "targets") == 0;

	if (!root && !targets)
		c = channel_slot(m, x->role);
	if (!body || (!root && !targets && !c)) {
		json_decref(body);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	to = root ? &m->root_next : targets ? &m->targets : &c->body;
	json_decref(*to);
	*to = body;
	m->targets_changed = m->targets_changed || targets;
	if (!c)
		return 0;
	c->changed = true;
	return check_releases(r, x, c, e);
}

static int apply(const struct proposal *p, const struct proposal_change *x, const struct repo *r,
		 struct roles *m, struct err *e)
{
	int q;

	if (same(x->next, there(m, x->role)))
		return 0;
	if (!same(before(p, x), there(m, x->role)))
		return err_set(e, ERR_INPUT, ESTALE,
			       "'%s' has moved on: its %s is not the one this proposal starts "
			       "from; propose again",
			       r->path, x->role);
	if (x->next->expires <= r->now)
		return err_set(e, ERR_INPUT, ETIME,
			       "%s of this proposal has expired meanwhile: propose again", x->role);
	q = json_put(m->given, x->role, json_deep_copy(json_object_get(x->next->doc, "signatures")),
		     e);
	q = q < 0 ? q : put(r, m, x, e);
	return q < 0 ? q : 1;
}

int proposal_apply(const struct proposal *p, const struct repo *r, struct roles *m, struct err *e)
{
	int q = 0, n = 0;

	for (size_t i = 0; q >= 0 && i < p->n; i++) {
		q = apply(p, &p->change[i], r, m, e);
		n += q;
	}
	return q < 0 ? q : n;
}

/* ---- making ---- */

static int add_next(const struct repo *r, const char *role, json_t *body, json_t *next,
		    struct err *e)
{
	json_t *env = NULL;
	int q = roles_advance(r, role, body, e);

	q = q < 0 ? q : tuf_envelope_new(body, &env, e);
	return q < 0 ? q : json_put(next, role, env, e);
}

static int fill(const struct repo *r, struct roles *m, json_t *now, json_t *next, struct err *e)
{
	int q = 0;

	if (m->root)
		q = json_put(now, "root", json_incref(m->root->doc), e);
	if (q >= 0 && m->targets_md)
		q = json_put(now, "targets", json_incref(m->targets_md->doc), e);
	if (q >= 0 && m->root_next)
		q = add_next(r, "root", m->root_next, next, e);
	if (q >= 0 && m->targets_changed)
		q = add_next(r, "targets", m->targets, next, e);
	for (size_t i = 0; q >= 0 && i < m->n_channel; i++) {
		struct channel *c = &m->channel[i];

		if (!c->changed)
			continue;
		q = add_next(r, c->name, c->body, next, e);
		if (q >= 0 && c->doc)
			q = json_put(now, c->name, json_incref(c->doc), e);
	}
	if (q >= 0 && json_object_size(next) == 0)
		return err_set(e, ERR_INPUT, EINVAL, "there is nothing to propose");
	return q;
}

int proposal_path_free(const char *path, struct err *e)
{
	if (access(path, F_OK) < 0)
		return 0;
	return err_set(e, ERR_INPUT, EEXIST,
		       "'%s' is there already, and may hold signatures: give another name, or "
		       "remove it",
		       path);
}

int proposal_save(const json_t *doc, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	AUTO_SYS_FD d = { sys_linux(), -1 };
	char dir[PATH_MAX] = ".";
	AUTO_BUF b = BUF_INIT;
	int q;

	if (slash && (size_t)(slash - path) >= sizeof(dir))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "the path is too long");
	if (slash)
		(void)snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path),
			       path);
	d.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.fd < 0)
		return err_set(e, ERR_INPUT, errno, "write '%s': %s: %s", path, dir,
			       strerror(errno));
	q = json_write(doc, true, &b, e);
	return q < 0 ? q : file_replace(d.sys, d.fd, slash ? slash + 1 : path, b.p, b.n, e);
}

/* The file without its words, read as one that will be believed by nobody: then they are added. */
static int complete(json_t *doc, const struct keys *k, struct err *e)
{
	AUTO_FREE struct proposal *p = calloc(1, sizeof(*p));
	json_t *says = json_array();
	int q = json_put(doc, "says", says, e);

	if (q < 0 || !p)
		return q < 0 ? q : err_set(e, ERR_HOST, ENOMEM, "out of memory");
	p->doc = json_incref(doc);
	q = read_now(p, NULL, "the proposal", e);
	q = q < 0 ? q : read_next(p, "the proposal", e);
	q = q < 0 ? q : words(p, says, e);
	q = q < 0 ? q : proposal_sign(p, k, e);
	proposal_done(p);
	return q;
}

int proposal_write(const struct repo *r, struct roles *m, const struct keys *k, struct err *e)
{
	json_t *now = json_object(), *next = json_object();
	AUTO_JSON *doc =
		json_pack("{s:i,s:o,s:o}", "proa-proposal", FORMAT, "now", now, "next", next);
	int q = doc ? fill(r, m, now, next, e) : err_set(e, ERR_HOST, ENOMEM, "out of memory");

	q = q < 0 ? q : complete(doc, k, e);
	return q < 0 ? q : proposal_save(doc, m->propose, e);
}
