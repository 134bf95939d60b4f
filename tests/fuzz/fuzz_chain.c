/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "updater/record/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int see(void *arg, const struct chain_entry *en, const uint8_t hash[32])
{
	uint64_t *n = arg;

	if (en->n != ++*n || !hash)
		abort();
	return 0;
}

/* What walks has rising numbers, one for each line, and walks the same again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct chain_head h, again;
	uint64_t n = 0;
	size_t lines = 0;

	if (chain_walk(p, size, see, &n, &h, NULL) < 0)
		return 0;
	for (size_t i = 0; i < size; i++)
		lines += p[i] == '\n';
	if (h.n != n || n != lines || chain_walk(p, size, NULL, NULL, &again, NULL) != 0 ||
	    again.last_id != h.last_id)
		abort();
	return 0;
}
