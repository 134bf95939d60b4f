/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sys.h"

#include <errno.h>

int sys_read_full(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	char *p = buf;
	size_t done = 0;

	while (done < n) {
		ssize_t r = s->ops->pread(s, fd, p + done, n - done, off + done);

		if (r < 0)
			return (int)r;
		if (r == 0)
			return -ENODATA;
		done += (size_t)r;
	}
	return 0;
}

int sys_write_full(struct sys *s, int fd, const void *buf, size_t n, uint64_t off)
{
	const char *p = buf;
	size_t done = 0;

	while (done < n) {
		ssize_t w = s->ops->pwrite(s, fd, p + done, n - done, off + done);

		if (w < 0)
			return (int)w;
		if (w == 0)
			return -EIO;
		done += (size_t)w;
	}
	return 0;
}
