/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/agent/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/progress.h"
#include "base/spawn.h"
#include "updater/hook/find.h"

enum { GRACE_MS = 15000 }; /* for hooks that are ended to end */

struct talk {
	int fd;
	pid_t pid;
};

/* Hanging up ends the hooks, and with them the child. */
static void talk_done(struct talk *t)
{
	if (t->fd >= 0)
		(void)close(t->fd);
	if (t->pid > 0)
		(void)waitpid(t->pid, NULL, 0);
}

static int service(const char *path, int *ret, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, os;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, ERR_INPUT, ENAMETOOLONG, "[Hooks] Socket=%.80s: too long", path);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, ERR_HOST, errno, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		os = errno;
		(void)close(fd);
		return err_set(
			e, ERR_HOST, os,
			"cannot reach proa-hook at %s: %s (systemctl start proa-hook.socket)", path,
			strerror(os));
	}
	*ret = fd;
	return 0;
}

static int reach(const struct hooks_link *l, struct talk *t, struct err *e)
{
	const char *argv[] = { l->program, NULL };
	int r = l->program ? spawn_peer(argv, SOCK_SEQPACKET, &t->pid, &t->fd, e)
			   : service(l->socket, &t->fd, e);

	if (r == 0 && fcntl(t->fd, F_SETFL, O_NONBLOCK) < 0)
		return err_set(e, ERR_HOST, errno, "cannot use a socket: %s", strerror(errno));
	return r;
}

static int wait_poll(void *arg, int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r = poll(&p, 1, timeout_ms);

	(void)arg;
	return r < 0 && errno == EINTR ? 0 : r;
}

static int await(const struct hooks_link *l, const struct talk *t, uint64_t end, struct err *e)
{
	wire_wait_fn fn = l->wait ? l->wait : wait_poll;

	for (;;) {
		uint64_t now = clock_mono_ms();
		int r = now < end ? fn(l->arg, t->fd, POLLIN, (int)(end - now)) : 0;

		if (r < 0)
			return err_set(e, ERR_RETRY, ECANCELED, "hooks: cancelled");
		if (r > 0)
			return 0;
		if (now >= end)
			return err_set(e, ERR_HOST, ETIMEDOUT, "proa-hook does not answer");
	}
}

static int ask_and_wait(const struct hooks_link *l, const struct talk *t,
			const struct hook_ask *ask, struct hook_answer *ret, struct err *e)
{
	char packet[HOOK_PACKET_MAX];
	AUTO_BUF b = BUF_INIT;
	ssize_t n;
	int r = hook_ask_format(ask, &b, e);

	if (r < 0)
		return r;
	if (send(t->fd, b.p, b.n, MSG_NOSIGNAL) < 0)
		return err_set(e, ERR_HOST, errno, "cannot ask proa-hook: %s", strerror(errno));
	r = await(l, t, clock_mono_ms() + (uint64_t)ask->timeout_s * 1000 + GRACE_MS, e);
	if (r < 0)
		return r;
	n = recv(t->fd, packet, sizeof(packet), MSG_TRUNC);
	if (n <= 0 || (size_t)n > sizeof(packet))
		return err_set(e, ERR_HOST, EPIPE,
			       "proa-hook ended without an answer (journalctl -u 'proa-hook@*')");
	return hook_answer_parse(packet, (size_t)n, ret, e);
}

/* Somebody looks before a process is started: most hosts have no hooks. */
static int any(const struct hook_ask *ask, bool *ret, struct err *e)
{
	AUTO_FREE struct hook_file *file = calloc(HOOK_FILES_MAX, sizeof(*file));
	size_t n = 0;
	int r;

	*ret = true;
	if (ask->stage == HOOK_SENTINEL)
		return 0;
	if (!file)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	r = hook_find(ask->dirs, ask->stage, file, &n, e);
	*ret = n > 0;
	return r;
}

int hooks_run(const struct hooks_link *l, const struct hook_ask *ask, struct hook_answer *ret,
	      struct err *e)
{
	CLEANUP(talk_done) struct talk t = { .fd = -1 };
	bool some;
	int r = any(ask, &some, e);

	if (r < 0)
		return r;
	if (!some) {
		*ret = (struct hook_answer){ .ok = true };
		return 0;
	}
	r = reach(l, &t, e);
	return r < 0 ? r : ask_and_wait(l, &t, ask, ret, e);
}
