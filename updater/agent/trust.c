/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/version.h"
#include "updater/agent/fetcher.h"

void trust_done(struct trust *t)
{
	tuf_update_free(t->tuf);
	free(t->offers);
	memset(t, 0, sizeof(*t));
}

static int open_store(const struct trust_job *job, struct sys_fd *ret, struct err *e)
{
	int fd, r = file_mkdir(job->sys, job->state, "trust", e);

	if (r < 0)
		return r;
	fd = job->sys->ops->open(job->sys, job->state, "trust", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return err_set(e, ERR_HOST, -fd, "cannot open the trust store: %s", strerror(-fd));
	ret->sys = job->sys;
	ret->fd = fd;
	return 0;
}

static int load(const struct trust_job *job, int store, const struct tuf_request *rq,
		struct tuf_update *u, struct err *e)
{
	AUTO_FREE char *data = NULL;
	size_t n = 0;
	struct err inner = ERR_INIT;
	int r = file_read(job->sys, store, rq->name, rq->max, &data, &n, &inner);

	if (r < 0 && r != -ENOENT && r != -EFBIG)
		return err_set(e, ERR_HOST, -r, "trust store: %s", inner.text);
	return tuf_update_answer(u, r == 0, data, n, e);
}

static int fetch(const struct trust_job *job, int store, const struct tuf_request *rq,
		 struct tuf_update *u, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	char path[1024];
	bool found = false;
	int r = snprintf(path, sizeof(path), "metadata/%s", rq->name);

	if (!job->fetch) /* has timestamp.json, and no file that is asked for by its number */
		return load(job, store, rq, u, e);
	if (r < 0 || (size_t)r >= sizeof(path))
		return err_set(e, ERR_REFUSED, ENAMETOOLONG, "metadata file name too long");
	r = fetcher_file(job->fetch, path, rq->max, &b, &found, e);
	if (r < 0)
		return r;
	r = tuf_update_answer(u, found, b.p, b.n, e);
	if (r < 0)
		return err_wrap(e, r, "%s",
				fetcher_mirror(job->fetch, fetcher_used(job->fetch)).url);
	return 0;
}

static int save(const struct trust_job *job, int store, const struct tuf_request *rq, struct err *e)
{
	int r = file_replace(job->sys, store, rq->name, rq->data, rq->n, e);

	return r < 0 ? err_wrap(e, r, "trust store ([Host] State=)") : r;
}

static int drop(const struct trust_job *job, int store, struct err *e)
{
	int r = file_remove(job->sys, store, "timestamp.json", e);

	return r < 0 ? r : file_remove(job->sys, store, "snapshot.json", e);
}

/* Runs the machine until it has what was wanted. */
static int run(const struct trust_job *job, int store, struct tuf_update *u, struct err *e)
{
	for (;;) {
		struct tuf_request rq;
		int r = tuf_update_next(u, &rq, e);

		if (r <= 0)
			return r;
		switch ((enum tuf_step)r) {
		case TUF_LOAD:
			r = load(job, store, &rq, u, e);
			break;
		case TUF_FETCH:
			r = fetch(job, store, &rq, u, e);
			break;
		case TUF_SAVE:
			r = job->fetch ? save(job, store, &rq, e) : 0;
			break;
		case TUF_DROP:
			r = job->fetch ? drop(job, store, e) : 0;
			break;
		case TUF_DONE:
			return 0;
		}
		if (r < 0)
			return r;
	}
}

/* The stored root, else the one that came with the image. */
static int begin(const struct trust_job *job, int store, struct trust *t, struct err *e)
{
	AUTO_FREE char *root = NULL;
	size_t n;
	struct err inner = ERR_INIT;
	const struct tuf_limits lim = TUF_LIMITS_DEFAULT;
	int r = file_read(job->sys, store, "root.json", lim.root, &root, &n, &inner);

	if (r == -ENOENT) {
		r = file_read(job->sys, AT_FDCWD, job->first_root, lim.root, &root, &n, &inner);
		if (r == -ENOENT)
			return err_set(e, ERR_INPUT, ENOENT,
				       "no trusted root: put the publisher's 1.root.json at %s",
				       job->first_root);
	}
	if (r < 0)
		return err_set(e, inner.kind, -r, "trusted root: %s", inner.text);
	return tuf_update_new(root, n, job->now, NULL, &t->tuf, &t->why, e);
}

/* When a channel holds more than fit, the newest are what matters. */
static void keep_offer(struct trust *t, const struct release_offer *o)
{
	struct release_offer *oldest = &t->offers[0];

	if (t->n_offers < TRUST_OFFERS_MAX) {
		t->offers[t->n_offers++] = *o;
		return;
	}
	for (size_t i = 1; i < t->n_offers; i++)
		if (version_compare(t->offers[i].version, oldest->version) < 0)
			oldest = &t->offers[i];
	if (version_compare(o->version, oldest->version) > 0)
		*oldest = *o;
}

static int take_offer(void *arg, const struct tuf_target *target)
{
	struct trust *t = arg;
	struct release_offer o;

	if (release_offer_parse(target->path, target->custom, &o, NULL) < 0)
		t->skipped++;
	else
		keep_offer(t, &o);
	return 0;
}

/*
 * A release cannot be published later than now: the clock's lower bound. One that says to be of a
 * time when the metadata that offers it has expired is not believed, lest a slip of the publisher's
 * calendar stops every host.
 */
static int64_t newest_time(const struct trust *t)
{
	struct tuf_role_info info;
	int64_t newest = 0;

	if (tuf_update_role_info(t->tuf, "timestamp", &info, NULL) < 0)
		return 0;
	for (size_t i = 0; i < t->n_offers; i++)
		if (t->offers[i].published > newest && t->offers[i].published < info.expires)
			newest = t->offers[i].published;
	return newest;
}

/* From the mirror in use. */
static int refresh(const struct trust_job *job, int store, struct trust *ret, struct err *e)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->offers = calloc(TRUST_OFFERS_MAX, sizeof(*ret->offers));
	if (!ret->offers)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = begin(job, store, ret, e);
	if (r == 0)
		r = run(job, store, ret->tuf, e);
	if (r == 0)
		r = tuf_update_want_role(ret->tuf, job->channel, e);
	if (r == 0)
		r = run(job, store, ret->tuf, e);
	if (r == 0)
		r = tuf_update_role_each(ret->tuf, take_offer, ret, e);
	if (r == 0)
		ret->newest_time = newest_time(ret);
	if (r < 0 && ret->tuf)
		ret->why = tuf_update_reason(ret->tuf);
	if (r < 0 && ret->tuf)
		(void)tuf_update_expired(ret->tuf, &ret->expired);
	if (r < 0 && ret->why == TUF_REASON_NO_ROLE)
		return err_set(e, ERR_INPUT, ENOENT,
			       "the repository has no channel \"%s\" ([Update] Channel=)",
			       job->channel);
	return r;
}

int trust_known(const struct trust_job *job, struct trust *ret, struct err *e)
{
	AUTO_SYS_FD store = { .sys = job->sys, .fd = -1 };
	struct trust_job stored = *job;
	int r = open_store(job, &store, e);

	memset(ret, 0, sizeof(*ret));
	stored.fetch = NULL;
	stored.now = 0; /* it was in time when it was stored */
	return r < 0 ? r : refresh(&stored, store.fd, ret, e);
}

/* Whether a failure says something about a mirror, or about this host and proa-fetch. */
static bool of_mirror(int r, const struct err *e, enum tuf_reason why)
{
	if (r == -ECANCELED || r == -EPIPE || r == -ETIMEDOUT || e->kind == ERR_HOST ||
	    e->kind == ERR_BUG)
		return false;
	return r != -EBADMSG || why != TUF_REASON_NONE; /* else proa-fetch misbehaved */
}

/* The mirrors, one after the other. */
struct search {
	bool found;
	size_t best;
	uint64_t version; /* of its timestamp */
	bool done[MIRRORS_MAX];
	unsigned failed;
	struct err bad; /* of the first that failed; RETRY when one of them may be back */
	enum tuf_reason why;
	struct tuf_expired expired;
};

static void search_failed(struct search *s, const struct err *mine, const struct trust *t)
{
	if (s->why == TUF_REASON_NONE) {
		s->why = t->why;
		s->expired = t->expired;
	}
	if (s->failed++ == 0)
		s->bad = *mine;
	else if (mine->kind == ERR_RETRY) /* one that may be back is worth another try later */
		s->bad.kind = mine->kind;
}

static int try_mirror(const struct trust_job *job, int store, size_t i, struct search *s,
		      struct trust *ret, struct err *e)
{
	struct tuf_role_info info = { .version = 0 };
	struct err mine = ERR_INIT;
	struct trust t;
	int r = refresh(job, store, &t, &mine);

	if (r < 0) {
		/* without t.tuf the root here is bad, and no mirror mends it */
		if (!t.tuf || !of_mirror(r, &mine, t.why)) {
			ret->why = t.why;
			trust_done(&t);
			*e = mine;
			return r;
		}
		fetcher_fault(job->fetch, i, mine.text);
		s->done[i] = mine.kind != ERR_RETRY;
		search_failed(s, &mine, &t);
		trust_done(&t);
		return 0;
	}
	s->done[i] = true;
	(void)!tuf_update_role_info(t.tuf, "timestamp", &info, NULL);
	if (s->found && info.version <= s->version) {
		trust_done(&t);
		return 0;
	}
	trust_done(ret);
	*ret = t;
	s->found = true;
	s->best = i;
	s->version = info.version;
	return 0;
}

int trust_refresh(const struct trust_job *job, struct trust *ret, struct err *e)
{
	AUTO_SYS_FD store = { .sys = job->sys, .fd = -1 };
	size_t n = fetcher_mirrors(job->fetch);
	struct search s = { .found = false };
	int r = open_store(job, &store, e);

	memset(ret, 0, sizeof(*ret));
	/* a second round, with all patience, only when the first found nothing */
	for (size_t k = 0; r == 0 && k < 2 * n && (k < n || !s.found); k++) {
		size_t i = k % n;

		if (s.done[i] || (n == 1 && k > 0))
			continue;
		fetcher_use(job->fetch, i,
			    s.found          ? FETCHER_GLANCE
			    : k < n && n > 1 ? FETCHER_BRIEF
					     : FETCHER_PATIENT);
		r = try_mirror(job, store.fd, i, &s, ret, e);
	}
	if (r < 0)
		return r;
	fetcher_use(job->fetch, s.best, FETCHER_PATIENT);
	if (s.found)
		return 0;
	ret->why = s.why;
	ret->expired = s.expired;
	*e = s.bad;
	if (n > 1) /* of the others proactl why tells */
		return err_wrap(e, -s.bad.os, "none of the %zu mirrors has metadata to trust", n);
	return -s.bad.os;
}

/* The file of a target, from the first mirror that gives what the metadata says. */
static int fetch_target(const struct trust_job *job, const struct tuf_target *target,
			const char *path, struct buf *b, enum tuf_reason *why, struct err *e)
{
	size_t n = fetcher_mirrors(job->fetch), first = fetcher_used(job->fetch);
	struct err bad = ERR_INIT;
	int r = 0;

	for (size_t k = 0; k < n; k++) {
		size_t i = (first + k) % n;
		bool found = false;

		fetcher_use(job->fetch, i, n > 1 ? FETCHER_BRIEF : FETCHER_PATIENT);
		b->n = 0;
		*why = TUF_REASON_NONE;
		r = fetcher_file(job->fetch, path, RELEASE_MANIFEST_MAX, b, &found, &bad);
		if (r == 0 && !found)
			r = err_set(&bad, ERR_RETRY, ENOENT, "%s%s: the server does not have it",
				    fetcher_mirror(job->fetch, i).url, path);
		if (r == 0)
			r = tuf_target_check(target, b->p, b->n, why, &bad);
		if (r == 0)
			return 0;
		if (!of_mirror(r, &bad, *why))
			break;
		fetcher_fault(job->fetch, i, bad.text);
	}
	return r < 0 ? err_set(e, bad.kind, -r, "%s", bad.text) : r;
}

struct kept {
	size_t n;
	char oldest[RELEASE_NAME_MAX + sizeof(TRUST_MANIFEST)];
};

static int see_manifest(void *arg, const char *name)
{
	struct kept *k = arg;
	size_t n = strlen(name), suffix = sizeof(TRUST_MANIFEST) - 1;
	const char *v = strchr(name, '_'), *w = strchr(k->oldest, '_');

	if (!v || n < suffix || strcmp(name + n - suffix, TRUST_MANIFEST) != 0 ||
	    n >= sizeof(k->oldest))
		return 0;
	if (k->n++ == 0 || !w || version_compare(v + 1, w + 1) < 0)
		(void)snprintf(k->oldest, sizeof(k->oldest), "%s", name);
	return 0;
}

/* Without it an audit says that the publisher's word is not at hand; nothing else needs it. */
static void keep_manifest(const struct trust_job *job, int store, const struct release_manifest *m,
			  const struct buf *text)
{
	char name[RELEASE_NAME_MAX + sizeof(TRUST_MANIFEST)], base[RELEASE_NAME_MAX];
	struct kept k = { .n = 0 };

	(void)snprintf(name, sizeof(name), "%s%s", release_name(m, base), TRUST_MANIFEST);
	if (file_replace(job->sys, store, name, text->p, text->n, NULL) == 0 &&
	    job->sys->ops->list(job->sys, store, see_manifest, &k) == 0 &&
	    k.n > TRUST_MANIFESTS_MAX)
		(void)!file_remove(job->sys, store, k.oldest, NULL);
}

int trust_manifest(const struct trust_job *job, struct trust *t, const struct release_offer *offer,
		   struct release_manifest *ret, struct err *e)
{
	AUTO_SYS_FD store = { .sys = job->sys, .fd = -1 };
	AUTO_BUF b = BUF_INIT;
	AUTO_BUF path = BUF_INIT;
	struct tuf_target target;
	struct release_manifest m;
	int r = open_store(job, &store, e);

	if (r == 0)
		r = tuf_update_want_target(t->tuf, offer->path, e);
	if (r == 0)
		r = run(job, store.fd, t->tuf, e);
	if (r == 0)
		r = tuf_update_target(t->tuf, &target, e);
	if (r == 0)
		r = buf_addf(&path, e, "targets/");
	if (r == 0)
		r = tuf_target_remote(&target, tuf_update_consistent(t->tuf), &path, e);
	if (r == 0)
		r = fetch_target(job, &target, path.p, &b, &t->why, e);
	if (r == 0)
		r = release_manifest_parse(b.p, b.n, offer->path, &m, e);
	if (r < 0)
		return r;
	if (strcmp(m.version, offer->version) != 0 || strcmp(m.image, offer->image) != 0 ||
	    strcmp(m.arch, offer->arch) != 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: the manifest is of %s %s for %s, which is not what the channel "
			       "offers",
			       offer->path, m.image, m.version, m.arch);
	keep_manifest(job, store.fd, &m, &b);
	*ret = m;
	return 0;
}
