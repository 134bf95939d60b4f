/* SPDX-License-Identifier: Apache-2.0 */
#include "ignition-lite/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"

enum { FILE_MAX = 4 << 20, CHUNK = 16384 };

const char *ign_name_line(const char *text, size_t n, const char *name, size_t *ret_n)
{
	size_t len = strlen(name);

	while (n > 0) {
		const char *nl = memchr(text, '\n', n);
		size_t line = nl ? (size_t)(nl - text) : n;

		if (line > len && text[len] == ':' && memcmp(text, name, len) == 0) {
			*ret_n = line;
			return text;
		}
		text += nl ? line + 1 : line;
		n -= nl ? line + 1 : line;
	}
	return NULL;
}

bool ign_name_field(const char *line, size_t n, unsigned index, const char **ret, size_t *ret_n)
{
	for (;;) {
		const char *colon = memchr(line, ':', n);
		size_t field = colon ? (size_t)(colon - line) : n;

		if (index-- == 0) {
			*ret = line;
			*ret_n = field;
			return true;
		}
		if (!colon)
			return false;
		line += field + 1;
		n -= field + 1;
	}
}

static int read_all(int fd, const char *path, struct buf *b, struct err *e)
{
	for (;;) {
		ssize_t n;
		int r = buf_reserve(b, CHUNK, e);

		if (r < 0)
			return err_wrap(e, r, "read '%s'", path);
		n = read(fd, b->p + b->n, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, ERR_HOST, errno, "read '%s': %s", path, strerror(errno));
		if (n == 0)
			return 0;
		b->n += (size_t)n;
	}
}

/* 1: line holds a copy of the entry. */
static int lookup(const struct ign_root *root, const char *file, const char *name, struct buf *line,
		  struct err *e)
{
	static const char *const dirs[] = { "/etc", "/usr/lib" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		AUTO_BUF text = { .max = FILE_MAX };
		AUTO_IGN_FD fd = -1;
		char path[32];
		const char *found;
		size_t n;
		int r;

		(void)snprintf(path, sizeof(path), "%s/%s", dirs[i], file);
		r = ign_root_read_open(root, path, &fd, e);
		if (r < 0)
			return r;
		if (fd < 0)
			continue;
		r = read_all(fd, path, &text, e);
		if (r < 0)
			return r;
		found = text.n ? ign_name_line(text.p, text.n, name, &n) : NULL;
		if (!found)
			continue;
		r = buf_add(line, found, n, e);
		return r < 0 ? r : 1;
	}
	return 0;
}

static int line_id(const struct buf *line, unsigned index, const char *name, uint32_t *ret,
		   struct err *e)
{
	const char *p;
	size_t n;
	uint64_t v;
	int r;

	if (!ign_name_field(line->p, line->n, index, &p, &n))
		return err_set(e, ERR_HOST, EINVAL, "the entry of '%s' is no valid line", name);
	r = num_parse(p, n, 0, UINT32_MAX - 1, "its number", &v, e);
	if (r < 0)
		return err_wrap(e, r, "the entry of '%s'", name);
	*ret = (uint32_t)v;
	return 0;
}

int ign_name_user(const struct ign_root *root, const char *name, struct ign_account *ret,
		  struct err *e)
{
	AUTO_BUF line = BUF_INIT;
	struct ign_account got = { .home = "" };
	const char *home;
	size_t n;
	int r = lookup(root, "passwd", name, &line, e);

	if (r <= 0)
		return r;
	r = line_id(&line, 2, name, &got.uid, e);
	if (r == 0)
		r = line_id(&line, 3, name, &got.gid, e);
	if (r < 0)
		return r;
	if (ign_name_field(line.p, line.n, 5, &home, &n) && n < sizeof(got.home))
		(void)snprintf(got.home, sizeof(got.home), "%.*s", (int)n, home);
	*ret = got;
	return 1;
}

int ign_name_group(const struct ign_root *root, const char *name, uint32_t *ret_gid, struct err *e)
{
	AUTO_BUF line = BUF_INIT;
	int r = lookup(root, "group", name, &line, e);

	if (r <= 0)
		return r;
	r = line_id(&line, 2, name, ret_gid, e);
	return r < 0 ? r : 1;
}
