/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sys.h"

enum { NAME_BYTES = 256, FIRST_READ = 4096 };

static int sync_dir(struct sys *sys, int dir, const char *name, struct err *e)
{
	int r = sys->ops->sync(sys, dir);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "sync the directory of '%s': %s", name,
			       strerror(-r));
	return 0;
}

/* The new content under its temporary name, on the medium. */
static int write_temp(struct sys *sys, int dir, const char *tmp, const void *data, size_t n,
		      struct err *e)
{
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };
	int r;

	f.fd = sys->ops->open(sys, dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			      0666);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "create '%s': %s", tmp, strerror(-f.fd));
	r = sys_write_full(sys, f.fd, data, n, 0);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "write '%s': %s", tmp, strerror(-r));
	r = sys->ops->sync(sys, f.fd);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "sync '%s': %s", tmp, strerror(-r));
	return 0;
}

int file_replace(struct sys *sys, int dir, const char *name, const void *data, size_t n,
		 struct err *e)
{
	char tmp[NAME_BYTES];
	int r;

	r = snprintf(tmp, sizeof(tmp), ".%s.new", name);
	if (r < 0 || (size_t)r >= sizeof(tmp))
		return err_set(e, ERR_BUG, ENAMETOOLONG, "file name '%.80s...' too long", name);
	if (strchr(name, '/'))
		return err_set(e, ERR_BUG, EINVAL, "file name '%s' holds a '/'", name);

	r = write_temp(sys, dir, tmp, data, n, e);
	if (r < 0) {
		/* best effort: a full disk must not stay full of our leftovers */
		(void)sys->ops->unlink(sys, dir, tmp);
		return err_wrap(e, r, "replace '%s'", name);
	}
	r = sys->ops->rename(sys, dir, tmp, name);
	if (r < 0) {
		(void)sys->ops->unlink(sys, dir, tmp);
		return err_set(e, ERR_HOST, -r, "rename '%s' to '%s': %s", tmp, name, strerror(-r));
	}
	return sync_dir(sys, dir, name, e);
}

/* Makes room for at least one byte more; cap never passes max + 1 (the byte that tells EFBIG). */
static int grow(char **p, size_t *cap, size_t max)
{
	size_t want = *cap ? *cap * 2 : FIRST_READ;
	char *q;

	if (want > max + 1)
		want = max + 1;
	q = realloc(*p, want + 1);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

int file_read(struct sys *sys, int dir, const char *name, size_t max, char **ret, size_t *ret_n,
	      struct err *e)
{
	AUTO_SYS_FD f = { .sys = sys, .fd = -1 };
	AUTO_FREE char *p = NULL;
	size_t n = 0, cap = 0;
	uint64_t size;

	if (max > SIZE_MAX / 4)
		max = SIZE_MAX / 4;
	f.fd = sys->ops->open(sys, dir, name, O_RDONLY | O_CLOEXEC, 0);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, -f.fd, "open '%s': %s", name, strerror(-f.fd));
	/* a hint for the first buffer only: procfs and sysfs say 0, efivarfs wants one big read */
	if (sys->ops->size(sys, f.fd, &size) >= 0 && size >= FIRST_READ && size <= max)
		cap = (size_t)size / 2 + 1;

	for (;;) {
		ssize_t r;

		if (n == cap || !p) {
			if (n > max)
				return err_set(e, ERR_INPUT, EFBIG, "'%s' is larger than %zu bytes",
					       name, max);
			if (grow(&p, &cap, max) < 0)
				return err_set(e, ERR_HOST, ENOMEM, "read '%s': out of memory",
					       name);
		}
		r = sys->ops->pread(sys, f.fd, p + n, cap - n, n);
		if (r < 0)
			return err_set(e, ERR_HOST, (int)-r, "read '%s': %s", name,
				       strerror((int)-r));
		if (r == 0)
			break;
		n += (size_t)r;
	}
	if (n > max)
		return err_set(e, ERR_INPUT, EFBIG, "'%s' is larger than %zu bytes", name, max);
	p[n] = '\0';
	*ret = TAKE(p);
	*ret_n = n;
	return 0;
}

int file_mkdir(struct sys *sys, int dir, const char *name, struct err *e)
{
	int r = sys->ops->mkdir(sys, dir, name, 0755);

	if (r < 0 && r != -EEXIST)
		return err_set(e, ERR_HOST, -r, "make directory '%s': %s", name, strerror(-r));
	/* also when it was there: whoever made it may have lost power before its sync */
	return sync_dir(sys, dir, name, e);
}

int file_remove(struct sys *sys, int dir, const char *name, struct err *e)
{
	int r = sys->ops->unlink(sys, dir, name);

	if (r < 0 && r != -ENOENT)
		return err_set(e, ERR_HOST, -r, "remove '%s': %s", name, strerror(-r));
	return sync_dir(sys, dir, name, e);
}
