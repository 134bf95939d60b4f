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

void sys_queue_open(struct sys_queue *q, struct sys *s)
{
	*q = (struct sys_queue){ .sys = s };
	q->open = s->ops->queue_open && s->ops->queue_open(s, &q->id) >= 0;
}

void sys_queue_done(struct sys_queue *q)
{
	if (q->open)
		q->sys->ops->queue_close(q->sys, q->id);
	q->open = false;
}

int sys_queue_read(struct sys_queue *q, int fd, struct sys_read *v, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n; i++)
		v[i].got = 0;
	if (q->open && n > 1 && q->sys->ops->queue_read(q->sys, q->id, fd, v, n) < 0)
		sys_queue_done(q);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		size_t got = v[i].got > 0 ? (size_t)v[i].got : 0;

		r = v[i].got < 0 ? (int)v[i].got
				 : sys_read_full(q->sys, fd, (char *)v[i].p + got, v[i].n - got,
						 v[i].off + got);
	}
	return r;
}
