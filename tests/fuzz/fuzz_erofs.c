/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "updater/image/erofs.h"
#include "updater/image/erofs_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_name(void *arg, const char *name, size_t n, uint16_t mode, bool inlined)
{
	size_t *names = arg;

	(void)mode;
	(void)inlined;
	if (n == 0 || n > EROFS_NAME_MAX)
		abort();
	for (size_t i = 0; i < n; i++)
		*names += name[i] != 0;
	return 0;
}

static int on_bytes(void *arg, const void *p, size_t n, struct err *e)
{
	return buf_add(arg, p, n, e);
}

/* What can be laid out anew has as many files after that, and can be laid out again. */
static void lay(const struct erofs_tree *t, const struct erofs_tree *like)
{
	uint32_t *same = calloc(t->n, sizeof(*same));
	AUTO_EROFS_LAYOUT *l = NULL;
	AUTO_EROFS_TREE *again = NULL;
	AUTO_BUF out = BUF_INIT;

	if (!same)
		abort();
	if (like)
		erofs_layout_compare(t, like, same);
	if (erofs_layout_new(t, like, same, &l, NULL) < 0 ||
	    erofs_write(t, l, on_bytes, &out, NULL) < 0)
		abort();
	if (out.n != (size_t)l->blocks * 4096 ||
	    erofs_tree_new((const uint8_t *)out.p, out.n, &again, NULL) < 0 || again->n != t->n)
		abort();
	if (!like)
		lay(again, t);
	free(same);
}

static void tree(const uint8_t *data, size_t size)
{
	AUTO_EROFS_TREE *t = NULL;
	struct err e = ERR_INIT;

	if (erofs_tree_new(data, size, &t, &e) >= 0)
		lay(t, NULL);
	else if (e.kind != ERR_INPUT || e.os == 0)
		abort();
}

/* Whatever the bytes are, files lie in the image, apart and in order, and are found by path. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_EROFS_MAP *m = NULL;
	AUTO_EROFS_INDEX *x = NULL;
	size_t names = 0;

	tree(data, size);
	if (erofs_map_new(data, size, &m, NULL) < 0 || erofs_names(data, size, on_name, &names) < 0)
		abort();
	if (!m)
		return 0;
	if (erofs_index_new(m, &x, NULL) < 0)
		abort();
	for (size_t i = 0; i < m->n; i++) {
		const struct erofs_file *f = &m->file[i], *same;
		uint64_t end = (uint64_t)f->block + f->blocks;

		if (f->blocks == 0 || end > size / 4096 || f->bytes > size)
			abort();
		if (i + 1 < m->n && end > m->file[i + 1].block)
			abort();
		if (erofs_map_at(m, f->block) != f || erofs_map_at(m, end - 1) != f)
			abort();
		same = erofs_index_find(x, f);
		if (!same || same->path != f->path)
			abort();
	}
	return 0;
}
