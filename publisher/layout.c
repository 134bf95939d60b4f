/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/sys.h"
#include "base/text.h"
#include "publisher/blob.h"
#include "updater/image/erofs_write.h"

struct mapped {
	void *p;
	size_t n;
};

static void mapped_done(struct mapped *m)
{
	if (m->p)
		(void)munmap(m->p, m->n);
}

static int map(int fd, const char *name, struct mapped *ret, struct err *e)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return err_set(e, ERR_HOST, errno, "'%s': %s", name, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return err_set(e, ERR_INPUT, EINVAL, "'%s' is no image", name);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, ERR_HOST, errno, "map '%s': %s", name, strerror(errno));
	*ret = (struct mapped){ p, (size_t)st.st_size };
	return 0;
}

/* As it is: nothing that is not understood is touched. */
static int leave(const char *from, const char *to, const struct err *why, struct layout_report *ret,
		 struct err *e)
{
	if (rename(from, to) < 0)
		return err_set(e, ERR_HOST, errno, "write '%s': %s", to, strerror(errno));
	*ret = (struct layout_report){ .laid = false };
	(void)snprintf(ret->why, sizeof(ret->why), "%.*s", (int)sizeof(ret->why) - 1, why->text);
	return 0;
}

static int lay(const struct erofs_tree *now, const struct erofs_tree *like, const char *to,
	       struct layout_report *ret, struct err *e)
{
	AUTO_FREE uint32_t *same = like ? calloc(now->n, sizeof(*same)) : NULL;
	AUTO_EROFS_LAYOUT *l = NULL;
	AUTO_SYS_FD f = { sys_linux(), -1 };
	struct blob_out out = { .n = 0 };
	int q;

	if (like && !same)
		return err_set(e, ERR_HOST, ENOMEM, "out of memory to lay out an image");
	if (like)
		erofs_layout_compare(now, like, same);
	q = erofs_layout_new(now, like, same, &l, e);
	if (q < 0)
		return q;
	f.fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, errno, "write '%s': %s", to, strerror(errno));
	out.fd = f.fd;
	q = erofs_write(now, l, blob_out_put, &out, e);
	if (q < 0)
		return q;
	*ret = (struct layout_report){ .laid = true,
				       .like = like && !l->afresh,
				       .afresh = l->afresh,
				       .holes = (uint64_t)l->holes * IMAGE_BLOCK };
	return 0;
}

int layout_apply(const char *from, int like, const char *name, const char *to,
		 struct layout_report *ret, struct err *e)
{
	CLEANUP(mapped_done) struct mapped a = { .n = 0 };
	CLEANUP(mapped_done) struct mapped b = { .n = 0 };
	AUTO_EROFS_TREE *now = NULL;
	AUTO_EROFS_TREE *was = NULL;
	AUTO_SYS_FD f = { sys_linux(), -1 };
	struct err why = ERR_INIT;
	int q = 0;

	f.fd = open(from, O_RDONLY | O_CLOEXEC);
	if (f.fd < 0)
		return err_set(e, ERR_HOST, errno, "open '%s': %s", from, strerror(errno));
	if (like >= 0)
		q = map(like, name, &b, e);
	if (q >= 0 && b.p) {
		q = erofs_tree_new(b.p, b.n, &was, e);
		q = q < 0 ? err_wrap(e, q, "cannot build like '%s'", name) : q;
	}
	q = q < 0 ? q : map(f.fd, from, &a, e);
	if (q < 0)
		return q;
	q = erofs_tree_new(a.p, a.n, &now, &why);
	if (q == -ENOTSUP)
		return leave(from, to, &why, ret, e);
	if (q < 0)
		return err_set(e, ERR_HOST, -q, "%s", why.text);
	return lay(now, was, to, ret, e);
}

void layout_say(const struct layout_report *l, const char *like)
{
	char size[32];

	if (!l->laid) {
		(void)fprintf(stderr,
			      "proa-publish: warning: the image stays as mkfs.erofs made "
			      "it, so updates move more than they must: %s\n",
			      l->why);
		return;
	}
	if (l->afresh)
		printf("layout      afresh: like %s a tenth of it would be holes; hosts write "
		       "nearly all of it, this once\n",
		       like);
	else if (l->like)
		printf("layout      like %s, holes %s\n", like,
		       text_bytes(l->holes, size, sizeof(size)));
}
