/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/fetch/get.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/progress.h"
#include "base/text.h"
#include "updater/fetch/sandbox.h"
#include "updater/fetch/serve.h"
#include "updater/wire/client.h"

struct getting {
	const struct fetch_get *get;
	struct wire_client *client;
	pid_t child;
	FILE *out;
	char *part; /* "<output>.part" */
	uint64_t done, skip;
	struct progress progress;
	bool began;
};

static void getting_done(struct getting *g)
{
	wire_client_free(g->client); /* hangs up, so the child ends */
	if (g->child > 0)
		(void)waitpid(g->child, NULL, 0);
	if (g->out && g->out != stdout)
		(void)fclose(g->out);
	if (g->part)
		(void)unlink(g->part);
	free(g->part);
}

__attribute__((noreturn)) static void child_run(int fd, pid_t parent,
						const struct fetch_settings *s)
{
	struct err e = ERR_INIT;
	int r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	r = fetch_sandbox_enter(&e);
	if (r == 0)
		r = fetch_serve(fd, s, &e);
	if (r < 0)
		(void)fprintf(stderr, "proa-fetch: %s\n", e.text);
	_exit(r < 0 ? 1 : 0);
}

static int child_start(struct getting *g, const struct fetch_settings *s, struct err *e)
{
	pid_t parent = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(e, ERR_HOST, errno, "cannot make a socket: %s", strerror(errno));
	g->child = fork();
	if (g->child == 0) {
		(void)close(pair[0]);
		child_run(pair[1], parent, s);
	}
	(void)close(pair[1]);
	if (g->child < 0) {
		(void)close(pair[0]);
		return err_set(e, ERR_HOST, errno, "cannot fork: %s", strerror(errno));
	}
	return wire_client_new(pair[0], &g->client, e);
}

static int output_open(struct getting *g, struct err *e)
{
	const char *output = g->get->output;
	size_t n;
	int fd;

	g->out = stdout;
	if (!output)
		return 0;
	n = strlen(output) + sizeof(".part");
	g->part = malloc(n);
	if (!g->part)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	(void)snprintf(g->part, n, "%s.part", output);
	fd = open(g->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	g->out = fd < 0 ? NULL : fdopen(fd, "wb");
	if (!g->out) {
		int os = errno;

		if (fd >= 0)
			(void)close(fd);
		else
			free(TAKE(g->part)); /* not ours to remove */
		return err_set(e, ERR_HOST, os, "cannot write '%s.part': %s", output, strerror(os));
	}
	return 0;
}

static int output_close(struct getting *g, struct err *e)
{
	FILE *out = TAKE(g->out);
	int bad = out == stdout ? fflush(out) : fclose(out);

	if (bad == 0 && g->part)
		bad = rename(g->part, g->get->output);
	if (bad)
		return err_set(e, ERR_HOST, errno, "cannot write '%s': %s",
			       g->get->output ? g->get->output : "standard output",
			       strerror(errno));
	if (g->part)
		free(TAKE(g->part));
	return 0;
}

static void take_head(struct getting *g, const struct wire_head *h)
{
	uint64_t total = g->get->length;

	if (total == 0 && h->total != WIRE_UNKNOWN)
		total = h->total - g->get->offset;
	g->skip = g->get->offset - h->offset;
	if (g->get->quiet)
		return;
	if (g->skip > 0)
		(void)fprintf(stderr,
			      "proa-fetch: the server has no ranges, reading from the start\n");
	progress_begin(&g->progress, stderr, "fetching", total, clock_mono_ms());
	g->began = true;
}

static int take_data(struct getting *g, const struct wire_data *d, struct err *e)
{
	size_t skip = g->skip < d->n ? (size_t)g->skip : d->n, n = d->n - skip;

	g->skip -= skip;
	if (n > 0 && fwrite(d->p + skip, 1, n, g->out) != n)
		return err_set(e, ERR_HOST, errno, "cannot write '%s': %s",
			       g->get->output ? g->get->output : "standard output",
			       strerror(errno));
	g->done += n;
	if (g->began)
		progress_set(&g->progress, g->done, clock_mono_ms());
	return 0;
}

static void progress_stop(struct getting *g)
{
	if (g->began)
		progress_end(&g->progress);
	g->began = false;
}

static void say_end(const struct getting *g, const struct wire_end *end, uint64_t ms)
{
	char bytes[32];

	if (g->get->quiet)
		return;
	(void)fprintf(stderr,
		      "fetched    %s in %" PRIu64 ".%" PRIu64 " s, %u request%s, %u retr%s\n",
		      text_bytes(g->done, bytes, sizeof(bytes)), ms / 1000, ms % 1000 / 100,
		      end->requests, end->requests == 1 ? "" : "s", end->retries,
		      end->retries == 1 ? "y" : "ies");
}

/* Until END: 0, or the FAIL or whatever else went wrong. */
static int receive(struct getting *g, struct err *e)
{
	uint64_t start = clock_mono_ms();

	for (;;) {
		const struct wire_msg *m;
		int r = wire_client_next(g->client, -1, &m, e);

		if (r < 0)
			return r;
		if (m->type == WIRE_HEAD)
			take_head(g, &m->head);
		else if (m->type == WIRE_NOTE && !g->get->quiet)
			(void)fprintf(stderr, "proa-fetch: %s\n", m->note.text);
		else if (m->type == WIRE_DATA)
			r = take_data(g, &m->data, e);
		else if (m->type == WIRE_FAIL)
			r = wire_fail_err(&m->fail, e);
		if (r < 0 || m->type == WIRE_END) {
			progress_stop(g);
			if (r >= 0)
				say_end(g, &m->end, clock_mono_ms() - start);
			return r < 0 ? r : 0;
		}
	}
}

int fetch_get_run(const struct fetch_get *get, const struct fetch_settings *s, struct err *e)
{
	CLEANUP(getting_done) struct getting g = { .get = get };
	struct wire_get *w = calloc(1, sizeof(*w));
	uint32_t id;
	int r;

	if (!w)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	(void)snprintf(w->url, sizeof(w->url), "%s", get->url);
	(void)snprintf(w->etag, sizeof(w->etag), "%s", get->etag);
	w->offset = get->offset;
	w->length = get->length;
	w->max_bytes = get->max_bytes;
	r = child_start(&g, s, e);
	if (r == 0)
		r = wire_client_get(g.client, w, &id, e);
	free(w);
	if (r == 0)
		r = output_open(&g, e);
	if (r == 0)
		r = receive(&g, e);
	if (r == 0)
		r = output_close(&g, e);
	return r;
}
