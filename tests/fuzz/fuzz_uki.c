/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "bootctl/uki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s, size_t cap)
{
	size_t n = strnlen(s, cap);

	if (n == cap)
		abort();
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20)
			abort();
}

/* os-release and command line: results are bounded text, and the hash found is the one written. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct uki u = { .bytes = 0 };
	char hex[SHA256_HEX_MAX], upper[SHA256_HEX_MAX];

	if (uki_parse_osrel((const char *)data, size, &u, NULL) >= 0) {
		check_text(u.pretty, sizeof(u.pretty));
		check_text(u.version, sizeof(u.version));
		check_text(u.sort_key, sizeof(u.sort_key));
		if (!u.pretty[0])
			abort();
	}
	if (uki_parse_cmdline((const char *)data, size, &u, NULL) < 0)
		return 0;
	check_text(u.cmdline, sizeof(u.cmdline));
	if (u.has_usrhash != (strstr(u.cmdline, "usrhash") != NULL))
		abort();
	if (!u.has_usrhash)
		return 0;
	hex_format(u.usrhash, SHA256_BYTES, hex);
	memcpy(upper, strstr(u.cmdline, "usrhash=") + 8, 64);
	upper[64] = '\0';
	if (strcasecmp(upper, hex) != 0)
		abort();
	return 0;
}
