/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "updater/agent/fetcher_core.h"

enum {
	PAUSE_MS = 200,  /* between two looks whether it goes on */
	CHANGES_TAG = 2, /* servers behind one name that tag a file differently: no tags then */
	CHANGES_MAX = 4, /* a file that becomes another one each time */
};

static uint64_t run_end(const struct image_run *r)
{
	return r->off + r->len;
}

/* --- flights --- */

static void flight_done(struct fetcher_flight *fl)
{
	buf_done(&fl->ahead);
	memset(fl, 0, sizeof(*fl));
}

static void flight_pop(struct fetcher_pass *p)
{
	flight_done(&p->flight[0]);
	p->flights--;
	memmove(p->flight, p->flight + 1, p->flights * sizeof(p->flight[0]));
	memset(&p->flight[p->flights], 0, sizeof(p->flight[0]));
	p->p = NULL;
	p->n = 0;
}

void fetcher_pass_drop(struct fetcher *f)
{
	struct fetcher_pass *p = &f->pass;

	for (size_t i = 0; i < p->flights; i++) {
		/* a wire that is broken says so at the next call on it */
		if (p->flight[i].id)
			(void)!wire_client_cancel(f->wire, p->flight[i].id, NULL);
		flight_done(&p->flight[i]);
	}
	p->flights = 0;
	p->p = NULL;
	p->n = 0;
	p->ask_run = p->read_run;
	p->ask_at = p->read_at;
}

/* Bytes that are on their way or here and not yet read. */
static uint64_t pass_pending(const struct fetcher_pass *p)
{
	uint64_t n = 0;

	for (size_t i = 0; i < p->flights; i++)
		n += p->flight[i].end - p->flight[i].at;
	return n;
}

/* What may be on its way and here: two requests. */
static uint64_t pass_ahead(const struct fetcher_pass *p)
{
	return p->step > FETCHER_AHEAD / 2 ? FETCHER_AHEAD : 2 * p->step;
}

/* Of large passes little is lost anyway: a long run is one request, without a pause in it. */
static uint64_t pass_step_bytes(const struct image_run *runs, size_t n)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += runs[i].len;
	total /= FETCHER_STEP_PART;
	if (total > FETCHER_AHEAD)
		return UINT64_MAX;
	return total < FETCHER_STEP_MIN ? FETCHER_STEP_MIN : total;
}

static uint64_t pass_end(const struct fetcher_pass *p)
{
	return p->n_runs ? run_end(&p->runs[p->n_runs - 1]) : 0;
}

/* end: of the blob itself when the server has no ranges. */
static int flight_ask(struct fetcher *f, uint64_t off, uint64_t end, bool whole, struct err *e)
{
	struct fetcher_pass *p = &f->pass;
	const struct fetcher_blob *b = p->blob;
	struct fetcher_flight *fl = &p->flight[p->flights];
	struct wire_get get = { .offset = off,
				.length = whole ? 0 : end - off,
				.max_bytes = b->bytes };
	int r;

	get.tries = fetcher_tries(b->course.patient ? FETCHER_PATIENT : FETCHER_BRIEF);
	(void)snprintf(get.url, sizeof(get.url), "%s", b->name);
	if (b->changes < CHANGES_TAG)
		(void)snprintf(get.etag, sizeof(get.etag), "%s", p->etag);
	r = wire_client_get(f->wire, &get, &fl->id, e);
	if (r < 0)
		return r;
	fl->at = off;
	fl->end = end;
	p->flights++;
	f->requests++;
	return 0;
}

/* Asks for as much as may be under way. */
static int pass_launch(struct fetcher *f, struct err *e)
{
	struct fetcher_pass *p = &f->pass;
	const struct fetcher_blob *b = p->blob;
	int r = p->flights ? 0 : fetcher_await_room(f, e);

	if (r < 0)
		return r;
	if (b->whole & (UINT32_C(1) << b->course.now))
		return p->flights ? 0 : flight_ask(f, 0, b->bytes, true, e);
	while (r == 0 && p->flights < FETCHER_FLIGHTS && p->ask_run < p->n_runs) {
		const struct image_run *run = &p->runs[p->ask_run];
		uint64_t left = run_end(run) - p->ask_at;

		left = left < p->step ? left : p->step;
		if (p->flights > 0 && pass_pending(p) + left > pass_ahead(p))
			break;
		if (wire_client_room(f->wire) == 0)
			break;
		r = flight_ask(f, p->ask_at, p->ask_at + left, false, e);
		if (r < 0)
			return r;
		p->ask_at += left;
		if (p->ask_at == run_end(run) && ++p->ask_run < p->n_runs)
			p->ask_at = p->runs[p->ask_run].off;
	}
	return r;
}

/* --- what came --- */

static void flight_fail(struct fetcher *f, struct fetcher_flight *fl, bool changed,
			const char *text)
{
	(void)!wire_client_cancel(f->wire, fl->id, NULL);
	fl->id = 0;
	fl->failed = true;
	fl->fail = (struct wire_fail){ .kind = ERR_REFUSED, .changed = changed };
	wire_text_set(fl->fail.text, text);
}

static void take_head(struct fetcher *f, struct fetcher_flight *fl, const struct wire_head *h)
{
	struct fetcher_pass *p = &f->pass;
	struct fetcher_blob *b = p->blob;
	uint32_t me = UINT32_C(1) << b->course.now;
	char text[WIRE_TEXT_MAX + 1];

	if (h->total != WIRE_UNKNOWN && h->total != b->bytes) {
		(void)snprintf(text, sizeof(text),
			       "%.200s: the server has %llu bytes, the signed manifest says %llu",
			       b->name, (unsigned long long)h->total, (unsigned long long)b->bytes);
		flight_fail(f, fl, false, text);
		return;
	}
	if (p->etag[0] && b->changes < CHANGES_TAG && strcmp(p->etag, h->etag) != 0) {
		(void)snprintf(text, sizeof(text), "%.200s: the file changed on the server",
			       b->name);
		flight_fail(f, fl, true, text);
		return;
	}
	memcpy(p->etag, h->etag, sizeof(p->etag));
	/*
	 * No ranges: one stream from the start serves all runs. Also when this run begins at 0: the
	 * next ones do not.
	 */
	if (!(b->whole & me) && (h->offset != fl->at || (!h->ranged && fl->end < pass_end(p)))) {
		b->whole |= me;
		fetcher_pass_drop(f);
	}
}

static struct fetcher_flight *flight_find(struct fetcher_pass *p, uint32_t id)
{
	for (size_t i = 0; i < p->flights; i++)
		if (p->flight[i].id == id)
			return &p->flight[i];
	return NULL;
}

static int take_data(struct fetcher_pass *p, struct fetcher_flight *fl, const struct wire_data *d,
		     struct err *e)
{
	if (fl == &p->flight[0] && fl->used == fl->ahead.n) {
		p->p = d->p;
		p->n = d->n;
		return 0;
	}
	return buf_add(&fl->ahead, d->p, d->n, e);
}

static int pass_event(struct fetcher *f, struct err *e)
{
	struct fetcher_pass *p = &f->pass;
	const struct wire_msg *m;
	struct fetcher_flight *fl;
	int r = fetcher_next(f, &m, e);

	if (r < 0)
		return r;
	fl = flight_find(p, m->id);
	if (!fl) /* one whose bytes are all read has ended */
		return 0;
	if (m->type == WIRE_HEAD) {
		take_head(f, fl, &m->head);
	} else if (m->type == WIRE_DATA) {
		f->received += m->data.n;
		f->mirror[p->blob->course.now].received += m->data.n;
		return take_data(p, fl, &m->data, e);
	} else if (m->type == WIRE_END) {
		fl->id = 0;
	} else if (m->type == WIRE_FAIL) {
		fl->id = 0;
		fl->failed = true;
		fl->fail = m->fail;
	}
	return 0;
}

/* --- failures --- */

static int name_set(struct fetcher_blob *b, struct err *e)
{
	return fetcher_url(b->fetcher, b->course.now, b->path, b->name, e);
}

/* The next mirror, or the error of the pass. */
static int pass_turn(struct fetcher *f, const struct wire_fail *fail, struct err *e)
{
	struct fetcher_pass *p = &f->pass;
	struct fetcher_blob *b = p->blob;
	bool passing = fail->kind == ERR_RETRY;
	unsigned was = b->course.now;
	int r;

	if (passing)
		p->passing = *fail;
	fetcher_fault(f, was, fail->text);
	if (!mirror_course_failed(&b->course, passing)) {
		r = wire_fail_err(p->passing.text[0] ? &p->passing : fail, e);
		return f->mirrors > 1
			       ? err_wrap(e, r, "none of the %zu mirrors gives it", f->mirrors)
			       : r;
	}
	if (passing) /* what else is wanted need not find that out again */
		f->now = b->course.now;
	p->etag[0] = '\0';
	return name_set(b, e);
}

/* The reader has come to where flight[0] failed. */
static int pass_failed(struct fetcher *f, struct err *e)
{
	struct fetcher_pass *p = &f->pass;
	struct wire_fail fail = p->flight[0].fail;
	int r = 0;

	if (fail.changed && ++p->blob->changes < CHANGES_MAX) {
		p->etag[0] = '\0'; /* the proof of its bytes decides, not the tag */
		if (f->note)
			f->note(f->arg, fail.text);
	} else {
		r = pass_turn(f, &fail, e);
	}
	fetcher_pass_drop(f);
	return r;
}

static int pass_hold(struct fetcher *f, struct err *e)
{
	fetcher_pass_drop(f);
	while (f->paused) {
		const struct wire_msg *m;
		int r = fetcher_event(f, PAUSE_MS, &m, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* --- reading --- */

/* Bytes of flight[0] that are here. */
static size_t here(const struct fetcher_pass *p, const uint8_t **ret)
{
	const struct fetcher_flight *fl = &p->flight[0];

	if (fl->used < fl->ahead.n) {
		*ret = (const uint8_t *)fl->ahead.p + fl->used;
		return fl->ahead.n - fl->used;
	}
	*ret = p->p;
	return p->n;
}

static void take(struct fetcher_pass *p, size_t n)
{
	struct fetcher_flight *fl = &p->flight[0];

	mirror_course_got(&p->blob->course, n);
	fl->at += n;
	if (fl->used < fl->ahead.n) {
		fl->used += n;
	} else {
		p->p += n;
		p->n -= n;
	}
}

static int flight_short(struct fetcher *f)
{
	char text[WIRE_TEXT_MAX + 1];

	(void)snprintf(text, sizeof(text), "%.200s: the file ended too early", f->pass.blob->name);
	flight_fail(f, &f->pass.flight[0], false, text);
	return 0;
}

/* One step towards bytes at p->read_at. */
static int pass_step(struct fetcher *f, struct err *e)
{
	struct fetcher_pass *p = &f->pass;
	struct fetcher_flight *fl = &p->flight[0];
	int r;

	if (f->paused) {
		r = pass_hold(f, e);
		if (r < 0)
			return r;
	}
	r = pass_launch(f, e);
	if (r < 0)
		return r;
	if (p->flights > 0 && fl->failed)
		return pass_failed(f, e);
	if (p->flights > 0 && fl->at == fl->end) {
		flight_pop(p);
		return 0;
	}
	if (p->flights > 0 && fl->id == 0)
		return flight_short(f);
	return pass_event(f, e);
}

/* Makes *ret hold bytes from p->read_at on; how many in *ret_n. */
static int pass_bytes(struct fetcher *f, const uint8_t **ret, size_t *ret_n, struct err *e)
{
	struct fetcher_pass *p = &f->pass;

	for (;;) {
		size_t n = p->flights ? here(p, ret) : 0;
		uint64_t gap = p->flights ? p->read_at - p->flight[0].at : 0;
		int r;

		if (n > 0 && gap == 0) {
			*ret_n = n;
			return 0;
		}
		if (n > 0) { /* read over */
			take(p, gap < n ? (size_t)gap : n);
			continue;
		}
		r = pass_step(f, e);
		if (r < 0)
			return r;
	}
}

static int source_read(void *arg, void *out, size_t n, struct err *e)
{
	struct fetcher_blob *b = arg;
	struct fetcher *f = b->fetcher;
	struct fetcher_pass *p = &f->pass;
	uint8_t *to = out;

	if (p->blob != b)
		return err_set(e, ERR_BUG, EINVAL, "%s: read before begin", b->name);
	while (n > 0) {
		const uint8_t *got = NULL;
		size_t k = 0;
		int r;

		if (p->read_run == p->n_runs)
			return err_set(e, ERR_BUG, EINVAL, "%s: read past the runs", b->name);
		r = pass_bytes(f, &got, &k, e);
		if (r < 0)
			return r;
		k = k < n ? k : n;
		if (k > run_end(&p->runs[p->read_run]) - p->read_at)
			k = (size_t)(run_end(&p->runs[p->read_run]) - p->read_at);
		memcpy(to, got, k);
		take(p, k);
		to += k;
		n -= k;
		p->read_at += k;
		if (p->read_at == run_end(&p->runs[p->read_run]) && ++p->read_run < p->n_runs)
			p->read_at = p->runs[p->read_run].off;
	}
	return 0;
}

static int source_begin(void *arg, const struct image_run *runs, size_t n, struct err *e)
{
	struct fetcher_blob *b = arg;
	struct fetcher *f = b->fetcher;
	struct fetcher_pass *p = &f->pass;

	fetcher_pass_drop(f);
	*p = (struct fetcher_pass){
		.blob = b, .runs = runs, .n_runs = n, .step = pass_step_bytes(runs, n)
	};
	if (n > 0)
		p->read_at = p->ask_at = runs[0].off;
	b->changes = 0;
	if (!mirror_course_begin(&b->course, (unsigned)f->mirrors, (unsigned)f->now))
		return err_set(e, ERR_REFUSED, EBADMSG, "every mirror gave wrong bytes of it");
	return name_set(b, e);
}

/* --- sources --- */

static struct fetcher_blob *blob_find(struct fetcher *f, const char *path)
{
	struct fetcher_blob *b = f->blobs;

	while (b && strcmp(b->path, path) != 0)
		b = b->next;
	return b;
}

int fetcher_source(struct fetcher *f, const char *path, uint64_t bytes, struct image_source *ret,
		   struct err *e)
{
	struct fetcher_blob *b = blob_find(f, path);
	int r;

	if (strlen(path) >= FETCHER_PATH_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "%s: name too long", path);
	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return err_set(e, ERR_HOST, ENOMEM, "out of memory");
		(void)snprintf(b->path, sizeof(b->path), "%s", path);
		b->fetcher = f;
		b->course.n = (unsigned)f->mirrors;
		b->course.now = (unsigned)f->now;
		b->next = f->blobs;
		f->blobs = b;
	}
	if (f->pass.blob == b)
		fetcher_pass_drop(f);
	b->bytes = bytes;
	r = fetcher_url(f, f->now, path, b->name, e);
	if (r < 0)
		return r;
	*ret = (struct image_source){
		.begin = source_begin, .read = source_read, .arg = b, .name = b->name
	};
	return 0;
}

bool fetcher_blame(struct fetcher *f, const struct image_source *src, const char *why)
{
	struct fetcher_blob *b = src->arg;
	uint32_t guilty = mirror_course_wrong(&b->course);
	char text[WIRE_TEXT_MAX + 1];

	for (size_t i = 0; i < f->mirrors; i++) {
		if (!(guilty & (UINT32_C(1) << i)))
			continue;
		(void)snprintf(text, sizeof(text), "%.150s gave wrong bytes of %.90s: %.130s",
			       f->mirror[i].url, b->path, why);
		fetcher_fault(f, i, text);
	}
	return mirror_course_left(&b->course);
}
