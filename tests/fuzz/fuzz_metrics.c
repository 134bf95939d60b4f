/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "updater/metrics/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A request that is known from some bytes is the same with all of them, and never stays open. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	enum metrics_request all = metrics_request(p, size, true);

	if (all == METRICS_MORE)
		abort();
	for (size_t n = 0; n < size && n <= METRICS_REQUEST_MAX; n += 1 + n / 16) {
		enum metrics_request q = metrics_request(p, n, false);

		if (q != METRICS_MORE && size <= METRICS_REQUEST_MAX && q != all)
			abort();
	}
	return 0;
}
