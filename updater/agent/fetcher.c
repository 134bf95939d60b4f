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
#include "updater/agent/fetcher_core.h"

enum {
	SILENCE_MS = 600000, /* longer than proa-fetch waits between two attempts */
	NOTES_MAX = 10000,   /* without anything else between them */
	END_MS = 2000,       /* for the child to end after it was hung up on */
	END_STEP_MS = 10,
	ROOM_MS = 100,
	GLANCE_S = 15, /* for a file that is only looked at */
	BRIEF_S = 60,  /* for one that other mirrors have too */
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

static int take_urls(struct fetcher *f, const char *urls, struct err *e)
{
	char *save = NULL;

	f->urls = strdup(urls);
	if (!f->urls)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	for (char *u = strtok_r(f->urls, " ", &save); u; u = strtok_r(NULL, " ", &save)) {
		if (f->mirrors == MIRRORS_MAX)
			return err_set(e, ERR_INPUT, E2BIG,
				       "proa.conf: [Source] URL= has more than %u mirrors",
				       MIRRORS_MAX);
		f->mirror[f->mirrors++].url = u;
	}
	if (f->mirrors == 0)
		return err_set(e, ERR_INPUT, ENOENT,
			       "proa.conf: [Source] URL= is not set: say where the releases are");
	return 0;
}

int fetcher_reach(const struct fetcher_link *link, struct wire_client **ret, pid_t *ret_pid,
		  struct err *e)
{
	const char *argv[] = { link->program, NULL };
	int fd = -1, r;

	if (link->program)
		r = spawn_peer(argv, SOCK_SEQPACKET, ret_pid, &fd, e);
	else
		r = service_connect(link->socket, &fd, e);
	if (r == 0)
		r = wire_client_new(fd, ret, e);
	if (r == 0 && link->wait)
		wire_client_set_wait(*ret, link->wait, link->arg);
	return r;
}

static int reach(struct fetcher *f, const struct fetcher_link *link, struct err *e)
{
	int r = fetcher_reach(link, &f->wire, &f->pid, e);

	if (r == 0 && (f->limit.most || f->limit.least_s))
		r = wire_client_limit(f->wire, &f->limit, e);
	return r;
}

int fetcher_new(const struct fetcher_link *link, struct fetcher **ret, struct err *e)
{
	struct fetcher *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	f->note = link->note;
	f->arg = link->arg;
	f->limit.most = link->limit;
	f->limit.least_s = link->min_time_s;
	f->limit.least = link->min_time_s ? link->min_rate : 0;
	f->deadline_s = link->deadline_s;
	r = take_urls(f, link->url, e);
	if (r == 0)
		r = reach(f, link, e);
	if (r < 0) {
		fetcher_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

/* It holds nothing that could be lost, and one that was taken over may choose not to end. */
void fetcher_leave(pid_t pid)
{
	if (pid <= 0)
		return;
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
	fetcher_pass_drop(f);
	wire_client_free(f->wire); /* hangs up: the child ends */
	fetcher_leave(f->pid);
	while (f->blobs) {
		struct fetcher_blob *b = f->blobs;

		f->blobs = b->next;
		free(b);
	}
	free(f->urls);
	free(f);
}

uint64_t fetcher_received(const struct fetcher *f)
{
	return f->received;
}

uint64_t fetcher_requests(const struct fetcher *f)
{
	return f->requests;
}

void fetcher_limit(struct fetcher *f, uint64_t limit)
{
	f->limit.most = limit;
	f->limit_new = true;
}

void fetcher_pause(struct fetcher *f, bool paused)
{
	f->paused = paused;
}

/* --- mirrors --- */

size_t fetcher_mirrors(const struct fetcher *f)
{
	return f->mirrors;
}

struct fetcher_mirror fetcher_mirror(const struct fetcher *f, size_t i)
{
	return (struct fetcher_mirror){ .url = f->mirror[i].url,
					.error = f->mirror[i].error,
					.received = f->mirror[i].received };
}

void fetcher_use(struct fetcher *f, size_t i, enum fetcher_patience patience)
{
	f->now = i;
	f->patience = patience;
}

size_t fetcher_used(const struct fetcher *f)
{
	return f->now;
}

void fetcher_fault(struct fetcher *f, size_t i, const char *text)
{
	char note[sizeof(f->mirror[i].error) + 32];

	wire_text_set(f->mirror[i].error, text);
	(void)snprintf(note, sizeof(note), "one of the mirrors failed: %s", f->mirror[i].error);
	if (f->note && f->mirrors > 1)
		f->note(f->arg, note);
}

int fetcher_url(const struct fetcher *f, size_t i, const char *path, char out[WIRE_URL_MAX + 1],
		struct err *e)
{
	int n = snprintf(out, WIRE_URL_MAX + 1, "%s%s", f->mirror[i].url, path);

	if (n < 0 || n > (int)WIRE_URL_MAX)
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "%s%s: URL too long", f->mirror[i].url,
			       path);
	return 0;
}

uint32_t fetcher_tries(enum fetcher_patience patience)
{
	return patience == FETCHER_PATIENT ? 0 : patience == FETCHER_BRIEF ? 2 : 1;
}

/* --- events --- */

static int say_limit(struct fetcher *f, struct err *e)
{
	if (!f->limit_new)
		return 0;
	f->limit_new = false;
	return wire_client_limit(f->wire, &f->limit, e);
}

int fetcher_event(struct fetcher *f, int timeout_ms, const struct wire_msg **ret, struct err *e)
{
	for (unsigned notes = 0; notes < NOTES_MAX; notes++) {
		int r = say_limit(f, e);

		if (r < 0)
			return r;
		r = wire_client_next(f->wire, timeout_ms, ret, e);
		if (r <= 0 || (*ret)->type != WIRE_NOTE)
			return r;
		if (f->note)
			f->note(f->arg, (*ret)->note.text);
	}
	return err_set(e, ERR_REFUSED, EBADMSG, "proa-fetch misbehaved: nothing but notes");
}

int fetcher_next(struct fetcher *f, const struct wire_msg **ret, struct err *e)
{
	int r = fetcher_event(f, SILENCE_MS, ret, e);

	if (r < 0)
		return r;
	if (r == 0)
		return err_set(e, ERR_RETRY, ETIMEDOUT,
			       "proa-fetch has said nothing for %d minutes", SILENCE_MS / 60000);
	return 0;
}

int fetcher_await_room(struct fetcher *f, struct err *e)
{
	const struct wire_msg *m;

	for (int ms = 0; ms < SILENCE_MS; ms += ROOM_MS) {
		int r = wire_client_room(f->wire) ? 1 : fetcher_event(f, ROOM_MS, &m, e);

		if (r < 0)
			return r;
		if (wire_client_room(f->wire))
			return 0;
	}
	return err_set(e, ERR_RETRY, ETIMEDOUT, "proa-fetch does not end what was given up");
}

/* --- files --- */

/* Until the end of request id. */
static int collect(struct fetcher *f, uint32_t id, size_t max, struct buf *out, bool *ret_found,
		   struct err *e)
{
	const struct wire_msg *m;
	int r;

	for (;;) {
		r = fetcher_next(f, &m, e);
		if (r < 0)
			return r;
		if (m->id != id) /* the end of an older one */
			continue;
		if (m->type == WIRE_END)
			return 0;
		if (m->type == WIRE_FAIL) {
			r = wire_fail_err(&m->fail, e);
			if (r != -ENOENT && m->fail.status != 403)
				return r;
			*ret_found = false;
			return 0;
		}
		if (m->type != WIRE_DATA)
			continue;
		f->received += m->data.n;
		f->mirror[f->now].received += m->data.n;
		r = buf_add(out, m->data.p, m->data.n, e);
		if (r < 0)
			return r;
		if (out->n > max)
			return wire_client_cancel(f->wire, id, e);
	}
}

int fetcher_file(struct fetcher *f, const char *path, size_t max, struct buf *out, bool *ret_found,
		 struct err *e)
{
	struct wire_get get = { .max_bytes = max + 1,
				.tries = fetcher_tries(f->patience),
				.deadline_s = f->deadline_s };
	uint32_t id, most = f->patience == FETCHER_GLANCE  ? GLANCE_S
			    : f->patience == FETCHER_BRIEF ? BRIEF_S
							   : WIRE_SECONDS_MAX;
	struct err bad = ERR_INIT;
	bool found = true;
	int r;

	if (get.deadline_s == 0 || get.deadline_s > most)
		get.deadline_s = most;
	fetcher_pass_drop(f);
	r = fetcher_url(f, f->now, path, get.url, e);
	if (r == 0)
		r = fetcher_await_room(f, e);
	if (r == 0)
		r = wire_client_get(f->wire, &get, &id, e);
	if (r != 0)
		return r;
	f->requests++;
	r = collect(f, id, max, out, &found, &bad);
	if (r < 0 && strncmp(bad.text, get.url, strlen(get.url)) == 0)
		return err_set(e, bad.kind, -r, "%s", bad.text);
	if (r < 0) /* the other side did not name the URL */
		return err_set(e, bad.kind, -r, "%s: %s", get.url, bad.text);
	*ret_found = found;
	return 0;
}
