/* SPDX-License-Identifier: Apache-2.0 */
/* The storage seam on Linux, and the loops over short transfers, which only a fake can force. */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

static char dir_name[] = "/tmp/proa-sys-XXXXXX";

static int names_seen;

static int see(void *arg, const char *name)
{
	const char *stop = arg;

	CHECK(strcmp(name, ".") != 0 && strcmp(name, "..") != 0, "'%s'", name);
	names_seen++;
	return stop && strcmp(name, stop) == 0 ? 7 : 0;
}

static void check_list(struct sys *s, int dir)
{
	char stop[] = "b";

	names_seen = 0;
	CHECK(s->ops->list(s, dir, see, NULL) == 0 && names_seen == 2, "%d", names_seen);
	/* a second time: the first may not have moved anything */
	names_seen = 0;
	CHECK(s->ops->list(s, dir, see, NULL) == 0 && names_seen == 2, "%d", names_seen);
	CHECK(s->ops->list(s, dir, see, stop) == 7, "the callback's answer is handed on");
}

static void check_files(struct sys *s, int dir)
{
	uint64_t n = 0, before = 42;
	char got[8];
	int fd = s->ops->open(s, dir, "a", O_RDWR | O_CREAT | O_EXCL, 0600);

	CHECK(fd >= 0, "%d", fd);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC, "CLOEXEC is not set");
	CHECK(sys_write_full(s, fd, "hello", 5, 3) == 0, "write");
	CHECK(s->ops->size(s, fd, &n) == 0 && n == 8, "%ju", (uintmax_t)n);
	CHECK(sys_read_full(s, fd, got, 5, 3) == 0 && memcmp(got, "hello", 5) == 0, "read");
	CHECK(sys_read_full(s, fd, got, 6, 3) == -ENODATA, "past the end");
	CHECK(s->ops->pread(s, fd, got, 1, UINT64_MAX) == -EINVAL, "offset beyond off_t");
	CHECK(s->ops->pwrite(s, fd, got, 1, UINT64_MAX) == -EFBIG, "offset beyond off_t");
	CHECK(s->ops->truncate(s, fd, 4) == 0, "truncate");
	CHECK(s->ops->size(s, fd, &n) == 0 && n == 4, "%ju", (uintmax_t)n);
	CHECK(s->ops->sync(s, fd) == 0 && s->ops->forget(s, fd, 0, 4) == 0, "sync, forget");
	CHECK(s->ops->close(s, fd) == 0, "close");
	CHECK(s->ops->open(s, dir, "a", O_RDWR | O_CREAT | O_EXCL, 0600) == -EEXIST, "exclusive");
	CHECK(s->ops->rename(s, dir, "a", "b") == 0, "rename");
	CHECK(s->ops->open(s, dir, "a", O_RDONLY, 0) == -ENOENT, "the old name is gone");
	CHECK(s->ops->mkdir(s, dir, "d", 0700) == 0, "mkdir");
	CHECK(s->ops->mkdir(s, dir, "d", 0700) == -EEXIST, "mkdir again");
	CHECK(s->ops->size(s, dir, &before) == -EINVAL && before == 42, "a directory has no size");
	CHECK(s->ops->sync(s, dir) == 0, "sync a directory");
	CHECK(s->ops->space(s, dir, &n) == 0 && n > 0, "space");
	CHECK(s->ops->space(s, AT_FDCWD, &n) == 0 && n > 0, "space");
	check_list(s, dir);
	CHECK(s->ops->unlink(s, dir, "b") == 0, "unlink");
	CHECK(s->ops->unlink(s, dir, "b") == -ENOENT, "unlink again");
	CHECK(s->ops->close(s, -1) == -EBADF, "close");
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* A lock another process holds is waited for, through signals that interrupt the wait. */
static void check_lock(struct sys *s, int dir)
{
	struct sigaction sa = { .sa_handler = on_alarm }; /* without SA_RESTART */
	struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { { 0, 0 }, { 0, 0 } };
	int fd = s->ops->open(s, dir, "l", O_RDWR | O_CREAT, 0600), held[2], status;
	char c;
	pid_t pid;

	CHECK(fd >= 0 && pipe2(held, O_CLOEXEC) == 0, "setup");
	pid = fork();
	CHECK(pid >= 0, "fork");
	if (pid == 0) {
		int mine = s->ops->open(s, dir, "l", O_RDWR, 0);

		if (mine < 0 || s->ops->lock(s, mine) < 0 || write(held[1], "x", 1) != 1)
			_exit(1);
		(void)usleep(100000);
		/* the last thing before the lock goes with the process */
		_exit(write(held[1], "y", 1) != 1);
	}
	CHECK(read(held[0], &c, 1) == 1, "the child has no lock");
	(void)sigaction(SIGALRM, &sa, NULL);
	(void)setitimer(ITIMER_REAL, &often, NULL);
	CHECK(s->ops->lock(s, fd) == 0, "lock");
	(void)setitimer(ITIMER_REAL, &never, NULL);
	CHECK(fcntl(held[0], F_SETFL, O_NONBLOCK) == 0, "fcntl");
	CHECK(read(held[0], &c, 1) == 1 && c == 'y', "did not wait for the lock");
	CHECK(s->ops->close(s, fd) == 0, "close");
	CHECK(waitpid(pid, &status, 0) == pid && status == 0, "child: %d", status);
	(void)close(held[0]);
	(void)close(held[1]);
	CHECK(s->ops->unlink(s, dir, "l") == 0, "unlink");
}

/* Moves at most three bytes a call; with stuck set, none. */
struct fake {
	struct sys sys;
	char data[32];
	bool stuck;
	unsigned calls;
};

static ssize_t fake_pread(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	struct fake *f = (struct fake *)s;

	(void)fd;
	f->calls++;
	if (n > 3)
		n = 3;
	if (off >= sizeof(f->data))
		return 0;
	memcpy(buf, f->data + off, n);
	return (ssize_t)n;
}

static ssize_t fake_pwrite(struct sys *s, int fd, const void *buf, size_t n, uint64_t off)
{
	struct fake *f = (struct fake *)s;

	(void)fd;
	f->calls++;
	if (f->stuck)
		return 0;
	if (off >= 16)
		return -ENOSPC;
	if (n > 3)
		n = 3;
	memcpy(f->data + off, buf, n);
	return (ssize_t)n;
}

static void check_short(void)
{
	static const struct sys_ops ops = { .pread = fake_pread, .pwrite = fake_pwrite };
	struct fake f = { .sys = { &ops } };
	char got[11];

	CHECK(sys_write_full(&f.sys, 0, "hello world", 11, 2) == 0 && f.calls == 4, "%u", f.calls);
	CHECK(sys_read_full(&f.sys, 0, got, 11, 2) == 0 && memcmp(got, "hello world", 11) == 0,
	      "read");
	CHECK(sys_write_full(&f.sys, 0, "hello", 5, 14) == -ENOSPC, "the error is handed on");
	f.stuck = true;
	CHECK(sys_write_full(&f.sys, 0, "x", 1, 0) == -EIO, "nothing moves");
	CHECK(sys_write_full(&f.sys, 0, "", 0, 0) == 0, "nothing to move");
}

/* Some reads come whole, some short, some not at all, one may fail; the queue breaks at the end. */
struct fake_queue {
	struct fake f;
	unsigned opened, closed, asked;
	int fail_at, broken_at; /* which read fails, which call breaks the queue; -1: none */
};

static int fake_queue_open(struct sys *s, unsigned long *ret)
{
	*ret = 7;
	((struct fake_queue *)s)->opened++;
	return 0;
}

static int fake_queue_read(struct sys *s, unsigned long queue, int fd, struct sys_read *v, size_t n)
{
	struct fake_queue *q = (struct fake_queue *)s;

	CHECK(queue == 7 && n <= SYS_READS_MAX, "%lu, %zu reads", queue, n);
	for (size_t i = 0; i < n; i++) {
		CHECK(v[i].got == 0, "not zeroed");
		if (i % 3 != 1)
			v[i].got = fake_pread(s, fd, v[i].p, v[i].n, v[i].off);
		if (q->fail_at == (int)i)
			v[i].got = -EIO;
	}
	return q->broken_at == (int)q->asked++ ? -ENOSYS : 0;
}

static void fake_queue_close(struct sys *s, unsigned long queue)
{
	(void)queue;
	((struct fake_queue *)s)->closed++;
}

/* v[i]: five bytes at byte i. */
static void queue_fill(struct sys_read *v, char (*got)[5], size_t n)
{
	memset(got, 0, n * sizeof(*got));
	for (size_t i = 0; i < n; i++)
		v[i] = (struct sys_read){ .p = got[i], .n = 5, .off = i, .got = 9 };
}

static void check_queue_fake(void)
{
	static const struct sys_ops ops = { .pread = fake_pread,
					    .queue_open = fake_queue_open,
					    .queue_read = fake_queue_read,
					    .queue_close = fake_queue_close };
	struct fake_queue f = { .f.sys = { &ops }, .fail_at = -1, .broken_at = 2 };
	struct sys_queue q = { 0 };
	struct sys_read v[20];
	char got[20][5];

	memcpy(f.f.data, "abcdefghijklmnopqrstuvwxyz", 26);
	sys_queue_open(&q, &f.f.sys);
	for (unsigned call = 0; call < 4; call++) {
		queue_fill(v, got, 20);
		CHECK(sys_queue_read(&q, 0, v, 20) == 0, "call %u", call);
		for (size_t i = 0; i < 20; i++)
			CHECK(memcmp(got[i], f.f.data + i, 5) == 0, "call %u, read %zu", call, i);
	}
	CHECK(f.opened == 1 && f.asked == 3 && f.closed == 1, "a broken queue is closed: %u %u %u",
	      f.opened, f.asked, f.closed);
	sys_queue_done(&q);
	CHECK(f.closed == 1, "closed twice");

	f.fail_at = 4;
	sys_queue_open(&q, &f.f.sys);
	queue_fill(v, got, 20);
	CHECK(sys_queue_read(&q, 0, v, 20) == -EIO, "a read that failed");
	queue_fill(v, got, 20);
	v[1].off = sizeof(f.f.data);
	CHECK(sys_queue_read(&q, 0, v, 20) == -ENODATA, "the first that fails, past the end");
	sys_queue_done(&q);
	CHECK(f.opened == 2 && f.closed == 2, "%u %u", f.opened, f.closed);
}

/* Through the page cache and past it; the kernel's own queue or, where it has none, without. */
static void check_queue(struct sys *s, int dir)
{
	static _Alignas(4096) uint8_t data[64 * 4096], got[SYS_READS_MAX * 4096];
	struct sys_queue q = { 0 };
	struct sys_read v[SYS_READS_MAX];

	sys_queue_done(&q);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	for (int flags = 0; flags <= O_DIRECT; flags += O_DIRECT) {
		int fd = s->ops->open(s, dir, "q", O_RDWR | O_CREAT | flags, 0600);

		if (flags == O_DIRECT && fd == -EINVAL)
			continue; /* a file system without */
		CHECK(fd >= 0 && sys_write_full(s, fd, data, sizeof(data), 0) == 0, "write");
		sys_queue_open(&q, s);
		for (size_t i = 0; i < SYS_READS_MAX; i++)
			v[i] = (struct sys_read){ .p = got + i * 4096,
						  .n = 4096,
						  .off = i * 37 % 64 * 4096 };
		memset(got, 0, sizeof(got));
		CHECK(sys_queue_read(&q, fd, v, SYS_READS_MAX) == 0, "read");
		for (size_t i = 0; i < SYS_READS_MAX; i++)
			CHECK(memcmp(v[i].p, data + v[i].off, 4096) == 0, "read %zu", i);
		v[5].off = sizeof(data);
		CHECK(sys_queue_read(&q, fd, v, 8) == -ENODATA, "past the end");
		CHECK(sys_queue_read(&q, -1, v, 8) == -EBADF, "no descriptor");
		CHECK(sys_queue_read(&q, fd, v, 0) == 0, "nothing to read");
		sys_queue_done(&q);
		CHECK(s->ops->close(s, fd) == 0, "close");
	}
	CHECK(s->ops->unlink(s, dir, "q") == 0, "unlink");
}

int main(void)
{
	struct sys *s = sys_linux();

	CHECK(mkdtemp(dir_name), "mkdtemp");
	int dir = s->ops->open(s, AT_FDCWD, dir_name, O_RDONLY | O_DIRECTORY, 0);

	CHECK(dir >= 0, "open '%s'", dir_name);
	check_files(s, dir);
	check_lock(s, dir);
	check_short();
	check_queue_fake();
	check_queue(s, dir);
	(void)unlinkat(dir, "d", AT_REMOVEDIR);
	(void)close(dir);
	CHECK(rmdir(dir_name) == 0, "something is left in '%s'", dir_name);
	return 0;
}
