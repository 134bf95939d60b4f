/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/lock/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/json.h"
#include "updater/lock/semaphore.h"

#define GROUP_CHARS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"
#define REVISION_MAX 24

enum step { STEP_FLEETLOCK, STEP_READ, STEP_CHANGE };

struct lock {
	struct lock_terms terms;
	enum lock_verb verb;
	enum step step;
	unsigned rounds;
	struct buf key; /* etcd: base64 */
	struct buf body;
	char text[400];
};

/* --- what is sent --- */

static int write_body(struct lock *l, const json_t *j, struct err *e)
{
	l->body.n = 0;
	return json_write(j, false, &l->body, e);
}

static int ask_fleetlock(struct lock *l, struct err *e)
{
	AUTO_JSON *j = json_object();
	json_t *params = json_object();
	int r = json_put(j, "client_params", params, e);

	if (r == 0)
		r = json_put_str(params, "id", l->terms.id, e);
	if (r == 0)
		r = json_put_str(params, "group", l->terms.group, e);
	l->step = STEP_FLEETLOCK;
	return r < 0 ? r : write_body(l, j, e);
}

static int ask_read(struct lock *l, struct err *e)
{
	AUTO_JSON *j = json_object();
	int r = json_put_str(j, "key", l->key.p, e);

	l->step = STEP_READ;
	return r < 0 ? r : write_body(l, j, e);
}

/* {"compare": [the key is still at that revision], "success": [put value]} */
static int ask_change(struct lock *l, const char *revision, const struct semaphore *s,
		      struct err *e)
{
	AUTO_BUF value = BUF_INIT;
	AUTO_BUF coded = BUF_INIT;
	AUTO_JSON *j = NULL;
	bool fresh = !revision;
	int r = semaphore_write(s, &value, e);

	if (r == 0)
		r = base64_put(value.p, value.n, &coded, e);
	if (r < 0)
		return r;
	j = json_pack("{s:[{s:s,s:s,s:s,s:s}],s:[{s:{s:s,s:s}}]}", "compare", "target",
		      fresh ? "CREATE" : "MOD", "result", "EQUAL", "key", l->key.p,
		      fresh ? "create_revision" : "mod_revision", fresh ? "0" : revision, "success",
		      "request_put", "key", l->key.p, "value", coded.p);
	if (!j)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	l->step = STEP_CHANGE;
	return write_body(l, j, e);
}

struct lock_call lock_call(const struct lock *l)
{
	static const char *const fleet[] = {
		[LOCK_TAKE] = "v1/pre-reboot", [LOCK_RELEASE] = "v1/steady-state"
	};
	struct lock_call c = { .fleetlock = l->step == STEP_FLEETLOCK,
			       .path = "v3/kv/txn",
			       .body = l->body.p,
			       .bytes = l->body.n };

	if (l->step == STEP_FLEETLOCK)
		c.path = fleet[l->verb];
	else if (l->step == STEP_READ)
		c.path = "v3/kv/range";
	return c;
}

/* --- what is answered --- */

static int parse(const char *body, size_t n, json_t **ret, struct err *e)
{
	const struct json_limits lim = { .bytes = LOCK_ANSWER_MAX, .depth = 8 };

	return json_read(body, n, &lim, "the lock server's answer", ret, e);
}

/* What the server says went wrong, cut to what a sentence may hold. */
static void reason(const char *body, size_t n, const char *const *keys, char out[200])
{
	AUTO_JSON *j = NULL;

	(void)snprintf(out, 200, "it gave no reason");
	if (parse(body, n, &j, NULL) < 0)
		return;
	for (; *keys; keys++) {
		const char *s = json_string_value(json_object_get(j, *keys));

		if (s && s[0]) {
			(void)snprintf(out, 200, "%.199s", s);
			return;
		}
	}
}

/* airlock and Zincati know the kind failed_lock for "all places are taken". */
static int answer_fleetlock(struct lock *l, unsigned status, const char *body, size_t n,
			    enum lock_state *ret, struct err *e)
{
	static const char *const kind_key[] = { "kind", NULL };
	static const char *const value_key[] = { "value", NULL };
	char kind[200], value[200];

	if (status == 200) {
		*ret = LOCK_GOT;
		return 0;
	}
	reason(body, n, kind_key, kind);
	reason(body, n, value_key, value);
	if (l->verb == LOCK_TAKE && strcmp(kind, "failed_lock") == 0) {
		(void)snprintf(l->text, sizeof(l->text), "group %s: %s", l->terms.group, value);
		*ret = LOCK_FULL;
		return 0;
	}
	return err_set(e, status >= 400 && status < 500 ? ERR_INPUT : ERR_RETRY, EREMOTEIO,
		       "FleetLock answers %u: %s", status, value);
}

static int etcd_failed(unsigned status, const char *body, size_t n, struct err *e)
{
	static const char *const keys[] = { "message", "error", NULL };
	char why[200];

	reason(body, n, keys, why);
	return err_set(e,
		       status >= 400 && status < 500 && status != 408 && status != 429 ? ERR_INPUT
										       : ERR_RETRY,
		       EREMOTEIO, "etcd answers %u: %s", status, why);
}

/* The key's value and revision; *ret_revision NULL: there is none. */
static int read_semaphore(const struct lock *l, const json_t *answer, struct semaphore *ret,
			  const char **ret_revision, struct err *e)
{
	const json_t *kv = json_array_get(json_object_get(answer, "kvs"), 0);
	const char *value, *revision;
	AUTO_BUF text = BUF_INIT;

	if (!kv) {
		*ret_revision = NULL;
		return semaphore_new(l->terms.places, ret, e);
	}
	value = json_string_value(json_object_get(kv, "value"));
	revision = json_string_value(json_object_get(kv, "mod_revision"));
	if (!revision || !revision[0] || strlen(revision) >= REVISION_MAX ||
	    strspn(revision, "0123456789") != strlen(revision))
		return err_set(e, ERR_REFUSED, EBADMSG, "etcd's answer has no mod_revision");
	if (!value || base64_get(value, "etcd's value", &text, e) < 0)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "what etcd holds is no semaphore: it has no value");
	*ret_revision = revision;
	return semaphore_read(text.p ? text.p : "", text.n, ret, e);
}

static int answer_read(struct lock *l, const json_t *answer, enum lock_state *ret, struct err *e)
{
	AUTO_SEMAPHORE s = { .holders = NULL };
	const char *revision = NULL;
	struct err why = ERR_INIT;
	int r = read_semaphore(l, answer, &s, &revision, e);

	if (r < 0)
		return r;
	r = l->verb == LOCK_TAKE ? semaphore_take(&s, l->terms.id, &why)
				 : semaphore_release(&s, l->terms.id, &why);
	if (r == -EBUSY) {
		(void)snprintf(l->text, sizeof(l->text), "group %s has %.300s", l->terms.group,
			       why.text);
		*ret = LOCK_FULL;
		return 0;
	}
	if (r < 0)
		return err_set(e, why.kind, -r, "%s", why.text);
	*ret = r > 0 ? LOCK_ASK : LOCK_GOT;
	return r > 0 ? ask_change(l, revision, &s, e) : 0;
}

static int answer_change(struct lock *l, const json_t *answer, enum lock_state *ret, struct err *e)
{
	if (json_is_true(json_object_get(answer, "succeeded"))) {
		*ret = LOCK_GOT;
		return 0;
	}
	if (++l->rounds == LOCK_ROUNDS)
		return err_set(e, ERR_RETRY, EAGAIN,
			       "others change the lock of group %s all the time", l->terms.group);
	*ret = LOCK_ASK;
	return ask_read(l, e);
}

int lock_answer(struct lock *l, unsigned status, const char *body, size_t bytes,
		enum lock_state *ret, struct err *e)
{
	AUTO_JSON *j = NULL;
	struct err why = ERR_INIT;

	l->text[0] = '\0';
	if (l->step == STEP_FLEETLOCK)
		return answer_fleetlock(l, status, body, bytes, ret, e);
	if (status != 200)
		return etcd_failed(status, body, bytes, e);
	if (parse(body, bytes, &j, &why) < 0 || !json_is_object(j))
		return err_set(e, ERR_RETRY, EBADMSG,
			       "etcd's answer is not its JSON (is [Lock] URL= right?)");
	return l->step == STEP_READ ? answer_read(l, j, ret, e) : answer_change(l, j, ret, e);
}

const char *lock_text(const struct lock *l)
{
	return l->text;
}

/* --- its life --- */

static int check_terms(const struct lock_terms *t, struct err *e)
{
	if (!t->group[0] || strspn(t->group, GROUP_CHARS) != strlen(t->group))
		return err_set(e, ERR_INPUT, EINVAL,
			       "the lock's group must be of letters, digits, '.' and '-'");
	if (!t->id[0])
		return err_set(e, ERR_INPUT, EINVAL, "the lock needs a name for this host");
	for (const char *s = t->id; *s; s++)
		if (*s <= ' ' || *s > '~')
			return err_set(e, ERR_INPUT, EINVAL,
				       "the lock's name for this host must be printable ASCII "
				       "without blanks");
	if (t->kind == LOCK_ETCD && (t->places < 1 || t->places > LOCK_PLACES_MAX))
		return err_set(e, ERR_INPUT, ERANGE, "a lock has 1 to %d places", LOCK_PLACES_MAX);
	return 0;
}

int lock_new(const struct lock_terms *terms, enum lock_verb verb, struct lock **ret, struct err *e)
{
	AUTO_LOCK *l = NULL;
	char key[128];
	int r = check_terms(terms, e);

	if (r < 0)
		return r;
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	*l = (struct lock){ .terms = *terms, .verb = verb, .key = BUF_INIT, .body = BUF_INIT };
	if (terms->kind == LOCK_FLEETLOCK) {
		r = ask_fleetlock(l, e);
	} else {
		(void)snprintf(key, sizeof(key), "com.coreos.airlock/groups/%s/v1/semaphore",
			       terms->group);
		r = base64_put(key, strlen(key), &l->key, e);
		if (r == 0)
			r = ask_read(l, e);
	}
	if (r < 0)
		return r;
	*ret = l;
	l = NULL;
	return 0;
}

void lock_free(struct lock *l)
{
	if (!l)
		return;
	buf_done(&l->key);
	buf_done(&l->body);
	free(l);
}
