/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Both directions: what decodes encodes to the very same bytes, and only one side may say it. */
static int one(enum wire_side from, const uint8_t *data, size_t size)
{
	static uint8_t again[WIRE_FRAME_MAX];
	struct wire_msg m;
	int n;

	if (wire_decode(from, data, size, &m, NULL) < 0)
		return 0;
	n = wire_encode(&m, again, sizeof(again), NULL);
	if (n < 0 || (size_t)n != size || memcmp(again, data, size) != 0)
		abort();
	return m.type != WIRE_HELLO;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (one(WIRE_AGENT, data, size) + one(WIRE_FETCH, data, size) > 1)
		abort();
	return 0;
}
