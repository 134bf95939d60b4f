/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/tuf/update.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/num.h"
#include "base/text.h"
#include "updater/tuf/refuse.h"

/* The order of section 5. LOAD and FETCH wait for an answer, DROP and SAVE for the next call. */
enum phase {
	ROOT_FETCH,
	ROOT_DROP,
	ROOT_SAVE,
	TIMESTAMP_LOAD,
	TIMESTAMP_FETCH,
	TIMESTAMP_SAVE,
	SNAPSHOT_LOAD,
	SNAPSHOT_FETCH,
	SNAPSHOT_SAVE,
	TARGETS_LOAD, /* of the role `now` */
	TARGETS_FETCH,
	TARGETS_SAVE,
	SEARCH, /* picks the next role of the search */
	FINISHED,
};

/* A file that is trusted, and who vouched for it. */
struct held {
	char *name;
	struct tuf_md *md;
	uint64_t threshold;
	struct tuf_signers signers;
};

/* A role to visit, as one delegator sees it. Both live as long as the update. */
struct edge {
	const struct tuf_md *keys_of;
	const struct tuf_role *role;
};

enum want { WANT_NOTHING, WANT_TARGET, WANT_ROLE };

struct tuf_update {
	struct tuf_limits lim;
	int64_t start;
	enum phase phase;
	bool issued; /* the DROP or SAVE of this phase was handed out */
	bool failed;
	enum tuf_reason why;
	struct tuf_expired expired;
	unsigned rotations;

	struct held root, timestamp, snapshot;
	struct held *roles; /* "targets" first, then delegated ones */
	size_t roles_n;
	/*
	 * targets files never move once they are in `roles`; only the array does, and edges point
	 * at the files
	 */
	struct edge now;
	struct tuf_listed listed; /* what the snapshot says of `now` */

	enum want want;
	char *path; /* wanted target, or wanted role */
	struct edge *stack;
	size_t stack_n, stack_cap;
	const char **visited;
	unsigned visited_n;
	bool found;
	struct tuf_target target;

	struct buf name, data; /* of the request at hand */
};

enum { TEXT_MAX = 200, DAY = 86400, TWO_DAYS = 2 * DAY };

static int no_memory(struct tuf_update *u, struct err *e)
{
	tuf_why(&u->why, TUF_REASON_INTERNAL);
	return err_set(e, ERR_HOST, ENOMEM, "out of memory");
}

static void held_done(struct held *h)
{
	free(h->name);
	tuf_md_free(h->md);
	*h = (struct held){ .name = NULL };
}

static struct held *find_role(const struct tuf_update *u, const char *name)
{
	for (size_t i = 0; i < u->roles_n; i++)
		if (strcmp(u->roles[i].name, name) == 0)
			return &u->roles[i];
	return NULL;
}

/* u->name = [VERSION.]quoted-role.json; version 0: without. */
static int set_name(struct tuf_update *u, uint64_t version, const char *role, struct err *e)
{
	int r = 0;

	u->name.n = 0;
	if (version > 0)
		r = buf_addf(&u->name, e, "%" PRIu64 ".", version);
	if (r >= 0)
		r = tuf_quote(role, "", &u->name, e);
	if (r >= 0)
		r = buf_add(&u->name, ".json", 5, e);
	return r;
}

static const char *role_at_hand(const struct tuf_update *u)
{
	if (u->phase < TIMESTAMP_LOAD)
		return tuf_type_name(TUF_ROOT);
	if (u->phase < SNAPSHOT_LOAD)
		return tuf_type_name(TUF_TIMESTAMP);
	return u->phase < TARGETS_LOAD ? tuf_type_name(TUF_SNAPSHOT) : u->now.role->name;
}

static bool expired(const struct tuf_update *u, const struct tuf_md *md)
{
	return md->expires <= u->start;
}

static int refuse_expired(struct tuf_update *u, const struct tuf_md *md, const char *remedy,
			  struct err *e)
{
	uint64_t ago = (uint64_t)(u->start - md->expires);
	char date[NUM_TIME_MAX], since[TEXT_MAX], role[TEXT_MAX];

	u->expired = (struct tuf_expired){ .version = md->version, .expires = md->expires };
	(void)snprintf(u->expired.role, sizeof(u->expired.role), "%s", role_at_hand(u));
	(void)text_clean(u->expired.role, strlen(u->expired.role), role, sizeof(role));
	num_format_time(md->expires, date);
	if (ago >= TWO_DAYS)
		(void)snprintf(since, sizeof(since), "%" PRIu64 " days", ago / DAY);
	else
		(void)text_duration(ago, since, sizeof(since));
	return TUF_REFUSE(&u->why, TUF_REASON_EXPIRED, e, ESTALE,
			  "the %s role expired %s, %s ago (%s version %" PRIu64
			  "): the publisher must %s",
			  role, date, since, u->name.p, md->version, remedy);
}

static const char *remedy_for(const struct tuf_update *u, enum tuf_type t)
{
	switch (t) {
	case TUF_ROOT:
		return "sign a new root";
	case TUF_TIMESTAMP:
	case TUF_SNAPSHOT:
		return "run `proa-publish refresh`";
	case TUF_TARGETS:
		break;
	}
	return strcmp(u->now.role->name, "targets") == 0 ? "sign targets again"
							 : "sign the channel again";
}

static int refuse_rollback(struct tuf_update *u, const char *what, uint64_t got, uint64_t trusted,
			   struct err *e)
{
	return TUF_REFUSE(&u->why, TUF_REASON_ROLLBACK, e, ESTALE,
			  "%s: version %" PRIu64 " is older than version %" PRIu64
			  ", which is trusted already (rollback)",
			  what, got, trusted);
}

static int refuse_version(struct tuf_update *u, uint64_t got, uint64_t want, struct err *e)
{
	return TUF_REFUSE(&u->why, TUF_REASON_VERSION, e, EBADMSG,
			  "%s: holds version %" PRIu64 " where version %" PRIu64 " belongs",
			  u->name.p, got, want);
}

static int absent(struct tuf_update *u, struct err *e)
{
	tuf_why(&u->why, TUF_REASON_ABSENT);
	return err_set(e, ERR_RETRY, ENOENT,
		       "%s: the server does not have it; the repository is incomplete", u->name.p);
}

/* Parses and verifies p[0..n) by the keys of one role; nothing in u changes. */
static int read_verified(struct tuf_update *u, const void *p, size_t n, enum tuf_type type,
			 const struct edge *by, struct held *ret, struct err *e)
{
	AUTO_TUF_MD *md = NULL;
	struct held h = { .threshold = by->role->threshold };
	int r;

	r = tuf_md_read(p, n, type, u->name.p, &md, &u->why, e);
	if (r < 0)
		return r;
	r = tuf_md_verify(md, by->keys_of, by->role, u->name.p, &h.signers, &u->why, e);
	if (r < 0)
		return r;
	h.md = TAKE(md);
	*ret = h;
	return 0;
}

static struct edge by_root(const struct tuf_update *u, enum tuf_type t)
{
	return (struct edge){ u->root.md, &u->root.md->roles[t] };
}

int tuf_update_new(const void *root, size_t n, int64_t start_time, const struct tuf_limits *lim,
		   struct tuf_update **ret, enum tuf_reason *ret_why, struct err *e)
{
	static const struct tuf_limits usual = TUF_LIMITS_DEFAULT;
	const struct tuf_limits limits = lim ? *lim : usual;
	const char *what = "root.json";
	AUTO_TUF_UPDATE *u = NULL;
	int r;

	if (n > limits.root)
		return TUF_REFUSE(ret_why, TUF_REASON_TOO_LARGE, e, EFBIG,
				  "trusted %s has %zu bytes, more than %zu", what, n, limits.root);
	u = calloc(1, sizeof(*u));
	if (u)
		u->visited = calloc((size_t)limits.roles + 1, sizeof(*u->visited));
	if (!u || !u->visited) {
		tuf_why(ret_why, TUF_REASON_INTERNAL);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	u->lim = limits;
	u->start = start_time;
	r = tuf_md_read(root, n, TUF_ROOT, what, &u->root.md, ret_why, e);
	if (r < 0)
		return err_wrap(e, r, "the trusted root cannot be used");
	u->root.threshold = u->root.md->roles[TUF_ROOT].threshold;
	r = tuf_md_verify(u->root.md, u->root.md, &u->root.md->roles[TUF_ROOT], what,
			  &u->root.signers, ret_why, e);
	if (r < 0)
		return err_wrap(e, r, "the trusted root cannot be used");
	r = set_name(u, u->root.md->version + 1, "root", e);
	if (r < 0) {
		tuf_why(ret_why, TUF_REASON_INTERNAL);
		return r;
	}
	*ret = TAKE(u);
	return 0;
}

void tuf_update_free(struct tuf_update *u)
{
	if (!u)
		return;
	held_done(&u->root);
	held_done(&u->timestamp);
	held_done(&u->snapshot);
	for (size_t i = 0; i < u->roles_n; i++)
		held_done(&u->roles[i]);
	free(u->roles);
	free(u->path);
	free(u->stack);
	free((void *)u->visited);
	buf_done(&u->name);
	buf_done(&u->data);
	free(u);
}

/* --- 5.3 root --- */

/* A key that may no longer sign was revoked; one that was only added revokes nothing. */
static bool lost_key(const struct tuf_md *old, const struct tuf_md *new, enum tuf_type t)
{
	const struct tuf_role *a = &old->roles[t], *b = &new->roles[t];

	for (size_t i = 0; i < a->keyids_n; i++) {
		bool there = false;

		for (size_t j = 0; j < b->keyids_n && !there; j++)
			there = strcmp(a->keyids[i], b->keyids[j]) == 0;
		if (!there)
			return true;
	}
	return false;
}

/* 5.3.10, when no newer root is to be had. */
static int end_of_roots(struct tuf_update *u, struct err *e)
{
	int r;

	r = set_name(u, 0, "root", e);
	if (r < 0)
		return r;
	if (expired(u, u->root.md))
		return refuse_expired(u, u->root.md, remedy_for(u, TUF_ROOT), e);
	u->phase = TIMESTAMP_LOAD;
	return set_name(u, 0, "timestamp", e);
}

/* 5.3.4 to 5.3.8: signed by the old threshold and by its own, and exactly the next version. */
static int take_root(struct tuf_update *u, const void *p, size_t n, struct err *e)
{
	const struct tuf_md *old = u->root.md;
	const struct edge by_old = by_root(u, TUF_ROOT);
	struct edge by_new;
	struct held next;
	bool revoked;
	int r;

	if (u->rotations == u->lim.rotations) {
		tuf_why(&u->why, TUF_REASON_MANY_ROOTS);
		return err_set(e, ERR_RETRY, EAGAIN,
			       "took %u new roots in a row, up to version %" PRIu64
			       "; the next refresh goes on from there",
			       u->rotations, old->version);
	}
	r = read_verified(u, p, n, TUF_ROOT, &by_old, &next, e);
	if (r < 0)
		return err_wrap(e, r, "by the keys of root version %" PRIu64, old->version);
	by_new = (struct edge){ next.md, &next.md->roles[TUF_ROOT] };
	next.threshold = by_new.role->threshold;
	r = tuf_md_verify(next.md, next.md, by_new.role, u->name.p, &next.signers, &u->why, e);
	if (r < 0)
		r = err_wrap(e, r, "by its own keys");
	else if (next.md->version <= old->version)
		r = refuse_rollback(u, u->name.p, next.md->version, old->version, e);
	else if (next.md->version != old->version + 1)
		r = refuse_version(u, next.md->version, old->version + 1, e);
	if (r < 0) {
		held_done(&next);
		return r;
	}
	/*
	 * 5.3.11 comes before the new root is saved: a power cut in between must not leave a new
	 * root beside a timestamp that an attacker fast-forwarded.
	 */
	revoked = lost_key(old, next.md, TUF_TIMESTAMP) || lost_key(old, next.md, TUF_SNAPSHOT);
	held_done(&u->root);
	u->root = next;
	u->rotations++;
	u->phase = revoked ? ROOT_DROP : ROOT_SAVE;
	return set_name(u, 0, "root", e);
}

/* --- 5.4 timestamp --- */

static int take_timestamp(struct tuf_update *u, const void *p, size_t n, struct err *e)
{
	const struct tuf_md *old = u->timestamp.md;
	const struct edge by = by_root(u, TUF_TIMESTAMP);
	struct held next;
	int r;

	r = read_verified(u, p, n, TUF_TIMESTAMP, &by, &next, e);
	if (r < 0)
		return r;
	if (old && next.md->version < old->version) {
		r = refuse_rollback(u, u->name.p, next.md->version, old->version, e);
	} else if (old && next.md->version == old->version) {
		/* 5.4.3: nothing new; what is stored is used, whatever this one says */
		held_done(&next);
		if (expired(u, old))
			return refuse_expired(u, old, remedy_for(u, TUF_TIMESTAMP), e);
		u->phase = SNAPSHOT_LOAD;
		return set_name(u, 0, "snapshot", e);
	} else if (old && next.md->snapshot.version < old->snapshot.version) {
		r = refuse_rollback(u, "timestamp.json lists snapshot.json",
				    next.md->snapshot.version, old->snapshot.version, e);
	} else if (expired(u, next.md)) {
		r = refuse_expired(u, next.md, remedy_for(u, TUF_TIMESTAMP), e);
	}
	if (r < 0) {
		held_done(&next);
		return r;
	}
	held_done(&u->timestamp);
	u->timestamp = next;
	u->phase = TIMESTAMP_SAVE;
	return 0;
}

static int load_timestamp(struct tuf_update *u, bool found, const void *p, size_t n, struct err *e)
{
	const struct edge by = by_root(u, TUF_TIMESTAMP);
	struct held stored;

	/* expired or not, it is what no newer one may fall behind */
	if (found && n <= u->lim.timestamp &&
	    read_verified(u, p, n, TUF_TIMESTAMP, &by, &stored, NULL) == 0)
		u->timestamp = stored;
	u->phase = TIMESTAMP_FETCH;
	return set_name(u, 0, "timestamp", e);
}

/* --- 5.5 snapshot --- */

static int start_role(struct tuf_update *u, struct edge next, struct err *e);

/* The stored snapshot is the one the timestamp lists: no need to fetch it. */
static bool snapshot_is_current(struct tuf_update *u, const void *p, size_t n)
{
	const struct tuf_listed *l = &u->timestamp.md->snapshot;

	return u->snapshot.md && u->snapshot.md->version == l->version &&
	       !expired(u, u->snapshot.md) &&
	       tuf_listed_check(l, p, n, "snapshot.json", NULL, NULL) == 0;
}

static int load_snapshot(struct tuf_update *u, bool found, const void *p, size_t n, struct err *e)
{
	const struct edge by = by_root(u, TUF_SNAPSHOT);
	const struct tuf_listed *l = &u->timestamp.md->snapshot;
	struct held stored;

	if (found && n <= u->lim.snapshot &&
	    read_verified(u, p, n, TUF_SNAPSHOT, &by, &stored, NULL) == 0)
		u->snapshot = stored;
	if (snapshot_is_current(u, p, n))
		return start_role(u, by_root(u, TUF_TARGETS), e);
	if (l->has_length && l->length > u->lim.snapshot)
		return TUF_REFUSE(&u->why, TUF_REASON_TOO_LARGE, e, EFBIG,
				  "timestamp.json lists a snapshot.json of %" PRIu64
				  " bytes, more than %zu",
				  l->length, u->lim.snapshot);
	u->phase = SNAPSHOT_FETCH;
	return set_name(u, u->root.md->consistent_snapshot ? l->version : 0, "snapshot", e);
}

/* 5.5.5: nothing the trusted snapshot lists is gone or older. */
static int check_snapshot_rollback(struct tuf_update *u, const struct tuf_md *new, struct err *e)
{
	json_t *was = json_object_get(u->snapshot.md->body, "meta");
	struct tuf_listed a, b;
	char name[TEXT_MAX];
	const char *file;
	json_t *o;

	json_object_foreach(was, file, o)
	{
		(void)text_clean(file, strlen(file), name, sizeof(name));
		if (tuf_md_listed(u->snapshot.md, file, &a, NULL) < 0)
			continue;
		if (tuf_md_listed(new, file, &b, NULL) < 0)
			return TUF_REFUSE(&u->why, TUF_REASON_REMOVED, e, EBADMSG,
					  "%s: no longer lists %s, which version %" PRIu64 " did",
					  u->name.p, name, u->snapshot.md->version);
		if (b.version < a.version)
			return err_wrap(e, refuse_rollback(u, name, b.version, a.version, e), "%s",
					u->name.p);
	}
	return 0;
}

static int take_snapshot(struct tuf_update *u, const void *p, size_t n, struct err *e)
{
	const struct tuf_listed *l = &u->timestamp.md->snapshot;
	const struct edge by = by_root(u, TUF_SNAPSHOT);
	struct held next;
	int r;

	r = tuf_listed_check(l, p, n, u->name.p, &u->why, e);
	if (r >= 0)
		r = read_verified(u, p, n, TUF_SNAPSHOT, &by, &next, e);
	if (r < 0)
		return r;
	if (next.md->version != l->version)
		r = refuse_version(u, next.md->version, l->version, e);
	else if (u->snapshot.md)
		r = check_snapshot_rollback(u, next.md, e);
	if (r >= 0 && expired(u, next.md))
		r = refuse_expired(u, next.md, remedy_for(u, TUF_SNAPSHOT), e);
	if (r < 0) {
		held_done(&next);
		return r;
	}
	held_done(&u->snapshot);
	u->snapshot = next;
	u->phase = SNAPSHOT_SAVE;
	return set_name(u, 0, "snapshot", e);
}

/* --- 5.6 targets and the roles below --- */

/* Makes `next` the role at hand; in `roles` already, or to be loaded. */
static int start_role(struct tuf_update *u, struct edge next, struct err *e)
{
	AUTO_BUF file = BUF_INIT;
	int r;

	u->now = next;
	r = set_name(u, 0, next.role->name, e);
	if (r < 0)
		return r;
	/* the snapshot lists names as they are, not percent-encoded */
	r = buf_addf(&file, e, "%s.json", next.role->name);
	if (r < 0)
		return r;
	if (tuf_md_listed(u->snapshot.md, file.p, &u->listed, NULL) < 0)
		return TUF_REFUSE(&u->why, TUF_REASON_UNLISTED, e, ENOENT,
				  "snapshot.json version %" PRIu64
				  " does not list %s, to which the repository delegates",
				  u->snapshot.md->version, u->name.p);
	if (u->listed.has_length && u->listed.length > u->lim.targets)
		return TUF_REFUSE(&u->why, TUF_REASON_TOO_LARGE, e, EFBIG,
				  "snapshot.json lists a %s of %" PRIu64 " bytes, more than %zu",
				  u->name.p, u->listed.length, u->lim.targets);
	u->phase = TARGETS_LOAD;
	return 0;
}

static int hold_role(struct tuf_update *u, struct held next, struct err *e)
{
	struct held *more;

	next.name = strdup(u->now.role->name);
	more = next.name ? realloc(u->roles, (u->roles_n + 1) * sizeof(*more)) : NULL;
	if (!more) {
		held_done(&next);
		return no_memory(u, e);
	}
	u->roles = more;
	u->roles[u->roles_n++] = next;
	return 0;
}

static int visit(struct tuf_update *u, const struct tuf_md *md, const char *role, struct err *e);

/* The role at hand is held and, when new, saved: on with what the caller wants. */
static int role_ready(struct tuf_update *u, struct err *e)
{
	const struct held *h = find_role(u, u->now.role->name);

	u->phase = FINISHED;
	return u->want == WANT_TARGET ? visit(u, h->md, h->name, e) : 0;
}

static int load_role(struct tuf_update *u, bool found, const void *p, size_t n, struct err *e)
{
	struct held stored;
	int r;

	if (found && n <= u->lim.targets &&
	    tuf_listed_check(&u->listed, p, n, u->name.p, NULL, NULL) == 0 &&
	    read_verified(u, p, n, TUF_TARGETS, &u->now, &stored, NULL) == 0) {
		if (stored.md->version == u->listed.version && !expired(u, stored.md)) {
			r = hold_role(u, stored, e);
			return r < 0 ? r : role_ready(u, e);
		}
		held_done(&stored);
	}
	u->phase = TARGETS_FETCH;
	return set_name(u, u->root.md->consistent_snapshot ? u->listed.version : 0,
			u->now.role->name, e);
}

static int take_role(struct tuf_update *u, const void *p, size_t n, struct err *e)
{
	struct held next;
	int r;

	r = tuf_listed_check(&u->listed, p, n, u->name.p, &u->why, e);
	if (r >= 0)
		r = read_verified(u, p, n, TUF_TARGETS, &u->now, &next, e);
	if (r < 0)
		return r;
	if (next.md->version != u->listed.version)
		r = refuse_version(u, next.md->version, u->listed.version, e);
	else if (expired(u, next.md))
		r = refuse_expired(u, next.md, remedy_for(u, TUF_TARGETS), e);
	if (r < 0) {
		held_done(&next);
		return r;
	}
	r = hold_role(u, next, e);
	if (r < 0)
		return r;
	u->phase = TARGETS_SAVE;
	return set_name(u, 0, u->now.role->name, e);
}

/* --- 5.6.7 the search --- */

static int push(struct tuf_update *u, struct edge next, struct err *e)
{
	struct edge *more = array_room(u->stack, u->stack_n, &u->stack_cap, sizeof(*more));

	if (!more)
		return no_memory(u, e);
	u->stack = more;
	u->stack[u->stack_n++] = next;
	return 0;
}

/* Looks into one role; pushes its matching delegations so that the first comes up first. */
static int visit(struct tuf_update *u, const struct tuf_md *md, const char *role, struct err *e)
{
	size_t last = 0;
	int r;

	r = tuf_md_target(md, u->path, &u->target, &u->why, e);
	if (r >= 0) {
		u->target.role = role;
		u->found = true;
		u->phase = FINISHED;
		return 0;
	}
	if (u->why != TUF_REASON_NO_TARGET)
		return err_wrap(e, r, "%s", u->name.p);
	u->why = TUF_REASON_NONE;
	/* a terminating delegation ends the search behind itself, here and further up */
	while (last < md->roles_n) {
		const struct tuf_role *d = &md->roles[last++];

		if (d->terminating && tuf_role_covers(d, u->path)) {
			u->stack_n = 0;
			break;
		}
	}
	for (; last > 0; last--) {
		const struct tuf_role *d = &md->roles[last - 1];

		if (!tuf_role_covers(d, u->path))
			continue;
		r = push(u, (struct edge){ md, d }, e);
		if (r < 0)
			return r;
	}
	u->phase = SEARCH;
	return 0;
}

static bool was_visited(const struct tuf_update *u, const char *name)
{
	for (unsigned i = 0; i < u->visited_n; i++)
		if (strcmp(u->visited[i], name) == 0)
			return true;
	return false;
}

/*
 * A role that was loaded on another way here is trusted only if the keys of this delegator vouch
 * for it too.
 */
static int enter_role(struct tuf_update *u, struct edge next, struct err *e)
{
	const struct held *h = find_role(u, next.role->name);
	int r;

	if (!h)
		return start_role(u, next, e);
	u->now = next;
	r = set_name(u, 0, next.role->name, e);
	if (r < 0)
		return r;
	r = tuf_md_verify(h->md, next.keys_of, next.role, u->name.p, NULL, &u->why, e);
	if (r < 0)
		return r;
	return role_ready(u, e);
}

static int search(struct tuf_update *u, struct err *e)
{
	char name[TEXT_MAX];

	while (u->stack_n > 0) {
		struct edge next = u->stack[--u->stack_n];

		if (was_visited(u, next.role->name))
			continue;
		if (u->visited_n == u->lim.roles) {
			(void)text_clean(u->path, strlen(u->path), name, sizeof(name));
			return TUF_REFUSE(&u->why, TUF_REASON_MANY_ROLES, e, ELOOP,
					  "the search for %s visited %u roles without an end", name,
					  u->visited_n);
		}
		u->visited[u->visited_n++] = next.role->name;
		return enter_role(u, next, e);
	}
	u->phase = FINISHED;
	return 0;
}

static int begin_want(struct tuf_update *u, enum want want, const char *name, struct err *e)
{
	char *copy;

	if (u->failed || u->phase != FINISHED)
		return err_set(e, ERR_BUG, EPROTO,
			       "tuf: wanted something before the update is done");
	copy = strdup(name);
	if (!copy)
		return no_memory(u, e);
	free(u->path);
	u->path = copy;
	u->want = want;
	u->found = false;
	u->stack_n = 0;
	u->visited_n = 0;
	u->why = TUF_REASON_NONE;
	return 0;
}

int tuf_update_want_target(struct tuf_update *u, const char *path, struct err *e)
{
	int r;

	r = begin_want(u, WANT_TARGET, path, e);
	if (r < 0)
		return r;
	u->now = by_root(u, TUF_TARGETS);
	r = role_ready(u, e);
	u->failed = r < 0;
	return r;
}

int tuf_update_target(struct tuf_update *u, struct tuf_target *ret, struct err *e)
{
	char name[TEXT_MAX];

	if (u->failed || u->phase != FINISHED || u->want != WANT_TARGET)
		return err_set(e, ERR_BUG, EPROTO, "tuf: asked for a target before it was found");
	if (!u->found) {
		u->why = TUF_REASON_NO_TARGET;
		(void)text_clean(u->path, strlen(u->path), name, sizeof(name));
		return err_set(e, ERR_INPUT, ENOENT, "no role of the repository lists %s", name);
	}
	*ret = u->target;
	return 0;
}

int tuf_update_want_role(struct tuf_update *u, const char *role, struct err *e)
{
	const struct tuf_role *d;
	char name[TEXT_MAX];
	int r;

	r = begin_want(u, WANT_ROLE, role, e);
	if (r < 0 || strcmp(role, "targets") == 0)
		return r;
	d = tuf_md_role(u->roles[0].md, role);
	if (!d) {
		u->want = WANT_NOTHING;
		u->why = TUF_REASON_NO_ROLE;
		(void)text_clean(role, strlen(role), name, sizeof(name));
		return err_set(e, ERR_INPUT, ENOENT,
			       "the repository has no channel %s (targets.json version %" PRIu64
			       " delegates nothing to it)",
			       name, u->roles[0].md->version);
	}
	r = enter_role(u, (struct edge){ u->roles[0].md, d }, e);
	u->failed = r < 0;
	return r;
}

/* The role's delegation covers path, and nobody before it in the search would answer for it. */
static bool may_speak(const struct tuf_md *top, const struct tuf_role *role, const char *path)
{
	if (json_object_get(json_object_get(top->body, "targets"), path))
		return false;
	for (const struct tuf_role *d = top->roles; d < role; d++)
		if (tuf_role_covers(d, path))
			return false;
	return tuf_role_covers(role, path);
}

int tuf_update_role_each(struct tuf_update *u, tuf_target_fn fn, void *arg, struct err *e)
{
	const struct tuf_role *d;
	const struct held *h;
	const char *path;
	json_t *o;

	if (u->failed || u->phase != FINISHED || u->want != WANT_ROLE)
		return err_set(e, ERR_BUG, EPROTO, "tuf: asked for a role before it was loaded");
	h = find_role(u, u->path);
	d = tuf_md_role(u->roles[0].md, u->path);
	json_object_foreach(json_object_get(h->md->body, "targets"), path, o)
	{
		struct tuf_target t;
		int r;

		if (d && !may_speak(u->roles[0].md, d, path))
			continue;
		if (tuf_md_target(h->md, path, &t, NULL, NULL) < 0)
			continue;
		t.role = h->name;
		r = fn(arg, &t);
		if (r != 0)
			return r;
	}
	return 0;
}

/* --- steps --- */

/* What each phase asks of the caller. */
static const enum tuf_step steps[] = {
	[ROOT_FETCH] = TUF_FETCH,    [ROOT_DROP] = TUF_DROP,        [ROOT_SAVE] = TUF_SAVE,
	[TIMESTAMP_LOAD] = TUF_LOAD, [TIMESTAMP_FETCH] = TUF_FETCH, [TIMESTAMP_SAVE] = TUF_SAVE,
	[SNAPSHOT_LOAD] = TUF_LOAD,  [SNAPSHOT_FETCH] = TUF_FETCH,  [SNAPSHOT_SAVE] = TUF_SAVE,
	[TARGETS_LOAD] = TUF_LOAD,   [TARGETS_FETCH] = TUF_FETCH,   [TARGETS_SAVE] = TUF_SAVE,
	[SEARCH] = TUF_DONE,         [FINISHED] = TUF_DONE,
};

static size_t listed_max(const struct tuf_listed *l, size_t limit)
{
	return l->has_length && l->length < limit ? (size_t)l->length : limit;
}

static size_t answer_max(const struct tuf_update *u)
{
	if (u->phase < TIMESTAMP_LOAD)
		return u->lim.root;
	if (u->phase < SNAPSHOT_LOAD)
		return u->lim.timestamp;
	if (u->phase == SNAPSHOT_FETCH)
		return listed_max(&u->timestamp.md->snapshot, u->lim.snapshot);
	if (u->phase < TARGETS_LOAD)
		return u->lim.snapshot;
	return u->phase == TARGETS_FETCH ? listed_max(&u->listed, u->lim.targets) : u->lim.targets;
}

/* The caller did what the DROP or SAVE asked for. */
static int after_action(struct tuf_update *u, struct err *e)
{
	switch (u->phase) {
	case ROOT_DROP:
		u->phase = ROOT_SAVE;
		return 0;
	case ROOT_SAVE:
		u->phase = ROOT_FETCH;
		return set_name(u, u->root.md->version + 1, "root", e);
	case TIMESTAMP_SAVE:
		u->phase = SNAPSHOT_LOAD;
		return set_name(u, 0, "snapshot", e);
	case SNAPSHOT_SAVE:
		return start_role(u, by_root(u, TUF_TARGETS), e);
	case TARGETS_SAVE:
		return role_ready(u, e);
	case ROOT_FETCH:
	case TIMESTAMP_LOAD:
	case TIMESTAMP_FETCH:
	case SNAPSHOT_LOAD:
	case SNAPSHOT_FETCH:
	case TARGETS_LOAD:
	case TARGETS_FETCH:
	case SEARCH:
	case FINISHED:
		break;
	}
	return err_set(e, ERR_BUG, EPROTO, "tuf: no action in phase %d", (int)u->phase);
}

int tuf_update_next(struct tuf_update *u, struct tuf_request *ret, struct err *e)
{
	enum tuf_step step;
	int r = 0;

	if (u->failed)
		return err_set(e, ERR_BUG, EPROTO, "tuf: this update has failed already");
	if (u->issued) {
		u->issued = false;
		r = after_action(u, e);
	}
	while (r >= 0 && u->phase == SEARCH)
		r = search(u, e);
	if (r < 0) {
		u->failed = true;
		return r;
	}
	step = steps[u->phase];
	*ret = (struct tuf_request){ .name = u->name.p, .role = role_at_hand(u) };
	if (step == TUF_SAVE) {
		ret->data = u->data.p;
		ret->n = u->data.n;
	} else if (step == TUF_LOAD || step == TUF_FETCH) {
		ret->max = answer_max(u);
		ret->may_be_absent = step == TUF_LOAD || u->phase == ROOT_FETCH;
	}
	u->issued = step == TUF_SAVE || step == TUF_DROP;
	return (int)step;
}

static int take_answer(struct tuf_update *u, bool found, const void *p, size_t n, struct err *e)
{
	switch (u->phase) {
	case ROOT_FETCH:
		return found ? take_root(u, p, n, e) : end_of_roots(u, e);
	case TIMESTAMP_LOAD:
		return load_timestamp(u, found, p, n, e);
	case TIMESTAMP_FETCH:
		return found ? take_timestamp(u, p, n, e) : absent(u, e);
	case SNAPSHOT_LOAD:
		return load_snapshot(u, found, p, n, e);
	case SNAPSHOT_FETCH:
		return found ? take_snapshot(u, p, n, e) : absent(u, e);
	case TARGETS_LOAD:
		return load_role(u, found, p, n, e);
	case TARGETS_FETCH:
		return found ? take_role(u, p, n, e) : absent(u, e);
	case ROOT_DROP:
	case ROOT_SAVE:
	case TIMESTAMP_SAVE:
	case SNAPSHOT_SAVE:
	case TARGETS_SAVE:
	case SEARCH:
	case FINISHED:
		break;
	}
	return err_set(e, ERR_BUG, EPROTO, "tuf: an answer nobody asked for");
}

int tuf_update_answer(struct tuf_update *u, bool found, const void *data, size_t n, struct err *e)
{
	enum tuf_step was = steps[u->phase];
	int r;

	if (u->failed)
		return err_set(e, ERR_BUG, EPROTO, "tuf: this update has failed already");
	if (!found)
		n = 0;
	if (was == TUF_FETCH && n > answer_max(u))
		r = TUF_REFUSE(&u->why, TUF_REASON_TOO_LARGE, e, EFBIG,
			       "%s: the server sends more than the %zu bytes it may have",
			       u->name.p, answer_max(u));
	else
		r = take_answer(u, found, n > 0 ? data : "", n, e);
	if (r >= 0 && was == TUF_FETCH && found) {
		u->data.n = 0;
		r = buf_add(&u->data, n > 0 ? data : "", n, e);
	}
	if (r < 0) {
		u->failed = true;
		if (u->why == TUF_REASON_NONE)
			u->why = TUF_REASON_INTERNAL;
		return r;
	}
	u->why = TUF_REASON_NONE;
	return 0;
}

enum tuf_reason tuf_update_reason(const struct tuf_update *u)
{
	return u->why;
}

bool tuf_update_expired(const struct tuf_update *u, struct tuf_expired *ret)
{
	if (u->why != TUF_REASON_EXPIRED)
		return false;
	*ret = u->expired;
	return true;
}

bool tuf_update_consistent(const struct tuf_update *u)
{
	return u->root.md->consistent_snapshot;
}

const struct tuf_md *tuf_update_root(const struct tuf_update *u)
{
	return u->root.md;
}

int tuf_update_role_info(const struct tuf_update *u, const char *role, struct tuf_role_info *ret,
			 struct err *e)
{
	const struct held *h = find_role(u, role);
	char name[TEXT_MAX];

	if (strcmp(role, "root") == 0)
		h = &u->root;
	else if (strcmp(role, "timestamp") == 0)
		h = &u->timestamp;
	else if (strcmp(role, "snapshot") == 0)
		h = &u->snapshot;
	if (!h || !h->md) {
		(void)text_clean(role, strlen(role), name, sizeof(name));
		return err_set(e, ERR_INPUT, ENOENT, "role %s was not loaded", name);
	}
	*ret = (struct tuf_role_info){ .version = h->md->version,
				       .expires = h->md->expires,
				       .threshold = h->threshold,
				       .signers = h->signers };
	return 0;
}
