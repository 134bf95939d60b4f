/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { GRACE_MS = 2000, CHUNK = 4096, LISTEN_FD = 3, OUT_DEFAULT = 4096, LATE_CHUNKS = 256 };

struct fd {
	int n;
};

static void fd_done(struct fd *f)
{
	if (f->n >= 0)
		(void)close(f->n);
	f->n = -1;
}
#define AUTO_FD __attribute__((cleanup(fd_done))) struct fd

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static const char *path_entry(void)
{
	const char *p = getenv("PATH");

	return p && *p ? p : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* What the child needs, made before fork(): behind it only async-signal-safe calls are allowed. */
struct child {
	char *const *argv;
	char *const *envp;
	int in, out; /* -1: inherited */
	int peer;    /* becomes LISTEN_FD; -1: none */
	int report;  /* the errno of a failed start goes here; closed by exec */
	bool group, dies_with_parent;
	pid_t parent;
	char *listen_pid; /* room for the digits behind "LISTEN_PID=", or NULL */
};

static void put_decimal(char *p, unsigned v)
{
	char tmp[12];
	size_t n = 0;

	do {
		tmp[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	while (n > 0)
		*p++ = tmp[--n];
	*p = '\0';
}

static void child_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	/* blocked and ignored signals pass through exec, and a mask is not what a script expects */
	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &dfl, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_descriptors(const struct child *c)
{
	/* also what others gave us, or opened without CLOEXEC; before Linux 5.11 it stays open */
	(void)close_range(LISTEN_FD, UINT_MAX, CLOSE_RANGE_CLOEXEC);
	if (c->in >= 0 && dup2(c->in, STDIN_FILENO) < 0)
		return -errno;
	if (c->out >= 0 && (dup2(c->out, STDOUT_FILENO) < 0 || dup2(c->out, STDERR_FILENO) < 0))
		return -errno;
	if (c->peer == LISTEN_FD) {
		/* dup2() onto itself would leave CLOEXEC set */
		if (fcntl(LISTEN_FD, F_SETFD, 0) < 0)
			return -errno;
	} else if (c->peer >= 0 && dup2(c->peer, LISTEN_FD) < 0) {
		return -errno;
	}
	return 0;
}

static _Noreturn void child_run(const struct child *c)
{
	int os, r;

	if (c->group)
		(void)setpgid(0, 0);
	if (c->dies_with_parent) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != c->parent)
			_exit(127);
	}
	child_signals();
	r = child_descriptors(c);
	if (r == 0) {
		if (c->listen_pid)
			put_decimal(c->listen_pid, (unsigned)getpid());
		(void)execvpe(c->argv[0], c->argv, c->envp);
		r = -errno;
	}
	os = -r;
	(void)!write(c->report, &os, sizeof(os));
	_exit(127);
}

/* A descriptor that is none of 0 to 3, so that the child's dup2() never lands on one in use. */
static int lift(struct fd *f)
{
	int n;

	if (f->n > LISTEN_FD)
		return 0;
	n = fcntl(f->n, F_DUPFD_CLOEXEC, LISTEN_FD + 1);
	if (n < 0)
		return -errno;
	(void)close(f->n);
	f->n = n;
	return 0;
}

static int pipe_cloexec(struct fd *ret_r, struct fd *ret_w)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	ret_r->n = p[0];
	ret_w->n = p[1];
	return lift(ret_w);
}

/* fork and exec; an exec that fails is told through a pipe, so it is an error and not exit 127. */
static int start(struct child *c, pid_t *ret_pid, struct err *e)
{
	AUTO_FD from = { -1 };
	AUTO_FD to = { -1 };
	ssize_t n;
	pid_t pid;
	int os = 0, r;

	r = pipe_cloexec(&from, &to);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "start '%s': %s", c->argv[0], strerror(-r));
	c->report = to.n;
	c->parent = getpid();
	pid = fork();
	if (pid < 0) {
		r = errno;
		return err_set(e, ERR_HOST, r, "start '%s': %s", c->argv[0], strerror(r));
	}
	if (pid == 0)
		child_run(c);
	if (c->group)
		(void)setpgid(pid, pid); /* both do it: whoever comes first */
	fd_done(&to);
	do
		n = read(from.n, &os, sizeof(os));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(os)) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return err_set(e, ERR_HOST, os, "start '%s': %s", c->argv[0], strerror(os));
	}
	*ret_pid = pid;
	return 0;
}

/* Keeps the last max bytes of everything given. */
static int keep_tail(struct buf *b, size_t max, const char *p, size_t n, struct err *e)
{
	if (n > max) {
		p += n - max;
		n = max;
	}
	if (b->n + n > max) {
		size_t drop = b->n + n - max;

		memmove(b->p, b->p + drop, b->n - drop);
		b->n -= drop;
	}
	return buf_add(b, p, n, e);
}

struct watch {
	const struct spawn *s;
	pid_t pid;
	int out;   /* -1: not read (any more) */
	int pidfd; /* readable when the child has ended */
	int stop;  /* -1: none; hung up on: the deadline is now */
	bool stopped;
	uint64_t next_ms; /* when to send the next signal, 0: never */
	int next_sig;
	bool timed_out;
};

static int drain(struct watch *w, struct err *e)
{
	char chunk[CHUNK];
	ssize_t n = read(w->out, chunk, sizeof(chunk));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		w->out = -1;
		return 0;
	}
	return keep_tail(w->s->out, w->s->out_max ? w->s->out_max : OUT_DEFAULT, chunk, (size_t)n,
			 e);
}

static void signal_due(struct watch *w, uint64_t now)
{
	if (w->next_ms == 0 || now < w->next_ms)
		return;
	w->timed_out = true;
	(void)kill(-w->pid, w->next_sig);
	w->next_ms = w->next_sig == SIGTERM ? now + GRACE_MS : 0;
	w->next_sig = SIGKILL;
}

static int wait_ms(const struct watch *w, uint64_t now)
{
	if (w->next_ms == 0)
		return -1;
	if (w->next_ms <= now)
		return 0;
	return w->next_ms - now < 60000 ? (int)(w->next_ms - now) : 60000;
}

/*
 * Until the child has ended. What its own children still write to the pipe then is read only as far
 * as it is there already: a daemon left behind must not hold us.
 */
static int watch(struct watch *w, struct err *e)
{
	for (unsigned late = 0; late < LATE_CHUNKS;) {
		struct pollfd p[3] = { { .fd = w->pidfd, .events = POLLIN },
				       { .fd = w->out, .events = POLLIN },
				       { .fd = w->stopped ? -1 : w->stop } };
		int r = poll(p, 3, wait_ms(w, now_ms()));

		if (r < 0 && errno != EINTR)
			return err_set(e, ERR_HOST, errno, "watch '%s': %s", w->s->argv[0],
				       strerror(errno));
		if (r > 0 && p[1].revents && w->out >= 0) {
			late += p[0].revents != 0;
			r = drain(w, e);
			if (r < 0)
				return r;
		} else if (r > 0 && p[0].revents) {
			return 0;
		}
		if (r > 0 && (p[2].revents & (POLLHUP | POLLERR)) != 0) {
			w->stopped = true;
			if (w->next_sig == SIGTERM)
				w->next_ms = now_ms();
		}
		signal_due(w, now_ms());
	}
	return 0;
}

static int reap(const struct watch *w, struct spawn_result *ret, struct err *e)
{
	int status, r;

	do
		r = waitpid(w->pid, &status, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_set(e, ERR_HOST, errno, "wait for '%s': %s", w->s->argv[0],
			       strerror(errno));
	if (w->timed_out) {
		/* whatever of the group ignored TERM and outlived its leader */
		(void)kill(-w->pid, SIGKILL);
		ret->end = SPAWN_TIMEOUT;
	} else {
		ret->end = WIFSIGNALED(status) ? SPAWN_SIGNAL : SPAWN_EXIT;
	}
	ret->code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
	return 0;
}

static int run_child(const struct spawn *s, struct child *c, struct fd *out, struct fd *out_w,
		     struct spawn_result *ret, struct err *e)
{
	struct watch w = {
		.s = s, .out = -1, .next_sig = SIGTERM, .stop = s->stop_fd > 0 ? s->stop_fd : -1
	};
	AUTO_FD pidfd = { -1 };
	struct spawn_result res;
	int r;

	r = start(c, &w.pid, e);
	if (r < 0)
		return r;
	fd_done(out_w);
	w.out = out->n;
	if (s->deadline_ms)
		w.next_ms = now_ms() + s->deadline_ms;
	pidfd.n = (int)syscall(SYS_pidfd_open, w.pid, 0);
	w.pidfd = pidfd.n;
	if (pidfd.n < 0)
		r = err_set(e, ERR_HOST, errno, "watch '%s': %s", s->argv[0], strerror(errno));
	else
		r = watch(&w, e);
	if (r < 0)
		(void)kill(-w.pid, SIGKILL);
	if (reap(&w, &res, r < 0 ? NULL : e) < 0 && r == 0)
		r = -ECHILD;
	if (r < 0)
		return r;
	*ret = res;
	return 0;
}

int spawn_run(const struct spawn *s, struct spawn_result *ret, struct err *e)
{
	AUTO_BUF path = BUF_INIT;
	AUTO_FD null = { -1 };
	AUTO_FD out = { -1 };
	AUTO_FD out_w = { -1 };
	char lang[] = "LANG=C.UTF-8";
	char *env[3] = { NULL, lang, NULL };
	struct child c = { .in = -1, .out = -1, .peer = -1, .group = true };
	int r;

	r = buf_addf(&path, e, "PATH=%s", path_entry());
	if (r < 0)
		return r;
	env[0] = path.p;
	/* execvpe() takes them without const and does not write to them */
	memcpy(&c.argv, &s->argv, sizeof(c.argv));
	c.envp = env;
	if (s->envp)
		memcpy(&c.envp, &s->envp, sizeof(c.envp));
	null.n = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null.n < 0)
		return err_set(e, ERR_HOST, errno, "open '/dev/null': %s", strerror(errno));
	r = lift(&null);
	if (r == 0 && s->out)
		r = pipe_cloexec(&out, &out_w);
	if (r == 0 && s->out && fcntl(out.n, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "start '%s': %s", s->argv[0], strerror(-r));
	c.in = null.n;
	c.out = out_w.n;
	return run_child(s, &c, &out, &out_w, ret, e);
}

/* The last line of b that says something, made fit for a sentence. */
static char *last_line(const struct buf *b, char *out, size_t cap)
{
	size_t end = b->n, begin;

	while (end > 0 && strchr(" \t\r\n", b->p[end - 1]))
		end--;
	begin = end;
	while (begin > 0 && b->p[begin - 1] != '\n')
		begin--;
	if (cap > 0)
		out[0] = '\0';
	return end == 0 ? out : text_clean(b->p + begin, end - begin, out, cap);
}

int spawn_check(const char *const *argv, struct err *e)
{
	AUTO_BUF out = BUF_INIT;
	struct spawn s = { .argv = argv, .out = &out, .out_max = OUT_DEFAULT };
	struct spawn_result res;
	char line[200];
	int r = spawn_run(&s, &res, e);

	if (r < 0)
		return r;
	if (res.end == SPAWN_EXIT && res.code == 0)
		return 0;
	return err_set(e, ERR_HOST, EPROTO, "'%s' ended with %s %d%s%s", argv[0],
		       res.end == SPAWN_EXIT ? "exit status" : "signal", res.code,
		       out.n ? ": " : "", last_line(&out, line, sizeof(line)));
}

/* The parent's environment with LISTEN_FDS and LISTEN_PID in place of what it says of them. */
static char **peer_env(char *fds, char *pid)
{
	size_t n = 0, cap = 0;
	char **env;

	while (environ[cap])
		cap++;
	env = calloc(cap + 3, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < cap; i++) {
		if (strncmp(environ[i], "LISTEN_", 7) != 0)
			env[n++] = environ[i];
	}
	env[n++] = fds;
	env[n] = pid;
	return env;
}

int spawn_peer(const char *const *argv, int type, pid_t *ret_pid, int *ret_fd, struct err *e)
{
	char fds[] = "LISTEN_FDS=1", pid_text[32] = "LISTEN_PID=";
	AUTO_FREE char **env = peer_env(fds, pid_text);
	AUTO_FD ours = { -1 };
	AUTO_FD theirs = { -1 };
	struct child c = {
		.in = -1, .out = -1, .group = true, .dies_with_parent = true, .envp = env
	};
	int sv[2], r;

	if (!env)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sv) < 0)
		return err_set(e, ERR_HOST, errno, "socket pair: %s", strerror(errno));
	ours.n = sv[0];
	theirs.n = sv[1];
	r = lift(&theirs);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "start '%s': %s", argv[0], strerror(-r));
	memcpy(&c.argv, &argv, sizeof(c.argv));
	c.peer = theirs.n;
	c.listen_pid = pid_text + strlen(pid_text);
	r = start(&c, ret_pid, e);
	if (r < 0)
		return r;
	*ret_fd = ours.n;
	ours.n = -1;
	return 0;
}
