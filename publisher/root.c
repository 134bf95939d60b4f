/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/root.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sys.h"

enum { NAME_MAX_HERE = 64, ROOTS_MAX = 4096 };

static int read_md(int dir, const char *name, struct tuf_md **ret, struct err *e)
{
	AUTO_FREE char *p = NULL;
	size_t n;
	int q = file_read(sys_linux(), dir, name, REPO_META_MAX, &p, &n, e);

	return q < 0 ? q : tuf_md_read(p, n, TUF_ROOT, name, ret, NULL, e);
}

static int verify(const struct tuf_md *md, const struct tuf_md *by, const char *name, struct err *e)
{
	return tuf_md_verify(md, by, tuf_md_role(by, "root"), name, NULL, NULL, e);
}

int root_read(const char *path, struct tuf_md **ret, struct err *e)
{
	AUTO_TUF_MD *md = NULL;
	int q = read_md(AT_FDCWD, path, &md, e);

	q = q < 0 ? q : verify(md, md, path, e);
	if (q >= 0)
		*ret = TAKE(md);
	return q;
}

/* The first root: pinned, or the repository's own word. */
static int begin(const struct repo *r, struct tuf_md **ret, struct err *e)
{
	AUTO_TUF_MD *md = NULL;
	int q;

	if (r->pin)
		return root_read(r->pin, ret, e);
	q = read_md(r->meta, "1.root.json", &md, e);
	if (q == -ENOENT)
		return err_set(e, ERR_INPUT, ENOENT,
			       "'%s' has no root yet: sign and submit its first proposal", r->path);
	q = q < 0 ? q : verify(md, md, "1.root.json", e);
	if (q >= 0)
		*ret = TAKE(md);
	return q;
}

static int step(const struct repo *r, const char *name, struct tuf_md **md, struct err *e)
{
	AUTO_TUF_MD *next = NULL;
	int q = read_md(r->meta, name, &next, e);

	if (q < 0)
		return q;
	if (next->version != (*md)->version + 1)
		return err_set(e, ERR_REFUSED, EBADMSG, "%s: says it is version %" PRIu64, name,
			       next->version);
	q = verify(next, *md, name, e);
	if (q < 0)
		return err_wrap(e, q, "by the keys of root %" PRIu64, (*md)->version);
	q = verify(next, next, name, e);
	if (q < 0)
		return err_wrap(e, q, "by its own keys");
	tuf_md_free(*md);
	*md = TAKE(next);
	return 0;
}

int root_load(const struct repo *r, struct tuf_md **ret, struct err *e)
{
	AUTO_TUF_MD *md = NULL;
	char name[NAME_MAX_HERE];
	uint64_t last = 0;
	int q = begin(r, &md, e);

	q = q < 0 ? q : repo_highest(r, "root", REPO_VERSION_MAX, &last, e);
	if (q < 0)
		return q;
	if (last < md->version)
		return err_set(e, ERR_REFUSED, ESTALE,
			       "'%s' ends with root %" PRIu64 ", but root %" PRIu64
			       " is pinned (%s): it was rolled back, or is another repository",
			       r->path, last, md->version, r->pin ? r->pin : "1.root.json");
	for (unsigned i = 0; q >= 0 && md->version < last && i < ROOTS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "%" PRIu64 ".root.json", md->version + 1);
		q = step(r, name, &md, e);
	}
	if (q == -ENOENT)
		return err_set(e, ERR_REFUSED, ESTALE,
			       "'%s': metadata/%s is missing, and there is no way around it for "
			       "hosts: restore it",
			       r->path, name);
	if (q >= 0)
		*ret = TAKE(md);
	return q;
}

void root_pin_save(const char *dir, const struct tuf_md *root)
{
	AUTO_SYS_FD d = { sys_linux(), -1 };
	AUTO_TUF_MD *was = NULL;
	AUTO_BUF b = BUF_INIT;

	d.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.fd >= 0 && read_md(d.fd, ROOT_PIN_NAME, &was, NULL) >= 0 &&
	    was->version == root->version)
		return;
	if (d.fd >= 0 && json_write(root->doc, true, &b, NULL) >= 0)
		(void)!file_replace(d.sys, d.fd, ROOT_PIN_NAME, b.p, b.n, NULL);
}
