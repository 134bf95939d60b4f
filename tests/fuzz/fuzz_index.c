/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "updater/image/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * The identity (which on a host is signed) is taken from the blob itself and 32 bytes in front of
 * it. Whatever parses must be made of exactly the bytes that image_index_format() makes.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_IMAGE_INDEX *x = NULL;
	AUTO_BUF again = BUF_INIT;
	struct image_id id = { .salt_n = 0 };
	const uint8_t *p = data + SHA256_BYTES;
	size_t n;

	if (size < SHA256_BYTES + IMAGE_INDEX_HEADER)
		return 0;
	n = size - SHA256_BYTES;
	memcpy(id.root, data, SHA256_BYTES);
	id.data_blocks = le64_get(p + 32);
	id.index_bytes = n;
	id.salt_n = (uint16_t)(le32_get(p + 96) & 0xffff);
	memcpy(id.salt, p + 132, sizeof(id.salt));
	if (image_index_parse(p, n, &id, 0, &x, NULL) < 0 || !x->leaves)
		return 0;

	const struct image_index_parts parts = {
		.id = &id,
		.full_bytes = x->full_bytes,
		.upper = x->upper,
		.upper_n = x->upper_n,
		.frames = p + image_index_bytes(&id, IMAGE_INDEX_UPPER),
		.frames_n = 4 * x->table->frames,
		.leaves = x->leaves,
		.leaves_n = (size_t)id.data_blocks * IMAGE_LEAF_CUT,
	};

	if (image_index_format(&parts, &again, NULL) < 0 || again.n != n ||
	    memcmp(again.p, p, n) != 0 ||
	    x->table->raw[x->table->frames] != id.data_blocks * IMAGE_BLOCK)
		abort();
	return 0;
}
