/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/wire/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

/* What one request was promised and has got. */
struct flight {
	uint32_t id; /* 0: free */
	bool cancelled;
	bool head_seen;
	bool ranged_only;
	bool post;            /* answered by REPLY, with none of the below */
	uint64_t offset, end; /* asked; end 0: to the end of the file */
	uint64_t max;
	uint64_t first, next; /* where DATA began, where it must go on */
	uint64_t total;
};

struct wire_client {
	int fd;
	bool greeted;
	uint32_t last_id;
	wire_wait_fn wait;
	void *wait_arg;
	struct flight flight[WIRE_FLIGHT_MAX];
	struct wire_msg msg;
	uint8_t frame[WIRE_FRAME_MAX];
};

static int wait_poll(void *arg, int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r;

	(void)arg;
	r = poll(&p, 1, timeout_ms);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	return r;
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 1 ready, 0 the deadline passed; deadline -1: none. */
static int wait_until(struct wire_client *c, short events, int64_t deadline, struct err *e)
{
	for (;;) {
		int64_t left = deadline < 0 ? -1 : deadline - now_ms();
		int r;

		if (deadline >= 0 && left < 0)
			left = 0;
		r = c->wait(c->wait_arg, c->fd, events, left > INT32_MAX ? INT32_MAX : (int)left);
		if (r < 0)
			return err_set(e, ERR_RETRY, -r, "gave up waiting for proa-fetch: %s",
				       strerror(-r));
		if (r > 0)
			return 1;
		if (deadline >= 0 && now_ms() >= deadline)
			return 0;
	}
}

/* proa-fetch always reads, so a full socket empties; half a minute without that is a failure. */
static int client_send(struct wire_client *c, const struct wire_msg *m, struct err *e)
{
	int64_t deadline = now_ms() + 30000;

	for (;;) {
		int r = wire_send(c->fd, m, e);

		if (r == -EPIPE)
			return err_set(e, ERR_RETRY, EPIPE, "proa-fetch is gone");
		if (r != -EAGAIN)
			return r;
		r = wait_until(c, POLLOUT, deadline, e);
		if (r < 0)
			return r;
		if (r == 0)
			return err_set(e, ERR_RETRY, ETIMEDOUT, "proa-fetch does not listen");
	}
}

int wire_client_new(int fd, struct wire_client **ret, struct err *e)
{
	struct wire_msg hello = { .type = WIRE_HELLO, .version = WIRE_VERSION };
	AUTO_WIRE_CLIENT *c = calloc(1, sizeof(*c));
	int fl, r;

	if (!c) {
		(void)close(fd);
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	}
	c->fd = fd;
	c->wait = wait_poll;
	fl = fcntl(fd, F_GETFL);
	if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0)
		return err_set(e, ERR_HOST, errno, "cannot use the wire: %s", strerror(errno));
	r = client_send(c, &hello, e);
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}

void wire_client_free(struct wire_client *c)
{
	if (!c)
		return;
	(void)close(c->fd);
	free(c);
}

void wire_client_set_wait(struct wire_client *c, wire_wait_fn fn, void *arg)
{
	c->wait = fn ? fn : wait_poll;
	c->wait_arg = fn ? arg : NULL;
}

static struct flight *flight_find(struct wire_client *c, uint32_t id)
{
	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++)
		if (c->flight[i].id == id)
			return &c->flight[i];
	return NULL;
}

int wire_client_get(struct wire_client *c, const struct wire_get *get, uint32_t *ret_id,
		    struct err *e)
{
	struct wire_msg m = { .type = WIRE_GET, .get = *get };
	struct flight *f = flight_find(c, 0);
	int r;

	if (!f || c->last_id == UINT32_MAX)
		return err_set(e, ERR_BUG, EBUSY, "too many requests to proa-fetch at once");
	if (!wire_url_valid(get->url))
		return err_set(e, ERR_INPUT, EINVAL,
			       "'%.200s' is no http, https or file URL that can be fetched",
			       get->url);
	m.id = c->last_id + 1;
	r = client_send(c, &m, e);
	if (r < 0)
		return err_wrap(e, r, "cannot ask for '%.200s'", get->url);
	c->last_id = m.id;
	*f = (struct flight){ .id = m.id,
			      .offset = get->offset,
			      .end = get->length ? get->offset + get->length : 0,
			      .max = get->max_bytes,
			      .ranged_only = (get->flags & WIRE_GET_RANGED_ONLY) != 0,
			      .total = WIRE_UNKNOWN };
	*ret_id = m.id;
	return 0;
}

int wire_client_post(struct wire_client *c, const struct wire_post *post, uint32_t *ret_id,
		     struct err *e)
{
	struct wire_msg m = { .type = WIRE_POST, .post = *post };
	struct flight *f = flight_find(c, 0);
	int r;

	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++)
		if (c->flight[i].id != 0 && c->flight[i].post)
			f = NULL;
	if (!f || c->last_id == UINT32_MAX)
		return err_set(e, ERR_BUG, EBUSY, "too many requests to proa-fetch at once");
	if (!wire_url_valid(post->url) || strncmp(post->url, "http", 4) != 0)
		return err_set(e, ERR_INPUT, EINVAL, "'%.200s' is no http or https URL", post->url);
	if (post->n > WIRE_BODY_MAX)
		return err_set(e, ERR_INPUT, E2BIG, "%zu bytes are too many to send to '%.200s'",
			       post->n, post->url);
	m.id = c->last_id + 1;
	r = client_send(c, &m, e);
	if (r < 0)
		return err_wrap(e, r, "cannot send to '%.200s'", post->url);
	c->last_id = m.id;
	*f = (struct flight){ .id = m.id, .post = true };
	*ret_id = m.id;
	return 0;
}

int wire_client_tls(struct wire_client *c, const struct wire_tls *tls, struct err *e)
{
	struct wire_msg m = { .type = WIRE_TLS, .tls = *tls };

	if (tls->ca.n > WIRE_PEM_MAX || tls->cert.n > WIRE_PEM_MAX || tls->key.n > WIRE_PEM_MAX)
		return err_set(e, ERR_INPUT, E2BIG,
			       "a certificate or key file is longer than %u bytes", WIRE_PEM_MAX);
	if (tls->key.n > 0 && tls->cert.n == 0)
		return err_set(e, ERR_INPUT, EINVAL, "a key without its certificate");
	return client_send(c, &m, e);
}

int wire_client_cancel(struct wire_client *c, uint32_t id, struct err *e)
{
	struct wire_msg m = { .type = WIRE_CANCEL, .id = id };
	struct flight *f = id ? flight_find(c, id) : NULL;

	if (!f || f->cancelled)
		return 0;
	f->cancelled = true;
	return client_send(c, &m, e);
}

int wire_client_limit(struct wire_client *c, const struct wire_limit *limit, struct err *e)
{
	struct wire_msg m = { .type = WIRE_LIMIT, .limit = *limit };

	return client_send(c, &m, e);
}

unsigned wire_client_flights(const struct wire_client *c)
{
	unsigned n = 0;

	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++)
		if (c->flight[i].id != 0 && !c->flight[i].cancelled)
			n++;
	return n;
}

unsigned wire_client_room(const struct wire_client *c)
{
	unsigned n = 0;

	for (size_t i = 0; i < WIRE_FLIGHT_MAX; i++)
		n += c->flight[i].id == 0;
	return n;
}

/* --- what proa-fetch says, held against what was asked; NULL: fine, else the lie --- */

static const char *check_head(struct flight *f, const struct wire_head *h)
{
	if (f->head_seen)
		return "a second head";
	if (h->offset != f->offset && (h->offset != 0 || h->ranged || f->ranged_only))
		return "data from a place that was not asked for";
	if (h->offset > 0 && !h->ranged)
		return "a range without ranges";
	if (h->total != WIRE_UNKNOWN && h->total > f->max)
		return "a file larger than allowed";
	if (h->total != WIRE_UNKNOWN && f->end > h->total)
		return "a file shorter than the range asked for";
	f->head_seen = true;
	f->first = f->next = h->offset;
	f->total = h->total;
	return NULL;
}

static const char *check_data(struct flight *f, const struct wire_data *d)
{
	uint64_t end = f->end ? f->end : f->max;

	if (!f->head_seen)
		return "data before its head";
	if (d->offset != f->next)
		return "data out of order";
	if (f->total < end)
		end = f->total;
	if (f->next > end || d->n > end - f->next)
		return "more data than asked for";
	f->next += d->n;
	return NULL;
}

static const char *check_end(const struct flight *f, const struct wire_end *end)
{
	if (!f->head_seen)
		return "an end before its head";
	if (end->bytes != f->next - f->first)
		return "a wrong count of bytes";
	if (f->end ? f->next != f->end : f->total != WIRE_UNKNOWN && f->next != f->total)
		return "an end before the last byte";
	return NULL;
}

static const char *check_answer(struct flight *f, const struct wire_msg *m)
{
	bool fits = f->post ? m->type == WIRE_REPLY : m->type != WIRE_REPLY;

	if (m->type == WIRE_FAIL || m->type == WIRE_NOTE)
		return NULL;
	if (!fits)
		return "an answer of another kind than what was asked";
	if (m->type == WIRE_HEAD)
		return check_head(f, &m->head);
	if (m->type == WIRE_DATA)
		return check_data(f, &m->data);
	return m->type == WIRE_END ? check_end(f, &m->end) : NULL;
}

/* Whether m may be passed on: 1 yes, 0 swallow it. */
static int client_check(struct wire_client *c, const struct wire_msg *m, struct err *e)
{
	struct flight *f = m->id ? flight_find(c, m->id) : NULL;
	const char *lie;
	bool cancelled;

	if (!c->greeted) {
		if (m->type != WIRE_HELLO)
			return err_set(e, ERR_REFUSED, EBADMSG,
				       "proa-fetch misbehaved: it did not greet");
		if (m->version != WIRE_VERSION)
			return err_set(e, ERR_HOST, EPROTO,
				       "proa-fetch speaks version %u of the wire, this program "
				       "speaks %u; install both from one release",
				       m->version, WIRE_VERSION);
		c->greeted = true;
		return 0;
	}
	if (!f)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "proa-fetch misbehaved: a message about request %u, which is not "
			       "running",
			       m->id);
	cancelled = f->cancelled;
	lie = check_answer(f, m);
	if (lie)
		return err_set(e, ERR_REFUSED, EBADMSG, "proa-fetch misbehaved: %s", lie);
	if (m->type == WIRE_END || m->type == WIRE_FAIL || m->type == WIRE_REPLY)
		f->id = 0;
	return !cancelled;
}

int wire_client_next(struct wire_client *c, int timeout_ms, const struct wire_msg **ret,
		     struct err *e)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;

	for (;;) {
		int r = wire_recv(c->fd, WIRE_FETCH, c->frame, &c->msg, e);

		if (r == 0)
			return err_set(e, ERR_RETRY, EPIPE, "proa-fetch is gone");
		if (r == -EAGAIN) {
			r = wait_until(c, POLLIN, deadline, e);
			if (r <= 0)
				return r;
			continue;
		}
		if (r == -EBADMSG)
			return err_wrap(e, r, "proa-fetch misbehaved");
		if (r > 0)
			r = client_check(c, &c->msg, e);
		if (r < 0)
			return r;
		if (r > 0) {
			*ret = &c->msg;
			return 1;
		}
	}
}

int wire_fail_err(const struct wire_fail *f, struct err *e)
{
	bool gone = f->status == 404 || f->status == 410;

	return err_set(e, f->kind, gone ? ENOENT : EREMOTEIO, "%s", f->text);
}
