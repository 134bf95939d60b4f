/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "updater/audit/sbom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *arg, const char *name, const char *version, const char *sha256)
{
	if (!name[0] || !version || !sha256)
		abort();
	++*(size_t *)arg;
	return 0;
}

/* Both readings see the same components. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sbom s;
	size_t n = 0;

	if (sbom_read(data, size, "sbom", &s, NULL) < 0)
		return 0;
	if (sbom_each(data, size, "sbom", count, &n, NULL) < 0 || n != s.components ||
	    s.without_hash > n || s.without_version > n)
		abort();
	return 0;
}
