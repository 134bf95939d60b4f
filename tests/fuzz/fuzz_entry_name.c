/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bootctl/entry_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What parses keeps its text; what can be written reads back the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_entry_name a, b, c;

	if (boot_entry_name_parse((const char *)data, size, &a, NULL) < 0)
		return 0;
	if (strlen(a.file) != size || memcmp(a.file, data, size) != 0 || a.id[0] == '\0')
		abort();
	b = a;
	if (boot_entry_name_format(&b, NULL) < 0)
		return 0;
	if (boot_entry_name_parse(b.file, strlen(b.file), &c, NULL) < 0 ||
	    strcmp(a.id, c.id) != 0 || a.counted != c.counted || a.left != c.left ||
	    a.done != c.done || a.type != c.type || !boot_entry_name_valid(&c) ||
	    !boot_entry_is_called(&a, c.file))
		abort();
	return 0;
}
