/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/record/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/num.h"
#include "base/text.h"
#include "updater/record/chain.h"

#define HEAD      "proa-record 1 "
#define HEAD_MAX  (sizeof(HEAD) + 20 + 1 + SHA256_HEX_MAX + 1)
#define LOCK_NAME "lock"

static const char *const copy_names[2] = { "record.0", "record.1" };

/* A copy as found: *ret_seq is 0 when it is absent; damaged is ERR_HOST -EUCLEAN. */
static int copy_load(struct sys *sys, int dir, int copy, struct record *ret, uint64_t *ret_seq,
		     struct err *e)
{
	AUTO_FREE char *text = NULL;
	uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
	char *seq_end, *line_end;
	uint64_t seq;
	size_t n;
	int r;

	r = file_read(sys, dir, copy_names[copy], RECORD_BYTES_MAX + HEAD_MAX, &text, &n, e);
	if (r == -ENOENT) {
		*ret_seq = 0;
		return 0;
	}
	if (r < 0)
		return r;
	line_end = memchr(text, '\n', n);
	if (!line_end || strncmp(text, HEAD, sizeof(HEAD) - 1) != 0)
		return err_set(e, ERR_HOST, EUCLEAN, "%s: no header", copy_names[copy]);
	*line_end = '\0';
	seq_end = strchr(text + sizeof(HEAD) - 1, ' ');
	if (!seq_end ||
	    num_parse(text + sizeof(HEAD) - 1, (size_t)(seq_end - text) - (sizeof(HEAD) - 1), 1,
		      UINT64_MAX - 1, "sequence number", &seq, NULL) < 0 ||
	    hex_parse(seq_end + 1, "checksum", want, sizeof(want), NULL) < 0)
		return err_set(e, ERR_HOST, EUCLEAN, "%s: bad header", copy_names[copy]);
	sha256(line_end + 1, n - (size_t)(line_end + 1 - text), got);
	if (memcmp(want, got, sizeof(got)) != 0)
		return err_set(e, ERR_HOST, EUCLEAN, "%s: wrong checksum", copy_names[copy]);
	r = record_parse(line_end + 1, n - (size_t)(line_end + 1 - text), copy_names[copy], ret, e);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return err_wrap(e, -EUCLEAN, "not readable");
	/* the number outside of the checksum decides which copy is newer: it has a twin inside */
	if (ret->seq != seq || (int)(seq % 2) != copy)
		return err_set(e, ERR_HOST, EUCLEAN, "%s: wrong sequence number", copy_names[copy]);
	*ret_seq = seq;
	return 0;
}

/* What the other copy is there for; anything else may be gone at the next try. */
static bool is_damage(int r)
{
	return r == -EUCLEAN || r == -EFBIG || r == -EIO;
}

/* An event whose number the history has already would never get into it. */
static void record_empty(struct sys *sys, int dir, struct record *r)
{
	struct chain_head h = { .n = 0 };

	memset(r, 0, sizeof(*r));
	r->slot = '-';
	if (chain_end(sys, dir, &h, NULL) < 0)
		h.last_id = 0; /* a history that cannot be read gets no lines anyway */
	r->next_event = h.last_id + 1;
}

/* Which copy is the newer valid one: *ret_copy -1 when there is none. */
static int newest(struct sys *sys, int dir, struct record *ret, int *ret_copy, struct err *e)
{
	struct record r[2];
	uint64_t seq[2] = { 0, 0 };
	unsigned damaged = 0;
	struct err why[2] = { ERR_INIT, ERR_INIT };

	for (int i = 0; i < 2; i++) {
		int k = copy_load(sys, dir, i, &r[i], &seq[i], &why[i]);

		/* to fall back on an older state for a hiccup would be a bad bargain */
		if (k == -EIO)
			k = copy_load(sys, dir, i, &r[i], &seq[i], &why[i]);
		if (k < 0 && !is_damage(k)) {
			if (e)
				*e = why[i];
			return k;
		}
		if (k < 0)
			damaged |= 1u << i;
	}
	if (seq[0] == 0 && seq[1] == 0) {
		if (damaged)
			return err_set(
				e, ERR_HOST, EUCLEAN,
				"what this host remembers is damaged (%s; %s): move record.0 "
				"and record.1 away to begin anew",
				why[0].text[0] ? why[0].text : "record.0: absent",
				why[1].text[0] ? why[1].text : "record.1: absent");
		*ret_copy = -1;
		record_empty(sys, dir, ret);
		return 0;
	}
	*ret_copy = seq[1] > seq[0];
	*ret = r[*ret_copy];
	ret->damaged = damaged;
	return 0;
}

int record_load(struct sys *sys, int dir, struct record *ret, struct err *e)
{
	int copy;

	return newest(sys, dir, ret, &copy, e);
}

int record_store(struct sys *sys, int dir, struct record *r, struct err *e)
{
	AUTO_BUF body = BUF_INIT;
	AUTO_BUF file = BUF_INIT;
	uint8_t sum[SHA256_BYTES];
	char hex[SHA256_HEX_MAX];
	int k;

	r->seq++;
	k = record_format(r, &body, e);
	r->seq--; /* until it is durable */
	if (k < 0)
		return k;
	if (body.n > RECORD_BYTES_MAX)
		return err_set(e, ERR_BUG, EFBIG, "the record would be longer than %zu bytes",
			       RECORD_BYTES_MAX);
	sha256(body.p, body.n, sum);
	hex_format(sum, sizeof(sum), hex);
	k = buf_addf(&file, e, HEAD "%llu %s\n", (unsigned long long)r->seq + 1, hex);
	if (k == 0)
		k = buf_add(&file, body.p, body.n, e);
	/* an even number goes to the first copy, an odd one to the second: never over the newest */
	if (k == 0)
		k = file_replace(sys, dir, copy_names[(r->seq + 1) % 2], file.p, file.n, e);
	if (k != 0)
		return k;
	r->seq++;
	/* a history that was tampered with must not stop an update: an audit tells of it */
	(void)!chain_sync(sys, dir, r, program_invocation_short_name, NULL, NULL);
	return 0;
}

int record_reset(struct sys *sys, int dir, struct err *e)
{
	for (int i = 0; i < 2; i++) {
		struct record ignored;
		struct err why = ERR_INIT;
		uint64_t seq;
		char aside[32];
		int r = copy_load(sys, dir, i, &ignored, &seq, &why);

		if (r >= 0)
			continue;
		if (!is_damage(r)) {
			if (e)
				*e = why;
			return r;
		}
		(void)snprintf(aside, sizeof(aside), "%s.damaged", copy_names[i]);
		r = sys->ops->rename(sys, dir, copy_names[i], aside);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "rename %s: %s", copy_names[i],
				       strerror(-r));
	}
	return sys->ops->sync(sys, dir) < 0 ? err_set(e, ERR_HOST, EIO, "sync of the record") : 0;
}

int record_lock(struct sys *sys, int dir, struct sys_fd *ret, struct err *e)
{
	int r, fd = sys->ops->open(sys, dir, LOCK_NAME, O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		return err_set(e, ERR_HOST, -fd, "open the record's lock: %s", strerror(-fd));
	r = sys->ops->lock(sys, fd);
	if (r < 0) {
		(void)sys->ops->close(sys, fd);
		return err_set(e, ERR_HOST, -r, "lock the record: %s", strerror(-r));
	}
	ret->sys = sys;
	ret->fd = fd;
	return 0;
}

/* The oldest of a full list makes room. */
static void drop_first(void *list, size_t *n, size_t max, size_t size)
{
	if (*n < max)
		return;
	memmove(list, (char *)list + size, (max - 1) * size);
	*n = max - 1;
}

static void clean(char *s, size_t cap)
{
	char out[RECORD_TEXT_MAX];

	(void)text_clean(s, strnlen(s, cap - 1), out, sizeof(out));
	(void)snprintf(s, cap, "%s", out);
}

void record_count(uint64_t *total, uint64_t n)
{
	*total = n > INT64_MAX - *total ? INT64_MAX : *total + n;
}

static uint64_t count_fallback(uint64_t n, enum record_kind k)
{
	if (k == RECORD_EV_GOOD || k == RECORD_EV_FORGIVEN)
		return 0;
	return k == RECORD_EV_FELL_BACK && n < INT64_MAX ? n + 1 : n;
}

unsigned record_fallbacks(const struct record *r)
{
	uint64_t n = 0;

	/* a record that an older proad has written has no such total, but events */
	for (size_t i = 0; i < r->n_event; i++)
		n = count_fallback(n, r->event[i].kind);
	if (n < r->totals.fallbacks)
		n = r->totals.fallbacks;
	return n < UINT_MAX ? (unsigned)n : UINT_MAX;
}

const struct record_event *record_last_fallback(const struct record *r)
{
	for (size_t i = r->n_event; i > 0; i--)
		if (r->event[i - 1].kind == RECORD_EV_FELL_BACK)
			return &r->event[i - 1];
	return NULL;
}

void record_add_event(struct record *r, const struct record_event *ev)
{
	struct record_event *at;

	/* also what an older proad has not counted, before its events are dropped */
	r->totals.fallbacks = count_fallback(record_fallbacks(r), ev->kind);
	record_count(&r->totals.events[ev->kind], 1);
	record_count(&r->totals.fetched, ev->fetched);
	record_count(&r->totals.written, ev->written);
	record_count(&r->totals.seconds, ev->seconds);

	drop_first(r->event, &r->n_event, RECORD_EVENTS_MAX, sizeof(r->event[0]));
	at = &r->event[r->n_event++];
	*at = *ev;
	at->id = r->next_event ? r->next_event : 1;
	r->next_event = at->id + 1;
	clean(at->text, sizeof(at->text));
}

const struct record_failure *record_failed(const struct record *r, const char *version)
{
	for (size_t i = 0; i < r->n_failure; i++)
		if (strcmp(r->failure[i].version, version) == 0)
			return &r->failure[i];
	return NULL;
}

bool record_forgive(struct record *r, const char *version)
{
	const struct record_failure *f = record_failed(r, version);
	size_t i;

	if (!f)
		return false;
	i = (size_t)(f - r->failure);
	memmove(&r->failure[i], &r->failure[i + 1], (r->n_failure - i - 1) * sizeof(*f));
	r->n_failure--;
	return true;
}

void record_add_failure(struct record *r, const struct record_failure *f)
{
	struct record_failure *at;

	if (!record_forgive(r, f->version))
		record_count(&r->totals.causes[f->cause], 1);
	drop_first(r->failure, &r->n_failure, RECORD_FAILURES_MAX, sizeof(r->failure[0]));
	at = &r->failure[r->n_failure++];
	*at = *f;
	clean(at->reason, sizeof(at->reason));
}
