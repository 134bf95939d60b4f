/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_MEM_SYS_H
#define TESTS_FUZZ_MEM_SYS_H

#include <errno.h>
#include <string.h>

#include "base/sys.h"

/* One read-only file in memory, for fuzzing what reads through struct sys. */
struct mem_sys {
	struct sys sys; /* first */
	const uint8_t *p;
	size_t n;
};

static ssize_t mem_pread(struct sys *s, int fd, void *buf, size_t n, uint64_t off)
{
	const struct mem_sys *m = (const struct mem_sys *)(const void *)s;

	(void)fd;
	if (off >= m->n)
		return 0;
	if (n > m->n - (size_t)off)
		n = m->n - (size_t)off;
	memcpy(buf, m->p + off, n);
	return (ssize_t)n;
}

static int mem_size(struct sys *s, int fd, uint64_t *ret)
{
	(void)fd;
	*ret = ((const struct mem_sys *)(const void *)s)->n;
	return 0;
}

/* There are no names, so no second descriptor either. */
static int mem_open(struct sys *s, int dir, const char *name, int flags, mode_t mode)
{
	(void)s;
	(void)dir;
	(void)name;
	(void)flags;
	(void)mode;
	return -ENOENT;
}

static const struct sys_ops mem_ops = { .open = mem_open, .pread = mem_pread, .size = mem_size };

#endif
