/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/locker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

enum { NOTES_MAX = 1000, GRACE_MS = 10000 };

struct talk {
	const struct locker *locker;
	const char *url; /* of the member that is asked */
	int url_n;
	struct wire_client *wire;
	pid_t pid;
};

static void talk_done(struct talk *t)
{
	wire_client_free(t->wire);
	fetcher_leave(t->pid);
}

static int read_pem(const struct locker *l, const char *path, char **ret, size_t *ret_n,
		    struct err *e)
{
	if (!path[0])
		return 0;
	return file_read(l->sys, AT_FDCWD, path, WIRE_PEM_MAX, ret, ret_n, e);
}

static int say_tls(struct talk *t, struct err *e)
{
	const struct config_lock *c = t->locker->conf;
	AUTO_FREE char *ca = NULL;
	AUTO_FREE char *cert = NULL;
	AUTO_FREE char *key = NULL;
	struct wire_tls tls = { .ca = { .n = 0 } };
	int r = read_pem(t->locker, c->ca, &ca, &tls.ca.n, e);

	if (r == 0)
		r = read_pem(t->locker, c->cert, &cert, &tls.cert.n, e);
	if (r == 0)
		r = read_pem(t->locker, c->key, &key, &tls.key.n, e);
	tls.ca.p = (const uint8_t *)ca;
	tls.cert.p = (const uint8_t *)cert;
	tls.key.p = (const uint8_t *)key;
	if (r == 0 && (ca || cert))
		r = wire_client_tls(t->wire, &tls, e);
	if (key)
		explicit_bzero(key, tls.key.n);
	return r < 0 ? err_wrap(e, r, "[Lock]") : 0;
}

static int open_talk(struct talk *t, struct err *e)
{
	int r = fetcher_reach(&t->locker->link, &t->wire, &t->pid, e);

	return r < 0 ? r : say_tls(t, e);
}

/* The answer to what was posted; its bytes are good until the next call. */
static int await(struct talk *t, const struct wire_reply **ret, struct err *e)
{
	int ms = (int)t->locker->conf->timeout_s * 1000 + GRACE_MS;
	const struct wire_msg *m;

	for (unsigned notes = 0; notes < NOTES_MAX; notes++) {
		int r = wire_client_next(t->wire, ms, &m, e);

		if (r < 0)
			return r;
		if (r == 0)
			return err_set(e, ERR_RETRY, ETIMEDOUT, "proa-fetch says nothing");
		if (m->type == WIRE_FAIL)
			return wire_fail_err(&m->fail, e);
		if (m->type == WIRE_REPLY) {
			*ret = &m->reply;
			return 0;
		}
	}
	return err_set(e, ERR_REFUSED, EBADMSG, "proa-fetch misbehaved: nothing but notes");
}

static int step(struct talk *t, struct lock *l, enum lock_state *ret, struct err *e)
{
	const struct lock_call c = lock_call(l);
	struct wire_post post = { .flags = c.fleetlock ? WIRE_POST_FLEETLOCK : 0,
				  .deadline_s = t->locker->conf->timeout_s,
				  .p = (const uint8_t *)c.body,
				  .n = c.bytes };
	const struct wire_reply *y = NULL;
	uint32_t id;
	int n = snprintf(post.url, sizeof(post.url), "%.*s%s", t->url_n, t->url, c.path), r;

	if (n < 0 || (size_t)n >= sizeof(post.url))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "[Lock] URL= is too long");
	r = wire_client_post(t->wire, &post, &id, e);
	if (r == 0)
		r = await(t, &y, e);
	return r < 0 || !y ? r : lock_answer(l, y->status, (const char *)y->p, y->n, ret, e);
}

struct attempt {
	const struct locker *locker;
	const struct reboot_place *place;
	enum lock_verb verb;
	struct lock *lock; /* what came of it */
	enum lock_state state;
};

/* From the begin, with one member. */
static int ask_one(struct attempt *a, const char *url, size_t n, struct err *e)
{
	CLEANUP(talk_done) struct talk t = { .locker = a->locker, .url = url, .url_n = (int)n };
	int r;

	lock_free(TAKE(a->lock));
	a->state = LOCK_ASK;
	r = lock_new(&a->place->terms, a->verb, &a->lock, e);
	if (r == 0)
		r = open_talk(&t, e);
	while (r == 0 && a->state == LOCK_ASK)
		r = step(&t, a->lock, &a->state, e);
	return r;
}

/* A member that is away, or knows no leader, is no reason while others are left to be asked. */
static int ask(struct attempt *a, struct err *e)
{
	int r = err_set(e, ERR_INPUT, ENOENT, "[Lock] URL= is not set");

	for (const char *u = a->place->url; *u;) {
		size_t n = strcspn(u, " ");

		r = ask_one(a, u, n, e);
		if (r == 0 || r == -ECANCELED || (e->kind != ERR_RETRY && e->kind != ERR_REFUSED))
			return r;
		u += n;
		u += *u == ' ';
	}
	return r;
}

enum reboot_end locker_run(const struct locker *l, const struct reboot_place *p,
			   enum lock_verb verb, char text[REBOOT_TEXT_MAX], struct err *e)
{
	struct attempt a = { .locker = l, .place = p, .verb = verb };
	enum reboot_end end = REBOOT_DONE;
	struct err bad = ERR_INIT;
	char say[sizeof(bad.text) + 200] = "";

	if (ask(&a, &bad) < 0) {
		(void)snprintf(say, sizeof(say), "lock: group %s cannot be asked: %.300s",
			       p->terms.group, bad.text);
		end = REBOOT_TROUBLE;
		*e = bad;
	} else if (a.state != LOCK_GOT) {
		(void)snprintf(say, sizeof(say), "lock: %.280s (%.100s)", lock_text(a.lock),
			       p->url);
		end = REBOOT_NO;
	}
	(void)text_clean(say, strlen(say), text, REBOOT_TEXT_MAX);
	lock_free(a.lock);
	return end;
}
