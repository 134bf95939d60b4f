/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/image/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/sys.h"

#define HUGE_PAGE ((size_t)2 << 20)

void *image_direct_alloc(size_t n)
{
	const size_t align = n < HUGE_PAGE ? IMAGE_DIRECT_ALIGN : HUGE_PAGE;
	const size_t whole = (n + align - 1) & ~(align - 1);
	void *p = aligned_alloc(align, whole);

	if (p && align == HUGE_PAGE)
		(void)madvise(p, whole, MADV_HUGEPAGE); /* where there are none it is as before */
	return p;
}

static void direct_close(struct image_direct *d)
{
	struct sys_fd f = { d->sys, d->fd };

	sys_fd_done(&f);
	d->fd = -1;
}

/* The detour through /proc is what makes a new open file description out of a descriptor. */
void image_direct_open(struct image_direct *d, struct sys *sys, const struct verity_area *area,
		       bool write)
{
	AUTO_FREE uint8_t *probe = aligned_alloc(IMAGE_DIRECT_ALIGN, IMAGE_DIRECT_ALIGN);
	char path[64];

	*d = (struct image_direct){ .sys = sys, .area = *area, .fd = -1 };
	if (!probe || area->bytes < IMAGE_DIRECT_ALIGN)
		return;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", area->fd);
	d->fd = sys->ops->open(sys, AT_FDCWD, path, (write ? O_RDWR : O_RDONLY) | O_DIRECT, 0);
	if (d->fd >= 0 && sys->ops->pread(sys, d->fd, probe, IMAGE_DIRECT_ALIGN, area->offset) < 0)
		direct_close(d);
}

void image_direct_done(struct image_direct *d)
{
	if (d->sys)
		direct_close(d);
	sys_queue_done(&d->queue);
}

bool image_direct_has(const struct image_direct *d, uint64_t off, size_t n)
{
	return n <= d->area.bytes && off <= d->area.bytes - n;
}

static bool aligned(const struct image_direct *d, uint64_t off, const void *p, size_t n)
{
	return d->fd >= 0 && ((d->area.offset + off) | (uintptr_t)p | n) % IMAGE_DIRECT_ALIGN == 0;
}

bool image_direct_refused(struct image_direct *d, int r)
{
	if (d->fd < 0 || (r != -EINVAL && r != -EOPNOTSUPP))
		return false;
	direct_close(d);
	return true;
}

int image_direct_read(struct image_direct *d, uint64_t off, void *p, size_t n, uint64_t *ret_cached)
{
	if (aligned(d, off, p, n)) {
		int r = sys_read_full(d->sys, d->fd, p, n, d->area.offset + off);

		if (!image_direct_refused(d, r))
			return r;
	}
	if (ret_cached)
		*ret_cached += n;
	return sys_read_full(d->sys, d->area.fd, p, n, d->area.offset + off);
}

static int read_each(struct image_direct *d, const struct sys_read *v, size_t n,
		     uint64_t *ret_cached)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = image_direct_read(d, v[i].off, v[i].p, v[i].n, ret_cached);
	return r;
}

int image_direct_reads(struct image_direct *d, struct sys_read *v, size_t n, uint64_t *ret_cached)
{
	int r;

	for (size_t i = 0; i < n; i++)
		if (!aligned(d, v[i].off, v[i].p, v[i].n))
			return read_each(d, v, n, ret_cached);
	if (!d->queue.sys)
		sys_queue_open(&d->queue, d->sys);
	for (size_t i = 0; i < n; i++)
		v[i].off += d->area.offset;
	r = sys_queue_read(&d->queue, d->fd, v, n);
	if (!image_direct_refused(d, r))
		return r;
	for (size_t i = 0; i < n; i++)
		v[i].off -= d->area.offset;
	return read_each(d, v, n, ret_cached);
}

int image_direct_write(struct image_direct *d, uint64_t off, const void *p, size_t n,
		       uint64_t *ret_cached)
{
	if (aligned(d, off, p, n)) {
		int r = sys_write_full(d->sys, d->fd, p, n, d->area.offset + off);

		if (!image_direct_refused(d, r))
			return r;
	}
	if (ret_cached)
		*ret_cached += n;
	return sys_write_full(d->sys, d->area.fd, p, n, d->area.offset + off);
}

int image_area_read(struct sys *sys, const struct verity_area *a, uint64_t off, void *p, size_t n,
		    struct err *e)
{
	int r = sys_read_full(sys, a->fd, p, n, a->offset + off);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "read the slot at byte %llu: %s",
			       (unsigned long long)(a->offset + off), strerror(-r));
	return 0;
}
