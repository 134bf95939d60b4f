/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/reboot_memo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define WHAT "the memo of the reboot"

static const char *const kinds[] = { [LOCK_FLEETLOCK] = "fleetlock", [LOCK_ETCD] = "etcd" };

static int put_place(json_t *o, const struct reboot_place *p, struct err *e)
{
	int r = json_put_str(o, "type", kinds[p->terms.kind], e);

	if (r == 0)
		r = json_put_str(o, "url", p->url, e);
	if (r == 0)
		r = json_put_str(o, "group", p->terms.group, e);
	if (r == 0)
		r = json_put_str(o, "id", p->terms.id, e);
	return r < 0 ? r : json_put_u64(o, "places", p->terms.places, e);
}

static int put_time(json_t *o, const char *key, int64_t t, struct err *e)
{
	return t ? json_put_time(o, key, t, e) : 0;
}

static int put_obstacle(json_t *o, const struct reboot_memo *m, struct err *e)
{
	int r = json_put_str(o, "why", reboot_why_name(m->why), e);

	if (r == 0)
		r = json_put_str(o, "text", m->text, e);
	if (r == 0)
		r = put_time(o, "since", m->since, e);
	return r < 0 ? r : put_time(o, "next", m->next, e);
}

static int put_asked(json_t *o, const struct reboot_memo *m, struct err *e)
{
	int r = json_put_str(o, "asked", m->asked, e);

	return r < 0 ? r : json_put_str(o, "asked_boot", m->asked_boot, e);
}

int reboot_memo_format(const struct reboot_memo *m, struct buf *b, struct err *e)
{
	AUTO_JSON *o = json_object();
	json_t *lock = NULL;
	int r;

	if (!o)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = json_put_str(o, "boot_id", m->boot_id, e);
	if (r == 0)
		r = json_put_str(o, "version", m->version, e);
	if (r == 0)
		r = json_put_str(o, "from", m->from, e);
	if (r == 0)
		r = json_put_str(o, "kept", m->kept, e);
	if (r == 0 && m->asked[0])
		r = put_asked(o, m, e);
	if (r == 0)
		r = json_put(o, "hooked", json_boolean(m->hooked), e);
	if (r == 0)
		r = put_time(o, "going", m->going, e);
	if (r == 0 && m->lock) {
		lock = json_object();
		r = json_put(o, "lock", lock, e);
	}
	if (r == 0 && lock)
		r = put_place(lock, &m->place, e);
	if (r == 0)
		r = put_obstacle(o, m, e);
	return r < 0 ? r : json_write(o, true, b, e);
}

static int get(const json_t *o, const char *key, char *out, size_t cap, struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, WHAT, &s, e);

	if (r < 0)
		return r;
	if (strlen(s) >= cap)
		return err_set(e, ERR_INPUT, EINVAL, WHAT ": %s is too long", key);
	(void)snprintf(out, cap, "%s", s);
	return 0;
}

static int get_time(const json_t *o, const char *key, int64_t *ret, struct err *e)
{
	return json_object_get(o, key) ? json_get_time(o, key, WHAT, ret, e) : 0;
}

static int get_place(const json_t *memo, struct reboot_memo *m, struct err *e)
{
	struct reboot_place *p = &m->place;
	uint64_t places = 0;
	char kind[16] = "";
	json_t *o;
	int r;

	if (!json_object_get(memo, "lock"))
		return 0;
	r = json_get_obj(memo, "lock", WHAT, &o, e);
	if (r == 0)
		r = get(o, "type", kind, sizeof(kind), e);
	if (r == 0)
		r = get(o, "url", p->url, sizeof(p->url), e);
	if (r == 0)
		r = get(o, "group", p->terms.group, sizeof(p->terms.group), e);
	if (r == 0)
		r = get(o, "id", p->terms.id, sizeof(p->terms.id), e);
	if (r == 0)
		r = json_get_u64(o, "places", WHAT, LOCK_PLACES_MAX, &places, e);
	if (r < 0)
		return r;
	p->terms.kind = strcmp(kind, "etcd") == 0 ? LOCK_ETCD : LOCK_FLEETLOCK;
	if (strcmp(kind, kinds[p->terms.kind]) != 0)
		return err_set(e, ERR_INPUT, EINVAL, WHAT ": lock: type is not known");
	p->terms.places = (unsigned)places;
	m->lock = true;
	return 0;
}

static int get_why(const json_t *o, enum reboot_why *ret, struct err *e)
{
	const char *s;
	int r = json_get_str(o, "why", WHAT, &s, e);

	if (r < 0)
		return r;
	for (unsigned w = 0; w <= REBOOT_WHY_NOT_STARTED; w++) {
		if (strcmp(s, reboot_why_name((enum reboot_why)w)) == 0) {
			*ret = (enum reboot_why)w;
			return 0;
		}
	}
	return err_set(e, ERR_INPUT, EINVAL, WHAT ": why is not known");
}

static int get_names(const json_t *o, struct reboot_memo *m, struct err *e)
{
	int r = get(o, "boot_id", m->boot_id, sizeof(m->boot_id), e);

	if (r == 0)
		r = get(o, "version", m->version, sizeof(m->version), e);
	if (r == 0)
		r = get(o, "from", m->from, sizeof(m->from), e);
	if (r == 0)
		r = get(o, "kept", m->kept, sizeof(m->kept), e);
	if (r == 0)
		r = get(o, "text", m->text, sizeof(m->text), e);
	/* memos of earlier versions have none */
	if (r == 0 && json_object_get(o, "asked"))
		r = get(o, "asked", m->asked, sizeof(m->asked), e);
	if (r == 0 && m->asked[0])
		r = get(o, "asked_boot", m->asked_boot, sizeof(m->asked_boot), e);
	return r;
}

int reboot_memo_parse(const void *p, size_t n, struct reboot_memo *ret, struct err *e)
{
	const struct json_limits lim = { .bytes = REBOOT_MEMO_BYTES, .depth = 3 };
	struct reboot_memo m = { .lock = false };
	AUTO_JSON *o = NULL;
	int r = json_read(p, n, &lim, WHAT, &o, e);

	if (r == 0)
		r = get_names(o, &m, e);
	if (r == 0)
		r = json_get_bool_opt(o, "hooked", WHAT, false, &m.hooked, e);
	if (r == 0)
		r = get_place(o, &m, e);
	if (r == 0)
		r = get_why(o, &m.why, e);
	if (r == 0)
		r = get_time(o, "going", &m.going, e);
	if (r == 0)
		r = get_time(o, "since", &m.since, e);
	if (r == 0)
		r = get_time(o, "next", &m.next, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

int reboot_memo_load(struct sys *sys, int dir, struct reboot_memo *ret, struct err *e)
{
	AUTO_FREE char *text = NULL;
	struct err why = ERR_INIT;
	size_t n;
	int r = file_read(sys, dir, REBOOT_MEMO_FILE, REBOOT_MEMO_BYTES, &text, &n, &why);

	if (r == -ENOENT) {
		memset(ret, 0, sizeof(*ret));
		return 0;
	}
	if (r == 0)
		r = reboot_memo_parse(text, n, ret, &why);
	if (r == 0)
		return 0;
	return err_set(
		e, ERR_HOST, EUCLEAN,
		"%.200s. Whether this host holds a reboot lock is not known: give it back by "
		"hand, then remove " REBOOT_MEMO_FILE " in the state directory",
		why.text);
}

int reboot_memo_store(struct sys *sys, int dir, const struct reboot_memo *m, struct err *e)
{
	AUTO_BUF b = BUF_INIT;
	int r = reboot_memo_format(m, &b, e);

	return r < 0 ? r : file_replace(sys, dir, REBOOT_MEMO_FILE, b.p, b.n, e);
}
