/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/tuf/canon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The canonical form does not depend on how the document was written. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct json_limits lim = { .bytes = 1 << 20, .depth = TUF_DEPTH_MAX };
	AUTO_JSON *a = NULL;
	AUTO_JSON *b = NULL;
	AUTO_BUF text = BUF_INIT;
	AUTO_BUF one = BUF_INIT;
	AUTO_BUF two = BUF_INIT;

	if (json_read(data, size, &lim, "input", &a, NULL) < 0 || tuf_canon(a, &one, NULL) < 0)
		return 0;
	if (one.n > size) /* it only ever leaves out */
		abort();
	if (json_write(a, size % 2 == 0, &text, NULL) < 0 ||
	    json_read(text.p, text.n, &lim, "again", &b, NULL) < 0 || tuf_canon(b, &two, NULL) < 0)
		abort();
	if (one.n != two.n || memcmp(one.p, two.p, one.n) != 0)
		abort();
	return 0;
}
