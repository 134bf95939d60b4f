/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "updater/audit/audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever firmware or somebody else put into a signature database is told in plain text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sigdb_counts c = { .x509 = 0 };
	AUTO_JSON *list = NULL;
	AUTO_BUF text = BUF_INIT;

	if (sigdb_describe(data, size, 1800000000, &list, &c, NULL) < 0)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > c.x509 || c.expired > c.x509 ||
	    (c.sha256 + c.x509_sha256) * 32 > size)
		abort();
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!json_string_value(json_object_get(json_array_get(list, i), "sha256")))
			abort();
	if (json_write(list, false, &text, NULL) < 0)
		abort();
	return 0;
}
