/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/record/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/text.h"

/* ---- one line ---- */

static int put_event(json_t *o, const struct record_event *ev, const char *actor, struct err *e)
{
	char clean[CHAIN_ACTOR_MAX];
	int r = json_put_u64(o, "id", ev->id, e);

	if (r >= 0)
		r = json_put_u64(o, "when", (uint64_t)ev->when, e);
	if (r >= 0)
		r = json_put_str(o, "event", record_kind_name(ev->kind), e);
	if (r >= 0)
		r = json_put_str(o, "version", ev->version, e);
	if (r >= 0)
		r = json_put_str(o, "from", ev->from, e);
	if (r >= 0)
		r = json_put_hex(o, "root_hash", ev->root, sizeof(ev->root), e);
	if (r >= 0)
		r = json_put_str(o, "reason", ev->text, e);
	if (r >= 0)
		r = json_put_str(o, "boot_id", ev->boot_id, e);
	return r < 0 ? r
		     : json_put_str(o, "actor",
				    text_clean(actor, strlen(actor), clean, sizeof(clean)), e);
}

int chain_format(const struct record_event *ev, const char *actor, struct chain_head *head,
		 struct buf *out, struct err *e)
{
	AUTO_JSON *o = json_object();
	AUTO_BUF line = { .max = CHAIN_LINE_MAX };
	int r = json_put_u64(o, "n", head->n + 1, e);

	if (r >= 0)
		r = json_put_hex(o, "prev", head->hash, sizeof(head->hash), e);
	if (r >= 0)
		r = put_event(o, ev, actor, e);
	if (r >= 0)
		r = json_write(o, false, &line, e);
	if (r >= 0)
		r = buf_add(out, line.p, line.n, e);
	if (r >= 0)
		r = buf_add(out, "\n", 1, e);
	if (r < 0)
		return r;
	sha256(line.p, line.n, head->hash);
	head->n++;
	head->last_id = ev->id;
	return 0;
}

static int get_text(const json_t *o, const char *key, char *out, size_t cap, struct err *e)
{
	const char *s;
	int r = json_get_str(o, key, "history", &s, e);

	if (r < 0)
		return r;
	if (strlen(s) >= cap)
		return err_set(e, ERR_INPUT, EFBIG, "history: %s is too long", key);
	memcpy(out, s, strlen(s) + 1);
	return 0;
}

static int get_kind(const json_t *o, enum record_kind *ret, struct err *e)
{
	const char *s;
	int r = json_get_str(o, "event", "history", &s, e);

	for (int k = RECORD_EV_STAGED; r >= 0 && k <= RECORD_EV_FORGIVEN; k++)
		if (strcmp(s, record_kind_name((enum record_kind)k)) == 0) {
			*ret = (enum record_kind)k;
			return 0;
		}
	return r < 0 ? r : err_set(e, ERR_INPUT, EINVAL, "history: no event is called '%.40s'", s);
}

static int read_line(const char *p, size_t n, struct chain_entry *en, uint8_t prev[32],
		     struct err *e)
{
	const struct json_limits lim = { .bytes = CHAIN_LINE_MAX, .depth = 2 };
	struct record_event *ev = &en->event;
	AUTO_JSON *o = NULL;
	uint64_t when = 0;
	int r = json_read(p, n, &lim, "history", &o, e);

	if (r >= 0)
		r = json_get_u64(o, "n", "history", UINT64_MAX >> 1, &en->n, e);
	if (r >= 0)
		r = json_get_hex(o, "prev", "history", prev, 32, e);
	if (r >= 0)
		r = json_get_u64(o, "id", "history", UINT64_MAX >> 1, &ev->id, e);
	if (r >= 0)
		r = json_get_u64(o, "when", "history", INT64_MAX, &when, e);
	if (r >= 0)
		r = get_kind(o, &ev->kind, e);
	if (r >= 0)
		r = get_text(o, "version", ev->version, sizeof(ev->version), e);
	if (r >= 0)
		r = get_text(o, "from", ev->from, sizeof(ev->from), e);
	if (r >= 0)
		r = json_get_hex(o, "root_hash", "history", ev->root, sizeof(ev->root), e);
	if (r >= 0)
		r = get_text(o, "reason", ev->text, sizeof(ev->text), e);
	if (r >= 0)
		r = get_text(o, "boot_id", ev->boot_id, sizeof(ev->boot_id), e);
	if (r >= 0)
		r = get_text(o, "actor", en->actor, sizeof(en->actor), e);
	ev->when = (int64_t)when;
	return r;
}

/* ---- all lines ---- */

static int follow(const char *p, size_t n, struct chain_entry *en, struct chain_head *h,
		  struct err *e)
{
	uint8_t prev[32];
	int r = read_line(p, n, en, prev, e);

	if (r < 0)
		return err_wrap(e, r, "line %llu", (unsigned long long)h->n + 1);
	if (memcmp(prev, h->hash, sizeof(prev)) != 0 || en->n != h->n + 1 ||
	    en->event.id <= h->last_id)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "history: line %llu does not follow from the one before: a line was "
			       "removed, changed or moved",
			       (unsigned long long)h->n + 1);
	sha256(p, n, h->hash);
	h->n++;
	h->last_id = en->event.id;
	return 0;
}

int chain_walk(const char *p, size_t n, chain_fn fn, void *arg, struct chain_head *ret,
	       struct err *e)
{
	struct chain_head h = { .n = 0 };
	const char *end = p + n, *line = p;

	while (line < end) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		struct chain_entry en = { .n = 0 };
		int r;

		if (!stop)
			return err_set(e, ERR_REFUSED, EBADMSG,
				       "history: its last line is cut off");
		r = follow(line, (size_t)(stop - line), &en, &h, e);
		if (r >= 0 && fn)
			r = fn(arg, &en, h.hash);
		if (r != 0)
			return r;
		line = stop + 1;
	}
	*ret = h;
	return 0;
}

struct compare {
	const struct record *rec;
	size_t same;
};

static int compare_entry(void *arg, const struct chain_entry *en, const uint8_t hash[32])
{
	struct compare *c = arg;
	const struct record_event *b = &en->event;

	(void)hash;
	for (size_t i = 0; i < c->rec->n_event; i++) {
		const struct record_event *a = &c->rec->event[i];

		c->same += a->id == b->id && a->when == b->when && a->kind == b->kind &&
			   strcmp(a->version, b->version) == 0 && strcmp(a->from, b->from) == 0 &&
			   memcmp(a->root, b->root, sizeof(a->root)) == 0 &&
			   strcmp(a->text, b->text) == 0 && strcmp(a->boot_id, b->boot_id) == 0;
	}
	return 0;
}

int chain_compare(const char *p, size_t n, const struct record *rec, struct err *e)
{
	struct compare c = { .rec = rec };
	struct chain_head h;
	int r = chain_walk(p, n, compare_entry, &c, &h, e);

	if (r < 0)
		return r;
	if (c.same != rec->n_event)
		return err_set(
			e, ERR_REFUSED, EBADMSG,
			"history: %zu of the record's %zu events are not in it, or stand there "
			"with other words",
			rec->n_event - c.same, rec->n_event);
	return 0;
}

/* ---- the file ---- */

static int load(struct sys *sys, int dir, char **ret, size_t *ret_n, struct err *e)
{
	int r = file_read(sys, dir, CHAIN_FILE, CHAIN_BYTES_MAX, ret, ret_n, e);

	return r == -ENOENT ? 0 : r;
}

int chain_end(struct sys *sys, int dir, struct chain_head *ret, struct err *e)
{
	AUTO_FREE char *text = NULL;
	struct chain_head h = { .n = 0 };
	size_t n = 0;
	int r = load(sys, dir, &text, &n, e);

	if (r >= 0 && n > 0)
		r = chain_walk(text, n, NULL, NULL, &h, e);
	if (r >= 0)
		*ret = h;
	return r;
}

int chain_sync(struct sys *sys, int dir, const struct record *rec, const char *actor,
	       struct chain_head *ret, struct err *e)
{
	AUTO_FREE char *text = NULL;
	AUTO_BUF b = { .max = CHAIN_BYTES_MAX };
	struct chain_head h = { .n = 0 };
	size_t n = 0;
	int r = load(sys, dir, &text, &n, e);

	if (r >= 0 && n > 0)
		r = chain_walk(text, n, NULL, NULL, &h, e);
	if (r >= 0 && n > 0)
		r = buf_add(&b, text, n, e);
	for (size_t i = 0; r >= 0 && i < rec->n_event; i++)
		if (rec->event[i].id > h.last_id)
			r = chain_format(&rec->event[i], actor, &h, &b, e);
	if (r == -EFBIG)
		return err_set(e, ERR_HOST, EFBIG,
			       CHAIN_FILE " is full: keep a copy of it and remove it");
	if (r >= 0 && b.n > n)
		r = file_replace(sys, dir, CHAIN_FILE, b.p, b.n, e);
	if (r >= 0 && ret)
		*ret = h;
	return r;
}
