/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ignition-lite/filesystem.h"
#include "ignition-lite/names.h"
#include "ignition-lite/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a host says of itself: passwd, blkid's answer, the kernel command line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *line, *field;
	char *z = malloc(size + 1);
	struct ign_found found;
	struct ign_cmdline c;
	size_t n, k;

	line = ign_name_line(text, size, "root", &n);
	if (line && (line < text || line + n > text + size || memchr(line, '\n', n)))
		abort();
	for (unsigned i = 0; line && i < 8 && ign_name_field(line, n, i, &field, &k); i++)
		if (field < line || field + k > line + n || memchr(field, ':', k))
			abort();
	ign_filesystem_parse(text, size, &found);
	if (strnlen(found.type, sizeof(found.type)) == sizeof(found.type) ||
	    strnlen(found.label, sizeof(found.label)) == sizeof(found.label) ||
	    strnlen(found.uuid, sizeof(found.uuid)) == sizeof(found.uuid))
		abort();
	if (!z)
		return 0;
	memcpy(z, data, size);
	z[size] = '\0';
	if (ign_source_cmdline(z, &c, NULL) == 0 && strlen(c.url) >= sizeof(c.url))
		abort();
	free(z);
	return 0;
}
