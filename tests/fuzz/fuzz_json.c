/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is read keeps its value through writing and reading; what is refused is explained. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const json_t *j, bool pretty)
{
	static const struct json_limits wide = { .bytes = 64u << 20, .depth = 32 };
	struct err e = ERR_INIT;
	AUTO_JSON *back = NULL;
	AUTO_BUF b = BUF_INIT;

	if (json_write(j, pretty, &b, &e) < 0 ||
	    json_read(b.p, b.n, &wide, "again", &back, &e) < 0 || !json_equal(j, back))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	AUTO_JSON *j = NULL;

	if (json_read(data, size, NULL, "input", &j, &e) < 0) {
		if (j || e.kind != ERR_INPUT || strncmp(e.text, "input: ", 7) != 0)
			abort();
		return 0;
	}
	again(j, true);
	again(j, false);
	return 0;
}
