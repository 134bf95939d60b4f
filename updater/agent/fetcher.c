/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/fetcher.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/spawn.h"

enum {
	SILENCE_MS = 600000, /* longer than proa-fetch waits between two attempts */
	NOTES_MAX = 10000,   /* without anything else between them */
	END_MS = 2000,       /* for the child to end after it was hung up on */
	END_STEP_MS = 10,
};

struct fetcher {
	struct wire_client *wire;
	pid_t pid; /* of the child, 0: a service */
	char url[WIRE_URL_MAX + 1];
	void (*note)(void *arg, const char *text);
	void *arg;
	uint64_t received;

	/* the one source there may be */
	char name[WIRE_URL_MAX + 1];
	uint64_t bytes;
	const struct image_run *runs;
	size_t n_runs, next_run; /* next_run: to be asked for next */
	bool whole;              /* the server has no ranges: one stream from the start */
	uint32_t id;             /* the transfer under way, 0: none */
	uint64_t at;             /* offset in the blob of the next byte of the stream */
	uint64_t run_end;        /* of the run that is being read */
	uint64_t run_at;         /* offset of the next byte the reader wants */
	const uint8_t *p;        /* what is left of the last DATA */
	size_t n;
};

static int service_connect(const char *path, int *ret, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "[Fetch] Socket=%s: too long", path);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, ERR_HOST, errno, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int os = errno;

		(void)close(fd);
		return err_set(
			e, ERR_HOST, os,
			"cannot reach proa-fetch at %s: %s (systemctl start proa-fetch.socket)",
			path, strerror(os));
	}
	*ret = fd;
	return 0;
}

int fetcher_new(const struct fetcher_link *link, struct fetcher **ret, struct err *e)
{
	const char *argv[] = { link->program, NULL };
	struct fetcher *f;
	int fd = -1, r;

	if (!link->url[0])
		return err_set(e, ERR_INPUT, ENOENT,
			       "proa.conf: [Source] URL= is not set: say where the releases are");
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	(void)snprintf(f->url, sizeof(f->url), "%s", link->url);
	f->note = link->note;
	f->arg = link->arg;
	if (link->program)
		r = spawn_peer(argv, SOCK_SEQPACKET, &f->pid, &fd, e);
	else
		r = service_connect(link->socket, &fd, e);
	if (r == 0)
		r = wire_client_new(fd, &f->wire, e);
	if (r == 0 && link->wait)
		wire_client_set_wait(f->wire, link->wait, link->arg);
	if (r == 0 && link->limit)
		r = wire_client_limit(f->wire, link->limit, e);
	if (r < 0) {
		fetcher_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

/* It holds nothing that could be lost, and one that was taken over may choose not to end. */
static void child_end(pid_t pid)
{
	for (int ms = 0; ms < END_MS; ms += END_STEP_MS) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		(void)poll(NULL, 0, END_STEP_MS);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

void fetcher_free(struct fetcher *f)
{
	if (!f)
		return;
	wire_client_free(f->wire); /* hangs up: the child ends */
	if (f->pid > 0)
		child_end(f->pid);
	free(f);
}

uint64_t fetcher_received(const struct fetcher *f)
{
	return f->received;
}

static int make_url(const struct fetcher *f, const char *path, char out[WIRE_URL_MAX + 1],
		    struct err *e)
{
	int n = snprintf(out, WIRE_URL_MAX + 1, "%s%s", f->url, path);

	if (n < 0 || n > (int)WIRE_URL_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "%s%s: URL too long", f->url, path);
	return 0;
}

/* The next event that is not a NOTE. */
static int next_event(struct fetcher *f, const struct wire_msg **ret, struct err *e)
{
	for (unsigned notes = 0; notes < NOTES_MAX; notes++) {
		int r = wire_client_next(f->wire, SILENCE_MS, ret, e);

		if (r < 0)
			return r;
		if (r == 0)
			return err_set(e, ERR_RETRY, ETIMEDOUT,
				       "proa-fetch has said nothing for %d minutes",
				       SILENCE_MS / 60000);
		if ((*ret)->type != WIRE_NOTE)
			return 0;
		if (f->note)
			f->note(f->arg, (*ret)->note.text);
	}
	return err_set(e, ERR_REFUSED, EBADMSG, "proa-fetch misbehaved: nothing but notes");
}

static int collect(struct fetcher *f, const char *url, size_t max, struct buf *out, bool *ret_found,
		   struct err *e)
{
	const struct wire_msg *m;
	int r;

	for (;;) {
		r = next_event(f, &m, e);
		if (r < 0)
			return r;
		switch (m->type) {
		case WIRE_DATA:
			f->received += m->data.n;
			r = buf_add(out, m->data.p, m->data.n, e);
			if (r < 0)
				return err_wrap(e, r, "%s", url);
			if (out->n > max)
				return wire_client_cancel(f->wire, m->id, e);
			break;
		case WIRE_END:
			return 0;
		case WIRE_FAIL:
			r = wire_fail_err(&m->fail, e);
			if (r != -ENOENT && m->fail.status != 403)
				return err_wrap(e, r, "%s", url);
			*ret_found = false;
			return 0;
		case WIRE_HEAD:
		case WIRE_HELLO:
		case WIRE_GET:
		case WIRE_CANCEL:
		case WIRE_LIMIT:
		case WIRE_NOTE:
			break;
		}
	}
}

static void stop(struct fetcher *f)
{
	if (f->id && wire_client_cancel(f->wire, f->id, NULL) < 0)
		f->n_runs = 0; /* the wire is broken: the next call on it says why */
	f->id = 0;
	f->p = NULL;
	f->n = 0;
}

int fetcher_file(struct fetcher *f, const char *path, size_t max, struct buf *out, bool *ret_found,
		 struct err *e)
{
	struct wire_get get = { .max_bytes = max + 1 };
	bool found = true;
	uint32_t id;
	int r;

	stop(f);
	r = make_url(f, path, get.url, e);
	if (r < 0)
		return r;
	r = wire_client_get(f->wire, &get, &id, e);
	if (r == 0)
		r = collect(f, get.url, max, out, &found, e);
	if (r < 0)
		return r;
	*ret_found = found;
	return 0;
}

static int ask(struct fetcher *f, uint64_t off, uint64_t len, struct err *e)
{
	struct wire_get get = { .offset = off, .length = len, .max_bytes = f->bytes };
	int r;

	(void)snprintf(get.url, sizeof(get.url), "%s", f->name);
	r = wire_client_get(f->wire, &get, &f->id, e);
	if (r == 0)
		f->at = off;
	return r;
}

/* The server answers ranges with the whole file: one transfer from the start serves all runs. */
static int go_whole(struct fetcher *f, struct err *e)
{
	stop(f);
	f->whole = true;
	return ask(f, 0, 0, e);
}

static int take_head(struct fetcher *f, const struct wire_head *h, struct err *e)
{
	if (h->total != WIRE_UNKNOWN && h->total != f->bytes)
		return err_set(e, ERR_REFUSED, EBADMSG,
			       "%s: the server has %llu bytes, the signed manifest says %llu",
			       f->name, (unsigned long long)h->total, (unsigned long long)f->bytes);
	/* also when this run begins at 0: the next ones do not */
	if (!f->whole && (h->offset != f->at || (!h->ranged && f->n_runs > 1)))
		return go_whole(f, e);
	f->at = h->offset;
	return 0;
}

/* Makes f->p hold bytes. */
static int more(struct fetcher *f, struct err *e)
{
	const struct wire_msg *m;
	int r;

	while (f->n == 0) {
		if (!f->id)
			return err_set(e, ERR_REFUSED, EBADMSG, "%s: no bytes are left", f->name);
		r = next_event(f, &m, e);
		if (r < 0)
			return r;
		if (m->type == WIRE_HEAD) {
			r = take_head(f, &m->head, e);
			if (r < 0)
				return r;
		} else if (m->type == WIRE_DATA) {
			f->received += m->data.n;
			f->p = m->data.p;
			f->n = m->data.n;
		} else if (m->type == WIRE_FAIL) {
			f->id = 0;
			r = wire_fail_err(&m->fail, e);
			return err_wrap(e, r, "%s", f->name);
		} else if (m->type == WIRE_END) {
			f->id = 0;
			return err_set(e, ERR_REFUSED, EBADMSG, "%s: ended %llu bytes too early",
				       f->name, (unsigned long long)(f->run_end - f->run_at));
		}
	}
	return 0;
}

/* The END that follows the last byte of a ranged run. */
static int finish_run(struct fetcher *f, struct err *e)
{
	const struct wire_msg *m;
	int r = 0;

	while (f->id && r == 0) {
		r = next_event(f, &m, e);
		if (r == 0 && (m->type == WIRE_END || m->type == WIRE_FAIL))
			f->id = 0; /* a FAIL behind the last byte takes nothing away */
		else if (r == 0 && m->type == WIRE_DATA)
			return err_set(e, ERR_REFUSED, EBADMSG, "%s: more bytes than asked for",
				       f->name);
	}
	return r;
}

static int next_run(struct fetcher *f, struct err *e)
{
	const struct image_run *run = &f->runs[f->next_run];
	int r = 0;

	if (f->next_run >= f->n_runs)
		return err_set(e, ERR_BUG, EINVAL, "%s: read past the runs", f->name);
	if (!f->whole) {
		r = finish_run(f, e);
		if (r == 0)
			r = ask(f, run->off, run->len, e);
	}
	if (r < 0)
		return r;
	f->next_run++;
	f->run_at = run->off;
	f->run_end = run->off + run->len;
	return 0;
}

static int source_begin(void *arg, const struct image_run *runs, size_t n, struct err *e)
{
	struct fetcher *f = arg;

	stop(f);
	f->runs = runs;
	f->n_runs = n;
	f->next_run = 0;
	f->run_at = f->run_end = 0;
	if (f->whole)
		return ask(f, 0, 0, e);
	return 0;
}

static int source_read(void *arg, void *p, size_t n, struct err *e)
{
	struct fetcher *f = arg;
	uint8_t *out = p;
	size_t k;
	int r;

	while (n > 0) {
		if (f->run_at == f->run_end) {
			r = next_run(f, e);
			if (r < 0)
				return r;
		}
		r = more(f, e);
		if (r < 0)
			return r;
		if (f->at < f->run_at) { /* a gap: thrown away */
			k = f->run_at - f->at < f->n ? (size_t)(f->run_at - f->at) : f->n;
		} else {
			k = f->n < n ? f->n : n;
			k = f->run_end - f->run_at < k ? (size_t)(f->run_end - f->run_at) : k;
			memcpy(out, f->p, k);
			out += k;
			n -= k;
			f->run_at += k;
		}
		f->at += k;
		f->p += k;
		f->n -= k;
	}
	return 0;
}

int fetcher_source(struct fetcher *f, const char *path, uint64_t bytes, struct image_source *ret,
		   struct err *e)
{
	int r;

	stop(f);
	r = make_url(f, path, f->name, e);
	if (r < 0)
		return r;
	f->bytes = bytes;
	f->whole = false;
	f->runs = NULL;
	f->n_runs = f->next_run = 0;
	*ret = (struct image_source){
		.begin = source_begin, .read = source_read, .arg = f, .name = f->name
	};
	return 0;
}
