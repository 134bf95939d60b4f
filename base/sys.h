/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SYS_H
#define BASE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Every way Proa touches durable storage. main() passes sys_linux(), the crash tests pass
 * tests/sim/. All calls return >= 0 or -errno (-EINTR never); none of them logs or retries an
 * error. Short reads and writes are legal; sys_read_full() and sys_write_full() loop.
 *
 * dir is a directory descriptor from open() or AT_FDCWD; name is relative to it (or absolute).
 */
struct sys;

/* One of several reads: n bytes at `off` into p, of which `got` are there, or -errno. */
struct sys_read {
	void *p;
	size_t n;
	uint64_t off;
	ssize_t got;
};
#define SYS_READS_MAX ((size_t)64)

/* Called once per name in a directory, never for "." and ".."; a non-zero result stops. */
typedef int (*sys_list_fn)(void *arg, const char *name);

struct sys_ops {
	/* flags as open(2); O_CLOEXEC is always added */
	int (*open)(struct sys *s, int dir, const char *name, int flags, mode_t mode);
	ssize_t (*pread)(struct sys *s, int fd, void *buf, size_t n, uint64_t off);
	ssize_t (*pwrite)(struct sys *s, int fd, const void *buf, size_t n, uint64_t off);
	/* bytes in a regular file or on a block device */
	int (*size)(struct sys *s, int fd, uint64_t *ret);
	int (*truncate)(struct sys *s, int fd, uint64_t n);
	/* a file's data and size, or a directory's names, are on the medium when it returns */
	int (*sync)(struct sys *s, int fd);
	/* like rename(2) within one directory: an existing `to` is replaced */
	int (*rename)(struct sys *s, int dir, const char *from, const char *to);
	int (*unlink)(struct sys *s, int dir, const char *name);
	int (*mkdir)(struct sys *s, int dir, const char *name, mode_t mode);
	/* every name in the directory dir; the value of the fn call that stopped it, or 0 */
	int (*list)(struct sys *s, int dir, sys_list_fn fn, void *arg);
	/* bytes an unprivileged writer may still add to the file system that holds dir */
	int (*space)(struct sys *s, int dir, uint64_t *ret);
	/* drop [off, off+n) from the page cache, so that the next read comes from the medium */
	int (*forget)(struct sys *s, int fd, uint64_t off, uint64_t n);
	/* exclusive advisory lock, waits; close() gives it back */
	int (*lock)(struct sys *s, int fd);
	int (*close)(struct sys *s, int fd);
	/*
	 * All three may be NULL. A queue has up to SYS_READS_MAX reads under way at once;
	 * queue_read waits for all of them. What it left at got 0 was not read; when it fails the
	 * queue is of no more use, and buffers are free again when it is closed.
	 */
	int (*queue_open)(struct sys *s, unsigned long *ret);
	int (*queue_read)(struct sys *s, unsigned long queue, int fd, struct sys_read *v, size_t n);
	void (*queue_close)(struct sys *s, unsigned long queue);
};

struct sys {
	const struct sys_ops *ops;
};

struct sys *sys_linux(void);

/* Reads exactly n bytes at off. -ENODATA when the file ends before, else what pread says. */
int sys_read_full(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
	__attribute__((warn_unused_result));

/* Writes exactly n bytes at off, looping over short writes. -EIO when nothing moves. */
int sys_write_full(struct sys *s, int fd, const void *buf, size_t n, uint64_t off)
	__attribute__((warn_unused_result));

/*
 * Many short reads at once: one after the other, each of them costs what it takes to sleep and to
 * wake up. Where the system has no queue they are done one by one. Zeroed: not open.
 */
struct sys_queue {
	struct sys *sys;
	unsigned long id;
	bool open;
};
void sys_queue_open(struct sys_queue *q, struct sys *s);
void sys_queue_done(struct sys_queue *q);

/* Every one of v[0..n) exactly, n at most SYS_READS_MAX; as sys_read_full(), of the first that
 * fails. */
int sys_queue_read(struct sys_queue *q, int fd, struct sys_read *v, size_t n)
	__attribute__((warn_unused_result));

/* A descriptor that came from a struct sys, closed when it leaves scope. */
struct sys_fd {
	struct sys *sys;
	int fd;
};

static inline void sys_fd_done(struct sys_fd *f)
{
	if (f->fd >= 0)
		(void)f->sys->ops->close(f->sys, f->fd);
	f->fd = -1;
}
#define AUTO_SYS_FD __attribute__((cleanup(sys_fd_done))) struct sys_fd

#endif
