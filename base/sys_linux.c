/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/num.h"
#include "base/sys.h"

/* The value of call, asked again while a signal handler interrupted it. */
#define NO_INTR(call)                                                                              \
	__extension__({                                                                            \
		__typeof__(call) no_intr_r;                                                        \
		do                                                                                 \
			no_intr_r = (call);                                                        \
		while (no_intr_r < 0 && errno == EINTR);                                           \
		no_intr_r;                                                                         \
	})

static int linux_open(struct sys *s, int dir, const char *name, int flags, mode_t mode)
{
	int fd = NO_INTR(openat(dir, name, flags | O_CLOEXEC, mode));

	(void)s;
	return fd < 0 ? -errno : fd;
}

static ssize_t linux_pread(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	ssize_t r;

	(void)s;
	if (off > INT64_MAX)
		return -EINVAL;
	r = NO_INTR(pread(fd, buf, n, (off_t)off));
	return r < 0 ? -errno : r;
}

static ssize_t linux_pwrite(struct sys *s, int fd, const void *buf, size_t n, uint64_t off)
{
	ssize_t r;

	(void)s;
	if (off > INT64_MAX)
		return -EFBIG;
	r = NO_INTR(pwrite(fd, buf, n, (off_t)off));
	return r < 0 ? -errno : r;
}

static int linux_size(struct sys *s, int fd, uint64_t *ret)
{
	struct stat st;
	uint64_t n;

	(void)s;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		*ret = (uint64_t)st.st_size;
		return 0;
	}
	if (!S_ISBLK(st.st_mode))
		return -EINVAL;
	if (ioctl(fd, BLKGETSIZE64, &n) < 0)
		return -errno;
	*ret = n;
	return 0;
}

static int linux_truncate(struct sys *s, int fd, uint64_t n)
{
	(void)s;
	if (n > INT64_MAX)
		return -EFBIG;
	return NO_INTR(ftruncate(fd, (off_t)n)) < 0 ? -errno : 0;
}

static int linux_sync(struct sys *s, int fd)
{
	(void)s;
	return NO_INTR(fsync(fd)) < 0 ? -errno : 0;
}

static int linux_rename(struct sys *s, int dir, const char *from, const char *to)
{
	(void)s;
	return renameat(dir, from, dir, to) < 0 ? -errno : 0;
}

static int linux_unlink(struct sys *s, int dir, const char *name)
{
	(void)s;
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

static int linux_mkdir(struct sys *s, int dir, const char *name, mode_t mode)
{
	(void)s;
	return mkdirat(dir, name, mode) < 0 ? -errno : 0;
}

static int list_names(DIR *d, sys_list_fn fn, void *arg)
{
	for (;;) {
		struct dirent *de;
		int r;

		errno = 0;
		de = readdir(d);
		if (!de)
			return -errno;
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		r = fn(arg, de->d_name);
		if (r != 0)
			return r;
	}
}

static int linux_list(struct sys *s, int dir, sys_list_fn fn, void *arg)
{
	/* a description of its own: dup() would share the read position with every other caller */
	int fd = NO_INTR(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), r;
	DIR *d;

	(void)s;
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	r = list_names(d, fn, arg);
	(void)closedir(d);
	return r;
}

static int linux_space(struct sys *s, int dir, uint64_t *ret)
{
	struct statvfs v;
	uint64_t n;
	int r;

	(void)s;
	r = dir == AT_FDCWD ? NO_INTR(statvfs(".", &v)) : NO_INTR(fstatvfs(dir, &v));
	if (r < 0)
		return -errno;
	if (!num_mul(v.f_bavail, v.f_frsize, &n))
		n = UINT64_MAX;
	*ret = n;
	return 0;
}

static int linux_forget(struct sys *s, int fd, uint64_t off, uint64_t n)
{
	(void)s;
	if (off > INT64_MAX || n > INT64_MAX)
		return -EINVAL;
	return -posix_fadvise(fd, (off_t)off, (off_t)n, POSIX_FADV_DONTNEED);
}

static int linux_lock(struct sys *s, int fd)
{
	(void)s;
	return NO_INTR(flock(fd, LOCK_EX)) < 0 ? -errno : 0;
}

static int linux_queue_open(struct sys *s, unsigned long *ret)
{
	aio_context_t ctx = 0;

	(void)s;
	if (syscall(SYS_io_setup, SYS_READS_MAX, &ctx) < 0)
		return -errno;
	*ret = ctx;
	return 0;
}

/* Waits for what is under way. */
static void linux_queue_close(struct sys *s, unsigned long queue)
{
	(void)s;
	(void)syscall(SYS_io_destroy, queue);
}

/* Linux's older asynchronous I/O, which only direct I/O makes asynchronous. */
static int linux_queue_read(struct sys *s, unsigned long queue, int fd, struct sys_read *v,
			    size_t n)
{
	struct iocb cb[SYS_READS_MAX], *list[SYS_READS_MAX];
	struct io_event ended[SYS_READS_MAX];
	long started, r;

	(void)s;
	if (n > SYS_READS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		cb[i] = (struct iocb){ .aio_data = i,
				       .aio_lio_opcode = IOCB_CMD_PREAD,
				       .aio_fildes = (uint32_t)fd,
				       .aio_buf = (uintptr_t)v[i].p,
				       .aio_nbytes = v[i].n,
				       .aio_offset = (int64_t)v[i].off };
		list[i] = &cb[i];
	}
	started = syscall(SYS_io_submit, queue, n, list);
	if (started < 0)
		return -errno;
	for (long left = started; left > 0; left -= r) {
		r = NO_INTR(syscall(SYS_io_getevents, queue, left, left, ended, NULL));
		if (r < 0)
			return -errno;
		for (long i = 0; i < r; i++)
			v[ended[i].data].got = (ssize_t)ended[i].res;
	}
	return 0;
}

static int linux_close(struct sys *s, int fd)
{
	(void)s;
	/* never again after EINTR: Linux has given the descriptor back already */
	return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

struct sys *sys_linux(void)
{
	static const struct sys_ops ops = {
		.open = linux_open,
		.pread = linux_pread,
		.pwrite = linux_pwrite,
		.size = linux_size,
		.truncate = linux_truncate,
		.sync = linux_sync,
		.rename = linux_rename,
		.unlink = linux_unlink,
		.mkdir = linux_mkdir,
		.list = linux_list,
		.space = linux_space,
		.forget = linux_forget,
		.lock = linux_lock,
		.queue_open = linux_queue_open,
		.queue_read = linux_queue_read,
		.queue_close = linux_queue_close,
		.close = linux_close,
	};
	static struct sys self = { .ops = &ops };

	return &self;
}
