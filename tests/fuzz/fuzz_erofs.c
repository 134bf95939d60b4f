/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "updater/image/erofs.h"

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

/* Whatever the bytes are, files lie in the image, apart and in order, and are found by path. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_EROFS_MAP *m = NULL;
	AUTO_EROFS_INDEX *x = NULL;
	size_t names = 0;

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
