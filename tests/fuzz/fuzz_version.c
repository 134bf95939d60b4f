/* SPDX-License-Identifier: Apache-2.0 */
/* Three lines are three versions: the order is one, and a valid name stays inside its alphabet. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"

enum { COUNT = 3, BYTES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static void check_valid(const char *v)
{
	if (version_valid(v) && (strlen(v) > 64 || strpbrk(v, "/~^+_ %\n\\")))
		abort();
	if (image_id_valid(v) && (strlen(v) > 32 || strpbrk(v, "/_. %\n\\")))
		abort();
}

static void check_order(char *v[COUNT])
{
	for (unsigned a = 0; a < COUNT; a++) {
		for (unsigned b = 0; b < COUNT; b++) {
			int r = sign(version_compare(v[a], v[b]));

			if (r != -sign(version_compare(v[b], v[a])) || (a == b && r != 0))
				abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *v[COUNT];
	size_t at = 0;

	for (unsigned i = 0; i < COUNT; i++) {
		size_t left = size - at, n = left;
		const uint8_t *nl = left ? memchr(data + at, '\n', left) : NULL;

		if (nl)
			n = (size_t)(nl - (data + at));
		/* a copy of exactly this size, so that one byte too many is seen */
		v[i] = malloc(n + 1);
		if (!v[i])
			abort();
		if (n > 0)
			memcpy(v[i], data + at, n);
		v[i][n] = '\0';
		at += nl ? n + 1 : n;
		check_valid(v[i]);
	}
	check_order(v);
	for (unsigned i = 0; i < COUNT; i++)
		free(v[i]);
	return 0;
}
