/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "updater/release/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever parses must survive format -> parse unchanged. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct release_manifest a, b;
	AUTO_BUF text = BUF_INIT;
	AUTO_BUF again = BUF_INIT;

	if (release_manifest_parse(data, size, "fuzz", &a, NULL) < 0)
		return 0;
	if (release_manifest_format(&a, &text, NULL) < 0 ||
	    release_manifest_parse(text.p, text.n, "again", &b, NULL) < 0 ||
	    release_manifest_format(&b, &again, NULL) < 0 || strcmp(text.p, again.p) != 0)
		abort();
	return 0;
}
