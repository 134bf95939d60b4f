/* SPDX-License-Identifier: Apache-2.0 */
#include "updater/slot/find.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/num.h"
#include "base/sys.h"
#include "updater/slot/disk.h"

enum { DM_DEPTH_MAX = 8, ATTR_MAX = 64 };

bool disk_device(int fd, unsigned *ret_major, unsigned *ret_minor, unsigned *ret_sector)
{
	struct stat st;
	int sector = 0;

	/* descriptors of the crash simulator are no real ones and fail here, as they should */
	if (fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode) || ioctl(fd, BLKSSZGET, &sector) < 0)
		return false;
	*ret_major = major(st.st_rdev);
	*ret_minor = minor(st.st_rdev);
	*ret_sector = (unsigned)sector;
	return true;
}

/* A short attribute file without its newline; -ENOENT and all else as file_read(). */
static int attr_read(struct sys *sys, int dir, const char *name, char out[ATTR_MAX], struct err *e)
{
	AUTO_FREE char *text = NULL;
	size_t n;
	int r = file_read(sys, dir, name, ATTR_MAX - 1, &text, &n, e);

	if (r < 0)
		return r;
	(void)snprintf(out, ATTR_MAX, "%.*s", (int)strcspn(text, "\n"), text);
	return 0;
}

static int attr_number(struct sys *sys, int dir, const char *node, const char *attr, uint64_t *ret,
		       struct err *e)
{
	char name[DISK_PATH_MAX + 16], text[ATTR_MAX];
	int r;

	(void)snprintf(name, sizeof(name), "%s/%s", node, attr);
	r = attr_read(sys, dir, name, text, e);
	if (r < 0)
		return r;
	return num_parse(text, strlen(text), 0, INT64_MAX / 512, name, ret, e);
}

/* "8:17" */
static int number_parse(const char *s, unsigned *ret_major, unsigned *ret_minor, struct err *e)
{
	const size_t n = strcspn(s, ":");
	uint64_t a, b;
	int r = num_parse(s, n, 0, UINT32_MAX, "device number", &a, e);

	if (r < 0)
		return r;
	if (s[n] != ':')
		return err_set(e, ERR_HOST, EINVAL, "device number '%s'", s);
	r = num_parse(s + n + 1, strlen(s + n + 1), 0, UINT32_MAX, "device number", &b, e);
	if (r < 0)
		return r;
	*ret_major = (unsigned)a;
	*ret_minor = (unsigned)b;
	return 0;
}

/* sysfs writes '!' for the '/' in names such as cciss/c0d0. */
static int node_path(const char *name, size_t n, char ret[DISK_PATH_MAX], struct err *e)
{
	int r = snprintf(ret, DISK_PATH_MAX, "/dev/%.*s", (int)n, name);

	if (r < 0 || r >= DISK_PATH_MAX || n == 0)
		return err_set(e, ERR_HOST, ENAMETOOLONG, "device name of %zu characters", n);
	for (char *p = ret; *p; p++)
		if (*p == '!')
			*p = '/';
	return 0;
}

static int dir_open(struct sys *sys, const char *sysfs, unsigned major, unsigned minor,
		    char path[DISK_PATH_MAX], struct err *e)
{
	int fd;

	(void)snprintf(path, DISK_PATH_MAX, "%s/dev/block/%u:%u", sysfs, major, minor);
	fd = sys->ops->open(sys, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return err_set(e, ERR_HOST, -fd, "open '%s': %s", path, strerror(-fd));
	return fd;
}

struct search {
	struct sys *sys;
	int dir;
	unsigned number;
	char name[DISK_PATH_MAX];
};

static int part_seen(void *arg, const char *name)
{
	struct search *s = arg;
	uint64_t number;

	if (strlen(name) >= sizeof(s->name) ||
	    attr_number(s->sys, s->dir, name, "partition", &number, NULL) < 0 ||
	    number != s->number)
		return 0;
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	return 1;
}

int disk_part_node(struct sys *sys, const char *sysfs, unsigned major, unsigned minor,
		   const struct slot_part *p, struct disk_node *ret, struct err *e)
{
	AUTO_SYS_FD dir = { .sys = sys, .fd = -1 };
	char path[DISK_PATH_MAX], text[ATTR_MAX], dev[DISK_PATH_MAX + 16];
	struct search s = { .sys = sys, .number = p->number };
	struct disk_node node = { .path = "" };
	uint64_t start, size;
	int r;

	dir.fd = dir_open(sys, sysfs, major, minor, path, e);
	if (dir.fd < 0)
		return dir.fd;
	s.dir = dir.fd;
	r = sys->ops->list(sys, dir.fd, part_seen, &s);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "list '%s': %s", path, strerror(-r));
	if (r == 0) {
		*ret = node;
		return 0;
	}
	r = attr_number(sys, dir.fd, s.name, "start", &start, e);
	if (r >= 0)
		r = attr_number(sys, dir.fd, s.name, "size", &size, e);
	if (r < 0)
		return err_wrap(e, r, "sysfs about '%s'", s.name);
	if (start * 512 != p->offset || size * 512 != p->bytes)
		return err_set(e, ERR_HOST, ESTALE,
			       "the kernel still has another place for partition %u than its "
			       "table says: reboot, or run partprobe",
			       p->number);
	(void)snprintf(dev, sizeof(dev), "%s/dev", s.name);
	r = attr_read(sys, dir.fd, dev, text, e);
	if (r >= 0)
		r = number_parse(text, &node.major, &node.minor, e);
	if (r >= 0)
		r = node_path(s.name, strlen(s.name), node.path, e);
	if (r < 0)
		return err_wrap(e, r, "sysfs about '%s'", s.name);
	*ret = node;
	return 0;
}

static int first_seen(void *arg, const char *name)
{
	struct search *s = arg;

	if (strlen(name) >= sizeof(s->name))
		return 0;
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	return 1;
}

/* One step down a device-mapper stack: 1 and the number of what lies below, 0 at the bottom. */
static int slave_step(struct sys *sys, int dir, unsigned *major, unsigned *minor, struct err *e)
{
	struct search s = { .sys = sys };
	AUTO_SYS_FD f = { .sys = sys,
			  .fd = sys->ops->open(sys, dir, "slaves", O_RDONLY | O_DIRECTORY, 0) };
	char name[DISK_PATH_MAX + 16], text[ATTR_MAX];
	int r;

	if (f.fd < 0 || sys->ops->list(sys, f.fd, first_seen, &s) <= 0)
		return 0;
	(void)snprintf(name, sizeof(name), "%s/dev", s.name);
	r = attr_read(sys, f.fd, name, text, e);
	if (r >= 0)
		r = number_parse(text, major, minor, e);
	return r < 0 ? r : 1;
}

/* ".../block/vda/vda2" -> "/dev/vda" */
static int parent_of(const char *link, char ret[DISK_PATH_MAX], struct err *e)
{
	const char *end = strrchr(link, '/'), *begin = end;

	if (!end)
		return err_set(e, ERR_HOST, ENODEV, "sysfs link '%.80s'", link);
	while (begin > link && begin[-1] != '/')
		begin--;
	return node_path(begin, (size_t)(end - begin), ret, e);
}

int disk_find_number(struct sys *sys, const char *sysfs, unsigned major, unsigned minor,
		     char ret[DISK_PATH_MAX], struct err *e)
{
	for (int depth = 0; depth < DM_DEPTH_MAX; depth++) {
		AUTO_SYS_FD dir = { .sys = sys, .fd = -1 };
		char path[DISK_PATH_MAX], link[PATH_MAX], text[ATTR_MAX];
		ssize_t n;
		int r;

		dir.fd = dir_open(sys, sysfs, major, minor, path, e);
		if (dir.fd < 0)
			return err_set(e, ERR_HOST, ENODEV, "it is not on a block device");
		if (attr_read(sys, dir.fd, "partition", text, NULL) >= 0) {
			n = readlink(path, link, sizeof(link) - 1);
			if (n < 0)
				return err_set(e, ERR_HOST, errno, "read link '%s': %s", path,
					       strerror(errno));
			link[n] = '\0';
			return parent_of(link, ret, e);
		}
		r = slave_step(sys, dir.fd, &major, &minor, e);
		if (r < 0)
			return r;
		if (r == 0)
			break;
	}
	return err_set(e, ERR_HOST, ENODEV, "it is not on a partition of a disk");
}

int disk_find(struct sys *sys, const char *path, char ret[DISK_PATH_MAX], struct err *e)
{
	struct stat st;
	dev_t dev;
	int r;

	if (stat(path, &st) < 0)
		return err_set(e, ERR_HOST, errno, "find the disk of '%s': %s", path,
			       strerror(errno));
	dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	r = disk_find_number(sys, "/sys", major(dev), minor(dev), ret, e);
	if (r < 0)
		return err_wrap(e, r, "find the disk of '%s' (or name it with Disk=)", path);
	return 0;
}
